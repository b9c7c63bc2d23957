"""What the answers of a run look like, counted once, when they are scored.

`database.anomalies` says from these counts what is odd, without reading an answer.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from sqlalchemy import Engine, and_, select

from database.rows import rows_of
from database.schema import Answered, Completion, Verdict
from database.stored import storable

SPACE = " \t\r\n"
"""All that an answer without a word has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedAnswer:
    """What is looked at of an answer."""

    task_id: str
    position: int
    text: str
    finish: str
    extracted: bool | None


def answered_row(
    answers: Iterable[JudgedAnswer], *, run: str, benchmark: str, asking: str, judging: str
) -> Answered:
    """Return the counts of a run's answers to one benchmark under one contract."""
    listed = list(answers)
    return Answered(
        run=run,
        benchmark=benchmark,
        asking=asking,
        judging=judging,
        answers=len(listed),
        blank=sum(not answer.text.strip(SPACE) for answer in listed),
        cut=sum(answer.finish == "length" for answer in listed),
        without_program=sum(answer.extracted is False for answer in listed),
        first={a.task_id: digest_of(a.text) for a in listed if a.position == 0},
    )


def digest_of(text: str) -> str:
    """Return 8 hex digits that tell an answer from another one."""
    return sha256(str(storable(text)).encode()).hexdigest()[:8]


def count_answered(
    engine: Engine, *, run: str, benchmark: str, asking: str, judging: str
) -> Answered:
    """Return the same, read from the ledger."""
    judged = and_(Verdict.completion == Completion.id, Verdict.judging == judging)
    columns: list[Any] = [
        Completion.task_id,
        Completion.position,
        Completion.text,
        Completion.finish,
        Verdict.extracted,
    ]
    wanted = select(*columns).join(Verdict, judged)
    wanted = wanted.where(
        Completion.benchmark == benchmark, Completion.asking == asking, Completion.run == run
    )
    answers = (JudgedAnswer(**row._mapping) for row in rows_of(engine, wanted))
    key = {"run": run, "benchmark": benchmark, "asking": asking, "judging": judging}
    return answered_row(answers, **key)
