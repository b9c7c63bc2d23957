"""One row of training data, and how a shard of rows lies on disk."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

SHARD_ROWS = 4096
"""Most rows in a shard; the number of a row is `shard * SHARD_ROWS + position`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """An instruction and the response a model shall learn, with where they came from."""

    instruction: str
    """Empty for plain code, which is learnt without a question."""
    input: str = ""
    response: str
    tests: str = ""
    """A JSON list in the custom form of `eval_sandbox.custom`: `{args, kwargs, expected}`,
    `{stdin, stdout}` or the text of an assert; empty where there are none."""
    entry_point: str = ""
    """The function that tests with `args` call."""
    preamble: str = ""
    """Code that the response is run after; never trained on."""
    source: str
    """Name of its source in the recipe."""
    place: str
    """File and record, counted from 1: `rows.jsonl:17`."""
    licence: str
    """SPDX expression."""
    attribution: str = ""

    @property
    def listed_tests(self) -> list[Any]:
        """The tests as values."""
        return list(json.loads(self.tests)) if self.tests else []


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A row that one step left out, and why."""

    source: str
    place: str
    step: str
    """`reading`, `filters`, `execution`, `contamination`, `duplicates` or `mixture`."""
    reason: str
    """The filter's or method's name."""
    found: str
    """What was found, cut to 200 characters."""


SCHEMA = pa.schema([(field.name, pa.large_string()) for field in fields(Row)])


def write_rows(rows: Sequence[Row], path: Path) -> None:
    """One Parquet file; the same rows give the same bytes."""
    columns = {name: [getattr(row, name) for row in rows] for name in SCHEMA.names}
    pq.write_table(pa.table(columns, schema=SCHEMA), path, compression="zstd", version="2.6")


def read_rows(path: Path) -> list[Row]:
    """The rows of one Parquet file that `write_rows` wrote."""
    return [Row(**record) for record in pq.read_table(path, schema=SCHEMA).to_pylist()]


def stream(paths: Iterable[Path]) -> Iterator[Row]:
    """The rows of many files, one file in memory at a time."""
    for path in paths:
        yield from read_rows(path)
