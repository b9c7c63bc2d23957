"""One problem: what it asks, how it is tested, and what each run answered."""

from collections.abc import Mapping, Sequence
from math import ceil

import streamlit as st

from database import problems
from database.facts import Pulse
from database.problems import ContractFacts, ProblemFacts, ScoredRun, Solved
from leaderboard import (
    choices,
    evidence,
    links,
    problem_text,
    reading,
    untrusted,
    verdict_words,
)
from leaderboard.board_page import opened, watch
from leaderboard.dataset_words import link as dataset_link
from leaderboard.stepping import FOLLOWING, PREVIOUS, step
from leaderboard.words import NONE, count, percent, plain, told_apart

RUNS = 20
"""On a page of the table."""


def show() -> None:
    """Show the problem that the URL names."""
    pulse = opened()
    benchmark, task_id = st.query_params.get("benchmark", ""), st.query_params.get("id", "")
    contract = _contract(pulse, benchmark, st.query_params.get("contract", ""))
    digest = evidence.digest(contract.judging) if contract else ""
    found = evidence.problem(pulse, benchmark, digest, task_id) if digest else None
    if contract is None or found is None:
        st.title("Problem")
        st.warning(_missing(benchmark, task_id, contract))
        st.markdown("[All problems](problems)")
        return
    _head(benchmark, contract, found)
    watch(pulse, progress=False)
    _question(found)
    _touches(benchmark, digest, task_id)
    _runs(pulse, benchmark, contract, found)


def _contract(pulse: Pulse, benchmark: str, wanted: str) -> ContractFacts | None:
    """The contract that the URL names; without a name the one that most runs were scored under."""
    known = evidence.contracts(pulse, benchmark)
    if not wanted:
        return known[0] if known else None
    return next((one for one in known if one.id == wanted), None)


def _missing(benchmark: str, task_id: str, contract: ContractFacts | None) -> str:
    if not benchmark or not task_id:
        return "The address names no problem."
    if contract is None:
        return f"The ledger holds no score of {untrusted.word(benchmark)} under this contract."
    return f"The ledger holds no problem {untrusted.word(task_id)} in {untrusted.word(benchmark)}."


def _head(benchmark: str, contract: ContractFacts, found: ProblemFacts) -> None:
    st.title(untrusted.word(found.task_id))
    said = [f"Problem {found.position + 1} of {plain(benchmark)}"]
    if found.family:
        said.append(f"family {untrusted.word(found.family)}")
    if found.released is not None:
        said.append(f"published {found.released:%Y-%m-%d}")
    every = links.problems_link(benchmark, contract.id, "All problems")
    named = f"{benchmark}:{found.task_id}"
    tried = links.try_link((), "Ask models this", problem=named, contract=contract.id)
    st.markdown(f"{', '.join(said)}. Contract `{contract.id}`. {every} · {tried}")
    with st.container(horizontal=True):
        step("Previous problem", found.previous, PREVIOUS)
        step("Next problem", found.following, FOLLOWING)


def _question(found: ProblemFacts) -> None:
    st.header("What it asks")
    problem_text.show(found)
    if found.reference:
        with st.expander("A program that passes"):
            name = f"{found.task_id} reference"
            untrusted.show(found.reference, language="python", key="reference", name=name)


def _touches(benchmark: str, digest: str, task_id: str) -> None:
    found = problems.touched_by(reading.ledger(), benchmark, digest, task_id)
    if not found:
        return
    st.header("In training data")
    rows = [
        {
            "Dataset": dataset_link(touch.name, touch.dataset),
            "Found by": plain(touch.method),
            "Rows": f"{touch.rows:,}",
            "Trained on": f"**{touch.trained_on:,}**" if touch.trained_on else "0",
        }
        for touch in found
    ]
    st.table(rows, hide_index=True, border="horizontal", alt="Datasets that touch this problem")
    st.caption("Rows that have something of it in them; those not trained on were left out.")


def _runs(pulse: Pulse, benchmark: str, contract: ContractFacts, found: ProblemFacts) -> None:
    st.header("Answers")
    scored = evidence.scored_runs(pulse, benchmark, contract.asking, contract.judging)
    solved = problems.solved_by(
        reading.ledger(),
        [run.id for run in scored],
        benchmark,
        contract.asking,
        contract.judging,
        found.task_id,
    )
    files = _table(scored, solved)
    if scored:
        _answers(benchmark, contract, found, scored)
    links.page_tools(
        f"{benchmark}-{found.task_id}".replace("/", "-"),
        files,
        keep={"benchmark": benchmark, "contract": contract.id, "id": found.task_id},
    )


def _table(scored: Sequence[ScoredRun], solved: Mapping[str, Solved]) -> list[dict[str, object]]:
    passing = sum(one.passed > 0 for one in solved.values())
    verb = "solves" if 1 in (passing, len(solved)) else "solve"
    st.markdown(f"**{passing} of {count(len(solved), 'run')}** {verb} it: an answer passes.")
    rows = [
        {
            "Run": links.run_link(run.id, run.label),
            "Answers that pass": _passing(solved.get(run.id)),
            "All problems": f"{percent(run.value)} {run.metric}",
        }
        for run in scored
    ]
    pages = max(1, ceil(len(rows) / RUNS))
    place = st.pagination(pages, key="runs-page", bind="query-params") if pages > 1 else 1
    st.table(
        rows[(place - 1) * RUNS : place * RUNS],
        hide_index=True,
        border="horizontal",
        alt="What each run made of this problem, the best run first",
    )
    return [
        {
            "run": run.id,
            "label": run.label,
            "completions": solved[run.id].completions,
            "passed": solved[run.id].passed,
        }
        for run in scored
        if run.id in solved
    ]


def _passing(one: Solved | None) -> str:
    if one is None:
        return f"{NONE} not judged"
    sign = "✓" if one.passed else "✗"
    return f"{sign} {one.passed} of {one.completions}"


def _answers(
    benchmark: str, contract: ContractFacts, found: ProblemFacts, scored: Sequence[ScoredRun]
) -> None:
    labels = told_apart({run.id: run.label for run in scored})
    run = choices.one(
        "run", "Answers of", list(labels), default=scored[0].id, shown=labels.__getitem__
    )
    assert run is not None
    answers = problems.answers_to(
        reading.ledger(), run, benchmark, found.task_id, contract.asking, contract.judging
    )
    rows = [
        {
            "Answer": links.completion_link(one.id, f"Answer {one.position + 1}", contract.judging),
            "Outcome": verdict_words.badge(one.outcome),
            "What happened": verdict_words.failure(one.outcome, one.detail, one.extracted),
            "Detail": untrusted.word(one.detail or "") or NONE,
            "Tokens": f"{one.tokens:,}",
            "Ended": verdict_words.ended(one.finish),
        }
        for one in answers
    ]
    if not rows:
        st.info("This run has no answer to this problem.")
        return
    st.table(rows, hide_index=True, border="horizontal", alt="Answers of the chosen run")
