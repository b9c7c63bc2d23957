"""Among rows that may be alike: which stay, and which row stands for each of the others.

Rows are taken best first. A row is left out when a row that stays, and that shares a band with it,
is as similar as the threshold; the most similar one stands for it, the better of two equal ones.
So every row that is left out is itself similar to one that stays: a chain a - b - c, of which a and
c are not alike, loses only b when a is the best of them, and only a and c when b is.

A row is compared with rows that *stay*, never with those left out. A hundred thousand near copies
of one row therefore cost a hundred thousand comparisons. Rows that share a band but are not alike
all stay, and each meets each; of these nearly all are told apart by their sizes and by 64 bytes
each (the bitmap filter of Sandes, Teodoro and Melo 2017), in some 70 nanoseconds: 13 seconds for
20 thousand such rows. Neither test ever parts a pair that is similar enough.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from jobs.data.shingles import Sets, similarities

_WORDS = 8
"""Of 64 bits in a bitmap."""
_CHUNK = 2048
"""Rows whose bitmaps are made at once, and sets that are compared at once."""

# N rows, B bands, G groups of two or more rows with equal band, W words of a bitmap


class Match(NamedTuple):
    """A row that is left out and the row that stands for it, as places among the rows."""

    left_out: int
    kept: int
    similarity: float


def left_out(sets: Sets, keys_NB: NDArray[np.uint64], threshold: float) -> Iterator[Match]:
    """What is left out of rows given best first, none of them without shingles."""
    groups = _Groups.of(keys_NB)
    filters = _Filters(sets, threshold)
    for place in range(len(keys_NB)):
        met = filters.passing(place, groups.kept_beside(place))
        match = _best(sets, place, met, threshold) if len(met) else None
        if match is None:
            groups.keep(place)
        else:
            yield match


def _best(sets: Sets, place: int, met: NDArray[np.int32], threshold: float) -> Match | None:
    found: list[float] = []
    for start in range(0, len(met), _CHUNK):
        others = [sets.of(other) for other in met[start : start + _CHUNK]]
        found += similarities(sets.of(place), others)
    best = int(np.argmax(found))
    return Match(place, int(met[best]), found[best]) if found[best] >= threshold else None


@dataclass(frozen=True, slots=True)
class _Groups:
    """For each group of rows with an equal band: those of its rows that stay."""

    groups: NDArray[np.int32]
    """Group of a row by its band; -1 where it is alone."""
    starts: NDArray[np.int64]
    filled: NDArray[np.int64]
    kept: NDArray[np.int32]
    """From each start on, as many as are filled."""

    @classmethod
    def of(cls, keys_NB: NDArray[np.uint64]) -> "_Groups":
        """None stays yet."""
        groups_NB = np.empty(keys_NB.shape, dtype=np.int32)
        sizes: list[NDArray[np.int64]] = []
        known = 0
        for band in range(keys_NB.shape[1]):
            _, inverse, counts = np.unique(
                keys_NB[:, band], return_inverse=True, return_counts=True
            )
            shared = counts > 1
            names = np.where(shared, known + np.cumsum(shared) - 1, -1)
            groups_NB[:, band] = names[inverse]
            sizes.append(counts[shared])
            known += int(shared.sum())
        sizes_G = np.concatenate(sizes)
        starts_G = np.cumsum(sizes_G) - sizes_G
        kept = np.empty(int(sizes_G.sum()), dtype=np.int32)
        return cls(groups_NB, starts_G, np.zeros(known, dtype=np.int64), kept)

    def kept_beside(self, place: int) -> NDArray[np.int32]:
        """Rows that stay and share a band with this one, ascending."""
        groups = self._of(place)
        starts, filled = self.starts[groups].tolist(), self.filled[groups].tolist()
        parts = [self.kept[s : s + n] for s, n in zip(starts, filled, strict=True) if n]
        if len(parts) < 2:
            return parts[0] if parts else self.kept[:0]
        met = np.sort(np.concatenate(parts))
        distinct: NDArray[np.int32] = met[np.append(True, met[1:] != met[:-1])]
        return distinct

    def keep(self, place: int) -> None:
        """Let a row stay."""
        groups = self._of(place)
        self.kept[self.starts[groups] + self.filled[groups]] = place
        self.filled[groups] += 1

    def _of(self, place: int) -> NDArray[np.int32]:
        groups: NDArray[np.int32] = self.groups[place][self.groups[place] >= 0]
        return groups


class _Filters:
    """Cheap tests that part most pairs below the threshold, and none that reaches it."""

    def __init__(self, sets: Sets, threshold: float) -> None:
        self._sizes_N = sets.sizes
        self._bitmaps_NW = _bitmaps(sets)
        # J >= t  <=>  |x & y| >= t / (1 + t) * (|x| + |y|); the slack is for rounding
        self._common_share = threshold / (1 + threshold) - 1e-9

    def passing(self, place: int, others: NDArray[np.int32]) -> NDArray[np.int32]:
        """Those of `others` that may be similar enough."""
        if not len(others):
            return others
        size = self._sizes_N[place]
        both = self._sizes_N[others] + size
        others = others[np.minimum(both - size, size) >= self._common_share * both]
        both = self._sizes_N[others] + size
        differing = np.bitwise_count(self._bitmaps_NW[others] ^ self._bitmaps_NW[place])
        # each bit that differs is owed to a shingle that only one of the two has
        apart = differing.sum(axis=1, dtype=np.uint16).astype(np.int64)
        passing: NDArray[np.int32] = others[both - apart >= 2 * self._common_share * both]
        return passing


def _bitmaps(sets: Sets) -> NDArray[np.uint64]:
    """Bit i of a row: whether it has an odd number of shingles with hash = i modulo 512."""
    bits = 64 * _WORDS
    maps_NW = np.empty((len(sets.sizes), _WORDS), dtype=np.uint64)
    for first in range(0, len(maps_NW), _CHUNK):
        rows = range(first, min(first + _CHUNK, len(maps_NW)))
        hashes = np.concatenate([sets.of(row) for row in rows]).astype(np.int64)
        owners = np.repeat(np.arange(len(rows)), sets.sizes[rows.start : rows.stop])
        counts = np.bincount(owners * bits + hashes % bits, minlength=len(rows) * bits)
        odd = np.packbits((counts & 1).astype(np.uint8)).view(np.uint64)
        maps_NW[rows.start : rows.stop] = odd.reshape(-1, _WORDS)
    return maps_NW
