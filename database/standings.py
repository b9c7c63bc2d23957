"""Scores with their difference from the base, which is computed from tallies when read."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from sqlalchemy import Engine, select

from database.anomalies import anomalies, flagged
from database.comparability import Contents, unjudged, what_differs
from database.comparisons import (
    NOT_COMPARABLE,
    Difference,
    Pairs,
    differences_of,
    noise_of,
    pairs_of,
)
from database.facts import PerProblem, Result, Standing
from database.in_view import in_view
from database.rows import columns_of, rows_of, scalar_of, scalars_of
from database.schema import Contract, Experiment, Run, Score
from database.scores import ProblemResult, pass_at_k, units_of
from database.session import LedgerError
from database.tallies import tallies

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

    They are each other's view: ranks and adjusted p are among them, and what is odd is flagged.

    Raises:
        LedgerError: the ledger holds no such experiment.
    """
    found = in_view(standings(engine, experiment=experiment))
    return [standing.result for standing in flagged(found, anomalies(engine, found))]


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
    and with a verdict on every completion; otherwise the difference is `NOT_COMPARABLE`, and the
    result says why. What depends on the scores in view is left open: see `database.in_view`.

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
        wanted = wanted.where(Score.run.in_(runs_of(engine, experiment)))
    found = rows_of(engine, wanted)
    bases = _base_scores(engine, {row.base_run for row in found if row.base_run})
    contents = _contents(engine, [*found, *(row for rows in bases.values() for row in rows)])
    tally = _tally(engine, found)
    shared: dict[tuple[str, ...], tuple[str, ...]] = {}
    compared = [_compared(row, bases, tally, contents) for row in found]
    differences = iter(differences_of([one.pairs for one in compared if one.pairs]))
    standing = [
        _standing(row, one, differences, _per_problem(row, tally, shared))
        for row, one in zip(found, compared, strict=True)
    ]
    return sorted(standing, key=_place)


def runs_of(engine: Engine, experiment: str) -> list[str]:
    """Return the ids of an experiment's runs, in the order of its grid.

    Raises:
        LedgerError: the ledger holds no such experiment.
    """
    ids = scalar_of(engine, select(Experiment.runs).where(Experiment.name == experiment))
    names = sorted(scalars_of(engine, select(Experiment.name)))
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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Compared:
    """A score beside its base's; neither pairs nor a reason: the base has none."""

    pairs: Pairs | None = None
    why: str = ""
    """Why the two do not compare."""


def _compared(
    row: Any, bases: dict[str, list[Any]], tally: Tally, contents: Mapping[str, dict[str, Any]]
) -> _Compared:
    """Return the difference of one score from its base's, or why there is none."""
    same_metric = [
        base
        for base in bases.get(row.base_run, [])
        if (base.benchmark, base.metric) == (row.benchmark, row.metric)
    ]
    if not same_metric:
        return _Compared()
    apart = {_key(base): what_differs(*_both(row, base, contents)) for base in same_metric}
    for base in same_metric:
        if (base.asking, base.judging) == (row.asking, row.judging):
            return _paired(row, base, tally)
    closest = min(apart.values(), key=len)
    return _Compared(why="; ".join(closest) or "under another contract")


def _paired(row: Any, base: Any, tally: Tally) -> _Compared:
    """Compare two scores under one contract."""
    if lost := unjudged((row.problems, row.asked), (base.problems, base.asked)):
        return _Compared(why=lost)
    ours, theirs = tally.get(_key(row), []), tally.get(_key(base), [])
    pairs = pairs_of(ours, theirs, k_of(row.metric))
    if pairs is None:
        return _Compared(why="the verdicts of the two are not on the same problems")
    return _Compared(pairs=pairs)


def _both(row: Any, base: Any, contents: Mapping[str, dict[str, Any]]) -> list[Contents]:
    return [
        Contents(asking=contents.get(side.asking, {}), judging=contents.get(side.judging, {}))
        for side in (row, base)
    ]


def _per_problem(
    row: Any, tally: Tally, shared: dict[tuple[str, ...], tuple[str, ...]]
) -> PerProblem | None:
    """Return what a score is the mean of; runs of one benchmark share the names in it."""
    k, results = k_of(row.metric), tally.get(_key(row), [])
    whole = row.problems == row.asked == len(results)
    if not whole or any(result.completions < k for result in results):
        return None
    task_ids, units = tuple(r.task_id for r in results), tuple(units_of(results))
    return PerProblem(
        task_ids=shared.setdefault(task_ids, task_ids),
        units=shared.setdefault(units, units),
        values=tuple(pass_at_k(r.completions, r.passed, k) for r in results),
    )


def _contents(engine: Engine, rows: Sequence[Any]) -> dict[str, dict[str, Any]]:
    """Return what the contracts of these scores say, by id."""
    ids = {part for row in rows for part in (row.asking, row.judging)}
    wanted = select(Contract.id, Contract.content).where(Contract.id.in_(ids))
    return {row.id: row.content for row in rows_of(engine, wanted)}


def _tally(engine: Engine, found: Sequence[Any]) -> Tally:
    """Return what these runs and their bases made of each problem they share."""
    runs: dict[tuple[str, str, str], set[str]] = defaultdict(set)
    for row in found:
        runs[row.benchmark, row.asking, row.judging] |= {row.run, row.base_run or row.run}
    return {
        (run, benchmark, asking, judging): results
        for (benchmark, asking, judging), those in runs.items()
        for run, results in tallies(
            engine, benchmark=benchmark, asking=asking, judging=judging, runs=those
        ).items()
    }


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
        *(column for column in columns_of(Score, Result) if column.key != "method"),
        Score.method.label("interval_method"),
        *columns_of(Score, Standing),
    ]


def _standing(
    row: Any,
    compared: _Compared,
    differences: Iterator[Difference],
    per_problem: PerProblem | None,
) -> Standing:
    columns = row._asdict()
    apart = {
        name: columns.pop(name)
        for name in ("label", "kind", "asked", "asking", "judging", "recorded_at")
    }
    refused = NOT_COMPARABLE if compared.why else None
    result = Result(
        base=columns.pop("base_run"),
        contract=contract_of(row.asking, row.judging),
        delta=next(differences) if compared.pairs else refused,
        why=compared.why,
        coverage=row.problems / row.asked if row.asked else 0.0,
        **columns,
    )
    noise = noise_of(compared.pairs) if compared.pairs else None
    return Standing(result=result, per_problem=per_problem, noise=noise, **apart)
