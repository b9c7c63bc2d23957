"""The one way into the ledger."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any, SupportsInt

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Float,
    Integer,
    Select,
    String,
    Table,
    Text,
    bindparam,
    case,
    cast,
    func,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.elements import KeyedColumnElement
from sqlalchemy.types import TypeEngine

from database.claims import Claim, require
from database.clock import BY_CLOCK, clock
from database.patience import patiently
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


def write(
    engine: Engine, rows: Iterable[Row], claim: Claim | None = None, patience: float | None = None
) -> None:
    """Store rows of any tables in one transaction: all of them, or none.

    A row whose key is already there replaces the other columns, but for the moments in
    `FIRST_STAYS` and what `NEVER_BLANKED` protects; the last of several rows with one key
    counts. Order does not matter: parents are written before the rows that point at them. So it is
    safe to write the same again, and that is done where a connection breaks.

    Args:
        engine: open for writing.
        rows: to store.
        claim: on the run that they are of; None: they need none.
        patience: seconds to wait for a database that is restarted or unreachable; None: 120, or
            what `CODELADDER_DATABASE_PATIENCE` says.

    Raises:
        LostClaimError: the run is another driver's by now; nothing is stored.
        sqlalchemy.exc.IntegrityError: a row points at one that is neither stored nor given.
        sqlalchemy.exc.OperationalError: the database is gone for longer, or SQLite was locked for
            60 s.
    """
    of_table = _by_table(rows)
    if not of_table:
        return

    def act(connection: Connection) -> None:
        if claim is not None:
            require(connection, claim)
        for name in _parents_first():
            if name in of_table:
                _upsert(connection, name, of_table[name])

    patiently(engine, act, patience)


def write_first(engine: Engine, row: Row) -> None:
    """Store a row unless there is one with its key, whoever else writes the same one meanwhile.

    Raises:
        sqlalchemy.exc.IntegrityError: it points at a row that is not stored.
    """
    table = Row.metadata.tables[row.__tablename__]

    def act(connection: Connection) -> None:
        statement = _insert(connection.dialect.name, table).values(_by_clock(table))
        connection.execute(statement.on_conflict_do_nothing(), [_values(row)])

    patiently(engine, act)


def _by_table(rows: Iterable[Row]) -> dict[str, list[dict[str, Any]]]:
    """The rows of each table, by key: two writers that meet then lock them in the same order."""
    found: dict[str, dict[tuple[Any, ...], dict[str, Any]]] = defaultdict(dict)
    for row in rows:
        values = _values(row)
        found[row.__tablename__][tuple(values[name] for name in _key(row.__tablename__))] = values
    return {name: [values for _, values in sorted(of.items())] for name, of in found.items()}


def _values(row: Row) -> dict[str, Any]:
    return {
        parameter: storable(getattr(row, name)) for name, parameter in _columns(row.__tablename__)
    }


@cache
def _parents_first() -> tuple[str, ...]:
    return tuple(table.name for table in Row.metadata.sorted_tables)


@cache
def _columns(table: str) -> tuple[tuple[str, str], ...]:
    """The name of each column, and that of its value among the parameters of a statement."""
    return tuple((column.name, _given(column)) for column in Row.metadata.tables[table].columns)


@cache
def _key(table: str) -> tuple[str, ...]:
    return tuple(column.name for column in Row.metadata.tables[table].primary_key)


def _given(column: KeyedColumnElement[Any]) -> str:
    """The name of a column's value among the parameters of a statement."""
    return f"given_{column.name}" if column.info == BY_CLOCK else column.name


def _by_clock(table: Table) -> dict[str, ColumnElement[Any]]:
    """What is stored in the columns that have the database's own moment unless one is given."""
    given = ((c.name, bindparam(_given(c), type_=c.type)) for c in _clocked(table))
    return {name: func.coalesce(value, clock()) for name, value in given}


def _upsert(connection: Connection, table: str, rows: list[dict[str, Any]]) -> None:
    dialect = connection.dialect.name
    statement = _upserting(dialect, table)
    for start in range(0, len(rows), BATCH):
        part = rows[start : start + BATCH]
        connection.execute(statement, _as_lists(table, part) if dialect == "postgresql" else part)


def _as_lists(table: str, rows: list[dict[str, Any]]) -> dict[str, list[Any]]:
    """Rows as one list for each column, whose values are of one type: psycopg asks for that."""
    lists = {name: [row[name] for row in rows] for name in rows[0]}
    for name, number in _numbers(table):
        lists[name] = [value if value is None else number(value) for value in lists[name]]
    return lists


@cache
def _numbers(table: str) -> tuple[tuple[str, Callable[[Any], float]], ...]:
    """The columns of numbers, and what makes one of True, or of what numpy has instead."""
    kinds = ((c.name, c.type) for c in Row.metadata.tables[table].columns)
    of = {name: _whole if isinstance(kind, Integer) else float for name, kind in kinds
          if isinstance(kind, Integer | Float)}  # fmt: skip
    return tuple(of.items())


def _whole(value: Any) -> Any:
    """A whole number as an int; anything else is left for the database to refuse."""
    return int(value) if isinstance(value, SupportsInt) and int(value) == value else value


@cache
def _upserting(dialect: str, name: str) -> sqlite.Insert | postgresql.Insert:
    """The statement that stores rows of a table, made once: to make it costs more than one row."""
    table = Row.metadata.tables[name]
    statement = _insert(dialect, table)
    if dialect == "postgresql":
        statement = statement.from_select([c.name for c in table.columns], _of_lists(table))
    else:
        statement = statement.values(_by_clock(table))
    return statement.on_conflict_do_update(
        index_elements=list(table.primary_key),
        set_={
            column.name: _kept(table, column.name, statement.excluded[column.name])
            for column in table.columns
            if not column.primary_key and column.name not in FIRST_STAYS
        },
    )


def _of_lists(table: Table) -> Select[Any]:
    """Rows of a list for each column: one statement for all of them, twice as quick as one each."""
    kinds = {_given(c): postgresql.ARRAY(_element(c), dimensions=1) for c in table.columns}
    lists = [bindparam(name, type_=kind) for name, kind in kinds.items()]
    names = [_given(column) for column in table.columns]
    given = func.unnest(*lists).table_valued(*names).render_derived().c
    moments = {c.name: func.coalesce(given[_given(c)], clock()) for c in _clocked(table)}
    return select(*(moments.get(c.name, given[_given(c)]) for c in table.columns))


def _element(column: KeyedColumnElement[Any]) -> TypeEngine[Any]:
    """The type of a column; of texts without a length, which a cast would cut them to."""
    return Text() if isinstance(column.type, String) else column.type


def _clocked(table: Table) -> list[KeyedColumnElement[Any]]:
    return [column for column in table.columns if column.info == BY_CLOCK]


def _insert(dialect: str, table: Table) -> sqlite.Insert | postgresql.Insert:
    return (postgresql.insert if dialect == "postgresql" else sqlite.insert)(table)


def _kept(table: Table, name: str, new: ColumnElement[Any]) -> ColumnElement[Any]:
    """Return the value an update stores: the new one, unless it would blank a protected one."""
    if (table.name, name) not in NEVER_BLANKED:
        return new
    if name == "provenance":  # what made a finished run is not what looked at it later
        finished = table.c.finished_at.is_not(None)
        return case((finished | (cast(new, Text) == "{}"), table.c.provenance), else_=new)
    return func.coalesce(new, table.c[name])
