"""From verdicts to a score: the unbiased pass@k, its interval, and how that was made."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import comb

import numpy as np

from database.intervals import Interval, interval_of


@dataclass(frozen=True, slots=True, kw_only=True)
class ProblemResult:
    """What a run made of one problem."""

    task_id: str
    family: str = ""
    """Problems of one family came from one source and are drawn together; empty: it has none."""
    completions: int
    """Completions with a verdict; a sandbox error is none."""
    passed: int


@lru_cache(maxsize=65_536)
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


def units_of(results: Sequence[ProblemResult]) -> list[str]:
    """What each problem was drawn with: its family where problems share one, else itself.

    A family that holds every problem tells nothing of how families differ, so it is none.
    """
    families = [result.family for result in results]
    alone = [f"problem {result.task_id}" for result in results]
    units = [f"family {f}" if f else own for f, own in zip(families, alone, strict=True)]
    return units if len(set(units)) > 1 else alone


def score(results: Sequence[ProblemResult], k: int) -> Interval:
    """Mean of the problems' pass@k, with its interval.

    Args:
        results: one per problem; at least one, each with at least k completions.
        k: of pass@k.

    Raises:
        ValueError: no results, or pass@k is undefined for one of them.
    """
    if not results:
        raise ValueError("no problem has a verdict on every completion, so there is no score")
    values = np.array([pass_at_k(r.completions, r.passed, k) for r in results])
    answers = sum(result.completions // k for result in results)
    return interval_of(values, units_of(results), answers)


def method_of(results: Sequence[ProblemResult]) -> str:
    """How the interval of these results was made, in words of at most 100 characters."""
    units = len(set(units_of(results)))
    if units < len(results):
        return f"Wilson at the effective number of problems, over {units} families"
    if all(result.completions == 1 for result in results):
        return f"Wilson over {units} problems"
    return f"Wilson at the effective number of problems, over {units} problems"
