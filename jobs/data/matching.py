"""The steps of the search for duplicates that run side by side, each from files to a file.

Copies are found by hash, one part of all hashes at a time. Candidates are found a band at a time,
by sorting its keys, as datatrove does. The rows that are anybody's candidate are then dealt into
parts, each with whole components of candidates, and each part is compared by itself.

Every file is written under a temporary name and renamed, and one that exists is not made again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from jobs.data.dealing import deal, gather
from jobs.data.similar import left_out

Keep = Literal["best", "first"]

PART_ROWS = 2_000_000
"""Rows whose hashes, or keys of one band, are in memory at once."""

_LENGTHS = np.uint64(2**32)
_MATCH = [("left_out", np.int64), ("kept", np.int64), ("similarity", np.float64)]


@dataclass(frozen=True, slots=True)
class Matching:
    """What every step needs to know; goes to the workers."""

    sketches: tuple[Path, ...]
    folder: Path
    """Of the files between the steps."""
    bands: tuple[str, ...]
    """Columns of the sketches; none where only copies are looked for."""
    parts: int
    """How many parts hashes and keys are cut into."""
    threshold: float
    keep: Keep

    def find_copies(self, part: int) -> Path:
        """Rows with a better row of equal text; columns `left_out`, `kept`."""
        path = self.folder / f"copies-{part}.parquet"
        if path.exists():
            return path
        refused = self.shared("refused")
        pieces = [self._hashes(sketch, part, refused) for sketch in self.sketches]
        numbers, standings, high, low = (
            np.concatenate(column) for column in zip(*pieces, strict=True)
        )
        order = np.lexsort((numbers, standings, low, high))
        numbers, high, low = numbers[order], high[order], low[order]
        first = np.append(True, (high[1:] != high[:-1]) | (low[1:] != low[:-1]))[: len(numbers)]
        kept = numbers[first][np.cumsum(first) - 1]
        return write(pa.table({"left_out": numbers[~first], "kept": kept[~first]}), path)

    def find_candidates(self, band_and_part: tuple[str, int]) -> Path:
        """Rows with an equal band; columns `one`, the first of each group, and `other`."""
        band, part = band_and_part
        path = self.folder / f"{band}-{part}.parquet"
        if path.exists():
            return path
        absent = self.shared("absent")
        pieces = [self._keys(sketch, band, part, absent) for sketch in self.sketches]
        numbers, keys = (np.concatenate(column) for column in zip(*pieces, strict=True))
        order = np.lexsort((numbers, keys))
        numbers, keys = numbers[order], keys[order]
        first = np.append(True, keys[1:] != keys[:-1])[: len(keys)]
        ones = numbers[first][np.cumsum(first) - 1]
        return write(pa.table({"one": ones[~first], "other": numbers[~first]}), path)

    def deal(self, shard: int) -> Path:
        """The candidates of one sketch, one batch for each part of the comparing."""
        path = self.folder / f"dealt-{shard}.arrow"
        if path.exists():
            return path
        candidates, parts = self.shared("candidates"), self.shared("parts")
        table = self._read(self.sketches[shard], ["shingles", *self.bands])
        table = table.filter(pa.array(among(table["number"].to_numpy(), candidates)))
        mine = parts[np.searchsorted(candidates, table["number"].to_numpy())]
        table = table.append_column("standing", pa.array(self._standings(table)))
        return deal(table.drop_columns(["tests", "length"]), mine, int(parts.max()) + 1, path)

    def compare(self, part: int) -> Path:
        """Rows with a better row that is similar; columns `left_out`, `kept`, `similarity`."""
        path = self.folder / f"near-{part}.parquet"
        if path.exists():
            return path
        dealt = [self.folder / f"dealt-{shard}.arrow" for shard in range(len(self.sketches))]
        rows = gather(dealt, part, self.bands)
        found = np.fromiter(left_out(rows.sets, rows.keys, self.threshold), dtype=_MATCH)
        columns = {end: rows.numbers[found[end]] for end in ("left_out", "kept")}
        return write(pa.table({**columns, "similarity": found["similarity"]}), path)

    def share(self, name: str, numbers: NDArray[Any]) -> None:
        """Lay down a list that the steps use."""
        temporary = self.folder / f"{name}.tmp.npy"
        np.save(temporary, numbers)
        temporary.rename(self.folder / f"{name}.npy")

    def shared(self, name: str) -> NDArray[Any]:
        """A list that was laid down."""
        return np.asarray(np.load(self.folder / f"{name}.npy"))

    def _hashes(
        self, sketch: Path, part: int, refused: NDArray[np.int64]
    ) -> tuple[NDArray[Any], ...]:
        table = self._read(sketch, ["exact"])
        exact = np.frombuffer(
            table["exact"].combine_chunks().buffers()[1], dtype="<u8", count=2 * len(table)
        ).reshape(-1, 2)
        numbers = table["number"].to_numpy()
        mine = (exact[:, 0] % np.uint64(self.parts) == part) & ~among(numbers, refused)
        return numbers[mine], self._standings(table)[mine], exact[mine, 0], exact[mine, 1]

    def _keys(
        self, sketch: Path, band: str, part: int, absent: NDArray[np.int64]
    ) -> tuple[NDArray[Any], ...]:
        table = pq.read_table(sketch, columns=["number", band]).drop_null()
        numbers, keys = table["number"].to_numpy(), table[band].to_numpy()
        mine = (keys % np.uint64(self.parts) == part) & ~among(numbers, absent)
        return numbers[mine], keys[mine]

    def _read(self, sketch: Path, columns: Sequence[str]) -> pa.Table:
        return pq.read_table(sketch, columns=["number", "tests", "length", *columns])

    def _standings(self, table: pa.Table) -> NDArray[np.uint64]:
        """How good each row is, the best lowest; rows that stand alike go by number."""
        if self.keep == "first":
            return np.zeros(len(table), dtype=np.uint64)
        passed = among(table["number"].to_numpy(), self.shared("passed"))
        tests = table["tests"].to_numpy()
        group = np.where(passed, 0, np.where(tests, 1, 2)).astype(np.uint64)
        standings: NDArray[np.uint64] = (group + 1) * _LENGTHS - table["length"].to_numpy()
        return standings


def among(numbers: NDArray[np.int64], ascending: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which numbers stand in an ascending list."""
    if not len(ascending):
        return np.zeros(len(numbers), dtype=np.bool_)
    places = np.minimum(np.searchsorted(ascending, numbers), len(ascending) - 1)
    there: NDArray[np.bool_] = ascending[places] == numbers
    return there


def write(table: pa.Table, path: Path) -> Path:
    """A Parquet file, there as a whole or not at all."""
    temporary = path.with_suffix(".tmp")
    pq.write_table(table, temporary)
    temporary.rename(path)
    return path
