"""The one way into the ledger."""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, Table, Text, case, cast, func
from sqlalchemy.dialects import postgresql, sqlite

from database.stored import storable
from database.table import Row

BATCH = 1000
"""Rows a statement carries at most."""
FIRST_STAYS = frozenset({"created_at", "recorded_at"})
"""Columns that say when a row was first written."""
NEVER_BLANKED = frozenset(
    ("runs", name)
    for name in ("provenance", "finished_at", "base_run", "dataset_digest", "released")
)
"""Columns that a later row without a value leaves as they are."""


def write(engine: Engine, rows: Iterable[Row]) -> None:
    """Store rows of any tables in one transaction: all of them, or none.

    A row whose key is already there replaces the other columns, but for the moments in
    `FIRST_STAYS` and what `NEVER_BLANKED` protects; the last of several rows with one key
    counts. Order does not matter: parents are written before the rows that point at them.

    Raises:
        sqlalchemy.exc.IntegrityError: a row points at one that is neither stored nor given.
        sqlalchemy.exc.OperationalError: the database is gone, or SQLite was locked for 60 s.
    """
    of_table: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        of_table[row.__tablename__].append(_values(row))
    if not of_table:
        return
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        for table in Row.metadata.sorted_tables:
            _upsert(connection, table, of_table.get(table.name, []))


def write_first(engine: Engine, row: Row) -> None:
    """Store a row unless there is one with its key, whoever else writes the same one meanwhile.

    Raises:
        sqlalchemy.exc.IntegrityError: it points at a row that is not stored.
    """
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        statement = _insert(connection, Row.metadata.tables[row.__tablename__])
        connection.execute(statement.on_conflict_do_nothing(), [_values(row)])


def _values(row: Row) -> dict[str, Any]:
    return {column.name: storable(getattr(row, column.name)) for column in row.__table__.columns}


def _upsert(connection: Connection, table: Table, rows: list[dict[str, Any]]) -> None:
    statement = _insert(connection, table)
    statement = statement.on_conflict_do_update(
        index_elements=list(table.primary_key),
        set_={
            column.name: _kept(table, column.name, statement.excluded[column.name])
            for column in table.columns
            if not column.primary_key and column.name not in FIRST_STAYS
        },
    )
    for start in range(0, len(rows), BATCH):
        connection.execute(statement, rows[start : start + BATCH])


def _insert(connection: Connection, table: Table) -> sqlite.Insert | postgresql.Insert:
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    return insert(table)


def _kept(table: Table, name: str, new: ColumnElement[Any]) -> ColumnElement[Any]:
    """Return the value an update stores: the new one, unless it would blank a protected one."""
    if (table.name, name) not in NEVER_BLANKED:
        return new
    if name == "provenance":  # what made a finished run is not what looked at it later
        finished = table.c.finished_at.is_not(None)
        return case((finished | (cast(new, Text) == "{}"), table.c.provenance), else_=new)
    return func.coalesce(new, table.c[name])
