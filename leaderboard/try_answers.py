"""The cards of the answers: where each stands, what it says, and how its tests went."""

import time
from collections.abc import Sequence

import streamlit as st
from streamlit.delta_generator import DeltaGenerator as Slot

from leaderboard import untrusted
from leaderboard.serving import Verdict
from leaderboard.streams import Answer
from leaderboard.try_turns import Turn
from leaderboard.words import Colour, count, plain, span

TICK_SECONDS = 0.12
"""Between two redraws of the answers; Stop is noticed at each."""
COLOURS: dict[str, Colour] = {
    "Answering": "blue",
    "Done": "green",
    "Stopped": "orange",
    "Failed": "red",
}
"""By state; the others wait, and are gray."""
WAITING = frozenset({"Asking", "Queued", "Starting", "Loading adapter", "Loading model", "Busy"})


def show(turn: Turn, running: bool) -> None:
    """Draw the answers until all have ended, then have the page drawn once more.

    Args:
        turn: whose answers.
        running: what the rest of the page took them for: it has to be drawn again otherwise.
    """
    slots = [column.empty() for column in st.columns(len(turn.answers))]
    while turn.streams.running:
        turn.streams.look()
        for place, slot in enumerate(slots):
            _draw(slot, turn, place, grows=True)
        time.sleep(TICK_SECONDS)
    if running:
        st.rerun()
    for place, slot in enumerate(slots):
        _draw(slot, turn, place, grows=False)


def _draw(slot: Slot, turn: Turn, place: int, *, grows: bool) -> None:
    """Draw one card; what a model writes is only ever shown as code.

    It has the same parts at all times, for a part that is not drawn anew stays on the page while
    an answer grows: under it would stand the verdict on the answer before.
    """
    answer = turn.answers[place]
    with slot.container(border=True):
        st.markdown(f"**{plain(turn.names[place])}** {badge(answer, turn.hidden)}")
        with st.container() if answer.text else st.empty():
            if answer.text:
                _text(turn, place, grows)
        said = " ".join(told(answer, turn.hidden))
        st.caption(plain(said)) if said else st.empty()
        verdict = turn.verdicts[place] if turn.verdicts and not grows else None
        with st.container() if verdict else st.empty():
            if verdict:
                tell(verdict)


def _text(turn: Turn, place: int, grows: bool) -> None:
    answer = turn.answers[place]
    text = answer.opening + answer.text
    language = "python" if "```" not in text else None  # prose and code together are neither
    if grows:
        untrusted.glance(text[-untrusted.GLANCE :], language=language)
    else:
        name = f"answer-{turn.id[:6]}-{place + 1}"
        untrusted.show(text, language=language, key=f"answer{place + 1}", name=name)


def badge(answer: Answer, hidden: bool) -> str:
    """Return the state as a badge; while names are hidden, states that could tell them are one."""
    state = "Waiting" if hidden and answer.state in WAITING else answer.state
    return f":{COLOURS.get(answer.state, 'gray')}-badge[{state}]"


def told(answer: Answer, hidden: bool) -> list[str]:
    """Return how far an answer is, in lines.

    While names are hidden, neither times nor messages are told: they could tell the names.
    """
    if answer.ended is None and answer.first_at is None:
        return [_wait(answer, hidden)]
    if answer.state == "Failed":
        return ["No answer. The reason is shown after the vote." if hidden else answer.note]
    if answer.first_seconds is None:
        return ["No answer: the model ended at once."] if answer.state == "Done" else []
    if hidden:
        return [count(answer.tokens, "token")]
    numbers = [f"first token after {answer.first_seconds:.2f} s", count(answer.tokens, "token")]
    if answer.tokens_per_second is not None:
        numbers.append(f"{answer.tokens_per_second:.0f} tokens/s")
    return [", ".join([*numbers, f"{span(answer.elapsed)} in all"])]


def _wait(answer: Answer, hidden: bool) -> str:
    if hidden:
        return "No answer yet."
    elapsed = span(answer.elapsed)
    if answer.state == "Busy" and answer.again_at is not None:
        left = max(0, round(answer.again_at - time.monotonic()))
        said = f" {answer.note}." if answer.note else ""
        return f"The server is busy.{said} Asking again in {left} s; {elapsed} so far."
    if answer.ahead:
        return f"{count(answer.ahead, 'question')} before this one; {elapsed} so far."
    return f"{elapsed} so far."


def tell(verdict: Verdict) -> None:
    """One verdict; what it says of the program is only ever shown as text."""
    st.markdown(in_words(verdict))
    if verdict.outcome == "sandbox_error":
        st.caption("The sandbox failed; that says nothing of the answer.")
    if verdict.detail:
        untrusted.glance(verdict.detail, language=None)


def in_words(verdict: Verdict) -> str:
    """Return an outcome with its sign and times, as Markdown."""
    marks = {"passed": "✓", "sandbox_error": "?"}
    took = f"{span(verdict.cpu_seconds)} of CPU, {span(verdict.wall_seconds)} in all"
    outcome = plain(verdict.outcome.replace("_", " "))
    return f"{marks.get(verdict.outcome, '✗')} Your tests: **{outcome}**, {took}"


def finished(answers: Sequence[Answer]) -> bool:
    """Whether there is text, and no more will come."""
    return any(answer.text for answer in answers) and all(a.ended is not None for a in answers)
