"""What became of one completion, and whose fault it was."""

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
