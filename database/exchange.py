"""Results as other tools read them, and a difference as people say it: one form everywhere."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, fields
from datetime import datetime
from typing import Any

from database.comparisons import Difference
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
    """Return dataclasses of one kind as CSV, its fields in their order."""
    out = io.StringIO()
    names = [field.name for field in fields(kind)]
    writer = csv.DictWriter(out, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(fact) for fact in found)
    return out.getvalue()


def in_words(delta: Difference) -> str:
    """Return `+41.3 points, better (37.0 to 45.6)`; the verdict alone where there is no value."""
    if delta.value is None or delta.low is None or delta.high is None:
        return delta.verdict
    value, low, high = (100 * part for part in (delta.value, delta.low, delta.high))
    return f"{value:+.1f} points, {delta.verdict} ({low:.1f} to {high:.1f})"


def _flat(result: Result) -> dict[str, Any]:
    row = asdict(result)
    delta = row.pop("delta") or {}
    return row | {f"delta_{name}": delta.get(name) for name in DELTA}
