"""Recipes over their seeds: what is grouped, and the numbers beside scipy's and numpy's."""

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import streamlit as st
from hypothesis import given
from hypothesis import strategies as hyp
from plausible_rows import ASKING, BASE, JUDGING, base_run, judged, problems, tuned_run
from rich.console import Console
from scipy import stats
from streamlit.testing.v1 import AppTest

from database import open_ledger, queries, write
from database.schema import Contract
from database.spread import (
    differing_fields,
    field_of,
    gain_in_words,
    interval_of_mean,
    over_seeds,
    seeds_in_words,
    worth_a_table,
)
from jobs.__main__ import main
from jobs.results import show_results
from leaderboard.recipes import covers, recipe_table

APP = str(Path(__file__).parents[1] / "leaderboard" / "app.py")
BASE_PASSES = [place % 3 == 0 for place in range(40)]
LORA = {"kind": "lora", "rank": 8}
OTHER = Contract(id="judging00002", kind="judging", content={"seconds": 20})


def seeded(seed, passes, method=LORA, name="lora rank=8", digit=None, judging=JUDGING, **more):
    """A run of a recipe: `passes` of 40 problems, twice each."""
    run_id = (digit or str(seed)) * 12
    spec = {"base": "b", "data": {"rows": 1}, "method": method, "seed": seed}
    run = tuned_run(run_id, seed=seed, method=name, spec=spec, **more)
    return [run, *judged(run_id, [2 if place < passes else 0 for place in range(40)],
                         judging=judging)]  # fmt: skip


def found(ledger, **narrowed):
    standings = queries.standings(ledger, **narrowed)
    return over_seeds(standings, queries.runs(ledger))


@pytest.fixture
def based():
    """A ledger with a base, on SQLite: nothing here asks SQL anything new."""
    ledger = open_ledger()
    write(ledger, [ASKING, JUDGING, OTHER, base_run(), *problems(40), *judged(BASE, BASE_PASSES)])
    yield ledger
    ledger.dispose()


def test_runs_that_differ_in_their_seed_only_are_one_recipe(based):
    for seed, passes in ((2, 30), (0, 20), (1, 28)):
        write(based, seeded(seed, passes))

    (recipe,) = found(based)
    values = [20 / 40, 28 / 40, 30 / 40]
    assert (recipe.seeds, recipe.method, recipe.fields) == ((0, 1, 2), "lora rank=8", LORA)
    assert recipe.runs == ("0" * 12, "1" * 12, "2" * 12)
    assert recipe.mean == pytest.approx(np.mean(values))
    assert recipe.deviation == pytest.approx(np.std(values, ddof=1))
    assert (recipe.lowest, recipe.highest) == (0.5, 0.75)


def test_the_gain_is_the_mean_of_the_paired_differences_with_students_interval(based):
    for seed, passes in ((0, 20), (1, 28), (2, 30)):
        write(based, seeded(seed, passes))

    (recipe,) = found(based)
    base = np.mean([passed / 2 for passed in BASE_PASSES])
    gains = np.array([20, 28, 30]) / 40 - base
    expected = stats.ttest_1samp(gains, 0).confidence_interval(0.95)
    assert recipe.gain == pytest.approx(gains.mean())
    assert (recipe.gain_low, recipe.gain_high) == pytest.approx((expected.low, expected.high))


@given(hyp.lists(hyp.floats(-1, 1).map(lambda x: round(x, 3)), min_size=2, max_size=8))
def test_the_interval_is_scipys(values):
    interval = interval_of_mean(values)

    if len(set(values)) == 1:
        assert interval is None
        return
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert interval == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_one_seed_has_no_deviation_and_no_interval(based):
    write(based, seeded(0, 30))

    (recipe,) = found(based)
    assert recipe.deviation is None
    assert (recipe.gain_low, recipe.gain_high) == (None, None)
    assert gain_in_words(recipe) == "+57.5 points"


def test_another_method_dataset_or_contract_is_another_group(based):
    write(based, seeded(0, 30))
    write(based, seeded(1, 20, method=LORA | {"rank": 16}, name="lora rank=16"))
    write(based, seeded(2, 10, judging=OTHER))
    other_data = tuned_run("3" * 12, seed=3, spec={"base": "b", "data": {"rows": 2},
                                                   "method": LORA, "seed": 3})  # fmt: skip
    write(based, [other_data, *judged("3" * 12, [2] * 40)])

    groups = found(based)
    assert [len(recipe.seeds) for recipe in groups] == [1, 1, 1, 1]
    assert [recipe.mean for recipe in groups] == [1.0, 0.75, 0.5, 0.25]


def test_seeds_that_a_sweep_stopped_are_told_and_take_the_interval_away(based):
    write(based, [*seeded(0, 30), *seeded(1, 34)])
    for digit, seed, method in (("2", 2, LORA), ("3", 3, LORA), ("4", 4, LORA | {"rank": 16})):
        spec = {"base": "b", "data": {"rows": 1}, "method": method, "seed": seed}
        write(based, [tuned_run(digit * 12, seed=seed, spec=spec, state="stopped")])

    (recipe,) = found(based)
    assert (recipe.seeds, recipe.stopped) == ((0, 1), 2)
    assert seeds_in_words(recipe) == "2 of 4, 2 stopped"
    assert (recipe.gain_low, recipe.gain_high) == (None, None)
    assert gain_in_words(recipe) == "+62.5 points (of the seeds kept; the recipe may do worse)"


