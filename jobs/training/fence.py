"""Which attempt at a training may write: the one that was begun last.

A driver that was frozen or cut off may be replaced while its workers go on. They notice at the next
thing they want to write, and end.
"""

from dataclasses import dataclass
from pathlib import Path

from jobs.training.order import TrainingError

OWNER = "owner"
"""In the folder of a run: the attempt that was begun last."""


class SupersededError(TrainingError):
    """Another driver has begun this training anew; nothing of it failed."""


@dataclass(frozen=True, slots=True)
class Fence:
    """One attempt at a training. Picklable."""

    folder: Path
    """Of the run, as the driver sees it; who does not see it is not fenced."""
    attempt: str = ""
    """Unlike that of any other; empty: there can be no other."""

    def begin(self) -> None:
        """From here on, only this attempt may write."""
        if self.attempt:
            draft = self.folder / f".{OWNER}.{self.attempt}"
            draft.write_text(self.attempt)
            draft.replace(self.folder / OWNER)

    def require(self) -> None:
        """Nothing, unless another attempt was begun since.

        Raises:
            SupersededError: one was.
        """
        path = self.folder / OWNER
        if self.attempt and path.exists() and path.read_text() != self.attempt:
            raise SupersededError(
                f"another driver has taken over the training in {self.folder}; this attempt ends"
            )
