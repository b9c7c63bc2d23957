"""Any two runs under one contract: how far apart they are, and who solved what."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from sqlalchemy import Engine, Select, func, select

from database.comparability import Contents, what_differs
from database.comparisons import (
    NOT_COMPARABLE,
    Difference,
    difference_of,
    holm,
    pairs_of,
    verdict_of,
)
from database.facts import Standing
from database.problems import ProblemFacts, digest_of, problem
from database.rows import rows_of
from database.schema import Completion, Contract, Score, Verdict
from database.scores import ProblemResult, pass_at_k
from database.standings import contract_of, k_of
from database.tallies import tallies

Solver = Literal["both", "a", "b", "neither"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """What two runs, a and b, made of one problem."""

    task_id: str
    a: ProblemResult
    b: ProblemResult
    delta: float
    """pass@k of a minus that of b, in [-1, 1]."""

    @property
    def solver(self) -> Solver:
        """Who solved it, in one answer at least."""
        match self.a.passed > 0, self.b.passed > 0:
            case True, True:
                return "both"
            case True, False:
                return "a"
            case False, True:
                return "b"
        return "neither"


@dataclass(frozen=True, slots=True, kw_only=True)
class Paired:
    """Two runs, problem by problem."""

    difference: Difference
    """a minus b."""
    why: str = ""
    """Why they cannot be compared; empty where they can."""
    pairs: tuple[Pair, ...] = ()
    """In the order of the benchmark's file."""

    def solved_by(self) -> dict[Solver, int]:
        """How many problems were solved by whom."""
        found: dict[Solver, int] = {"both": 0, "a": 0, "b": 0, "neither": 0}
        for pair in self.pairs:
            found[pair.solver] += 1
        return found

    def ahead(self) -> tuple[int, int, int]:
        """On how many problems a is ahead of b, behind it, and level with it."""
        ahead = sum(pair.delta > 0 for pair in self.pairs)
        behind = sum(pair.delta < 0 for pair in self.pairs)
        return ahead, behind, len(self.pairs) - ahead - behind


def paired(engine: Engine, a: Standing, b: Standing) -> Paired:
    """Compare two scores of one benchmark and metric, whether or not one is the other's base.

    Raises:
        ValueError: they are scores of two benchmarks or metrics.
    """
    ours, theirs = a.result, b.result
    if (ours.benchmark, ours.metric) != (theirs.benchmark, theirs.metric):
        raise ValueError(
            f"{ours.benchmark} {ours.metric} is not {theirs.benchmark} {theirs.metric}"
        )
    if (a.asking, a.judging) != (b.asking, b.judging):
        return _refused(f"they were {_apart(engine, a, b)}")
    of_run = tallies(
        engine,
        benchmark=ours.benchmark,
        asking=a.asking,
        judging=a.judging,
        runs={ours.run, theirs.run},
    )
    found = compared(of_run.get(ours.run, []), of_run.get(theirs.run, []), k_of(ours.metric))
    if lost := _unjudged(a, b):
        return replace(found, difference=NOT_COMPARABLE, why=lost)
    return found


def compared(a: Sequence[ProblemResult], b: Sequence[ProblemResult], k: int) -> Paired:
    """Compare what two runs made of each problem; only problems of both are listed."""
    of_b = {result.task_id: result for result in b}
    pairs = tuple(
        _pair(ours, of_b[ours.task_id], k)
        for ours in a
        if ours.task_id in of_b and min(ours.completions, of_b[ours.task_id].completions) >= k
    )
    found = pairs_of(a, b, k)
    if found is None:
        why = "the verdicts of the two are not on the same problems"
        return Paired(difference=NOT_COMPARABLE, why=why, pairs=pairs)
    return Paired(difference=difference_of(found), pairs=pairs)


def together(found: Sequence[Paired]) -> list[Paired]:
    """Return comparisons with verdicts that know of each other, by Holm's p."""
    chances = [one.difference.p for one in found if one.difference.p is not None]
    adjusted = iter(holm(chances))
    return [
        one if one.difference.p is None else replace(one, difference=_sure(one, next(adjusted)))
        for one in found
    ]


def failures(
    engine: Engine, standing: Standing, runs: Collection[str], task_ids: Collection[str]
) -> dict[tuple[str, str], dict[str, int]]:
    """Return how answers that did not pass ended, by run and problem: outcome -> answers.

    Args:
        engine: of the ledger.
        standing: one whose benchmark and contract are meant.
        runs: ids.
        task_ids: of the problems.
    """
    columns = Completion.run, Completion.task_id, Verdict.outcome
    wanted = (
        _failed(standing, runs, *columns, func.count().label("answers"))
        .where(Completion.task_id.in_(task_ids))
        .group_by(*columns)
    )
    found: dict[tuple[str, str], dict[str, int]] = defaultdict(dict)
    for row in sorted(rows_of(engine, wanted), key=lambda row: (-row.answers, row.outcome)):
        found[row.run, row.task_id][row.outcome] = row.answers
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """How an answer to a problem ended that did not pass."""

    task_id: str
    outcome: str
    detail: str
    """Its first characters."""
    extracted: bool | None


