"""Answers go to sandboxes on the cluster's processors; verdicts come back. No GPU is held."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from eval_sandbox.contract import Judging
from eval_sandbox.judge import judge_all
from eval_sandbox.problem import Completion, Problem
from eval_sandbox.verdict import Outcome, Verdict
from jobs.home import written

CHUNK = 100
"""Answers judged by one Ray task: large enough to hide its start, small enough to show progress."""
AT_ONCE = 4
"""Sandboxes open at once in one task: most of a sandbox's time is the kernel's, not ours."""

Pair = tuple[Problem, Completion]


class SandboxFailedError(Exception):
    """Some answers have no verdict because the sandbox failed, which says nothing of the model."""


@dataclass(frozen=True, slots=True)
class JudgeOrder:
    """Answers to judge under one contract, and where the verdicts go."""

    pairs: tuple[Pair, ...]
    judging: Judging
    out: Path


def judge(order: JudgeOrder, tasks_at_once: int, progress: Callable[[int], None]) -> None:
    """Judge answers on the cluster and write one verdict per answer, in their order.

    Raises:
        SandboxFailedError: some answer could not be judged; nothing is written then.
    """
    verdicts = _scatter(order, tasks_at_once, progress)
    require_verdicts(verdicts)
    with written(order.out) as temporary:
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


def _judge_chunk(pairs: Sequence[Pair], judging: Judging) -> list[Verdict]:
    return list(judge_all(pairs, judging, workers=AT_ONCE))


def _scatter(
    order: JudgeOrder, tasks_at_once: int, progress: Callable[[int], None]
) -> list[Verdict]:
    from cluster.pool import scatter

    chunks = [order.pairs[i : i + CHUNK] for i in range(0, len(order.pairs), CHUNK)]
    judged: dict[int, list[Verdict]] = {}
    done = 0
    for place, verdicts in scatter(_judge_chunk, chunks, order.judging, at_most=tasks_at_once):
        judged[place] = verdicts
        done += len(verdicts)
        progress(done)
    return [verdict for place in sorted(judged) for verdict in judged[place]]
