"""The charts, each with a description for those who do not see it."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import altair as alt

from database.facts import Standing
from leaderboard.words import interval, names_of, percent

Spec = dict[str, Any]
"""A chart in plain Vega-Lite, where a page has to be there at once: Altair takes longer to check
two charts than all else of the board takes together."""
KINDS = ["base", "tuned", "imported"]
"""Of runs."""
DRAWN = 40
"""Scores of the interval plot at most; more could not be read."""


def interval_plot(standings: Sequence[Standing]) -> Spec:
    """Draw the first scores with their 95 % intervals, top to bottom in the order given."""
    standings = standings[:DRAWN]
    names = names_of(standings)
    kind = kinds_apart(one.kind for one in standings)
    across = {"title": "Percent solved", "tickCount": 10}
    down = {
        "title": None,
        "labelLimit": {"expr": "containerSize()[0] < 420 ? 130 : 260"},  # a phone needs the room
        "labelBound": False,
        "labelFlush": False,
        "domain": False,
        "ticks": False,
    }
    score = {
        "field": "value",
        "type": "quantitative",
        "scale": {"domain": [0, 100]},
        "axis": across,
    }
    return {
        "data": {"values": [_drawn(one, name) for one, name in zip(standings, names, strict=True)]},
        "height": {"step": 28},
        "encoding": {
            "y": {"field": "run", "type": "nominal", "sort": names, "axis": down},
            "color": kind,
            "tooltip": [{"field": name} for name in ("run", "score", "interval")],
        },
        "layer": [
            {
                "mark": {"type": "rule", "strokeWidth": 3},
                "encoding": {
                    "x": {"field": "low", "type": "quantitative"},
                    "x2": {"field": "high"},
                },
            },
            {
                "mark": {"type": "point", "filled": True, "size": 110, "opacity": 1},
                "encoding": {"x": score, "shape": kind},
            },
        ],
    }


def kinds_apart(kinds: Iterable[str]) -> Spec:
    """Return how kinds of runs are told apart: each has its colour and shape in every chart."""
    there = set(kinds)
    legend = {"title": None, "orient": "top", "values": [kind for kind in KINDS if kind in there]}
    return {"field": "kind", "type": "nominal", "scale": {"domain": KINDS}, "legend": legend}


def interval_words(standings: Sequence[Standing]) -> str:
    """Return the interval plot in words."""
    standings = standings[:DRAWN]
    said = [
        f"{name}: {percent(s.result.value)}, {interval(s.result.low, s.result.high)}"
        for s, name in zip(standings, names_of(standings), strict=True)
    ]
    return "Scores with 95 % intervals, in percent. " + "; ".join(said) + "."


def lengths_chart(lengths: Mapping[str, Any]) -> alt.Chart:
    """Draw how many rows are how long.

    Args:
        lengths: the fields of `jobs.data.report.Lengths`.
    """
    rows = [{"tokens": name, "rows": rows} for name, rows in _bins(lengths)]
    return (
        alt.Chart(alt.Data(values=rows), height=220)
        .mark_bar()
        .encode(
            x=alt.X("tokens:O", sort=None, title="Tokens of prompt and response"),
            y=alt.Y("rows:Q", title="Rows", axis=alt.Axis(tickMinStep=1, format=",d")),
            tooltip=["tokens:O", alt.Tooltip("rows:Q", format=",d")],
        )
    )


def lengths_words(lengths: Mapping[str, Any]) -> str:
    """Return the lengths in words."""
    said = ", ".join(f"{name}: {rows:,}" for name, rows in _bins(lengths))
    return f"Rows by tokens of prompt and response. {said}. {longest_words(lengths)}"


def longest_words(lengths: Mapping[str, Any]) -> str:
    """Return the longest row and the sum, and whose tokens they are."""
    return (
        f"The longest row has {lengths['longest']:,} tokens, one pass {lengths['total']:,}, "
        f"as {lengths['tokenizer']} counts them."
    )


def _bins(lengths: Mapping[str, Any]) -> list[tuple[str, int]]:
    """Return a name and the rows of every bin; the last is open above."""
    edges = lengths["edges"]
    names = [f"{low:,} to {high - 1:,}" for low, high in pairwise(edges)]
    return list(zip([*names, f"{edges[-1]:,} or more"], lengths["counts"], strict=True))


def _drawn(standing: Standing, name: str) -> dict[str, str | float]:
    result = standing.result
    return {
        "run": name,
        "kind": standing.kind,
        "value": round(100 * result.value, 2),
        "low": round(100 * result.low, 2),
        "high": round(100 * result.high, 2),
        "score": percent(result.value),
        "interval": interval(result.low, result.high),
    }
