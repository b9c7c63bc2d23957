"""Migrations: run once, by one process while the others wait, and never without a copy.

SQLite is copied to a file beside it, PostgreSQL into a portable backup (`database.backup`) under
the folder of work. Either is upgraded within one transaction: it is of the old version or of the
new one, whenever the process was killed.
"""

import fcntl
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO

from sqlalchemy import URL, Connection, Engine, String, column, inspect, select, table, text

from database.address import LedgerError, home, shown

MIGRATION_LOCK = 0xC0DE1ADD
"""Key of PostgreSQL's advisory lock."""
LONGEST_WAIT = 1800.0
"""Seconds for which another process may migrate, or restore, while this one waits."""
MIGRATIONS = Path(__file__).parent / "migrations"


def head() -> str:
    """Return the newest revision: migrations are numbered files, `0001_first_tables.py`."""
    return max(path.name for path in MIGRATIONS.glob("versions/[0-9]*.py")).split("_")[0]


def revision_of(connection: Connection) -> str | None:
    """Return the revision of the tables; None: there are none."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    version = column("version_num", String)
    return connection.scalar(select(version).select_from(table("alembic_version")))


def newer(revision: str, address: URL) -> LedgerError:
    """What is raised of a ledger that another version of this program knows, and we do not."""
    return LedgerError(
        f"the ledger at {shown(address)} was written by a newer Codeladder "
        f"(version {revision}; this one knows {head()}); update this one"
    )


def upgrade(engine: Engine, address: URL) -> None:
    """Bring a ledger to the newest version, unless another process does so meanwhile.

    Args:
        engine: open for writing, whose statements may take any time.
        address: of it.

    Raises:
        LedgerError: it was written by a newer version, could not be copied, or another process
            has been at it for `LONGEST_WAIT`.
    """
    with alone(engine, address):
        with engine.connect() as connection:  # another process may have been first
            revision = revision_of(connection)
        if revision is not None and revision > head():
            raise newer(revision, address)
        if revision == head():
            return
        if revision is not None:
            try:
                copy = _copied(engine, address)
            except (OSError, sqlite3.Error) as error:
                raise LedgerError(
                    f"the ledger at {shown(address)} could not be copied before it is upgraded: "
                    f"{error}"
                ) from None
            said = f"The ledger is of version {revision}; it was copied to {copy}"
            print(f"{said} and is brought to version {head()}.", file=sys.stderr)
        migrate(engine, head())


def migrate(engine: Engine, revision: str) -> None:
    """Bring the tables to a revision, in one transaction."""
    from alembic import command
    from alembic.config import Config

    if engine.dialect.name == "sqlite":
        with engine.connect() as connection:
            connection.connection.cursor().execute("PRAGMA journal_mode=WAL").fetchall()
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


def _copied(engine: Engine, address: URL) -> Path:
    """Copy an older ledger; where an earlier copy of the same kind is, a number is added."""
    if address.get_backend_name() == "sqlite":
        copy = _unused(Path(f"{address.database}.before-{head()}"))
        _copy_sqlite(Path(str(address.database)), copy)
        return copy
    from database.backup import back_up

    copy = _unused(home() / "backups" / f"before-{head()}.jsonl.zst")
    back_up(engine, copy)
    return copy


def _copy_sqlite(ledger: Path, copy: Path) -> None:
    """Copy a database that others may be reading, whole or not at all."""
    temporary = copy.with_name(f".{copy.name}")
    with closing(sqlite3.connect(ledger)) as old, closing(sqlite3.connect(temporary)) as new:
        old.backup(new)
    temporary.rename(copy)


def _unused(path: Path) -> Path:
    numbered = (path.with_name(f"{path.name}.{number}") for number in range(2, 1000))
    return next(one for one in (path, *numbered) if not one.exists())


@contextmanager
def alone(engine: Engine, address: URL) -> Iterator[None]:
    """Hold the lock that lets one process migrate, or restore, while the others wait.

    Raises:
        LedgerError: another process has held it for `LONGEST_WAIT`, or it is a file that cannot
            be opened.
    """
    if address.get_backend_name() == "sqlite":
        with _lock_file(address) as file:
            _wait_until(lambda: _locked(file), address)
            yield
        return
    key = {"key": MIGRATION_LOCK}
    # Of the session, not of a transaction that would be idle for as long as migrating takes.
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        asked = text("SELECT pg_try_advisory_lock(:key)")
        _wait_until(lambda: bool(connection.scalar(asked, key)), address)
        try:
            yield
        finally:
            connection.execute(text("SELECT pg_advisory_unlock(:key)"), key)


def _wait_until(succeeds: Callable[[], bool], address: URL) -> None:
    given_up, told = time.monotonic() + LONGEST_WAIT, False
    while not succeeds():
        busy = f"another process migrates or restores the ledger at {shown(address)}"
        if time.monotonic() >= given_up:
            raise LedgerError(f"{busy}, for {LONGEST_WAIT:.0f} s already; try again later")
        if not told:
            print(f"{busy}; waiting up to {LONGEST_WAIT:.0f} s.", file=sys.stderr)
        told = True
        time.sleep(0.2)


def _lock_file(address: URL) -> IO[str]:
    file = Path(f"{address.database}.lock")
    try:
        return file.open("w")
    except OSError as error:
        raise LedgerError(f"no ledger at {shown(address)}: {file}: {error.strerror}") from None


def _locked(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
