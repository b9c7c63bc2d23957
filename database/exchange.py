"""Results as other tools read them, and a difference as people say it: one form everywhere."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, fields
from datetime import datetime
from typing import Any

from database.comparisons import Difference, Verdict
from database.facts import Result

DELTA = tuple(field.name for field in fields(Difference))
COLUMNS = (
    *(field.name for field in fields(Result) if field.name != "delta"),
    *(f"delta_{name}" for name in DELTA),
)


def as_json(results: Sequence[Result]) -> str:
    """Return the results as a JSON list, one object per score."""
    return json.dumps([asdict(result) for result in results], indent=2) + "\n"


def as_csv(results: Sequence[Result]) -> str:
    """Return the results as CSV; the difference is spread over `delta_value`, `delta_low` ..."""
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(_flat(result) for result in results)
    return out.getvalue()


def facts_as_json(found: Sequence[Any]) -> str:
    """Return dataclasses as a JSON list; moments are in ISO 8601."""
    return json.dumps([asdict(fact) for fact in found], indent=2, default=datetime.isoformat) + "\n"


def facts_as_csv(kind: type[Any], found: Sequence[Any]) -> str:
    """Return dataclasses of one kind as CSV, its fields in order; lists and objects as JSON."""
    out = io.StringIO()
    names = [field.name for field in fields(kind)]
    writer = csv.DictWriter(out, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _cell(value) for name, value in asdict(fact).items()} for fact in found)
    return out.getvalue()


def _cell(value: Any) -> Any:
    """A list or an object as JSON, all else as it is."""
    return json.dumps(value) if isinstance(value, list | tuple | dict) else value


def in_words(delta: Difference, verdict: Verdict | None = None) -> str:
    """Return `+41.3 points, better (37.0 to 45.6)`; the verdict alone where there is no value.

    Args:
        delta: against the base.
        verdict: in view of other comparisons; None: that of this one alone.
    """
    if delta.value is None or delta.low is None or delta.high is None:
        return delta.verdict
    value, low, high = (100 * part for part in (delta.value, delta.low, delta.high))
    return f"{value:+.1f} points, {verdict or delta.verdict} ({low:.1f} to {high:.1f})"


def rank_in_words(result: Result) -> str:
    """Return `1`, or `2-3` where another draw of problems may rank it otherwise; empty: no rank."""
    if result.rank_low is None or result.rank_high is None:
        return ""
    one = result.rank_low == result.rank_high
    return str(result.rank_low) if one else f"{result.rank_low}-{result.rank_high}"


def gap_in_words(gap: float | None) -> str:
    """Return which gaps cannot be told apart, of `database.in_view.gap_in_view`."""
    if gap is None:
        return "No gap can be told apart on so few problems."
    points = f"{100 * gap:.1f}" if gap < 0.1 else f"{100 * gap:.0f}"
    return f"Gaps under about {points} points cannot be told apart on this benchmark."


def _flat(result: Result) -> dict[str, Any]:
    row = asdict(result)
    delta = row.pop("delta") or {}
    row["flags"] = " ".join(row["flags"])
    return row | {f"delta_{name}": delta.get(name) for name in DELTA}
