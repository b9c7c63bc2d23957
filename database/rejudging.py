"""What is read to judge stored answers again, and to say what that changed."""

from collections.abc import Collection
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from sqlalchemy import Engine, Select, and_, func, select
from sqlalchemy.orm import aliased

from database.rows import columns_of, rows_of, scalar_of
from database.schema import Completion, Problem, Run, Score, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The answers of one run to one benchmark under one asking contract."""

    run: str
    label: str
    benchmark: str
    asking: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredAnswer:
    """An answer as the ledger keeps it: the columns of `Completion` that shape a verdict."""

    task_id: str
    position: int
    text: str
    whole: bool
    tokens: int
    finish: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredScore:
    """A score of these answers under some judging contract."""

    judging: str
    metric: str
    value: float
    asked: int
    recorded_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """An answer whose outcome is another one under another judging contract."""

    task_id: str
    position: int
    before: str
    after: str


def asked(engine: Engine, benchmark: str, runs: Collection[str] | None = None) -> list[Asked]:
    """Return whose answers to a benchmark there are, by label, run and asking contract.

    Answers whose text was pruned are not there: nobody can judge them again.

    Args:
        runs: only of these, by id; None: of all.
    """
    key = Completion.run, Run.label, Completion.benchmark, Completion.asking
    wanted = select(*key).join(Run, Run.id == Completion.run).distinct()
    wanted = wanted.where(Completion.benchmark == benchmark, Completion.pruned_at.is_(None))
    if runs is not None:
        wanted = wanted.where(Completion.run.in_(runs))
    found = [Asked(**row._mapping) for row in rows_of(engine, wanted)]
    return sorted(found, key=lambda one: (one.label, one.run, one.asking))


def answered_benchmarks(engine: Engine) -> list[str]:
    """Return the benchmarks that the ledger has answers to, by name."""
    return sorted(row[0] for row in rows_of(engine, select(Completion.benchmark).distinct()))


def answers_to_each(engine: Engine, of: Asked) -> dict[str, int]:
    """Return how many answers there are to each problem, by its id."""
    columns: list[Any] = [Completion.task_id, func.count().label("answers")]
    counted = _of(select(*columns), of)
    rows = rows_of(engine, counted.group_by(Completion.task_id))
    return {row.task_id: row.answers for row in rows}


def count_unjudged(engine: Engine, of: Asked, judging: str) -> int:
    """Return how many answers have no verdict under a judging contract."""
    return scalar_of(engine, _unjudged([func.count()], of, judging)) or 0


def unjudged(engine: Engine, of: Asked, judging: str) -> list[StoredAnswer]:
    """Return the answers without a verdict under a judging contract, by problem and position.

    A verdict that says that the sandbox failed is none.
    """
    wanted = _unjudged(columns_of(Completion, StoredAnswer), of, judging)
    wanted = wanted.order_by(Completion.task_id, Completion.position)
    return [StoredAnswer(**row._mapping) for row in rows_of(engine, wanted)]


def scores_of(engine: Engine, of: Asked) -> list[StoredScore]:
    """Return the scores of these answers under all judging contracts, the newest first."""
    names = [getattr(Score, field.name) for field in fields(StoredScore)]
    wanted = select(*names).where(
        Score.run == of.run, Score.benchmark == of.benchmark, Score.asking == of.asking
    )
    wanted = wanted.order_by(Score.recorded_at.desc(), Score.judging, Score.metric)
    return [StoredScore(**row._mapping) for row in rows_of(engine, wanted)]


def moved(engine: Engine, of: Asked, before: str, after: str) -> list[Moved]:
    """Return the answers whose outcome differs between two judging contracts, by problem."""
    old, new = aliased(Verdict), aliased(Verdict)
    outcomes = [old.outcome.label("before"), new.outcome.label("after")]
    columns: list[Any] = [Completion.task_id, Completion.position, *outcomes]
    wanted = select(*columns)
    wanted = wanted.join(old, and_(old.completion == Completion.id, old.judging == before))
    wanted = wanted.join(new, and_(new.completion == Completion.id, new.judging == after))
    wanted = _of(wanted, of).where(old.outcome != new.outcome)
    wanted = wanted.order_by(Completion.task_id, Completion.position)
    return [Moved(**row._mapping) for row in rows_of(engine, wanted)]


def questions(engine: Engine, benchmark: str, digest: str) -> dict[str, tuple[str, str]]:
    """Return instruction and prompt of the problems of one version of a benchmark, by id."""
    wanted = select(Problem.task_id, Problem.instruction, Problem.prompt)
    wanted = wanted.where(Problem.benchmark == benchmark, Problem.digest == digest)
    return {row.task_id: (row.instruction, row.prompt) for row in rows_of(engine, wanted)}


def _of(wanted: Select[Any], of: Asked) -> Select[Any]:
    return wanted.where(
        Completion.run == of.run,
        Completion.benchmark == of.benchmark,
        Completion.asking == of.asking,
    )


def _unjudged(columns: list[Any], of: Asked, judging: str) -> Select[Any]:
    judged = and_(
        Verdict.completion == Completion.id,
        Verdict.judging == judging,
        Verdict.outcome != "sandbox_error",
    )
    wanted = select(*columns).select_from(Completion).outerjoin(Verdict, judged)
    return _of(wanted, of).where(Verdict.completion.is_(None))
