"""Rows in the sandbox: their own tests, a user's cases, and problems they may solve."""

import json
import pickle
import re
from dataclasses import replace
from pathlib import Path

import pytest

from cluster.session import connect
from eval_sandbox.benchmarks import read_problems
from eval_sandbox.mistakes import InputError
from eval_sandbox.problem import Problem, Script
from jobs.data.bench import BATCH, Bench, Ending, run
from jobs.data.crew import OnCluster
from jobs.data.execution import (
    Cases,
    Execution,
    answer,
    attempt,
    definitions,
    problem_of,
    telling_nothing,
)
from jobs.data.nominations import Nomination
from jobs.data.row import Row

JUDGING = Execution(cpu_seconds=1, wall_seconds=5).judging()
DOUBLE = "def double(n):\n    return 2 * n\n"
CALLS = [{"args": [2], "expected": 4}, {"args": ["a"], "expected": "aa"}]


def row(response, tests=None, entry_point="", preamble=""):
    return Row(
        instruction="Double it.",
        response=response,
        tests="" if tests is None else json.dumps(tests),
        entry_point=entry_point,
        preamble=preamble,
        source="s",
        place="rows.jsonl:3",
        licence="MIT",
    )


@pytest.fixture(scope="module")
def bench():
    """One warm sandbox for all."""
    warm = Bench(JUDGING, {})
    yield warm
    warm.close()


# A row's own tests.

OWN = {
    "calls": (row(DOUBLE, CALLS, "double"), Ending.SOLVED),
    "an assert": (row(DOUBLE, ["assert double(4) == 8"]), Ending.SOLVED),
    "a dialogue": (
        row("print(2 * int(input()))", [{"stdin": "4\n", "stdout": "8\n"}]),
        Ending.SOLVED,
    ),
    "code in fences": (row(f"So:\n```python\n{DOUBLE}```\n", CALLS, "double"), Ending.SOLVED),
    "code in fences, then its output": (
        row(f"```python\n{DOUBLE}```\nOutput:\n```\n4 and aa, as asked\n```", CALLS, "double"),
        Ending.SOLVED,
    ),
    "lines that end as in DOS": (
        row(f"So:\n```python\n{DOUBLE}```\n".replace("\n", "\r\n"), CALLS, "double"),
        Ending.SOLVED,
    ),
    "code after prose": (row(f"Here you are.\n\n{DOUBLE}", CALLS, "double"), Ending.SOLVED),
    "a preamble": (
        row("def f(n): return FACTOR * n", ["assert f(1) == 3"], preamble="FACTOR = 3"),
        Ending.SOLVED,
    ),
    "one call of two that fails": (row("def f(n): return 4", CALLS, "f"), Ending.NOT),
    "a missing function": (row(DOUBLE, CALLS, "triple"), Ending.NOT),
    "an end before the tests": (
        row(f"{DOUBLE}raise SystemExit", ["assert double(1) == 2"]),
        Ending.NOT,
    ),
    "no end": (row(f"{DOUBLE}while True: pass", ["assert double(1) == 2"]), Ending.NOT),
    "no code": (row("I cannot say.", ["assert double(1) == 2"]), Ending.NOT),
}


@pytest.mark.parametrize("one, ending", OWN.values(), ids=OWN)
def test_a_row_is_run_against_its_tests_with(bench, one, ending):
    problem = problem_of(one)

    (ran,) = bench([(problem, answer(one, problem))])

    assert ran.ending is ending
    assert bool(ran.found) is (ending is Ending.NOT)


def test_a_row_without_tests_makes_no_problem():
    assert problem_of(row(DOUBLE)) is None
    assert problem_of(row(DOUBLE, [])) is None


UNREADABLE = {
    "no JSON": ("{", "not JSON"),
    "no list": ('{"a": 1}', "list with at least one test"),
    "a test of no kind": ('[{"arg": [1]}]', "did you mean 'args'"),
    "calls of no function": ('[{"args": [1], "expected": 2}]', "entry_point"),
    "an assert that is no Python": ('["assert ("]', "not Python"),
}


