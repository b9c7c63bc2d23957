"""The whole ledger in one file, that either database is filled from again.

The file is zstandard over lines of JSON: what it is, then for each table its columns and its rows,
and at the end how many rows there are and the sha256 of every byte before. It is taken in one
transaction, so it is the ledger of one moment, while others go on writing.
"""

import hashlib
import io
import json
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import zstandard
from sqlalchemy import URL, Connection, Engine, MetaData, Table, func, select, text

from database.address import LedgerError, shown
from database.clock import clock
from database.portable import line_of, readers, typed
from database.table import Row
from database.upgrading import alone, head, migrate, newer, revision_of

FORMAT = 1
ROWS_AT_A_TIME = 1000
VERSIONS = "alembic_version"
KIND = "codeladder ledger"


class BackupError(Exception):
    """A file is no backup, or a damaged one; nothing was restored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupFacts:
    """What is in a backup."""

    revision: str
    at: datetime
    """When it was taken, by the clock of the database."""
    rows: dict[str, int]
    """Of each table."""
    sha256: str
    """Of the lines before the last one."""


def back_up(engine: Engine, file: Path) -> BackupFacts:
    """Write a ledger of any version into a file; the file appears when it is whole.

    Args:
        engine: whose statements may take any time.
        file: to be written; must not be there.

    Raises:
        LedgerError: there is no ledger in this database.
        FileExistsError: the file is there.
    """
    if file.exists():
        raise FileExistsError(f"{file} is there already")
    file.parent.mkdir(parents=True, exist_ok=True)
    with _temporary(file) as temporary, snapshot(engine) as connection:
        revision = revision_of(connection)
        if revision is None:
            raise LedgerError(f"there is no ledger in {shown(engine.url)}")
        with zstandard.open(temporary, "wb") as out:
            facts = _write(connection, revision, out)
        temporary.rename(file)
    return facts


def verify(file: Path) -> BackupFacts:
    """Read a backup to its end and check its digest.

    Raises:
        BackupError: it is none, or damaged.
    """
    if not file.is_file():
        raise BackupError(f"there is no file {file}")
    head_line, last = None, None
    for line in _checked_lines(file):
        head_line = head_line or line
        last = line
    assert head_line is not None and last is not None
    return BackupFacts(
        revision=head_line["revision"],
        at=datetime.fromisoformat(head_line["at"]),
        rows=last["rows"],
        sha256=last["sha256"],
    )


def fill(engine: Engine, address: URL, file: Path) -> BackupFacts:
    """Fill an empty database from a backup, of this version or an older one.

    The whole file is verified first, and the rows are stored in one transaction. No other process
    restores or migrates meanwhile; where one that had opened the empty ledger before writes into
    it, either its row or this whole backup is not stored.

    Args:
        engine: open for writing, whose statements may take any time.
        address: of it.
        file: the backup.

    Raises:
        BackupError: the file is none, or damaged, or there are rows in the database.
        LedgerError: the backup is of a newer version, or another process is at it.
    """
    facts = verify(file)
    if facts.revision > head():
        raise newer(facts.revision, address)
    with alone(engine, address):
        with engine.connect().execution_options(writes=True) as connection, connection.begin():
            _empty(connection, address)
        migrate(engine, facts.revision)
        with engine.connect().execution_options(writes=True) as connection, connection.begin():
            _read(connection, _checked_lines(file))
        migrate(engine, head())
    return facts


def _write(connection: Connection, revision: str, out: Any) -> BackupFacts:
    digest = hashlib.sha256()
    at = connection.execute(select(clock())).scalar_one()

    def put(value: Any) -> None:
        line = line_of(value)
        digest.update(line)
        out.write(line)

    put({KIND: FORMAT, "revision": revision, "at": at.isoformat()})
    rows = {}
    for table in _tables(connection):
        put({"table": table.name, "columns": [column.name for column in table.columns]})
        rows[table.name] = 0
        for row in connection.execute(select(table).execution_options(yield_per=ROWS_AT_A_TIME)):
            put(list(row))
            rows[table.name] += 1
    sha256 = digest.hexdigest()
    out.write(line_of({"rows": rows, "sha256": sha256}))
    return BackupFacts(revision=revision, at=at, rows=rows, sha256=sha256)


def _read(connection: Connection, lines: Iterator[Any]) -> None:
    tables = {table.name: table for table in _tables(connection)}
    next(lines)  # what it is
    storing = None
    for line in lines:
        if isinstance(line, list):
            assert storing is not None
            storing.row(line)
            continue
        if storing is not None:
            storing.flush()
        if "table" in line:
            storing = _Storing(connection, _known(tables, line), line["columns"])


def _known(tables: dict[str, Table], line: dict[str, Any]) -> Table:
    table = tables.get(line["table"])
    if table is None or not set(line["columns"]) <= set(table.columns.keys()):
        columns = ", ".join(line["columns"])
        raise BackupError(
            f"the backup has a table {line['table']} ({columns}) that is unknown here"
        )
    return table


class _Storing:
    """Puts the rows of one table into a database, many at a time."""

    def __init__(self, connection: Connection, table: Table, columns: Sequence[str]) -> None:
        self._connection, self._table, self._columns = connection, table, columns
        self._readers = readers(table.columns, naive=connection.dialect.name == "sqlite")
        self._rows: list[dict[str, Any]] = []

    def row(self, values: list[Any]) -> None:
        row = dict(zip(self._columns, values, strict=True))
        self._rows.append(typed(row, self._readers))
        if len(self._rows) >= ROWS_AT_A_TIME:
            self.flush()

    def flush(self) -> None:
        if self._rows:
            self._connection.execute(self._table.insert(), self._rows)
        self._rows = []


def _tables(connection: Connection) -> list[Table]:
    """The tables as they are in the database, whatever version it is of; parents first."""
    found = MetaData()
    found.reflect(connection)
    return [table for table in found.sorted_tables if table.name != VERSIONS]


def _checked_lines(file: Path) -> Iterator[Any]:
    """The lines of a backup, parsed; the last one is given out only if the digest is right."""
    digest, rows, last = hashlib.sha256(), 0, None
    try:
        with zstandard.open(file, "rb") as packed, io.BufferedReader(packed) as stream:
            for line in stream:
                if last is not None:
                    raise BackupError(f"{file}: something follows the end of the backup")
                value = json.loads(line)
                if rows == 0 and not (isinstance(value, dict) and value.get(KIND) == FORMAT):
                    raise BackupError(f"{file} is no backup of a ledger, or of another program")
                rows += 1
                if isinstance(value, dict) and "sha256" in value:
                    last = value
                    continue
                digest.update(line)
                yield value
    except (zstandard.ZstdError, ValueError) as error:
        raise BackupError(f"{file} is damaged, or no backup of a ledger: {error}") from None
    if last is None:
        raise BackupError(f"{file} is cut off after {rows} lines")
    if last["sha256"] != digest.hexdigest():
        raise BackupError(f"{file} is damaged: its sha256 is not the one that it states")
    yield last


def _empty(connection: Connection, address: URL) -> None:
    """Take away our tables, so that those of the backup's version can be made.

    Raises:
        BackupError: a table has rows.
    """
    found = MetaData()
    found.reflect(connection)
    for table in found.sorted_tables:
        if connection.dialect.name == "postgresql":  # SQLite has locked all of them already
            connection.execute(text(f'LOCK TABLE "{table.name}" IN ACCESS EXCLUSIVE MODE'))
        rows = connection.scalar(select(func.count()).select_from(table))
        if rows and table.name != VERSIONS:
            raise BackupError(
                f"{shown(address)} holds {rows} rows of {table.name}; a backup is restored into "
                "an empty database only: set CODELADDER_DATABASE_URL to another one"
            )
    ours = {*Row.metadata.tables, VERSIONS}
    found.drop_all(connection, [table for table in found.sorted_tables if table.name in ours])


@contextmanager
def snapshot(engine: Engine) -> Iterator[Connection]:
    """A connection that sees the ledger of one moment, and whose statements may take any time."""
    if engine.dialect.name == "postgresql":
        engine = engine.execution_options(isolation_level="REPEATABLE READ")
    with engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("SET LOCAL statement_timeout = 0"))
            connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
        yield connection


@contextmanager
def _temporary(file: Path) -> Iterator[Path]:
    temporary = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    try:
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)
