"""What is read from the ledger: typed values in a stated order, the same on both databases."""

from collections import defaultdict
from collections.abc import Collection
from typing import Any

from sqlalchemy import Engine, Select, and_, func, select

from database.facts import (
    Answer,
    BenchmarkFacts,
    CheckpointFacts,
    Happening,
    Pulse,
    RunFacts,
    RunPage,
)
from database.rows import columns_of, rows_of, scalar_of, scalars_of
from database.schema import (
    Checkpoint,
    Completion,
    Contract,
    Dataset,
    Event,
    Experiment,
    Problem,
    Run,
    Score,
    Training,
    Verdict,
)
from database.standings import contract_of, k_of, scores, standings
from database.training_data import datasets, exposures, report, touches
from database.trainings import last_heard, spent, steps, trainings

__all__ = [
    "ACTIVE",
    "benchmarks",
    "completions",
    "contract",
    "contract_of",
    "datasets",
    "events",
    "experiments",
    "exposures",
    "last_heard",
    "outcomes",
    "pulse",
    "recorded_runs",
    "recorded_scores",
    "report",
    "run_page",
    "runs",
    "scores",
    "spent",
    "standings",
    "steps",
    "touches",
    "trainings",
]

ACTIVE = ("waiting", "preparing", "training", "generating", "judging")
"""States of a run that is not over, in the order it passes them."""


def recorded_runs(engine: Engine) -> set[str]:
    """Return the ids of the runs that are done."""
    return set(scalars_of(engine, select(Run.id).where(Run.state == "done")))


def recorded_scores(engine: Engine) -> set[tuple[str, str, str, str, str]]:
    """Return what is scored: run, benchmark, metric, asking, judging."""
    columns = Score.run, Score.benchmark, Score.metric, Score.asking, Score.judging
    return {tuple(row) for row in rows_of(engine, select(*columns))}


def experiments(engine: Engine) -> list[str]:
    """Return the names of the experiments, the newest first."""
    newest_first = select(Experiment.name).order_by(Experiment.recorded_at.desc(), Experiment.name)
    return scalars_of(engine, newest_first)


def runs(
    engine: Engine, *, active: bool = False, among: Collection[str] | None = None
) -> list[RunFacts]:
    """Return the runs, the newest first.

    Args:
        active: leave out those that are over.
        among: only these, by id; None: all.
    """
    wanted = _run_facts().order_by(Run.created_at.desc(), Run.id)
    if among is not None:
        wanted = wanted.where(Run.id.in_(among))
    if active:
        wanted = wanted.where(Run.state.in_(ACTIVE))
    return [RunFacts(**row._mapping) for row in rows_of(engine, wanted)]


def run_page(engine: Engine, run_id: str) -> RunPage | None:
    """Return one run; None where the ledger holds no such run."""
    found = rows_of(engine, _run_facts().where(Run.id == run_id))
    if not found:
        return None
    columns = columns_of(Checkpoint, CheckpointFacts)
    weights = rows_of(engine, select(*columns).where(Checkpoint.run == run_id))
    return RunPage(
        run=RunFacts(**found[0]._mapping),
        checkpoint=CheckpointFacts(**weights[0]._mapping) if weights else None,
        standings=standings(engine, run=run_id),
    )


def completions(
    engine: Engine,
    run_id: str,
    benchmark: str,
    *,
    asking: str | None = None,
    judging: str | None = None,
    outcome: str | None = None,
    limit: int = 20,
    offset: int = 0,
) -> list[Answer]:
    """Return a page of a run's answers, in the order of the benchmark's file.

    Args:
        asking: id of the asking contract; None: the answers to all of them.
        judging: id of the judging contract; None: an answer judged twice comes twice.
        outcome: only answers with this outcome.
        limit: answers at most.
        offset: answers left out at the start.
    """
    wanted = _judged(_answer_columns(), run_id, benchmark, judging)
    if asking is not None:
        wanted = wanted.where(Completion.asking == asking)
    if outcome is not None:
        wanted = wanted.where(Verdict.outcome == outcome)
    place = func.coalesce(Problem.position, -1), Completion.task_id, Completion.position
    wanted = wanted.order_by(*place, Verdict.judging).limit(limit).offset(offset)
    return [Answer(**row._mapping) for row in rows_of(engine, wanted)]


