"""Rows linked by candidates, directly or through others, and how they are dealt into parts."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

# N candidates, C components, P pairs of one file


@dataclass(frozen=True, slots=True)
class Components:
    """The rows that are in any pair, and the component of each."""

    numbers: NDArray[np.int64]
    """Ascending."""
    labels: NDArray[np.int32]

    @classmethod
    def of(cls, pairs: Sequence[Path]) -> Self:
        """Of files with columns `one` and `other`; one of them is in memory at a time."""
        numbers_N = np.empty(0, dtype=np.int64)
        for path in pairs:
            numbers_N = np.union1d(numbers_N, np.concatenate(_ends(path)))
        labels_N = np.arange(len(numbers_N), dtype=np.int32)
        for path in pairs:
            ones_P, others_P = (labels_N[np.searchsorted(numbers_N, end)] for end in _ends(path))
            links = coo_array(
                (np.ones(len(ones_P), dtype=np.int8), (ones_P, others_P)),
                shape=(len(labels_N),) * 2,
            )
            labels_N = connected_components(links, directed=False)[1][labels_N]
        return cls(numbers_N, labels_N)

    def parts(self, rows: int) -> NDArray[np.int32]:
        """For each candidate the part it is dealt to, counted from 0.

        Components stay whole; a part takes in components until it has `rows` rows.
        """
        sizes_C = np.bincount(self.labels)
        part_C = (np.cumsum(sizes_C) - sizes_C) // rows
        part_N: NDArray[np.int32] = np.unique(part_C[self.labels], return_inverse=True)[1]
        return part_N.astype(np.int32)


def _ends(path: Path) -> list[NDArray[np.int64]]:
    table = pq.read_table(path)
    return [table["one"].to_numpy(), table["other"].to_numpy()]
