"""Answers go to sandboxes on the cluster's processors; verdicts come back. No GPU is held."""

import json
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

from cluster.ending import Lost, Unwanted, never, unheard
from eval_sandbox.contract import Judging
from eval_sandbox.judge import Worker
from eval_sandbox.problem import Completion, Problem
from eval_sandbox.verdict import Outcome, Verdict
from jobs.home import written

BATCH = 100
"""Answers given to an actor at a time: enough to hide the way there, few enough for progress."""

Pair = tuple[Problem, Completion]


class SandboxFailedError(Exception):
    """Some answers have no verdict because the sandbox failed, which says nothing of the model."""


@dataclass(frozen=True, slots=True)
class JudgeOrder:
    """Answers to judge under one contract, and where the verdicts go."""

    pairs: tuple[Pair, ...]
    judging: Judging
    out: Path


def judge(
    order: JudgeOrder,
    actors: int,
    progress: Callable[[int], None],
    unwanted: Unwanted = never,
    lost: Lost = unheard,
) -> None:
    """Judge answers on the cluster and write one verdict per answer, in their order.

    Args:
        order: what to judge.
        actors: at most so many at once.
        progress: hears how many are judged.
        unwanted: whether to end it.
        lost: hears of each actor that was lost; its batch is judged again.

    Raises:
        SandboxFailedError: some answer could not be judged; nothing is written then.
        cluster.ending.UnwantedError: it was ended; nothing is written then.
    """
    verdicts = _scatter(order, actors, progress, unwanted, lost)
    require_verdicts(verdicts)
    with written(order.out, first=True) as temporary:
        temporary.write_text("".join(json.dumps(asdict(v)) + "\n" for v in verdicts))


def require_verdicts(verdicts: Sequence[Verdict]) -> None:
    """Stop where the sandbox failed on an answer: that is no verdict on a model.

    Raises:
        SandboxFailedError: with the count and the first reason.
    """
    broken = [v for v in verdicts if v.outcome is Outcome.SANDBOX_ERROR]
    if broken:
        raise SandboxFailedError(
            f"the sandbox failed on {len(broken)} of {len(verdicts)} answers: {broken[0].detail}"
        )


def read_verdicts(path: Path) -> list[Verdict]:
    """The verdicts of a file that `judge` wrote."""
    rows = map(json.loads, path.read_text().splitlines())
    return [Verdict(**row | {"outcome": Outcome(row["outcome"])}) for row in rows]


Asked = tuple[int, Completion]
"""Place of the problem among those that an actor has, and an answer to it."""


class JudgeActor:
    """Judges batches of answers with one warm sandbox."""

    def __init__(self, judging: Judging, problems: Sequence[Problem]) -> None:
        self._judging = judging
        self._problems = problems
        self._worker: Worker | None = None  # what fails here would look like an actor that was lost

    def work(self, item: Sequence[Asked]) -> list[Verdict]:
        """A verdict for each answer, in their order."""
        worker = self._worker = self._worker or Worker(self._judging.isolation)
        return [
            worker.judge(self._problems[place], completion, self._judging)
            for place, completion in item
        ]


def _scatter(
    order: JudgeOrder,
    actors: int,
    progress: Callable[[int], None],
    unwanted: Unwanted,
    lost: Lost,
) -> list[Verdict]:
    from cluster.pool import scatter

    problems = list({id(problem): problem for problem, _ in order.pairs}.values())
    place_of = {id(problem): place for place, problem in enumerate(problems)}
    asked = [(place_of[id(problem)], completion) for problem, completion in order.pairs]
    batches = [asked[i : i + BATCH] for i in range(0, len(asked), BATCH)]
    judged: dict[int, list[Verdict]] = {}
    done = 0
    given = [order.judging, problems]
    crew = scatter(JudgeActor, given, batches, at_most=actors, unwanted=unwanted, lost=lost)
    with closing(crew):
        for place, verdicts in crew:
            judged[place] = verdicts
            done += len(verdicts)
            progress(done)
    return [verdict for place in sorted(judged) for verdict in judged[place]]
