"""What is read of trainings: how far they are, and their curves, however long."""

from collections import defaultdict
from datetime import datetime
from math import ceil
from statistics import median
from typing import Any

from sqlalchemy import Case, Engine, and_, case, func, or_, select

from database.facts import Spent, StepFacts, TrainingFacts
from database.rows import columns_of, rows_of, scalar_of
from database.schema import Run, Step, Training

RECENT = 32
"""Steps that tell how fast a training is now."""


def trainings(engine: Engine) -> list[TrainingFacts]:
    """Return all trainings that began, or will: those that train now first, then those that are
    not over, then the latest first."""
    heard = func.coalesce(Training.at, Run.created_at).label("at")
    last = func.coalesce(Training.last_step, 0).label("last_step")
    columns = Run.id, Run.label, Run.state, Training.of, last, heard
    wanted = (
        select(*columns)
        .outerjoin(Training)
        .where(or_(Run.kind == "tuned", Training.run.is_not(None)))
        .order_by(_turn(), heard.desc(), Run.id)
    )
    recent = _recent_steps(engine)
    return [_training(row, recent.get(row.id, [])) for row in rows_of(engine, wanted)]


def _turn() -> Case[int]:
    """What trains comes first; what is over, last."""
    over = Run.state.in_(("done", "failed", "stopped"))
    return case((Run.state == "training", 0), (over, 2), else_=1)


def _training(row: Any, recent: list[Any]) -> TrainingFacts:
    seconds = sum(step.seconds for step in recent)
    return TrainingFacts(
        run=row.id,
        label=row.label,
        state=row.state,
        of=row.of,
        last_step=row.last_step,
        at=row.at,
        loss=recent[-1].loss if recent else None,
        tokens_per_second=sum(step.tokens for step in recent) / seconds if seconds else None,
        step_seconds=median(step.seconds for step in recent) if recent else None,
    )


def _recent_steps(engine: Engine) -> dict[str, list[Any]]:
    """Return the last steps of each training in order; of one that is over, the last alone."""
    many = case((Run.state == "training", RECENT), else_=1)
    recent = and_(
        Step.run == Training.run,
        Step.step > Training.last_step - many,
        Step.step <= Training.last_step,
    )
    wanted = (
        select(Training.run, Step.step, Step.loss, Step.tokens, Step.seconds)
        .select_from(Training)
        .join(Run)
        .outerjoin(Step, recent)  # an inner join is read from its far end: every step there is
    )
    found: dict[str, list[Any]] = defaultdict(list)
    for row in rows_of(engine, wanted):
        if row.step is not None:
            found[row.run].append(row)
    return {run: sorted(rows, key=lambda row: row.step) for run, rows in found.items()}


def steps(
    engine: Engine, run_id: str, *, at_most: int | None = None, after: int = 0
) -> list[StepFacts]:
    """Return a run's optimizer steps, the first one first.

    Args:
        at_most: about so many, thinned evenly by the database; the first, the last and those with
            a held-out loss stay. None: all.
        after: only steps behind this one.
    """
    columns = columns_of(Step, StepFacts)
    wanted = select(*columns).where(Step.run == run_id, Step.step > after).order_by(Step.step)
    if at_most is not None:
        last = _last_step(engine, run_id)
        kept = Step.step % max(1, ceil(last / at_most)) == 0
        ends = Step.step.in_([1, last])
        wanted = wanted.where(or_(kept, ends, Step.held_out_loss.is_not(None)))
    names = [column.key for column in columns]  # thrice as fast as by the mapping of each row
    return [StepFacts(**dict(zip(names, row, strict=True))) for row in rows_of(engine, wanted)]


def clock(engine: Engine, run_id: str) -> dict[int, float]:
    """Return the seconds of training that were over after each step of a run."""
    passed = func.sum(Step.seconds).over(order_by=Step.step).label("passed")
    wanted = select(Step.step, passed).where(Step.run == run_id)
    return {row.step: row.passed for row in rows_of(engine, wanted)}


def _last_step(engine: Engine, run_id: str) -> int:
    return scalar_of(engine, select(func.max(Step.step)).where(Step.run == run_id)) or 0


def spent(engine: Engine, run_id: str) -> Spent:
    """Return what the steps of a run have cost together."""
    columns = (
        func.count().label("steps"),
        func.coalesce(func.sum(Step.tokens), 0).label("tokens"),
        func.coalesce(func.sum(Step.seconds), 0.0).label("seconds"),
        func.sum(Step.joules).label("joules"),
    )
    (row,) = rows_of(engine, select(*columns).where(Step.run == run_id))
    return Spent(**row._mapping)


def last_heard(engine: Engine) -> dict[str, datetime]:
    """Return when a step of each training was last heard of, by run."""
    return {row.run: row.at for row in rows_of(engine, select(Training.run, Training.at))}
