"""What the pages read, kept until the ledger's pulse changes.

A training step changes the pulse every few seconds; only what shows steps is read again for it.
"""

from pathlib import Path
from typing import Any

import streamlit as st
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from database import LedgerError, open_for_reading, queries
from database.anomalies import Anomaly, Key, flagged
from database.anomalies import anomalies as odd_about
from database.costs import Cost, Price, configured_price
from database.costs import costs as cost_of
from database.facts import (
    BenchmarkFacts,
    DatasetFacts,
    Exposure,
    Pulse,
    RunFacts,
    RunPage,
    Spent,
    Standing,
    StepFacts,
    TouchFacts,
    TrainingFacts,
)
from database.in_view import gap_in_view, in_view
from database.paired import Paired, contents_of, failed
from database.paired import paired as paired_up
from database.published import Agreement, PublishedFacts, published_scores
from database.published import agreement as agreed
from database.session import ledger_url
from database.spread import over_seeds
from leaderboard import ranking, run_facts, verdict_words
from leaderboard.entries import Board, entries_of


def without_steps(pulse: Pulse) -> tuple[object, ...]:
    """Return what changes of a pulse when anything but the steps of a training does."""
    return pulse.changed_at, pulse.events, pulse.scores, pulse.datasets, pulse.states


BUT_STEPS: Any = {Pulse: without_steps}
"""What Streamlit tells the pulses of two calls apart by."""


def ledger() -> Engine:
    """Return the ledger, one connection pool for all sessions.

    Raises:
        LedgerError: there is none yet, or it cannot be read.
    """
    address = ledger_url()
    return _opened(address.render_as_string(hide_password=False), _file(address.database))


def pulse() -> Pulse:
    """Return the ledger's pulse, read anew.

    Raises:
        LedgerError: the ledger cannot be read.
    """
    engine = ledger()
    try:
        return queries.pulse(engine)
    except DBAPIError as error:
        raise LedgerError(f"the ledger does not answer: {error.orig}") from None


@st.cache_data(max_entries=64, show_spinner=False, hash_funcs=BUT_STEPS)
def benchmarks(pulse: Pulse) -> list[BenchmarkFacts]:
    """Return the benchmarks that have scores."""
    return queries.benchmarks(ledger())


@st.cache_data(max_entries=64, show_spinner=False, hash_funcs=BUT_STEPS)
def standings(pulse: Pulse, benchmark: str, metric: str) -> list[Standing]:
    """Return the scores of one benchmark and metric, best first."""
    return queries.standings(ledger(), benchmark=benchmark, metric=metric)


@st.cache_data(max_entries=64, show_spinner=False, hash_funcs=BUT_STEPS)
def runs(pulse: Pulse) -> list[RunFacts]:
    """Return all runs, the newest first; their steps may be old."""
    return queries.runs(ledger())


@st.cache_data(max_entries=256, show_spinner=False, hash_funcs=BUT_STEPS)
def seeds(pulse: Pulse, run_id: str) -> int:
    """Return with how many seeds the recipe of a run was trained to the end."""
    found = runs(pulse)
    of_id = {run.id: run for run in found}
    return run_facts.seeds(of_id[run_id], found) if run_id in of_id else 0


@st.cache_data(max_entries=4, show_spinner=False)
def active_runs(pulse: Pulse) -> list[RunFacts]:
    """Return the runs that are not over with the steps done, the newest first."""
    return queries.runs(ledger(), active=True)


@st.cache_data(max_entries=64, show_spinner=False, hash_funcs=BUT_STEPS)
def run_page(pulse: Pulse, run_id: str) -> RunPage | None:
    """Return one run; its steps may be old."""
    return queries.run_page(ledger(), run_id)


@st.cache_data(max_entries=64, show_spinner=False)
def trainings(pulse: Pulse) -> list[TrainingFacts]:
    """Return the trainings, those that train now first."""
    return queries.trainings(ledger())


@st.cache_data(max_entries=256, show_spinner=False)
def curve(training: TrainingFacts, at_most: int) -> list[StepFacts]:
    """Return a training's optimizer steps, thinned to about `at_most`."""
    return queries.steps(ledger(), training.run, at_most=at_most)


@st.cache_data(max_entries=64, show_spinner=False)
def spent(training: TrainingFacts) -> Spent:
    """Return what the steps of a training have cost together."""
    return queries.spent(ledger(), training.run)


@st.cache_data(max_entries=64, show_spinner=False, hash_funcs=BUT_STEPS)
def datasets(pulse: Pulse) -> list[DatasetFacts]:
    """Return the prepared datasets, the newest first."""
    return queries.datasets(ledger())


@st.cache_data(max_entries=16, show_spinner=False, hash_funcs=BUT_STEPS)
def report(pulse: Pulse, digest: str) -> dict[str, Any] | None:
    """Return what became of a dataset's rows."""
    return queries.report(ledger(), digest)


@st.cache_data(max_entries=16, show_spinner=False, hash_funcs=BUT_STEPS)
def touches(pulse: Pulse, digest: str) -> list[TouchFacts]:
    """Return the problems that rows of a dataset touch."""
    return queries.touches(ledger(), digest)


@st.cache_data(max_entries=64, show_spinner=False, hash_funcs=BUT_STEPS)
def exposures(
    pulse: Pulse, *, run: str | None = None, benchmark: str | None = None
) -> list[Exposure]:
    """Return how much of what runs were asked they were trained on."""
    return queries.exposures(ledger(), run=run, benchmark=benchmark)


