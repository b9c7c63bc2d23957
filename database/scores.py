"""From verdicts to the numbers on the leaderboard.

Problems are the sampling unit (Miller 2024, arXiv:2411.00640): an interval says what another
draw of problems of the same kind would give. It says nothing of another training seed.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import comb
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import special

DRAWS = 9_999
SEED = 20_240_501
"""Of the bootstrap and the permutation test, so that a page shows the same figures twice."""
UPPER = 0.975
"""Of a two-sided 95 % interval."""
Z = float(special.ndtri(UPPER))
SIGNIFICANCE = 0.05

Verdict = Literal["better", "worse", "no clear difference", "not comparable"]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProblemResult:
    """What a run made of one problem."""

    task_id: str
    family: str = ""
    """Problems of one family came from one source; used by `family_of` only."""
    completions: int
    """Completions with a verdict; a sandbox error is none."""
    passed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A value in [0, 1] and the bounds of its 95 % interval."""

    value: float
    low: float
    high: float


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


NOT_COMPARABLE = Difference(value=None, low=None, high=None, p=None, verdict="not comparable")


def pass_at_k(completions: int, passed: int, k: int) -> float:
    """Chance that at least one of `k` completions, drawn without replacement, passes.

    The unbiased estimator 1 - C(n-c, k) / C(n, k) of Chen et al. 2021 (arXiv:2107.03374,
    eq. 1). Python's integers keep the binomials exact, so the usual product form, which only
    exists to dodge overflow, is not needed.

    Args:
        completions: n, the completions judged for one problem.
        passed: c, how many of them passed.
        k: how many are drawn.

    Returns:
        A probability in [0, 1].

    Raises:
        ValueError: unless 0 <= passed <= completions and 1 <= k <= completions.
    """
    if not (0 <= passed <= completions and 1 <= k <= completions):
        raise ValueError(
            f"pass@{k} is undefined for {passed} passes among {completions} completions; "
            f"ask for at least {k} completions per problem"
        )
    return 1 - comb(completions - passed, k) / comb(completions, k)


def problem_of(result: ProblemResult) -> str:
    """The sampling unit of a benchmark whose problems were written one by one."""
    return result.task_id


def family_of(result: ProblemResult) -> str:
    """The sampling unit of a benchmark made from templates: problems of a family go together."""
    return result.family or result.task_id


