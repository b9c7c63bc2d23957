"""A run of the ledger, or all of an experiment, as a person names it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Engine

from database.facts import RunFacts
from database.queries import experiments, runs
from database.work import grid
from jobs.declared import UserError, nearest


def named_run(name: str, known: Sequence[RunFacts], offered: Sequence[RunFacts]) -> RunFacts:
    """The run of this id or label.

    Args:
        name: its id, or its label.
        known: all that there are.
        offered: those to choose the nearest name from where there is none.

    Raises:
        UserError: there is none, or several have this label.
    """
    found = [r for r in known if r.id == name] or [r for r in known if r.label == name]
    if not found:
        names = [text for run in offered for text in (run.id, run.label)]
        raise UserError(f"the ledger has no run {name!r}.{nearest(name, names)}")
    if found[1:]:
        ids = ", ".join(run.id for run in found)
        raise UserError(f"{name!r} is the label of several runs; name one by its id: {ids}")
    return found[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """What a name stands for."""

    name: str
    is_experiment: bool
    runs: tuple[RunFacts, ...]
    """Of an experiment in the order of its grid; a run alone."""


def named(ledger: Engine, name: str) -> Named:
    """The run of this id or label, or the experiment of this name or file.

    Raises:
        UserError: there is neither, or several runs have this label.
    """
    known = {run.id: run for run in runs(ledger)}
    if any(name in (run.id, run.label) for run in known.values()):
        run = named_run(name, list(known.values()), list(known.values()))
        return Named(name=run.label, is_experiment=False, runs=(run,))
    told = experiments(ledger)
    stem = Path(name).stem if name.endswith((".yaml", ".yml")) else name
    if stem not in told:
        labels = [text for run in known.values() for text in (run.id, run.label)]
        raise UserError(
            f"the ledger has no run or experiment {name!r}.{nearest(name, [*told, *labels])}"
        )
    cells = (known[one] for one in grid(ledger, stem) if one in known)
    return Named(name=stem, is_experiment=True, runs=tuple(cells))


def printable(text: str) -> str:
    """A text without what a terminal takes for commands: names and words of others are in it."""
    return "".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in text)
