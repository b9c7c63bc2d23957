"""One cell of the heat map: what a run made of a problem, with links to its answers.

It is chosen by a click on the map or in two select boxes, and its ids live in the URL.
"""

from collections.abc import Mapping, Sequence

import streamlit as st

from database import problems
from database.problems import AnswerFacts, ContractFacts
from leaderboard import choices, links, reading, untrusted, verdict_words
from leaderboard.problem_matrix import CELL, Row
from leaderboard.words import count, plain

MAP = "heat-map"


def choose(names: Mapping[str, str]) -> None:
    """Have the cell that was clicked on the map open below it. A callback."""
    cells = st.session_state[MAP].selection[CELL]
    if cells:
        run_of = {name: run for run, name in names.items()}
        choices.put("problem", cells[0]["problem"])
        choices.put("by", run_of[cells[0]["run"]])


def show(
    rows: Sequence[Row], names: Mapping[str, str], benchmark: str, contract: ContractFacts
) -> None:
    """Show one cell.

    Args:
        rows: of the map.
        names: of its runs by id.
        benchmark: its name.
        contract: under which answers were judged.
    """
    st.header("One cell")
    with st.container(horizontal=True):
        task_id = choices.one(
            "problem",
            "Problem",
            [row.problem.task_id for row in rows],
            default=None,
            shown=untrusted.seen,
            optional="Choose one, or a cell of the map",
        )
        run = choices.one(
            "by", "Run", list(names), default=next(iter(names)), shown=names.__getitem__
        )
    if task_id is None or run is None:
        return
    asked = run, benchmark, task_id, contract.asking, contract.judging
    answers = problems.answers_to(reading.ledger(), *asked)
    label = untrusted.seen(task_id)
    problem = links.problem_link(benchmark, contract.id, task_id, label, run)
    passed = sum(answer.outcome == "passed" for answer in answers)
    st.markdown(
        f"{links.run_link(run, names[run])} on {problem}: {passed} of "
        f"{count(len(answers), 'answer')} {'passes' if passed == 1 else 'pass'}."
    )
    st.markdown("\n".join(_line(answer, contract.judging) for answer in answers))


def _line(answer: AnswerFacts, judging: str) -> str:
    name = links.completion_link(answer.id, f"Answer {answer.position + 1}", judging)
    what = verdict_words.failure(answer.outcome, answer.detail, answer.extracted)
    return f"- {verdict_words.sign(answer.outcome)} {name}: {plain(what)}"
