"""Scores by recipe, over seeds: what another training with another seed may give.

The interval of one score in `database/scores.py` is over problems, of one training. Here the
trainings of one recipe are the sampling unit, all asked the same problems: the interval says what
other seeds would give on these problems, and nothing of other problems.
"""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from scipy import special

from database.facts import Standing
from database.intervals import UPPER
from database.standings import k_of


@dataclass(frozen=True, slots=True, kw_only=True)
class OverSeeds:
    """One recipe's scores of one metric under one contract; fractions are in [0, 1]."""

    model: str
    dataset: str | None
    method: str | None
    fields: dict[str, Any]
    """What shapes the weights, of the method: the fields that differ from their defaults."""
    benchmark: str
    metric: str
    contract: str
    seeds: tuple[int, ...]
    runs: tuple[str, ...]
    """Their ids, in the order of the seeds."""
    mean: float
    deviation: float | None
    """Standard deviation over seeds, n - 1 below; None for one seed."""
    lowest: float
    highest: float
    gain: float | None
    """Mean over seeds of the difference to the base on the same problems, in [-1, 1]; None: some
    seed's scores do not compare with its base."""
    gain_low: float | None
    gain_high: float | None
    """Bounds of its 95 % interval over seeds, see `interval_of_mean`."""


def over_seeds(
    standings: Sequence[Standing], specs: Mapping[str, dict[str, Any]]
) -> list[OverSeeds]:
    """Group the scores of tuned runs by all that shapes the weights but the seed.

    Args:
        standings: scores, of any benchmarks.
        specs: what the id of each run hashes, by run.

    Returns:
        By benchmark and metric, the best mean first.
    """
    groups: dict[tuple[str, ...], list[Standing]] = defaultdict(list)
    for standing in standings:
        result = standing.result
        if standing.kind == "tuned":
            recipe = {key: part for key, part in specs[result.run].items() if key != "seed"}
            key = json.dumps(recipe, sort_keys=True)
            groups[key, result.benchmark, result.metric, result.contract].append(standing)
    found = [_over_seeds(group, specs) for group in groups.values()]
    return sorted(found, key=lambda s: (s.benchmark, k_of(s.metric), -s.mean, s.runs))


def interval_of_mean(values: Sequence[float]) -> tuple[float, float] | None:
    """Bounds of the 95 % interval of a mean by Student's t (1908), n - 1 degrees of freedom.

    Returns:
        None for fewer than two values, and where all are equal: their spread then tells nothing.
    """
    if len(set(values)) < 2:
        return None
    freedom = len(values) - 1
    half = float(special.stdtrit(freedom, UPPER)) * stdev(values) / len(values) ** 0.5
    return fmean(values) - half, fmean(values) + half


def _over_seeds(group: list[Standing], specs: Mapping[str, dict[str, Any]]) -> OverSeeds:
    results = sorted((standing.result for standing in group), key=lambda r: (r.seed, r.run))
    values = [result.value for result in results]
    deltas = [result.delta.value if result.delta else None for result in results]
    gains = [delta for delta in deltas if delta is not None]
    whole = len(gains) == len(results)
    bounds = (interval_of_mean(gains) if whole else None) or (None, None)
    first = results[0]
    return OverSeeds(
        model=first.model,
        dataset=first.dataset,
        method=first.method,
        fields=specs[first.run].get("method", {}),
        benchmark=first.benchmark,
        metric=first.metric,
        contract=first.contract,
        seeds=tuple(result.seed for result in results),
        runs=tuple(result.run for result in results),
        mean=fmean(values),
        deviation=stdev(values) if len(values) > 1 else None,
        lowest=min(values),
        highest=max(values),
        gain=fmean(gains) if whole else None,
        gain_low=bounds[0],
        gain_high=bounds[1],
    )


def worth_a_table(found: Sequence[OverSeeds]) -> bool:
    """Whether some recipe has several seeds, or two tune the same model on the same data."""
    places = [(s.model, s.dataset, s.benchmark, s.metric, s.contract) for s in found]
    return any(len(s.seeds) > 1 for s in found) or len(set(places)) < len(places)


def differing_fields(found: Sequence[OverSeeds]) -> list[str]:
    """The fields of methods in which these recipes differ, in order of their names."""
    names = sorted({name for s in found for name in s.fields})
    return [
        name
        for name in names
        if len({json.dumps(s.fields.get(name), sort_keys=True) for s in found}) > 1
    ]


def gain_in_words(found: OverSeeds) -> str:
    """Return `+4.2 points (1.0 to 7.4)`; without the interval where there is none."""
    if found.gain is None:
        return "not comparable"
    said = f"{100 * found.gain:+.1f} points"
    if found.gain_low is None or found.gain_high is None:
        return said
    return f"{said} ({100 * found.gain_low:.1f} to {100 * found.gain_high:.1f})"
