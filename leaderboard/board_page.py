"""The first page: did the tuning help?"""

from collections.abc import Sequence
from datetime import UTC, datetime

import streamlit as st

from database import LedgerError, NoLedgerError
from database.anomalies import flagged
from database.exchange import as_csv, as_json, gap_in_words
from database.facts import BenchmarkFacts, Pulse, RunFacts, Standing
from database.in_view import gap_in_view, in_view
from database.queries import ACTIVE
from database.spread import OverSeeds, over_seeds, worth_a_table
from leaderboard import charts, marks, ranking, reading, recipes
from leaderboard.words import ago, count, plain

BUSY_REFRESH, IDLE_REFRESH = "3s", "15s"


def show() -> None:
    """Show the ranked table of one benchmark and metric."""
    st.title("Leaderboard")
    pulse = opened()
    watch(pulse)
    known = reading.benchmarks(pulse)
    if not known:
        st.info("No scores yet. Run `make train-all`.")
        st.stop()
    benchmark, metric, order = _choices(known)
    found = in_view(_under_one_contract(reading.standings(pulse, benchmark.name, metric)))
    found = flagged(found, reading.anomalies(pulse, benchmark.name, metric))
    _table(benchmark, found, order, _further(pulse, found))
    _recipes(over_seeds(found, reading.runs(pulse)))


def opened() -> Pulse:
    """Return the ledger's pulse; without a ledger, say what to do and end the page."""
    pulse = _pulse()
    if pulse is None:
        st.fragment(_wait_for_ledger, run_every=BUSY_REFRESH)()
        st.stop()
    return pulse


def _pulse() -> Pulse | None:
    try:
        return reading.pulse()
    except NoLedgerError:
        st.info("No ledger yet. Run `make train-all`; this page shows its progress and scores.")
    except LedgerError as error:
        st.error(f"The ledger cannot be read: {error}")
    return None


def watch(pulse: Pulse, *, only: str | None = None, progress: bool = True) -> None:
    """Show how fresh the page is and what runs now; draw the page again when rows change.

    Args:
        pulse: what the page was drawn from.
        only: id of the one run whose progress is shown.
        progress: whether any is shown.
    """
    busy = any(state in ACTIVE for state, _ in pulse.states)
    every = BUSY_REFRESH if busy else IDLE_REFRESH
    st.fragment(_watch, run_every=every)(pulse, only, progress)


def _wait_for_ledger() -> None:
    try:
        reading.pulse()
    except LedgerError:
        return
    st.rerun(scope="app")


def _watch(drawn: Pulse, only: str | None, progress: bool) -> None:
    try:
        now = reading.pulse()
    except LedgerError as error:
        st.warning(f"The ledger does not answer; what is shown may be old. {error}")
        return
    if _without_steps(now) != _without_steps(drawn):
        st.rerun(scope="app")
    changed = ago(now.changed_at, datetime.now(UTC)) if now.changed_at else "never"
    st.caption(f"Updated {changed}")
    if progress and any(state in ACTIVE for state, _ in now.states):
        active = [run for run in reading.runs(now) if run.state in ACTIVE]
        _progress([run for run in active if only in (None, run.id)])


def _without_steps(pulse: Pulse) -> tuple[object, ...]:
    """A training step changes the progress only, which the fragment draws itself."""
    return pulse.changed_at, pulse.events, pulse.scores, pulse.datasets, pulse.states


def _progress(active: Sequence[RunFacts]) -> None:
    working = [run for run in active if run.state != "waiting"]
    waiting = len(active) - len(working)
    for run in working:
        step = f", step {run.last_step:,}" if run.state == "training" and run.last_step else ""
        if step and run.of:
            step += f" of {run.of:,}"
        stage = ACTIVE.index(run.state) / len(ACTIVE)
        link = f"[{plain(run.label)}](run?id={run.id})"
        st.progress(stage, text=f"{link}: {run.state}{step}", width=480)
    if waiting:
        st.caption(f"{count(waiting, 'more run')} waiting")


def _choices(known: Sequence[BenchmarkFacts]) -> tuple[BenchmarkFacts, str, str]:
    """Return the benchmark, metric and order chosen; all three live in the URL."""
    of_name = {benchmark.name: benchmark for benchmark in known}
    with st.container(horizontal=True):
        name = st.selectbox("Benchmark", list(of_name), key="benchmark", bind="query-params")
        benchmark = of_name[name]
        metric = st.selectbox("Metric", benchmark.metrics, key="metric", bind="query-params")
        order = st.selectbox("Sort by", list(ranking.ORDERS), key="sort", bind="query-params")
    return benchmark, metric, order


def _under_one_contract(standings: list[Standing]) -> list[Standing]:
    """Scores under different contracts are never ranked together; offer a choice instead."""
    names = ranking.contracts(standings)
    chosen = names[0]
    if len(names) > 1:
        chosen = st.selectbox(
            "Contract",
            names,
            key="contract",
            bind="query-params",
            help="How models were asked and judged. Only scores under one contract compare.",
        )
    return [standing for standing in standings if standing.result.contract == chosen]


def _further(pulse: Pulse, found: list[Standing]) -> list[ranking.Column]:
    """Return what is odd about the scores and what they cost, where there is any."""
    benchmark, metric = found[0].result.benchmark, found[0].result.metric
    odd = reading.anomalies(pulse, benchmark, metric)
    spent = reading.costs(pulse, benchmark, metric)
    return [marks.flags(found, odd), marks.cost_column(found, spent, reading.price())]


def _table(
    benchmark: BenchmarkFacts, found: list[Standing], order: str, further: list[ranking.Column]
) -> None:
    result = found[0].result
    st.markdown(f"#### {ranking.headline(found)}")
    st.table(
        ranking.table(found, order, further),
        hide_index=True,
        border="horizontal",
        alt=f"{result.metric} on {benchmark.name}, sorted by {order.lower()}",
    )
    st.caption(
        f"{count(benchmark.problems, 'problem')}, {count(result.completions, 'completion')} each, "
        f"contract {result.contract}. {gap_in_words(gap_in_view(found))} {ranking.covers(found)}"
    )
    if any(column.name == "Flags" and column.cells for column in further):
        st.caption("Flags: see them before the score is believed; the page of the run says more.")
    in_order = ranking.ordered(found, order)
    st.altair_chart(charts.interval_plot(in_order), alt=charts.interval_words(in_order))
    _downloads(benchmark.name, in_order)


def _recipes(found: Sequence[OverSeeds]) -> None:
    """Say how recipes do over their seeds, where some have several or two compare."""
    if not worth_a_table(found):
        return
    st.subheader("Recipes")
    st.table(
        recipes.recipe_table(found),
        hide_index=True,
        border="horizontal",
        alt="Recipes over their seeds, the best mean first",
    )
    st.caption(recipes.COVERS)


def _downloads(name: str, found: Sequence[Standing]) -> None:
    results = [standing.result for standing in found]
    with st.container(horizontal=True):
        csv, json = as_csv(results), as_json(results)
        st.download_button("Download CSV", csv, f"{name}.csv", "text/csv", on_click="ignore")
        st.download_button(
            "Download JSON", json, f"{name}.json", "application/json", on_click="ignore"
        )
