"""The scores as a table, at the end of a run and from `python -m jobs results`."""

from rich.console import Console
from rich.table import Table
from sqlalchemy import Engine

from database.exchange import in_words
from database.scores import Difference
from database.standings import standings


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
            "base" if standing.kind == "base" else _against_base(result.delta),
        )
    console.print(table)


def _against_base(delta: Difference | None) -> str:
    return in_words(delta) if delta else ""
