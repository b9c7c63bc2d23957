"""Which workers of a training may write: those that were started last.

Workers whose node is cut off, or whose driver is frozen, may be replaced while they go on. They
notice at the next thing they want to write, and end.
"""

import secrets
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from jobs.training.order import TrainingError

OWNER = "owner"
"""In the folder of a run: the start of workers that was begun last."""


class SupersededError(TrainingError):
    """The training was started again by others; nothing of it failed."""


@dataclass(frozen=True, slots=True)
class Fence:
    """One start of the workers of a training. Picklable."""

    folder: Path
    """Of the run, as the driver sees it; who does not see it is kept out of the store, see
    `jobs.storage.going_on`."""
    attempt: str = ""
    """Who is at work, for messages."""
    start: str = ""
    """Unlike that of any other; empty: none was begun, and nobody is kept out."""

    def begin(self) -> Self:
        """The next start: from here on, only its workers may write.

        Raises:
            SupersededError: others have begun one since the last start of this one.
        """
        self.require()
        start = f"{self.attempt}-{secrets.token_hex(8)}"
        draft = self.folder / f".{OWNER}.{start}"
        draft.write_text(start)
        draft.replace(self.folder / OWNER)
        return replace(self, start=start)

    def require(self) -> None:
        """Nothing, unless another start was begun since.

        Raises:
            SupersededError: one was.
        """
        path = self.folder / OWNER
        if self.start and path.exists() and (owner := path.read_text()) != self.start:
            raise SupersededError(
                f"the training in {self.folder} was started again, as {owner}; this start of it, "
                f"{self.start}, ends"
            )
