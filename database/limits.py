"""How long a name may be: what the columns of the ledger hold on PostgreSQL, in characters."""

from typing import Any

from database.schema import Experiment, Run, Score


def _held(column: Any) -> int:
    return int(column.type.length)


EXPERIMENT = _held(Experiment.__table__.c.name)
MODEL = _held(Run.__table__.c.model)
"""Of a method and a dataset too."""
LABEL = _held(Run.__table__.c.label)
BENCHMARK = _held(Score.__table__.c.benchmark)
