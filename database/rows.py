"""Running a SELECT, and naming the columns a fact is made of."""

from collections.abc import Sequence
from dataclasses import fields
from typing import Any, TypeVar

from sqlalchemy import Engine, Executable, Select

from database.patience import read
from database.table import Row

T = TypeVar("T")


def rows_of(engine: Engine, wanted: Executable) -> Sequence[Any]:
    """Return all rows of one SELECT."""
    return read(engine, lambda connection: connection.execute(wanted).all())


def scalars_of(engine: Engine, wanted: Select[T]) -> list[T]:
    """Return the first column of all rows of one SELECT."""
    return [row[0] for row in rows_of(engine, wanted)]


def scalar_of(engine: Engine, wanted: Select[T]) -> T | None:
    """Return the first column of the first row of one SELECT; None: it has no row."""
    return next(iter(scalars_of(engine, wanted)), None)


def columns_of(table: type[Row], fact: type[Any]) -> list[Any]:
    """Return the columns of `table` that are fields of the dataclass `fact`, in its order."""
    names = [field.name for field in fields(fact)]
    return [getattr(table, name) for name in names if name in table.__table__.columns]
