"""The first page: did the tuning help?"""

from collections.abc import Sequence
from datetime import UTC, datetime

import streamlit as st

from database import LedgerError, NoLedgerError
from database.facts import BenchmarkFacts, Pulse, RunFacts
from database.queries import ACTIVE
from leaderboard import board_table, contract_words, links, ranking, reading, untrusted
from leaderboard.entries import Board
from leaderboard.words import ago, count, plain, small

BUSY_REFRESH, IDLE_REFRESH = "3s", "15s"


def show() -> None:
    """Show the ranked table of one benchmark, metric and contract."""
    st.title("Leaderboard")
    pulse = opened()
    watch(pulse)
    known = reading.benchmarks(pulse)
    if not known:
        st.info("No scores yet. Run `make train-all`.")
        st.stop()
    board = reading.board(pulse, *_choices(known, pulse))
    st.header(ranking.headline(board.standings), anchor=False)
    st.markdown(small(_shown(board)))
    st.fragment(board_table.show)(board)


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
        st.error(f"The ledger cannot be read: {plain(str(error))}")
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
        st.warning(f"The ledger does not answer; what is shown may be old. {plain(str(error))}")
        return
    if reading.without_steps(now) != reading.without_steps(drawn):
        st.rerun(scope="app")
    changed = ago(now.changed_at, datetime.now(UTC)) if now.changed_at else "never"
    st.caption(f"Updated {changed}")
    if progress and any(state in ACTIVE for state, _ in now.states):
        active = reading.active_runs(now)
        _progress([run for run in active if only in (None, run.id)])


def _progress(active: Sequence[RunFacts]) -> None:
    working = [run for run in active if run.state != "waiting"]
    waiting = len(active) - len(working)
    for run in working:
        step = f", step {run.last_step:,}" if run.state == "training" and run.last_step else ""
        if step and run.of:
            step += f" of {run.of:,}"
        stage = ACTIVE.index(run.state) / len(ACTIVE)
        link = links.run_link(run.id, untrusted.seen(run.label))
        st.progress(stage, text=f"{link}: {run.state}{step}", width=480)
    told = f"{count(waiting, 'more run')} waiting. " if waiting else ""
    if active:
        st.markdown(small(f"{told}{links.link('Queue and machines', 'jobs')}"))


def _choices(known: Sequence[BenchmarkFacts], pulse: Pulse) -> tuple[BenchmarkFacts, str, str]:
    """Return the benchmark, metric and contract chosen; all three live in the URL.

    Scores under different contracts are never ranked together.
    """
    of_name = {benchmark.name: benchmark for benchmark in known}
    _warn("benchmark", list(of_name))
    with st.container(horizontal=True):
        name = st.selectbox("Benchmark", list(of_name), key="benchmark", bind="query-params")
        benchmark = of_name[name]
        _warn("metric", benchmark.metrics)
        metric = st.selectbox("Metric", benchmark.metrics, key="metric", bind="query-params")
        contracts = reading.contracts(pulse, name, metric)
        contract = contracts[0]
        _warn("contract", contracts)
        if len(contracts) > 1:
            contract = st.selectbox(
                "Contract",
                contracts,
                key="contract",
                bind="query-params",
                help="How models were asked and judged. Only scores under one contract compare.",
            )
    return benchmark, metric, contract


def _warn(name: str, options: Sequence[str]) -> None:
    """Say that what the page was opened with is not there."""
    asked = st.query_params.get(name)
    if asked and asked not in options and name not in st.session_state:
        st.warning(
            f"There are no scores of the {name} {untrusted.word(asked)} here; others follow."
        )


def _shown(board: Board) -> str:
    """What is shown, in one line that leads to the contract in words."""
    said = [
        plain(board.benchmark.name),
        count(board.benchmark.problems, "problem"),
        plain(contract_words.sampling(board.contents.asking))
        or f"{count(board.standings[0].result.completions, 'answer')} each",
        plain(contract_words.judged(board.contents.judging)),
    ]
    contract = links.methods_link(f"contract {board.contract}", "contract", board.contract)
    return f"{', '.join(part for part in said if part)}, {contract}."
