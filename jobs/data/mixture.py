"""How often each row stands in the mixture: limits and weights of the sources."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from jobs.data.sources import Source

# N rows of a source


def repeats(numbers_N: NDArray[np.int64], source: Source) -> NDArray[np.int64]:
    """How often each row of one source is written; int64 [N], 0 leaves it out.

    `most` takes the rows whose scattered numbers are smallest, so a smaller limit takes a part of
    what a larger one takes. A weight of 2.3 writes every row twice and three in ten once more.
    Which rows these are follows from their numbers alone.
    """
    scattered_N = _scatter(numbers_N)
    taken_N = np.ones(len(numbers_N), dtype=np.bool_)
    if source.most is not None and source.most < len(numbers_N):
        taken_N[:] = False
        taken_N[np.argsort(scattered_N, kind="stable")[: source.most]] = True
    whole, part = divmod(source.weight, 1)
    again_N = _scatter(numbers_N ^ np.int64(0x5BD1E995)) < np.uint64(part * (2**64 - 1))
    return taken_N * (int(whole) + again_N.astype(np.int64))


def mixture(
    rows: Mapping[str, NDArray[np.int64]], sources: Mapping[str, Source]
) -> dict[str, NDArray[np.int64]]:
    """`repeats` of every source, by its name."""
    return {name: repeats(numbers, sources[name]) for name, numbers in rows.items()}


def _scatter(numbers_N: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Numbers spread evenly over 64 bits: the finaliser of SplitMix64 (Steele et al. 2014)."""
    x = numbers_N.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
