"""A dataset from its recipe to rows to train on, through every stage."""

import gzip
import hashlib
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from eval_sandbox.problem import Call, Problem
from jobs.data.crew import Alone
from jobs.data.recipe import DatasetRecipe
from jobs.data.report import Report, read_stored
from jobs.data.row import stream
from jobs.declared import UserError
from jobs.experiment import Dataset, Questions
from jobs.home import Home, written
from jobs.prepare import prepare
from jobs.recipes import ROOT, BenchmarkRecipe

DOUBLE = "def double(x):\n    return x * 2"
ABSOLUTE = (
    "def magnitude(number):\n    if number < 0:\n        return -number\n    return number + 0"
)
ADDED = """def total(numbers):
    result = 0
    for n in numbers:
        result += n
    return result"""


def row(response, instruction="Write a function that doubles.", **more):
    return {"instruction": instruction, "response": response, **more}


def pinned(file, **more):
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    return {"file": str(file), "sha256": digest, "licence": "MIT", **more}


@pytest.fixture
def source(tmp_path):
    """Writes records to a file and gives what a recipe says of it."""

    def write(*records, name="rows.jsonl", **more):
        file = tmp_path / name
        file.write_text("".join(json.dumps(record) + "\n" for record in records))
        return pinned(file, **more)

    return write


def dataset(*sources, against=(), **parts):
    named = {f"source{n}": source for n, source in enumerate(sources)}
    recipe = DatasetRecipe(description="d", sources=named, **parts)
    return Dataset(name="d", recipe=recipe, against=tuple(against))


def questions(*problems, name="bench"):
    recipe = BenchmarkRecipe(
        description="d",
        source={"file": "bench.jsonl", "sha256": "0" * 64},
        licence="MIT",
        benchmark="custom",
        prompt="alpaca",
    )
    return Questions(name=name, recipe=recipe, problems=problems)


def problem(instruction, reference, entry_point, *cases):
    tests = tuple(Call(args=args, kwargs={}, expected=expected) for args, expected in cases)
    return Problem(
        task_id=f"bench/{entry_point}",
        instruction=instruction,
        prompt="",
        entry_point=entry_point,
        tests=tests,
        reference=reference,
    )


MAGNITUDE = problem(
    "Return how far the given whole number lies away from zero on the line of numbers.",
    "def distance(n):\n    return abs(n)\n",
    "distance",
    ([-3], 3),
    ([4], 4),
    ([0], 0),
)


def prepared(dataset, home, crew=None):
    folder = prepare(dataset, Home(home), crew or Alone(), lambda *_: None)
    return list(stream(folder.shards())), read_stored(Report, folder.report)


def reasons(report):
    return {(drop.step, drop.reason): drop.rows for drop in report.drops}


def test_a_row_becomes_a_row_to_train_on_with_its_place_and_licence(source, home):
    rows, _ = prepared(dataset(source(row(DOUBLE))), home)

    (found,) = rows
    assert (found.instruction, found.response) == ("Write a function that doubles.", DOUBLE)
    assert (found.source, found.place, found.licence) == ("source0", "rows.jsonl:1", "MIT")


def test_every_row_is_accounted_for_step_by_step(source, home):
    given = source(
        row(DOUBLE),
        row(DOUBLE),  # an exact copy
        row("def broken(:\n    pass" + "\n" * 3, language="python"),
        row("x" * 1500 + " = 1"),
        row(""),
        {"instruction": "no response"},
    )
    rows, report = prepared(dataset(given), home)

    assert report.rows_in == 6
    assert report.rows_out == len(rows) == 6 - sum(reasons(report).values())
    assert reasons(report)["duplicates", "exact"] == 1
    assert reasons(report)["filters", "longest_line"] == 1
    assert reasons(report)["reading", "missing_field"] == 1


def test_a_row_whose_code_solves_a_problem_is_left_out_though_no_word_is_the_same(source, home):
    given = source(
        row(ABSOLUTE, "Strip the sign: how far away from zero does a number lie?"), row(DOUBLE)
    )
    rows, report = prepared(dataset(given, against=[questions(MAGNITUDE)]), home)

    assert [found.response for found in rows] == [DOUBLE]
    (touch,) = [touch for touch in report.touches if touch.method == "execution"]
    assert (touch.task_id, touch.row, touch.dropped) == (
        "bench/distance",
        "source0/rows.jsonl:1",
        True,
    )
    assert report.touched == {"bench": {"bench/distance": {"execution": 1}}}
    assert report.trained_on == {}


