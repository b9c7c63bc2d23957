"""Running a SELECT, and naming the columns a fact is made of."""

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from sqlalchemy import Engine, Executable

from database.patience import read
from database.table import Row


def rows_of(engine: Engine, wanted: Executable) -> Sequence[Any]:
    """Return all rows of one SELECT."""
    return read(engine, lambda connection: connection.execute(wanted).all())


def columns_of(table: type[Row], fact: type[Any]) -> list[Any]:
    """Return the columns of `table` that are fields of the dataclass `fact`, in its order."""
    names = [field.name for field in fields(fact)]
    return [getattr(table, name) for name in names if name in table.__table__.columns]
