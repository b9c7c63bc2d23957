"""A run against its base on the same problems, and several such comparisons at once."""

import itertools
import os
from collections import Counter, defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from scipy import special

from database.intervals import UPPER, Floats
from database.scores import ProblemResult, pass_at_k, units_of

DRAWS = 9_999
SEED = 20_240_501
"""Of the bootstrap and the permutation test, so that a page shows the same figures twice."""
SIGNIFICANCE = 0.05
WRITTEN_OUT = 13
"""With so many differing units at most, every sign is tried: 8,192 are fewer than `DRAWS`."""

Verdict = Literal["better", "worse", "no clear difference", "not comparable"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A run minus its base on the same problems; all null but the verdict: not comparable."""

    value: float | None
    """In [-1, 1]."""
    low: float | None
    high: float | None
    p: float | None
    """Two-sided chance of a difference at least this big were there none."""
    verdict: Verdict
    """Of this comparison alone; `database.in_view` judges several at once."""
    method: str = ""
    """The test behind p, the draws behind the interval, and over what."""
    draws_seed: int | None = None
    """Of both; null: nothing was drawn."""


NOT_COMPARABLE = Difference(value=None, low=None, high=None, p=None, verdict="not comparable")


@dataclass(frozen=True, slots=True, kw_only=True)
class Noise:
    """How much two sides differ from problem to problem, whatever they differ by."""

    problems: int
    units: int
    """Families, or problems where they have none."""
    single: bool
    """Whether each side answered independent problems once."""
    differing: float
    """Share of the problems where the sides differ, in [0, 1]."""
    error: float
    """Standard error of the mean difference, with the pseudo-units of its interval."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """The differences of two sides, by unit: a family, or one problem."""

    totals: Floats
    """(units,) sum over the unit's problems."""
    sizes: Floats
    """(units,) problems."""
    differing: int
    """Problems where the sides differ."""
    single: bool
    """Whether each side answered independent problems once."""

    @property
    def value(self) -> float:
        """Mean over problems, in [-1, 1]."""
        return float(self.totals.sum() / self.sizes.sum())


def pairs_of(tuned: Sequence[ProblemResult], base: Sequence[ProblemResult], k: int) -> Pairs | None:
    """The two sides, problem by problem; None where they cannot be compared."""
    of_base = {result.task_id: result for result in base}
    of_tuned = {result.task_id: result for result in tuned}
    if not of_base or of_base.keys() != of_tuned.keys():
        return None
    both = [(of_tuned[task_id], of_base[task_id]) for task_id in sorted(of_base)]
    if any(result.completions < k for pair in both for result in pair):
        return None
    differences = np.array([_value(ours, k) - _value(theirs, k) for ours, theirs in both])
    units = units_of([ours for ours, _ in both])
    codes = np.unique(np.asarray(units), return_inverse=True)[1]
    once = all(result.completions == 1 for pair in both for result in pair)
    return Pairs(
        totals=np.round(np.bincount(codes, weights=differences), 12),
        sizes=np.bincount(codes).astype(np.float64),
        differing=int((np.abs(differences) > 1e-12).sum()),
        single=once and len(set(units)) == len(both),
    )


def difference_of(pairs: Pairs) -> Difference:
    """The mean difference, its interval, its p and its verdict.

    The interval is a percentile bootstrap over units with half a unit won and half a one lost, each
    by the largest difference seen, which keeps it from collapsing where (nearly) no problem
    differs (after Bonett & Price 2012, J. Educ. Behav. Stat. 37:479, who add a whole pair each
    way; half does by `benchmarks/intervals.py`, and finds more).
    p is McNemar's exact test where both sides answered independent problems once, else a sign-flip
    test of the mean, which flips whole units (Fisher 1935; families: as in Canay et al. 2017,
    Econometrica 85:1013).
    A direction is named only where both p < 0.05 and the interval leaves out 0.
    """
    p = _mcnemar(pairs.totals) if pairs.single else sign_flip(pairs.totals)
    low, high = _bootstrap(pairs)
    value = pairs.value
    return Difference(
        value=value,
        low=min(low, value),
        high=max(high, value),
        p=p,
        verdict=verdict_of(low, high, p),
        method=_method(pairs),
        draws_seed=SEED,
    )


def differences_of(several: Sequence[Pairs]) -> list[Difference]:
    """The same of several, on all processors: numpy draws without holding the interpreter.

    What was found before is remembered, so that a new run costs no more than its own comparisons.
    """
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(_remembered, several))


def _remembered(pairs: Pairs) -> Difference:
    totals, sizes = tuple(pairs.totals.tolist()), tuple(pairs.sizes.tolist())
    return _difference(totals, sizes, pairs.differing, pairs.single)