def test_a_method_that_only_flags_keeps_the_row_and_reports_it(source, home):
    given = source(row(ABSOLUTE, "How far away from zero does a number lie?"), row(DOUBLE))
    flagging = {"drop": ["substring"], "flag": ["execution"]}
    rows, report = prepared(
        dataset(given, against=[questions(MAGNITUDE)], contamination=flagging), home
    )

    assert len(rows) == 2
    assert report.trained_on == {"bench": {"bench/distance": {"execution": 1}}}


def test_a_row_must_pass_its_own_tests(source, home):
    fields = {
        "instruction": "instruction",
        "response": "response",
        "tests": "tests",
        "entry_point": "entry_point",
    }
    tests = [{"args": [2], "kwargs": {}, "expected": 4}]
    given = source(
        row(DOUBLE, tests=tests, entry_point="double"),
        row(DOUBLE.replace("2", "3"), tests=tests, entry_point="double"),
        fields=fields,
    )
    rows, report = prepared(dataset(given), home)

    assert [found.response for found in rows] == [DOUBLE]
    assert reasons(report) == {("execution", "tests"): 1}
    assert (report.execution.rows_with_tests, report.execution.rows_passed) == (2, 1)


def test_a_file_of_test_cases_filters_the_rows_that_define_its_functions(source, home, tmp_path):
    case = {
        "task_id": "mine/1",
        "instruction": "Double.",
        "entry_point": "double",
        "tests": [{"args": [2], "kwargs": {}, "expected": 4}],
    }
    cases = tmp_path / "cases.jsonl"
    cases.write_text(json.dumps(case) + "\n")
    pin = {name: pinned(cases)[name] for name in ("file", "sha256")}
    given = source(row(DOUBLE), row(DOUBLE.replace("2", "5"), "Wrong."), row(ADDED, "Add."))

    rows, _ = prepared(dataset(given, execution={"cases": pin}), home)

    assert [found.response for found in rows] == [DOUBLE, ADDED]


def test_weights_repeat_rows_and_limits_leave_some_out(source, home):
    functions = [row(f"def f{n}(x):\n    return x + {n} * {n}", f"Do {n}.") for n in range(40)]
    twice = source(*functions[:20], name="twice.jsonl", weight=2)
    five = source(*functions[20:], name="five.jsonl", most=5)

    rows, report = prepared(dataset(twice, five, duplicates={"near": False}), home)

    assert [count.rows_written for count in report.sources] == [40, 5]
    assert [count.rows_out for count in report.sources] == [20, 5]
    assert len(rows) == 45
    assert reasons(report) == {("mixture", "limit or weight"): 15}


def test_a_row_is_not_left_out_for_one_that_a_limit_leaves_out(source, home):
    functions = [row(f"def f{n}(x):\n    return x + {n} * {n}", f"Do {n}.") for n in range(50)]
    one = source(*functions, name="one.jsonl", most=1)
    all_of_them = source(*functions, name="all.jsonl")

    rows, _ = prepared(dataset(one, all_of_them, duplicates={"near": False}), home)

    assert {found.instruction for found in rows} == {f"Do {n}." for n in range(50)}


def test_copies_of_a_flagged_row_are_not_counted_as_trained_on(source, home):
    flagged = row(ABSOLUTE, "How far away from zero does a number lie?")
    given = source(flagged, flagged, flagged, row(DOUBLE))
    flagging = {"drop": ["substring"], "flag": ["execution"]}
    _, report = prepared(
        dataset(given, against=[questions(MAGNITUDE)], contamination=flagging), home
    )

    assert report.touched == {"bench": {"bench/distance": {"execution": 3}}}
    assert report.trained_on == {"bench": {"bench/distance": {"execution": 1}}}
    assert [touch.dropped for touch in report.touches] == [False, True, True]


def test_the_same_recipe_gives_the_same_bytes_in_another_home(source, tmp_path):
    given = dataset(source(*(row(f"def f{n}(x):\n    return x + {n}") for n in range(30))))

    folders = [
        prepare(given, Home(tmp_path / name), Alone(), lambda *_: None) for name in ("a", "b")
    ]

    contents = [
        {path.relative_to(f.path): path.read_bytes() for path in f.path.rglob("*.*")}
        for f in folders
    ]
    assert contents[0] == contents[1]
    assert {path.name for path in contents[0]} >= {"report.json", "README.md"}


def test_a_digest_follows_content_and_what_is_kept_out_but_not_where_a_file_lies(source):
    one = source(row(DOUBLE))
    there = one | {"url": "https://elsewhere.example"}

    plain = dataset(one)
    assert dataset(there).digest == plain.digest
    assert dataset(one, filters={"letters": None}).digest != plain.digest
    assert dataset(one, against=[questions(MAGNITUDE)]).digest != plain.digest
    assert dataset(one | {"attribution": "Jane Roe"}).digest != plain.digest


