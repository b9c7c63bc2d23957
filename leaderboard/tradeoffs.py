"""Score against what a model costs: who is best at each price. All but the drawing is pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from database.exchange import rank_in_words
from leaderboard.charts import Spec, kinds_apart
from leaderboard.entries import Entry
from leaderboard.words import percent

Place = Literal["on the line", "tied with the line", "below the line"]
TOLD = ("run", "solved", "price", "rank", "place")
"""Of a point below the pointer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """What a score is set against; less of it is better."""

    title: str
    value: Callable[[Entry], float | None]
    """None: not known of this entry."""
    form: str
    """Of a value in words."""


AXES: dict[str, Axis] = {
    "Size": Axis(
        title="10⁹ parameters, as names say", value=lambda entry: entry.size, form="{:g}B"
    ),
    "GPU hours": Axis(
        title="GPU hours of training and asking",
        value=lambda entry: entry.cost.gpu_hours if entry.cost else None,
        form="{:.3g} GPU h",
    ),
    "Tokens": Axis(
        title="Tokens drawn for all answers",
        value=lambda entry: entry.cost.tokens if entry.cost else None,
        form="{:,.0f} tokens",
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One score at its price."""

    entry: Entry
    x: float
    place: Place


def known(entries: Sequence[Entry]) -> list[str]:
    """Return the axes on which at least two entries stand apart."""
    return [
        name
        for name, axis in AXES.items()
        if len({value for entry in entries if (value := axis.value(entry)) is not None}) > 1
    ]


def points(entries: Sequence[Entry], axis: Axis) -> list[Point]:
    """Return the entries whose price is known, the cheapest first, and where each stands.

    On the line: no other has as good a score for as little. Tied with it: another one has, but
    both may have the same rank on another draw of the problems.
    """
    priced = [(x, entry) for entry in entries if (x := axis.value(entry)) is not None and x > 0]
    priced.sort(key=lambda pair: (pair[0], -pair[1].standing.result.value))
    found: list[Point] = []
    best: Entry | None = None
    for x, entry in priced:
        place: Place = "on the line"
        if best is not None and entry.standing.result.value <= best.standing.result.value:
            place = "tied with the line" if _may_tie(entry, best) else "below the line"
        else:
            best = entry
        found.append(Point(entry=entry, x=x, place=place))
    return found


def _may_tie(entry: Entry, best: Entry) -> bool:
    ours, theirs = entry.standing.result, best.standing.result
    if ours.rank_low is None or theirs.rank_high is None:
        return False
    return ours.rank_low <= theirs.rank_high


def chart(found: Sequence[Point], axis: Axis) -> Spec:
    """Draw scores against their price, with the line through the best at each price."""
    on_the_line = "datum.place == 'on the line'"
    kind = kinds_apart(point.entry.standing.kind for point in found)
    return {
        "data": {"values": [_drawn(point, axis) for point in found]},
        "height": 320,
        "encoding": {
            "x": {
                "field": "x",
                "type": "quantitative",
                "title": axis.title,
                "scale": {"type": "log", "nice": False, "padding": 24},
            },
            "y": {
                "field": "score",
                "type": "quantitative",
                "title": "Percent solved",
                "scale": {"zero": False},
            },
        },
        "layer": [
            {
                "transform": [{"filter": on_the_line}],
                "mark": {
                    "type": "line",
                    "strokeDash": [5, 4],
                    "opacity": 0.7,
                    "color": "gray",
                    "interpolate": "step-after",
                },
            },
            {
                "mark": {"type": "point", "size": 90, "strokeWidth": 1.8},
                "encoding": {
                    "color": kind,
                    "shape": kind,
                    "fill": kind | {"legend": None},
                    "fillOpacity": _where(on_the_line, 1, 0),
                    "opacity": _where("datum.place == 'below the line'", 0.4, 1),
                    "tooltip": [{"field": name} for name in TOLD],
                },
            },
        ],
    }


def _where(test: str, this: float, other: float) -> Spec:
    return {"condition": {"test": test, "value": this}, "value": other}


def words(found: Sequence[Point], axis: Axis) -> str:
    """Return the line in words."""
    said = [
        f"{point.entry.name}: {percent(point.entry.standing.result.value)} at "
        f"{axis.form.format(point.x)}"
        for point in found
        if point.place == "on the line"
    ]
    return f"Scores against {axis.title}. Best at their price: {'; '.join(said)}."


def _drawn(point: Point, axis: Axis) -> dict[str, Any]:
    result = point.entry.standing.result
    return {
        "run": point.entry.name,
        "kind": point.entry.standing.kind,
        "x": point.x,
        "score": round(100 * result.value, 2),
        "solved": percent(result.value),
        "price": axis.form.format(point.x),
        "rank": rank_in_words(result),
        "place": point.place,
    }
