"""Opening the ledger: where it is, how each database is tuned, and its migrations.

SQLite serves the processes of one host. It is refused on a network filesystem, where its
write-ahead log corrupts; use PostgreSQL there.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import (
    URL,
    Connection,
    Engine,
    String,
    column,
    create_engine,
    event,
    inspect,
    make_url,
    select,
    table,
    text,
)
from sqlalchemy.exc import ArgumentError, DBAPIError

from database.filesystem import network_filesystem
from database.stored import as_json

BUSY_SECONDS = 60
"""SQLite's wait for a lock is unfair: 5 s failed under 16 writers, the worst seen was 7.3 s."""
CONNECT_SECONDS = 10
MIGRATION_LOCK = 0xC0DE1ADD
"""Key of PostgreSQL's advisory lock."""
MIGRATIONS = Path(__file__).parent / "migrations"
ROOT = Path(__file__).parent.parent


class LedgerError(Exception):
    """The ledger cannot be used; the message says which one and what to do. Holds no password.

    LedgerError
    └── NoLedgerError
    """


class NoLedgerError(LedgerError):
    """There is no ledger at this address yet."""


def open_ledger(url: str | None = None) -> Engine:
    """Open the ledger for writing, created and migrated when it has to be.

    Args:
        url: of SQLite or PostgreSQL; None means `CODELADDER_DATABASE_URL`, and without that
            `ledger.db` under `CODELADDER_HOME` (default `runs/`).

    Raises:
        LedgerError: a wrong address, an unreachable database, a network filesystem under
            SQLite, or a ledger written by a newer version.
    """
    address = ledger_url(url)
    if address.get_backend_name() == "sqlite":
        _prepare_folder(address)
    engine = _engine(address)
    with _speaking_of(address, engine):
        if _revision(engine) != head():
            _migrate(engine, address)
    return engine


def open_for_reading(url: str | None = None) -> Engine:
    """Open the ledger as a reader: nothing is created, migrated or written.

    Raises:
        NoLedgerError: nothing has been recorded at this address.
        LedgerError: as `open_ledger`, and a ledger that still has to be migrated.
    """
    address = ledger_url(url)
    if address.get_backend_name() == "sqlite" and not Path(str(address.database)).is_file():
        raise NoLedgerError(f"there is no ledger at {_shown(address)} yet; run `make train-all`")
    engine = _engine(address, readonly=True)
    with _speaking_of(address, engine):
        _require_head(_revision(engine), address)
    return engine


def ledger_url(url: str | None = None) -> URL:
    """Return the address in SQLAlchemy's form: an absolute SQLite path, or psycopg 3.

    Raises:
        LedgerError: unless it names an SQLite file or a PostgreSQL database.
    """
    given = url or os.environ.get("CODELADDER_DATABASE_URL")
    if not given:
        home = Path(os.environ.get("CODELADDER_HOME") or ROOT / "runs")
        return URL.create("sqlite", database=str((home / "ledger.db").absolute()))
    try:
        address = make_url(given)
    except ArgumentError:
        raise LedgerError(
            "the database address is not a URL; it reads sqlite:////folder/ledger.db "
            "or postgresql://user:password@host/name"
        ) from None
    return _normalised(address)


def head() -> str:
    """Return the newest revision: migrations are numbered files, `0001_first_tables.py`."""
    return max(path.name for path in MIGRATIONS.glob("versions/[0-9]*.py")).split("_")[0]


def _normalised(address: URL) -> URL:
    kind = address.drivername.split("+")[0]
    if kind == "sqlite" and address.database not in (None, "", ":memory:"):
        path = str(Path(str(address.database)).absolute())
        return address.set(drivername="sqlite", database=path)
    if kind in ("postgresql", "postgres") and address.database:
        return address.set(drivername="postgresql+psycopg")
    raise LedgerError(
        f"the ledger is an SQLite file or a PostgreSQL database, not {_shown(address)}"
    )


