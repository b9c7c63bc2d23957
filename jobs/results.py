"""The scores as a table, at the end of a run and from `python -m jobs results`."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from sqlalchemy import Engine

from database.comparisons import Difference
from database.exchange import in_words
from database.queries import runs
from database.spread import (
    OverSeeds,
    differing_fields,
    gain_in_words,
    over_seeds,
    worth_a_table,
)
from database.standings import standings


def show_results(
    ledger: Engine, experiment: str | None, console: Console, *, by_recipe: bool = False
) -> None:
    """Print the scores, best first within a benchmark and metric.

    Below them, the recipes over their seeds: where one has several, or two compare, or `by_recipe`
    asks for it.

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
    recipes = over_seeds(found, {run.id: run.spec for run in runs(ledger)})
    if recipes and (by_recipe or worth_a_table(recipes)):
        _show_recipes(recipes, console)


def _show_recipes(recipes: Sequence[OverSeeds], console: Console) -> None:
    differing = differing_fields(recipes)
    table = Table(
        "benchmark", "metric", "recipe", *differing, "seeds", "mean", "deviation", "range",
        "against its base", title="By recipe, over seeds",
    )  # fmt: skip
    for recipe in recipes:
        deviation = recipe.deviation
        table.add_row(
            recipe.benchmark,
            recipe.metric,
            f"{recipe.model} {recipe.dataset} {recipe.method}",
            *(str(recipe.fields.get(name, "default")) for name in differing),
            str(len(recipe.seeds)),
            f"{100 * recipe.mean:.1f}",
            "" if deviation is None else f"{100 * deviation:.1f}",
            f"{100 * recipe.lowest:.1f} to {100 * recipe.highest:.1f}",
            gain_in_words(recipe),
        )
    console.print(table)
    console.print(
        "Deviation, range and interval (95 %) are over seeds of training on the same problems; "
        "other problems may give another mean.",
        style="dim",
    )


def _against_base(delta: Difference | None) -> str:
    return in_words(delta) if delta else ""