@pytest.mark.parametrize("tests, told", UNREADABLE.values(), ids=UNREADABLE)
def test_tests_are_refused_with_the_place_of_the_row_for(tests, told):
    one = Row(
        instruction="x", response="y", tests=tests, source="s", place="rows.jsonl:3", licence="MIT"
    )

    with pytest.raises(InputError, match=r"s/rows\.jsonl:3") as refused:
        problem_of(one)

    assert told in str(refused.value)


# A user's cases.


def case(name, *tests):
    return Problem(
        task_id=f"mine/{name}",
        instruction="",
        prompt="",
        entry_point=name,
        tests=tuple(Script(source=test) for test in tests),
    )


FOR = {
    "a row that defines its function": (row(DOUBLE), ["mine/double"]),
    "a row that names its function": (row("print()", entry_point="double"), ["mine/double"]),
    "a row with other functions": (row("def other(): pass"), []),
    "a row without code": (row("No."), []),
}


@pytest.mark.parametrize("one, task_ids", FOR.values(), ids=FOR)
def test_a_case_is_for(one, task_ids):
    cases = Cases(
        [case("double", "assert double(1) == 2"), case("triple", "assert triple(1) == 3")]
    )

    assert [problem.task_id for problem in cases.of(one)] == task_ids


# Attempts at a benchmark's problems.

PROMPT = 'BASE = 10\n\ndef shifted(n: int) -> int:\n    """Add the base."""\n'
SHIFTED = Problem(
    task_id="B/1",
    instruction=PROMPT,
    prompt=PROMPT,
    entry_point="shifted",
    tests=(Script(source="assert shifted(1) == BASE + 1\nassert shifted(5) == BASE + 5"),),
    reference=f"{PROMPT}    return n + BASE\n",
)
ATTEMPTS = {
    "its function under another name": ("def g(n):\n    return n + 10\n", "g"),
    "a method": ("class S:\n    def g(self, n):\n        return n + 10\n", "S.g"),
    "a function without the import it needs": ("def g(n): return math.floor(n) + 10", "g"),
    "an annotation without its import": (
        "def g(n: ndarray) -> Sequence[Thing]: return n + 10",
        "g",
    ),
    "an import from the future": ("from __future__ import division\ndef g(n): return n + 10", "g"),
    "a program that reads at its end": ("def g(n): return n + 10\nprint(g(int(input())))", "g"),
    "a program that reads at its start": ("k = int(input())\ndef g(n): return n + 10", "g"),
    "an example that fails": ("def g(n): return n + 10\nassert g(1) == 12", "g"),
    "a loop without end": ("def g(n): return n + 10\nwhile True: pass", "g"),
    "a lambda": ("g = lambda n: n + 10", "g"),
    "a function under a condition": ("if True:\n    def g(n): return n + 10", "g"),
    "a function of a main part": (
        "if __name__ == '__main__':\n    def g(n): return n + 10\n    print(g(int(input())))",
        "g",
    ),
    "a function in a context": ("with open('no') as f:\n    def g(n): return n + 10", "g"),
    "a block that says nothing, before output": (
        "```\ndef g(n): return n + 10\n```\nIt prints\n```\nEleven it is\n```",
        "g",
    ),
    "a constant and a helper": ("K = 10\ndef h(): return K\ndef g(n): return n + h()", "g"),
}


def nomination(function, problem=SHIFTED):
    return Nomination(
        benchmark="b", task_id=problem.task_id, function=function, by="name", strength=1.0
    )


@pytest.mark.parametrize("code, function", ATTEMPTS.values(), ids=ATTEMPTS)
def test_a_problem_is_solved_by(bench, code, function):
    (ran,) = bench([(SHIFTED, attempt(nomination(function), row(code), SHIFTED))])

    assert ran.ending is Ending.SOLVED, ran.found


def test_a_problem_is_solved_by_code_in_the_input(bench):
    one = replace(row("It adds ten."), input="def g(n): return n + 10")

    (ran,) = bench([(SHIFTED, attempt(nomination("g"), one, SHIFTED))])

    assert ran.ending is Ending.SOLVED, ran.found


