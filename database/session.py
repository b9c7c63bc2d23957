"""Opening the ledger, and how each database is tuned.

SQLite serves the processes of one host. It is refused on a network filesystem, where its
write-ahead log corrupts; use PostgreSQL there.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError

from database.address import LedgerAwayError, refuse_elsewhere, seconds_from, shown
from database.address import LedgerError as LedgerError
from database.address import NoLedgerError as NoLedgerError
from database.address import ledger_url as ledger_url
from database.patience import FOR_PAGES, is_passing, patience, said_by, until_answered
from database.stored import as_json
from database.upgrading import head, newer, revision_of, upgrade

BUSY_SECONDS = 60
"""SQLite's wait for a lock is unfair: 5 s failed under 16 writers, the worst seen was 7.3 s."""
CONNECT_SECONDS = 10
STATEMENT_SECONDS = 60.0
"""The longest that one statement may take on PostgreSQL; pages and rows take far less."""
IDLE_SECONDS = 30
"""PostgreSQL ends a transaction whose process was frozen; what it had locked is free again."""
RECYCLED_SECONDS = 1800
"""A pooled connection is not used for longer: firewalls forget them."""
BROKEN_SECONDS = 30
"""A connection over TCP whose packets nobody answers for so long is broken."""
UNANSWERED = {
    "connect_timeout": CONNECT_SECONDS,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 4,
    "tcp_user_timeout": BROKEN_SECONDS * 1000,
}
"""How soon it is noticed that PostgreSQL is out of reach; what the address says goes first."""
UNANSWERED_READER = UNANSWERED | {"connect_timeout": 5, "tcp_user_timeout": 10_000}
"""The same of who reads: somebody is looking at a page meanwhile."""


def open_ledger(url: str | None = None) -> Engine:
    """Open the ledger for writing, created and migrated when it has to be.

    An older ledger is kept as a copy before it is migrated (`database.upgrading`). A database that
    is away is waited for as `write` does, and that is told.

    Args:
        url: of SQLite or PostgreSQL; None means `CODELADDER_DATABASE_URL`, and without that
            `ledger.db` under `CODELADDER_HOME` (default `runs/`).

    Raises:
        LedgerAwayError: the database was away for longer.
        LedgerError: a wrong address, a network filesystem under SQLite, or a ledger written by a
            newer version.
    """
    address = ledger_url(url)
    if address.get_backend_name() == "sqlite":
        _prepare_folder(address)
    patience()  # a wrong value is told now
    engine = engine_of(address)
    with speaking_of(address, engine):
        if until_answered(lambda: _revision(engine)) != head():
            engine.dispose()  # a connection from before knows nothing of the write-ahead log
            unhurried = engine_of(address, statement_seconds=0)
            try:
                upgrade(unhurried, address)
            finally:
                unhurried.dispose()
    return engine


def open_for_reading(url: str | None = None) -> Engine:
    """Open the ledger as a reader: nothing is created, migrated, written or waited for long.

    Raises:
        NoLedgerError: nothing has been recorded at this address.
        LedgerAwayError: the database is away.
        LedgerError: as `open_ledger`, and a ledger that still has to be migrated.
    """
    address = ledger_url(url)
    if address.get_backend_name() == "sqlite":
        if not Path(str(address.database)).is_file():
            raise NoLedgerError(f"there is no ledger at {shown(address)} yet; run `make train-all`")
        refuse_elsewhere(address)
    engine = engine_of(address, readonly=True)
    with speaking_of(address, engine):
        _require_head(_revision(engine), address)
    return engine


@contextmanager
def opened_as_it_is(url: str | None = None) -> Iterator[Engine]:
    """Open a ledger of any version to look after it, without migrating it or any time limit.

    Raises:
        NoLedgerError: nothing has been recorded at this address.
        LedgerError: as `open_ledger`; also in place of what the database raises meanwhile.
    """
    address = ledger_url(url)
    if address.get_backend_name() == "sqlite" and not Path(str(address.database)).is_file():
        raise NoLedgerError(f"there is no ledger at {shown(address)} yet; run `make train-all`")
    with opened_empty(url) as engine:
        if _revision(engine) is None:
            raise NoLedgerError(f"{shown(address)} holds no ledger yet; run `make train-all`")
        yield engine


