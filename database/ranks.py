"""Which ranks a model may have on another draw of the problems."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

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
    codes = np.unique(np.asarray(units), return_inverse=True)[1]
    sizes = np.bincount(codes)
    totals = np.array([np.bincount(codes, weights=row) for row in values]).T
    ranks = _ranks(_means(np.column_stack([sizes, np.round(totals, 12)])))
    bounds = np.quantile(ranks, [1 - UPPER, UPPER], axis=0, method="inverted_cdf")
    return [(int(best), int(worst)) for best, worst in bounds.T]


def _means(units: Floats) -> Floats:
    """(draws, models) scores; a row of `units` is the size of one and every model's total.

    Draws counts of the distinct rows: the same law, and fewer.
    """
    counts = Counter(map(tuple, units.tolist()))
    distinct = np.array(sorted(counts))
    shares = np.array([counts[row] for row in sorted(counts)])
    number = int(shares.sum())
    draws = np.random.default_rng(SEED).multinomial(number, shares / number, size=DRAWS)
    sums = draws @ distinct
    return np.asarray(sums[:, 1:] / sums[:, :1], dtype=np.float64)


def _ranks(means: Floats) -> Floats:
    """(draws, models): 1 and how many are better, by more than rounding."""
    return np.stack([1 + (means > column[:, None] + 1e-9).sum(axis=1) for column in means.T], 1)
