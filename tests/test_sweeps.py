"""A grid or draws over a method's fields become ordinary methods."""

import itertools
import math

import pytest
import yaml
from scipy import stats

from jobs.declared import UserError
from jobs.experiment import ExperimentFile
from jobs.loading import load
from jobs.methods import LoRA
from jobs.plan import show_plan
from jobs.sweeps import Range

LORA = {"kind": "lora", "steps": 100}
SMALL = {
    "models": {"falcon": {"path": "models/starter/falcon"}},
    "datasets": ["starter"],
    "methods": {"lora": LORA},
    "benchmarks": {"starter": {"problems": 4}},
}
GRID = {"method": "lora", "grid": {"rank": [8, 16], "learning_rate": [2.0e-4, 1.0e-3]}}
DRAWN = {
    "method": "lora",
    "random": 5,
    "seed": 1,
    "choose": {"learning_rate": {"low": 1.0e-5, "high": 1.0e-3, "scale": "log"}, "rank": [4, 8]},
}


@pytest.fixture
def edited(tmp_path):
    """Write a small experiment with some keys changed; returns its path."""

    def edit(**changes):
        path = tmp_path / "mine.yaml"
        path.write_text(yaml.safe_dump(SMALL | changes, sort_keys=False))
        return path

    return edit


def points(sweep, **methods):
    file, mistakes = ExperimentFile.parse(SMALL | {"sweeps": {"s": sweep}} | methods)
    assert mistakes == []
    return file.tunings


def mistakes(**changes):
    _, found = ExperimentFile.parse(SMALL | changes)
    return found


def test_a_grid_trains_every_combination_with_every_seed_and_not_its_template(edited):
    experiment = load(edited(sweeps={"lora": GRID}, seeds=[0, 1]))

    labels = [run.label for run in experiment.runs()]
    names = [
        f"lora rank={rank} learning_rate={rate}"
        for rank, rate in itertools.product((8, 16), ("0.0002", "0.001"))
    ]
    assert labels == ["falcon base"] + [
        f"falcon starter {name} seed {seed}" for name in names for seed in (0, 1)
    ]


def test_a_point_is_the_run_that_the_same_method_written_out_is(edited):
    swept = load(edited(sweeps={"s": {"method": "lora", "grid": {"rank": [8]}}})).runs()[-1]
    written = load(edited(methods={"by-hand": LORA | {"rank": 8}})).runs()[-1]
    template = load(edited(sweeps={"s": {"method": "lora", "grid": {"rank": [16]}}})).runs()[-1]

    assert swept.id == written.id
    assert template.id == load(edited()).runs()[-1].id


def test_methods_that_no_sweep_names_are_trained_beside_it():
    other = LORA | {"steps": 9}
    grid = {"method": "lora", "grid": {"rank": [8]}}

    assert list(points(grid, methods={"lora": LORA, "other": other})) == ["other", "s rank=8"]


def test_the_same_values_twice_are_one_method():
    sweep = {"method": "lora", "grid": {"rank": [8, 8, 16], "learning_rate": [0.0002, "2e-4"]}}

    assert list(points(sweep)) == [
        "s rank=8 learning_rate=0.0002",
        "s rank=16 learning_rate=0.0002",
    ]


def test_a_point_that_is_written_out_too_is_the_same_run_twice(edited):
    path = edited(methods={"lora": LORA, "a": LORA | {"rank": 8}}, sweeps={"s": GRID | {
        "grid": {"rank": [8]}}})  # fmt: skip

    with pytest.raises(UserError, match=r"same run twice: falcon starter a .* s rank=8 seed 0"):
        load(path)


def test_names_show_every_kind_of_value():
    sweep = {
        "method": "lora",
        "grid": {
            "targets": [["q_proj", "v_proj"]],
            "rslora": [True],
            "patience": [None],
            "warmup": [0.123456789],
        },
    }

    assert list(points(sweep)) == [
        "s targets=q_proj+v_proj rslora=true patience=none warmup=0.123456789"
    ]


def test_a_point_keeps_what_its_template_says_and_the_defaults_of_its_class():
    (method,) = points({"method": "lora", "grid": {"rank": [4]}}).values()

    assert method == LoRA(kind="lora", steps=100, rank=4)