def outcomes(
    engine: Engine,
    run_id: str,
    benchmark: str,
    *,
    asking: str | None = None,
    judging: str | None = None,
) -> dict[str, int]:
    """Return how many of a run's answers had each outcome, the most frequent first."""
    columns = [Verdict.outcome, func.count().label("answers")]
    wanted = select(*columns).join(Completion, Completion.id == Verdict.completion)
    wanted = wanted.where(Completion.run == run_id, Completion.benchmark == benchmark)
    if asking is not None:
        wanted = wanted.where(Completion.asking == asking)
    if judging is not None:
        wanted = wanted.where(Verdict.judging == judging)
    rows = rows_of(engine, wanted.group_by(Verdict.outcome))
    return {row.outcome: row.answers for row in sorted(rows, key=lambda r: (-r.answers, r.outcome))}


def benchmarks(engine: Engine) -> list[BenchmarkFacts]:
    """Return the benchmarks that have scores, by name."""
    wanted = select(Score.benchmark, Score.metric, func.max(Score.asked).label("asked"))
    metrics: dict[str, list[str]] = defaultdict(list)
    asked: dict[str, int] = defaultdict(int)
    for row in rows_of(engine, wanted.group_by(Score.benchmark, Score.metric)):
        metrics[row.benchmark].append(row.metric)
        asked[row.benchmark] = max(asked[row.benchmark], row.asked)
    return [
        BenchmarkFacts(name=name, metrics=sorted(metrics[name], key=k_of), problems=asked[name])
        for name in sorted(metrics)
    ]


def events(engine: Engine, run_id: str | None = None, limit: int = 100) -> list[Happening]:
    """Return the latest events of a run, or of all runs, the newest first."""
    columns = columns_of(Event, Happening)
    wanted = select(*columns).order_by(Event.at.desc(), Event.run, Event.kind).limit(limit)
    if run_id is not None:
        wanted = wanted.where(Event.run == run_id)
    return [Happening(**row._mapping) for row in rows_of(engine, wanted)]


def contract(engine: Engine, contract_id: str) -> dict[str, Any] | None:
    """Return what a contract says; None where the ledger holds no such contract."""
    return scalar_of(engine, select(Contract.content).where(Contract.id == contract_id))


def pulse(engine: Engine) -> Pulse:
    """Return the ledger's pulse, to be compared with an earlier one."""
    totals = select(
        select(func.max(Event.at)).scalar_subquery().label("event_at"),
        select(func.max(Score.recorded_at)).scalar_subquery().label("score_at"),
        select(func.max(Run.created_at)).scalar_subquery().label("run_at"),
        select(func.max(Dataset.recorded_at)).scalar_subquery().label("dataset_at"),
        select(func.count()).select_from(Event).scalar_subquery().label("events"),
        select(func.count()).select_from(Score).scalar_subquery().label("scores"),
        select(func.max(Training.at)).scalar_subquery().label("stepped_at"),
        select(func.count()).select_from(Dataset).scalar_subquery().label("datasets"),
    )
    by_state = select(Run.state, func.count()).group_by(Run.state)
    (total,) = rows_of(engine, totals)
    moments = total.event_at, total.score_at, total.run_at, total.dataset_at
    return Pulse(
        changed_at=max((at for at in moments if at is not None), default=None),
        events=total.events,
        scores=total.scores,
        stepped_at=total.stepped_at,
        datasets=total.datasets,
        states=tuple(sorted((row[0], row[1]) for row in rows_of(engine, by_state))),
    )


def _run_facts() -> Select[Any]:
    columns = columns_of(Run, RunFacts)
    return select(*columns, Training.last_step, Training.of).outerjoin(Training)


def _answer_columns() -> Select[Any]:
    return select(
        *columns_of(Completion, Answer),
        *columns_of(Verdict, Answer),
        Problem.instruction,
        Problem.prompt,
        Problem.tests,
    )


def _judged(columns: Select[Any], run_id: str, benchmark: str, judging: str | None) -> Select[Any]:
    """Join a run's completions with their verdicts, and the problems those were judged on."""
    verdict = Verdict.completion == Completion.id
    if judging is not None:
        verdict = and_(verdict, Verdict.judging == judging)
    return (
        columns.select_from(Completion)
        .outerjoin(Verdict, verdict)
        .outerjoin(Contract, Contract.id == Verdict.judging)
        .outerjoin(
            Problem,
            and_(
                Problem.benchmark == Completion.benchmark,
                Problem.task_id == Completion.task_id,
                Problem.digest == Contract.content["sha256"].as_string(),
            ),
        )
        .where(Completion.run == run_id, Completion.benchmark == benchmark)
    )
