"""Rows to train on, from the files that recipes name."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from eval_sandbox.problem import Problem
from jobs.declared import UserError
from jobs.experiment import Dataset
from jobs.home import Home, written
from jobs.prepare import prepare
from jobs.prompts import question
from jobs.recipes import ROOT, TRAIN, DatasetRecipe, find_file, read_recipe


def dataset(path, kind="alpaca", split=""):
    recipe = DatasetRecipe(
        description="d",
        source={"file": path.name, "sha256": "0" * 64},
        licence="MIT",
        format=kind,
        split=split,
    )
    return Dataset(name="d", recipe=recipe, path=path)


def rows_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_an_alpaca_row_becomes_the_published_template_and_its_response(tmp_path):
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps({"instruction": "Add.", "input": "", "response": "def add(): 0"}))

    (row,) = rows_of(prepare(dataset(file), Home(tmp_path)))

    # The template without input, letter for letter, of github.com/tatsu-lab/stanford_alpaca.
    assert row["prompt"] == (
        "Below is an instruction that describes a task. Write a response that appropriately "
        "completes the request.\n\n### Instruction:\nAdd.\n\n### Response:\n"
    )
    assert row["response"] == "def add(): 0"


def test_an_input_gets_a_section_of_its_own(tmp_path):
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps({"instruction": "Add.", "input": "1 2", "response": "3"}))

    (row,) = rows_of(prepare(dataset(file), Home(tmp_path)))

    assert "### Instruction:\nAdd.\n\n### Input:\n1 2\n\n### Response:\n" in row["prompt"]


def test_rows_that_lack_a_field_are_all_told_with_their_lines(tmp_path):
    file = tmp_path / "rows.jsonl"
    good = json.dumps({"instruction": "a", "response": "b"})
    file.write_text("\n".join([good, "{}", good, "no json"]))

    with pytest.raises(UserError) as caught:
        prepare(dataset(file), Home(tmp_path))

    assert "2 rows" in str(caught.value)
    assert "line 2" in str(caught.value)
    assert "line 4" in str(caught.value)


def test_a_question_asks_in_the_words_that_its_dataset_trains_on(tmp_path):
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps({"instruction": "Add.", "response": "def add(a):\n    return a"}))
    (row,) = rows_of(prepare(dataset(file), Home(tmp_path)))
    problem = Problem(
        task_id="1", instruction="Add.", prompt="def add(a):", entry_point="add", tests=()
    )

    asked = question(problem, "alpaca-signature")

    assert (row["prompt"] + row["response"]).startswith(asked.text)
    assert not asked.whole


def test_published_mbpp_has_374_rows_to_train_on(monkeypatch, tmp_path, published):
    monkeypatch.setenv("CODELADDER_DATA", str(published))
    recipe = read_recipe(DatasetRecipe, TRAIN, "mbpp")

    rows = rows_of(
        prepare(Dataset(name="mbpp", recipe=recipe, path=find_file(recipe, TRAIN)), Home(tmp_path))
    )

    assert len(rows) == 374  # ids 601 to 974, Austin et al. 2021
    assert all("Your code should pass these tests:\nassert " in row["prompt"] for row in rows)
    assert not any("\r" in row["response"] for row in rows)


def test_prepared_rows_are_shared_and_not_written_twice(tmp_path):
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps({"instruction": "a", "response": "b"}))
    first = prepare(dataset(file), Home(tmp_path))
    before = first.stat().st_mtime_ns

    assert prepare(dataset(file), Home(tmp_path)) == first
    assert first.stat().st_mtime_ns == before


def test_a_block_that_fails_leaves_no_file_that_looks_done(tmp_path):
    path = tmp_path / "stage.jsonl"
    with pytest.raises(KeyError), written(path) as temporary:
        temporary.write_text("half")
        raise KeyError

    assert not path.exists()


def test_a_second_driver_in_one_home_is_refused_and_told_the_first_ones_number(tmp_path):
    code = (
        "import sys; from pathlib import Path; from jobs.home import Home\n"
        "with Home(Path(sys.argv[1])).only_driver(): print('holds', flush=True); input()"
    )
    first = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with first:
        assert first.stdout.readline() == "holds\n"
        refused = pytest.raises(UserError, match=f"process {first.pid} already runs")
        with refused, Home(tmp_path).only_driver():
            pass
        first.kill()
    with Home(tmp_path).only_driver():
        pass


def test_two_threads_that_prepare_the_same_rows_do_not_hinder_each_other(tmp_path):
    file = tmp_path / "rows.jsonl"
    row = json.dumps({"instruction": "a", "response": "b"})
    file.write_text("\n".join([row] * 5000))

    with ThreadPoolExecutor(4) as pool:
        paths = list(pool.map(lambda _: prepare(dataset(file), Home(tmp_path)), range(4)))

    assert [len(rows_of(path)) for path in paths] == [5000] * 4
