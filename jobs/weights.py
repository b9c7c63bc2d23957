"""Which weights a model is asked with: a base as it came, or what a training made of it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from jobs.training.settings import Quantization


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """All that loading a model takes. Picklable."""

    location: str
    """Of the base: a folder in Hugging Face format, or a repository on the hub."""
    revision: str | None = None
    """A commit of that repository; None for a folder."""
    tuned: Path | None = None
    """A folder that a training left; None: the base as it came."""
    kind: Literal["adapter", "full"] = "adapter"
    """What that folder holds."""
    quantization: Quantization | None = None
    """How the base was held while the adapter was trained; it is made coarse in the same way
    before the adapter is put on, and asked in the precision of the others."""

    @property
    def adapter(self) -> Path | None:
        """The adapter to put on the base, if there is one."""
        return self.tuned if self.kind == "adapter" else None

    @property
    def source(self) -> tuple[str, str | None]:
        """Folder or repository, and revision, of the whole weights to load first."""
        if self.tuned is not None and self.kind == "full":
            return str(self.tuned), None
        return self.location, self.revision

    @property
    def base(self) -> "Weights":
        """The same model untuned."""
        return Weights(location=self.location, revision=self.revision)


def tuned_weights(base: Weights, folder: Path, kind: str, method: Mapping[str, Any]) -> Weights:
    """What a training left in a folder.

    Args:
        base: what it was trained from.
        folder: the run's checkpoint.
        kind: `adapter` or `full`.
        method: its fields, as the ledger records them.
    """
    quantization = method.get("quantization") if kind == "adapter" else None
    return replace(
        base, tuned=folder, kind="full" if kind == "full" else "adapter", quantization=quantization
    )
