"""Results as other tools read them, and a difference as people say it: one form everywhere."""

import csv
import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
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


def rows_as_json(rows: Sequence[Mapping[str, object]]) -> str:
    """Return rows of a page as a JSON list; moments are in ISO 8601."""
    return json.dumps([dict(row) for row in rows], indent=2, default=datetime.isoformat) + "\n"


def rows_as_csv(rows: Sequence[Mapping[str, object]]) -> str:
    """Return rows of a page as CSV under the names of the first; lists and objects as JSON."""
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _cell(value) for name, value in row.items()} for row in rows)
    return out.getvalue()


def rows_as_latex(rows: Sequence[Mapping[str, object]]) -> str:
    """Return rows of a page as a LaTeX table under the names of the first, with booktabs' rules.

    Columns of numbers stand to the right. Every text is escaped.
    """
    names = list(rows[0]) if rows else []
    numbers = {name for name in names if all(_is_number(row[name]) for row in rows)}
    columns = "".join("r" if name in numbers else "l" for name in names)
    lines = [_line(row[name] for name in names) for row in rows]
    head = ["% \\usepackage{booktabs}", rf"\begin{{tabular}}{{{columns}}}", r"\toprule"]
    return "\n".join(
        [*head, _line(names), r"\midrule", *lines, r"\bottomrule", r"\end{tabular}", ""]
    )


ESCAPED = {character: f"\\{character}" for character in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "[": "{[}",  # behind the end of a row these two would be read as its options
    "*": "{*}",
    "\u00a0": "~",
    "\u2013": "--",
}


def latex_text(value: object) -> str:
    """Return a value as LaTeX prints it to the letter, on one line; None is an empty cell."""
    text = "" if value is None else str(value)
    text = "".join(ESCAPED.get(c, c if c.isprintable() else " ") for c in text)
    return re.sub(r"(?<!\w)-(?=\d)", "$-$", text)


def _line(cells: Iterable[object]) -> str:
    return " & ".join(latex_text(cell) for cell in cells) + r" \\"


def _is_number(value: object) -> bool:
    return value is None or isinstance(value, int | float)


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
