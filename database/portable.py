"""Rows as lines of JSON that either database is filled from, to the letter."""

import json
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime
from typing import Any

from sqlalchemy import Column

Reader = Callable[[str], Any]


def line_of(value: Any) -> bytes:
    """Return a row, or what is said of rows, as one line."""
    return (json.dumps(value, ensure_ascii=False, default=_as_text) + "\n").encode()


def readers(columns: Iterable[Column[Any]], *, naive: bool = False) -> dict[str, Reader]:
    """Return how the columns are read that JSON has no type for, by name.

    Args:
        columns: of one table.
        naive: moments are stored as SQLite does, in UTC without saying so.
    """

    def moment(text: str) -> datetime:
        at = datetime.fromisoformat(text).astimezone(UTC)
        return at.replace(tzinfo=None) if naive else at

    kinds: dict[type, Reader] = {datetime: moment, date: date.fromisoformat}
    return {c.name: kinds[_kind(c)] for c in columns if _kind(c) in kinds}


def typed(row: dict[str, Any], of: dict[str, Reader]) -> dict[str, Any]:
    """Return a row that was read from JSON with the types of its columns."""
    return row | {name: of[name](row[name]) for name in of if row.get(name) is not None}


def _kind(column: Column[Any]) -> type:
    try:
        return column.type.python_type
    except NotImplementedError:
        return object


def _as_text(value: Any) -> str:
    if isinstance(value, datetime):  # what SQLite keeps without a zone is in UTC
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).astimezone(UTC).isoformat()
    if isinstance(value, date):
        return value.isoformat()
    raise TypeError(f"a column of {type(value).__name__} has no form in JSON")
