"""What runs were trained on, and which problems of benchmarks that touches."""

from collections import defaultdict
from typing import Any

from sqlalchemy import Engine, Select, and_, exists, func, select

from database.facts import DatasetFacts, Exposure, TouchFacts
from database.rows import columns_of, rows_of, scalar_of
from database.schema import Contract, Dataset, Run, Score, Tally, Touch


def datasets(engine: Engine) -> list[DatasetFacts]:
    """Return the prepared datasets, the newest first."""
    used = select(func.count()).where(Run.dataset_digest == Dataset.digest).scalar_subquery()
    wanted = select(*columns_of(Dataset, DatasetFacts), used.label("runs"))
    newest_first = wanted.order_by(Dataset.recorded_at.desc(), Dataset.digest)
    return [DatasetFacts(**row._mapping) for row in rows_of(engine, newest_first)]


def report(engine: Engine, digest: str) -> dict[str, Any] | None:
    """Return what became of a dataset's rows; None where the ledger holds no such dataset."""
    return scalar_of(engine, select(Dataset.report).where(Dataset.digest == digest))


def touches(engine: Engine, digest: str, benchmark: str | None = None) -> list[TouchFacts]:
    """Return the problems that rows of a dataset touch, of one benchmark or of all.

    By benchmark and problem, the method named first in the alphabet first.
    """
    columns = columns_of(Touch, TouchFacts)
    wanted = select(*columns).where(Touch.dataset == digest)
    if benchmark is not None:
        wanted = wanted.where(Touch.benchmark == benchmark)
    found = [TouchFacts(**row._mapping) for row in rows_of(engine, wanted)]
    # Sorted here, as the two databases collate text differently.
    return sorted(found, key=lambda t: (t.benchmark, t.benchmark_digest, t.task_id, t.method))


def exposures(
    engine: Engine, *, run: str | None = None, benchmark: str | None = None
) -> list[Exposure]:
    """Return, for scores of runs whose dataset is known, how much they were trained on.

    One for every run, benchmark and contract that has a score, in this order; without a problem
    where no row that was trained on touches one that was asked. A touch counts for the very file of
    the benchmark that the run was judged by.
    """
    wanted = _exposed()
    if run is not None:
        wanted = wanted.where(Score.run == run)
    if benchmark is not None:
        wanted = wanted.where(Score.benchmark == benchmark)
    tasks: dict[tuple[Any, ...], dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for *key, task_id, method in rows_of(engine, wanted):
        methods = tasks[tuple(key)]
        if method is not None:
            methods[method].add(task_id)
    found = [_exposure(key, methods) for key, methods in tasks.items()]
    return sorted(found, key=lambda e: (e.run, e.benchmark, e.asking, e.judging))


def _exposed() -> Select[Any]:
    """Scores beside the problems asked that a row trained on touches, if any."""
    digest = Contract.content["sha256"].as_string()
    asked = exists().where(
        Tally.benchmark == Score.benchmark,
        Tally.asking == Score.asking,
        Tally.judging == Score.judging,
        Tally.run == Score.run,
        Tally.task_id == Touch.task_id,
    )
    trained_on = and_(
        Touch.dataset == Run.dataset_digest,
        Touch.benchmark == Score.benchmark,
        Touch.benchmark_digest == digest,
        Touch.trained_on > 0,
        asked,
    )
    key = Score.run, Score.benchmark, Score.asking, Score.judging
    return (
        select(*key, digest.label("benchmark_digest"), Touch.task_id, Touch.method)
        .select_from(Score)
        .join(Run, Run.id == Score.run)
        .join(Contract, Contract.id == Score.judging)
        .outerjoin(Touch, trained_on)
        .where(Run.dataset_digest.is_not(None))
        .distinct()
    )


def _exposure(key: tuple[Any, ...], methods: dict[str, set[str]]) -> Exposure:
    run, benchmark, asking, judging, digest = key
    return Exposure(
        run=run,
        benchmark=benchmark,
        asking=asking,
        judging=judging,
        benchmark_digest=digest,
        problems=len(set().union(*methods.values())),
        methods={method: len(methods[method]) for method in sorted(methods)},
    )
