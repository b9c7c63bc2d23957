"""One answer with all that is known of it, and a run's answers a page at a time."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Engine, and_, exists, func, select

from database.problems import digest_of, problem_of_completion
from database.rows import columns_of, rows_of, scalar_of, scalars_of
from database.schema import Completion, Contract, Problem, PublishedVerdict, Score, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictFacts:
    """What became of an answer under one judging contract."""

    judging: str
    outcome: str
    cpu_seconds: float
    wall_seconds: float
    detail: str
    extracted: bool | None
    """Whether a program was found in the answer; None: it was taken as it is, or nobody knows."""
    content: dict[str, Any]
    """Of the contract."""
    scored_at: datetime | None
    """When the run was scored under it; None: it never was."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletionFacts:
    """An answer as it came."""

    id: str
    run: str
    benchmark: str
    task_id: str
    position: int
    asking: str
    text: str
    whole: bool
    tokens: int
    finish: str
    pruned_at: datetime | None = None
    """When its text was taken away; it cannot be judged again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What the publisher of an imported answer says of it."""

    passed: bool
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletionPage:
    """An answer, its verdicts, and its neighbours among the answers of its run."""

    facts: CompletionFacts
    asking: dict[str, Any]
    """What the asking contract says."""
    verdicts: list[VerdictFacts]
    """The one that was scored last first."""
    claim: Claim | None
    """None: it was not imported, or nothing was published of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbours:
    """The ids of the answers before and after one, by problem and position."""

    previous: str | None
    following: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """Which answers a list has: those of a run to a benchmark under one contract."""

    run: str
    benchmark: str
    asking: str
    judging: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerStart:
    """The start of an answer, its verdict and its problem; without a verdict, `outcome` is None."""

    id: str
    task_id: str
    position: int
    whole: bool
    tokens: int
    finish: str
    outcome: str | None
    detail: str | None
    cpu_seconds: float | None
    wall_seconds: float | None
    extracted: bool | None
    text: str
    instruction: str
    prompt: str
    tests: str


def completion_page(engine: Engine, completion: str) -> CompletionPage | None:
    """Return one answer; None where the ledger holds none of that id."""
    columns = *columns_of(Completion, CompletionFacts), Contract.content
    wanted = select(*columns).join(Contract, Contract.id == Completion.asking)
    found = rows_of(engine, wanted.where(Completion.id == completion))
    if not found:
        return None
    known = dict(found[0]._mapping)
    asking = known.pop("content")
    facts = CompletionFacts(**known)
    return CompletionPage(
        facts=facts,
        asking=asking,
        verdicts=_verdicts(engine, facts),
        claim=_claim(engine, completion),
    )


def neighbours(engine: Engine, of: CompletionFacts, digest: str) -> Neighbours:
    """Return the answers of the same run before and after one.

    Args:
        engine: of the ledger.
        of: the answer.
        digest: of the benchmark's file, whose order is followed from problem to problem.
    """
    here = select(Completion.id, Completion.position)
    here = here.where(*_of(of), Completion.task_id == of.task_id)
    places = {row.position: row.id for row in rows_of(engine, here)}
    before = [place for place in places if place < of.position]
    after = [place for place in places if place > of.position]
    return Neighbours(
        previous=places[max(before)] if before else _beyond(engine, of, digest, -1),
        following=places[min(after)] if after else _beyond(engine, of, digest, 1),
    )


def answers_number(engine: Engine, of: Answers) -> int:
    """Return how many answers there are, with a verdict or without."""
    wanted = select(func.count()).select_from(Completion).where(*_of(of))
    return scalar_of(engine, wanted) or 0


def answers_page(
    engine: Engine,
    of: Answers,
    *,
    outcome: str | None = None,
    limit: int,
    offset: int = 0,
    characters: int,
) -> list[AnswerStart]:
    """Return a page of a run's answers, in the order of the benchmark's file.

    Args:
        engine: of the ledger.
        of: which answers.
        outcome: only those with this one.
        limit: answers at most.
        offset: answers left out at the start.
        characters: of each text at most, so that a page of long answers stays small.
    """
    digest = digest_of(engine, of.judging)
    shown = _shown(engine, of, digest, outcome, (limit, offset))
    columns = [c for c in columns_of(Completion, AnswerStart) if c.key != "text"]
    texts = Completion.text, Problem.instruction, Problem.prompt, Problem.tests
    starts = [func.substr(func.coalesce(text, ""), 1, characters).label(text.key) for text in texts]
    wanted = select(*columns, *columns_of(Verdict, AnswerStart), *starts)
    wanted = wanted.outerjoin(Verdict, _judged(of))
    wanted = wanted.outerjoin(Problem, problem_of_completion(digest))
    rows = rows_of(engine, wanted.where(Completion.id.in_(shown)))
    return sorted((AnswerStart(**row._mapping) for row in rows), key=lambda a: shown.index(a.id))


def _shown(
    engine: Engine, of: Answers, digest: str, outcome: str | None, part: tuple[int, int]
) -> list[str]:
    """The ids on one page, found without reading a text."""
    limit, offset = part
    wanted = select(Completion.id).outerjoin(Problem, problem_of_completion(digest)).where(*_of(of))
    if outcome is not None:
        wanted = wanted.join(Verdict, _judged(of)).where(Verdict.outcome == outcome)
    place = func.coalesce(Problem.position, -1), Completion.task_id, Completion.position
    return scalars_of(engine, wanted.order_by(*place).limit(limit).offset(offset))


def _judged(of: Answers) -> ColumnElement[bool]:
    return and_(Verdict.completion == Completion.id, Verdict.judging == of.judging)


def _of(of: Answers | CompletionFacts) -> tuple[ColumnElement[bool], ...]:
    return (
        Completion.benchmark == of.benchmark,
        Completion.asking == of.asking,
        Completion.run == of.run,
    )


def _verdicts(engine: Engine, of: CompletionFacts) -> list[VerdictFacts]:
    scored = select(func.max(Score.recorded_at)).where(
        Score.run == of.run,
        Score.benchmark == of.benchmark,
        Score.asking == of.asking,
        Score.judging == Verdict.judging,
    )
    columns = (
        *columns_of(Verdict, VerdictFacts),
        Contract.content,
        scored.scalar_subquery().label("scored_at"),
    )
    wanted = select(*columns).join(Contract, Contract.id == Verdict.judging)
    rows = rows_of(engine, wanted.where(Verdict.completion == of.id))
    found = [VerdictFacts(**row._mapping) for row in rows]
    return sorted(found, key=lambda v: (-v.scored_at.timestamp() if v.scored_at else 0, v.judging))


def _claim(engine: Engine, completion: str) -> Claim | None:
    columns = columns_of(PublishedVerdict, Claim)
    wanted = select(*columns).where(PublishedVerdict.completion == completion)
    found = rows_of(engine, wanted)
    return Claim(**found[0]._mapping) if found else None


def _beyond(engine: Engine, of: CompletionFacts, digest: str, way: int) -> str | None:
    """The nearest answer to the problem before (way -1) or after (1) in the file that has one."""
    key = Problem.benchmark == of.benchmark, Problem.digest == digest
    answers = _of(of)
    place = select(Problem.position).where(*key, Problem.task_id == of.task_id)
    further = (
        Problem.position > place.scalar_subquery()
        if way > 0
        else Problem.position < place.scalar_subquery()
    )
    answered = exists().where(*answers, Completion.task_id == Problem.task_id)
    order: Any = Problem.position if way > 0 else Problem.position.desc()
    task = select(Problem.task_id).where(*key, further, answered).order_by(order).limit(1)
    first: Any = Completion.position if way > 0 else Completion.position.desc()
    wanted = select(Completion.id).where(*answers, Completion.task_id == task.scalar_subquery())
    return scalar_of(engine, wanted.order_by(first).limit(1))
