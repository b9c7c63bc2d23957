"""The models that can be asked: which the ledger knows, and which are in memory."""

import threading
from collections import OrderedDict
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
    """Models in memory: loaded when first asked, the one not asked for longest put away.

    Threads may share one; a model is loaded by one of them while the others wait.
    """

    def __init__(self, kept: int = KEPT) -> None:
        """Keep at most `kept` models in memory."""
        self._kept = kept
        self._held: OrderedDict[str, Loaded] = OrderedDict()
        self._loading: str | None = None
        self._lock = threading.Lock()

    def state(self, model: str) -> str:
        """`loaded`, `loading` or `waiting` (on disk)."""
        if model in self._held:
            return "loaded"
        return "loading" if model == self._loading else "waiting"

    def answer(
        self, model: Servable, text: str, asking: Asking, stop: Sequence[str], seed: int
    ) -> Iterator["Piece"]:
        """One answer as it is written, the model loaded first where it is not.

        Raises:
            EngineError: the model cannot be asked this.
        """
        from jobs.engine import stream

        question = Question("asked", text, whole=True)
        return stream(self._take(model), question, asking, stop, seed)

    def _take(self, model: Servable) -> "Loaded":
        from jobs.engine import load_model
        from jobs.loaded import usual_precision

        with self._lock:
            if model.id not in self._held:
                while len(self._held) >= self._kept:
                    self._held.popitem(last=False)
                self._loading = model.id
                try:
                    loaded = load_model(model.weights, usual_precision())
                finally:
                    self._loading = None
                self._held[model.id] = loaded
            self._held.move_to_end(model.id)
            return self._held[model.id]


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
