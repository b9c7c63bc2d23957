"""The questions of this visit: opened again by a click, asked again, downloaded; and as code."""

import streamlit as st

from leaderboard import questions, serving, try_turns
from leaderboard.try_form import ask_again
from leaderboard.try_turns import Turn
from leaderboard.words import count, plain


def tools(turn: Turn) -> None:
    """Show what can be done with the answers on the page: ask again, or take the question along."""
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button("Ask again", icon=":material/refresh:", on_click=ask_again, args=(turn,))
        with st.popover("As code", icon=":material/code:"):
            _as_code(turn)
        st.caption(plain(questions.in_words(turn.question.settings)))


def _as_code(turn: Turn) -> None:
    if turn.hidden:
        st.caption("Code names the model, so it is shown after the vote.")
        return
    place = 0
    if len(turn.answers) > 1:
        place = st.segmented_control(
            "Model",
            range(len(turn.answers)),
            default=0,
            required=True,
            format_func=lambda n: f"{n + 1}: {plain(turn.names[n])}",
            key=f"code-{turn.id}",
        )
    model, server = turn.answers[place].model.id, serving.server_url()
    token = "`CODELADDER_SERVE_TOKEN` holds the server's token, where it has one"
    st.markdown(f":small[In a shell; {token}]")
    st.code(questions.as_curl(turn.question, model, server), language="bash", wrap_lines=True)
    st.markdown(":small[In Python, with the package `openai`]")
    st.code(questions.as_python(turn.question, model, server), language="python", wrap_lines=True)


def show() -> None:
    """List the questions of this visit, the newest first; the one on the page in bold."""
    asked = try_turns.turns()
    if not asked:
        return
    st.header("Asked in this visit")
    for turn in reversed(asked):
        with st.container(horizontal=True, vertical_alignment="center"):
            if turn.id == st.session_state.get("turn"):
                st.markdown(f"**{plain(turn.title)}**")
            else:
                st.button(
                    plain(turn.title),
                    key=f"turn-{turn.id}",
                    type="tertiary",
                    on_click=try_turns.reopen,
                    args=(turn.id,),
                )
            st.caption(plain(summary(turn)))
    st.download_button(
        "Download the questions and answers",
        lambda: try_turns.as_json(asked),  # called on a thread that has no session
        "asked.json",
        "application/json",
        on_click="ignore",
        icon=":material/download:",
        key="asked",
    )
    st.caption("Kept until this tab is closed or loaded again.")


def summary(turn: Turn) -> str:
    """Return whom a question went to and what came of it, in one line."""
    said = [", ".join(turn.names)]
    answered = sum(bool(answer.text) for answer in turn.answers)
    said.append(f"{count(answered, 'answer')}")
    passed = [verdict.outcome == "passed" for verdict in turn.verdicts if verdict]
    if passed:
        said.append(f"{sum(passed)} of {len(passed)} passed your tests")
    if turn.choice:
        said.append(f"vote: {try_turns.CHOICES[turn.choice]}")
    return "; ".join(said)
