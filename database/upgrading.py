"""Migrations: run once, by one process while the others wait, and never without a copy.

SQLite is copied to a file beside it, PostgreSQL into a portable backup (`database.backup`) under
the folder of work. Either is upgraded within one transaction: it is of the old version or of the
new one, whenever the process was killed.
"""

import fcntl
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from sqlalchemy import URL, Connection, Engine, String, column, inspect, select, table, text

from database.address import LedgerError, home, shown

MIGRATION_LOCK = 0xC0DE1ADD
"""Key of PostgreSQL's advisory lock."""
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
        LedgerError: it was written by a newer version, or could not be copied.
    """
    with _alone(engine, address):
        with engine.connect() as connection:  # another process may have been first
            revision = revision_of(connection)
        if revision is not None and revision > head():
            raise newer(revision, address)
        if revision == head():
            return
        if revision is not None:
            copy = _copied(engine, address)
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
def _alone(engine: Engine, address: URL) -> Iterator[None]:
    """Hold the lock that lets one process migrate while the others wait."""
    if address.get_backend_name() == "sqlite":
        with Path(f"{address.database}.lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
        return
    key = {"key": MIGRATION_LOCK}
    # Of the session, not of a transaction that would be idle for as long as migrating takes.
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("SELECT pg_advisory_lock(:key)"), key)
        try:
            yield
        finally:
            connection.execute(text("SELECT pg_advisory_unlock(:key)"), key)
