"""Other people's test cases as benchmarks; oracles are their authors' own solutions."""

import ast
import gzip
import json
import zipfile
from collections import Counter

import pytest

from eval_sandbox.benchmarks import InputError
from eval_sandbox.contract import Judging
from eval_sandbox.judge import Worker
from eval_sandbox.problem import Completion
from eval_sandbox.verdict import Outcome
from jobs.cases import convert, read_cases
from jobs.loading import load
from jobs.recipes import BENCH, BenchmarkRecipe, read_recipe

SPECIFICATIONS = "exercism_problem_specifications.json.gz"
PYTHON_TRACK = "exercism_python.jsonl.gz"
CHALLENGES = "interactive_coding_challenges.jsonl.gz"

# https://github.com/exercism/problem-specifications/blob/main/README.md, "Test Data Format",
# describes these fields; the case here is ours, in that form.
LEAP = {
    "exercise": "leap",
    "comments": ["of the calendar"],
    "cases": [
        {
            "description": "years that",
            "cases": [
                {
                    "uuid": "1",
                    "description": "divide by 4",
                    "property": "leapYear",
                    "input": {"year": 1996},
                    "expected": True,
                },
                {
                    "uuid": "2",
                    "description": "divide by 100",
                    "property": "leapYear",
                    "input": {"year": 1900},
                    "expected": True,
                },
            ],
        },
        {
            "uuid": "3",
            "reimplements": "2",
            "description": "divide by 100",
            "property": "leapYear",
            "input": {"year": 1900},
            "expected": False,
        },
        {
            "uuid": "4",
            "description": "are no years",
            "property": "leapYear",
            "input": {"year": -1},
            "expected": {"error": "no year"},
        },
    ],
}
LEAP_YEAR = """
def leap_year(year):
    if year < 0:
        raise ValueError
    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
"""

# In the form of https://github.com/the-crypt-keeper/can-ai-code, senior/recursion.yaml and
# junior-v2/{gcd,fib,sanity}.yaml: merge keys, eq, eq-any, weights, checks on names and on results.
INTERVIEW = """
.Checks: &Checks
    two:
        assert: "len(f.args)"
        eq: 2
    small:
        assert: "f.call(7, [2])"
        eq: [7, {'a': 2}]
        weight: 5

First:
    Signature: "pair(x, many)"
    Input: "with two inputs"
    Output: "both in a list"
    Fact: "A pair is two."
    Description: "for people"
    Checks:
        <<: *Checks
        x:
            assert: "f.args[0].name"
            eq: "x"
        many:
            assert: "f.args[1].name"
            eq: "many"
        name:
            assert: "f.name"
            eq: "pair"
        listed:
            assert: isinstance(f.call(7, [2]), list)
            eq: true
        first:
            assert: |-
              f.call(7, [2])[0]
            eq-any: [7, "seven"]
        source:
            assert: "len(f.code)"
            eq: 9
"""
PAIR = "def pair(x, many):\n    return [x, {'a': many[0]}]"


def outcomes(problems, program_of):
    """The outcome of a program for each problem."""
    with Worker() as worker:
        for problem in problems:
            completion = Completion(task_id=problem.task_id, text=program_of(problem), whole=True)
            yield problem.task_id, worker.judge(problem, completion, Judging())


def failed(problems, program_of):
    judged = outcomes(problems, program_of)
    return {name: v.detail for name, v in judged if v.outcome is not Outcome.PASSED}


def rows_of(path):
    with gzip.open(path, "rt") as file:
        return [json.loads(line) for line in file]


def written(path, text):
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    "form, name, problems",
    [("exercism-python", PYTHON_TRACK, 116), ("interactive-coding", CHALLENGES, 99)],
    ids=["exercism's python track", "interactive coding challenges"],
)
def test_every_authors_solution_passes_its_own_tests(published, form, name, problems):
    read = read_cases(form, published / "custom" / name)

    assert len(read) == problems
    assert failed(read, lambda problem: problem.reference) == {}


