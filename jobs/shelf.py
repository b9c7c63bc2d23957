"""The models that can be asked: finished runs of the ledger whose weights are there."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from database.schema import Checkpoint, Run
from jobs.declared import nearest
from jobs.hub.cache import place
from jobs.weights import Weights, tuned_weights

Form = Literal["alpaca", "chat"]
"""How a conversation is put to a model: in the Alpaca prompt, or in its own chat template."""


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
    form: Form = "alpaca"
    """Of a tuned model the one it was trained in."""


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
    try:
        form = _form(run, weights)
    except (OSError, ValueError):  # nor could such a tokenizer be loaded
        return None
    return Servable(
        id=run.id,
        label=run.label,
        base=run.base_run,
        created=int(run.created_at.timestamp()),
        weights=weights,
        form=form,
    )


def _form(run: Run, weights: Weights) -> Form:
    """How a model is spoken to: as its training did, else in its chat template if it has one."""
    trained = (run.provenance.get("data") or {}).get("prompt") if run.kind == "tuned" else None
    if trained in ("alpaca", "chat"):
        return "chat" if trained == "chat" else "alpaca"
    return "chat" if _has_template(weights.location, weights.revision) else "alpaca"


@lru_cache(maxsize=256)
def _has_template(location: str, revision: str | None) -> bool:
    """Whether the tokenizer of a base, in a folder or in the hub's cache, has a chat template.

    Raises:
        OSError, ValueError: its settings cannot be read.
    """
    folder = Path(location)
    if not folder.is_dir():
        folder = place(location, revision or "", "tokenizer_config.json").parent
    if (folder / "chat_template.jinja").is_file() or (folder / "chat_template.json").is_file():
        return True
    path = folder / "tokenizer_config.json"
    if not path.is_file():
        return False
    settings = json.loads(path.read_text())
    if not isinstance(settings, dict):
        raise ValueError(f"{path} holds no settings")
    return bool(settings.get("chat_template"))


def _is_gone(location: str) -> bool:
    """Whether a folder is not there; names on the hub are not looked up."""
    return Path(location).is_absolute() and not Path(location).is_dir()