@contextmanager
def opened_empty(url: str | None = None) -> Iterator[Engine]:
    """Open a database that need not hold a ledger, without any time limit.

    Raises:
        LedgerError: as `open_ledger`; also in place of what the database raises meanwhile.
    """
    address = ledger_url(url)
    if address.get_backend_name() == "sqlite":
        _prepare_folder(address)
    engine = engine_of(address, statement_seconds=0)
    with speaking_of(address, engine):
        yield engine
    engine.dispose()


def engine_of(
    address: URL, *, readonly: bool = False, statement_seconds: float | None = None
) -> Engine:
    """Return an engine, tuned, that has connected to nothing yet.

    Args:
        address: as `ledger_url` returns it.
        readonly: whether the database refuses to write; who reads is then a person, who is not
            kept waiting (`database.patience.for_pages`).
        statement_seconds: the longest that a statement, or a pause within a transaction, may take
            on PostgreSQL; 0: any time, None: `CODELADDER_DATABASE_TIMEOUT`.
    """
    if address.get_backend_name() == "sqlite":
        engine = create_engine(
            address,
            json_serializer=as_json,
            execution_options={FOR_PAGES: readonly},
            connect_args={"timeout": BUSY_SECONDS},
        )
        event.listen(engine, "connect", _tune_reader if readonly else _tune_writer)
        event.listen(engine, "begin", _begin)
        return engine
    return create_engine(
        address,
        json_serializer=as_json,
        pool_pre_ping=True,
        pool_recycle=RECYCLED_SECONDS,
        pool_size=5,
        max_overflow=10,
        execution_options={FOR_PAGES: readonly},
        connect_args=_connecting(address, readonly, statement_seconds),
    )


@contextmanager
def speaking_of(address: URL, engine: Engine) -> Iterator[None]:
    """Turn what the database raises into one clear message, and close the engine.

    Raises:
        LedgerAwayError: in place of what passes by itself.
        LedgerError: in place of anything else that the database raised.
    """
    try:
        yield
    except DBAPIError as error:
        engine.dispose()
        kind = LedgerAwayError if is_passing(error) else LedgerError
        raise kind(f"no ledger at {shown(address)}: {said_by(error)}") from None
    except LedgerError:
        engine.dispose()
        raise


def _connecting(address: URL, readonly: bool, statement_seconds: float | None) -> dict[str, Any]:
    if statement_seconds is None:
        statement_seconds = seconds_from("CODELADDER_DATABASE_TIMEOUT", STATEMENT_SECONDS)
    idle = IDLE_SECONDS if statement_seconds else 0
    options = [
        f"-c statement_timeout={round(statement_seconds * 1000)}",
        f"-c idle_in_transaction_session_timeout={idle * 1000}",
        *(["-c default_transaction_read_only=on"] if readonly else []),
        str(address.query.get("options", "")),  # of several PostgreSQL takes the last
    ]
    usual = UNANSWERED_READER if readonly else UNANSWERED
    given = {name: value for name, value in usual.items() if name not in address.query}
    return given | {"options": " ".join(options).strip()}


def _prepare_folder(address: URL) -> None:
    folder = Path(str(address.database)).parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LedgerError(f"no ledger at {shown(address)}: {error.strerror}") from None
    refuse_elsewhere(address)


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


def _revision(engine: Engine) -> str | None:
    with engine.connect() as connection:
        return revision_of(connection)


def _require_head(revision: str | None, address: URL) -> None:
    if revision is None:
        raise NoLedgerError(f"{shown(address)} holds no ledger yet; run `make train-all`")
    if revision > head():
        raise newer(revision, address)
    if revision < head():
        raise LedgerError(
            f"the ledger at {shown(address)} is of version {revision}, this Codeladder needs "
            f"{head()}; the next `python -m jobs run` brings it there"
        )
