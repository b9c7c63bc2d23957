"""Trying runs again that failed or were stopped: a wish in the ledger, heeded by a living driver.

A driver that starts takes such runs again by itself, so a wish is only for one that is at work.
"""

import shlex
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Engine

from database.clock import moment
from database.facts import RunFacts
from database.live import Retry
from database.queries import ACTIVE
from database.work import DriverFacts, driver_of, remarkable, retries, silent_driver_of
from database.writing import write
from jobs.declared import UserError
from jobs.named_runs import Named, named, printable
from jobs.stopping import is_by_hand


class NothingToRetryError(UserError):
    """No run of that name failed, or was stopped by hand."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wished:
    """Wishes that are written down, or would be if anybody heeded them."""

    runs: tuple[RunFacts, ...]
    driver: DriverFacts | None
    """Who heeds them; None: nobody."""
    command: str
    """What goes on with them where nobody does."""
    silent: DriverFacts | None = None
    """Who heeds them where nobody works, if it is heard of again."""

    def __str__(self) -> str:
        names = printable(", ".join(f"{run.label} ({run.id})" for run in self.runs))
        if self.driver is None:
            goes_on = printable(self.command)
            told = f"No driver is working on {names}. This goes on with it: {goes_on}"
            if self.silent is not None:
                told += f" (the driver on {self.silent.host} heeds it if it is heard of again)"
            return told
        return f"The driver on {self.driver.host} tries again within seconds: {names}"


def ask_to_retry(ledger: Engine, name: str, who: str) -> Wished:
    """Have the runs of a name that failed or were stopped by hand tried again.

    Args:
        ledger: open for writing.
        name: a run's id or label, or an experiment.
        who: wants it; for people.

    Raises:
        NothingToRetryError: none failed or was stopped by hand.
        UserError: there is no run or experiment of that name.
    """
    asked = named(ledger, name)
    wanted = _to_retry(ledger, asked)
    now = moment(ledger)
    driver = driver_of(ledger, wanted[0].id, now)
    silent = silent_driver_of(ledger, wanted[0].id, now)
    if driver or silent:
        write(ledger, [Retry(run=run.id, asked_by=who[:200]) for run in wanted])
        # A driver that ends says so and then looks for wishes once more: this is seen by one of us.
        driver = driver_of(ledger, wanted[0].id, moment(ledger))
    command = _command(asked, wanted[0])
    return Wished(runs=tuple(wanted), driver=driver, command=command, silent=silent)


def _to_retry(ledger: Engine, asked: Named) -> list[RunFacts]:
    told = remarkable(ledger, [run.id for run in asked.runs])
    wanted = [
        run
        for run in asked.runs
        if run.state == "failed"
        or (run.state == "stopped" and is_by_hand(_reason(run, told.get(run.id, []))))
    ]
    if wanted:
        return wanted
    if not asked.is_experiment and asked.runs[0].state in ACTIVE:
        left = f"it is {asked.runs[0].state}: `python -m jobs status` says whether anybody is at it"
    else:
        left = "nothing of it failed or was stopped by hand"
    raise NothingToRetryError(f"{asked.name}: {left}")


def _reason(run: RunFacts, told: Sequence[object]) -> str:
    messages = {getattr(one, "kind", ""): str(getattr(one, "message", "")) for one in told}
    return messages.get(run.state, "")


def _command(asked: Named, run: RunFacts) -> str:
    """A command of ours, whatever the ledger says: its rows may be of another's archive."""
    said = str(run.provenance.get("command") or "")
    if said.startswith("-m jobs run "):
        return f"python {shlex.join(said.split())}"
    experiment = asked.name if asked.is_experiment else run.provenance.get("experiment")
    file = f"experiments/{experiment or 'NAME'}.yaml"
    return f"python -m jobs run {shlex.quote(file)}"


class Retries:
    """The wishes that one driver heeds; safe to use from many threads."""

    def __init__(self, ledger: Engine, since: datetime) -> None:
        """Heed wishes that are no older than `since`, by the clock of the ledger."""
        self._ledger = ledger
        self._since = since
        self._lock = threading.Lock()
        self._found: dict[str, datetime] = {}
        self._taken: dict[str, datetime] = {}

    def look(self) -> None:
        """Read the ledger again."""
        found = {wish.run: wish.at for wish in retries(self._ledger, since=self._since).values()}
        with self._lock:
            self._found = found

    def takes(self, run_id: str) -> bool:
        """Whether a run is wished again and was not taken since, each wish once."""
        with self._lock:
            wished = self._found.get(run_id)
            new = wished is not None and self._taken.get(run_id) != wished
            if wished is not None:
                self._taken[run_id] = wished
            return new
