"""What depends on the scores that are shown together. Every function is pure."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from database.comparisons import holm, verdict_of
from database.facts import PerProblem, Standing
from database.power import smallest_gap
from database.ranks import rank_intervals


def in_view(standings: Sequence[Standing]) -> list[Standing]:
    """Return the standings with their ranks among each other, and verdicts that know of all.

    Ranks are among scores of one benchmark, metric and contract, with a verdict on every problem.
    p is adjusted for every comparison on the list, whatever its benchmark.
    """
    ranks, sure = _ranks(standings), _adjusted(standings)
    return [
        replace(
            standing, result=replace(standing.result, **ranks.get(place, {}), **sure.get(place, {}))
        )
        for place, standing in enumerate(standings)
    ]


def gap_in_view(standings: Sequence[Standing]) -> float | None:
    """Return the smallest gap that comparisons like those in view find with 80 % power.

    Args:
        standings: of one benchmark, metric and contract; at least one.

    Returns:
        A fraction; None: not even a gap of all problems is found.
    """
    units = max(_units(standing) for standing in standings)
    noises = [standing.noise for standing in standings if standing.noise]
    return smallest_gap(units, noises) if units else None


def _units(standing: Standing) -> int:
    """Families that were asked, or problems where they have none or not all are judged."""
    whole = standing.per_problem
    return len(set(whole.units)) if whole else standing.asked


def _ranks(standings: Sequence[Standing]) -> dict[int, dict[str, Any]]:
    groups: dict[tuple[str, str, str], list[int]] = defaultdict(list)
    for place, standing in enumerate(standings):
        result = standing.result
        if standing.per_problem is not None:
            groups[result.benchmark, result.metric, result.contract].append(place)
    found: dict[int, dict[str, Any]] = {}
    for places in groups.values():
        whole = {place: standings[place].per_problem for place in places}
        alike = _alike({place: solved for place, solved in whole.items() if solved})
        values = np.array([solved.values for solved in alike.values()])
        units = next(iter(alike.values())).units
        for place, (low, high) in zip(alike, rank_intervals(values, units), strict=True):
            found[place] = {"rank_low": low, "rank_high": high}
    return found


def _alike(found: dict[int, PerProblem]) -> dict[int, PerProblem]:
    """Those on the set of problems that most are on."""
    (most, _), *_ = Counter(solved.task_ids for solved in found.values()).most_common()
    return {place: solved for place, solved in found.items() if solved.task_ids == most}


def _adjusted(standings: Sequence[Standing]) -> dict[int, dict[str, Any]]:
    compared = {
        place: standing.result.delta
        for place, standing in enumerate(standings)
        if standing.result.delta is not None
    }
    tested = {place: delta.p for place, delta in compared.items() if delta.p is not None}
    adjusted = dict(zip(tested, holm(list(tested.values())), strict=True))
    found: dict[int, dict[str, Any]] = {}
    for place, delta in compared.items():
        if delta.low is None or delta.high is None or place not in adjusted:
            found[place] = {"verdict": delta.verdict}
            continue
        found[place] = {
            "p_holm": adjusted[place],
            "comparisons": len(adjusted),
            "verdict": verdict_of(delta.low, delta.high, adjusted[place]),
        }
    return found


def family_size(standings: Iterable[Standing]) -> int:
    """Return how many comparisons these verdicts were adjusted for; 0: there is none."""
    return max((s.result.comparisons or 0 for s in standings), default=0)
