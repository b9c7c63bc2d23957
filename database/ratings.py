"""What blind votes say of models: a Bradley-Terry rating, kept apart from every benchmark score.

The model (Bradley & Terry 1952, Biometrika 39:324): A is preferred to B with the chance
s(a - b), s being the logistic function. Strengths are fitted by maximum likelihood.

- A tie counts as half a vote for each side, so that chances are shares of votes with ties shared
  out. (Davidson 1970, JASA 65:317, has a parameter for ties; it changes no order here and makes
  the chances harder to say.)
- "Both bad" does not enter the fit: it says that neither answer was of use, not which was
  nearer. Counted as ties, as boards after Chiang et al. 2024 (arXiv:2403.04132) do, such votes
  would pull two weak models together however clear the rest is. They are shown beside the rating.
- Each model is given one tie more, spread over the models that it met. A model that won every vote
  would else be infinitely strong (Ford 1957, Am. Math. Mon. 64(8):28). For two models this is
  half a vote for each side, Anscombe's correction of the log odds (1956, Biometrika 43:461).
- Intervals are of 95 %, from the sandwich estimator of the covariance (White 1982,
  Econometrica 50:1), which a tie, less surprising than a won vote, does not widen.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

from database.intervals import Floats, Interval, Z

Choice = Literal["a", "b", "tie", "both_bad"]
FEWEST = 30
"""Votes for or against a model, ties included, before it is rated."""
MEAN = 1000.0
"""The mean rating of the models that are rated."""
POINTS = 400 / np.log(10)
"""Of a unit of strength: as in chess, 400 points more are ten votes to one."""
WORTH = {"a": 1.0, "b": 0.0, "tie": 0.5}
"""Of a vote for the side `a`; `both_bad` has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VoteCount:
    """How many blind votes on two runs, in this order, came to one choice."""

    run_a: str
    run_b: str
    choice: Choice
    votes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Rating:
    """What the votes say of one run; `value`, `low` and `high` are null where it is not rated."""

    run: str
    votes: int
    """That say something of the order: all but `both_bad`."""
    both_bad: int
    missing: int = 0
    """Votes until it can be rated."""
    apart: bool = False
    """It has votes enough, but no rated model that votes connect it with."""
    alone: bool = False
    """It has votes enough, but no model that votes connect it with has."""
    value: float | None = None
    low: float | None = None
    high: float | None = None
    against_base: Interval | None = None
    """The chance that it is preferred to its base; null: one of both is not rated."""


@dataclass(frozen=True, slots=True)
class Fit:
    """Strengths of runs that are connected by votes; their sum is 0."""

    runs: list[str]
    strengths: Floats
    """(runs,) in log odds."""
    covariance: Floats
    """(runs, runs) of the strengths."""

    def chance(self, run: str, other: str) -> Interval:
        """The chance that `run` is preferred to `other`, ties shared out."""
        contrast = np.zeros(len(self.runs))
        contrast[self.runs.index(run)] = 1
        contrast[self.runs.index(other)] -= 1
        value, low, high = (float(special.expit(x)) for x in self._bounds(contrast))
        return Interval(value=value, low=low, high=high)

    def rating(self, run: str, among: Collection[str]) -> tuple[float, float, float]:
        """The rating of `run` and its bounds, where the mean of `among` is `MEAN`."""
        contrast = np.array([-(name in among) / len(among) for name in self.runs])
        contrast[self.runs.index(run)] += 1
        value, low, high = (MEAN + POINTS * x for x in self._bounds(contrast))
        return value, low, high

    def _bounds(self, contrast: Floats) -> tuple[float, float, float]:
        value = float(contrast @ self.strengths)
        error = max(0.0, float(contrast @ self.covariance @ contrast)) ** 0.5
        return value, value - Z * error, value + Z * error


def ratings(counts: Sequence[VoteCount], bases: Mapping[str, str | None]) -> list[Rating]:
    """What the votes say of every run that got one, the strongest first, then those not rated.

    Args:
        counts: of blind votes.
        bases: the base of each run; runs that are not named have none.
    """
    ordering = [count for count in counts if count.choice in WORTH]
    votes, bad = _per_run(ordering), _per_run(c for c in counts if c.choice not in WORTH)
    group = _largest_group(ordering)
    rated = [run for run in group if votes[run] >= FEWEST]
    fitted = fit([c for c in ordering if c.run_a in group]) if len(rated) > 1 else None
    found = []
    for run in votes | bad:
        told = Rating(run=run, votes=votes[run], both_bad=bad[run])
        if votes[run] < FEWEST:
            found.append(replace(told, missing=FEWEST - votes[run]))
        elif run not in rated:
            found.append(replace(told, apart=True))
        elif fitted is None:
            found.append(replace(told, alone=True))
        else:
            found.append(_rated(told, fitted, rated, bases.get(run)))
    return sorted(found, key=lambda one: (one.value is None, -(one.value or 0), -one.votes))


