"""The attacks that this host withstands, tried for real."""

import os
import secrets
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from eval_sandbox.attacks import ATTACKS, CALLS, MARKER, Attack
from eval_sandbox.contract import Judging
from eval_sandbox.judge import judge
from eval_sandbox.problem import Completion, Problem
from eval_sandbox.sandbox import check_host
from eval_sandbox.verdict import Outcome, Verdict

__all__ = ["ATTACKS", "Attack", "Trial", "attempt", "self_check"]

HONEST = Attack(program="def f(x): return x + 1", tests=CALLS, outcomes=(Outcome.PASSED,))
"""Not an attack: where this does not pass, the failures of the others prove nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What became of one attack."""

    name: str
    verdict: Verdict
    withstood: bool
    survivors: int = 0
    """Processes of the attack that were still alive on the host two seconds later."""


def self_check(workers: int = 4) -> Iterator[Trial]:
    """Try every attack, an honest program first.

    Raises:
        SandboxUnavailable: when this host cannot isolate anything at all.
    """
    check_host()
    with ThreadPoolExecutor(workers) as pool:
        yield from pool.map(
            attempt, ("passes an honest program", *ATTACKS), (HONEST, *ATTACKS.values())
        )


def attempt(name: str, attack: Attack) -> Trial:
    """Judge one attack and look for what it left on the host."""
    marker = secrets.token_hex(8)
    if attack.before:
        _verdict(replace(attack, program=attack.before))
    verdict = _verdict(replace(attack, program=attack.program.replace(MARKER, marker)))
    survivors = _survivors(marker) if MARKER in attack.program else 0
    withstood = verdict.outcome in attack.outcomes and not survivors
    return Trial(name=name, verdict=verdict, withstood=withstood, survivors=survivors)


def _verdict(attack: Attack) -> Verdict:
    problem = Problem(
        task_id="attack", instruction="", prompt="", entry_point="f", tests=attack.tests
    )
    completion = Completion(task_id="attack", text=attack.program, whole=True)
    return judge(problem, completion, Judging(limits=attack.limits))


def _survivors(marker: str) -> int:
    """Processes whose command line carries `marker`, after up to two seconds of patience."""
    deadline = time.monotonic() + 2.0
    while (alive := _carrying(marker)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return alive


def _carrying(marker: str) -> int:
    found = 0
    for process in Path("/proc").iterdir():
        if process.name.isdecimal() and int(process.name) != os.getpid():
            try:
                found += marker.encode() in (process / "cmdline").read_bytes()
            except OSError:
                continue
    return found
