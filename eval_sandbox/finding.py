"""What the ending of one run says about the candidate, test by test."""

import hmac
import math
import os
import signal
from dataclasses import dataclass
from typing import Any

from eval_sandbox import codec
from eval_sandbox.contract import Limits
from eval_sandbox.problem import Call, Dialogue, Script, Test
from eval_sandbox.runner import NotDataError
from eval_sandbox.verdict import Outcome
from eval_sandbox.watch import RESULTS_MIB, Ending, Stopped

_DETAIL = 300


@dataclass(frozen=True, slots=True)
class Finding:
    """An outcome and, for people, why."""

    outcome: Outcome
    detail: str = ""


_PASSED = Finding(Outcome.PASSED)


def find(tests: tuple[Test, ...], ending: Ending, limits: Limits, nonce: str) -> Finding:
    """Judge one run of `tests` by how it ended and what it sent back.

    Args:
        tests: those that ran in this one process, in order; or one `Dialogue`.
        ending: must be `ready`.
        limits: what this run was allowed, for the words of the detail.
        nonce: what only the runner knew when the candidate's code began.
    """
    return _stopped(ending, limits) or _killed(ending, limits) or _replies(tests, ending, nonce)


def _stopped(ending: Ending, limits: Limits) -> Finding | None:
    match ending.stopped:
        case Stopped.WALL:
            detail = f"no end after {limits.wall_seconds:.0f} s of wall time"
            return Finding(Outcome.TIMED_OUT, detail)
        case Stopped.OUTPUT:
            return Finding(Outcome.OUTPUT_LIMIT, f"more than {limits.output_kib} KiB of output")
        case Stopped.RESULTS:
            return Finding(Outcome.OUTPUT_LIMIT, f"returned more than {RESULTS_MIB} MiB")
    return None


def _killed(ending: Ending, limits: Limits) -> Finding | None:
    if ending.status is None:
        return Finding(Outcome.CRASHED, "the program ended the sandbox around it")
    used_up = ending.cpu_seconds >= limits.cpu_seconds
    number = os.WTERMSIG(ending.status) if os.WIFSIGNALED(ending.status) else 0
    if number == signal.SIGXCPU or (number and used_up):
        return Finding(Outcome.TIMED_OUT, f"no end after {limits.cpu_seconds:.0f} s of CPU time")
    if number:
        return Finding(Outcome.CRASHED, f"killed by {_signal_name(number)}")
    if ending.cpu_seconds > math.ceil(limits.cpu_seconds):
        return Finding(
            Outcome.TIMED_OUT, f"its processes took {ending.cpu_seconds:.0f} s of CPU time"
        )
    return None


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _replies(tests: tuple[Test, ...], ending: Ending, nonce: str) -> Finding:
    assert ending.status is not None
    code = os.waitstatus_to_exitcode(ending.status)
    try:
        if isinstance(tests[0], Dialogue):
            return _dialogue(tests[0], ending, code)
        for number, test in enumerate(tests):
            if number >= len(ending.events):
                detail = f"ended before test {number + 1} was done (exit status {code})"
                return Finding(Outcome.FAILED, detail)
            event = codec.parse(ending.events[number])
            finding = _raised(event) or _reply(number, test, event, nonce)
            if finding.outcome is not Outcome.PASSED:
                return finding
    except (codec.MalformedError, RecursionError, ArithmeticError, LookupError, TypeError):
        # Whatever cannot be read was written by the candidate: its failure, never ours.
        return Finding(Outcome.FAILED, "wrote something to the runner's descriptor")
    return _PASSED


def _raised(event: Any) -> Finding | None:
    match event:
        case ["raised", "memory", str(detail)]:
            return Finding(Outcome.OUT_OF_MEMORY, detail)
        case ["raised", "error", str(detail)]:
            return Finding(Outcome.FAILED, detail)
    return None


def _reply(number: int, test: Test, event: Any, nonce: str) -> Finding:
    match test, event:
        case Call(), ["value", int(which), value] if which == number:
            return _compared(number, test, value)
        case Script(), ["passed", int(which), str(token)] if which == number:
            if hmac.compare_digest(token.encode("utf-8", "replace"), nonce.encode()):
                return _PASSED
    raise codec.MalformedError("not a reply of the runner")


def _compared(number: int, test: Call, value: Any) -> Finding:
    try:
        expected = codec.tagged(test.expected)
    except NotDataError as error:
        raise ValueError(f"test {number + 1} expects {error.args[0]}, which is not data") from error
    if codec.same(expected, value):
        return _PASSED
    returned, wanted = codec.render(value), codec.render(expected)
    return Finding(Outcome.FAILED, f"call {number + 1} returned {returned}, expected {wanted}")


def _dialogue(test: Dialogue, ending: Ending, code: int) -> Finding:
    if ending.events and (raised := _raised(codec.parse(ending.events[0]))):
        return raised
    if code != 0:
        return Finding(Outcome.FAILED, f"exit status {code}")
    printed, wanted = _lines(ending.stdout.decode(errors="replace")), _lines(test.stdout)
    if printed == wanted:
        return _PASSED
    for number, (line, right) in enumerate(zip(printed, wanted, strict=False), start=1):
        if line != right:
            detail = f"line {number} is {line[:80]!r}, expected {right[:80]!r}"
            return Finding(Outcome.FAILED, detail)
    return Finding(Outcome.FAILED, f"printed {len(printed)} lines, expected {len(wanted)}")


def _lines(text: str) -> list[str]:
    """Lines without the white space at their ends; empty lines at the end do not count."""
    return [line.rstrip() for line in text.rstrip().split("\n")]


def printable(text: str) -> str:
    """One line of at most 300 characters that does nothing to a terminal."""
    shown = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text[:_DETAIL])
    return shown if len(shown) <= _DETAIL else shown[: _DETAIL - 1] + "…"