@pytest.mark.parametrize(
    "form, name", [("exercism-python", PYTHON_TRACK), ("interactive-coding", CHALLENGES)]
)
def test_every_row_is_a_problem_or_named_with_a_reason(published, form, name):
    path = published / "custom" / name
    converted = convert(form, path)

    named = [record["task_id"].partition("/")[2] for record in converted.records]
    named += [one.case for one in converted.left_out]
    assert sorted(named) == sorted(row.get("slug") or row["dir"] for row in rows_of(path))
    assert all(one.reason for one in converted.left_out)


def test_an_empty_answer_passes_no_unit_test(published):
    names = [("exercism-python", PYTHON_TRACK), ("interactive-coding", CHALLENGES)]
    read = [p for form, name in names for p in read_cases(form, published / "custom" / name)[::6]]

    assert len(failed(read, lambda problem: "x = 1")) == len(read)


def test_every_canonical_case_is_a_test_or_named_with_a_reason(published):
    path = published / "custom" / SPECIFICATIONS
    converted = convert("exercism", path)
    with gzip.open(path, "rt") as file:
        published_cases = json.load(file)

    def count(node):
        nested = node.get("cases")
        return 1 if nested is None else sum(map(count, nested))

    tests = sum(len(record["tests"]) for record in converted.records)
    cases = sum(count(entry["canonical"]) for entry in published_cases.values())
    assert cases == 2316
    assert tests + len(converted.left_out) == cases
    assert Counter(one.reason for one in converted.left_out) == {
        "of steps on an object": 120,
        "replaced by a later one": 64,
        "with a function for input": 29,
        "on something random": 16,
        "without one that wants a value": 10,
        "with a formula for a number": 4,
        "with a relation for a result": 2,
    }


OTHER_IN_PYTHON = {
    "dominoes/canChain": "returns the chain, not whether there is one",
    "etl/transform": "takes numbers for keys, which JSON has not",
    "gigasecond/add": "takes a datetime",
    "grep/grep": "reads files",
    "ledger/formatEntries": "returns one text",
    "pythagorean-triplet/tripletsWithSum": "any order will do",
    "resistor-color-trio/label": "returns one text",
    "reverse-string/reverse": "leaves out what is made of several characters",
    "saddle-points/saddlePoints": "has [] for the empty matrix",
    "secret-handshake/commands": "takes a text of digits",
    "sgf-parsing/parse": "returns an object",
    "sublist/sublist": "returns constants of its own",
    "transpose/transpose": "takes one text",
    "two-bucket/measure": "returns a tuple",
    "two-fer/twoFer": "has a default where the data has null",
    "yacht/score": "takes constants of its own",
}
"""Where the Python track asks for something else than the canonical data, seen in its tests."""


def test_solutions_of_the_python_track_pass_the_canonical_cases(published):
    """Those that define the same function of the same parameters, or one of one parameter."""
    folder = published / "custom"
    solutions = {r["slug"]: "".join(r["example"].values()) for r in rows_of(folder / PYTHON_TRACK)}
    alike = {}
    for problem in read_cases("exercism", folder / SPECIFICATIONS):
        order = same_parameters(problem, solutions.get(problem.family, ""))
        if order:
            alike[problem.task_id] = problem, order

    def program(problem):
        _, order = alike[problem.task_id]
        return (
            f"_of = {{}}\nexec({solutions[problem.family]!r}, _of)\n"
            f"{problem.prompt.strip()}\n"
            f"    return _of[{problem.entry_point!r}]({', '.join(order)})\n"
        )

    wrong = failed([problem for problem, _ in alike.values()], program)
    assert len(alike) == 84
    assert set(wrong) == set(OTHER_IN_PYTHON), wrong


def same_parameters(problem, solution):
    """The order in which the solution takes what the problem gives; empty where that is unsure."""
    wanted = [a.arg for a in ast.parse(f"{problem.prompt} pass").body[0].args.args]
    for node in ast.parse(solution).body:
        if isinstance(node, ast.FunctionDef) and node.name == problem.entry_point:
            taken = [a.arg for a in node.args.args]
            if set(taken) == set(wanted):
                return taken
            return wanted if len(taken) == len(wanted) == 1 else []
    return []


