"""The runs that one driver has claimed, so that no other driver works on them.

A driver that was killed on this machine is known to be dead at once: while it lives it holds a
lock on a file. Of one on another machine nothing is known but that it does not renew its claims;
its runs are free after `database.claims.STALE_SECONDS`.
"""

import fcntl
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sqlalchemy import Engine

from database.claims import Claim, ClaimFacts, beat, claim, holder, release
from jobs.home import Home

FOLDER = "drivers"
"""In a home: a file for each driver that works there, locked for as long as it lives."""


class Claims:
    """The claims of one driver; safe to use from many threads."""

    def __init__(self, ledger: Engine, driver: str) -> None:
        self.driver = driver
        """Its id in the ledger."""
        self._ledger = ledger
        self._lock = threading.Lock()
        self._claims: dict[str, Claim] = {}
        self._lost: set[str] = set()
        self._locks: Path | None = None

    @contextmanager
    def alive(self, home: Home) -> Iterator[None]:
        """Let drivers of the same home on this machine see that this one lives; at the end give
        back what is still claimed."""
        self._locks = home.folder / FOLDER
        self._locks.mkdir(exist_ok=True)
        path = self._locks / self.driver
        with path.open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
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
        taken = claim(self._ledger, run_id, self.driver)
        if taken is None:
            other = holder(self._ledger, run_id)
            if other is not None and not self._is_dead(other):
                return other
            if other is not None:
                ended = Claim(run=run_id, driver=other.driver, attempt=other.attempt)
                release(self._ledger, ended)
            return self.take(run_id)
        with self._lock:
            self._claims[run_id] = taken
            self._lost.discard(run_id)
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
        if known:
            own = beat(self._ledger, self.driver)
            with self._lock:
                self._lost |= (known & set(self._claims)) - own

    def give_back(self, run_id: str) -> None:
        """Let others have a run at once; nothing where it was lost or never claimed."""
        with self._lock:
            held = self._claims.pop(run_id, None)
            self._lost.discard(run_id)
        if held is not None:
            release(self._ledger, held)

    def _give_all_back(self) -> None:
        for run_id in list(self._claims):
            with suppress(Exception):  # they go stale by themselves
                self.give_back(run_id)

    def _is_dead(self, other: ClaimFacts) -> bool:
        """Whether a driver of this home on this machine has left a lock that nobody holds."""
        if self._locks is None or other.host != socket.gethostname():
            return False
        try:
            with (self._locks / other.driver).open("r+") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # it lives, or is of another home
            return False
        return True
