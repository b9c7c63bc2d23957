"""Ask up to three models the same thing and watch them answer side by side."""

import streamlit as st

from leaderboard import (
    preferred,
    serving,
    try_answers,
    try_cases,
    try_form,
    try_history,
    try_turns,
    try_vote,
)
from leaderboard.links import page_tools
from leaderboard.serving import Model, ServerError
from leaderboard.try_turns import Turn
from leaderboard.words import plain


def show() -> None:
    """Show the form, the answers to the question that is open, and what people preferred."""
    st.title("Try it")
    st.markdown("Ask a base model and what you made of it the same thing, and run what they write.")
    if (turn := try_turns.shown()) is not None:
        turn.streams.look()
    try:
        offered = serving.models(serving.client())
    except ServerError as error:
        _without_server(str(error))
    else:
        if offered:
            _asked(offered)
            return
        st.info("The model server offers no models yet. Run `make train-all`.")
    page_tools("preferred", preferred.show())


def _asked(offered: list[Model]) -> None:
    chosen, blind = try_form.models(offered)
    try_form.question(chosen, blind)
    turn = try_turns.shown()
    running = turn is not None and turn.streams.running
    _buttons(offered, turn, running)
    if turn is not None:
        try_vote.show(turn)  # above the cards: what is below them moves while they grow
    cards = st.container()
    if turn is not None:
        try_history.tools(turn)
    try_cases.show(turn)
    try_history.show()
    page_tools("preferred", preferred.show())
    if turn is not None:
        with cards:  # last, for it goes on until the answers have ended
            try_answers.show(turn, running)


def _buttons(offered: list[Model], turn: Turn | None, running: bool) -> None:
    """Offer to ask and, while there are answers on their way, to stop them.

    Both stand in one row, and the one to ask is always there: a button that was clicked stays on
    the page until the next click, and its row would go between the two halves of that one.
    """
    with st.container(horizontal=True):
        st.button(
            "Ask",
            key="send",
            on_click=try_form.ask,
            args=(offered,),
            shortcut="Ctrl+Enter",
            disabled=running,
        )
        if turn is not None and running:
            stop = turn.streams.close
            st.button("Stop", icon=":material/stop:", key="stop", on_click=stop, shortcut="Esc")
    trouble = "" if running else st.session_state.get("trouble")
    st.warning(plain(trouble)) if trouble else st.empty()


def _without_server(reason: str) -> None:
    st.warning(plain(f"{reason[:1].upper()}{reason[1:]}."))
    st.markdown(
        "Start one with `make leaderboard`, which runs it beside this page, or with "
        "`python -m jobs serve`. The scores on the other pages do not need it."
    )
    st.button("Look again")
