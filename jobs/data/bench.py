"""Many programs through warm sandboxes, here or by a crew; a failure of ours is no verdict."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from eval_sandbox.contract import Judging
from eval_sandbox.judge import Worker
from eval_sandbox.problem import Completion, Problem
from eval_sandbox.verdict import Outcome, Verdict
from jobs.data.crew import Alone, Crew

BATCH = 50
"""Programs given to an actor at a time."""

Owner = tuple[str, str]
"""Benchmark and problem."""
Asked = tuple[Owner | Problem, Completion]
"""A problem, or the name of one that the judge has, and a program."""


class Ending(StrEnum):
    """How running a program ended."""

    SOLVED = "solved"
    NOT = "not"
    SANDBOX_ERROR = "sandbox_error"
    """A failure of ours: the row is kept, and counted."""


@dataclass(frozen=True, slots=True)
class Ran:
    """What became of one program."""

    ending: Ending
    found: str = ""
    """The outcome and its detail, for people: `failed: AssertionError`."""


class Bench:
    """Runs batches of programs in one warm sandbox; travels to other processes without it."""

    def __init__(self, judging: Judging, problems: Mapping[Owner, Problem]) -> None:
        self._judging = judging
        self._problems = problems
        self._worker: Worker | None = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_worker": None}

    def __call__(self, batch: Sequence[Asked]) -> list[Ran]:
        """What became of each program, in their order."""
        if self._worker is None:
            self._worker = Worker(self._judging.isolation)
        worker = self._worker
        return [
            _ran(worker.judge(self._problem(problem), completion, self._judging))
            for problem, completion in batch
        ]

    def _problem(self, named: Owner | Problem) -> Problem:
        return named if isinstance(named, Problem) else self._problems[named]

    def close(self) -> None:
        """End the processes of the sandbox, where this process has one."""
        if self._worker is not None:
            self._worker.close()
            self._worker = None


def run(
    asked: Sequence[Asked],
    problems: Mapping[Owner, Problem],
    judging: Judging,
    crew: Crew | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> list[Ran]:
    """Run programs, here or by a crew, and say what became of each, in their order.

    Args:
        asked: programs, each with its problem or the name of one.
        problems: what is named; sent to every processor once.
        judging: the contract.
        crew: who runs them; this process where none is given.
        progress: called with the number that is done.
    """
    batches = [asked[start : start + BATCH] for start in range(0, len(asked), BATCH)]
    bench = Bench(judging, problems)
    ran: dict[int, list[Ran]] = {}
    done = 0
    try:
        for place, results in (crew or Alone()).run(bench, batches):
            ran[place] = results
            done += len(results)
            progress(done)
    finally:
        bench.close()
    return [result for place in sorted(ran) for result in ran[place]]


def _ran(verdict: Verdict) -> Ran:
    match verdict.outcome:
        case Outcome.PASSED:
            return Ran(Ending.SOLVED)
        case Outcome.SANDBOX_ERROR:
            return Ran(Ending.SANDBOX_ERROR, verdict.detail)
    return Ran(Ending.NOT, f"{verdict.outcome}: {verdict.detail}".rstrip(": "))
