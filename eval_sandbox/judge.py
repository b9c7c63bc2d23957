"""From a problem and a completion to a verdict.

A `Worker` owns a judge and a server of candidates (`sandbox`). Only the program and the arguments
of calls ever reach the candidate's process; the tests, and what they expect, stay with the judge.
All tests of a completion share one process and one budget, but for dialogues: each of these is a
run of its own.
"""

import re
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from types import TracebackType
from typing import Any, Self

from eval_sandbox import codec, extraction
from eval_sandbox.candidate_server import Allowance
from eval_sandbox.contract import Judging, Limits
from eval_sandbox.host import START_SECONDS
from eval_sandbox.preambles import PREAMBLES
from eval_sandbox.problem import Call, Completion, Dialogue, Problem, Script, Trials
from eval_sandbox.sandbox import Sandbox, SandboxFailureError, StuckError
from eval_sandbox.verdict import Outcome, Verdict, printable

_LOOK_AHEAD = 64
"""For each worker: verdicts come in order, and while one waits for its time to run out the other
workers go on. A pair is a program and a reference to its problem."""
_RECYCLE_AFTER = 4000
_MOST_SANDBOXES = 3
_MOST_TERMS = 4096
_LONGEST_REFERENCE_SECONDS = 60.0
_WALL_FACTOR = 3.0
_PATIENCE_FACTOR = 11.0
"""Ten times the wall limit are a candidate's on a busy host; then its tests have it once."""
_NUMPY = re.compile(r"^[ \t]*(?:import|from)[ \t]+numpy\b", re.MULTILINE)


def assemble(problem: Problem, completion: Completion, judging: Judging) -> str:
    """The program that a completion stands for: extracted, and joined to the problem's prompt."""
    return extraction.assemble(problem, completion, judging.extract)


