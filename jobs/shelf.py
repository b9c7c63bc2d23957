"""The models that can be asked: which the ledger knows, and which are in memory."""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from database.schema import Checkpoint, Run
from jobs.declared import nearest
from jobs.experiment import Asking
from jobs.prompts import Question
from jobs.weights import Weights, tuned_weights

if TYPE_CHECKING:
    from jobs.bases import Bases
    from jobs.engine import Loaded, Piece

KEPT = 4


class UnknownModelError(Exception):
    """No model of this name; the message holds the nearest one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Servable:
    """A finished run that can be asked."""

    id: str
    """Of the run."""
    label: str
    base: str | None
    """Run of the same model untuned."""
    created: int
    """Seconds since 1970, UTC."""
    weights: Weights


def servable(ledger: Engine, home: Path) -> list[Servable]:
    """Bases and tuned models that are done and whose weights are there, oldest first."""
    wanted = (
        select(Run, Checkpoint)
        .outerjoin(Checkpoint, Checkpoint.run == Run.id)
        .where(Run.state == "done", Run.kind.in_(("base", "tuned")))
        .order_by(Run.created_at, Run.id)
    )
    with Session(ledger) as session:
        pairs = session.execute(wanted).all()
        found = [_servable(run, checkpoint, home) for run, checkpoint in pairs]
    return [model for model in found if model is not None]


def find(models: Sequence[Servable], name: str) -> Servable:
    """The model of this run id or, failing that, of this label.

    Raises:
        UnknownModelError: there is none.
    """
    for model in (*(m for m in models if m.id == name), *(m for m in models if m.label == name)):
        return model
    names = {model.id for model in models} | {model.label for model in models}
    raise UnknownModelError(f"no model {name!r}.{nearest(name, names)}")


class Shelf:
    """Bases in memory, each with the adapter that was asked last; see `jobs.bases`.

    Threads may share one: an answer is written while the others wait, for the next one may want
    another adapter on the same base.
    """

    def __init__(self, kept: int = KEPT) -> None:
        """Keep at most `kept` bases in memory."""
        self._kept = kept
        self._bases: Bases | None = None
        self._loading: str | None = None
        self._lock = threading.Lock()

    def state(self, model: Servable) -> str:
        """`loaded`, `loading` or `waiting` (on disk)."""
        if model.id == self._loading:
            return "loading"
        if self._bases is None:
            return "waiting"
        from jobs.loaded import usual_precision

        there = self._bases.holds(model.weights, usual_precision())
        return "loaded" if there else "waiting"

    def answer(
        self, model: Servable, text: str, asking: Asking, stop: Sequence[str], seed: int
    ) -> Iterator["Piece"]:
        """One answer as it is written, the model loaded first where it is not.

        Raises:
            EngineError: the model cannot be asked this.
        """
        from jobs.engine import stream

        question = Question("asked", text, whole=True)
        with self._lock:
            yield from stream(self._take(model), question, asking, stop, seed)

    def _take(self, model: Servable) -> "Loaded":
        from jobs.bases import Bases
        from jobs.loaded import usual_precision

        if self._bases is None:
            self._bases = Bases(self._kept)
        self._loading = model.id
        try:
            return self._bases.take(model.weights, usual_precision())
        finally:
            self._loading = None


def _servable(run: Run, checkpoint: Checkpoint | None, home: Path) -> Servable | None:
    where = run.provenance.get("model")
    if not where or run.provenance.get("server") or (run.kind == "tuned" and checkpoint is None):
        return None
    weights = Weights(location=where["location"], revision=where.get("revision") or None)
    if checkpoint is not None:
        weights = tuned_weights(
            weights, home / checkpoint.path, checkpoint.kind, run.provenance.get("method", {})
        )
    if (weights.tuned and not weights.tuned.is_dir()) or _is_gone(weights.source[0]):
        return None
    return Servable(
        id=run.id,
        label=run.label,
        base=run.base_run,
        created=int(run.created_at.timestamp()),
        weights=weights,
    )


def _is_gone(location: str) -> bool:
    """Whether a folder is not there; names on the hub are not looked up."""
    return Path(location).is_absolute() and not Path(location).is_dir()
