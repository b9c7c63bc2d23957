"""What publishers say of the answers that were imported, beside what we found."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Engine, Select, and_, func, not_, or_, select

from database.causes import helpers_left_out, why_ours_fails, why_theirs_fails
from database.problems import problem_of_completion
from database.queries import contract
from database.rows import columns_of, rows_of, scalar_of
from database.schema import Completion, Problem, PublishedScore, PublishedVerdict, Verdict
from database.scores import pass_at_k


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedFacts:
    """A score that somebody else gave a run."""

    run: str
    benchmark: str
    metric: str
    value: float
    """In [0, 1]."""
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Differing:
    """An answer on which we and its publisher differ."""

    task_id: str
    position: int
    """Which of the problem's answers, from 0."""
    place: int
    """Which of all the run's answers to the benchmark, from 0, in the order pages show them."""
    outcome: str
    detail: str
    claimed: bool
    """The publisher says that it passes."""
    said: str
    """More in the publisher's words."""
    cause: str
    """As far as the rows show it: for people, not for counting."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How our verdicts under one contract compare with a publisher's."""

    compared: int
    """Answers with a verdict of either side."""
    differing: list[Differing]


def published_scores(
    engine: Engine, *, run: str | None = None, benchmark: str | None = None
) -> list[PublishedFacts]:
    """Return published scores, by benchmark, run and metric."""
    place = PublishedScore.benchmark, PublishedScore.run, PublishedScore.metric
    wanted = select(*columns_of(PublishedScore, PublishedFacts)).order_by(*place)
    if run is not None:
        wanted = wanted.where(PublishedScore.run == run)
    if benchmark is not None:
        wanted = wanted.where(PublishedScore.benchmark == benchmark)
    return [PublishedFacts(**row._mapping) for row in rows_of(engine, wanted)]


def agreement(engine: Engine, run: str, benchmark: str, asking: str, judging: str) -> Agreement:
    """Return what we and the publisher of a run's answers say differently of them.

    Answers on which the sandbox failed have no verdict of ours and are not compared.
    """
    key = Completion.run == run, Completion.benchmark == benchmark, Completion.asking == asking
    compared = _compared(engine, [*key, Verdict.judging == judging])
    if not compared:
        return Agreement(compared=0, differing=[])
    content = contract(engine, judging) or {}
    asked = problem_of_completion(content.get("sha256", ""))
    ranked = _ranked(key, asked).subquery()
    columns = Completion.id, Completion.task_id, Completion.position, Completion.whole
    pairs = (
        select(*columns, Completion.text, Problem.prompt, ranked.c.place)
        .add_columns(PublishedVerdict.passed.label("claimed"))
        .add_columns(PublishedVerdict.detail.label("said"), Verdict.outcome, Verdict.detail)
        .select_from(ranked)
        .join(Completion, Completion.id == ranked.c.id)
        .join(PublishedVerdict, PublishedVerdict.completion == Completion.id)
        .join(Verdict, Verdict.completion == Completion.id)
        .outerjoin(Problem, asked)
        .where(Verdict.judging == judging, Verdict.outcome != "sandbox_error", not_(_agree()))
        .order_by(ranked.c.place)
    )
    found = rows_of(engine, pairs)
    others = _agreeing_contracts(engine, [*key, Verdict.judging != judging]) if found else {}
    differing = [_differing(row, content, others.get(row.id, [])) for row in found]
    return Agreement(compared=compared, differing=differing)


def counted(claims: Mapping[str, Sequence[bool | None]], ks: Collection[int]) -> dict[str, float]:
    """Return pass@k as published verdicts make it, for each k that every problem has answers for.

    A score over chosen answers flatters, so there is none where one answer has no verdict.

    Args:
        claims: the verdicts on the answers to each problem; None: not known.
        ks: of pass@k.
    """
    if any(None in verdicts for verdicts in claims.values()):
        return {}
    of_problem = [[verdict is True for verdict in verdicts] for verdicts in claims.values()]
    fewest = min(map(len, of_problem), default=0)
    return {
        f"pass@{k}": sum(pass_at_k(len(v), sum(v), k) for v in of_problem) / len(of_problem)
        for k in ks
        if k <= fewest
    }


def _compared(engine: Engine, wanted: list[Any]) -> int:
    count = (
        select(func.count())
        .select_from(Completion)
        .join(PublishedVerdict, PublishedVerdict.completion == Completion.id)
        .join(Verdict, Verdict.completion == Completion.id)
        .where(*wanted, Verdict.outcome != "sandbox_error")
    )
    return scalar_of(engine, count) or 0


def _agreeing_contracts(engine: Engine, wanted: list[Any]) -> dict[str, list[dict[str, Any]]]:
    """Return other contracts of ours under which we and the publisher agree, by completion."""
    agreeing = (
        select(Verdict.completion, Verdict.judging)
        .join(Completion, Completion.id == Verdict.completion)
        .join(PublishedVerdict, PublishedVerdict.completion == Completion.id)
        .where(*wanted, Verdict.outcome != "sandbox_error", _agree())
    )
    contents: dict[str, dict[str, Any]] = {}
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows_of(engine, agreeing):
        if row.judging not in contents:
            contents[row.judging] = contract(engine, row.judging) or {}
        found[row.completion].append(contents[row.judging])
    return found


def _ranked(of_run: Iterable[Any], asked: ColumnElement[bool]) -> Select[Any]:
    """Return the place of each of a run's completions; their texts are not sorted along."""
    order = func.coalesce(Problem.position, -1), Completion.task_id, Completion.position
    place = func.row_number().over(order_by=order) - 1
    wanted = select(Completion.id, place.label("place"))
    return wanted.outerjoin(Problem, asked).where(*of_run)


def _agree() -> Any:
    """Return the condition that both sides say that an answer passes, or both that it fails."""
    passed = Verdict.outcome == "passed"
    return or_(
        and_(passed, PublishedVerdict.passed), and_(not_(passed), not_(PublishedVerdict.passed))
    )


def _differing(
    row: Any, content: Mapping[str, Any], agreeing: Iterable[Mapping[str, Any]]
) -> Differing:
    if row.claimed:
        cause = why_ours_fails(row.outcome, row.detail, row.said)
    else:
        lacking = helpers_left_out(row.prompt or "", row.text) if row.whole else []
        cause = why_theirs_fails(row.said, lacking, content.get("preamble", "none"))
    return Differing(
        task_id=row.task_id,
        position=row.position,
        place=row.place,
        outcome=row.outcome,
        detail=row.detail,
        claimed=row.claimed,
        said=row.said,
        cause="; ".join([cause, *_under_others(content, agreeing)]),
    )


def _under_others(
    content: Mapping[str, Any], agreeing: Iterable[Mapping[str, Any]]
) -> Iterator[str]:
    """Say which single change of our contract makes us agree, where that was tried."""
    for other in agreeing:
        changed = [name for name in other if other[name] != content.get(name)]
        if len(changed) == 1 and isinstance(other[changed[0]], str):
            yield f"under {changed[0]} {other[changed[0]]} we agree"
