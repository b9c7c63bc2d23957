"""What became of an answer, in words; whose fault it was comes first. Every function is pure."""

import re
from collections.abc import Mapping
from typing import Any

from leaderboard.words import Colour, plain

OURS = "sandbox_error"
CLASSES = {
    "passed": "passed every test",
    "timed_out": "ran out of time",
    "out_of_memory": "ran out of memory",
    "crashed": "crashed: the interpreter was ended by a signal",
    "output_limit": "printed or returned more than the output limit",
    OURS: "not judged: the sandbox failed, which says nothing of the model",
}
"""By outcome; `failed` has several."""
EXCEPTION = re.compile(r"\s*([A-Z]\w*(?:Error|Exception|Exit|Interrupt|Iteration|Warning))\b")
SYNTAX = ("SyntaxError", "IndentationError", "TabError")
KINDS = {
    "timed_out": "Timed out",
    "out_of_memory": "Out of memory",
    "crashed": "Crashed",
    "output_limit": "Output limit",
    OURS: "Not judged (our fault)",
}
FAILED = ("Wrong answer", "Exception", "No valid Python", "No program found")
FAILURES = (*FAILED, *KINDS.values())
"""The classes of failure: those of the outcome `failed`, and of each other outcome."""
FINISHES = {
    "end": "the model ended it",
    "stop": "a stop string ended it",
    "length": "the token limit cut it off",
    "imported": "it was made elsewhere",
}


def failure(outcome: str | None, detail: str | None, extracted: bool | None) -> str:
    """Return what became of an answer, as words that begin a line.

    Args:
        outcome: of the verdict; None: there is none.
        detail: of the verdict.
        extracted: whether a program was found in the answer; None: it was taken as it is.
    """
    if outcome is None:
        return "not judged yet"
    if outcome == "failed" and extracted is False:
        return "no program found in the answer"
    if outcome == "failed":
        return _failed(detail or "")
    return CLASSES.get(outcome, outcome.replace("_", " "))


def _failed(detail: str) -> str:
    found = EXCEPTION.match(detail)
    if found is None:
        return "wrong answer" if detail else "failed a test"
    name = found[1]
    if name == "AssertionError":
        return "assertion failed"
    if name in SYNTAX:
        return f"no valid Python ({name})"
    return f"raised an exception ({name})"


def kind(outcome: str, detail: str, extracted: bool | None) -> str:
    """Return the class of a failure, of `FAILURES`; an outcome that is none of ours as it is."""
    if outcome != "failed":
        return KINDS.get(outcome, outcome)
    if extracted is False:
        return "No program found"
    raised = EXCEPTION.match(detail)
    if raised is None or raised[1] == "AssertionError":
        return "Wrong answer"
    return "No valid Python" if raised[1] in SYNTAX else "Exception"


def sign(outcome: str | None) -> str:
    """Return a shape that goes with the words: a tick, a cross, or `?` for no verdict."""
    if outcome in (None, OURS):
        return "?"
    return "✓" if outcome == "passed" else "✗"


def colour(outcome: str | None) -> Colour:
    """Return the colour of an outcome's badge; its words say the same."""
    if outcome in (None, OURS):
        return "gray"
    return "green" if outcome == "passed" else "red"


def short(outcome: str | None) -> str:
    """Return an outcome as a badge says it."""
    if outcome == OURS:
        return "not judged, the sandbox failed"
    return (outcome or "not judged").replace("_", " ")


def badge(outcome: str | None) -> str:
    """Return an outcome as Markdown draws it in a table."""
    return f":{colour(outcome)}-badge[{sign(outcome)} {plain(short(outcome))}]"


def ended(finish: str) -> str:
    """Return why an answer ended."""
    return FINISHES.get(finish, finish)


def found_by(content: Mapping[str, Any], extracted: bool | None) -> str:
    """Return how the program that was judged was found, as far as the ledger knows."""
    how = content.get("extract")
    if how is None:
        return "The contract does not say how the program is found in an answer."
    if how == "none":
        return "The answer is taken as it is; nothing is looked for in it."
    if extracted is None:
        return f"Looked for by the extraction `{how}`; whether it found one was not recorded."
    found = "found a program" if extracted else "found no program"
    return f"The extraction `{how}` {found} in the answer."


def limits(content: Mapping[str, Any]) -> str:
    """Return the limits of a judging contract in one sentence; empty where it names none."""
    given = content.get("limits")
    if not isinstance(given, Mapping):
        return ""
    units = {
        "cpu_seconds": "{} s of CPU",
        "wall_seconds": "{} s in all",
        "memory_mib": "{} MiB of memory",
        "output_kib": "{} KiB of output",
    }
    said = [form.format(f"{given[name]:g}") for name, form in units.items() if name in given]
    return f"Limits: {', '.join(said)}." if said else ""
