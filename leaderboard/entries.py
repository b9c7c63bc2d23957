"""The scores of one board with all that is shown of them, and which of them a visitor wants.

Every function is pure.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from database.anomalies import Anomaly, Key, key_of
from database.comparability import Contents
from database.costs import Cost, cost_key
from database.facts import BenchmarkFacts, RunFacts, Standing
from database.spread import OverSeeds
from leaderboard.words import names_of

SIZE = re.compile(r"(?<![\w.])(?:(\d+)x)?(\d+(?:\.\d+)?)\s?([bm])(?![a-z\d])", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One score, and what is known of it."""

    standing: Standing
    name: str
    """Of its run, unlike any other on the board."""
    experiment: str
    """That first asked for the run; empty: it is not recorded."""
    size: float | None
    """10^9 parameters, as the model's name says; None: it does not."""
    seeds: int
    """Runs of the same recipe on the board, over its seeds; 1 for a base."""
    cost: Cost | None
    odd: tuple[Anomaly, ...]

    @property
    def run(self) -> str:
        """Its id."""
        return self.standing.result.run

    @property
    def whole(self) -> bool:
        """Whether every problem was judged."""
        return self.standing.result.coverage >= 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """All scores of one benchmark and metric under one contract."""

    benchmark: BenchmarkFacts
    metric: str
    contract: str
    entries: tuple[Entry, ...]
    """The best score first."""
    gap: float | None
    """The smallest that the problems can tell; see `database.in_view.gap_in_view`."""
    recipes: tuple[OverSeeds, ...]
    contents: Contents
    """What the contract says."""

    @property
    def standings(self) -> list[Standing]:
        """The scores, without what each problem came to."""
        return [entry.standing for entry in self.entries]


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """What a visitor narrows the board to; what is empty lets everything through."""

    words: str = ""
    """All of them must be in the model, method, dataset or run id."""
    kinds: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()
    sizes: tuple[str, ...] = ()
    experiments: tuple[str, ...] = ()
    whole: bool = False
    """Only scores with a verdict on every problem."""

    def used(self) -> list[str]:
        """Return the names of the filters that leave something out."""
        return [field.name for field in fields(self) if getattr(self, field.name)]


_TESTS: dict[str, Callable[[Entry, Any], bool]] = {
    "words": lambda entry, words: all(word in _searched(entry) for word in words.lower().split()),
    "kinds": lambda entry, chosen: entry.standing.kind in chosen,
    "models": lambda entry, chosen: entry.standing.result.model in chosen,
    "methods": lambda entry, chosen: entry.standing.result.method in chosen,
    "datasets": lambda entry, chosen: entry.standing.result.dataset in chosen,
    "sizes": lambda entry, chosen: size_words(entry.size) in chosen,
    "experiments": lambda entry, chosen: entry.experiment in chosen,
    "whole": lambda entry, _: entry.whole,
}


def kept(entries: Sequence[Entry], filters: Filters) -> list[Entry]:
    """Return the entries that pass all filters, in their order."""
    tests = [(_TESTS[name], getattr(filters, name)) for name in filters.used()]
    return [entry for entry in entries if all(test(entry, wanted) for test, wanted in tests)]


def in_the_way(entries: Sequence[Entry], filters: Filters) -> list[str]:
    """Return the filters of which clearing one alone would leave something to show."""
    cleared = Filters()
    return [
        name
        for name in filters.used()
        if kept(entries, replace(filters, **{name: getattr(cleared, name)}))
    ]


def entries_of(
    found: Sequence[Standing],
    runs: Sequence[RunFacts],
    costs: Mapping[tuple[str, str, str, str], Cost],
    odd: Mapping[Key, tuple[Anomaly, ...]],
    seeds: Mapping[str, int],
) -> list[Entry]:
    """Return an entry for each score, in the order given.

    Args:
        found: scores under one contract, with their ranks; what each problem came to is left out.
        runs: at least those that have them.
        costs: by `database.costs.cost_key`.
        odd: what is odd about scores.
        seeds: how many runs a run's recipe has on the board, by run.
    """
    of_id = {run.id: run for run in runs}
    return [
        Entry(
            standing=replace(standing, per_problem=None),
            name=name,
            experiment=_experiment(of_id.get(standing.result.run)),
            size=size_of(standing.result.model),
            seeds=seeds.get(standing.result.run, 1),
            cost=costs.get(cost_key(standing)),
            odd=odd.get(key_of(standing), ()),
        )
        for standing, name in zip(found, names_of(found), strict=True)
    ]


def size_of(model: str) -> float | None:
    """Return the 10^9 parameters that a name such as `qwen2.5-coder-7b` or `8x7B` speaks of."""
    if not (found := SIZE.search(model.replace("_", "-"))):
        return None
    times, number, unit = found.groups()
    return int(times or 1) * float(number) / (1000 if unit.lower() == "m" else 1)


def size_words(size: float | None) -> str:
    """Return `7B`, `350M`; empty where it is not known."""
    if size is None:
        return ""
    return f"{size:g}B" if size >= 1 else f"{1000 * size:g}M"


def values(entries: Sequence[Entry], of: Callable[[Entry], str | None]) -> list[str]:
    """Return what the entries have of something, each once, by name."""
    return sorted({value for entry in entries if (value := of(entry))}, key=str.lower)


def _experiment(run: RunFacts | None) -> str:
    return str(run.provenance.get("experiment") or "") if run else ""


def _searched(entry: Entry) -> str:
    result = entry.standing.result
    told = (result.model, result.method, result.dataset, result.run, entry.standing.label)
    return " ".join(part for part in told if part).lower()
