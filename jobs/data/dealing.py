"""Candidates dealt from sketches into parts, and a part gathered again, its best row first."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from jobs.data.shingles import Sets

# N rows of a part, B bands


@dataclass(frozen=True, slots=True)
class Dealt:
    """The rows of one part, best first."""

    numbers: NDArray[np.int64]
    keys: NDArray[np.uint64]
    """Of the bands; [N, B]."""
    sets: Sets


def deal(table: pa.Table, part_N: NDArray[np.int32], parts: int, path: Path) -> Path:
    """Write rows so that those of a part can be read by themselves.

    Args:
        table: columns `number`, `standing`, the bands and `shingles`.
        part_N: of each row.
        parts: how many there are; most may have no row here.
        path: of the file, which is there as a whole or not at all.
    """
    temporary = path.with_suffix(".tmp")
    with pa.ipc.new_file(temporary, table.schema) as file:
        for part in range(parts):
            rows = table.filter(pa.array(part_N == part)).combine_chunks().to_batches()
            file.write_batch(rows[0] if rows else _no_rows(table.schema))
    temporary.rename(path)
    return path


def gather(paths: Sequence[Path], part: int, bands: Sequence[str]) -> Dealt:
    """The rows of a part; a lower standing is better, then a lower number.

    Files are mapped one at a time, twice, and each value is copied once to where it belongs: at no
    time is a part in memory twice.
    """
    short = [_short(path, part) for path in paths]
    numbers_N, standings_N, sizes_N = (
        np.concatenate(column) for column in zip(*short, strict=True)
    )
    order = np.lexsort((numbers_N, standings_N))
    place_N = np.empty_like(order)
    place_N[order] = np.arange(len(order))
    starts_N = np.cumsum(sizes_N) - sizes_N
    hashes = np.empty(int(sizes_N.sum()), dtype=np.uint32)
    keys_NB = np.empty((len(order), len(bands)), dtype=np.uint64)
    row = hash_ = 0
    for path in paths:
        batch = _batch(path, part)
        values = _values(batch)
        hashes[hash_ : hash_ + len(values)] = values
        for band, name in enumerate(bands):
            keys_NB[place_N[row : row + len(batch)], band] = batch[name].to_numpy()
        row, hash_ = row + len(batch), hash_ + len(values)
    return Dealt(numbers_N[order], keys_NB, Sets(hashes, starts_N[order], sizes_N[order]))


def _short(
    path: Path, part: int
) -> tuple[NDArray[np.int64], NDArray[np.uint64], NDArray[np.int64]]:
    batch = _batch(path, part)
    columns = batch["number"].to_numpy().copy(), batch["standing"].to_numpy().copy()
    return *columns, np.diff(batch["shingles"].offsets.to_numpy())


def _values(batch: pa.RecordBatch) -> NDArray[np.uint32]:
    lists = batch["shingles"]
    values: NDArray[np.uint32] = lists.values.to_numpy()
    return (
        values[lists.offsets[0].as_py() : lists.offsets[-1].as_py()] if len(lists) else values[:0]
    )


def _batch(path: Path, part: int) -> pa.RecordBatch:
    with pa.memory_map(str(path)) as file:
        return pa.ipc.open_file(file).get_batch(part)


def _no_rows(schema: pa.Schema) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist([], schema=schema)