class Worker:
    """Judges completions one after another; belongs to the thread that made it."""

    def __init__(self, isolation: str = "full", references: "References | None" = None) -> None:
        self._isolation = isolation
        self._references = references or References()
        self._sandboxes: dict[Any, _Kept] = {}
        self._known: dict[tuple[int, Judging], _Terms] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the processes of this worker."""
        while self._sandboxes:
            _, kept = self._sandboxes.popitem()
            kept.sandbox.close()

    def judge(self, problem: Problem, completion: Completion, judging: Judging) -> Verdict:
        """Judge one completion; once more where the sandbox failed or time passed in idleness.

        Raises:
            ValueError: when the problem has no tests (every program would pass), or `judging`
                asks for another isolation than this worker has.
            SandboxUnavailable: when this host cannot isolate anything at all.
        """
        terms = self._terms(problem, judging)
        return self._persistently(terms, assemble(problem, completion, judging))

    def _terms(self, problem: Problem, judging: Judging) -> "_Terms":
        """All that is the same for every completion of a problem."""
        key = (id(problem), judging)
        known = self._known.get(key)
        if known is not None and known.problem is problem:
            return known
        if not problem.tests:
            raise ValueError(f"problem {problem.task_id!r} has no tests; nothing can be judged")
        if judging.isolation != self._isolation:
            raise ValueError(f"isolation is {self._isolation}, not {judging.isolation}")
        terms = _Terms.of(problem, judging)
        if problem.reference:
            seconds = self._references.seconds(terms.key, lambda: self._reference(terms))
            if seconds is None:
                return terms  # our failure: it is measured again next time
            terms = terms.calibrated(seconds)
        if len(self._known) >= _MOST_TERMS:
            self._known.clear()
        self._known[key] = terms
        return terms

    def _reference(self, terms: "_Terms") -> float | None:
        """CPU seconds of the reference; 0 where it does not pass, None where nobody can tell."""
        cpu = max(_LONGEST_REFERENCE_SECONDS, terms.allowance.cpu_seconds)
        generous = terms.within(cpu, _WALL_FACTOR * cpu)
        verdict = self._persistently(generous, terms.problem.reference)
        if not verdict.wall_seconds:  # the sandbox failed, or its judge was stuck
            return None
        return verdict.cpu_seconds if verdict.outcome is Outcome.PASSED else 0.0

    def _persistently(self, terms: "_Terms", program: str) -> Verdict:
        trouble = ""
        for last in (False, True):
            try:
                verdict = self._once(terms, program)
            except StuckError as stuck:
                self.close()
                return _without_figures(Outcome.TIMED_OUT, str(stuck))
            except (SandboxFailureError, OSError) as error:
                self.close()
                trouble = str(error)
                continue
            if verdict.outcome is Outcome.SANDBOX_ERROR:
                self.close()
                trouble = verdict.detail
            elif last or not _idled(verdict, terms):
                return verdict
        return _without_figures(Outcome.SANDBOX_ERROR, trouble)

    def _once(self, terms: "_Terms", program: str) -> Verdict:
        kept = self._kept(terms)
        told = None if terms.key in kept.told else described(terms.problem, terms.preamble)
        limits = (tuple(terms.allowance), terms.single)
        request = (terms.key, told, terms.preamble, program, *limits)
        patience = START_SECONDS + _PATIENCE_FACTOR * terms.allowance.wall_seconds
        outcome, detail, cpu, wall = kept.sandbox.ask(request, patience)
        kept.told.add(terms.key)
        return Verdict(
            outcome=Outcome(outcome),
            cpu_seconds=round(cpu, 4),
            wall_seconds=round(wall, 4),
            detail=printable(detail),
        )

    def _kept(self, terms: "_Terms") -> "_Kept":
        """A sandbox that has what these terms need."""
        key = (terms.packages, terms.process_limits)
        kept = self._sandboxes.get(key)
        if kept is not None and kept.checks >= _RECYCLE_AFTER:
            self._sandboxes.pop(key).sandbox.close()
            kept = None
        if kept is None:
            while len(self._sandboxes) >= _MOST_SANDBOXES:
                self._sandboxes.pop(next(iter(self._sandboxes))).sandbox.close()
            sandbox = Sandbox(terms.process_limits, self._isolation, terms.packages)
            kept = self._sandboxes[key] = _Kept(sandbox)
        kept.checks += 1
        return kept


@dataclass(frozen=True, slots=True)
class _Terms:
    """How completions of one problem are judged under one contract."""

    problem: Problem
    key: str
    """Names the problem with everything that its judge is told."""
    preamble: str
    packages: tuple[str, ...]
    limits: Limits
    allowance: Allowance
    single: tuple[float, float]
    """CPU and wall seconds that one run of a program may take of that."""
    process_limits: tuple[int, int, int]
    """What every process in the sandbox is born with: see `candidate_server.main`."""

    @classmethod
    def of(cls, problem: Problem, judging: Judging) -> Self:
        limits, preamble = judging.limits, PREAMBLES[judging.preamble]
        terms = cls(
            problem=problem,
            key=codec.digest(described(problem, preamble)).hex(),
            preamble=preamble,
            packages=_packages(problem, preamble),
            limits=limits,
            allowance=Allowance(
                cpu_seconds=limits.cpu_seconds,
                wall_seconds=limits.wall_seconds,
                together=limits.memory_mib << 20,
                output_bytes=limits.output_kib << 10,
                dialogue=False,
            ),
            single=(limits.cpu_seconds, limits.wall_seconds),
            process_limits=(limits.memory_mib << 20, limits.processes, limits.file_mib << 20),
        )
        return terms.calibrated(0.0) if limits.test_seconds else terms

    def calibrated(self, reference_seconds: float) -> Self:
        """The same with the limits of this problem: a rule in the contract, seconds here."""
        one = max(self.limits.cpu_seconds, self.limits.cpu_factor * reference_seconds)
        more = self.limits.test_seconds * (len(self.problem.tests) - 1)
        together = max(one, self.limits.cpu_seconds + more)
        terms = self.within(together, self._wall(together))
        return replace(terms, single=(one, self._wall(one)))

    def _wall(self, cpu_seconds: float) -> float:
        return max(self.limits.wall_seconds, _WALL_FACTOR * cpu_seconds)

    def within(self, cpu_seconds: float, wall_seconds: float) -> Self:
        """The same on another budget, all of which one run may take."""
        allowance = self.allowance._replace(cpu_seconds=cpu_seconds, wall_seconds=wall_seconds)
        return replace(self, allowance=allowance, single=(cpu_seconds, wall_seconds))


class _Kept:
    """A sandbox, and which problems its judge was told."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.told: set[str] = set()
        self.checks = 0


class References:
    """CPU seconds of reference solutions, measured once and shared by many workers."""

    def __init__(self) -> None:
        self._known: dict[str, float] = {}
        self._measuring = threading.Lock()

    def seconds(self, key: str, measure: Callable[[], float | None]) -> float | None:
        """What `measure` gives for `key`; it is called until it gives something."""
        if key not in self._known:
            with self._measuring:
                if key not in self._known:
                    seconds = measure()
                    if seconds is None:
                        return None
                    self._known[key] = seconds
        return self._known[key]


