"""What a problem asks, on its own page and on that of an answer to it."""

import streamlit as st

from database.problems import ProblemFacts
from leaderboard import untrusted


def show(problem: ProblemFacts) -> None:
    """Show the words of a problem, the code that answers continue, and its tests."""
    name = problem.task_id
    untrusted.show(
        problem.instruction, language=None, key="instruction", name=f"{name} instruction"
    )
    if problem.prompt and problem.prompt != problem.instruction:
        st.caption("The code that an answer continues")
        untrusted.show(problem.prompt, language="python", key="prompt", name=f"{name} prompt")
    with st.expander("Tests"):
        untrusted.show(problem.tests, language="python", key="tests", name=f"{name} tests")
