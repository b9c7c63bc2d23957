"""Giving back the room of deleted rows, and how much room a ledger takes."""

from pathlib import Path

from sqlalchemy import Engine, inspect, select, text

from database.address import LedgerError
from database.claims import STALE_SECONDS
from database.clock import clock
from database.live import Claimed
from database.rows import rows_of
from database.table import Row


def vacuum(engine: Engine, *, full: bool = False) -> None:
    """Let the room of deleted rows be used again, and measure the tables for the planner.

    SQLite gives the room back to the disk. PostgreSQL does so only where `full` asks for it: it
    then writes each table anew, and nobody can read it meanwhile.

    Args:
        engine: whose statements may take any time.
        full: whether to give the room back to the disk of PostgreSQL.

    Raises:
        LedgerError: `full`, while a driver works on a run.
        sqlalchemy.exc.OperationalError: the disk is full.
    """
    if engine.dialect.name == "postgresql":
        there = inspect(engine).get_table_names()
        ours = [name for name in Row.metadata.tables if name in there]
        if full and Claimed.__tablename__ in ours:
            _refuse_worked_on(engine)
        how = "FULL, ANALYZE" if full else "ANALYZE"
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text(f"VACUUM ({how}) {', '.join(ours)}"))
        return
    with engine.connect() as connection:
        cursor = connection.connection.cursor()
        cursor.execute("VACUUM")
        cursor.execute("ANALYZE")
        cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def _refuse_worked_on(engine: Engine) -> None:
    alive = Claimed.released_at.is_(None) & (Claimed.at >= clock(STALE_SECONDS))
    held = [row.run for row in rows_of(engine, select(Claimed.run).where(alive))]
    if held:
        raise LedgerError(
            f"a driver works on run {held[0]}, which --full would hold up until it fails; "
            "vacuum without --full, or when no driver works"
        )


def size(engine: Engine) -> int:
    """Return the bytes that a ledger takes; of SQLite with its write-ahead log."""
    if engine.dialect.name == "postgresql":
        with engine.connect() as connection:
            return int(connection.scalar(text("SELECT pg_database_size(current_database())")) or 0)
    ledger = str(engine.url.database)
    files = [Path(ledger), Path(f"{ledger}-wal")]
    return sum(file.stat().st_size for file in files if file.exists())
