"""The attacks that this host withstands, tried for real.

After each attack the same worker judges an honest program, which must pass and find nothing of
the attack: that its judge is alive, and that nothing goes from one candidate to the next.
"""

import secrets
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from eval_sandbox.attacks import ATTACKS, CALLS, CANARY, MARKER, Attack
from eval_sandbox.attacks_common import ASSERTS, DIALOGUE, LOOP, python
from eval_sandbox.contract import Judging, Limits
from eval_sandbox.judge import Worker
from eval_sandbox.problem import Completion, Problem, Script
from eval_sandbox.sandbox import check_host
from eval_sandbox.verdict import Outcome, Verdict

__all__ = ["ATTACKS", "HONEST", "Attack", "Trial", "attempt", "self_check"]

HONEST = Attack(
    program=python("""
        import os, signal, sys, threading
        def f(x):
            assert os.listdir('/tmp') == [] and os.getcwd() == '/tmp'
            assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
            assert not signal.pthread_sigmask(signal.SIG_BLOCK, []) and not signal.sigpending()
            assert threading.active_count() == 1 and sys.gettrace() is None
            assert os.umask(0o077) == 0o077 and set(os.environ) < {
                'HOME', 'LANG', 'LC_CTYPE', 'PWD', 'PYTHONHASHSEED', 'PATH'}
            return x + 1
        if __name__ == '__main__':
            print(f(int(input())))
    """),
    outcomes=(Outcome.PASSED,),
    limits=Limits(),
)
"""Not an attack: where this does not pass, the failures of the others prove nothing."""

_HONEST_TESTS = (*CALLS, *ASSERTS, *LOOP)
_PATIENCE_SECONDS = 5.0
_TRIES = 3
_LONGEST_DETAIL = 300
_SONG = "nobody in a sandbox can read or change this line\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What became of one attack."""

    name: str
    verdict: Verdict
    withstood: bool
    survivors: int = 0
    """Processes and threads of the attack that were still alive on the host two seconds later."""
    aftermath: str = ""
    """What is wrong besides the verdict, in words."""


def self_check(workers: int = 4, isolation: str = "full") -> Iterator[Trial]:
    """Try every attack, an honest program first; one worker for each of `workers` threads.

    Raises:
        SandboxUnavailable: when this host cannot isolate anything at all.
    """
    check_host(isolation)
    crew = _Crew(isolation)
    tried = {"passes an honest program": HONEST, **ATTACKS}
    with tempfile.TemporaryDirectory(prefix="codeladder-") as folder:
        canary = Path(folder, "canary")
        canary.write_text(_SONG, encoding="utf-8")
        canary.chmod(0o666)
        Path(folder).chmod(0o777)
        with ThreadPoolExecutor(workers) as pool:
            try:
                yield from pool.map(
                    lambda name: attempt(name, tried[name], crew.worker(), isolation, canary),
                    tried,
                )
            finally:
                pool.shutdown(cancel_futures=True)
                crew.close()


def attempt(
    name: str, attack: Attack, worker: Worker, isolation: str = "full", canary: Path | None = None
) -> Trial:
    """Judge one attack, look for what it left on the host, and judge an honest program.

    Args:
        name: of the attack.
        attack: what to judge.
        worker: belongs to the calling thread.
        isolation: of `worker`.
        canary: a file of the host for the attack to change.
    """
    marker = f"m{secrets.token_hex(7)}"  # 15 letters, all that the kernel keeps of a name
    attack = _filled(attack, {MARKER: marker, CANARY: str(canary)})
    if attack.before:
        _verdict(replace(attack, program=attack.before), worker, isolation)
    verdict, took = _timed(attack, worker, isolation)
    survivors = _survivors(marker) if marker in str(attack) else 0
    aftermath = "; ".join(
        (
            *([f"took {took:.0f} s"] if took > _allowed(attack.limits) else []),
            *_unprintable(verdict),
            *_next_one(attack, worker, isolation),
            *_killed(canary),
        )
    )
    withstood = verdict.outcome in attack.outcomes and not survivors and not aftermath
    return Trial(
        name=name, verdict=verdict, withstood=withstood, survivors=survivors, aftermath=aftermath
    )


class _Crew:
    """One worker for each thread."""

    def __init__(self, isolation: str) -> None:
        self._isolation = isolation
        self._own = threading.local()
        self._all: list[Worker] = []

    def worker(self) -> Worker:
        if not hasattr(self._own, "worker"):
            self._own.worker = Worker(self._isolation)
            self._all.append(self._own.worker)
        worker: Worker = self._own.worker
        return worker

    def close(self) -> None:
        for worker in self._all:
            worker.close()


def _filled(attack: Attack, words: dict[str, str]) -> Attack:
    """The attack with words in the place of its placeholders."""

    def fill(text: str) -> str:
        for placeholder, word in words.items():
            text = text.replace(placeholder, word)
        return text

    tests = tuple(
        replace(test, source=fill(test.source)) if isinstance(test, Script) else test
        for test in attack.tests
    )
    return replace(attack, program=fill(attack.program), tests=tests)


def _verdict(attack: Attack, worker: Worker, isolation: str) -> Verdict:
    problem = Problem(
        task_id="attack",
        instruction="",
        prompt="",
        entry_point="f",
        tests=attack.tests,
        trusted=attack.trusted,
        reference=attack.reference,
    )
    completion = Completion(task_id="attack", text=attack.program, whole=True)
    return worker.judge(problem, completion, Judging(limits=attack.limits, isolation=isolation))


def _timed(attack: Attack, worker: Worker, isolation: str) -> tuple[Verdict, float]:
    """The verdict on an attack and the seconds that it took.

    A busy host holds up a judge now and then, an attack that can do so every time: one that took
    longer than is allowed is tried again, at most twice.
    """
    for _ in range(_TRIES):
        began = time.monotonic()
        verdict = _verdict(attack, worker, isolation)
        took = time.monotonic() - began
        if took <= _allowed(attack.limits):
            break
    return verdict, took


def _allowed(limits: Limits) -> float:
    """Seconds for an attack: a check may be tried twice, and some are for what is around it."""
    return 2 * limits.wall_seconds + _PATIENCE_SECONDS


def _unprintable(verdict: Verdict) -> Iterator[str]:
    if not verdict.detail.isprintable() or len(verdict.detail) > _LONGEST_DETAIL:
        yield "its detail is not one printable line"


def _next_one(attack: Attack, worker: Worker, isolation: str) -> Iterator[str]:
    tests = DIALOGUE if attack.tests == DIALOGUE else _HONEST_TESTS
    verdict = _verdict(replace(HONEST, tests=tests), worker, isolation)
    if verdict.outcome is not Outcome.PASSED:
        yield f"the next program was judged {verdict.outcome}: {verdict.detail}"


def _killed(canary: Path | None) -> Iterator[str]:
    if canary is not None:
        try:
            alive = canary.read_text(encoding="utf-8") == _SONG
        except OSError:
            alive = False
        if not alive:
            yield "a file of the host was changed"


def _survivors(marker: str) -> int:
    """Processes and threads that carry `marker`, after up to two seconds of patience."""
    deadline = time.monotonic() + 2.0
    while (alive := _carrying(marker.encode())) and time.monotonic() < deadline:
        time.sleep(0.05)
    return alive


def _carrying(marker: bytes) -> int:
    """Threads whose name or command line holds `marker`."""
    found = 0
    for task in Path("/proc").glob("[0-9]*/task/[0-9]*"):
        try:
            found += any(marker in (task / name).read_bytes() for name in ("comm", "cmdline"))
        except OSError:
            continue
    return found
