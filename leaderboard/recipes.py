"""From recipes over their seeds to the table below the board. Every function is pure."""

from collections.abc import Sequence

from database.spread import OverSeeds, differing_fields, field_of, gain_in_words, seeds_in_words
from leaderboard.words import JOINED, NONE, interval, percent, plain

COVERS = (
    "Deviation, range and interval (95 %) are over seeds: what training again, with another seed, "
    "may give on the same problems. Other problems may give another mean. Seeds that a sweep "
    "stopped did worse than others and have no score, so a mean without them flatters the recipe."
)
SHOWN = 15
"""Recipes of the table at most: each cell is Markdown, of which a browser draws hundreds slowly."""


def recipe_table(found: Sequence[OverSeeds]) -> list[dict[str, str]]:
    """Return the rows of the first recipes in the order given; cells are Markdown.

    Each field in which the recipes differ is a column.
    """
    differing = differing_fields(found)
    return [_row(recipe, differing) for recipe in found[:SHOWN]]


def covers(found: Sequence[OverSeeds]) -> str:
    """Return what the table stands for, and which recipes it leaves out."""
    if len(found) <= SHOWN:
        return COVERS
    few = f"The best {SHOWN} of {len(found):,} recipes"
    return f"{few}; `python -m jobs results --by-recipe` prints all. {COVERS}"


def _row(recipe: OverSeeds, differing: Sequence[str]) -> dict[str, str]:
    tuning = f"{recipe.method} on {recipe.dataset}" if recipe.dataset else str(recipe.method)
    return {
        "Model": plain(recipe.model),
        "Tuning": plain(tuning),
        **{plain(name): plain(_value(field_of(recipe, name))) for name in differing},
        f"{recipe.metric}, mean": f"**{percent(recipe.mean)}**",
        "Seeds": seeds_in_words(recipe),
        "Deviation": NONE if recipe.deviation is None else percent(recipe.deviation),
        "Range": interval(recipe.lowest, recipe.highest),
        "vs base, mean": " (".join(
            part.translate(JOINED) for part in gain_in_words(recipe).split(" (")
        ),
    }


def _value(value: object) -> str:
    """A field that has its default is not in a run's spec."""
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "default" if value is None else str(value)
