"""Problems that better runs fail more often than worse ones: their tests may be wrong."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from database.intervals import Floats

RUNS_AT_LEAST = 8
"""With fewer a correlation says next to nothing."""
CHANCE = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspicion:
    """How solving one problem goes with how many of the others are solved."""

    correlation: float
    """In [-1, 1]; below 0: the better a run is, the less it solves this problem."""
    p: float
    """One-sided chance of one at least this far below 0 were there none."""

    @property
    def suspect(self) -> bool:
        """Whether chance alone would seldom do that."""
        return self.correlation < 0 and self.p < CHANCE


def suspicions(values: Sequence[Sequence[float]]) -> list[Suspicion | None]:
    """Return the suspicion of each problem.

    The correlation is Pearson's between the share of its answers that pass and the mean share over
    all other problems, over runs; with one answer each, that is the point-biserial one. p is
    Student's with two degrees of freedom less than there are runs.

    Args:
        values: shares in [0, 1], a row for each run and a column for each problem.

    Returns:
        None for a problem on which all runs do alike, and for all with fewer than `RUNS_AT_LEAST`
        runs or 2 problems.
    """
    shares = np.asarray(values, dtype=np.float64)
    runs, problems = shares.shape if shares.ndim == 2 else (0, 0)
    if runs < RUNS_AT_LEAST or problems < 2:
        return [None] * problems
    others = (shares.sum(axis=1, keepdims=True) - shares) / (problems - 1)
    return [_suspicion(mine, rest) for mine, rest in zip(shares.T, others.T, strict=True)]


def _suspicion(mine: Floats, rest: Floats) -> Suspicion | None:
    mine, rest = mine - mine.mean(), rest - rest.mean()
    spread = float(np.sqrt((mine**2).sum() * (rest**2).sum()))
    if spread < 1e-12:
        return None
    correlation = float(np.clip((mine * rest).sum() / spread, -1.0, 1.0))
    freedom = len(mine) - 2
    if abs(correlation) == 1.0:
        return Suspicion(correlation=correlation, p=0.0 if correlation < 0 else 1.0)
    t = correlation * np.sqrt(freedom / (1 - correlation**2))
    return Suspicion(correlation=correlation, p=float(special.stdtr(freedom, t)))
