"""The scores as a table, at the end of a run and from `python -m jobs results`."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from sqlalchemy import Engine

from database.anomalies import Anomaly, anomalies, key_of
from database.exchange import gap_in_words, in_words, rank_in_words
from database.facts import Result, Standing
from database.in_view import family_size, gap_in_view, in_view
from database.queries import runs
from database.spread import (
    OverSeeds,
    differing_fields,
    field_of,
    gain_in_words,
    over_seeds,
    seeds_in_words,
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
    found = in_view(standings(ledger, experiment=experiment))
    if not found:
        console.print("No scores yet. Run `make train-all`.")
        return
    table = Table(
        "benchmark", "metric", "rank", "what", "score", "95 % interval", "against its base",
        "judged",
    )  # fmt: skip
    odd = anomalies(ledger, found)
    if odd:
        table.add_column("before it is believed")
    for standing in found:
        told = [_odd(odd.get(key_of(standing), ()))] if odd else []
        table.add_row(*map(escape, (*_cells(standing), *told)))
    console.print(table)
    for said in _below(found):
        console.print(said, style="dim", markup=False)
    recipes = over_seeds(found, runs(ledger))
    if recipes and (by_recipe or worth_a_table(recipes)):
        _show_recipes(recipes, console)


def recipes_of(ledger: Engine, experiment: str | None) -> list[OverSeeds]:
    """The recipes over their seeds, for other tools.

    Raises:
        LedgerError: the ledger holds no such experiment.
    """
    return over_seeds(standings(ledger, experiment=experiment), runs(ledger))


def _cells(standing: Standing) -> list[str]:
    result = standing.result
    return [
        result.benchmark,
        result.metric,
        rank_in_words(result),
        standing.label,
        f"{100 * result.value:.1f}",
        f"{100 * result.low:.1f} to {100 * result.high:.1f}",
        "base" if standing.kind == "base" else _against_base(result),
        f"{result.problems} of {standing.asked}",
    ]


def _odd(found: Sequence[Anomaly]) -> str:
    """What is odd about a score, one line for each kind."""
    return "\n".join(anomaly.words for anomaly in found)


def _below(found: Sequence[Standing]) -> Iterator[str]:
    """What the table cannot tell, for each benchmark, and how many comparisons it judges."""
    groups: dict[tuple[str, str, str], list[Standing]] = defaultdict(list)
    for standing in found:
        result = standing.result
        groups[result.benchmark, result.metric, result.contract].append(standing)
    for (benchmark, metric, contract), group in groups.items():
        yield f"{benchmark} {metric}, contract {contract}: {gap_in_words(gap_in_view(group))}"
    if (number := family_size(found)) > 1:
        yield f"Better or worse is said at p < 0.05 over all {number} comparisons above (Holm)."


def _show_recipes(recipes: Sequence[OverSeeds], console: Console) -> None:
    differing = differing_fields(recipes)
    named = map(escape, differing)
    table = Table(
        "benchmark", "metric", "recipe", *named, "seeds", "mean", "deviation", "range",
        "against its base", title="By recipe, over seeds",
    )  # fmt: skip
    for recipe in recipes:
        deviation = recipe.deviation
        table.add_row(
            escape(recipe.benchmark),
            recipe.metric,
            escape(f"{recipe.model} {recipe.dataset} {recipe.method}"),
            *(escape(_shown(field_of(recipe, name))) for name in differing),
            seeds_in_words(recipe),
            f"{100 * recipe.mean:.1f}",
            "" if deviation is None else f"{100 * deviation:.1f}",
            f"{100 * recipe.lowest:.1f} to {100 * recipe.highest:.1f}",
            escape(gain_in_words(recipe)),
        )
    console.print(table)
    console.print(
        "Deviation, range and interval (95 %) are over seeds of training on the same problems; "
        "other problems may give another mean. Seeds that a sweep stopped did worse than others: a "
        "mean without them flatters the recipe.",
        style="dim",
    )


def _shown(value: Any) -> str:
    """A field that has its default is not in a run's spec."""
    return "default" if value is None else str(value)


def _against_base(result: Result) -> str:
    if result.why:
        return f"not comparable: {result.why}"
    return in_words(result.delta, result.verdict) if result.delta else ""