def test_floats_with_all_their_digits_may_differ_in_the_last(published):
    problems = read_cases("exercism", published / "custom" / SPECIFICATIONS)
    (power,) = (problem for problem in problems if problem.task_id == "rational-numbers/expreal")
    program = "def expreal(r, x):\n    return x ** (r[0] / r[1])"

    assert 8 ** (4 / 3) != 16.0
    assert failed([power], lambda _: program) == {}
    assert failed([power], lambda _: program.replace("r[0] /", "1.001 * r[0] /"))


@pytest.fixture(params=["one file", "packed", "archive"])
def leap(request, tmp_path):
    """The exercise in each shape that Exercism's data comes in."""
    match request.param:
        case "one file":
            return written(tmp_path / "canonical-data.json", json.dumps(LEAP))
        case "packed":
            packed = {"leap": {"canonical": LEAP, "instructions": "# Instructions\n\nSay it."}}
            return written(tmp_path / "packed.json", json.dumps(packed))
    with zipfile.ZipFile(tmp_path / "main.zip", "w") as archive:
        folder = "problem-specifications-main/exercises/leap"
        archive.writestr(f"{folder}/canonical-data.json", json.dumps(LEAP))
        archive.writestr(f"{folder}/instructions.md", "# Instructions\n\nSay it.")
        archive.writestr(f"{folder}/metadata.toml", "title = 'Leap'")
    return tmp_path / "main.zip"


def test_a_canonical_exercise_becomes_a_function_with_its_cases(leap):
    converted = convert("exercism", leap)
    (problem,) = converted.problems(leap)

    assert problem.prompt == "def leap_year(year):\n"
    assert (problem.task_id, problem.entry_point) == ("leap/leapYear", "leap_year")
    assert [(one.case, one.reason) for one in converted.left_out] == [
        ("leap: years that: divide by 100", "replaced by a later one")
    ]
    assert "leap_year(1996) == True" in problem.instruction
    assert "leap_year(-1) raises an exception: no year" in problem.instruction
    assert failed([problem], lambda _: LEAP_YEAR) == {}


WRONG_YEARS = {
    "no exception": LEAP_YEAR.replace("raise ValueError", "return None"),
    "the value that was replaced": "def leap_year(year):\n    return year % 4 == 0",
    "1 for True": LEAP_YEAR.replace("return year % 4 == 0 and (", "return 0 + (year % 4 == 0 and "),
    "nothing at all": "",
}


@pytest.mark.parametrize("program", WRONG_YEARS.values(), ids=WRONG_YEARS)
def test_a_wrong_answer_to_a_canonical_exercise_fails(tmp_path, program):
    path = written(tmp_path / "canonical-data.json", json.dumps(LEAP))

    assert failed(read_cases("exercism", path), lambda _: program)


def test_floats_are_compared_to_the_decimals_that_the_file_gives(published):
    ages = read_cases("exercism", published / "custom" / SPECIFICATIONS)
    (age,) = (problem for problem in ages if problem.task_id == "space-age/age")
    years = {
        "Mercury": 0.2408467,
        "Venus": 0.61519726,
        "Earth": 1.0,
        "Mars": 1.8808158,
        "Jupiter": 11.862615,
        "Saturn": 29.447498,
        "Uranus": 84.016846,
        "Neptune": 164.79132,
    }
    program = (
        f"def age(planet, seconds):\n    years = {years}\n    if planet not in years:\n"
        "        raise ValueError\n    return seconds / 31557600 / years[planet]"
    )

    assert failed([age], lambda _: program) == {}
    assert failed([age], lambda _: program.replace("31557600", "31536000"))


def test_checks_of_an_interview_become_calls_and_assertions(tmp_path):
    path = written(tmp_path / "senior.yaml", INTERVIEW)
    converted = convert("can-ai-code", path)
    (problem,) = converted.problems(path)

    assert problem.instruction.startswith(
        "Write a Python function pair(x, many) with two inputs that returns both in a list"
    )
    assert "A pair is two." in problem.instruction
    assert "for people" not in problem.instruction
    assert [(one.case, one.reason) for one in converted.left_out] == [
        ("First: source", "about more than calls")
    ]
    assert failed([problem], lambda _: PAIR) == {}


