"""What a person may write in an experiment, and what a mistake prints."""

import json
import shutil
from pathlib import Path

import pytest
import yaml

from jobs.declared import UserError
from jobs.experiment import ExperimentFile
from jobs.loading import load
from jobs.recipes import ROOT

LORA = {"kind": "lora", "steps": 20}
STARTER = {
    "models": {"falcon": {"path": "models/starter/falcon"}},
    "datasets": ["starter"],
    "methods": {"small": LORA},
    "benchmarks": {"starter": {"problems": 4}},
}


@pytest.fixture
def edited(tmp_path):
    """Write the small experiment with some keys changed; returns its path."""

    def edit(**changes):
        path = tmp_path / "mine.yaml"
        path.write_text(yaml.safe_dump(STARTER | changes))
        return path

    return edit


def mistake(path):
    with pytest.raises(UserError) as caught:
        load(path)
    return str(caught.value)


def test_a_grid_makes_every_run_once_and_bases_first(edited):
    experiment = load(edited(methods={"a": LORA, "b": LORA | {"rank": 8}}, seeds=[0, 1]))

    assert [run.label for run in experiment.runs()] == [
        "falcon base",
        "falcon starter a seed 0",
        "falcon starter a seed 1",
        "falcon starter b seed 0",
        "falcon starter b seed 1",
    ]


def test_an_excluded_cell_makes_no_run(edited):
    experiment = load(
        edited(methods={"a": LORA, "b": LORA | {"rank": 8}}, exclude=[{"method": "a"}])
    )

    assert [run.label for run in experiment.runs()] == ["falcon base", "falcon starter b seed 0"]


def test_the_run_id_follows_content_and_ignores_names(edited):
    before = load(edited()).runs()[-1].id
    renamed = load(edited(methods={"other": LORA})).runs()[-1].id
    spelled_out = load(edited(methods={"small": LORA | {"rank": 16}})).runs()[-1].id
    changed = load(edited(methods={"small": LORA | {"rank": 8}})).runs()[-1].id
    other_seed = load(edited(seeds=[1])).runs()[-1].id

    assert before == renamed == spelled_out
    assert len({before, changed, other_seed}) == 3


def test_how_often_to_save_shapes_no_weights_and_so_not_the_run_id(edited):
    often = load(edited(methods={"small": LORA | {"checkpoint_every": 1}})).runs()[-1].id

    assert often == load(edited()).runs()[-1].id


def test_a_tuned_run_knows_its_base(edited):
    base, tuned = load(edited()).runs()

    assert tuned.base_id == base.id
    assert base.base_id is None


MISTAKES = {
    "an unknown key": (
        {"modles": {}},
        "modles: unknown key. Did you mean 'models'?",
    ),
    "an unknown key inside a method": (
        {"methods": {"x": LORA | {"rnk": 8}}},
        "methods.x.rnk: unknown key. Did you mean 'rank'?",
    ),
    "a method of no kind": (
        {"methods": {"x": {"rank": 8, "steps": 1}}},
        "methods.x.kind: required, but not there; one of lora, dora, qlora, full",
    ),
    "a method of an unknown kind": (
        {"methods": {"x": {"kind": "lroa", "steps": 1}}},
        "methods.x.kind: there is no 'lroa'. Did you mean 'lora'?",
    ),
    "an unknown key in a list": (
        {"exclude": [{"modle": "m"}]},
        "exclude.0.modle: unknown key. Did you mean 'model'?",
    ),
    "a seed that is too large": (
        {"seeds": [0, 2**31]},
        "seeds.1: Input should be less than 2147483648",
    ),
    "a seed below 0": (
        {"seeds": [-1]},
        "seeds.0: Input should be greater than or equal to 0",
    ),
    "targets that are none": (
        {"methods": {"x": LORA | {"targets": []}}},
        "methods.x: targets names no layer; give names, or all-linear",
    ),
    "parallelism in one word": (
        {"models": {"m": {"path": "models/starter/falcon", "parallelism": "auto"}}},
        "models.m.parallelism: give keys and values, such as {strategy: auto}",
    ),
    "offload where auto decides it": (
        {
            "models": {
                "m": {
                    "path": "models/starter/falcon",
                    "parallelism": {"strategy": "auto", "offload": "optimizer"},
                }
            }
        },
        "models.m.parallelism: auto decides what is offloaded, but offload is 'optimizer'; remove "
        "it, or say zero1, zero2 or zero3",
    ),
    "a name that the ledger has no room for": (
        {"methods": {"m" * 201: LORA}},
        f"methods.{'m' * 201}: 201 characters, and the ledger holds 200; make it shorter",
    ),
    "patience with nothing to measure": (
        {"methods": {"x": LORA | {"patience": 3}}},
        "methods.x: patience needs rows to measure; set held_out, such as 0.05",
    ),
    "offload without ZeRO": (
        {
            "models": {
                "m": {"path": "models/starter/falcon", "parallelism": {"offload": "optimizer"}}
            }
        },
        "models.m.parallelism: offload 'optimizer' is a part of ZeRO, but strategy is 'single'; "
        "say zero1, zero2 or zero3",
    ),
    "parameters offloaded at a stage that keeps them": (
        {
            "models": {
                "m": {
                    "path": "models/starter/falcon",
                    "parallelism": {"strategy": "zero2", "offload": "parameters"},
                }
            }
        },
        "models.m.parallelism: only zero3 can offload parameters, but strategy is 'zero2'",
    ),
    "an unknown dataset": (
        {"datasets": ["startr"]},
        "datasets.startr: 'startr' has no datasets/train/startr.yaml. Did you mean 'starter'?",
    ),
    "an unknown benchmark": (
        {"benchmarks": {"humanevel": {}}},
        "benchmarks.humanevel: 'humanevel' has no datasets/bench/humanevel.yaml. "
        "Did you mean 'humaneval'?",
    ),
    "a missing model folder": (
        {"models": {"m": {"path": "models/starter/falco"}}},
        "models.m.path: no folder models/starter/falco. Did you mean 'falcon'?",
    ),
    "a branch instead of a commit": (
        {"models": {"m": {"hub": "org/name", "revision": "main"}}},
        "models.m: revision 'main' is no commit; give the 40 hex digits that "
        "https://huggingface.co/org/name/commits shows",
    ),
    "pass@10 from five completions": (
        {"benchmarks": {"starter": {"completions": 5, "temperature": 0.2, "report": [10]}}},
        "benchmarks.starter: pass@10 needs at least 10 completions, but completions is 5",
    ),
    "five greedy completions": (
        {"benchmarks": {"starter": {"completions": 5}}},
        "benchmarks.starter: 5 completions at temperature 0 are the same text; "
        "set a temperature, or completions: 1",
    ),
    "two lengths of training": (
        {"methods": {"x": LORA | {"epochs": 1}}},
        "methods.x: give either steps or epochs, and not both",
    ),
    "a gang of one kind": (
        {
            "models": {
                "m": {"path": "models/starter/falcon", "parallelism": {"workers": 2}},
            }
        },
        "models.m.parallelism: strategy 'single' is one worker, but workers is 2; "
        "say ddp, zero1, zero2 or zero3",
    ),
    "two servers with a model of one name": (
        {
            "models": {
                name: {"server": {"url": f"http://{name}:8000/v1", "model": "coder"}}
                for name in ("one", "two")
            },
            "datasets": [],
            "methods": {},
        },
        "the same run twice: one base and two base; set server.revision to tell two servers apart",
    ),
    "two names for one training": (
        {"methods": {"a": LORA, "b": LORA | {"checkpoint_every": 1}}},
        "the same run twice: falcon starter a seed 0 and falcon starter b seed 0",
    ),
    "an exclusion of nothing": (
        {"exclude": [{"method": "smal"}]},
        "exclude: no method 'smal'. Did you mean 'small'?",
    ),
}


