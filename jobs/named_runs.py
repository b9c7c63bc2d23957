"""A run of the ledger as a person names it."""

from collections.abc import Sequence

from database.facts import RunFacts
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
