"""What to know before a score is believed, and what it cost, in words. Every function is pure."""

import re
from collections.abc import Mapping, Sequence

from database.anomalies import Anomaly, Key, Kind, key_of
from database.costs import CPU, Cost, Price, Spell, cost_key
from database.facts import Standing
from leaderboard.words import JOINED, count, percent, plain, span

Costs = Mapping[tuple[str, str, str, str], Cost]
Found = Mapping[Key, Sequence[Anomaly]]
SHARES: dict[Kind, str] = {
    "extraction": "no program",
    "length": "cut off",
    "identical": "same as its base",
}
"""Kinds that a badge tells as a share, and what it calls them."""
MEANING: dict[Kind, str] = {
    "extraction": "the extraction that was asked for found no program in many answers, so how the "
    "answers are written was judged as well",
    "empty": "answers without a word; the model may not know how to end, or how to begin",
    "length": "many answers were cut off at the length limit, and a cut program seldom passes",
    "identical": "nearly all first answers are those of the base to the letter: was the adapter "
    "loaded?",
    "overlap": "rows that it was trained on touch problems it was asked",
    "prefilled": "the head of the function was given to it or to its base, but not to both",
    "older": "problems were published before the model, which may have learnt them",
}
"""What each kind of flag says of a score."""


def meanings(entries: Sequence[Sequence[Anomaly]]) -> list[str]:
    """Return what the flags of some scores mean as Markdown, a line for each kind that is there."""
    there = {anomaly.kind: anomaly for odd in entries for anomaly in odd}
    names = {kind: short(one).split(":")[0] for kind, one in there.items()}
    return [
        f":orange-badge[{_any_number(names[kind])}] {MEANING[kind]}."
        for kind in MEANING
        if kind in there
    ]


def _any_number(name: str) -> str:
    """Say `newer than some problems` for `newer than 12 problems`."""
    return re.sub(r"\d[\d,]* problems?", "some problems", name)


def badge(anomaly: Anomaly) -> str:
    """Return an anomaly as Markdown draws it in a table."""
    return f":orange-badge[{short(anomaly)}]"


def short(anomaly: Anomaly) -> str:
    """Return an anomaly in two or three words."""
    match anomaly.kind:
        case "overlap":
            return f"overlap: {count(anomaly.count, 'problem')}"
        case "older":
            return f"newer than {count(anomaly.count, 'problem')}"
        case "empty":
            return f"empty: {count(anomaly.count, 'answer')}"
        case "prefilled":
            return "function named for one side"
        case _:
            return f"{SHARES[anomaly.kind]}: {percent(anomaly.share)}"


def sentences(standings: Sequence[Standing], found: Found) -> list[str]:
    """Return what is odd about scores as Markdown, once for those that share it."""
    said: dict[str, None] = {}
    for standing in standings:
        name = plain(standing.result.benchmark)
        for anomaly in found.get(key_of(standing), ()):
            said[f"**{name}**, contract `{standing.result.contract}`: {plain(anomaly.words)}."] = (
                None
            )
    return list(said)


def in_short(cost: Cost, price: Price | None) -> str:
    """Return `2.4 GPU h, 5.98 USD`, `40 s CPU`, or both where both worked; spaces do not break."""
    kinds: dict[str, float] = {}
    for spell in (cost.training, cost.asking):
        if spell is not None:
            kinds[_kind(spell)] = kinds.get(_kind(spell), 0.0) + spell.seconds
    told = [f"{span(seconds)} {kind}" for kind, seconds in kinds.items()]
    if (paid := money(cost, price)) is not None:
        told.append(paid)
    return ", ".join(part.translate(JOINED) for part in told)


def costs_said(standings: Sequence[Standing], known: Costs, price: Price | None) -> list[str]:
    """Return all that is known of what scores cost as Markdown, one line a score."""
    return [
        f"**{plain(s.result.benchmark)}** {s.result.metric}, contract `{s.result.contract}`: "
        f"{plain(in_full(cost, price))}."
        for s in standings
        if (cost := known.get(cost_key(s)))
    ]


def money(cost: Cost, price: Price | None) -> str | None:
    """Return `5.98 USD` or `5.98 USD (training only)`: GPU hours at a price; None: it has none."""
    amount = None if price is None else cost.money(price)
    if price is None or amount is None:
        return None
    part = f" ({cost.priced} only)" if cost.priced else ""
    said = f"{amount:.2f}" if amount >= 0.005 else "under 0.01"
    return f"{said} {price.currency}{part}"


def _kind(spell: Spell) -> str:
    if spell.device == CPU:
        return "CPU"
    return "server" if spell.gpu_hours is None else "GPU"


def in_full(cost: Cost, price: Price | None) -> str:
    """Return all that is known of a cost, as one sentence without its full stop."""
    told = [*_asking(cost), *_training(cost)]
    if price is not None and (paid := money(cost, price)) is not None:
        told.append(f"{paid} at {price.amount:g} {price.currency} for a GPU hour")
    return "; ".join(told)


def _asking(cost: Cost) -> list[str]:
    if cost.asking is None:
        return []
    said = [f"asked in {span(cost.asking.seconds)} on {cost.asking.device}"]
    if cost.prompt_tokens is not None and cost.tokens is not None:
        said.append(f"{cost.prompt_tokens:,} tokens read, {cost.tokens:,} drawn")
    if cost.tokens_per_second is not None:
        said.append(f"{cost.tokens_per_second:,.0f} a second")
    return [", ".join(said)]


def _training(cost: Cost) -> list[str]:
    if cost.training is None:
        return []
    said = [f"trained for {span(cost.training.seconds)} on {cost.training.device}"]
    if cost.training_tokens is not None:
        said.append(f"{cost.training_tokens:,} tokens")
    if cost.points_per_hour is not None:
        device = "GPU" if cost.training.gpu_hours is not None else "CPU"
        said.append(f"{cost.points_per_hour:+,.1f} points for each {device} hour of it")
    elif cost.gained is not None:
        said.append(f"{cost.gained:+,.1f} points for {span(cost.training.seconds)}")
    return [", ".join(said)]
