"""Second stage: filters, what each row shares with problems of benchmarks, and its sketch."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.data.code import code_of, parse
from jobs.data.contamination import Index
from jobs.data.duplicates import Duplicates, sketch, write_sketch
from jobs.data.filters import Filters, sift
from jobs.data.row import SHARD_ROWS, Refused, Row, read_rows, write_rows
from jobs.data.tally import Tally
from jobs.home import written

_PROBLEM = [(name, pa.string()) for name in ("benchmark", "task_id")]
HITS = pa.schema(
    [("position", pa.int32()), ("method", pa.string()), *_PROBLEM, ("evidence", pa.string())]
)
NOMINATIONS = pa.schema(
    [
        ("position", pa.int32()),
        *_PROBLEM,
        ("function", pa.string()),
        ("by", pa.string()),
        ("strength", pa.float64()),
    ]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """Rows of one source that later stages look at together."""

    number: int
    """Its place among all: its first row has the number `number * SHARD_ROWS`."""
    source: str
    read: Path
    """The file of `reading`."""
    sifted: Path
    """The file of rows that pass every filter; beside it lie what belongs to it."""

    @property
    def hits(self) -> Path:
        """What its rows share with problems: `HITS`."""
        return self.sifted.with_suffix(".hits.parquet")

    @property
    def nominations(self) -> Path:
        """Problems that its rows may solve: `NOMINATIONS`."""
        return self.sifted.with_suffix(".nominations.parquet")

    @property
    def sketch(self) -> Path:
        """Its rows as the search for duplicates sees them."""
        return self.sifted.with_suffix(".sketch.parquet")

    @property
    def first_number(self) -> int:
        """Of its rows."""
        return self.number * SHARD_ROWS

    @property
    def rows(self) -> int:
        """How many passed every filter."""
        return int(pq.read_metadata(self.sifted).num_rows)


@dataclass(frozen=True, slots=True)
class Sieve:
    """What every shard is sifted with. Picklable."""

    filters: Filters
    index: Index
    duplicates: Duplicates


def sift_shard(sieve: Sieve, shard: Shard) -> Tally:
    """Sift one shard, unless that is done: `sifted`, and what lies beside it."""
    done = shard.sifted.with_suffix(".json")
    if not done.exists():
        tally = Tally()
        rows = _kept(sift(read_rows(shard.read), sieve.filters), tally)
        _compare(sieve.index, rows, shard)
        with written(shard.sketch) as temporary:
            write_sketch(sketch(rows, shard.first_number, sieve.duplicates), temporary)
        with written(shard.sifted) as temporary:
            write_rows(rows, temporary)
        with written(done) as temporary:
            tally.write(temporary)
    return Tally.read(done)


def _kept(sifted: Iterable[Row | Refused], tally: Tally) -> list[Row]:
    kept = []
    for row in sifted:
        if isinstance(row, Refused):
            tally.refuse(row)
        else:
            kept.append(row)
    return kept


def _compare(index: Index, rows: Sequence[Row], shard: Shard) -> None:
    hits, nominations = [], []
    for position, row in enumerate(rows):
        code = code_of(row)
        tree = parse(code) if code else None
        hits += [
            (position, hit.method, hit.benchmark, hit.task_id, hit.evidence)
            for hit in index.hits(row, code, tree)
        ]
        nominations += [
            (position, n.benchmark, n.task_id, n.function, n.by, n.strength)
            for n in index.nominate(row, code, tree)
        ]
    _write(hits, HITS, shard.hits)
    _write(nominations, NOMINATIONS, shard.nominations)


def _write(records: Sequence[tuple[Any, ...]], schema: pa.Schema, path: Path) -> None:
    columns = list(zip(*records, strict=True)) or [()] * len(schema)
    with written(path) as temporary:
        pq.write_table(pa.table([list(column) for column in columns], schema=schema), temporary)
