"""The vote on two answers whose models are hidden until it is made."""

from collections.abc import Sequence
from typing import Any

import streamlit as st

from leaderboard import people, serving
from leaderboard.serving import ServerError
from leaderboard.streams import Answer
from leaderboard.try_turns import CHOICES, Turn
from leaderboard.words import plain


def show(turn: Turn) -> None:
    """Offer the vote, before the answers end as well; once made, say what it was."""
    if not turn.blind:
        return
    if turn.choice:
        st.success(f"Your vote: **{CHOICES[turn.choice]}**. The names are on the cards.")
    elif turn.gave_up:
        st.caption("The names were shown without a vote, so there is none on these answers.")
    elif people.may_act():
        _buttons(turn)
    else:
        st.caption("Only members may vote.")
        _reveal(turn)
    if turn.trouble:
        st.error(plain(turn.trouble))


def _buttons(turn: Turn) -> None:
    if lost := no_vote_counts(turn.answers):
        st.markdown(lost)
        _reveal(turn)
        return
    st.markdown("**Which answer is better?**")
    with st.container(horizontal=True):
        for choice, said in CHOICES.items():
            st.button(said, key=f"vote-{choice}", on_click=vote, args=(turn, choice))
        _reveal(turn)


def _reveal(turn: Turn) -> None:
    st.button("Show the names without a vote", type="tertiary", on_click=_give_up, args=(turn,))


def vote(turn: Turn, choice: str) -> None:
    """Store a vote and show the names; or say why not, and go on hiding them. A callback."""
    if turn.choice or not people.may_act():
        return
    if trouble := not_yet(turn.answers):
        turn.trouble = trouble
        return
    try:
        turn.choice = serving.vote(serving.client(), ballot(turn, choice))
        turn.trouble = ""
    except ServerError as error:
        turn.trouble = f"The vote is not stored: {error}. Vote again."


def no_vote_counts(answers: Sequence[Answer]) -> str:
    """Return why no vote on these answers will ever count; empty: one may.

    That we failed, or that somebody stopped a model before it wrote, says nothing of the model.
    """
    if any(answer.state == "Failed" for answer in answers):
        return "An answer failed, which says nothing of the model: no vote on these counts."
    if any(answer.state == "Stopped" and not answer.text.strip() for answer in answers):
        return "An answer was stopped before its first word: no vote on these counts."
    return ""


def not_yet(answers: Sequence[Answer]) -> str:
    """Return why no vote on these answers counts now; empty: it does."""
    if lost := no_vote_counts(answers):
        return lost
    if all(answer.text.strip() or answer.state == "Done" for answer in answers):
        return ""
    return "Not every model has answered yet; vote when there is something to compare."


def ballot(turn: Turn, choice: str) -> dict[str, Any]:
    """Return the body of POST /votes; the same for every try of one vote."""
    first, second = turn.answers
    return {
        "id": turn.id,
        "run_a": first.model.id,
        "run_b": second.model.id,
        "choice": choice,
        "blind": True,
        "instruction": turn.question.instruction,
        "answer_a": _whole(first),
        "answer_b": _whole(second),
        "voter": people.name(),
    }


def _whole(answer: Answer) -> str:
    return answer.opening + answer.text if answer.text else ""


def _give_up(turn: Turn) -> None:
    turn.gave_up = True
