"""What every table is made of: the base class, and moments in UTC."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, DateTime, Dialect, Float, TypeDecorator
from sqlalchemy.orm import DeclarativeBase, MappedAsDataclass


def now() -> datetime:
    """Now in UTC, the only time zone in the ledger."""
    return datetime.now(UTC)


class Instant(TypeDecorator[datetime]):
    """A moment, in UTC on both databases: SQLite stores no zone, PostgreSQL answers in its own."""

    impl = DateTime(timezone=True)
    cache_ok = True
    python_type = datetime

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Convert to UTC; a moment without a zone is refused with ValueError."""
        if value is not None and value.tzinfo is None:
            raise ValueError(f"{value} has no time zone; the ledger holds moments, in UTC")
        return value and value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return the moment in UTC."""
        if value is None:
            return None
        return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)


class Row(MappedAsDataclass, DeclarativeBase, kw_only=True):
    """Base of every table; an instance is a plain typed row until `database.write` stores it."""

    type_annotation_map = {  # noqa: RUF012 (SQLAlchemy reads a class attribute)
        dict[str, Any]: JSON,
        list[str]: JSON,
        datetime: Instant(),
        float: Float(53),
    }
