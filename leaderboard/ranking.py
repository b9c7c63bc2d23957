"""From standings to the ranked table, its order and its files. Every function is pure."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from database.exchange import rank_in_words
from database.facts import Result, Standing
from database.in_view import family_size
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A further column of the table: what is known of some runs only."""

    name: str
    cells: Mapping[str, str]
    """Markdown, by run; a run without one gets a dash."""


def table(
    standings: Sequence[Standing], order: str, further: Sequence[Column] = ()
) -> list[dict[str, str]]:
    """Return the rows of the page's table, in the named order; cells are Markdown.

    Args:
        standings: scores under one contract, with their ranks: what `in_view` returned.
        order: a key of `ORDERS`.
        further: columns at the end; one that has no cell is left out.
    """
    shown = [column for column in further if column.cells]
    return [
        _row(s) | {column.name: column.cells.get(s.result.run, NONE) for column in shown}
        for s in ordered(standings, order)
    ]


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
    verdicts = Counter(s.result.verdict for s in compared)
    better, number = verdicts["better"], count(len(compared), "tuned model")
    verb = "is" if 1 in (better, len(compared)) else "are"
    said = [f"{better} of {number} {verb} better than the base"]
    if verdicts["worse"]:
        said.append(f"{verdicts['worse']} worse")
    if verdicts["no clear difference"]:
        said.append(f"{verdicts['no clear difference']} with no clear difference")
    if verdicts["not comparable"]:
        said.append(f"{verdicts['not comparable']} not comparable with it")
    return ", ".join(said) + "."


def covers(standings: Sequence[Standing]) -> str:
    """Return what the intervals, ranks and verdicts of a table stand for."""
    said = [
        "Intervals are 95 %, over problems; ranks are what 95 of 100 draws of the problems give."
    ]
    if any(s.result.coverage < 1 for s in standings):
        said.append("Scores without a verdict on every problem are neither ranked nor compared.")
    if (number := family_size(standings)) > 1:
        said.append(
            f"A model is called better or worse at p < 0.05 over all {number} comparisons shown "
            "(Holm)."
        )
    return " ".join(said)


def _row(standing: Standing) -> dict[str, str]:
    result = standing.result
    return {
        "Rank": rank_in_words(result) or NONE,
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
    words, verdict = against_base(standing), standing.result.verdict
    if verdict == "better":
        return f":green[▲\u00a0{words}]"
    return f":red[▼\u00a0{words}]" if verdict == "worse" else words


def _gain(standing: Standing) -> float:
    delta = standing.result.delta
    return delta.value if delta and delta.value is not None else -2.0


def _recorded(standing: Standing) -> float:
    return standing.recorded_at.timestamp()
