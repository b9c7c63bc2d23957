"""One training, complete: what the driver writes down and a worker carries out."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cluster.gang import HopelessError
from jobs.training.settings import Settings, Spread

if TYPE_CHECKING:
    from jobs.prompts import PromptForm, TooLong


class TrainingError(HopelessError):
    """A training that would fail again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainOrder:
    """One training. Picklable."""

    run_id: str
    location: str
    """What `from_pretrained` takes: a folder, or a repository on the hub."""
    revision: str | None
    """A commit of that repository; None for a folder."""
    rows: Path
    """A folder of Parquet files of `jobs.data.row.Row`, taken in the order of their names."""
    form: "PromptForm" = "alpaca"
    """How a row is put to the model: see `jobs.prompts.text_of`."""
    too_long: "TooLong" = "drop"
    """What becomes of rows of more than `max_length` tokens: see `jobs.prompts.TooLong`."""
    settings: Settings
    spread: Spread
    seed: int
    folder: Path
    """The run's own, on a disk that all workers see; `checkpoint` appears in it, complete."""

    @property
    def checkpoint(self) -> Path:
        """Weights, steps and facts, once the training is done."""
        return self.folder / "checkpoint"

    @property
    def attempts(self) -> Path:
        """Checkpoints to go on from, while it is not."""
        return self.folder / "attempts"
