"""Problems of the ledger in the try-it form: one that the tuned model failed, or one by link."""

import json
import re
from collections.abc import Callable, Sequence
from typing import Any

import streamlit as st

from database import LedgerError
from database.failed_problems import FailedProblem, ProblemText, failed_problems, problem_text
from database.paired import contract_parts
from leaderboard import reading
from leaderboard.own_cases import OwnProblem
from leaderboard.serving import Model
from leaderboard.words import plain

Fill = Callable[[OwnProblem, str | None], None]
NO_TESTS = "# The tests of this problem cannot be written here; add some of your own."
DEFINED = re.compile(r"^(?:async )?def (\w+)", re.MULTILINE)


def from_link(fill: Fill) -> None:
    """Fill the form with the problem that the URL names, once; its contract says which version."""
    asked, contract = (st.query_params.get(name, "") for name in ("problem", "contract"))
    if not asked or st.session_state.get("linked") == (asked, contract):
        return
    st.session_state["linked"] = asked, contract
    benchmark, _, task_id = asked.partition(":")
    use(benchmark, task_id, fill, _judging(contract) if contract else None)


def _judging(contract: str) -> str:
    """The judging part of a contract by its short hash; of one that is not known, the hash."""
    try:
        parts = contract_parts(reading.ledger(), contract)
    except LedgerError:
        parts = None
    return parts[1] if parts else contract


def use(benchmark: str, task_id: str, fill: Fill, judging: str | None = None) -> None:
    """Fill the form with a problem, or say that there is none of this name.

    Args:
        benchmark: its name.
        task_id: the problem's.
        fill: puts a problem into the form.
        judging: contract that names the version of the benchmark; None: any version.
    """
    try:
        found = problem_text(reading.ledger(), benchmark, task_id, judging)
    except LedgerError:
        found = None
    if found is None:
        version = " under this contract" if judging else ""
        st.warning(plain(f"No problem {task_id} of {benchmark} is in the ledger{version}."))
        return
    problem = as_own(found)
    fill(problem, None if problem.tests else NO_TESTS)


def choose(chosen: Sequence[Model], fill: Fill, *, disabled: bool) -> None:
    """Offer the problems that the first tuned model among those chosen failed.

    Args:
        chosen: the models to be asked.
        fill: puts a problem into the form.
        disabled: a vote that hides names; a question chosen for a failure would tilt it.
    """
    tuned = next((model for model in chosen if model.base), None)
    said = "Not in a blind vote: a question that one model is known to fail would tilt it."
    with st.popover(
        "From a failed problem", disabled=disabled or tuned is None, help=said if disabled else None
    ):
        if disabled or tuned is None or tuned.base is None:
            return
        failed = _failed(tuned.id, tuned.base)
        if not failed:
            st.caption(plain(f"{tuned.label} has failed no problem that its base was asked too."))
            return
        st.caption(plain(f"Failed by {tuned.label}; those that its base solved come first."))
        place = st.selectbox(
            "Problem", range(len(failed)), format_func=lambda n: in_words(failed[n]), key="failed"
        )
        one = failed[place or 0]
        asked = (one.benchmark, one.task_id, fill, one.judging)
        st.button("Use it", on_click=use, args=asked, key="use_failed")


def in_words(failed: FailedProblem) -> str:
    """Return `starter/3: base 2 of 2, tuned 0 of 2`."""
    base = f"base {failed.base_passed} of {failed.base_completions}"
    return f"{failed.benchmark} {failed.task_id}: {base}, tuned 0 of {failed.completions}"


def as_own(stored: ProblemText) -> OwnProblem:
    """Return a stored problem as the form has it; without tests where it cannot say them."""
    tests = _tests(stored.tests)
    entry_point = ""
    if any(isinstance(test, dict) and "args" in test for test in tests):
        entry_point = _entry_point(stored.prompt) or _entry_point(stored.reference)
        tests = tests if entry_point else ()
    return OwnProblem(
        task_id=stored.task_id,
        instruction=stored.instruction,
        signature=stored.prompt,
        entry_point=entry_point,
        tests=tests,
    )


def _tests(text: str) -> tuple[Any, ...]:
    """The stored tests in the custom form; none where one of them is cut or cannot be said."""
    found: list[Any] = []
    for line in text.splitlines():
        try:
            test = json.loads(line)
        except ValueError:
            return ()
        if not isinstance(test, dict):
            return ()
        if set(test) == {"source"}:
            found.append(test["source"])
        elif {"args", "expected"} <= set(test) or "stdout" in test:
            found.append(test)
        else:
            return ()
    return tuple(found)


def _entry_point(code: str) -> str:
    names = DEFINED.findall(code)
    return names[-1] if names else ""


@st.cache_data(ttl="60s", max_entries=64, show_spinner=False)
def _failed(tuned: str, base: str) -> list[FailedProblem]:
    try:
        return failed_problems(reading.ledger(), tuned, base)
    except LedgerError:
        return []