def test_draws_are_the_same_every_time_and_another_seed_draws_others():
    assert list(points(DRAWN)) == list(points(DRAWN))
    assert set(points(DRAWN)).isdisjoint(points(DRAWN | {"seed": 2}))


def test_another_field_or_more_draws_leave_the_draws_of_a_field_as_they_were():
    def rates(sweep):
        return [method.learning_rate for method in points(sweep).values()]

    wider = DRAWN | {"choose": {"warmup": {"low": 0, "high": 0.1}} | DRAWN["choose"]}
    more = DRAWN | {"random": 9}
    assert rates(wider) == rates(DRAWN)
    assert rates(more)[:5] == rates(DRAWN)


RANGES = {
    "linear": (Range(low=2, high=10), stats.uniform(2, 8)),
    "log": (Range(low=1.0e-5, high=1.0e-2, scale="log"), stats.loguniform(1.0e-5, 1.0e-2)),
}


@pytest.mark.parametrize("kind", RANGES)
def test_a_range_is_drawn_from_as_its_scale_says(kind):
    drawn_from, law = RANGES[kind]
    drawn = [drawn_from.draw((place + 0.5) / 2000) for place in range(2000)]

    assert stats.kstest(drawn, law.cdf).statistic < 0.005
    assert all(value == float(f"{value:.3g}") for value in drawn)


def test_every_whole_number_of_a_range_is_drawn_equally_often():
    dice = Range(low=1, high=6, integer=True)
    drawn = [dice.draw(place / 600) for place in range(600)]

    assert [drawn.count(face) for face in range(1, 7)] == [100] * 6
    assert all(isinstance(face, int) for face in drawn)


def test_whole_numbers_on_a_log_scale_stay_within_their_range():
    ranks = Range(low=4, high=64, scale="log", integer=True)
    drawn = [ranks.draw(place / 1000) for place in range(1000)]

    assert (min(drawn), max(drawn)) == (4, 64)
    assert sum(rank < 16 for rank in drawn) == pytest.approx(
        1000 * math.log(16 / 4) / math.log(65 / 4), abs=2
    )


MISTAKES = {
    "a method that there is not": (
        {"s": {"method": "lra", "grid": {"rank": [8]}}},
        "sweeps.s.method: no method 'lra'. Did you mean 'lora'?",
    ),
    "a field that the method has not": (
        {"s": {"method": "lora", "grid": {"rnk": [8]}}},
        "sweeps.s.grid.rnk: unknown key. Did you mean 'rank'?",
    ),
    "a value that the field refuses": (
        {"s": {"method": "lora", "grid": {"rank": [8, 0], "clip": [1.0]}}},
        "sweeps.s.grid.rank: 0: Input should be greater than or equal to 1",
    ),
    "a drawn value that the field refuses": (
        {"s": {"method": "lora", "random": 1, "choose": {"schedule": ["cosin"]}}},
        "sweeps.s.choose.schedule: cosin: Input should be 'cosine', 'linear', 'constant' or 'wsd'",
    ),
    "fields that do not go together": (
        {"s": {"method": "lora", "grid": {"epochs": [1]}}},
        "sweeps.s: at epochs=1: give either steps or epochs, and not both",
    ),
    "seeds in the grid": (
        {"s": {"method": "lora", "grid": {"seed": [0, 1]}}},
        "sweeps.s.grid.seed: seeds are an axis of the experiment; write seeds: [0, 1] beside "
        "sweeps",
    ),
    "one value without a list": (
        {"s": {"method": "lora", "grid": {"rank": 8}}},
        "sweeps.s.grid.rank: give a list of values, such as [8, 16]",
    ),
    "a misspelt end of a range": (
        {"s": {"method": "lora", "random": 2, "choose": {"clip": {"lw": 1, "high": 2}}}},
        "sweeps.s.choose.clip.lw: unknown key. Did you mean 'low'?",
    ),
    "a range that is empty": (
        {"s": {"method": "lora", "random": 2, "choose": {"clip": {"low": 2, "high": 1}}}},
        "sweeps.s.choose.clip: low 2 is not below high 1",
    ),
    "both a grid and draws": (
        {"s": DRAWN | {"grid": {"rank": [8]}}},
        "sweeps.s: give either grid, or random and choose",
    ),
    "more points than anyone trains": (
        {"s": {"method": "lora", "grid": {"rank": list(range(1, 999))}}},
        "sweeps.s: the grid has 998 points; at most 500 are trained",
    ),
    "early stopping with nothing held out": (
        {"s": GRID | {"early_stop": {"asha": {"grace": 10}}}},
        "sweeps.s.early_stop: it compares the loss on held-out rows; set held_out of lora, such "
        "as 0.05",
    ),
    "early stopping that comes too late": (
        {
            "s": {
                "method": "lora",
                "grid": {"held_out": [0.1]},
                "early_stop": {"asha": {"grace": 200}},
            }
        },
        "sweeps.s.early_stop: nothing would be stopped: the first measurement that counts is at "
        "step 200, and training ends at 100; lower grace or evaluate_every",
    ),
    "early stopping over other held-out rows": (
        {"s": GRID | {"grid": {"held_out": [0.1, 0.2]}, "early_stop": {"asha": {"grace": 10}}}},
        "sweeps.s.grid.held_out: early_stop compares losses on held-out rows, and with another "
        "held_out they are of other rows; remove one of the two",
    ),
    "early stopping over rows of another length": (
        {
            "s": {
                "method": "lora",
                "random": 2,
                "choose": {"max_length": {"low": 64, "high": 512, "integer": True}},
                "early_stop": {"asha": {"grace": 10}},
            }
        },
        "sweeps.s.choose.max_length: early_stop compares losses on held-out rows, and with another "
        "max_length they are of other rows; remove one of the two",
    ),
    "a range of whole numbers that says not so": (
        {"s": {"method": "lora", "random": 2, "choose": {"rank": {"low": 4, "high": 64}}}},
        "sweeps.s.choose.rank: rank is a whole number; add integer: true to its range",
    ),
    "no targets": (
        {"s": {"method": "lora", "grid": {"targets": [[], ["q_proj"]]}}},
        "sweeps.s: at targets=: targets names no layer; give names, or all-linear",
    ),
    "another rule": (
        {"s": GRID | {"early_stop": {"asah": {"grace": 10}}}},
        "sweeps.s.early_stop.asah: unknown key. Did you mean 'asha'?",
    ),
}


