"""The clock of the database, so that the clocks of two hosts are never compared."""

from datetime import datetime
from typing import Any

from sqlalchemy import Engine, Float, FunctionElement, literal, select
from sqlalchemy.ext.compiler import compiles

from database.patience import read
from database.table import Instant

BY_CLOCK = {"by the clock of the database": True}
"""Information of a column: a row that has no moment there gets the present one, as it is stored."""


class clock(FunctionElement[datetime]):  # noqa: N801 (reads as the function of SQL that it is)
    """The moment at which a statement runs, in SQL, or some seconds before it.

    Not the moment at which its transaction began: that may have waited for a lock since.
    """

    name = "clock"
    type = Instant()
    inherit_cache = True

    def __init__(self, seconds_ago: float = 0.0) -> None:
        super().__init__(literal(seconds_ago, Float(53)))


@compiles(clock, "postgresql")
def _in_postgresql(element: clock, compiler: Any, **more: Any) -> str:
    ago = compiler.process(element.clauses, **more)
    return f"(clock_timestamp() - make_interval(secs => {ago}))"


@compiles(clock, "sqlite")
def _in_sqlite(element: clock, compiler: Any, **more: Any) -> str:
    ago = compiler.process(element.clauses, **more)
    return f"(strftime('%Y-%m-%d %H:%M:%f', 'now', '-' || {ago} || ' seconds') || '000')"


def moment(engine: Engine) -> datetime:
    """Ask a database for the time, to compare with the moments in it."""
    return read(engine, lambda connection: connection.execute(select(clock())).scalar_one())
