"""How often each row stands in the mixture: limits and weights of the sources."""

import numpy as np
from numpy.typing import NDArray

from jobs.data.origin import Source
from jobs.data.shingles import mixed

# N rows of a source


def repeats(numbers_N: NDArray[np.int64], source: Source) -> NDArray[np.int64]:
    """How often each row of one source is written; int64 [N], 0 leaves it out.

    `most` takes the rows whose scattered numbers are smallest, so a smaller limit takes a part of
    what a larger one takes. A weight of 2.3 writes every row twice and three in ten once more.
    Which rows these are follows from their numbers alone.
    """
    scattered_N = mixed(numbers_N.astype(np.uint64))
    taken_N = np.ones(len(numbers_N), dtype=np.bool_)
    if source.most is not None and source.most < len(numbers_N):
        taken_N[:] = False
        taken_N[np.argsort(scattered_N, kind="stable")[: source.most]] = True
    whole, part = divmod(source.weight, 1)
    other_N = mixed(numbers_N.astype(np.uint64) ^ np.uint64(0x5BD1E995))
    again_N = other_N < np.uint64(part * (2**64 - 1))
    return taken_N * (int(whole) + again_N.astype(np.int64))
