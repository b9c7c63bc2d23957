"""Which ranks a model may have on another draw of the problems."""

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from database.comparisons import SEED
from database.intervals import UPPER, Floats

DRAWS = 4_999


def rank_intervals(values: Floats, units: Sequence[str]) -> list[tuple[int, int]]:
    """The ranks from 2.5 to 97.5 % over a bootstrap of the problems, the same for all models.

    Rank 1 is the best; equal scores share the better rank. Of models that are truly equal the
    interval names a few ranks too few, for one of them leads on these problems (Hall & Miller
    2009, Ann. Stat. 37:3929).

    Args:
        values: (models, problems) of each problem, in [0, 1].
        units: what each problem was drawn with: its family, or itself.

    Returns:
        The best and the worst rank of each model.
    """
    solved = np.asarray(values, dtype=np.float64)
    return list(_remembered(solved.tobytes(), solved.shape, tuple(units)))


@lru_cache(maxsize=64)
def _remembered(
    values: bytes, shape: tuple[int, int], units: tuple[str, ...]
) -> tuple[tuple[int, int], ...]:
    """The same for what many draws of a page ask again."""
    solved = np.frombuffer(values).reshape(shape)
    codes = np.unique(np.asarray(units), return_inverse=True)[1]
    sizes = np.bincount(codes)
    totals = np.array([np.bincount(codes, weights=row) for row in solved]).T
    ranks = _ranks(_means(np.column_stack([sizes, np.round(totals, 12)])))
    bounds = np.quantile(ranks, [1 - UPPER, UPPER], axis=0, method="inverted_cdf")
    return tuple((int(best), int(worst)) for best, worst in bounds.T)


def _means(units: Floats) -> Floats:
    """(draws, models) scores; a row of `units` is the size of one and every model's total.

    Draws counts of the distinct rows: the same law, and fewer.
    """
    counts = Counter(map(tuple, units.tolist()))
    distinct = np.array(sorted(counts))
    sums = _draws(tuple(counts[row] for row in sorted(counts))) @ distinct
    return np.asarray(sums[:, 1:] / sums[:, :1], dtype=np.float64)


@lru_cache(maxsize=8)
def _draws(counts: tuple[int, ...]) -> NDArray[np.int64]:
    """(draws, distinct) how often each is drawn; nobody writes into it.

    Where no two problems are alike it is the same for any models.
    """
    number = sum(counts)
    shares = np.array(counts) / number
    draws = np.random.default_rng(SEED).multinomial(number, shares, size=DRAWS)
    draws.setflags(write=False)
    return draws


def _ranks(means: Floats) -> NDArray[np.int16]:
    """(draws, models): 1 and how many are better, by more than rounding."""
    order = np.argsort(-means, axis=1)
    falling = np.take_along_axis(means, order, axis=1)
    places = np.arange(means.shape[1], dtype=np.int16)
    first = np.zeros(means.shape, dtype=np.int16)
    first[:, 1:] = np.where(falling[:, :-1] > falling[:, 1:] + 1e-9, places[1:], 0)
    ranks = np.empty_like(first)
    np.put_along_axis(ranks, order, 1 + np.maximum.accumulate(first, axis=1), axis=1)
    return ranks
