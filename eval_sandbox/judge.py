"""From a problem and a completion to a verdict.

`Call` and `Dialogue` tests are judged here, outside: only the program and its input enter the
sandbox, and what comes back is data that either equals the expectation or does not. The process
is never believed about its own success, and its exit status proves nothing.

All `Call` and `Script` tests of a completion run in one process, one after another; each
`Dialogue` is a run of its own in a sandbox of its own. The limits hold for all of them together.

`Script` tests run in the candidate's process; see `runner` for what that does not promise.
"""

import secrets
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from itertools import islice
from subprocess import TimeoutExpired
from typing import Any

from eval_sandbox.contract import Judging, Limits
from eval_sandbox.finding import Finding, find, printable
from eval_sandbox.preambles import EXTRACTIONS, PREAMBLES
from eval_sandbox.problem import Call, Completion, Dialogue, Problem, Script, Test
from eval_sandbox.sandbox import Program, SandboxFailureError, SandboxUnavailable, run
from eval_sandbox.verdict import Outcome, Verdict

_LOOK_AHEAD = 4


def assemble(problem: Problem, completion: Completion, judging: Judging) -> str:
    """The program that a completion stands for: extracted, and joined to the problem's prompt."""
    text = EXTRACTIONS[judging.extract](completion.text)
    return text if completion.whole else problem.prompt + text


def judge(problem: Problem, completion: Completion, judging: Judging) -> Verdict:
    """Judge one completion; once more where the sandbox failed or the time passed in idleness.

    Raises:
        ValueError: when the problem has no tests: every program would pass.
        SandboxUnavailable: when this host cannot isolate anything at all.
    """
    if not problem.tests:
        raise ValueError(f"problem {problem.task_id!r} has no tests, so nothing can be judged")
    trouble = ""
    for last in (False, True):
        try:
            verdict = _judge_once(problem, completion, judging)
            if last or not _idled(verdict, judging.limits):
                return verdict
        except SandboxUnavailable:
            raise
        except (SandboxFailureError, OSError, TimeoutExpired) as error:
            trouble = str(error)
    return Verdict(
        outcome=Outcome.SANDBOX_ERROR,
        cpu_seconds=0.0,
        wall_seconds=0.0,
        detail=printable(trouble),
    )


def _idled(verdict: Verdict, limits: Limits) -> bool:
    """Whether time ran out with next to no CPU used: a busy host looks like that, so ask again."""
    return (
        verdict.outcome is Outcome.TIMED_OUT
        and verdict.wall_seconds >= limits.wall_seconds
        and verdict.cpu_seconds < 0.1 * limits.cpu_seconds
    )


def judge_all(
    pairs: Sequence[tuple[Problem, Completion]], judging: Judging, workers: int = 1
) -> Iterator[Verdict]:
    """Verdicts in the order of `pairs`, `workers` completions being judged at a time.

    At most `4 * workers` verdicts wait for a slower one before them. Stopping early waits for
    the completions in progress.

    Raises:
        ValueError: when `workers` is below 1.
        SandboxUnavailable: when this host cannot isolate anything at all.
    """
    if workers < 1:
        raise ValueError(f"workers is {workers}; at least 1 is needed")
    with ThreadPoolExecutor(workers, thread_name_prefix="judge") as pool:
        rest = iter(pairs)
        waiting: deque[Future[Verdict]] = deque()
        try:
            for pair in islice(rest, _LOOK_AHEAD * workers):
                waiting.append(pool.submit(judge, *pair, judging))
            while waiting:
                yield waiting.popleft().result()
                for pair in islice(rest, 1):
                    waiting.append(pool.submit(judge, *pair, judging))
        finally:
            for future in waiting:
                future.cancel()


def _judge_once(problem: Problem, completion: Completion, judging: Judging) -> Verdict:
    program = Program(
        source=assemble(problem, completion, judging),
        preamble=PREAMBLES[judging.preamble],
        setup=problem.setup,
        entry_point=problem.entry_point,
        nonce=secrets.token_hex(16),
    )
    finding, cpu, wall = Finding(Outcome.PASSED), 0.0, 0.0
    for tests in _runs(problem):
        left = _left(judging.limits, cpu, wall)
        if left is None:
            finding = Finding(Outcome.TIMED_OUT, "the tests together took too long")
            break
        ending = run(_with_tests(program, tests), left)
        cpu, wall = cpu + ending.cpu_seconds, wall + ending.wall_seconds
        finding = find(tests, ending, left, program.nonce)
        if finding.outcome is not Outcome.PASSED:
            break
    return Verdict(
        outcome=finding.outcome,
        cpu_seconds=round(cpu, 4),
        wall_seconds=round(wall, 4),
        detail=printable(finding.detail),
    )


def _runs(problem: Problem) -> list[tuple[Test, ...]]:
    """The tests of each sandbox: those that share a process, then each dialogue by itself."""
    together = tuple(test for test in problem.tests if not isinstance(test, Dialogue))
    alone = [(test,) for test in problem.tests if isinstance(test, Dialogue)]
    return [together, *alone] if together else [*alone]


def _with_tests(program: Program, tests: tuple[Test, ...]) -> Program:
    if isinstance(tests[0], Dialogue):
        return replace(program, stdin=tests[0].stdin, nonce="")
    inside: list[tuple[Any, ...]] = []
    for test in tests:
        if isinstance(test, Call):
            inside.append(("call", test.args, test.kwargs))
        elif isinstance(test, Script):
            inside.append(("script", test.source))
    return replace(program, tests=tuple(inside))


def _left(limits: Limits, cpu: float, wall: float) -> Limits | None:
    """What is left of the budget; None when nothing is."""
    cpu_left, wall_left = limits.cpu_seconds - cpu, limits.wall_seconds - wall
    if cpu_left <= 0 or wall_left <= 0:
        return None
    return replace(limits, cpu_seconds=cpu_left, wall_seconds=wall_left)
