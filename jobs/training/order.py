"""One training, complete: what the driver writes down and a worker carries out."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cluster.gang import HopelessError
from jobs.training.settings import Adapter, Settings, Spread

if TYPE_CHECKING:
    from jobs.prompts import PromptForm, TooLong


ORDER = "order.json"
UNSHAPING = frozenset({"checkpoint_every", "checkpoint_minutes"})
"""Settings that change no weight."""


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

    def identity(self, rows: int) -> dict[str, Any]:
        """What the outcome follows from, JSON types only: not how it is spread, nor where it lies.

        Args:
            rows: found in the dataset, windows counted.
        """
        settings = {k: v for k, v in asdict(self.settings).items() if k not in UNSHAPING}
        named = {"run_id": self.run_id, "revision": self.revision, "seed": self.seed, "rows": rows}
        put = {"form": self.form, "too_long": self.too_long, "settings": settings}
        found: dict[str, Any] = json.loads(json.dumps(named | put))
        return found


def to_json(order: TrainOrder) -> str:
    """An order as `python -m jobs.training` reads it; paths are absolute."""
    fields = asdict(order) | {
        "rows": str(order.rows.absolute()),
        "folder": str(order.folder.absolute()),
    }
    return json.dumps(fields, indent=2) + "\n"


def from_json(text: str) -> TrainOrder:
    """What `to_json` wrote, or a person changed.

    Raises:
        TrainingError: that is no order, or a field is missing or unknown.
    """
    try:
        fields = json.loads(text)
        settings = fields["settings"]
        if adapter := settings["adapter"]:
            if isinstance(adapter["targets"], list):
                adapter["targets"] = tuple(adapter["targets"])
            settings["adapter"] = Adapter(**adapter)
        return TrainOrder(
            **fields
            | {
                "rows": Path(fields["rows"]),
                "folder": Path(fields["folder"]),
                "settings": Settings(**settings),
                "spread": Spread(**fields["spread"]),
            }
        )
    except KeyError as error:
        raise TrainingError(f"this is no order of a training: {error} is missing") from None
    except (ValueError, TypeError) as error:
        raise TrainingError(f"this is no order of a training: {error}") from None
