"""The pages of trainings, run by Streamlit's own tester on a real ledger; and their words."""

from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
import streamlit as st
from pages import board, filled, page, run_script
from plausible_rows import TUNED, training, tuned_run

from database import open_ledger, queries, write
from database.facts import Spent
from database.trainings import clock
from leaderboard import training_charts, training_page
from leaderboard.training_charts import CURVES

__all__ = ["board", "filled"]

NOW = datetime.now(UTC)


def training_script():
    from leaderboard import training_page

    training_page.show()


def bars(app):
    return [bar.proto.text for bar in app.get("progress")]


def charts(app):
    return [chart.proto.alt for chart in app.get("vega_lite_chart")]


def runs(count, **more):
    """Some more trainings, each an hour older than the one before."""
    for place in range(count):
        at = NOW - timedelta(hours=place)
        name = f"{place:012}"
        yield tuned_run(name, label=f"run {place}", **more)
        yield from training(name, 30, at=at, held_out_loss=None)


def test_without_trainings_the_page_says_what_to_do(home):
    st.cache_data.clear()
    st.cache_resource.clear()
    open_ledger().dispose()

    assert "make train-all" in page(training_script).info[0].value


def test_what_trains_now_is_shown_with_step_loss_speed_and_time_left(filled):
    now = datetime.now(UTC)
    write(filled, [tuned_run("a" * 12, state="training", label="mine_now", finished_at=None)])
    write(filled, training("a" * 12, 15, of=4000, at=now, seconds=2.0))
    app = page(training_script)

    (bar,) = bars(app)
    assert bar.startswith("[mine\\_now](run?id=aaaaaaaaaaaa): step 15 of 4,000, loss 1.4")
    assert bar.endswith("1,024 tokens/s, about 2.2 h left")


def test_a_training_whose_steps_stopped_coming_is_marked(filled):
    silent = datetime.now(UTC) - timedelta(minutes=3)
    write(filled, [tuned_run("a" * 12, state="training", finished_at=None)])
    write(filled, training("a" * 12, 15, of=60, at=silent))
    app = page(training_script)

    (bar,) = bars(app)
    assert ":orange-badge[stalled] last step 3 min ago, one takes 0.4 s" in bar
    assert ":orange-badge[stalled]" in list(app.table[0].value["State"])


def test_a_training_that_was_started_and_told_nothing_yet_is_shown(filled):
    write(filled, [tuned_run("a" * 12, state="training", finished_at=None)])

    assert bars(page(training_script))[0].endswith("starts, no step is done yet")


def test_finished_and_stopped_trainings_are_listed_and_can_be_chosen(filled):
    write(filled, [tuned_run("5" * 12, state="stopped"), *training("5" * 12, 20, of=60, at=NOW)])
    app = page(training_script)

    rows = app.table[0].value
    assert list(rows["State"]) == [":orange-badge[stopped]", ":green-badge[done]"]
    assert list(rows["Steps"]) == ["20 of 60", "60 of 60"]
    assert len(app.multiselect(key="runs").options) == 2


def test_the_curves_of_what_runs_now_are_shown_unless_others_are_chosen(filled):
    write(filled, runs(4))
    write(filled, [tuned_run("a" * 12, label="running", state="training"), *training("a" * 12, 9)])
    app = page(training_script)
    assert app.multiselect(key="runs").value == ["a" * 12]

    app.multiselect(key="runs").set_value([TUNED, "0" * 12]).run()
    (said,) = charts(app)
    assert said.startswith("Loss over the steps of 2 trainings. Last: falcon-tiny, starter, lora")
    assert "run 0 (000000000000): 1." in said


def test_a_link_opens_the_runs_and_the_curve_it_was_made_with(filled):
    write(filled, runs(2))
    chosen = ["run 1 (000000000001)", f"falcon-tiny, starter, lora, seed 1 ({TUNED})"]
    app = page(training_script, runs=chosen, curve=CURVES["gradient_norm"].title, smoothing="0.5")

    assert app.multiselect(key="runs").value == ["000000000001", TUNED]
    assert charts(app)[0].startswith("Gradient norm over the steps of 2 trainings")
    assert app.slider(key="smoothing").value == 0.5


def test_the_copied_link_shows_the_same_once_newer_runs_are_there(filled):
    write(filled, runs(2))
    app = page(training_script)
    (said,) = [block.value for block in app.code if "runs=" in block.value]
    write(filled, [tuned_run("e" * 12, state="training"), *training("e" * 12, 9)])
    st.cache_data.clear()
    again = page(training_script, **parse_qs(urlsplit(said).query))

    assert page(training_script).multiselect(key="runs").value != app.multiselect(key="runs").value
    for kind, key in (("multiselect", "runs"), ("selectbox", "run"), ("selectbox", "curve")):
        shown, kept = (getattr(one, kind)(key=key).value for one in (app, again))
        assert shown == kept, key


def test_a_curve_that_no_chosen_run_has_is_said(filled):
    app = page(training_script, curve=CURVES["watts"].title)

    assert "not measured" in app.info[0].value
    assert charts(app) == []


def test_steps_recorded_since_are_there_after_a_reload(filled):
    write(filled, [tuned_run("a" * 12, state="training"), *training("a" * 12, 9, of=60)])
    before = bars(page(training_script))
    write(filled, training("a" * 12, 20, of=60, at=datetime.now(UTC)))
    after = bars(page(training_script))

    assert "step 9 of 60" in before[0] and "step 20 of 60" in after[0]


