"""How long a name may be: what the columns of the ledger hold on PostgreSQL, in characters."""

from database.schema import Experiment, Run, Score

EXPERIMENT: int = Experiment.__table__.c.name.type.length
MODEL: int = Run.__table__.c.model.type.length
"""Of a method and a dataset too."""
LABEL: int = Run.__table__.c.label.type.length
BENCHMARK: int = Score.__table__.c.benchmark.type.length
