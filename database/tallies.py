"""How often runs solved each problem: what scores, differences and heat maps are made of.

Verdicts are counted once, when they are scored; pages read the tallies of that.
"""

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from functools import cache
from typing import Any

from sqlalchemy import Engine, case, func, select

from database.rows import rows_of
from database.schema import Completion, Contract, Problem, Tally, Verdict
from database.scores import ProblemResult


def tallies(
    engine: Engine,
    *,
    benchmark: str,
    asking: str,
    judging: str,
    runs: Collection[str] | None = None,
) -> dict[str, list[ProblemResult]]:
    """Return what runs made of each problem under one contract, by run.

    Problems come in the order of the benchmark's file; those that no stored problem names first,
    by id. A run without a verdict is left out, and so is a problem without one.

    Args:
        engine: of the ledger.
        benchmark: its name.
        asking: id of the asking contract.
        judging: id of the judging contract.
        runs: only these, by id; None: all that were scored.
    """
    wanted = select(Tally.run, Tally.task_id, Tally.completions, Tally.passed).where(
        Tally.benchmark == benchmark, Tally.asking == asking, Tally.judging == judging
    )
    if runs is not None:
        wanted = wanted.where(Tally.run.in_(runs))
    counted = rows_of(engine, wanted)
    return _by_run(counted, _problems(engine, benchmark, judging)) if counted else {}


def count_verdicts(
    engine: Engine, *, run: str, benchmark: str, asking: str, judging: str
) -> list[ProblemResult]:
    """Return the same of one run, counted anew from its verdicts."""
    columns: list[Any] = [
        Completion.run,
        Completion.task_id,
        func.count().label("completions"),
        func.sum(case((Verdict.outcome == "passed", 1), else_=0)).label("passed"),
    ]
    wanted = (
        select(*columns)
        .join(Verdict, Verdict.completion == Completion.id)
        .where(
            Completion.benchmark == benchmark,
            Completion.asking == asking,
            Completion.run == run,
            Verdict.judging == judging,
            Verdict.outcome != "sandbox_error",
        )
        .group_by(Completion.run, Completion.task_id)
    )
    counted = rows_of(engine, wanted)
    return _by_run(counted, _problems(engine, benchmark, judging)).get(run, [])


def tally_rows(
    results: Sequence[ProblemResult], *, run: str, benchmark: str, asking: str, judging: str
) -> Iterator[Tally]:
    """Return what is written of results: with the scores that follow, in one transaction."""
    for result in results:
        yield Tally(
            benchmark=benchmark,
            asking=asking,
            judging=judging,
            run=run,
            task_id=result.task_id,
            completions=result.completions,
            passed=result.passed,
        )


def _by_run(counted: Sequence[Any], problems: dict[str, str]) -> dict[str, list[ProblemResult]]:
    """Put counted rows in order; runs share the results that are alike, for there are many."""
    result = cache(_result)
    found: dict[str, dict[str, ProblemResult]] = defaultdict(dict)
    for run, task_id, completions, passed in counted:
        family = problems.get(task_id, "")
        found[run][task_id] = result(task_id, family, completions, passed)
    unknown = {task_id for of_run in found.values() for task_id in of_run} - problems.keys()
    order = [*sorted(unknown), *problems]
    return {
        run: [of_run[task_id] for task_id in order if task_id in of_run]
        for run, of_run in found.items()
    }


def _result(task_id: str, family: str, completions: int, passed: int) -> ProblemResult:
    return ProblemResult(task_id=task_id, family=family, completions=completions, passed=passed)


def _problems(engine: Engine, benchmark: str, judging: str) -> dict[str, str]:
    """Return the family of each problem of the file that was judged, in the file's order."""
    digest = select(Contract.content["sha256"].as_string()).where(Contract.id == judging)
    wanted = select(Problem.task_id, Problem.family, Problem.position).where(
        Problem.benchmark == benchmark, Problem.digest == digest.scalar_subquery()
    )
    rows = sorted(rows_of(engine, wanted), key=lambda row: (row.position, row.task_id))
    return {row.task_id: row.family for row in rows}