DETAIL = 80
"""Characters: what an exception is called stands first."""


def failed(engine: Engine, standing: Standing, runs: Collection[str]) -> list[Failed]:
    """Return the ways in which answers of these runs did not pass, each once a problem."""
    detail = func.substr(Verdict.detail, 1, DETAIL).label("detail")
    columns = Completion.task_id, Verdict.outcome, detail, Verdict.extracted
    found = rows_of(engine, _failed(standing, runs, *columns).distinct())
    return [Failed(**row._mapping) for row in found]


def _failed(standing: Standing, runs: Collection[str], *columns: Any) -> Select[Any]:
    """Those answers under a score's contract that did not pass."""
    return (
        select(*columns)
        .join(Verdict, Verdict.completion == Completion.id)
        .where(
            Completion.benchmark == standing.result.benchmark,
            Completion.asking == standing.asking,
            Completion.run.in_(runs),
            Verdict.judging == standing.judging,
            Verdict.outcome != "passed",
        )
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """One answer to a problem with its verdict; without one, `outcome` is None."""

    id: str
    run: str
    position: int
    text: str
    whole: bool
    finish: str
    outcome: str | None
    detail: str | None


def question(engine: Engine, standing: Standing, task_id: str) -> ProblemFacts | None:
    """Return a problem of the file that a score was judged on; None: it is not stored."""
    digest = digest_of(engine, standing.judging)
    return problem(engine, standing.result.benchmark, digest, task_id)


def written(
    engine: Engine, standing: Standing, runs: Collection[str], task_id: str
) -> dict[str, list[Written]]:
    """Return what runs answered to one problem under a score's contract, in order, by run."""
    columns: list[Any] = [
        Completion.id,
        Completion.run,
        Completion.position,
        Completion.text,
        Completion.whole,
        Completion.finish,
        Verdict.outcome,
        Verdict.detail,
    ]
    judged = (Verdict.completion == Completion.id) & (Verdict.judging == standing.judging)
    wanted = (
        select(*columns)
        .outerjoin(Verdict, judged)
        .where(
            Completion.benchmark == standing.result.benchmark,
            Completion.asking == standing.asking,
            Completion.run.in_(runs),
            Completion.task_id == task_id,
        )
        .order_by(Completion.run, Completion.position)
    )
    found: dict[str, list[Written]] = defaultdict(list)
    for row in rows_of(engine, wanted):
        found[row.run].append(Written(**row._mapping))
    return found


def contents_of(engine: Engine, asking: str, judging: str) -> Contents:
    """Return what the two parts of a contract say; a part that is not stored is empty."""
    wanted = select(Contract.id, Contract.content).where(Contract.id.in_((asking, judging)))
    of_id: Mapping[str, Any] = {row.id: row.content for row in rows_of(engine, wanted)}
    return Contents(asking=of_id.get(asking, {}), judging=of_id.get(judging, {}))


def contract_parts(engine: Engine, contract: str) -> tuple[str, str] | None:
    """Return the ids of the asking and the judging that a contract's short hash stands for.

    None where no score was made under it.
    """
    pairs = select(Score.asking, Score.judging).distinct()
    for asking, judging in rows_of(engine, pairs):
        if contract_of(asking, judging) == contract:
            return asking, judging
    return None


def _apart(engine: Engine, a: Standing, b: Standing) -> str:
    said = what_differs(
        contents_of(engine, a.asking, a.judging), contents_of(engine, b.asking, b.judging)
    )
    return "; ".join(said) or "asked or judged under another contract"


def _unjudged(*sides: Standing) -> str:
    said = [
        f"{side.result.problems} of {side.asked} problems of {side.label} judged"
        for side in sides
        if side.result.problems != side.asked
    ]
    return " and ".join(said)


def _refused(why: str) -> Paired:
    return Paired(difference=NOT_COMPARABLE, why=why)


def _pair(a: ProblemResult, b: ProblemResult, k: int) -> Pair:
    delta = pass_at_k(a.completions, a.passed, k) - pass_at_k(b.completions, b.passed, k)
    return Pair(task_id=a.task_id, a=a, b=b, delta=round(delta, 12))


def _sure(one: Paired, p: float) -> Difference:
    difference = one.difference
    assert difference.low is not None and difference.high is not None
    return replace(difference, verdict=verdict_of(difference.low, difference.high, p))