@pytest.mark.parametrize("sweeps, line", MISTAKES.values(), ids=MISTAKES)
def test_the_message_for(sweeps, line):
    assert line in mistakes(sweeps=sweeps)


def test_a_mistake_of_many_points_is_told_once():
    said = mistakes(sweeps={"s": {"method": "lora", "grid": {"epochs": [1, 2], "rank": [8, 16]}}})
    drawn = {"method": "lora", "random": 9, "choose": {"dropout": {"low": 2, "high": 3}}}
    also = mistakes(sweeps={"s": drawn})

    assert said == [
        "sweeps.s: at epochs=1 rank=8 and 3 more: give either steps or epochs, and not both"
    ]
    assert len(also) == 1
    assert also[0].endswith(" more: Input should be less than 1")


def test_a_whole_number_may_be_drawn_for_a_field_that_takes_others():
    sweep = {"method": "lora", "random": 2, "choose": {"clip": {"low": 1, "high": 2}}}

    assert len(points(sweep)) == 2


def test_mistakes_of_all_sweeps_are_told_at_once():
    said = mistakes(
        sweeps={
            "a": {"method": "lora", "grid": {"rnk": [8]}},
            "b": {"method": "lora", "grid": {"rank": [0]}},
        }
    )

    assert [line.split(":")[0] for line in said] == ["sweeps.a.grid.rnk", "sweeps.b.grid.rank"]


def test_a_sweep_and_one_point_of_it_can_be_excluded(edited):
    models = SMALL["models"] | {"llama": {"path": "models/starter/llama"}}
    experiment = load(
        edited(
            models=models,
            sweeps={"s": {"method": "lora", "grid": {"rank": [8, 16]}}},
            exclude=[{"model": "llama", "method": "s"}, {"method": "s rank=8"}],
        )
    )

    tuned = [run.label for run in experiment.runs() if run.training]
    assert tuned == ["falcon starter s rank=16 seed 0"]


def test_a_plan_lists_every_point(edited, capsys):
    from rich.console import Console

    show_plan(
        edited(sweeps={"s": {"method": "lora", "grid": {"rank": [8, 16]}}}), Console(width=200)
    )

    said = capsys.readouterr().out
    assert "s rank=8 seed 0" in said
    assert "s rank=16 seed 0" in said
    assert "3 runs" in said