def test_recipes_that_look_alike_are_told_apart_by_what_differs(based):
    write(based, seeded(0, 30, dataset_digest="d" * 12))
    spec = {"base": "b", "data": {"rows": 2}, "method": LORA, "seed": 0,
            "parallelism": {"strategy": "zero2"}}  # fmt: skip
    other = tuned_run("1" * 12, seed=0, method="lora rank=8", spec=spec, dataset_digest="e" * 12)
    write(based, [other, *judged("1" * 12, [2] * 40)])

    groups = found(based)
    assert differing_fields(groups) == ["data", "strategy"]
    assert [field_of(recipe, "data") for recipe in groups] == ["e" * 12, "d" * 12]
    assert [field_of(recipe, "strategy") for recipe in groups] == ["zero2", None]


def test_recipes_come_as_json_and_csv(based, capsys):
    based.dispose()
    engine = open_ledger()
    write(engine, [ASKING, JUDGING, base_run(), *problems(40), *judged(BASE, BASE_PASSES)])
    write(engine, [*seeded(0, 20), *seeded(1, 28)])
    engine.dispose()

    assert main(["results", "--by-recipe", "--json"]) == 0
    (recipe,) = json.loads(capsys.readouterr().out)
    assert (recipe["seeds"], recipe["mean"], recipe["fields"]) == ([0, 1], 0.6, LORA)
    assert main(["results", "--by-recipe", "--csv"]) == 0
    (row,) = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert (json.loads(row["seeds"]), json.loads(row["fields"])) == ([0, 1], LORA)


def test_bases_are_no_recipes(based):
    assert found(based) == []


def test_a_seed_that_does_not_compare_with_its_base_leaves_the_gain_open(based):
    write(based, seeded(0, 30))
    write(based, seeded(1, 20, base=None))

    (recipe,) = found(based)
    assert recipe.mean == 0.625
    assert recipe.gain is None
    assert gain_in_words(recipe) == "not comparable"


def test_the_fields_that_differ_are_found(based):
    write(based, seeded(0, 30))
    write(based, seeded(1, 20, method=LORA | {"rank": 16, "targets": ["q", "v"]}))

    assert differing_fields(found(based)) == ["rank", "targets"]


def test_a_recipe_alone_with_one_seed_needs_no_table(based):
    write(based, seeded(0, 30))
    assert not worth_a_table(found(based))

    write(based, seeded(1, 20))
    assert worth_a_table(found(based))


def test_two_recipes_for_one_model_and_dataset_are_worth_a_table(based):
    write(based, seeded(0, 30))
    write(based, seeded(0, 20, method=LORA | {"rank": 16}, digit="1"))

    assert worth_a_table(found(based))


def test_the_results_show_recipes_over_their_seeds(based, capsys):
    for seed, passes in ((0, 20), (1, 28)):
        write(based, seeded(seed, passes))
    write(based, seeded(0, 10, method=LORA | {"rank": 16}, name="lora rank=16", digit="3"))

    show_results(based, None, Console(width=200))

    said = capsys.readouterr().out
    assert "By recipe, over seeds" in said
    line = next(line for line in said.splitlines() if "lora rank=8" in line and "60.0" in line)
    cells = [cell.strip() for cell in line.strip("│").split("│")]
    assert cells[:7] == ["humaneval", "pass@1", "falcon-tiny starter lora rank=8", "8", "2",
                         "60.0", "14.1"]  # fmt: skip
    assert "seeds of training on the same problems" in said


def test_one_recipe_with_one_seed_is_shown_when_it_is_asked_for(capsys):
    ledger = open_ledger()
    write(ledger, [ASKING, JUDGING, base_run(), *judged(BASE, BASE_PASSES), *seeded(0, 20)])
    ledger.dispose()

    assert main(["results"]) == 0
    assert "By recipe" not in capsys.readouterr().out
    assert main(["results", "--by-recipe"]) == 0
    assert "By recipe" in capsys.readouterr().out


def test_of_many_recipes_the_board_shows_the_best_and_says_where_all_are(based):
    write(based, seeded(0, 20))
    (one,) = found(based)
    many = [replace(one, mean=(40 - place) / 40) for place in range(40)]

    shown = [row["pass@1, mean"].replace("\u00a0", " ") for row in recipe_table(many)]
    assert (len(shown), shown[0], shown[-1]) == (15, "**100.0 %**", "**65.0 %**")
    assert covers(many).startswith(
        "The best 15 of 40 recipes; `python -m jobs results --by-recipe` prints all. "
    )
    assert "The best" not in covers(many[:15])


def test_the_board_shows_recipes_with_the_fields_of_their_sweep_as_columns(home):
    st.cache_data.clear()
    st.cache_resource.clear()
    engine = open_ledger()
    write(engine, [ASKING, JUDGING, base_run(), *problems(40), *judged(BASE, BASE_PASSES)])
    write(engine, [*seeded(0, 20), *seeded(1, 28)])
    write(engine, seeded(0, 34, method={"kind": "lora"}, name="lora rank=16", digit="3"))
    engine.dispose()

    app = AppTest.from_file(APP, default_timeout=60).run()

    assert not app.exception
    assert "Recipes" in [title.value for title in app.subheader]
    rows = app.table[0].value
    assert list(rows["rank"]) == ["default", "8"]
    assert list(rows["Seeds"]) == ["1", "2"]
    assert [cell.replace("\u00a0", " ") for cell in rows["pass@1, mean"]] == [
        "**85.0 %**",
        "**60.0 %**",
    ]
    st.cache_resource.clear()
