"""From standings to the ranked table, its order and its files. Every function is pure."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from database.facts import Exposure, Result, Standing
from database.standings import contract_of
from leaderboard.dataset_words import flag
from leaderboard.words import NONE, against_base, count, coverage, interval, percent, plain

ORDERS: dict[str, Callable[[Standing], Any]] = {
    "Score": lambda standing: -standing.result.value,
    "Gain over base": lambda standing: -_gain(standing),
    "Model": lambda standing: (standing.result.model.lower(), -standing.result.value),
    "Newest": lambda standing: -standing.recorded_at.timestamp(),
}
"""What the table can be sorted by; ties keep the order of the scores."""


def contracts(standings: Sequence[Standing]) -> list[str]:
    """Return the contracts, the one with most scores first, then the one scored last."""
    scores = Counter(standing.result.contract for standing in standings)
    newest = {s.result.contract: s.recorded_at for s in sorted(standings, key=_recorded)}
    return sorted(scores, key=lambda name: (-scores[name], -newest[name].timestamp()))


def ranks(standings: Sequence[Standing]) -> dict[str, int]:
    """Return the rank of every run: 1 is the best score, and equal scores share a rank."""
    values = [standing.result.value for standing in standings]
    return {s.result.run: 1 + sum(value > s.result.value for value in values) for s in standings}


def table(
    standings: Sequence[Standing], order: str, overlaps: Mapping[str, int]
) -> list[dict[str, str]]:
    """Return the rows of the page's table, in the named order; cells are Markdown.

    Args:
        standings: scores under one contract.
        order: a key of `ORDERS`.
        overlaps: what `overlaps` returned; without any, there is no column for them.
    """
    rank = ranks(standings)
    rows = [(s.result.run, _row(s, rank[s.result.run])) for s in ordered(standings, order)]
    if overlaps:
        return [row | {"Flags": flag(overlaps.get(run, 0))} for run, row in rows]
    return [row for _, row in rows]


def overlaps(standings: Sequence[Standing], exposures: Sequence[Exposure]) -> dict[str, int]:
    """Return the runs that were trained on rows that touch problems asked, and how many."""
    shown = {(s.result.run, s.result.contract) for s in standings}
    return {
        found.run: found.problems
        for found in exposures
        if found.problems and (found.run, contract_of(found.asking, found.judging)) in shown
    }


def ordered(standings: Sequence[Standing], order: str) -> list[Standing]:
    """Return the standings in the order of the table."""
    return sorted(standings, key=ORDERS[order])


def tuning(result: Result) -> str:
    """Return what was done to the model: `lora on starter`, or `base`."""
    if result.method is None:
        return "base" if result.base is None else "imported answers"
    return f"{result.method} on {result.dataset}" if result.dataset else result.method


def headline(standings: Sequence[Standing]) -> str:
    """Return one sentence: did the tuning help?"""
    compared = [s for s in standings if s.result.delta is not None]
    if not compared:
        return f"{count(len(standings), 'score')}; no tuned model has a base to compare with yet."
    verdicts = Counter(s.result.delta.verdict for s in compared if s.result.delta)
    better, number = verdicts["better"], count(len(compared), "tuned model")
    said = [f"{better} of {number} {'is' if better == 1 else 'are'} better than the base"]
    if verdicts["worse"]:
        said.append(f"{verdicts['worse']} worse")
    if verdicts["no clear difference"]:
        said.append(f"{verdicts['no clear difference']} with no clear difference")
    if verdicts["not comparable"]:
        said.append(f"{verdicts['not comparable']} not comparable with it")
    return ", ".join(said) + "."


def _row(standing: Standing, rank: int) -> dict[str, str]:
    result = standing.result
    return {
        "Rank": str(rank),
        "Model": f"[{plain(result.model)}](run?id={result.run})",
        "Tuning": ":gray-badge[base]" if standing.kind == "base" else plain(tuning(result)),
        result.metric: f"**{percent(result.value)}**",
        "95 % interval": interval(result.low, result.high),
        "vs base": _marked(standing),
        "Seed": NONE if standing.kind == "base" else str(result.seed),
        "Problems": coverage(standing),
    }


def _marked(standing: Standing) -> str:
    """Return the difference with a shape and a colour, neither of which is the only sign."""
    words = against_base(standing)
    verdict = standing.result.delta.verdict if standing.result.delta else ""
    if verdict == "better":
        return f":green[▲\u00a0{words}]"
    return f":red[▼\u00a0{words}]" if verdict == "worse" else words


def _gain(standing: Standing) -> float:
    delta = standing.result.delta
    return delta.value if delta and delta.value is not None else -2.0


def _recorded(standing: Standing) -> float:
    return standing.recorded_at.timestamp()
