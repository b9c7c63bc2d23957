"""Which rows may be alike: MinHash signatures cut into bands (Broder 1997; Leskovec, Rajaraman and
Ullman, Mining of Massive Datasets, section 3.4).

Two sets of Jaccard similarity s agree in one value of their signatures with probability s, and in
at least one whole band of r values among b bands with probability 1 - (1 - s^r)^b.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from rensa import RMinHash

from jobs.data.shingles import Sets, mixed

SEED = 42
"""Of the permutations. Another one finds other candidates, so it is no setting."""
LOST_WEIGHT = 0.95
"""How much a lost pair counts beside a false candidate.

datasketch and text-dedup weigh both alike by default, which finds 0.40 of the pairs at a threshold
of 0.8. Ours are verified: a false candidate costs a comparison, a lost pair stays in the data. With
this weight 0.947 of the pairs at 0.8 are candidates and 0.994 of those at 0.85.
"""

# N rows, B bands, R values in a band


@dataclass(frozen=True, slots=True)
class Banding:
    """How a signature is cut; values beyond `bands * values` are not used."""

    bands: int
    values: int

    def chance(self, similarity: float) -> float:
        """Probability that a pair of this similarity is a candidate."""
        return float(1 - (1 - similarity**self.values) ** self.bands)


@cache
def best_banding(threshold: float, permutations: int) -> Banding:
    """The banding with the least weighted area of false candidates and lost pairs.

    The areas are those under `chance` below the threshold and over it above, as in datasketch
    (`lsh.py`, `_optimal_param`) and text-dedup; similarities are taken as evenly spread.
    """
    similarities = (np.arange(1000) + 0.5) / 1000
    below = similarities < threshold
    options = [
        Banding(bands, values)
        for bands in range(1, permutations + 1)
        for values in range(1, permutations // bands + 1)
    ]

    def cost(option: Banding) -> float:
        chances = 1 - (1 - similarities**option.values) ** option.bands
        lost = LOST_WEIGHT * np.sum(1 - chances[~below])
        return float(lost + (1 - LOST_WEIGHT) * np.sum(chances[below]))

    return min(options, key=cost)


def band_keys(sets: Sets, permutations: int, banding: Banding) -> NDArray[np.uint64]:
    """A key of each band of each row; uint64 [N, B].

    Rows without shingles have keys too, which mean nothing. Two different bands share a key by
    chance once in 2^64.
    """
    offsets = np.append(sets.starts, len(sets.hashes)).astype(np.uint64)
    matrix = RMinHash.digest_matrix_from_flat_token_hashes(
        sets.hashes.astype(np.uint64), offsets, permutations, SEED
    )
    used = banding.bands * banding.values
    signatures = np.array(matrix.to_rows(), dtype=np.uint64).reshape(-1, permutations)[:, :used]
    values_NBR = signatures.reshape(-1, banding.bands, banding.values)
    keys_NB = np.zeros(values_NBR.shape[:2], dtype=np.uint64)
    for value in range(banding.values):
        keys_NB = mixed(keys_NB ^ values_NBR[:, :, value])
    return keys_NB
