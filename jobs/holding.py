"""The runs that one driver has claimed, so that no other driver works on them.

A driver that was killed on this machine is known to be dead at once: while it lives it holds a
lock on a file. Of one on another machine nothing is known but that it does not renew its claims;
its runs are free after `database.claims.STALE_SECONDS`. While the database was away nobody could
renew anything: after that all have `AWAY_SECONDS` to do so before this driver takes a run over.
"""

import fcntl
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from database.claims import Claim, ClaimFacts, beat, claim, holder, release
from database.patience import is_passing, patiently
from jobs.home import Home

FOLDER = "drivers"
"""In a home: a file for each driver that works there, locked for as long as it lives."""
AWAY_SECONDS = 15.0
"""A database that could not be reached for so long counts as away; some three renewals."""
BOOT = Path("/proc/sys/kernel/random/boot_id")
"""Names the start of a machine: two machines may have the same name."""


class Claims:
    """The claims of one driver; safe to use from many threads."""

    def __init__(self, ledger: Engine, driver: str) -> None:
        self.driver = driver
        """Its id in the ledger."""
        self._ledger = ledger
        self._lock = threading.Lock()
        self._claims: dict[str, Claim] = {}
        self._lost: set[str] = set()
        self._anothers: set[str] = set()
        self._locks: Path | None = None
        self._heard: float | None = None
        """When the claims were renewed last."""
        self._back = float("-inf")
        """When the database answered again after it was away."""

    @contextmanager
    def alive(self, home: Home) -> Iterator[None]:
        """Let drivers of the same home on this machine see that this one lives; at the end give
        back what is still claimed."""
        self._locks = home.folder / FOLDER
        self._locks.mkdir(exist_ok=True)
        path = self._locks / self.driver
        with path.open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.write(_boot())
            file.flush()
            try:
                yield
            finally:
                self._give_all_back()
                path.unlink(missing_ok=True)

    def take(self, run_id: str) -> ClaimFacts | None:
        """Claim a run, or find out who holds it.

        Returns:
            None: it is this driver's now.
        """
        while True:
            try:
                return self._take(run_id)
            except (DBAPIError, PoolTimeoutError) as error:
                if not is_passing(error):
                    raise
            patiently(self._ledger, lambda connection: connection.exec_driver_sql("SELECT 1"))
            self._back = time.monotonic()

    def _take(self, run_id: str) -> ClaimFacts | None:
        if self._was_away() and (other := self._holder(run_id)):
            return other
        taken = claim(self._ledger, run_id, self.driver, patience=0)
        if taken is None:
            other = holder(self._ledger, run_id)
            if other is not None and not self._is_dead(other):
                return other
            if other is not None:
                ended = Claim(run=run_id, driver=other.driver, attempt=other.attempt)
                release(self._ledger, ended, patience=0)
            return self._take(run_id)
        with self._lock:
            self._claims[run_id] = taken
            self._lost.discard(run_id)
            self._anothers.discard(run_id)
        return None

    def of(self, run_id: str) -> Claim | None:
        """The claim on a run, whether or not it is lost by now; None: it was never claimed."""
        with self._lock:
            return self._claims.get(run_id)

    def was_anothers(self, run_id: str) -> bool:
        """Whether a run that is claimed here had been claimed by another driver before."""
        held = self.of(run_id)
        return held is not None and held.attempt > 1

    def attempt(self, run_id: str) -> str:
        """A name for this driver's present attempt at a run; no other ever has the same."""
        held = self.of(run_id)
        return f"{self.driver}-{held.attempt}" if held else ""

    def lost(self, run_id: str) -> bool:
        """Whether another driver has taken a run over that was claimed here."""
        return run_id in self._lost

    def is_anothers(self, run_id: str) -> bool:
        """Whether a run was lost and not claimed again since, given back or not."""
        return run_id in self._anothers or run_id in self._lost

    def lose(self, run_id: str) -> None:
        """Note that a run is another's now."""
        with self._lock:
            self._lost.add(run_id)

    def renew(self) -> None:
        """Renew all, and find out which are lost.

        Raises:
            sqlalchemy.exc.OperationalError: the database is gone.
        """
        with self._lock:
            known = set(self._claims)
        own, now = beat(self._ledger, self.driver), time.monotonic()
        if self._is_silent(now):
            self._back = now
        self._heard = now
        with self._lock:
            self._lost |= (known & set(self._claims)) - own

    def give_back(self, run_id: str) -> None:
        """Let others have a run at once; nothing where it was lost or never claimed."""
        with self._lock:
            held = self._claims.pop(run_id, None)
            if run_id in self._lost:
                self._anothers.add(run_id)
            self._lost.discard(run_id)
        if held is not None:
            release(self._ledger, held)

    def _give_all_back(self) -> None:
        for run_id in list(self._claims):
            with suppress(Exception):  # they go stale by themselves
                self.give_back(run_id)

    def _was_away(self) -> bool:
        """Whether others may not have had the time to renew what is theirs."""
        now = time.monotonic()
        return self._is_silent(now) or now - self._back < AWAY_SECONDS

    def _is_silent(self, now: float) -> bool:
        return self._heard is not None and now - self._heard > AWAY_SECONDS

    def _holder(self, run_id: str) -> ClaimFacts | None:
        """Another driver that holds a run, however long it was not heard of, unless it is dead."""
        other = holder(self._ledger, run_id)
        theirs = other is not None and other.driver != self.driver and not self._is_dead(other)
        return other if theirs else None

    def _is_dead(self, other: ClaimFacts) -> bool:
        """Whether a driver of this home on this machine has left a lock that nobody holds."""
        if self._locks is None or other.host != socket.gethostname():
            return False
        try:
            with (self._locks / other.driver).open("r+") as file:
                if file.read() != _boot():
                    return False
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # it lives, or is of another home
            return False
        return True


def _boot() -> str:
    return BOOT.read_text() if BOOT.exists() else ""