def test_the_page_of_a_run_shows_every_curve_that_was_measured_in_words_too(filled):
    app = page(run_script, id=TUNED)

    said = charts(app)
    assert said[0] == (
        "Loss: 2.622 nats per token at step 1, 1.009 nats per token at step 60. "
        "Held-out loss: 1.729 nats per token at step 20, 1.359 nats per token at step 60. "
        "Lowest: 1.359 at step 60."
    )
    assert [words.split(":")[0] for words in said[1:]] == [
        "Learning rate",
        "Gradient norm",
        "Speed",
        "Padding",
        "Memory, most so far",
        "Used of the matrix ceiling (MFU)",
    ]
    assert said[6].endswith("50.0 % in the middle, 50.0 % to 50.0 %.")
    assert any("60 steps, 122,880 tokens, 24 s of training" in c.value for c in app.caption)


def test_a_run_that_trains_shows_its_curves_before_it_has_scores(filled):
    write(filled, [tuned_run("a" * 12, state="training"), *training("a" * 12, 9, of=60, at=NOW)])
    app = page(run_script, id="a" * 12)

    assert charts(app)[0].startswith("Loss: 2.622")
    assert any(block.value.startswith("step 9 of 60, loss 1.6") for block in app.markdown)


def test_a_run_whose_training_just_began_says_so(filled):
    write(filled, [tuned_run("a" * 12, state="training")])

    assert any("No step is done" in info.value for info in page(run_script, id="a" * 12).info)


def steps_of(filled, **more):
    write(filled, [tuned_run("b" * 12), *training("b" * 12, 40, **more)])
    return queries.steps(filled, "b" * 12)


def test_a_step_without_a_finite_loss_is_a_gap_and_is_not_told(filled):
    steps = steps_of(filled, loss=float("nan"))

    drawn = training_charts.loss_chart(steps).to_dict()
    assert {row["loss"] for row in drawn["data"]["values"][:40]} == {None}
    assert training_charts.words(CURVES["loss"], steps).startswith("Loss: not measured, or not f")


def test_the_held_out_loss_lies_over_the_loss_in_another_colour_with_points(filled):
    drawn = training_charts.loss_chart(steps_of(filled)).to_dict()

    assert drawn["layer"][0]["encoding"]["color"]["scale"]["domain"] == [
        "rows trained on",
        "held-out rows",
    ]
    held_out = [row["step"] for row in drawn["data"]["values"] if row["of"] == "held-out rows"]
    assert held_out == [20, 40]


def test_overlaid_curves_are_told_apart_by_more_than_colour(filled):
    drawn = training_charts.overlay(CURVES["loss"], {"a": steps_of(filled), "b": steps_of(filled)})

    encoded = drawn.to_dict()["encoding"]
    assert encoded["color"]["field"] == encoded["strokeDash"]["field"] == "run"


def test_a_curve_that_is_zero_all_the_way_has_an_axis_that_can_be_read(filled):
    steps = steps_of(filled, padding=0.0)
    drawn = training_charts.chart(CURVES["padding"], steps).to_dict()
    laid_over = training_charts.overlay(CURVES["padding"], {"a": steps}).to_dict()

    assert drawn["encoding"]["y"]["scale"]["domain"] == [0, 1]
    assert laid_over["encoding"]["y"]["scale"]["domain"] == [0, 1]


def test_curves_can_be_laid_along_the_time_that_their_steps_took(filled):
    write(filled, [tuned_run("b" * 12), *training("b" * 12, 40, seconds=30.0)])
    app = page(
        training_script, runs=f"falcon-tiny, starter, lora, seed 1 ({'b' * 12})", along="Time"
    )
    assert not app.exception

    steps = queries.steps(filled, "b" * 12, at_most=10)
    passed = {"b": clock(filled, "b" * 12)}
    drawn = training_charts.overlay(
        CURVES["loss"], {"b": steps}, along=training_charts.by_time(passed)
    ).to_dict()
    assert drawn["encoding"]["x"]["title"] == "Minutes of training"
    assert [row["at"] for row in drawn["data"]["values"]] == [step.step / 2 for step in steps]
    long = training_charts.by_time({"b": {1: 4 * 3600.0}})
    assert (long.title, long.place("b", 1), long.place("b", 2)) == ("Hours of training", 4.0, None)


def test_a_logarithmic_axis_leaves_out_what_has_no_logarithm_and_says_so(filled):
    steps = {"a": steps_of(filled, gradient_norm=0.0)}
    drawn = training_charts.overlay(CURVES["gradient_norm"], steps, logarithmic=True).to_dict()

    assert drawn["encoding"]["y"]["scale"]["type"] == "log"
    assert drawn["data"]["values"] == []
    assert training_charts.without_logarithm(CURVES["gradient_norm"], steps) == 40
    assert training_charts.without_logarithm(CURVES["loss"], steps) == 0


def test_smoothing_is_the_mean_that_pandas_calculates():
    import pandas

    points = [(step, float(step * 7 % 5)) for step in range(1, 30)]
    expected = pandas.Series([value for _, value in points]).ewm(alpha=0.3, adjust=True).mean()

    found = [value for _, value in training_charts.smoothed(points, 0.7)]
    assert found == pytest.approx(list(expected))
    assert training_charts.smoothed(points, 0.0) == points


def test_the_names_of_the_curves_are_fields_of_a_step(filled):
    step = steps_of(filled, joules=100.0)[19]

    assert all(isinstance(getattr(step, name), float) for name in CURVES)


def test_energy_is_told_where_it_was_measured():
    spent = {"steps": 1, "tokens": 1234, "seconds": 7200.0}

    told = training_page.cost(Spent(**spent, joules=5.4e6))
    assert told == "1 step, 1,234 tokens, 2.0 h of training, 1.5 kWh"
    assert "kWh" not in training_page.cost(Spent(**spent, joules=None))
