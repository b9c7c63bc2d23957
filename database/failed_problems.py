"""Problems to try again by hand: those that a tuned model failed, and the text of any one."""

from dataclasses import dataclass

from sqlalchemy import Engine, and_, select
from sqlalchemy.orm import aliased

from database.problems import digest_of
from database.rows import columns_of, rows_of
from database.schema import Problem, Tally

AT_MOST = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedProblem:
    """A problem that no answer of a tuned model solved, though its base was asked the same."""

    benchmark: str
    judging: str
    """Contract under which it failed; it names the version of the benchmark."""
    task_id: str
    completions: int
    """Answers of the tuned model; none passed."""
    base_passed: int
    base_completions: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ProblemText:
    """What a problem asks, and its tests as the ledger keeps them."""

    task_id: str
    instruction: str
    prompt: str
    tests: str
    reference: str


def failed_problems(engine: Engine, tuned: str, base: str) -> list[FailedProblem]:
    """Return the problems that a run failed under a contract that its base shares.

    Those that the base solved come first, by how often; a problem of several contracts is named
    once, with the first of them. At most `AT_MOST`.
    """
    ours, theirs = aliased(Tally), aliased(Tally)
    shared = ("benchmark", "asking", "judging", "task_id")
    alike = and_(*(getattr(ours, name) == getattr(theirs, name) for name in shared))
    wanted = (
        select(
            ours.benchmark,
            ours.judging,
            ours.task_id,
            ours.completions,
            theirs.passed,
            theirs.completions,
        )
        .join(theirs, and_(alike, theirs.run == base))
        .where(ours.run == tuned, ours.passed == 0, ours.completions > 0)
        .order_by(theirs.passed.desc(), ours.benchmark, ours.task_id, ours.judging)
        .limit(AT_MOST)
    )
    found: dict[tuple[str, str], FailedProblem] = {}
    for row in rows_of(engine, wanted):
        failed = FailedProblem(**dict(zip(FailedProblem.__dataclass_fields__, row, strict=True)))
        found.setdefault((failed.benchmark, failed.task_id), failed)
    return list(found.values())


def problem_text(
    engine: Engine, benchmark: str, task_id: str, judging: str | None = None
) -> ProblemText | None:
    """Return a problem as it was judged under a contract; None: there is none of this name.

    Where no contract is given, it is of any version of its benchmark.
    """
    wanted = (
        select(*columns_of(Problem, ProblemText))
        .where(Problem.benchmark == benchmark, Problem.task_id == task_id)
        .order_by(Problem.digest)
        .limit(1)
    )
    if judging is not None:
        wanted = wanted.where(Problem.digest == digest_of(engine, judging))
    names = ProblemText.__dataclass_fields__
    found = [dict(zip(names, row, strict=True)) for row in rows_of(engine, wanted)]
    return ProblemText(**found[0]) if found else None