WRONG_PAIRS = {
    "another name": PAIR.replace("pair", "couple"),
    "other names of arguments": PAIR.replace("many", "lots"),
    "a third argument": PAIR.replace("(x, many)", "(x, many, more)"),
    "another value": PAIR.replace("'a'", "'b'"),
    "no list": PAIR.replace("return [x, {'a': many[0]}]", "return (x, {'a': many[0]})"),
}


@pytest.mark.parametrize("program", WRONG_PAIRS.values(), ids=WRONG_PAIRS)
def test_a_wrong_answer_to_an_interview_fails(tmp_path, program):
    path = written(tmp_path / "senior.yaml", INTERVIEW)

    assert failed(read_cases("can-ai-code", path), lambda _: program)


def test_an_archive_of_interviews_is_read_file_by_file(tmp_path):
    with zipfile.ZipFile(tmp_path / "senior.zip", "w") as archive:
        archive.writestr("senior/first.yaml", INTERVIEW)
        archive.writestr("senior/second.yaml", INTERVIEW.replace("First:", "Second:"))

    read = read_cases("can-ai-code", tmp_path / "senior.zip")
    assert [(p.task_id, p.family) for p in read] == [("First", "first"), ("Second", "second")]


MISTAKES = {
    "no JSON": ("exercism", "{", "this is not JSON"),
    "no canonical data": ("exercism", '{"leap": {"cases": 3}}', "'leap' has no 'canonical'"),
    "no cases": ("exercism", '{"exercise": "leap", "cases": []}', "no problem could be made"),
    "no YAML": ("can-ai-code", "a: [", "not readable as YAML"),
    "no checks": (
        "can-ai-code",
        "gcd: {Signature: 'gcd(a)', Input: x, Output: y}",
        "gcd: no Checks",
    ),
    "an output that is no text": (
        "can-ai-code",
        "gcd: {Signature: 'gcd(a)', Input: x, Output: 3, Checks: {a: b}}",
        "gcd: no Output",
    ),
    "no signature": (
        "can-ai-code",
        "gcd: {Signature: gcd, Input: x, Output: y, Checks: {a: b}}",
        "Signature is 'gcd'",
    ),
    "a line that is no JSON": ("exercism-python", "{}\n{", "line 2"),
    "a row of something else": ("exercism-python", '{"slug": "x"}', "x: 'stub' has to be"),
    "a form nobody knows": ("exercisms", "", "Did you mean 'exercism'?"),
}


@pytest.mark.parametrize("form, text, told", MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_in_a_file_is_told_with_its_place(tmp_path, form, text, told):
    with pytest.raises(InputError, match=told.replace("?", r"\?").replace("(", r"\(")):
        read_cases(form, written(tmp_path / "cases", text))


def test_an_exercise_that_is_no_python_is_left_out_and_the_others_are_read(published, tmp_path):
    leap, *_ = (r for r in rows_of(published / "custom" / PYTHON_TRACK) if r["slug"] == "leap")
    broken = leap | {"slug": "old", "example": {"old.py": "print 'old'"}}
    path = written(tmp_path / "two.jsonl", f"{json.dumps(broken)}\n{json.dumps(leap)}\n")

    converted = convert("exercism-python", path)

    assert [one.case for one in converted.left_out] == ["old"]
    assert [record["task_id"] for record in converted.records] == ["exercism-python/leap"]


RECIPES = ("exercism", "exercism-python", "interactive-coding", "humanevalplus", "mbppplus")


def test_the_recipes_name_the_published_files_and_load(published, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("CODELADDER_DATA", str(published))
    listed = "\n".join(f"  {name}: {{}}" for name in RECIPES)
    path = written(
        tmp_path / "all.yaml",
        f"models:\n  starter: {{path: models/starter/falcon}}\nbenchmarks:\n{listed}\n",
    )

    loaded = load(path)

    found = {benchmark.name: len(benchmark.problems) for benchmark in loaded.benchmarks}
    assert found == dict(zip(RECIPES, (200, 116, 99, 164, 378), strict=True))
    assert f"{SPECIFICATIONS}: 200 problems. 245 cases were left out" in caplog.text
    assert read_recipe(BenchmarkRecipe, BENCH, "can-ai-code").benchmark == "can-ai-code"
