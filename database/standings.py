"""Scores with their difference from the base, which is computed from verdicts when read."""

from collections import defaultdict
from collections.abc import Collection
from hashlib import sha256
from typing import Any

from sqlalchemy import Engine, case, func, select

from database.facts import Result, Standing
from database.rows import columns_of, rows_of
from database.schema import Completion, Experiment, Run, Score, Verdict
from database.scores import NOT_COMPARABLE, Difference, ProblemResult, paired_difference
from database.session import LedgerError

Tally = dict[tuple[str, str, str, str], list[ProblemResult]]
"""Results by (run, benchmark, asking, judging)."""


def contract_of(asking: str, judging: str) -> str:
    """Return the short hash of a pair of contracts; scores under one hash are comparable."""
    return sha256(f"{asking} {judging}".encode()).hexdigest()[:12]


def k_of(metric: str) -> int:
    """Return the k of `pass@k`."""
    return int(metric.removeprefix("pass@"))


def scores(engine: Engine, experiment: str | None = None) -> list[Result]:
    """Return all scores, or those of one experiment's runs, in the order of `standings`.

    Raises:
        LedgerError: the ledger holds no such experiment.
    """
    return [standing.result for standing in standings(engine, experiment=experiment)]


def standings(
    engine: Engine,
    *,
    experiment: str | None = None,
    benchmark: str | None = None,
    metric: str | None = None,
    run: str | None = None,
) -> list[Standing]:
    """Return scores with their difference from the base, by benchmark, metric, best first.

    Ties go by run id, then contract. Runs are compared under one asking and judging contract
    and with a verdict on every completion; otherwise the difference is `NOT_COMPARABLE`.

    Raises:
        LedgerError: the ledger holds no such experiment.
    """
    wanted = select(*_columns()).join(Run, Run.id == Score.run)
    if benchmark is not None:
        wanted = wanted.where(Score.benchmark == benchmark)
    if metric is not None:
        wanted = wanted.where(Score.metric == metric)
    if run is not None:
        wanted = wanted.where(Score.run == run)
    if experiment is not None:
        wanted = wanted.where(Score.run.in_(_runs_of(engine, experiment)))
    found = rows_of(engine, wanted)
    bases = _base_scores(engine, {row.base_run for row in found if row.base_run})
    tally = _tally(engine, [row for row in found if row.base_run in bases], bases)
    standing = [_standing(row, _delta(row, bases, tally)) for row in found]
    return sorted(standing, key=_place)


def problem_results(
    engine: Engine, run: str, benchmark: str, asking: str, judging: str
) -> list[ProblemResult]:
    """Return what a run made of each problem, in order of the problems' ids."""
    key = (run, benchmark, asking, judging)
    return _counted(engine, {run}, {benchmark}, {asking}, {judging}).get(key, [])


def _runs_of(engine: Engine, experiment: str) -> list[str]:
    with engine.connect() as connection:
        ids = connection.scalar(select(Experiment.runs).where(Experiment.name == experiment))
        names = sorted(connection.scalars(select(Experiment.name)))
    if ids is None:
        known = ", ".join(names) or "none yet"
        raise LedgerError(f"the ledger holds no experiment {experiment!r}; it has {known}")
    return ids


def _base_scores(engine: Engine, bases: Collection[str]) -> dict[str, list[Any]]:
    """Return the scores of the bases, by run; empty lists are left out."""
    of_run: dict[str, list[Any]] = defaultdict(list)
    if bases:
        for row in rows_of(engine, select(Score.__table__).where(Score.run.in_(bases))):
            of_run[row.run].append(row)
    return of_run


def _delta(row: Any, bases: dict[str, list[Any]], tally: Tally) -> Difference | None:
    """Return the difference of one score from its base's."""
    same_metric = [
        base
        for base in bases.get(row.base_run, [])
        if (base.benchmark, base.metric) == (row.benchmark, row.metric)
    ]
    if not same_metric:
        return None
    for base in same_metric:
        if (base.asking, base.judging) == (row.asking, row.judging):
            if base.problems != base.asked or row.problems != row.asked:
                return NOT_COMPARABLE
            ours, theirs = tally.get(_key(row), []), tally.get(_key(base), [])
            return paired_difference(ours, theirs, k_of(row.metric))
    return NOT_COMPARABLE


def _tally(engine: Engine, tuned: list[Any], bases: dict[str, list[Any]]) -> Tally:
    """Return what the tuned runs and their bases made of each problem they share."""
    if not tuned:
        return {}
    return _counted(
        engine,
        {row.run for row in tuned} | set(bases),
        {row.benchmark for row in tuned},
        {row.asking for row in tuned},
        {row.judging for row in tuned},
    )


def _counted(
    engine: Engine, runs: set[str], benchmarks: set[str], asking: set[str], judging: set[str]
) -> Tally:
    passed = func.sum(case((Verdict.outcome == "passed", 1), else_=0))
    key = (Completion.run, Completion.benchmark, Completion.asking, Verdict.judging)
    wanted = (
        select(*key, Completion.task_id, func.count().label("judged"), passed.label("passed"))
        .join(Verdict, Verdict.completion == Completion.id)
        .where(
            Completion.run.in_(runs),
            Completion.benchmark.in_(benchmarks),
            Completion.asking.in_(asking),
            Verdict.judging.in_(judging),
            Verdict.outcome != "sandbox_error",
        )
        .group_by(*key, Completion.task_id)
    )
    tally: Tally = defaultdict(list)
    for row in sorted(rows_of(engine, wanted), key=lambda row: row.task_id):
        tally[_key(row)].append(
            ProblemResult(task_id=row.task_id, completions=row.judged, passed=row.passed)
        )
    return tally


def _key(row: Any) -> tuple[str, str, str, str]:
    return row.run, row.benchmark, row.asking, row.judging


def _place(standing: Standing) -> tuple[str, int, float, str, str]:
    result = standing.result
    place = result.benchmark, k_of(result.metric), -result.value
    return (*place, result.run, result.contract)


def _columns() -> list[Any]:
    return [
        *columns_of(Run, Result),
        Run.base_run,
        Run.label,
        Run.kind,
        *columns_of(Score, Result),
        *columns_of(Score, Standing),
    ]


def _standing(row: Any, delta: Difference | None) -> Standing:
    columns = row._asdict()
    apart = {
        name: columns.pop(name)
        for name in ("label", "kind", "asked", "asking", "judging", "recorded_at")
    }
    contract = contract_of(row.asking, row.judging)
    result = Result(base=columns.pop("base_run"), contract=contract, delta=delta, **columns)
    return Standing(result=result, **apart)
