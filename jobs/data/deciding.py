"""Which rows are left out for what was found in them, and what the report says of it."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field

import pyarrow.parquet as pq

from jobs.data.report import Touch
from jobs.data.row import Refused, read_rows
from jobs.data.sifting import Shard
from jobs.data.tally import Tally
from jobs.data.trying import Tried

SHOWN_TOUCHES = 20
"""Rows that the report lists for one problem and method; all of them are counted."""
Problems = dict[str, dict[str, dict[str, int]]]
"""Benchmark -> problem -> method -> rows."""


@dataclass(frozen=True, slots=True)
class Found:
    """Something of a problem in a row."""

    number: int
    """Of the row."""
    row: str
    """Its place, `source/file:17`."""
    method: str
    benchmark: str
    task_id: str
    evidence: str

    @property
    def key(self) -> tuple[str, str, str]:
        """Benchmark, problem, method."""
        return self.benchmark, self.task_id, self.method


@dataclass(slots=True)
class Decisions:
    """What was decided over all shards."""

    tally: Tally = field(default_factory=Tally)
    refused: list[int] = field(default_factory=list)
    """Numbers of rows that are left out."""
    passed: list[int] = field(default_factory=list)
    """Numbers of rows that passed their tests."""
    found: list[Found] = field(default_factory=list)
    """In the order of the rows."""


@dataclass(slots=True)
class Touched:
    """Problems that rows have something of, as the report tells it."""

    touches: list[Touch] = field(default_factory=list)
    touched: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    """Benchmark, problem, method -> rows, trained on or not."""
    trained_on: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    """The same, rows that are in the mixture."""


@dataclass(frozen=True, slots=True)
class _Hit:
    position: int
    method: str
    benchmark: str
    task_id: str
    evidence: str


def decide(shards: Sequence[Shard], tried: Mapping[int, Tried], drop: Sequence[str]) -> Decisions:
    """Go through all shards in order; a row that fails its tests goes before one that touches.

    Args:
        shards: sifted.
        tried: number of a shard -> what running its rows showed.
        drop: methods of decontamination for which a row is left out; others only flag it.
    """
    decisions = Decisions()
    for shard in shards:
        outcome = tried.get(shard.number, Tried())
        hits = [*_hits(shard), *_solutions(outcome)]
        if hits or outcome.failed or outcome.passed:
            _decide_shard(decisions, shard, outcome, hits, drop)
    return decisions


def touched(found: Sequence[Found], left_out: Set[int]) -> Touched:
    """What of the finds is in the mixture.

    Args:
        found: in the order of the rows.
        left_out: numbers of all rows that are not written, for whatever reason.
    """
    result = Touched()
    for one in found:
        dropped = one.number in left_out
        result.touched[one.key] += 1
        if not dropped:
            result.trained_on[one.key] += 1
        if result.touched[one.key] <= SHOWN_TOUCHES:
            result.touches.append(
                Touch(
                    benchmark=one.benchmark,
                    task_id=one.task_id,
                    method=one.method,
                    row=one.row,
                    evidence=one.evidence[:200],
                    dropped=dropped,
                )
            )
    result.touches.sort(key=lambda t: (t.benchmark, t.task_id, t.method, t.row))
    return result


def nested(counts: Mapping[tuple[str, str, str], int]) -> Problems:
    """Counts as the report has them, in order of their names."""
    tree: Problems = defaultdict(lambda: defaultdict(dict))
    for (benchmark, task_id, method), rows in sorted(counts.items()):
        tree[benchmark][task_id][method] = rows
    return {benchmark: dict(problems) for benchmark, problems in tree.items()}


def _hits(shard: Shard) -> Iterator[_Hit]:
    for record in pq.read_table(shard.hits).to_pylist():
        yield _Hit(**record)


def _solutions(outcome: Tried) -> Iterator[_Hit]:
    for position, benchmark, task_id, function in outcome.solved:
        evidence = f"{function} passes its tests"
        yield _Hit(position, "execution", benchmark, task_id, evidence)


def _decide_shard(
    decisions: Decisions, shard: Shard, outcome: Tried, hits: list[_Hit], drop: Sequence[str]
) -> None:
    rows = read_rows(shard.sifted)
    refused = {
        position: ("execution", reason, found)
        for position, (reason, found) in outcome.failed.items()
    }
    for hit in sorted(hits, key=lambda hit: drop.index(hit.method) if hit.method in drop else 99):
        if hit.method in drop:
            found = f"{hit.benchmark} {hit.task_id}: {hit.evidence}"
            refused.setdefault(hit.position, ("contamination", hit.method, found))
    for position, (step, reason, found) in sorted(refused.items()):
        row = rows[position]
        decisions.tally.refuse(
            Refused(source=row.source, place=row.place, step=step, reason=reason, found=found[:200])
        )
        decisions.refused.append(shard.first_number + position)
    decisions.passed += [shard.first_number + p for p in outcome.passed if p not in refused]
    decisions.found += [
        Found(
            number=shard.first_number + hit.position,
            row=f"{rows[hit.position].source}/{rows[hit.position].place}",
            method=hit.method,
            benchmark=hit.benchmark,
            task_id=hit.task_id,
            evidence=hit.evidence,
        )
        for hit in hits
    ]
