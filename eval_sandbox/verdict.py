"""What became of one completion, and whose fault it was."""

import re
from dataclasses import dataclass
from enum import StrEnum


class Outcome(StrEnum):
    """How judging one completion ended. Only `SANDBOX_ERROR` is ours, and it is never a zero."""

    PASSED = "passed"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    OUT_OF_MEMORY = "out_of_memory"
    CRASHED = "crashed"
    OUTPUT_LIMIT = "output_limit"
    SANDBOX_ERROR = "sandbox_error"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The outcome of one completion of one problem."""

    outcome: Outcome
    cpu_seconds: float
    wall_seconds: float
    detail: str = ""
    """The assertion or exception, one printable line; for people, never parsed."""


@dataclass(frozen=True, slots=True)
class Finding:
    """An outcome and, for people, why."""

    outcome: Outcome
    detail: str = ""


_LONGEST_DETAIL = 300
_ADDRESS = re.compile(r" at 0x[0-9a-f]+(?=>)")


def printable(text: str) -> str:
    """One line of at most 300 characters that does nothing to a terminal.

    Where an object stood in memory is left out: it would be another place in the next run.
    """
    start = _ADDRESS.sub("", text[: 2 * _LONGEST_DETAIL])[:_LONGEST_DETAIL]
    shown = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in start)
    return shown if len(shown) <= _LONGEST_DETAIL else shown[: _LONGEST_DETAIL - 1] + "…"