def judge(problem: Problem, completion: Completion, judging: Judging) -> Verdict:
    """Judge one completion in a sandbox of its own; for many, a `Worker` is far quicker.

    Raises:
        ValueError: when the problem has no tests: every program would pass.
        SandboxUnavailable: when this host cannot isolate anything at all.
    """
    with Worker(judging.isolation) as worker:
        return worker.judge(problem, completion, judging)


def judge_all(
    pairs: Iterable[tuple[Problem, Completion]], judging: Judging, workers: int = 1
) -> Iterator[Verdict]:
    """Verdicts in the order of `pairs`, `workers` completions being judged at a time.

    At most `64 * workers` pairs are read ahead. Stopping early waits for the completions in
    progress.

    Raises:
        ValueError: when `workers` is below 1.
        SandboxUnavailable: when this host cannot isolate anything at all.
    """
    if workers < 1:
        raise ValueError(f"workers is {workers}; at least 1 is needed")
    if workers == 1:
        with Worker(judging.isolation) as worker:
            for pair in pairs:
                yield worker.judge(*pair, judging)
    else:
        yield from _side_by_side(pairs, judging, workers)


def _side_by_side(
    pairs: Iterable[tuple[Problem, Completion]], judging: Judging, workers: int
) -> Iterator[Verdict]:
    crew = _Crew(judging)
    with ThreadPoolExecutor(workers, thread_name_prefix="judge") as pool:
        rest = iter(pairs)
        waiting: deque[Future[Verdict]] = deque()
        try:
            for pair in islice(rest, _LOOK_AHEAD * workers):
                waiting.append(pool.submit(crew.judge, *pair))
            while waiting:
                yield waiting.popleft().result()
                for pair in islice(rest, 1):
                    waiting.append(pool.submit(crew.judge, *pair))
        finally:
            for future in waiting:
                future.cancel()
            pool.shutdown()
            crew.close()


class _Crew:
    """One worker for each thread of a pool."""

    def __init__(self, judging: Judging) -> None:
        self._judging = judging
        self._references = References()
        self._own = threading.local()
        self._all: list[Worker] = []

    def judge(self, problem: Problem, completion: Completion) -> Verdict:
        if not hasattr(self._own, "worker"):
            self._own.worker = Worker(self._judging.isolation, self._references)
            self._all.append(self._own.worker)
        worker: Worker = self._own.worker
        return worker.judge(problem, completion, self._judging)

    def close(self) -> None:
        for worker in self._all:
            worker.close()


def _idled(verdict: Verdict, terms: _Terms) -> bool:
    """Whether time ran out with next to no CPU used: a busy host looks like that, so ask again."""
    return (
        verdict.outcome is Outcome.TIMED_OUT
        and verdict.wall_seconds >= terms.single[1]
        and verdict.cpu_seconds < 0.1 * terms.single[0]
    )


def _without_figures(outcome: Outcome, detail: str) -> Verdict:
    return Verdict(outcome=outcome, cpu_seconds=0.0, wall_seconds=0.0, detail=printable(detail))


def described(problem: Problem, preamble: str) -> dict[str, Any]:
    """What the judge is told of a problem."""
    return {
        "entry_point": problem.entry_point,
        "prompt": problem.prompt,
        "setup": problem.setup,
        "preamble": preamble,
        "reference": problem.reference,
        "trusted": problem.trusted,
        "tests": [_as_data(test) for test in problem.tests],
    }


def _as_data(test: Call | Dialogue | Script | Trials) -> tuple[Any, ...]:
    match test:
        case Script(source=source):
            return "script", source
        case Call(args=args, kwargs=kwargs, expected=expected):
            return "call", args, kwargs, expected
        case Dialogue(stdin=stdin, stdout=stdout, compare=compare):
            return "dialogue", stdin, stdout, compare
        case Trials(name=name, inputs=inputs, rule=rule, tolerance=tolerance):
            return "trials", name, inputs, rule, tolerance


def _packages(problem: Problem, preamble: str) -> tuple[str, ...]:
    """What a problem's own code imports beyond the standard library: numpy or nothing."""
    scripts = (test.source for test in problem.tests if isinstance(test, Script))
    texts = (problem.prompt, problem.setup, problem.reference, preamble)
    return ("numpy",) if any(map(_NUMPY.search, (*texts, *scripts))) else ()
