"""The 95 % interval of one score.

Problems are the sampling unit (Miller 2024, arXiv:2411.00640), or families of problems where they
share one: an interval says what another draw of such problems would give. It says nothing of
another training seed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

UPPER = 0.975
"""Of a two-sided 95 % interval."""
Z = float(special.ndtri(UPPER))
PRIOR = 0.125
"""Of a unit; so little keeps the intervals at the edges honest (`benchmarks/intervals.py`)."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A value in [0, 1] and the bounds of its 95 % interval."""

    value: float
    low: float
    high: float


def interval_of(values: Floats, units: Sequence[str], answers: int) -> Interval:
    """The interval of a mean of shares, which stays honest at 0 and 1.

    Wilson's score interval (1927) at an effective number of problems, see `effective_problems`.
    One answer to each of independent problems gives Wilson's own interval.

    Args:
        values: of each problem, in [0, 1]; at least one.
        units: what each problem was drawn with: its family, or itself.
        answers: to all problems together; the mean cannot tell more than so many alone.
    """
    value = float(values.mean())
    return wilson(value, effective_problems(values, units, answers))


def effective_problems(values: Floats, units: Sequence[str], answers: int) -> float:
    """How many independent problems, answered once each, would tell as much.

    At least as many as there are units, weighed by their sizes: then each passes or fails whole
    (Kish 1965). The less the units differ, the more; that part is discounted by Student's t for
    how few they are (Korn & Graubard 1998, Survey Methodology 24:193; for Wilson's interval,
    Franco et al. 2019, J. Survey Stat. Methodol. 7:334). How much they differ is counted with
    `PRIOR` of a unit passed and failed whole, without which one answer that passed among many
    that failed would look like certainty.
    """
    codes = np.unique(np.asarray(units), return_inverse=True)[1]
    totals = np.bincount(codes, weights=values).astype(np.float64)
    sizes: Floats = np.bincount(codes).astype(np.float64)
    whole = float(sizes.sum() ** 2 / (sizes @ sizes))
    freedom = max(len(sizes) - 1, 1)
    discount = (Z / float(special.stdtrit(freedom, UPPER))) ** 2
    more = 1 / _likeness(totals, sizes) - 1
    return min(whole * (1 + discount * more), max(whole, answers))


def _likeness(totals: Floats, sizes: Floats) -> float:
    """The units' variance over what it would be were each passed or failed whole, in (0, 1]."""
    usual = float(sizes.mean())
    mean = float((totals.sum() + PRIOR * usual) / (sizes.sum() + 2 * PRIOR * usual))
    apart = totals - mean * sizes
    seen = float(apart @ apart) + PRIOR * usual**2 * ((1 - mean) ** 2 + mean**2)
    most = mean * (1 - mean) * (float(sizes @ sizes) + 2 * PRIOR * usual**2)
    return min(seen / most, 1.0)


def wilson(value: float, problems: float) -> Interval:
    """Wilson's interval of a share; `problems` need not be whole."""
    shrink = 1 + Z**2 / problems
    centre = (value + Z**2 / (2 * problems)) / shrink
    half = Z / shrink * (value * (1 - value) / problems + Z**2 / (4 * problems**2)) ** 0.5
    low, high = float(centre - half), float(centre + half)
    return Interval(value=value, low=max(0.0, min(low, value)), high=min(1.0, max(high, value)))
