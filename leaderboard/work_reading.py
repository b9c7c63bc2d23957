"""What the pages of work read; what changes by the second is read anew each time."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import datetime

import streamlit as st
from sqlalchemy.exc import DBAPIError

from database import LedgerError, claims, queries, work
from database.claims import ClaimFacts
from database.clock import moment
from database.facts import Happening, RunFacts, TrainingFacts
from database.trainings import clock as clock_of
from database.work import DriverFacts, NodeFacts, StageFacts, StopFacts
from leaderboard.reading import ledger
from leaderboard.words import plain


@contextmanager
def calmly() -> Iterator[None]:
    """Say in one line that the ledger went away while this part of a page read it."""
    try:
        yield
    except LedgerError as error:
        said = str(error)
    except DBAPIError as error:
        said = str(error.orig)
    else:
        return
    st.warning(f"The ledger does not answer; what is shown may be old. {plain(said)}")


def present() -> datetime:
    """Return the time by the clock of the database, which drivers are heard of by."""
    return moment(ledger())


def drivers() -> list[DriverFacts]:
    """Return the drivers: those that did not say that they ended first, then the latest first."""
    return work.drivers(ledger())


def nodes(clusters: Collection[str]) -> list[NodeFacts]:
    """Return the machines of these clusters."""
    return work.nodes(ledger(), clusters)


def stages(runs: Collection[str]) -> list[StageFacts]:
    """Return how far these runs are with asking and judging, what got on last first."""
    return work.stages(ledger(), runs)


def stop_of(run_id: str, since: datetime) -> StopFacts | None:
    """Return who asked for the end of a run since a moment, if anybody did."""
    return work.stops(ledger(), runs=[run_id], since=since).get(run_id)


def driver_of(run_id: str, now: datetime) -> DriverFacts | None:
    """Return the driver that works on a run; None: nobody does."""
    return work.driver_of(ledger(), run_id, now)


def holder_of(run_id: str) -> ClaimFacts | None:
    """Return who has claimed a run; None: nobody."""
    return claims.holder(ledger(), run_id)


def in_grid(experiment: str) -> list[RunFacts]:
    """Return the runs of an experiment that are not over, in the order of its grid."""
    ids = work.grid(ledger(), experiment)
    active = {run.id: run for run in queries.runs(ledger(), active=True)}
    return [active[run] for run in ids if run in active]


def counted(experiment: str) -> dict[str, int]:
    """Return how many runs of an experiment are in each state."""
    return work.states(ledger(), work.grid(ledger(), experiment))


def judged_last(experiment: str, limit: int) -> dict[str, datetime]:
    """Return when the runs of an experiment that were scored last were, the last one first."""
    return work.judged_last(ledger(), work.grid(ledger(), experiment), limit=limit)


def events(run_id: str) -> list[Happening]:
    """Return what happened to a run, the latest first."""
    return queries.events(ledger(), run_id)


@st.cache_data(max_entries=64, show_spinner=False)
def clock(training: TrainingFacts) -> dict[int, float]:
    """Return the seconds of training that were over after each step."""
    return clock_of(ledger(), training.run)


@st.cache_data(max_entries=256, show_spinner=False)
def outcomes(run_id: str, scored_at: datetime) -> dict[str, int]:
    """Return a run's verdicts by outcome; counted again once it was scored again."""
    return work.outcomes_of(ledger(), run_id)
