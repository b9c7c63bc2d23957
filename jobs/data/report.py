"""What became of every row of a dataset: the report that is stored, shown and carried to cards.

`report.json` beside the prepared rows is `asdict(Report)`. All lists are in a stated order, so the
same recipe gives the same bytes.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter

Stored = TypeVar("Stored")


@dataclass(frozen=True, slots=True, kw_only=True)
class Drop:
    """Rows of one source that one step left out."""

    source: str
    step: str
    """`reading`, `filters`, `execution`, `contamination`, `duplicates`, `mixture`."""
    reason: str
    """Name of the filter or method: `longest_line`, `near`, `ngram13` ..."""
    rows: int
    examples: tuple[str, ...]
    """At most three: place of the row and what was found, the latter cut to 200 characters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceCount:
    """What one source gave, and under which terms."""

    source: str
    licence: str
    """SPDX expression as declared; rows of a checkout may have others."""
    attribution: str
    terms: str
    """Terms beyond the licence, in words; mostly empty."""
    rows_in: int
    rows_out: int
    """Distinct rows that are in the mixture."""
    rows_written: int
    """With repeats that a weight above 1 asks for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DuplicatePair:
    """A row that was left out and the row that stands for it."""

    left_out: str
    kept: str
    """Places, `source/file:17`."""
    kind: str
    """`exact` or `near`."""
    similarity: float
    """True Jaccard of the shingles, in [0, 1]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Touch:
    """A row that has something of a benchmark's problem in it."""

    benchmark: str
    task_id: str
    method: str
    """`substring`, `ngram8`, `ngram10`, `ngram13`, `syntax` or `execution`."""
    row: str
    """Place of the row, `source/file:17`."""
    evidence: str
    """What both have in common, cut to 200 characters."""
    dropped: bool
    """False: only flagged, the row was trained on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """What was run in the sandbox."""

    rows_with_tests: int
    rows_passed: int
    pairs_nominated: int
    """Row and problem, nominated for the question whether the row's code solves the problem."""
    pairs_tried: int
    pairs_solved: int
    sandbox_errors: int
    """Runs without a verdict: a failure of ours, which drops no row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """Tokens of prompt and response together, by one model's tokenizer."""

    tokenizer: str
    edges: tuple[int, ...]
    """Bin i holds rows of edges[i] <= tokens < edges[i + 1]; the last is open above."""
    counts: tuple[int, ...]
    longest: int
    total: int
    """Tokens of one pass over the mixture."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All of it."""

    dataset: str
    digest: str
    """12 hex digits of what was prepared: the name of its folder."""
    rows_in: int
    rows_out: int
    rows_written: int
    sources: tuple[SourceCount, ...]
    """In the order of the recipe."""
    drops: tuple[Drop, ...]
    """By source, step, reason."""
    duplicates: tuple[DuplicatePair, ...]
    """The first 1,000; all of them are in duplicates.parquet."""
    duplicate_pairs: int
    touches: tuple[Touch, ...]
    """By benchmark, problem, method, row: at most 20 a problem and method."""
    touched: dict[str, dict[str, dict[str, int]]]
    """benchmark -> task_id -> method -> rows, over all rows, dropped and flagged alike."""
    trained_on: dict[str, dict[str, dict[str, int]]]
    """The same over rows that were only flagged, so are in the mixture."""
    execution: Execution
    lengths: tuple[Lengths, ...]
    licence: str
    """The strictest term of all that is in the mixture."""
    attributions: tuple[str, ...]
    """One line for each source that needs it."""
    terms: tuple[str, ...]
    benchmarks: dict[str, str]
    """Benchmarks that the rows were compared with, and the sha256 of their files."""


def read_stored(kind: type[Stored], path: Path) -> Stored:
    """A report, or a part of one, from a file of its `asdict` as JSON."""
    return TypeAdapter(kind).validate_json(path.read_bytes())
