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

    The number of problems over the design effect, with the degrees of freedom of the units: Korn
    & Graubard 1998 (Survey Methodology 24:193) and, for Wilson, Franco et al. 2019 (J. Survey
    Stat. Methodol. 7:334). Without variance between units it counts the units.
    """
    n, value = len(values), float(values.mean())
    codes = np.unique(np.asarray(units), return_inverse=True)[1]
    count = int(codes.max()) + 1
    if count == n and bool(np.isin(values, (0.0, 1.0)).all()):
        return n
    totals = np.bincount(codes, weights=values - value)
    variance = float(totals @ totals) / n**2
    if count < 2 or variance < 1e-15:
        return count
    simple = value * (1 - value) / (n - 1)
    design_effect = variance * count / (count - 1) / simple
    freedom = (Z / float(special.stdtrit(count - 1, UPPER))) ** 2
    return min(n / design_effect * freedom, answers)


def wilson(value: float, problems: float) -> Interval:
    """Wilson's interval of a share; `problems` need not be whole."""
    shrink = 1 + Z**2 / problems
    centre = (value + Z**2 / (2 * problems)) / shrink
    half = Z / shrink * (value * (1 - value) / problems + Z**2 / (4 * problems**2)) ** 0.5
    low, high = float(centre - half), float(centre + half)
    return Interval(value=value, low=max(0.0, min(low, value)), high=min(1.0, max(high, value)))