@st.cache_data(max_entries=64, show_spinner=False, hash_funcs=BUT_STEPS)
def anomalies(pulse: Pulse, benchmark: str, metric: str) -> dict[Key, tuple[Anomaly, ...]]:
    """Return what is odd about the scores of one benchmark and metric."""
    return odd_about(ledger(), standings(pulse, benchmark, metric))


@st.cache_data(max_entries=64, show_spinner=False, hash_funcs=BUT_STEPS)
def costs(pulse: Pulse, benchmark: str, metric: str) -> dict[tuple[str, str, str, str], Cost]:
    """Return what the scores of one benchmark and metric have cost."""
    return cost_of(ledger(), standings(pulse, benchmark, metric))


@st.cache_data(max_entries=64, show_spinner=False, hash_funcs=BUT_STEPS)
def anomalies_of(pulse: Pulse, run_id: str) -> dict[Key, tuple[Anomaly, ...]]:
    """Return what is odd about the scores of one run."""
    page = run_page(pulse, run_id)
    return odd_about(ledger(), page.standings) if page else {}


@st.cache_data(max_entries=64, show_spinner=False, hash_funcs=BUT_STEPS)
def costs_of(pulse: Pulse, run_id: str) -> dict[tuple[str, str, str, str], Cost]:
    """Return what the scores of one run have cost."""
    page = run_page(pulse, run_id)
    return cost_of(ledger(), in_view(page.standings)) if page else {}


@st.cache_data(max_entries=64, show_spinner=False, hash_funcs=BUT_STEPS)
def published(pulse: Pulse, run_id: str) -> list[PublishedFacts]:
    """Return the scores that others gave one run."""
    return published_scores(ledger(), run=run_id)


@st.cache_data(max_entries=64, show_spinner=False, hash_funcs=BUT_STEPS)
def agreement(pulse: Pulse, run_id: str, benchmark: str, asking: str, judging: str) -> Agreement:
    """Return how our verdicts under one contract compare with a publisher's."""
    return agreed(ledger(), run_id, benchmark, asking, judging)


@st.cache_data(max_entries=64, show_spinner=False, hash_funcs=BUT_STEPS)
def contracts(pulse: Pulse, benchmark: str, metric: str) -> list[str]:
    """Return the contracts of one benchmark and metric, the one with most scores first."""
    return ranking.contracts(standings(pulse, benchmark, metric))


@st.cache_resource(max_entries=16, show_spinner=False, hash_funcs=BUT_STEPS)
def board(pulse: Pulse, benchmark: BenchmarkFacts, metric: str, contract: str) -> Board:
    """Return all scores under one contract, ranked; sessions share it, for nothing in it changes.

    Ranks and verdicts are over all of them, so no filter can look for the luckiest view.
    """
    all_scores = standings(pulse, benchmark.name, metric)
    found = in_view([s for s in all_scores if s.result.contract == contract])
    odd = anomalies(pulse, benchmark.name, metric)
    known, engine = runs(pulse), ledger()
    recipes = over_seeds(found, known)
    seeds = {run: len(recipe.runs) for recipe in recipes for run in recipe.runs}
    return Board(
        benchmark=benchmark,
        metric=metric,
        contract=contract,
        entries=tuple(entries_of(flagged(found, odd), known, cost_of(engine, found), odd, seeds)),
        gap=gap_in_view(found),
        recipes=tuple(recipes),
        contents=contents_of(engine, found[0].asking, found[0].judging),
    )


ScoreKey = tuple[str, str, str, str]
"""Benchmark, metric, run, contract."""


@st.cache_data(max_entries=256, show_spinner=False, hash_funcs=BUT_STEPS)
def paired(pulse: Pulse, a: ScoreKey, b: ScoreKey) -> Paired:
    """Return two scores of one benchmark and metric, problem by problem."""
    of_key = {key_of(s): s for s in standings(pulse, *a[:2])}
    return paired_up(ledger(), of_key[a], of_key[b])


@st.cache_data(max_entries=32, show_spinner=False, hash_funcs=BUT_STEPS)
def failing(pulse: Pulse, key: ScoreKey, runs: tuple[str, ...]) -> dict[str, set[str]]:
    """Return the problems that answers of these runs failed in each way, by class of failure.

    Args:
        pulse: of the ledger.
        key: of a score whose benchmark and contract are meant.
        runs: ids.
    """
    standing = next(s for s in standings(pulse, *key[:2]) if key_of(s) == key)
    found: dict[str, set[str]] = {}
    for one in failed(ledger(), standing, runs):
        kind = verdict_words.kind(one.outcome, one.detail, one.extracted)
        found.setdefault(kind, set()).add(one.task_id)
    return found


def key_of(standing: Standing) -> ScoreKey:
    """Return what names a score."""
    result = standing.result
    return result.benchmark, result.metric, result.run, result.contract


def price() -> Price | None:
    """Return the price of a GPU hour; None, and a warning on the page, where it is no price."""
    try:
        return configured_price()
    except LedgerError as error:
        st.warning(str(error))
        return None


def _file(database: str | None) -> int:
    """Return what changes when an SQLite file is replaced: its inode; 0 where there is none."""
    path = Path(database or "")
    return path.stat().st_ino if path.is_file() else 0


@st.cache_resource(max_entries=4, show_spinner=False, on_release=lambda engine: engine.dispose())
def _opened(url: str, file: int) -> Engine:
    return open_for_reading(url)
