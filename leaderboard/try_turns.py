"""What was asked in this visit: every question with its answers, in the order of asking."""

import json
import secrets
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

import streamlit as st

from leaderboard.questions import Question
from leaderboard.serving import Model, Verdict
from leaderboard.streams import Answer, Streams

KEPT = 30
"""Questions of a visit; older ones are let go."""
SIDES = ("a", "b")
CHOICES = {"a": "A is better", "b": "B is better", "tie": "Tie", "both_bad": "Both bad"}


@dataclass(slots=True)
class Turn:
    """One question and what became of it."""

    question: Question
    streams: Streams
    blind: bool = False
    id: str = field(default_factory=lambda: secrets.token_hex(16))
    asked_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    choice: str = ""
    """The vote that is stored; empty: none."""
    gave_up: bool = False
    """The names were asked for without a vote."""
    trouble: str = ""
    """Why the vote was not stored."""
    tested: str = ""
    """The test cases as typed when the answers were judged."""
    verdicts: list[Verdict | None] = field(default_factory=list)
    """One for each answer; None: there was no text to judge."""

    @property
    def answers(self) -> list[Answer]:
        """In the order of the cards."""
        return self.streams.answers

    @property
    def hidden(self) -> bool:
        """Whether the names are not to be shown yet."""
        return self.blind and not self.choice and not self.gave_up

    @property
    def names(self) -> list[str]:
        """What the cards are called."""
        labels = [answer.model.label for answer in self.answers]
        if not self.blind:
            return labels
        letters = [f"Model {side.upper()}" for side in SIDES]
        if self.hidden:
            return letters
        return [f"{side}: {label}" for side, label in zip(letters, labels, strict=True)]

    @property
    def title(self) -> str:
        """The first words of the question."""
        said = " ".join((self.question.instruction or self.question.prompt).split())
        return said if len(said) <= 70 else f"{said[:69]}…"


def turns() -> list[Turn]:
    """Return the questions of this visit, the oldest first."""
    found: list[Turn] = st.session_state.setdefault("turns", [])
    return found


def shown() -> Turn | None:
    """Return the question whose answers are on the page."""
    wanted = st.session_state.get("turn")
    return next((turn for turn in turns() if turn.id == wanted), None)


def begin(models: Sequence[Model], question: Question, *, blind: bool) -> None:
    """Ask models, and show their answers; what was still being answered is stopped."""
    for turn in turns():
        if turn.streams.running:
            turn.streams.close()
    turn = Turn(question, Streams(models, question), blind)
    st.session_state["turns"] = [*turns(), turn][-KEPT:]
    reopen(turn.id)


def reopen(turn_id: str) -> None:
    """Show the answers to an earlier question."""
    st.session_state["turn"] = turn_id


def as_json(asked: Sequence[Turn]) -> str:
    """Return questions and answers as JSON; names that are hidden are left out."""
    return json.dumps([record(turn) for turn in asked], indent=2, ensure_ascii=False)


def record(turn: Turn) -> dict[str, Any]:
    """Return one question with its answers, as plain values."""
    question = turn.question
    verdicts = turn.verdicts or [None] * len(turn.answers)
    return {
        "asked_at": turn.asked_at.isoformat(timespec="seconds"),
        "form": question.form,
        "instruction": question.instruction,
        "signature": question.signature,
        "prompt": question.prompt,
        "stop": list(question.stop),
        "settings": asdict(question.settings),
        "blind": turn.blind,
        "vote": turn.choice or None,
        "test_cases": turn.tested or None,
        "answers": [
            _record(turn.hidden, *told)
            for told in zip(turn.names, turn.answers, verdicts, strict=True)
        ],
    }


def _record(hidden: bool, name: str, answer: Answer, verdict: Verdict | None) -> dict[str, Any]:
    told: dict[str, Any] = {"model": name, "run": None if hidden else answer.model.id}
    if not hidden:
        told |= {
            "first_token_seconds": answer.first_seconds,
            "tokens_per_second": answer.tokens_per_second,
        }
    ended = "" if hidden else answer.note
    more = {"text": answer.opening + answer.text, "tokens": answer.tokens, "note": ended}
    judged = asdict(verdict) if verdict else None
    return told | more | {"ended": answer.state.lower(), "verdict": judged}