FAILURES = {
    "a wrong function": ("def g(n):\n    return n\n", "g"),
    "a function that only continues the prompt": ("def g(n): return shifted(n)", "g"),
    "a class that needs more": (
        "class S:\n    def __init__(self, a): 1\n    def g(self, n): 1",
        "S.g",
    ),
    "a constant that fits one test": ("def g(n): return 11", "g"),
}


@pytest.mark.parametrize("code, function", FAILURES.values(), ids=FAILURES)
def test_a_problem_is_not_solved_by(bench, code, function):
    (ran,) = bench([(SHIFTED, attempt(nomination(function), row(code), SHIFTED))])

    assert ran.ending is Ending.NOT


def test_code_that_does_not_parse_is_left_as_it_is():
    assert definitions("def f(:") == "def f(:"


def test_problems_that_accept_a_function_which_does_nothing_tell_nothing():
    weak = [
        case("nothing", "assert nothing(1) is None"),
        case("same", "assert same(3) == 3"),
        case("yes", "assert yes(3)"),
    ]
    told = case("double", "assert double(1) == 2", "assert double(2) == 4")
    problems = {("b", problem.task_id): problem for problem in (*weak, told, SHIFTED)}

    found = telling_nothing(problems, JUDGING)

    assert found == {("b", problem.task_id) for problem in weak}


@pytest.mark.parametrize(
    "name, file", [("humaneval", "HumanEval.jsonl.gz"), ("mbpp", "mbpp.jsonl")]
)
def test_published_references_solve_their_problems_under_another_name(bench, published, name, file):
    """HumanEval/32, 38 and 50 among them, whose tests take functions from the prompt."""
    step = {"humaneval": 6, "mbpp": 24}[name]
    problems = read_problems(name, published / "bench" / file)
    taken = [p for n, p in enumerate(problems) if n % step == 2 or p.task_id[-3:] == "/50"]
    asked = []
    for problem in taken:
        whole = re.sub(rf"\b{problem.entry_point}\b", "renamed", problem.reference)
        asked.append((problem, attempt(nomination("renamed", problem), row(whole), problem)))

    failed = [p.task_id for (p, _), ran in zip(asked, bench(asked), strict=True) if ran.found]

    assert failed == []


# Many programs.


def asked_of(count):
    right, wrong = row("def g(n): return n + 10"), row("def g(n): return n")
    programs = [right if n % 3 else wrong for n in range(count)]
    return [(("b", "B/1"), attempt(nomination("g"), one, SHIFTED)) for one in programs]


def test_endings_come_in_the_order_of_programs_and_progress_is_told():
    asked, done = asked_of(BATCH + 5), []

    ran = run(asked, {("b", "B/1"): SHIFTED}, JUDGING, progress=done.append)

    assert [r.ending for r in ran] == [
        Ending.SOLVED if n % 3 else Ending.NOT for n in range(BATCH + 5)
    ]
    assert done == [BATCH, BATCH + 5]


def test_a_bench_travels_without_its_sandbox(bench):
    problem = problem_of(row(DOUBLE, CALLS, "double"))
    asked = [(problem, answer(row(DOUBLE), problem))]
    bench(asked)

    other = pickle.loads(pickle.dumps(bench))
    try:
        assert [ran.ending for ran in other(asked)] == [Ending.SOLVED]
    finally:
        other.close()


def test_actors_of_a_cluster_say_the_same(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    asked = asked_of(3 * BATCH)

    with connect(tmp_path / "home"):
        there = run(asked, {("b", "B/1"): SHIFTED}, JUDGING, OnCluster(2))

    assert there == run(asked, {("b", "B/1"): SHIFTED}, JUDGING)


MISTAKES = {
    "an unknown word": ({"tests": "requires"}, "tests"),
    "no time": ({"cpu_seconds": 0}, "cpu_seconds"),
    "an unknown key": ({"test": "require"}, "Did you mean 'tests'?"),
}


@pytest.mark.parametrize("said, told", MISTAKES.values(), ids=MISTAKES)
def test_a_recipe_is_refused_for(said, told):
    parsed, mistakes = Execution.parse(said)

    assert parsed is None
    assert told in " ".join(mistakes)
