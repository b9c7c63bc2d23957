"""Every problem of a benchmark by every run: what is hard, what divides runs, what may be wrong."""

from collections.abc import Sequence
from math import ceil

import streamlit as st

from database.facts import Pulse
from database.problems import ContractFacts
from database.suspects import RUNS_AT_LEAST
from leaderboard import choices, evidence, links, problem_cell, problem_matrix, reading
from leaderboard.board_page import opened, watch
from leaderboard.problem_matrix import CELLS_AT_MOST, ORDERS, RUNS_AT_MOST, SHOWN, Row
from leaderboard.words import count, plain, told_apart

ROWS = 25
"""Problems on a page of the table."""


def show() -> None:
    """Show the problems of the benchmark and contract that the URL names."""
    st.title("Problems")
    pulse = opened()
    watch(pulse, progress=False)
    known = [one.name for one in reading.benchmarks(pulse)]
    if not known:
        st.info("No scores yet. Run `make train-all`.")
        return
    with st.container(horizontal=True):
        benchmark = st.selectbox("Benchmark", known, key="benchmark", bind="query-params")
        found = {one.id: one for one in evidence.contracts(pulse, benchmark)}
        contract = found[
            st.selectbox(
                "Contract",
                list(found),
                key="contract",
                bind="query-params",
                help="How models were asked and judged. Only answers under one contract compare.",
            )
        ]
        order = st.selectbox("Sort by", list(ORDERS), key="order", bind="query-params")
        search = st.text_input("Search", type="search", key="search", bind="query-params")
    names = _runs(pulse, benchmark, contract)
    rows = _rows(pulse, benchmark, contract, tuple(names))
    wanted = _wanted(pulse, benchmark, contract, rows, search or "")
    _problems(problem_matrix.ordered(wanted, order), order, names, benchmark, contract)
    links.page_tools(
        f"problems-{benchmark}",
        problem_matrix.files(problem_matrix.ordered(wanted, order), names),
        keep={"benchmark": benchmark, "contract": contract.id, "run": list(names)},
    )


def _runs(pulse: Pulse, benchmark: str, contract: ContractFacts) -> dict[str, str]:
    """Return the names of the runs chosen, by id, the best first."""
    scored = evidence.scored_runs(pulse, benchmark, contract.asking, contract.judging)
    labels = told_apart({run.id: run.label for run in scored})
    usual = problem_matrix.usual_runs(scored)
    every = len(usual) == len(scored)
    chosen = choices.several(
        "run",
        "Runs",
        [run.id for run in scored],
        shown=labels.__getitem__,
        at_most=RUNS_AT_MOST,
        placeholder=f"All {len(scored)}" if every else f"The best with their bases, {len(usual)}",
    )
    shown = chosen or usual
    if len(shown) < len(scored):
        st.caption(f"{len(shown)} of {count(len(scored), 'run')} are shown and counted here.")
    return {run.id: labels[run.id] for run in scored if run.id in shown}


def _rows(
    pulse: Pulse, benchmark: str, contract: ContractFacts, runs: tuple[str, ...]
) -> list[Row]:
    digest = evidence.digest(contract.judging)
    return problem_matrix.rows_of(
        evidence.problem_names(pulse, benchmark, digest),
        evidence.results(pulse, benchmark, contract.asking, contract.judging, runs),
    )


def _wanted(
    pulse: Pulse, benchmark: str, contract: ContractFacts, every: list[Row], search: str
) -> list[Row]:
    """Return the problems that are searched for, of the list chosen."""
    rows = every
    if search.strip():
        digest = evidence.digest(contract.judging)
        found = evidence.mentioning(pulse, benchmark, digest, search.strip())
        rows = [row for row in every if row.problem.task_id in found]
    counts = problem_matrix.counts(rows)
    chosen = st.pills("Show", list(SHOWN), default="All", key="show", bind="query-params") or "All"
    st.caption(", ".join(f"{counts[name]:,} {name.lower()}" for name in SHOWN))
    _about_suspects(every, chosen)
    return [row for row in rows if SHOWN[chosen](row)]


def _about_suspects(rows: Sequence[Row], chosen: str) -> None:
    """Say what is suspect, or why nothing can be.

    Args:
        rows: all problems, whatever is searched for.
        chosen: of `SHOWN`.
    """
    whole = problem_matrix.whole_runs(rows)
    if whole < RUNS_AT_LEAST:
        if chosen == "Suspect":
            st.info(
                f"It takes {RUNS_AT_LEAST} runs with a verdict on every problem to suspect one; "
                f"{count(whole, 'run')} here {'has' if whole == 1 else 'have'} that."
            )
        return
    with st.expander("What makes a problem suspect?"):
        st.markdown(
            "Better runs solve it less than worse ones do: its tests, or its wording, may be "
            "wrong. The correlation is Pearson's r (with one answer each, the point-biserial one) "
            "between the share of a run's answers to this problem that pass, and the mean share "
            f"over all other problems, over the {whole} runs that have a verdict on every "
            "problem. Suspect: r is below 0 and chance alone would bring one this low less than "
            "5 times in 100 (Student's t, one side). Of many problems a few are suspect by chance, "
            "and runs that share a base are not independent: look before you blame a problem."
        )


def _problems(
    rows: Sequence[Row],
    order: str,
    names: dict[str, str],
    benchmark: str,
    contract: ContractFacts,
) -> None:
    if not rows:
        st.info("No problem is left. Clear the search, or choose `All`.")
        return
    most = max(1, CELLS_AT_MOST // max(1, len(names)))
    drawn = rows[:most]
    left_out = f", the first {most:,} of {len(rows):,}" if len(rows) > most else ""
    st.markdown(
        f"**{count(len(drawn), 'problem')}{left_out}**, left to right: {ORDERS[order][0]}. "
        "A run solves a problem when one of its answers passes."
    )
    told = problem_matrix.heat_words(drawn, names)
    st.altair_chart(
        problem_matrix.heat_map(drawn, names),
        alt=told,
        key=problem_cell.MAP,
        on_select=lambda: problem_cell.choose(names),
        selection_mode=problem_matrix.CELL,
    )
    problem_cell.show(drawn, names, benchmark, contract)
    st.header("All of them")
    numbers = st.toggle("Numbers of each run", key="numbers", bind="query-params")
    pages = max(1, ceil(len(rows) / ROWS))
    place = st.pagination(pages, key="page", bind="query-params") if pages > 1 else 1
    shown = rows[(place - 1) * ROWS : place * ROWS]
    st.table(
        problem_matrix.table(shown, names, benchmark, contract.id, numbers=numbers),
        hide_index=True,
        border="horizontal",
        alt=f"Problems of {plain(benchmark)}, {ORDERS[order][0]}",
    )
