"""Giving back the room of deleted rows, and how much room a ledger takes."""

from pathlib import Path

from sqlalchemy import Engine, text


def vacuum(engine: Engine) -> None:
    """Write the tables anew without holes, and measure them for the planner of queries.

    Args:
        engine: whose statements may take any time.

    Raises:
        sqlalchemy.exc.OperationalError: the disk is full.
    """
    if engine.dialect.name == "postgresql":
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("VACUUM (FULL, ANALYZE)"))
        return
    with engine.connect() as connection:
        cursor = connection.connection.cursor()
        cursor.execute("VACUUM")
        cursor.execute("ANALYZE")
        cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def size(engine: Engine) -> int:
    """Return the bytes that a ledger takes; of SQLite with its write-ahead log."""
    if engine.dialect.name == "postgresql":
        with engine.connect() as connection:
            return int(connection.scalar(text("SELECT pg_database_size(current_database())")) or 0)
    ledger = str(engine.url.database)
    files = [Path(ledger), Path(f"{ledger}-wal")]
    return sum(file.stat().st_size for file in files if file.exists())
