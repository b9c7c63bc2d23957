"""Third stage: rows are run, against their own tests and against problems they may solve."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from eval_sandbox.mistakes import InputError
from eval_sandbox.problem import Problem
from jobs.data import report
from jobs.data.bench import Asked, Bench, Ending, Owner, Ran
from jobs.data.contamination import Contamination
from jobs.data.crew import Crew
from jobs.data.execution import Cases, Execution, answer, attempt, problem_of, telling_nothing
from jobs.data.nominations import Nomination
from jobs.data.report import read_stored
from jobs.data.row import Row, read_rows
from jobs.data.sifting import NOMINATIONS, Shard
from jobs.home import written

TRIAL_ROWS = 512
"""Few enough that every processor has some to run."""
_ORDER = [
    ("strength", "descending"),
    *((name, "ascending") for name in ("shard", *NOMINATIONS.names) if name != "strength"),
]
Solution = tuple[int, str, str, str]
"""Position of a row, benchmark, problem, and the function of the row that solves it."""


@dataclass(frozen=True, slots=True)
class Tried:
    """What running the rows of a shard showed; positions are places in the shard."""

    failed: dict[int, tuple[str, str]] = field(default_factory=dict)
    """Rows that are left out: the reason, and what happened."""
    passed: tuple[int, ...] = ()
    solved: tuple[Solution, ...] = ()
    with_tests: int = 0
    pairs: int = 0
    errors: int = 0
    """Runs without a verdict, a failure of ours: such a row stays."""


@dataclass(frozen=True, slots=True)
class Trial:
    """Some rows of a shard, to be run."""

    shard: Shard
    start: int
    """Position of the first of at most `TRIAL_ROWS` rows."""
    own: bool
    """Whether they are run against their own tests and a user's cases."""
    pairs: tuple[tuple[int, Nomination], ...]


@dataclass(frozen=True, slots=True)
class Trials:
    """All that is run, and what is not."""

    trials: tuple[Trial, ...]
    nominated: int
    """Pairs of a row and a problem; those beyond the recipe's `most_pairs` are not tried."""


@dataclass(frozen=True, slots=True)
class Trier:
    """What every shard is tried with. Picklable; its sandbox starts where it is first used."""

    spec: Execution
    cases: Cases
    problems: Mapping[Owner, Problem]
    bench: Bench
    folder: Path

    @classmethod
    def of(
        cls, spec: Execution, cases: Cases, problems: Mapping[str, Sequence[Problem]], folder: Path
    ) -> "Trier":
        """Of the problems of benchmarks, by name."""
        by_owner = {(name, p.task_id): p for name, listed in problems.items() for p in listed}
        return cls(spec, cases, by_owner, Bench(spec.judging(), by_owner), folder)


def choose(trier: Trier, shards: Sequence[Shard], spec: Contamination) -> Trials:
    """The shards that have anything to run: tests, or some of the likeliest pairs of all."""
    pairs, nominated = _likeliest(shards, spec.most_pairs)
    trials = []
    for shard in shards:
        own, likely = _has_tests(trier, shard), pairs.get(shard.number, [])
        for start in range(0, shard.rows if own or likely else 0, TRIAL_ROWS):
            mine = tuple(pair for pair in likely if start <= pair[0] < start + TRIAL_ROWS)
            if own or mine:
                trials.append(Trial(shard, start, own, mine))
    return Trials(tuple(trials), nominated)


def try_rows(trier: Trier, trial: Trial) -> Tried:
    """Run some rows of one shard, unless that is done."""
    done = trier.folder / f"{trial.shard.number:06d}-{trial.start:04d}.json"
    if not done.exists():
        rows = read_rows(trial.shard.sifted)
        numbered = list(enumerate(rows))[trial.start : trial.start + TRIAL_ROWS]
        own = _own_tests(trier, numbered if trial.own else [])
        tried = _with_pairs(trier, rows, trial.pairs, own)
        with written(done) as temporary:
            temporary.write_text(json.dumps(asdict(tried)))
    return read_stored(Tried, done)


def by_shard(trials: Trials, tried: Sequence[Tried]) -> dict[int, Tried]:
    """Number of a shard -> what running its rows showed, all trials together."""
    found: dict[int, Tried] = {}
    for trial, outcome in zip(trials.trials, tried, strict=True):
        before = found.get(trial.shard.number, Tried())
        found[trial.shard.number] = Tried(
            failed=before.failed | outcome.failed,
            passed=before.passed + outcome.passed,
            solved=before.solved + outcome.solved,
            with_tests=before.with_tests + outcome.with_tests,
            pairs=before.pairs + outcome.pairs,
            errors=before.errors + outcome.errors,
        )
    return found


