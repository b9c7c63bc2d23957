"""`python -m jobs import`: answers made elsewhere, judged as our own and put on the same board."""

import os
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from database import schema
from database.session import open_ledger
from database.writing import write
from eval_sandbox.benchmarks import InputError
from eval_sandbox.completions import Given, read_completions
from eval_sandbox.judge import judge_all
from eval_sandbox.problem import Problem
from eval_sandbox.sandbox import check_host
from eval_sandbox.verdict import Verdict
from jobs.answers import Answer
from jobs.cases import read_cases
from jobs.declared import UserError
from jobs.experiment import Asking, Benchmark, short_hash
from jobs.judge import require_verdicts
from jobs.progress import Board
from jobs.recipes import BENCH, BenchmarkRecipe, find_file, read_recipe, sha256_of
from jobs.record import contract_row, judged_rows, problem_rows

REPORTED = (1, 10, 100)
"""k of pass@k, as far as there are completions."""


def import_answers(file: Path, benchmark: str, name: str, console: Console) -> int:
    """Judge the answers in a file and record them as a run of kind `imported`.

    The same file under the same name is the same run, so a repeat changes nothing.

    Returns:
        0; a sandbox that failed raises instead, and nothing is recorded.

    Raises:
        UserError: no such benchmark, an unreadable file, or one without the same number of answers
            to every problem.
    """
    recipe = read_recipe(BenchmarkRecipe, BENCH, benchmark)
    try:
        problems = read_cases(recipe.benchmark, find_file(recipe.source, BENCH), recipe.split)
        given = read_completions(file, problems)
    except InputError as error:
        raise UserError(str(error)) from None
    check_host()
    each = _completions_per_problem(file, given, problems)
    report = tuple(k for k in REPORTED if k <= each)
    asking = Asking(completions=each, temperature=1.0, report=report)
    judged = Benchmark(name=benchmark, recipe=recipe, asking=asking, problems=problems)
    verdicts = _judge(given, judged, console)
    content = {"made": "elsewhere", "sha256": recipe.source.sha256, "completions": each}
    spec = {"imported": sha256_of(file), "benchmark": benchmark, "name": name}
    _record(spec, judged, content, given, verdicts)
    _say(judged, verdicts, console)
    return 0


def _completions_per_problem(
    file: Path, given: Sequence[Given], problems: Sequence[Problem]
) -> int:
    """How many answers every problem has; a score over chosen problems would compare with none."""
    answers = Counter(g.problem.task_id for g in given)
    counts = Counter(answers[problem.task_id] for problem in problems)
    if len(counts) > 1 or not given:
        said = ", ".join(f"{number} problems have {n}" for n, number in sorted(counts.items()))
        raise UserError(f"{file}: pass@k needs as many answers to each problem, but {said}")
    return next(iter(counts))


def _judge(given: Sequence[Given], benchmark: Benchmark, console: Console) -> list[Verdict]:
    pairs = [(g.problem, g.completion) for g in given]
    verdicts = []
    with Board(console) as board:
        for verdict in judge_all(pairs, benchmark.recipe.judge_by(), workers=os.cpu_count() or 1):
            verdicts.append(verdict)
            board.update(f"judging {benchmark.name}", "answers", len(verdicts), len(pairs))
    require_verdicts(verdicts)
    return verdicts


def _record(
    spec: dict[str, Any],
    benchmark: Benchmark,
    content: dict[str, Any],
    given: Sequence[Given],
    verdicts: Sequence[Verdict],
) -> None:
    run = schema.Run(
        id=short_hash(spec),
        label=f"{spec['name']} (imported)",
        kind="imported",
        model=spec["name"],
        state="done",
        spec=spec,
        finished_at=schema.now(),
    )
    asking = contract_row("asking", content)
    rows = judged_rows(run.id, benchmark, asking.id, _answered(given), verdicts)
    judging = contract_row("judging", benchmark.judging_content)
    write(open_ledger(), [run, asking, judging, *problem_rows(benchmark), *rows])


def _answered(given: Sequence[Given]) -> list[Answer]:
    seen: dict[str, int] = defaultdict(int)
    answers = []
    for g in given:
        task_id = g.problem.task_id
        answers.append(
            Answer(
                task_id=task_id,
                position=seen[task_id],
                text=g.completion.text,
                whole=g.completion.whole,
                tokens=0,
                finish="imported",
            )
        )
        seen[task_id] += 1
    return answers


def _say(benchmark: Benchmark, verdicts: Sequence[Verdict], console: Console) -> None:
    outcomes = Counter(verdict.outcome.value for verdict in verdicts)
    console.print(
        f"{benchmark.name}: {outcomes['passed']} of {len(verdicts)} answers passed, to "
        f"{len(benchmark.problems)} problems ("
        + ", ".join(f"{name} {count}" for name, count in outcomes.most_common())
        + ")",
        highlight=False,
    )
