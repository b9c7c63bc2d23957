"""A visitor's test cases, put to the answers in the sandbox of the model server."""

import streamlit as st

from leaderboard import serving, try_answers
from leaderboard.own_cases import CasesError, read_tests
from leaderboard.serving import ServerError, Verdict
from leaderboard.try_form import MOST_CHARACTERS
from leaderboard.try_turns import Turn
from leaderboard.words import plain


def show(turn: Turn | None) -> None:
    """Show the test cases and the button that runs them; verdicts stand in the cards."""
    typed = st.text_area(
        "Test cases: a line for each, or JSON in the custom form",
        height=110,
        max_chars=MOST_CHARACTERS,
        key="cases",
        persist_state="session",
    )
    ready = turn is not None and try_answers.finished(turn.answers)
    with st.container(horizontal=True, vertical_alignment="center"):
        clicked = st.button(
            "Run in the sandbox",
            icon=":material/science:",
            disabled=not ready,
            help="Runs every answer with these tests, on the machine of the model server.",
            key="run",
        )
        if turn is not None and turn.verdicts and turn.tested != typed:
            st.caption("The test cases were changed since; run them again.")
    if clicked and turn is not None:
        with st.spinner("The sandbox runs the tests"):
            judged = _judge(turn, typed or "")
        if judged:
            turn.tested, turn.verdicts = typed or "", judged
            st.rerun()


def _judge(turn: Turn, typed: str) -> list[Verdict | None]:
    """The verdict on each answer, or none where the tests or the server are at fault."""
    client = serving.client()
    try:
        tests = read_tests(typed)
        return [
            serving.judge(client, answer.opening, answer.text, tests) if answer.text else None
            for answer in turn.answers
        ]
    except (CasesError, ServerError) as error:
        st.error(plain(str(error)))
        return []
