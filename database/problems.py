"""Problems of a benchmark and what runs made of them, looked up by key: no verdict is scanned."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import ColumnElement, Engine, Select, and_, func, or_, select

from database.rows import columns_of, rows_of, scalar_of, scalars_of
from database.schema import (
    Completion,
    Contract,
    Dataset,
    Problem,
    Run,
    Score,
    Tally,
    Touch,
    Verdict,
)
from database.standings import contract_of, k_of


@dataclass(frozen=True, slots=True, kw_only=True)
class ContractFacts:
    """How runs were asked one benchmark and judged, and how many were."""

    asking: str
    judging: str
    runs: int
    recorded_at: datetime
    """When one was last scored."""

    @property
    def id(self) -> str:
        """The short hash of both parts."""
        return contract_of(self.asking, self.judging)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredRun:
    """A run with a score under one contract."""

    id: str
    label: str
    kind: str
    base_run: str | None
    metric: str
    """With the least k that was reported."""
    value: float
    """In [0, 1]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProblemName:
    """A problem without its texts."""

    task_id: str
    position: int
    """Its place in the benchmark's file, from 0."""
    family: str
    released: date | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProblemFacts:
    """A problem whole, and its neighbours in the benchmark's file."""

    task_id: str
    position: int
    family: str
    released: date | None
    instruction: str
    prompt: str
    tests: str
    reference: str
    previous: str | None = None
    following: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Solved:
    """How often a run solved one problem."""

    completions: int
    """With a verdict; a sandbox error is none."""
    passed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerFacts:
    """An answer to a problem without its text; without a verdict, `outcome` is None."""

    id: str
    position: int
    tokens: int
    finish: str
    outcome: str | None
    detail: str | None
    extracted: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TouchedBy:
    """A dataset that has something of a problem in its rows, as one method found it."""

    dataset: str
    name: str
    method: str
    rows: int
    trained_on: int


def contracts(engine: Engine, benchmark: str) -> list[ContractFacts]:
    """Return the contracts with scores of a benchmark: by number of runs, then the newest first."""
    columns: list[Any] = [
        Score.asking,
        Score.judging,
        func.count(Score.run.distinct()).label("runs"),
        func.max(Score.recorded_at).label("recorded_at"),
    ]
    wanted = select(*columns).where(Score.benchmark == benchmark)
    rows = rows_of(engine, wanted.group_by(Score.asking, Score.judging))
    found = [ContractFacts(**row._mapping) for row in rows]
    return sorted(found, key=lambda c: (-c.runs, -c.recorded_at.timestamp(), c.id))


def scored_runs(engine: Engine, benchmark: str, asking: str, judging: str) -> list[ScoredRun]:
    """Return the runs with a score under one contract, the best first; ties by label."""
    columns = Run.id, Run.label, Run.kind, Run.base_run, Score.metric, Score.value
    wanted = select(*columns).join(Score, Score.run == Run.id)
    wanted = wanted.where(
        Score.benchmark == benchmark, Score.asking == asking, Score.judging == judging
    )
    found = [ScoredRun(**row._mapping) for row in rows_of(engine, wanted)]
    least = {one.id: one for one in sorted(found, key=lambda one: -k_of(one.metric))}
    return sorted(least.values(), key=lambda one: (-one.value, one.label, one.id))


def digest_of(engine: Engine, judging: str) -> str:
    """Return the sha256 of the file that a judging contract names; empty: none."""
    wanted = select(Contract.content["sha256"].as_string()).where(Contract.id == judging)
    return scalar_of(engine, wanted) or ""


def problem_of_completion(digest: str) -> ColumnElement[bool]:
    """Return the condition that a problem of a benchmark's file is what a completion answers."""
    return and_(
        Problem.benchmark == Completion.benchmark,
        Problem.task_id == Completion.task_id,
        Problem.digest == digest,
    )


def problem_names(engine: Engine, benchmark: str, digest: str) -> list[ProblemName]:
    """Return the problems of one version of a benchmark, in the order of its file."""
    wanted = select(*columns_of(Problem, ProblemName)).where(
        Problem.benchmark == benchmark, Problem.digest == digest
    )
    found = [ProblemName(**row._mapping) for row in rows_of(engine, wanted)]
    return sorted(found, key=lambda one: (one.position, one.task_id))


def mentioning(engine: Engine, benchmark: str, digest: str, words: str) -> set[str]:
    """Return the ids of the problems whose name, family or instruction has these words in it."""
    places = Problem.task_id, Problem.family, Problem.instruction
    wanted = select(Problem.task_id).where(
        Problem.benchmark == benchmark,
        Problem.digest == digest,
        or_(*(place.icontains(words, autoescape=True) for place in places)),
    )
    return set(scalars_of(engine, wanted))


def problem(engine: Engine, benchmark: str, digest: str, task_id: str) -> ProblemFacts | None:
    """Return one problem; None where the ledger holds none of that name."""
    key = Problem.benchmark == benchmark, Problem.digest == digest
    columns = columns_of(Problem, ProblemFacts)
    found = rows_of(engine, select(*columns).where(*key, Problem.task_id == task_id))
    if not found:
        return None
    position = found[0].position
    before = select(Problem.task_id).where(*key, Problem.position < position)
    after = select(Problem.task_id).where(*key, Problem.position > position)
    previous = scalar_of(engine, before.order_by(Problem.position.desc()).limit(1))
    following = scalar_of(engine, after.order_by(Problem.position).limit(1))
    return ProblemFacts(**found[0]._mapping, previous=previous, following=following)


def solved_by(
    engine: Engine,
    runs: Collection[str],
    benchmark: str,
    asking: str,
    judging: str,
    task_id: str,
) -> dict[str, Solved]:
    """Return how often each of some runs solved one problem, by run; without a verdict it lacks."""
    wanted = select(Tally.run, Tally.completions, Tally.passed).where(
        Tally.benchmark == benchmark,
        Tally.asking == asking,
        Tally.judging == judging,
        Tally.run.in_(runs),
        Tally.task_id == task_id,
    )
    return {
        row.run: Solved(completions=row.completions, passed=row.passed)
        for row in rows_of(engine, wanted)
    }


def answers_to(
    engine: Engine, run: str, benchmark: str, task_id: str, asking: str, judging: str
) -> list[AnswerFacts]:
    """Return a run's answers to one problem, by position."""
    verdict = and_(Verdict.completion == Completion.id, Verdict.judging == judging)
    columns = *columns_of(Completion, AnswerFacts), *columns_of(Verdict, AnswerFacts)
    wanted: Select[Any] = select(*columns).outerjoin(Verdict, verdict)
    wanted = wanted.where(
        Completion.benchmark == benchmark,
        Completion.asking == asking,
        Completion.run == run,
        Completion.task_id == task_id,
    )
    found = [AnswerFacts(**row._mapping) for row in rows_of(engine, wanted)]
    return sorted(found, key=lambda one: one.position)


def touched_by(engine: Engine, benchmark: str, digest: str, task_id: str) -> list[TouchedBy]:
    """Return the datasets whose rows touch one problem, by name and method."""
    columns = Touch.dataset, Dataset.name, Touch.method, Touch.rows, Touch.trained_on
    wanted = select(*columns).join(Dataset, Dataset.digest == Touch.dataset)
    wanted = wanted.where(
        Touch.benchmark == benchmark,
        Touch.benchmark_digest == digest,
        Touch.task_id == task_id,
    )
    found = [TouchedBy(**row._mapping) for row in rows_of(engine, wanted)]
    return sorted(found, key=lambda one: (one.name, one.dataset, one.method))
