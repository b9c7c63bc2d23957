"""`python -m jobs results`: the scores as a table, as JSON and as CSV."""

import csv
import json
import sys
from dataclasses import asdict, fields
from typing import Any

from rich.console import Console
from rich.table import Table
from sqlalchemy import Engine

from database.facts import Result
from database.scores import Difference
from database.standings import scores, standings

DELTA = [field.name for field in fields(Difference)]


def show_results(ledger: Engine, experiment: str | None, console: Console) -> None:
    """Print the scores, best first within a benchmark and metric.

    Raises:
        LedgerError: the ledger holds no such experiment.
    """
    found = standings(ledger, experiment=experiment)
    if not found:
        console.print("No scores yet. Run `make train-all`.")
        return
    table = Table("benchmark", "metric", "what", "score", "95 % interval", "against its base")
    for standing in found:
        result = standing.result
        table.add_row(
            result.benchmark,
            result.metric,
            standing.label,
            f"{100 * result.value:.1f}",
            f"{100 * result.low:.1f} to {100 * result.high:.1f}",
            in_words(result.delta) if standing.kind != "base" else "base",
        )
    console.print(table)


def in_words(delta: Difference | None) -> str:
    """A difference as a person says it, in percentage points."""
    if delta is None:
        return ""
    if delta.value is None or delta.low is None or delta.high is None:
        return delta.verdict
    value, low, high = (100 * part for part in (delta.value, delta.low, delta.high))
    return f"{value:+.1f} points ({low:+.1f} to {high:+.1f}): {delta.verdict}"


def print_json(ledger: Engine, experiment: str | None) -> None:
    """Print a JSON list, one object per score."""
    print(json.dumps([asdict(result) for result in scores(ledger, experiment)], indent=2))


def print_csv(ledger: Engine, experiment: str | None) -> None:
    """Print the same as CSV, the difference in columns `delta_value` and so on."""
    names = [field.name for field in fields(Result) if field.name != "delta"]
    writer = csv.DictWriter(sys.stdout, names + [f"delta_{name}" for name in DELTA])
    writer.writeheader()
    writer.writerows(_flat(result) for result in scores(ledger, experiment))


def _flat(result: Result) -> dict[str, Any]:
    row = asdict(result)
    delta = row.pop("delta") or dict.fromkeys(DELTA)
    return row | {f"delta_{name}": value for name, value in delta.items()}