def _shown(address: URL) -> str:
    """Return what an error may print: no user, password or query."""
    if address.host is None:
        return address.database or address.drivername
    port = f":{address.port}" if address.port else ""
    return f"{address.drivername.split('+')[0]}://{address.host}{port}/{address.database or ''}"


def _prepare_folder(address: URL) -> None:
    folder = Path(str(address.database)).parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LedgerError(f"no ledger at {_shown(address)}: {error.strerror}") from None
    if kind := network_filesystem(folder):
        raise LedgerError(
            f"{folder} is on {kind}, where SQLite loses rows; set CODELADDER_HOME to a local "
            "disk or CODELADDER_DATABASE_URL to a PostgreSQL database"
        )


def _engine(address: URL, *, readonly: bool = False) -> Engine:
    if address.get_backend_name() == "sqlite":
        engine = create_engine(
            address, json_serializer=as_json, connect_args={"timeout": BUSY_SECONDS}
        )
        event.listen(engine, "connect", _tune_reader if readonly else _tune_writer)
        event.listen(engine, "begin", _begin)
        return engine
    arguments: dict[str, Any] = {"connect_timeout": CONNECT_SECONDS}
    if readonly:
        arguments["options"] = "-c default_transaction_read_only=on"
    return create_engine(
        address, json_serializer=as_json, pool_pre_ping=True, connect_args=arguments
    )


def _tune_writer(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # the driver begins nothing; `_begin` does
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA foreign_keys=ON")


def _tune_reader(connection: Any, _record: object) -> None:
    connection.isolation_level = None
    connection.execute("PRAGMA query_only=ON")


def _begin(connection: Connection) -> None:
    """Take the write lock at once: a reader that turns writer fails without waiting."""
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


@contextmanager
def _speaking_of(address: URL, engine: Engine) -> Iterator[None]:
    """Turn what the driver raises into one clear message, and close the engine."""
    try:
        yield
    except (DBAPIError, OSError) as error:
        engine.dispose()
        cause = str(getattr(error, "orig", error)).strip().splitlines()
        raise LedgerError(f"no ledger at {_shown(address)}: {cause[-1]}") from None
    except LedgerError:
        engine.dispose()
        raise


def _revision(engine: Engine) -> str | None:
    with engine.connect() as connection:
        return _revision_of(connection)


def _revision_of(connection: Connection) -> str | None:
    """Return the revision of the tables; None: there are none."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    version = column("version_num", String)
    return connection.scalar(select(version).select_from(table("alembic_version")))


def _require_head(revision: str | None, address: URL) -> None:
    if revision is None:
        raise NoLedgerError(f"{_shown(address)} holds no ledger yet; run `make train-all`")
    if revision > head():
        raise _newer(revision, address)
    if revision < head():
        raise LedgerError(
            f"the ledger at {_shown(address)} is of version {revision}, this Codeladder needs "
            f"{head()}; the next `python -m jobs run` brings it there"
        )


def _newer(revision: str, address: URL) -> LedgerError:
    return LedgerError(
        f"the ledger at {_shown(address)} was written by a newer Codeladder "
        f"(version {revision}; this one knows {head()}); update this one"
    )


def _migrate(engine: Engine, address: URL) -> None:
    with _alone(engine, address):
        revision = _revision(engine)  # another process may have been first
        if revision is not None and revision > head():
            raise _newer(revision, address)
        if revision != head():
            _upgrade(engine)


@contextmanager
def _alone(engine: Engine, address: URL) -> Iterator[None]:
    """Hold the lock that lets one process migrate while the others wait."""
    if address.get_backend_name() == "sqlite":
        with Path(f"{address.database}.lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
        return
    with engine.connect() as connection:
        connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": MIGRATION_LOCK})
        try:
            yield
        finally:
            connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": MIGRATION_LOCK})


def _upgrade(engine: Engine) -> None:
    from alembic import command
    from alembic.config import Config

    if engine.dialect.name == "sqlite":
        with engine.connect() as connection:
            connection.connection.cursor().execute("PRAGMA journal_mode=WAL")
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
