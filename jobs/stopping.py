"""Stopping a run by hand: somebody writes a wish into the ledger, the driver heeds it.

What is on a disk by then stays: checkpoints, answers, verdicts. The same `python -m jobs run` goes
on from there, because a driver heeds only wishes that are younger than itself.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Engine

from cluster.ending import Unwanted
from database.clock import moment
from database.live import Stop
from database.queries import ACTIVE, runs
from database.work import DriverFacts, StopFacts, driver_of, retries, silent_driver_of, stops
from database.writing import write
from jobs.declared import UserError
from jobs.named_runs import named, named_run

BY_HAND = "stopped by "
"""How the reason of a run begins that somebody stopped; a sweep gives others."""


class NotRunningError(UserError):
    """The run is over, so there is nothing to stop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A wish that is written down."""

    run: str
    label: str
    state: str
    """Of the run, when it was asked for."""
    stop: StopFacts
    driver: DriverFacts | None
    """Who will heed it; None: no driver works on it."""
    silent: DriverFacts | None = None
    """Who heeds it where none works, if it is heard of again."""

    def __str__(self) -> str:
        if self.driver is None and self.silent is not None:
            return (
                f"{self.label} ({self.run}) is {self.state} in the ledger, and its driver on "
                f"{self.silent.host} was not heard of since {self.silent.at:%Y-%m-%d %H:%M:%S} "
                "UTC: it stops the run as soon as it is heard of again, if it still lives"
            )
        if self.driver is None:
            return (
                f"{self.label} ({self.run}) is {self.state} in the ledger, but no driver is "
                "working on it: nothing is there to be stopped. `python -m jobs run` with its "
                "experiment goes on with it"
            )
        return (
            f"{self.label} ({self.run}) will be stopped within seconds by the driver on "
            f"{self.driver.host}. What is done stays, and `python -m jobs run` goes on from there"
        )


def ask_to_stop(ledger: Engine, name: str, who: str) -> Asked:
    """Write down that a run is to end.

    Args:
        ledger: open for writing.
        name: the run's id, or its label.
        who: wants it; for people.

    Raises:
        NotRunningError: it is over.
        UserError: there is no such run; the message has the nearest one.
    """
    known = runs(ledger)
    run = named_run(name, known, [one for one in known if one.state in ACTIVE] or known)
    if run.state not in ACTIVE:
        raise NotRunningError(f"{run.label} ({run.id}) is {run.state}: there is nothing to stop")
    now = moment(ledger)
    write(ledger, [Stop(run=run.id, asked_by=who[:200])])
    return Asked(
        run=run.id,
        label=run.label,
        state=run.state,
        stop=StopFacts(run=run.id, asked_by=who[:200], at=now),
        driver=driver_of(ledger, run.id, now),
        silent=silent_driver_of(ledger, run.id, now),
    )


def ask_to_stop_all(ledger: Engine, name: str, who: str) -> list[Asked]:
    """Write down that a run, or every run of an experiment that is not over, is to end.

    Raises:
        NotRunningError: all of it is over.
        UserError: there is no run or experiment of that name.
    """
    asked = named(ledger, name)
    if not asked.is_experiment:
        return [ask_to_stop(ledger, asked.runs[0].id, who)]
    active = [run for run in asked.runs if run.state in ACTIVE]
    if not active:
        raise NotRunningError(f"{asked.name}: all its runs are over, there is nothing to stop")
    return [ask_to_stop(ledger, run.id, who) for run in active]


def is_by_hand(reason: str) -> bool:
    """Whether a run was stopped by somebody, going by the reason that was recorded."""
    return reason.startswith(BY_HAND)


class Stops:
    """The wishes that one driver heeds; safe to use from many threads."""

    def __init__(self, ledger: Engine, since: datetime) -> None:
        """Heed wishes that are no older than `since`."""
        self._ledger = ledger
        self._since = since
        self._found: dict[str, StopFacts] = {}

    def look(self) -> None:
        """Read the ledger again; a younger wish to try a run again outweighs one to stop it."""
        wanted_back = retries(self._ledger, since=self._since)
        self._found = {
            run: stop
            for run, stop in stops(self._ledger, since=self._since).items()
            if run not in wanted_back or wanted_back[run].at < stop.at
        }

    def of(self, run_id: str) -> StopFacts | None:
        """Who wants this run to end, if anybody does."""
        return self._found.get(run_id)

    def unwanted(self, run_id: str) -> Unwanted:
        """A question for work to ask: is this run to end?"""
        return lambda: run_id in self._found

    def why(self, run_id: str) -> str:
        """Why a run was stopped, in words; a younger wish may have outweighed that one by now."""
        stop = self._found.get(run_id)
        by, at = (stop.asked_by or "hand", f" at {stop.at:%H:%M:%S} UTC") if stop else ("hand", "")
        return f"{BY_HAND}{by}{at}; what was done is kept, and the same command goes on from there"
