"""How small a difference a benchmark can tell."""

from collections.abc import Sequence
from functools import lru_cache
from statistics import median

import numpy as np
from numpy.typing import NDArray
from scipy import special

from database.comparisons import SIGNIFICANCE, Noise
from database.intervals import UPPER, Floats

POWER = 0.8
USUAL_DISCORDANT = 0.2
"""Share of the problems that exactly one side solves, where no comparison shows any."""


def smallest_gap(units: int, noises: Sequence[Noise]) -> float | None:
    """The smallest true gap that a comparison like these finds with 80 % power.

    Pairs of single answers: McNemar's exact test at the median of their shares of discordant
    problems. Else (t(0.975) + t(0.8)) times the median standard error, t of Student's law with
    one degree of freedom less than there are units (Bloom 1995, Evaluation Review 19:547).

    Args:
        units: families asked of each side, or problems where they have none; at least 1.
        noises: of the comparisons in view; none: single answers, and a fifth of them discordant.

    Returns:
        A fraction; None: no gap is found so often.
    """
    if not noises:
        return detectable_gap(units, USUAL_DISCORDANT)
    if all(noise.single for noise in noises):
        share = median(noise.differing for noise in noises)
        return detectable_gap(units, max(share, 1 / units))
    gaps = [_gap(noise) for noise in noises if noise.units > 1]
    return min(1.0, median(gaps)) if gaps else None


@lru_cache(maxsize=64)
def detectable_gap(problems: int, discordant: float = USUAL_DISCORDANT) -> float | None:
    """The smallest true gap that McNemar's exact test finds with 80 % power.

    Args:
        problems: asked once of each side; at least 1.
        discordant: share of problems that exactly one side solves, in (0, 1]; a wider gap brings
            as many with it.

    Returns:
        A fraction, in steps of 0.005; None: not even a gap of all problems is found.
    """
    critical = _critical(np.arange(1, problems + 1))
    for thousandths in range(5, 1001, 5):
        gap = thousandths / 1000
        if _power(critical, max(discordant, gap), gap) >= POWER:
            return gap
    return None


def _gap(noise: Noise) -> float:
    freedom = noise.units - 1
    return noise.error * float(special.stdtrit(freedom, UPPER) + special.stdtrit(freedom, POWER))


def _power(critical: Floats, discordant: float, gap: float) -> float:
    """Chance that McNemar's exact test finds `gap`, summed over the discordant problems seen."""
    problems = len(critical)
    share = (discordant + gap) / (2 * discordant)
    seen = np.arange(1, problems + 1)
    found = special.bdtr(critical, seen, 1 - share) + special.bdtr(critical, seen, share)
    found = np.where(critical < 0, 0.0, found)
    at_most = special.bdtr(np.arange(problems + 1), problems, discordant)
    return float(np.diff(at_most) @ found)


def _critical(seen: NDArray[np.int64]) -> Floats:
    """The most problems lost of those `seen` to differ that still give p < 0.05; -1: none do."""
    near = np.floor(np.nan_to_num(special.bdtrik(SIGNIFICANCE / 2, seen, 0.5), nan=-1.0))
    found = np.full(len(seen), -1.0)
    for losses in (near - 1, near, near + 1):  # the inverse is right to a rounding
        within = (losses >= 0) & (special.bdtr(losses, seen, 0.5) < SIGNIFICANCE / 2)
        found = np.where(within, losses, found)
    return found
