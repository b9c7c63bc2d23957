"""The starter benchmark is apart from what the starter models learn from, and its tests are sound.

"Apart" means three things here: no composition of parts is on both sides; no code is on both sides
once functions and arguments have lost their names; and no run of ten words (letters, digits,
underscores) of an instruction or a reference occurs in a training row or in the pretraining corpus.
Shorter runs are shared: a benchmark problem puts known parts together in a new way.
"""

import copy
import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from models.starter.recipe import problems
from models.starter.recipe.corpus import corpus
from models.starter.recipe.families import FAMILIES
from models.starter.recipe.grammar import compositions, write
from models.starter.recipe.separation import RUN_LENGTH, all_word_runs, word_runs

ROOT = Path(__file__).parents[1]
DEFINITION = re.compile(r"^def (\w+)\(([^()]*)\):\n((?:    .*\n?)+)", re.MULTILINE)
DOCSTRING = re.compile(r'^    """.*"""\n')


def lines_of(path: Path) -> list[dict]:
    return [json.loads(line) for line in (ROOT / path).read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def rows() -> list[dict]:
    return lines_of(problems.TRAINING_PATH)


@pytest.fixture(scope="module")
def bench() -> list[dict]:
    return lines_of(problems.BENCHMARK_PATH)


@pytest.fixture(scope="module")
def pretraining() -> list[str]:
    return corpus()


def answer(code: str, name: str, arguments: list) -> object:
    namespace: dict = {}
    exec(code, namespace)
    return namespace[name](*copy.deepcopy(arguments))


def nameless(text: str) -> Iterator[str]:
    """The functions in a text, with neutral names and without docstring."""
    for name, parameters, body in DEFINITION.findall(text):
        code = DOCSTRING.sub("", body).rstrip()
        for number, old in enumerate([name, *re.findall(r"\w+", parameters)]):
            code = re.sub(rf"\b{old}\b", f"name{number}", code)
        yield code


def test_files_are_what_the_recipe_makes():
    made_rows, made_problems = problems.make()

    on_disk = (ROOT / problems.TRAINING_PATH).read_text(encoding="utf-8")
    assert on_disk == problems.as_lines(made_rows)
    on_disk = (ROOT / problems.BENCHMARK_PATH).read_text(encoding="utf-8")
    assert on_disk == problems.as_lines(made_problems)


def test_there_are_enough_rows_and_problems(rows, bench):
    assert len(rows) >= 3_000
    assert 200 <= len(bench) <= 240
    assert len({row["instruction"] + row["response"] for row in rows}) == len(rows)


def test_families_are_balanced(rows, bench):
    names = {family.name for family in FAMILIES}
    trained = Counter(row["family"] for row in rows)
    asked = Counter(problem["family"] for problem in bench)

    assert set(trained) == set(asked) == names
    assert max(trained.values()) - min(trained.values()) <= 1
    assert {count for family, count in asked.items() if family != "predicate"} == {17}
    assert asked["predicate"] >= 5  # "a and b" means the same as "b and a": few are left


def test_no_composition_is_both_trained_on_and_asked(rows, bench):
    asked = [problem["composition"] for problem in bench]

    assert len(set(asked)) == len(asked)
    assert set(asked).isdisjoint(row["composition"] for row in rows)
    for family in FAMILIES:
        share = {composition.key for composition in compositions(family, held_out=False)}
        assert share.isdisjoint(asked)


def test_no_code_is_both_trained_on_and_asked_once_names_are_gone(rows, bench, pretraining):
    asked = {code for problem in bench for code in nameless(problem["reference"])}
    responses = (code for row in rows for code in nameless(row["response"] + "\n"))
    pretrained = [code for text in pretraining for code in nameless(text)]

    assert len(asked) == len(bench)
    assert len(pretrained) > 30_000
    assert asked.isdisjoint(responses)
    assert asked.isdisjoint(pretrained)


def test_no_ten_words_in_a_row_are_both_trained_on_and_asked(rows, bench, pretraining):
    seen = all_word_runs(problems.training_texts(problems.TrainingRow(**row) for row in rows))
    seen |= all_word_runs(pretraining)

    runs = 0
    for problem in bench:
        for text in (problem["instruction"], problem["reference"]):
            own = set(word_runs(text))
            runs += len(own)
            assert own.isdisjoint(seen), problem["task_id"]
    assert RUN_LENGTH == 10
    assert runs > 10 * len(bench)


def test_references_pass_their_own_tests(bench):
    for problem in bench:
        for test in problem["tests"]:
            got = answer(problem["reference"], problem["entry_point"], test["args"])
            assert json.dumps(got) == json.dumps(test["expected"]), problem["task_id"]
            assert test["kwargs"] == {}


def test_no_problem_is_answered_by_a_constant(bench):
    for problem in bench:
        answers = Counter(json.dumps(test["expected"]) for test in problem["tests"])
        assert len(problem["tests"]) >= 5
        assert max(answers.values()) <= len(problem["tests"]) - 2, problem["task_id"]


def test_nearly_every_other_composition_of_the_family_fails(bench):
    rng = Random(7)
    everything = {
        family.name: [*compositions(family, held_out=False), *compositions(family, held_out=True)]
        for family in FAMILIES
    }
    passed = tried = 0
    for problem in bench:
        for other in rng.sample(everything[problem["family"]], 8):
            if other.key == problem["composition"]:
                continue
            function = write(other, rng)
            tried += 1
            passed += passes(function.code, function.name, problem["tests"])
    assert tried > 1_500
    assert passed / tried < 0.02


def test_no_composition_to_train_on_passes_a_problem(bench):
    trained = {
        family.name: [
            (write(other, Random(3)).code, other.function_name)
            for other in compositions(family, held_out=False)
        ]
        for family in FAMILIES
    }

    passing = [
        problem["task_id"]
        for problem in bench
        for code, name in trained[problem["family"]]
        if passes(code, name, problem["tests"])
    ]

    assert passing == []


def passes(code: str, name: str, tests: list[dict]) -> bool:
    try:
        return all(answer(code, name, test["args"]) == test["expected"] for test in tests)
    except ValueError:
        return False  # text written for another separator cannot be read


def test_instructions_name_the_function_and_its_parameters(rows, bench):
    for text, code in [(row["instruction"], row["response"]) for row in rows] + [
        (problem["instruction"], problem["reference"]) for problem in bench
    ]:
        call = code.split(":", 1)[0].removeprefix("def ")
        assert f"`{call}`" in text


def test_some_rows_carry_an_input_that_is_true(rows):
    examples = [row for row in rows if " == " in row["input"]]

    assert len(examples) > 300
    assert any(row["input"] and " == " not in row["input"] for row in rows)
    for row in examples[:200]:
        namespace: dict = {}
        exec(row["response"], namespace)
        assert eval(row["input"], namespace) is True


def test_signature_begins_the_reference(bench):
    for number, problem in enumerate(bench):
        assert problem["task_id"] == f"starter/{number}"
        assert problem["reference"].startswith(problem["signature"] + "\n    ")
        assert problem["signature"].startswith(f"def {problem['entry_point']}(")