def fit(counts: Sequence[VoteCount]) -> Fit:
    """The strengths that make the votes likeliest.

    Args:
        counts: without `both_bad`, of runs that are all connected.
    """
    votes = _per_run(counts)
    runs = sorted(votes)
    pairs = _pairs(counts, votes)
    contrasts = np.zeros((len(pairs), len(runs)))
    for row, (a, b) in enumerate(pairs):
        contrasts[row, runs.index(a)], contrasts[row, runs.index(b)] = 1, -1
    won, tied, lost = np.array(list(pairs.values())).T
    strengths = _likeliest(contrasts, won + tied / 2, won + tied + lost)
    chance = special.expit(contrasts @ strengths)
    bread = (contrasts.T * ((won + tied + lost) * chance * (1 - chance))) @ contrasts
    surprise = won * (1 - chance) ** 2 + tied * (0.5 - chance) ** 2 + lost * chance**2
    inverse = np.linalg.pinv(bread, hermitian=True)
    covariance = inverse @ ((contrasts.T * surprise) @ contrasts) @ inverse
    return Fit(runs, strengths, covariance)


def _rated(told: Rating, fitted: Fit, rated: Sequence[str], base: str | None) -> Rating:
    value, low, high = fitted.rating(told.run, rated)
    chance = fitted.chance(told.run, base) if base is not None and base in rated else None
    return replace(told, value=value, low=low, high=high, against_base=chance)


def _per_run(counts: Iterable[VoteCount]) -> Counter[str]:
    found: Counter[str] = Counter()
    for count in counts:
        found[count.run_a] += count.votes
        found[count.run_b] += count.votes
    return found


def _pairs(counts: Sequence[VoteCount], votes: Counter[str]) -> dict[tuple[str, str], Floats]:
    """Votes won, tied and lost of every two runs that met, with the share of the ties added."""
    pairs: dict[tuple[str, str], Floats] = {}
    for count in counts:
        a, b = sorted((count.run_a, count.run_b))
        worth = WORTH[count.choice] if a == count.run_a else 1 - WORTH[count.choice]
        came = pairs.setdefault((a, b), np.zeros(3))
        came[{1.0: 0, 0.5: 1, 0.0: 2}[worth]] += count.votes
    for (a, b), came in pairs.items():
        more = came.sum() * (1 / votes[a] + 1 / votes[b]) / 2
        came[[0, 2]] += more / 2  # as votes for either side: no interval may shrink to nothing
    return pairs


def _likeliest(contrasts: Floats, won: Floats, votes: Floats) -> Floats:
    """(runs,) of sum 0; a flat direction is held by a pull towards 0, which moves no difference."""

    def loss(strengths: Floats) -> float:
        apart = contrasts @ strengths
        return float(votes @ np.logaddexp(0, apart) - won @ apart + strengths.sum() ** 2 / 2)

    def slope(strengths: Floats) -> Floats:
        chance = special.expit(contrasts @ strengths)
        return np.asarray(contrasts.T @ (votes * chance - won) + strengths.sum())

    def bend(strengths: Floats) -> Floats:
        chance = special.expit(contrasts @ strengths)
        weight = votes * chance * (1 - chance)
        return np.asarray((contrasts.T * weight) @ contrasts + 1.0)

    start = np.zeros(contrasts.shape[1])
    found = optimize.minimize(
        loss, start, method="trust-exact", jac=slope, hess=bend, options={"gtol": 1e-8}
    )
    strengths: NDArray[np.float64] = found.x - found.x.mean()
    return strengths


def _largest_group(counts: Sequence[VoteCount]) -> set[str]:
    """The connected runs with the most votes; ratings of others could not be compared with them."""
    groups: list[set[str]] = []
    for count in counts:
        met = {count.run_a, count.run_b}
        joined = [group for group in groups if group & met]
        groups = [group for group in groups if not group & met] + [met.union(*joined)]
    votes = _per_run(counts)
    return max(
        groups, key=lambda group: (sum(votes[run] for run in group), min(group)), default=set()
    )
