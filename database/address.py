"""Where the ledger is, from the environment, and what is refused before it is opened."""

import os
import sys
from pathlib import Path

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from database.filesystem import network_filesystem

ROOT = Path(__file__).parent.parent
RAY_WORKER = "default_worker.py"
"""The script that a worker process of Ray runs."""


class LedgerError(Exception):
    """The ledger cannot be used; the message says which one and what to do. Holds no password.

    LedgerError
    ├── NoLedgerError
    └── LedgerAwayError
    """


class NoLedgerError(LedgerError):
    """There is no ledger at this address yet."""


AWAY = 75
"""Exit status of a command whose database is away; the same command may succeed later."""


class LedgerAwayError(LedgerError):
    """Its database does not answer; the same may succeed later."""


def ledger_url(url: str | None = None) -> URL:
    """Return the address in SQLAlchemy's form: an absolute SQLite path, or psycopg 3.

    Raises:
        LedgerError: unless it names an SQLite file or a PostgreSQL database.
    """
    given = url or os.environ.get("CODELADDER_DATABASE_URL")
    if not given:
        return URL.create("sqlite", database=str((home() / "ledger.db").absolute()))
    try:
        address = make_url(given)
    except ArgumentError:
        raise LedgerError(
            "the database address is not a URL; it reads sqlite:////folder/ledger.db "
            "or postgresql://user:password@host/name"
        ) from None
    return _normalised(address)


def home() -> Path:
    """The folder of all work."""
    return Path(os.environ.get("CODELADDER_HOME") or ROOT / "runs")


def shown(address: URL) -> str:
    """Return what an error may print: no user, password or query."""
    if address.host is None:
        return address.database or address.drivername
    port = f":{address.port}" if address.port else ""
    return f"{address.drivername.split('+')[0]}://{address.host}{port}/{address.database or ''}"


def refuse_elsewhere(address: URL) -> None:
    """Refuse an SQLite file that processes of several hosts could open.

    Raises:
        LedgerError: it is on a network filesystem, or this is a worker of a Ray cluster.
    """
    if Path(sys.argv[0]).name == RAY_WORKER:
        raise LedgerError(
            f"{shown(address)} is a file of the driver's host, and this worker of the cluster may "
            "be on another: return rows to the driver, or set CODELADDER_DATABASE_URL to a "
            "PostgreSQL database"
        )
    folder = Path(str(address.database)).resolve().parent
    if kind := network_filesystem(folder):
        raise LedgerError(
            f"{folder} is on {kind}, where SQLite loses rows: other hosts do not see its locks; "
            "set CODELADDER_HOME to a local disk or CODELADDER_DATABASE_URL to a PostgreSQL "
            "database"
        )


def seconds_from(variable: str, usual: float) -> float:
    """Return what an environment variable says, in seconds.

    Raises:
        LedgerError: it is no number, or a negative one.
    """
    given = os.environ.get(variable)
    try:
        seconds = float(given) if given else usual
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < 10**6:
        raise LedgerError(f"{variable} is {given!r}; it reads as seconds: {usual:g}")
    return seconds


def _normalised(address: URL) -> URL:
    kind = address.drivername.split("+")[0]
    if kind == "sqlite" and address.database not in (None, "", ":memory:"):
        path = str(Path(str(address.database)).absolute())
        return address.set(drivername="sqlite", database=path)
    if kind in ("postgresql", "postgres") and address.database:
        return address.set(drivername="postgresql+psycopg")
    raise LedgerError(
        f"the ledger is an SQLite file or a PostgreSQL database, not {shown(address)}"
    )