def convincing(tried: Mapping[int, Tried], trier: Trier, crew: Crew) -> dict[int, Tried]:
    """The same without solutions of problems that also accept a function which does nothing."""
    solved = {
        (benchmark, task_id)
        for outcome in tried.values()
        for _, benchmark, task_id, _ in outcome.solved
    }
    weak = telling_nothing(
        {owner: trier.problems[owner] for owner in sorted(solved)}, trier.spec.judging(), crew
    )
    return {number: _without(outcome, weak) for number, outcome in tried.items()}


def executed(trials: Trials, tried: Iterable[Tried]) -> report.Execution:
    """The counts of the report."""
    outcomes = list(tried)
    return report.Execution(
        rows_with_tests=sum(outcome.with_tests for outcome in outcomes),
        rows_passed=sum(len(outcome.passed) for outcome in outcomes),
        pairs_nominated=trials.nominated,
        pairs_tried=sum(outcome.pairs for outcome in outcomes),
        pairs_solved=sum(len(outcome.solved) for outcome in outcomes),
        sandbox_errors=sum(outcome.errors for outcome in outcomes),
    )


def _likeliest(
    shards: Sequence[Shard], most: int
) -> tuple[dict[int, list[tuple[int, Nomination]]], int]:
    """Number of a shard -> its pairs that are run; and how many there are in all."""
    top: pa.Table | None = None
    nominated = 0
    for shard in shards:
        table = pq.read_table(shard.nominations)
        nominated += table.num_rows
        numbered = table.append_column(
            "shard", pa.array([shard.number] * table.num_rows, pa.int64())
        )
        both = numbered if top is None else pa.concat_tables([top, numbered])
        top = both.take(pc.sort_indices(both, _ORDER)[:most])
    chosen: dict[int, list[tuple[int, Nomination]]] = {}
    for pair in top.to_pylist() if top is not None else []:
        number, position = pair.pop("shard"), pair.pop("position")
        chosen.setdefault(number, []).append((position, Nomination(**pair)))
    return chosen, nominated


def _has_tests(trier: Trier, shard: Shard) -> bool:
    if trier.spec.without_tests == "drop" or trier.cases:
        return True
    if trier.spec.tests == "keep":
        return False
    tests = pq.read_table(shard.sifted, columns=["tests"])["tests"]
    return bool(pc.any(pc.not_equal(tests, "")).as_py())


def _own_tests(trier: Trier, numbered: Sequence[tuple[int, Row]]) -> Tried:
    failed: dict[int, tuple[str, str]] = {}
    asked: list[tuple[int, Asked]] = []
    for position, row in numbered:
        try:
            problems = _problems(trier, row)
        except InputError as error:
            failed[position] = ("unreadable_tests", str(error))
            continue
        if not problems and trier.spec.without_tests == "drop":
            failed[position] = ("no_tests", "neither tests nor a case for it")
        asked += [(position, (problem, answer(row, problem))) for problem in problems]
    results = zip(asked, trier.bench([pair for _, pair in asked]), strict=True)
    return _judged(failed, [(position, ran) for (position, _), ran in results])


def _problems(trier: Trier, row: Row) -> list[Problem]:
    own = problem_of(row) if trier.spec.tests == "require" else None
    return [*([own] if own else []), *trier.cases.of(row)]


def _judged(failed: dict[int, tuple[str, str]], results: Sequence[tuple[int, Ran]]) -> Tried:
    errors = 0
    passed = dict.fromkeys(position for position, _ in results)
    for position, ran in results:
        if ran.ending is not Ending.SOLVED:
            passed.pop(position, None)
        if ran.ending is Ending.SANDBOX_ERROR:
            errors += 1
        elif ran.ending is Ending.NOT:
            failed.setdefault(position, ("tests", ran.found))
    return Tried(
        failed=failed,
        passed=tuple(passed),
        with_tests=len({position for position, _ in results}),
        errors=errors,
    )


def _with_pairs(
    trier: Trier, rows: Sequence[Row], pairs: Sequence[tuple[int, Nomination]], own: Tried
) -> Tried:
    asked: list[Asked] = []
    for position, named in pairs:
        owner = (named.benchmark, named.task_id)
        asked.append((owner, attempt(named, rows[position], trier.problems[owner])))
    endings = [ran.ending for ran in trier.bench(asked)]
    solved = tuple(
        (position, named.benchmark, named.task_id, named.function)
        for (position, named), ending in zip(pairs, endings, strict=True)
        if ending is Ending.SOLVED
    )
    return Tried(
        failed=own.failed,
        passed=own.passed,
        solved=solved,
        with_tests=own.with_tests,
        pairs=len(endings),
        errors=own.errors + endings.count(Ending.SANDBOX_ERROR),
    )


def _without(outcome: Tried, weak: frozenset[Owner]) -> Tried:
    kept = tuple(found for found in outcome.solved if (found[1], found[2]) not in weak)
    return replace(outcome, solved=kept)