def score(
    results: Sequence[ProblemResult],
    k: int,
    *,
    unit: Callable[[ProblemResult], str] = problem_of,
) -> Interval:
    """Mean of the problems' pass@k, with an interval that stays honest at 0 and 1.

    Wilson's score interval (1927) at an effective number of problems: n over the design effect
    with the degrees of freedom of the units, as Korn & Graubard 1998 (Survey Methodology 24:193)
    and, for Wilson, Franco et al. 2019 (J. Survey Stat. Methodol. 7:334). One completion per
    problem gives Wilson's own interval. Without variance between units it counts the units.

    Args:
        results: one per problem; at least one, each with at least k completions.
        k: of pass@k.
        unit: what was drawn: `problem_of` or `family_of`.

    Raises:
        ValueError: no results, or pass@k is undefined for one of them.
    """
    if not results:
        raise ValueError("no problem has a verdict on every completion, so there is no score")
    values = np.array([pass_at_k(r.completions, r.passed, k) for r in results])
    value = float(values.mean())
    blocks = sum(result.completions // k for result in results)
    problems = _effective_problems(values, [unit(result) for result in results], blocks)
    return _wilson(value, problems)


def paired_difference(
    tuned: Sequence[ProblemResult], base: Sequence[ProblemResult], k: int = 1
) -> Difference:
    """Compare a run with its base, problem by problem.

    The interval is a percentile bootstrap over problems with one pseudo-problem won and one
    lost, each by the largest difference seen, which keeps it from collapsing where (nearly) no
    problem differs (Bonett & Price 2012, J. Educ. Behav. Stat. 37:479, add the same to pairs of
    single answers). p is McNemar's exact test where
    both sides have one completion per problem, else a sign-flip permutation test of the mean.
    A direction is named only where both p < 0.05 and the interval leaves out 0.

    Returns:
        `NOT_COMPARABLE` where the problems differ, there are none, or pass@k is undefined.
    """
    pairs = _pairs(tuned, base, k)
    if not pairs:
        return NOT_COMPARABLE
    differences = np.array(
        [
            pass_at_k(ours.completions, ours.passed, k)
            - pass_at_k(theirs.completions, theirs.passed, k)
            for ours, theirs in pairs
        ]
    )
    single = all(result.completions == 1 for pair in pairs for result in pair)
    p = _mcnemar(differences) if single else _sign_flip(differences)
    low, high = _bootstrap(differences)
    value = float(differences.mean())
    return Difference(
        value=value,
        low=min(low, value),
        high=max(high, value),
        p=p,
        verdict=_verdict(low, high, p),
    )


def detectable_gap(problems: int, discordant: float = 0.2) -> float | None:
    """The smallest true gap that McNemar's exact test finds with 80 % power.

    Args:
        problems: asked once of each side; at least 1.
        discordant: share of problems that exactly one side solves, in (0, 1].

    Returns:
        A fraction, in steps of 0.005; None: not even a gap as wide as `discordant` is found.
    """
    critical = _critical(np.arange(1, problems + 1))
    for thousandths in range(5, round(discordant * 1000) + 1, 5):
        if _power(critical, discordant, thousandths / 1000) >= 0.8:
            return thousandths / 1000
    return None


def _effective_problems(values: Floats, units: list[str], blocks: int) -> float:
    """How many independent problems asked once would tell as much; at most `blocks`."""
    n, value = len(values), float(values.mean())
    if len(set(units)) == n and set(values.tolist()) <= {0.0, 1.0}:
        return n
    of_unit: dict[str, float] = defaultdict(float)
    for unit, residual in zip(units, values - value, strict=True):
        of_unit[unit] += float(residual)
    count = len(of_unit)
    variance = sum(total**2 for total in of_unit.values()) / n**2
    if count < 2 or variance < 1e-15:
        return count
    simple = value * (1 - value) / (n - 1)
    design_effect = variance * count / (count - 1) / simple
    freedom = (Z / special.stdtrit(count - 1, UPPER)) ** 2
    return min(n / design_effect * float(freedom), blocks)


def _wilson(value: float, problems: float) -> Interval:
    """Wilson's interval; `problems` need not be whole."""
    shrink = 1 + Z**2 / problems
    centre = (value + Z**2 / (2 * problems)) / shrink
    half = Z / shrink * (value * (1 - value) / problems + Z**2 / (4 * problems**2)) ** 0.5
    low, high = float(centre - half), float(centre + half)
    return Interval(value=value, low=max(0.0, min(low, value)), high=min(1.0, max(high, value)))


def _pairs(
    tuned: Sequence[ProblemResult], base: Sequence[ProblemResult], k: int
) -> list[tuple[ProblemResult, ProblemResult]]:
    """Results of the same problem, in order of its id; empty where the two cannot be compared."""
    of_base = {result.task_id: result for result in base}
    of_tuned = {result.task_id: result for result in tuned}
    if of_base.keys() != of_tuned.keys():
        return []
    pairs = [(of_tuned[task_id], of_base[task_id]) for task_id in sorted(of_base)]
    if any(result.completions < k for pair in pairs for result in pair):
        return []
    return pairs


def _bootstrap(differences: Floats) -> tuple[float, float]:
    """Bounds of the mean. Draws counts of the distinct values: the same law, and far fewer."""
    largest = float(np.abs(differences).max()) or 1.0
    counts = Counter(np.round([*differences, -largest, largest], 12).tolist())
    values = np.array(sorted(counts))
    size = sum(counts.values())
    shares = np.array([counts[value] for value in values.tolist()]) / size
    draws = np.random.default_rng(SEED).multinomial(size, shares, size=DRAWS)
    low, high = np.quantile(draws @ values / size, [1 - UPPER, UPPER])
    return float(low), float(high)


def _mcnemar(differences: Floats) -> float:
    won, lost = int((differences > 0).sum()), int((differences < 0).sum())
    return min(1.0, 2 * float(special.bdtr(min(won, lost), won + lost, 0.5)))


def _sign_flip(differences: Floats) -> float:
    """Share of random sign changes whose mean is at least as far from 0 (itself included)."""
    counts = Counter(np.round(np.abs(differences), 12).tolist())
    sizes = np.array(sorted(size for size in counts if size > 0))
    if not len(sizes):
        return 1.0
    numbers = np.array([counts[size] for size in sizes.tolist()])
    positive = np.random.default_rng(SEED).binomial(numbers, 0.5, size=(DRAWS, len(sizes)))
    sums = np.abs((2 * positive - numbers) @ sizes)
    reached = int((sums >= abs(float(differences.sum())) - 1e-9).sum())
    return (1 + reached) / (1 + DRAWS)


def _verdict(low: float, high: float, p: float) -> Verdict:
    if p < SIGNIFICANCE and low > 0:
        return "better"
    if p < SIGNIFICANCE and high < 0:
        return "worse"
    return "no clear difference"


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
    losses = np.arange(seen.max() + 1)
    tails = special.bdtr(losses[None, :], seen[:, None], 0.5)
    within = (tails < SIGNIFICANCE / 2) & (losses[None, :] <= seen[:, None])
    return np.asarray(within.sum(axis=1) - 1.0, dtype=np.float64)