@lru_cache(maxsize=8192)
def _difference(
    totals: tuple[float, ...], sizes: tuple[float, ...], differing: int, single: bool
) -> Difference:
    sums, counts = np.array(totals), np.array(sizes)
    return difference_of(Pairs(totals=sums, sizes=counts, differing=differing, single=single))


def noise_of(pairs: Pairs) -> Noise:
    """How far apart the two sides are from problem to problem."""
    totals, sizes, weights = _with_pseudo_units(pairs)
    problems, count = float(weights @ sizes), float(weights.sum())
    residuals = totals - float(weights @ totals) / problems * sizes
    error = float(weights @ residuals**2 * count / (count - 1)) ** 0.5 / problems
    asked = int(pairs.sizes.sum())
    return Noise(
        problems=asked,
        units=len(pairs.sizes),
        single=pairs.single,
        differing=pairs.differing / asked,
        error=error,
    )


def holm(chances: Sequence[float]) -> list[float]:
    """p of several comparisons, each adjusted for all of them: Holm 1979, Scand. J. Stat. 6:65.

    The chance to name any difference where there is none stays under 5 % for the whole family.
    """
    adjusted = [0.0] * len(chances)
    most = 0.0
    for place, index in enumerate(sorted(range(len(chances)), key=chances.__getitem__)):
        most = max(most, min(1.0, (len(chances) - place) * chances[index]))
        adjusted[index] = most
    return adjusted


def verdict_of(low: float, high: float, p: float) -> Verdict:
    """A direction where the test finds one and the interval leaves out 0."""
    if p < SIGNIFICANCE and low > 0:
        return "better"
    if p < SIGNIFICANCE and high < 0:
        return "worse"
    return "no clear difference"


def sign_flip(totals: Floats) -> float:
    """Share of sign changes whose sum is at least as far from 0 as it is.

    All of them where at most `WRITTEN_OUT` units differ; else `DRAWS` random ones and itself.
    """
    differing = totals[np.abs(totals) > 1e-12]
    if not len(differing):
        return 1.0
    reached = abs(float(differing.sum())) - 1e-9
    if len(differing) <= WRITTEN_OUT:
        signs = np.array(list(itertools.product((-1.0, 1.0), repeat=len(differing))))
        return float(np.mean(np.abs(signs @ differing) >= reached))
    return (1 + int((np.abs(_random_sums(differing)) >= reached).sum())) / (1 + DRAWS)


def _random_sums(differing: Floats) -> Floats:
    """Units of one size are flipped together: how many go up is all that counts of them."""
    counts = Counter(np.abs(differing).tolist())
    sizes = np.array(sorted(counts))
    numbers = np.array([counts[size] for size in sizes.tolist()])
    positive = np.random.default_rng(SEED).binomial(numbers, 0.5, size=(DRAWS, len(sizes)))
    return np.asarray((2 * positive - numbers) @ sizes, dtype=np.float64)


def _value(result: ProblemResult, k: int) -> float:
    return pass_at_k(result.completions, result.passed, k)


def _with_pseudo_units(pairs: Pairs) -> tuple[Floats, Floats, Floats]:
    """Totals, sizes and weights, with half a unit of the usual size won and half a one lost.

    Won and lost by the largest mean difference of any unit.
    """
    usual = float(pairs.sizes.mean())
    largest = (float(np.abs(pairs.totals / pairs.sizes).max()) or 1.0) * usual
    totals = np.append(pairs.totals, [-largest, largest])
    sizes = np.append(pairs.sizes, [usual, usual])
    return totals, sizes, np.append(np.ones(len(pairs.sizes)), [0.5, 0.5])


def _bootstrap(pairs: Pairs) -> tuple[float, float]:
    """Bounds of the mean. Draws counts of the distinct units: the same law, and far fewer."""
    counts: dict[tuple[float, float], float] = defaultdict(float)
    for total, size, weight in zip(*map(np.ndarray.tolist, _with_pseudo_units(pairs)), strict=True):
        counts[total, size] += weight
    totals, sizes = np.array(sorted(counts)).T
    shares = np.array([counts[unit] for unit in sorted(counts)])
    units = len(pairs.sizes) + 1
    draws = np.random.default_rng(SEED).multinomial(units, shares / units, size=DRAWS)
    low, high = np.quantile((draws @ totals) / (draws @ sizes), [1 - UPPER, UPPER])
    return float(low), float(high)


def _mcnemar(differences: Floats) -> float:
    won, lost = int((differences > 0).sum()), int((differences < 0).sum())
    return min(1.0, 2 * float(special.bdtr(min(won, lost), won + lost, 0.5)))


def _method(pairs: Pairs) -> str:
    units = len(pairs.sizes)
    over = f"{units} families" if units < pairs.sizes.sum() else f"{units} problems"
    test = "McNemar's exact test" if pairs.single else "sign-flip test"
    return f"{test}, paired bootstrap over {over}"