def test_what_is_prepared_is_not_prepared_again(source, home):
    given = dataset(source(row(DOUBLE)))
    folder = prepare(given, Home(home), Alone(), lambda *_: None)
    before = folder.report.stat().st_mtime_ns

    assert prepare(given, Home(home), Alone(), lambda *_: None) == folder
    assert folder.report.stat().st_mtime_ns == before


class Killed(BaseException):
    """Stands for a kill: nothing of ours catches it."""


@pytest.mark.parametrize("stage", ["reading", "filters", "running", "duplicates", "writing"])
def test_a_preparation_that_was_killed_goes_on_to_the_same_bytes_after(stage, source, tmp_path):
    given = dataset(
        source(
            row(ABSOLUTE, "How far from zero?"),
            *(row(f"def f{n}(x):\n    return x+{n}") for n in range(9)),
        ),
        against=[questions(MAGNITUDE)],
    )
    undisturbed = prepare(given, Home(tmp_path / "calm"), Alone(), lambda *_: None)

    def kill(label, done, of):
        if stage in label:
            raise Killed

    with pytest.raises(Killed):
        prepare(given, Home(tmp_path / "disturbed"), Alone(), kill)
    resumed = prepare(given, Home(tmp_path / "disturbed"), Alone(), lambda *_: None)

    assert resumed.report.read_bytes() == undisturbed.report.read_bytes()
    assert [path.read_bytes() for path in resumed.shards()] == [
        path.read_bytes() for path in undisturbed.shards()
    ]
    assert not resumed.work.exists()


def test_a_file_cut_off_is_told_and_the_rest_goes_on_when_it_is_whole(tmp_path, home):
    whole = gzip.compress(
        "".join(json.dumps(row(DOUBLE, f"Do {n}.")) + "\n" for n in range(500)).encode()
    )
    file = tmp_path / "rows.jsonl.gz"
    file.write_bytes(whole)
    given = dataset(pinned(file))
    file.write_bytes(whole[:-100])

    with pytest.raises(UserError, match="download it again"):
        prepared(given, home)
    file.write_bytes(whole)
    rows, _ = prepared(given, home)

    assert len(rows) == 1 or len(rows) == 500


def test_a_dataset_of_which_no_row_is_left_is_a_mistake_with_its_reasons(source, home):
    with pytest.raises(UserError, match=r"no row is left(.|\n)*longest_line: 1 rows"):
        prepared(dataset(source(row("y" * 2000 + " = 1"))), home)


def test_licences_and_attribution_follow_the_rows(source, home):
    mit = source(row(DOUBLE), name="a.jsonl")
    by = source(row(ADDED, "Add."), name="b.jsonl")
    by |= {"licence": "CC-BY-NC-4.0", "attribution": "Jane Roe", "terms": "not for rivals"}

    _, report = prepared(dataset(mit, by), home)

    assert report.licence == "CC-BY-NC-4.0"
    assert any("Jane Roe" in line for line in report.attributions)
    assert report.terms == ("source1: not for rivals",)


def test_published_mbpp_has_374_rows_to_train_on(monkeypatch, home, published):
    from jobs.recipes import TRAIN, read_recipe

    monkeypatch.setenv("CODELADDER_DATA", str(published))
    recipe = read_recipe(DatasetRecipe, TRAIN, "mbpp")

    _, report = prepared(Dataset(name="mbpp", recipe=recipe), home)

    assert report.rows_in == 374  # ids 601 to 974, Austin et al. 2021


def test_a_block_that_fails_leaves_no_file_that_looks_done(tmp_path):
    path = tmp_path / "stage.jsonl"
    with pytest.raises(KeyError), written(path) as temporary:
        temporary.write_text("half")
        raise KeyError

    assert not path.exists()


def test_a_second_driver_in_one_home_is_refused_and_told_the_first_ones_number(tmp_path):
    code = (
        "import sys; from pathlib import Path; from jobs.home import Home\n"
        "with Home(Path(sys.argv[1])).driver(alone=True): print('holds', flush=True); input()"
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
        with refused, Home(tmp_path).driver(alone=True):
            pass
        with refused, Home(tmp_path).driver(alone=False):
            pass
        first.kill()
    with Home(tmp_path).driver(alone=True):
        pass


def test_drivers_that_share_a_cluster_work_in_one_home_and_none_beside_them_alone(tmp_path):
    home = Home(tmp_path)
    refused = pytest.raises(UserError, match="already runs an experiment here")
    with home.driver(alone=False), home.driver(alone=False), refused, home.driver(alone=True):
        pass


def test_two_that_prepare_the_same_dataset_do_not_hinder_each_other(source, home):
    given = dataset(source(*(row(f"def f{n}(x):\n    return x + {n}") for n in range(200))))

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: prepared(given, home)[0], range(4)))

    assert all(rows == found[0] for rows in found)
