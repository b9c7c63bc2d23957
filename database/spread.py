"""Scores by recipe, over seeds: what another training with another seed may give.

The interval of one score in `database/intervals.py` is over problems, of one training. Here the
trainings of one recipe are the sampling unit, all asked the same problems: the interval says what
other seeds would give on these problems, and nothing of other problems.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from scipy import special

from database.facts import RunFacts, Standing
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
    apart: dict[str, Any]
    """What else tells recipes apart: their data, the spread over workers, their base."""
    benchmark: str
    metric: str
    contract: str
    seeds: tuple[int, ...]
    runs: tuple[str, ...]
    """Their ids, in the order of the seeds."""
    stopped: int
    """Further seeds that a sweep gave up, for they did worse: what is left flatters the recipe."""
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
    """Bounds of its 95 % interval over seeds, see `interval_of_mean`; None where seeds were
    stopped: those that are left are no chance draw."""


def over_seeds(standings: Sequence[Standing], runs: Sequence[RunFacts]) -> list[OverSeeds]:
    """Group the scores of tuned runs by all that shapes the weights but the seed.

    Args:
        standings: scores, of any benchmarks.
        runs: at least those that have them, and any that a sweep stopped.

    Returns:
        By benchmark and metric, the best mean first.
    """
    of_id = {run.id: run for run in runs}
    stopped = Counter(_recipe(run) for run in runs if run.state == "stopped")
    groups: dict[tuple[str, ...], list[Standing]] = defaultdict(list)
    for standing in standings:
        result = standing.result
        if standing.kind == "tuned":
            recipe = _recipe(of_id[result.run])
            groups[recipe, result.benchmark, result.metric, result.contract].append(standing)
    found = [_over_seeds(group, of_id, stopped[key[0]]) for key, group in groups.items()]
    return sorted(found, key=lambda s: (s.benchmark, k_of(s.metric), -s.mean, s.runs))


def _recipe(run: RunFacts) -> str:
    """All that shapes the weights but the seed."""
    return json.dumps({k: part for k, part in run.spec.items() if k != "seed"}, sort_keys=True)


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


def _over_seeds(group: list[Standing], of_id: Mapping[str, RunFacts], stopped: int) -> OverSeeds:
    results = sorted((standing.result for standing in group), key=lambda r: (r.seed, r.run))
    values = [result.value for result in results]
    deltas = [result.delta.value if result.delta else None for result in results]
    gains = [delta for delta in deltas if delta is not None]
    whole = len(gains) == len(results)
    bounds = (interval_of_mean(gains) if whole and not stopped else None) or (None, None)
    first = results[0]
    return OverSeeds(
        model=first.model,
        dataset=first.dataset,
        method=first.method,
        fields=of_id[first.run].spec.get("method", {}),
        apart=_apart(of_id[first.run], first.contract),
        benchmark=first.benchmark,
        metric=first.metric,
        contract=first.contract,
        seeds=tuple(result.seed for result in results),
        runs=tuple(result.run for result in results),
        stopped=stopped,
        mean=fmean(values),
        deviation=stdev(values) if len(values) > 1 else None,
        lowest=min(values),
        highest=max(values),
        gain=fmean(gains) if whole else None,
        gain_low=bounds[0],
        gain_high=bounds[1],
    )


def _apart(run: RunFacts, contract: str) -> dict[str, Any]:
    """What no column shows unless recipes that look alike differ in it."""
    spread = run.spec.get("parallelism") or {}
    return {
        "data": run.dataset_digest,
        **{name: value for name, value in spread.items() if value is not None},
        "base": run.spec.get("base"),
        "recipe version": run.spec.get("recipe_version"),
        "contract": contract,
    }


def worth_a_table(found: Sequence[OverSeeds]) -> bool:
    """Whether some recipe has several seeds, or two tune the same model on the same data."""
    places = [(s.model, s.dataset, s.benchmark, s.metric, s.contract) for s in found]
    return any(len(s.seeds) > 1 for s in found) or len(set(places)) < len(places)


def differing_fields(found: Sequence[OverSeeds]) -> list[str]:
    """The fields in which these recipes differ: of methods by name, then what tells twins apart."""
    names = sorted({name for s in found for name in s.fields})
    of_methods = [name for name in names if _differ(name, found)]
    twins: dict[tuple[Any, ...], list[OverSeeds]] = defaultdict(list)
    for s in found:
        shown = json.dumps(s.fields, sort_keys=True)
        twins[s.model, s.dataset, s.method, shown, s.benchmark, s.metric].append(s)
    others = dict.fromkeys(name for s in found for name in s.apart if name not in names)
    return of_methods + [
        name for name in others if any(_differ(name, alike) for alike in twins.values())
    ]


def field_of(found: OverSeeds, name: str) -> Any:
    """What a recipe has under a name of `differing_fields`; None: the default."""
    return found.fields.get(name, found.apart.get(name))


def _differ(name: str, found: Sequence[OverSeeds]) -> bool:
    return len({json.dumps(field_of(s, name), sort_keys=True) for s in found}) > 1


def seeds_in_words(found: OverSeeds) -> str:
    """Return `3`, or `1 of 3, 2 stopped` where a sweep gave some up."""
    scored = len(found.seeds)
    if not found.stopped:
        return str(scored)
    return f"{scored} of {scored + found.stopped}, {found.stopped} stopped"


def gain_in_words(found: OverSeeds) -> str:
    """Return `+4.2 points (1.0 to 7.4)`; without the interval where there is none.

    Seeds that a sweep stopped did worse than others: the mean of the rest is called so, and has no
    interval, for the seeds are no longer drawn by chance.
    """
    if found.gain is None:
        return "not comparable"
    said = f"{100 * found.gain:+.1f} points"
    if found.stopped:
        return f"{said} (of the seeds kept; the recipe may do worse)"
    if found.gain_low is None or found.gain_high is None:
        return said
    return f"{said} ({100 * found.gain_low:.1f} to {100 * found.gain_high:.1f})"
