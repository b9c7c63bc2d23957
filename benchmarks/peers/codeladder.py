"""Our judge, with everything on: `judge_all(pairs, Judging(), workers)`.

One call serves all commands, as one call judges a whole batch: its verdicts are drawn as they are
asked for, so the sandboxes start once. What the judge works ahead at the end of one command it
was already ahead at its start.

The answer has, besides `passed`, `outcomes` (how many of each), `troubles` (the details of every
`sandbox_error`) and `rate`: executions a second of wall-clock time, from when the judge is under
way to the last verdict. An answer to 0 executions comes after the call has been closed.
"""

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from difflib import SequenceMatcher
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import driver

from eval_sandbox.benchmarks import read_problems
from eval_sandbox.contract import Judging, Limits
from eval_sandbox.judge import judge_all
from eval_sandbox.problem import Completion, Problem
from eval_sandbox.verdict import Outcome, Verdict

Pair = tuple[Problem, Completion]


class Session:
    """One `judge_all` call that lasts from the first command to the last."""

    def __init__(self, pairs: Iterable[Pair], workers: int, limits: Limits) -> None:
        judging = Judging(limits=limits)
        self._verdicts: Iterator[Verdict] = judge_all(pairs, judging, workers)
        self._under_way = 8 * workers

    def run(self, executions: int) -> driver.Answer:
        """Draw that many verdicts; close the call when none is asked for."""
        if executions == 0:
            getattr(self._verdicts, "close", lambda: None)()
            return {"passed": 0}
        outcomes: Counter[str] = Counter()
        troubles: list[str] = []
        started, timed = time.monotonic(), 0
        for index, verdict in enumerate(islice(self._verdicts, executions)):
            outcomes[str(verdict.outcome)] += 1
            if verdict.outcome is Outcome.SANDBOX_ERROR:
                troubles.append(verdict.detail)
            timed += 1
            if index == self._under_way:
                started, timed = time.monotonic(), 0
        seconds = time.monotonic() - started
        return {
            "passed": outcomes[str(Outcome.PASSED)],
            "outcomes": dict(outcomes),
            "troubles": troubles,
            "rate": timed / seconds,
        }


def canonical(problems: Sequence[Problem]) -> list[Pair]:
    """Every problem with its own reference solution."""
    return [
        (problem, Completion(task_id=problem.task_id, text=problem.reference, whole=True))
        for problem in problems
    ]


def answered(problems: Sequence[Problem], rows: list[dict[str, Any]]) -> list[Pair]:
    """Answers of a model, by rows of a prompt and its samples; a prompt tells its problem.

    Raises:
        ValueError: when two prompts belong to one problem.
    """
    named: dict[str, list[Problem]] = {}
    for problem in problems:
        named.setdefault(problem.entry_point, []).append(problem)
    pairs, taken = [], set()
    for row in rows:
        name = row["prompt"].rpartition("\ndef ")[2].partition("(")[0].removeprefix("def ")
        problem = max(named[name], key=lambda one: _alike(one.prompt, row["prompt"]))
        if problem.task_id in taken:
            raise ValueError(f"two prompts look like {problem.task_id}")
        taken.add(problem.task_id)
        pairs += [
            (problem, Completion(task_id=problem.task_id, text=text)) for text in row["samples"]
        ]
    return pairs


def _alike(prompt: str, other: str) -> float:
    return SequenceMatcher(None, prompt, other, autojunk=False).ratio()


def main() -> None:
    """Serve."""
    parser = driver.parser(__doc__)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--length", type=int, help="where the call ends; endless without it")
    parser.add_argument("--cpu-seconds", type=float, default=Limits().cpu_seconds)
    parser.add_argument("--samples", help="rows of prompt and samples, judged instead")
    options = parser.parse_args()
    problems = read_problems("humaneval", Path(options.problems))
    pairs = (
        answered(problems, driver.read(options.samples)) if options.samples else canonical(problems)
    )
    limits = Limits(cpu_seconds=options.cpu_seconds)
    session = Session(islice(cycle(pairs), options.length), options.workers, limits)
    driver.serve(options.channel, session.run)


if __name__ == "__main__":
    main()
