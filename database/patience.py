"""One transaction, tried again while the database is away: restarted, failed over, unreachable.

What is tried again has to be safe to repeat: where a connection breaks at its COMMIT, nobody can
say whether the database heard it.
"""

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from database.address import seconds_from

PATIENCE = 120.0
"""Seconds for which a writer waits for a database that is away, unless
`CODELADDER_DATABASE_PATIENCE` says otherwise."""
PAUSES = (0.1, 0.2, 0.5, 1.0)
"""Seconds between two tries; the last one goes on."""
TOLD_AFTER = len(PAUSES)
"""Tries that fail before it is told: a deadlock passes sooner."""
PASSING = frozenset(
    (
        "40001",  # serialization failure
        "40P01",  # deadlock: another transaction was let through
        "53300",  # too many connections
        "57P01",  # the server is shut down by its administrator
        "57P02",  # it crashed, or another of its processes did
        "57P03",  # it is starting
        "25P03",  # the transaction was idle for too long: this process was frozen
    )
)
"""States of SQL that pass by themselves."""
REFUSED = (
    "authentication failed",
    "no password supplied",
    "no pg_hba.conf entry",
    "does not exist",
    "is not permitted to log in",
)
"""What it says to whom it will not let in however often he comes."""
FOR_PAGES = "for_pages"
"""An option of engines, see `for_pages`."""
T = TypeVar("T")
_log = logging.getLogger(__name__)


def patience() -> float:
    """Return for how many seconds a writer waits.

    Raises:
        LedgerError: `CODELADDER_DATABASE_PATIENCE` is no number.
    """
    return seconds_from("CODELADDER_DATABASE_PATIENCE", PATIENCE)


def patiently(engine: Engine, act: Callable[[Connection], T], seconds: float | None = None) -> T:
    """Do something in one writing transaction, again and again while the database is away.

    Args:
        engine: open for writing.
        act: what is done; safe to repeat as a whole.
        seconds: from the first failure on; 0: one try, None: as many as `patience` says.

    Raises:
        sqlalchemy.exc.DBAPIError: what it failed with last; at once, if that does not pass.
        sqlalchemy.exc.TimeoutError: other threads had all connections for as long.
    """

    def once() -> T:
        with engine.connect().execution_options(writes=True) as connection, connection.begin():
            return act(connection)

    return until_answered(once, seconds)


def read(engine: Engine, act: Callable[[Connection], T]) -> T:
    """Read in one transaction, and wait for a database that is away as writers do.

    A reader that somebody waits for (`for_pages`) tries once more where its connection broke: the
    next one is a new one.

    Raises:
        sqlalchemy.exc.DBAPIError: what it failed with last; at once, if that does not pass.
        sqlalchemy.exc.TimeoutError: other threads had all connections for as long.
    """

    def once() -> T:
        with engine.connect() as connection:
            return act(connection)

    if not engine.get_execution_options().get(FOR_PAGES):
        return until_answered(once)
    try:
        return once()
    except DBAPIError as error:
        if not error.connection_invalidated:
            raise
    return once()


def for_pages(engine: Engine) -> Engine:
    """Return the same engine, whose readers do not keep a person waiting while it is away."""
    return engine.execution_options(**{FOR_PAGES: True})


def until_answered(act: Callable[[], T], seconds: float | None = None) -> T:
    """Do something, again and again while the database is away; the arguments of `patiently`."""
    began, tries = 0.0, 0
    while True:
        try:
            done = act()
            if tries > TOLD_AFTER:
                _log.warning("the database answers again, after %.0f s", time.monotonic() - began)
            return done
        except (DBAPIError, PoolTimeoutError) as error:
            began = began or time.monotonic()
            waits = patience() if seconds is None else seconds
            if not is_passing(error) or time.monotonic() >= began + waits:
                raise
            if tries == TOLD_AFTER:
                told = "the database does not answer; waiting up to %.0f s for it: %s"
                _log.warning(told, waits, said_by(error))
        time.sleep(PAUSES[min(tries, len(PAUSES) - 1)])
        tries += 1


def said_by(error: DBAPIError | PoolTimeoutError) -> str:
    """Return what a database said, in one line."""
    said: object = error.orig if isinstance(error, DBAPIError) else error
    return " ".join(str(said).split()) or type(said).__name__


def is_passing(error: DBAPIError | PoolTimeoutError) -> bool:
    """Whether the database is only away, as opposed to refusing what was asked of it.

    That other threads of this process have all its connections passes, too.
    """
    if isinstance(error, PoolTimeoutError):
        return True
    cause: object = error.orig
    if not type(cause).__module__.startswith("psycopg"):
        return False  # SQLite waits for its locks by itself, and nothing else of it passes
    state = getattr(cause, "sqlstate", None)
    if state is None:  # not of the server: nobody is there, or the connection broke
        if any(one in str(cause) for one in REFUSED):
            return False
        return error.connection_invalidated or type(cause).__name__ in _OF_CONNECTIONS
    return state in PASSING or state.startswith("08")


_OF_CONNECTIONS = frozenset(("OperationalError", "ConnectionTimeout"))