def test_a_rank_where_every_weight_is_trained_is_told_what_there_is_instead(edited):
    said = mistake(edited(methods={"x": {"kind": "full", "rank": 8, "steps": 1}}))

    assert "methods.x.rank: unknown key. Known: activation_checkpointing, batch_size" in said


@pytest.mark.parametrize("change, line", MISTAKES.values(), ids=MISTAKES)
def test_the_message_for(change, line, edited):
    assert line in [said.strip() for said in mistake(edited(**change)).splitlines()]


def test_all_mistakes_are_told_at_once(edited):
    said = mistake(
        edited(
            datasets=["startr"],
            methods={"x": LORA | {"rnk": 8}},
            models={"m": {"path": "models/starter/falco"}},
        )
    )

    assert "rnk" in said
    assert "startr" in said
    assert "falco" in said


def test_a_missing_experiment_names_the_nearest_file(tmp_path):
    (tmp_path / "mine.yaml").write_text("models: {}")

    assert "Did you mean 'mine.yaml'?" in mistake(tmp_path / "mini.yaml")


def test_a_key_that_stands_twice_is_refused(tmp_path):
    path = tmp_path / "twice.yaml"
    path.write_text("models: {}\nmodels: {}\n")

    assert "'models' stands twice" in mistake(path)


def test_a_file_that_is_no_yaml_is_said_so(tmp_path):
    path = tmp_path / "broken.yaml"
    path.write_text("models: [")

    assert "not readable as YAML" in mistake(path)


def test_a_data_file_with_other_content_is_refused(edited, monkeypatch, tmp_path):
    shutil.copytree(ROOT / "datasets" / "train", tmp_path / "train")
    with (tmp_path / "train" / "starter.jsonl").open("a") as file:
        file.write(json.dumps({"instruction": "a", "response": "b"}) + "\n")
    monkeypatch.setattr("jobs.loading.TRAIN", tmp_path / "train")

    assert "is not what the recipe pins" in mistake(edited())


def test_plan_reads_an_experiment_whose_data_is_not_here(monkeypatch):
    monkeypatch.delenv("CODELADDER_DATA", raising=False)

    experiment = load(ROOT / "experiments" / "paper.yaml", need_files=False)

    assert len(experiment.runs()) == 3 + 3 * 2 * 3
    assert any("HumanEval.jsonl.gz" in line for line in experiment.missing)


def test_run_refuses_an_experiment_whose_data_is_not_here(monkeypatch):
    monkeypatch.delenv("CODELADDER_DATA", raising=False)

    assert "HumanEval.jsonl.gz was not found" in mistake(ROOT / "experiments" / "paper.yaml")


@pytest.mark.parametrize(
    "path", sorted((ROOT / "experiments").glob("*.yaml")), ids=lambda p: p.stem
)
def test_every_shipped_experiment_is_valid(path):
    load(path, need_files=False)


def test_every_key_of_an_experiment_is_in_the_documentation():
    page = Path(ROOT / "docs" / "configuration.md").read_text()

    def keys(schema):
        for model in [schema, *schema.get("$defs", {}).values()]:
            yield from model.get("properties", {})

    missing = [key for key in keys(ExperimentFile.model_json_schema()) if f"`{key}`" not in page]
    assert missing == []
