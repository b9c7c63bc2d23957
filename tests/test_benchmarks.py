"""Problems in their authors' format, and everything wrong with a file said at once."""

import gzip
import json
from itertools import permutations

import pytest

from eval_sandbox.benchmarks import BENCHMARKS, InputError, problem_id, read_problems
from eval_sandbox.problem import Call, Dialogue, Script, Trials

HUMANEVAL = {
    "task_id": "HumanEval/0",
    "prompt": "def one():\n",
    "entry_point": "one",
    "canonical_solution": "    return 1\n",
    "test": "def check(candidate):\n    assert candidate() == 1\n",
}
MBPP = {
    "task_id": 11,
    "text": "Write a function that returns one.",
    "code": "def one():\r\n  return 1",
    "test_list": ["assert one() == 1", "assert one() < 2"],
    "test_setup_code": "import math",
    "challenge_test_list": ["assert one() == 2"],
}
SANITIZED = {
    "task_id": 12,
    "prompt": "Write a function that returns two.",
    "code": "def two():\n  return 2",
    "test_imports": ["import math", "import re"],
    "test_list": ["assert set([two()]) == {2}"],
}
CUSTOM = {
    "task_id": "adds",
    "instruction": "Add two numbers.",
    "signature": "def add(a, b):",
    "entry_point": "add",
    "tests": [
        {"args": [1, 2], "expected": 3},
        {"args": [1], "kwargs": {"b": 2}, "expected": 3},
        {"stdin": "1 2", "stdout": "3"},
        "assert add(1, 2) == 3",
    ],
    "reference": "def add(a, b):\n    return a + b\n",
    "family": "sums",
}
HUMANEVALPLUS = {
    "task_id": "HumanEval/32",
    "prompt": "import math\n\ndef find_zero(xs: list):\n",
    "entry_point": "find_zero",
    "canonical_solution": "    return 1.0\n",
    "test": "def check(candidate):\n    assert False\n",
    "contract": "",
    "base_input": [[[1, 2]], [[3, 4]]],
    "plus_input": [[[5, 6]]],
    "atol": 0.0001,
}
MBPPPLUS = {
    "task_id": "Mbpp/2",
    "prompt": '"""\nFind what two lists share.\nassert similar((3, 4),(4,)) == {4}\n"""\n',
    "entry_point": "similar_elements",
    "canonical_solution": "\ndef similar_elements(a, b):\n  return set(a) & set(b)\n",
    "base_input": [[[3, 4], [4]]],
    "plus_input": {},
    "contract": "",
    "assertion": "assert False",
    "atol": 0,
}


@pytest.fixture
def written(tmp_path):
    def write(*records, name="problems.jsonl"):
        lines = [one if isinstance(one, str) else json.dumps(one) for one in records]
        content = "".join(f"{line}\n" for line in lines).encode()
        path = tmp_path / name
        path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
        return path

    return write


def mistakes(benchmark, path, split=""):
    with pytest.raises(InputError) as caught:
        read_problems(benchmark, path, split)
    return str(caught.value).splitlines()


@pytest.mark.parametrize("task_id", [11, "11", "MBPP/11", "Mbpp/11", " 11 ", "mbpp+/011"])
def test_one_problem_has_one_name_however_tools_write_it(task_id):
    assert problem_id(task_id) == "11"


@pytest.mark.parametrize("task_id", ["adds", "team/11", "MBPP/x", "11a", "٣"])
def test_ids_of_ones_own_stay_as_they_are(task_id):
    assert problem_id(task_id) == task_id


@pytest.mark.parametrize("name", ["problems.jsonl", "problems.jsonl.gz"])
def test_humaneval_continues_its_prompt_and_checks_its_entry_point(written, name):
    (problem,) = read_problems("humaneval", written(HUMANEVAL, name=name))

    assert problem.task_id == "HumanEval/0"
    assert problem.prompt == problem.instruction == HUMANEVAL["prompt"]
    assert problem.tests == (Script(source=HUMANEVAL["test"] + "\ncheck(one)"),)
    assert problem.reference == "def one():\n    return 1\n"


def test_mbpp_is_judged_by_its_test_list_alone(written):
    (problem,) = read_problems("mbpp", written(MBPP))

    assert problem.task_id == "MBPP/11"
    assert problem.prompt == ""
    assert problem.tests == tuple(Script(source=test) for test in MBPP["test_list"])
    assert problem.setup == "import math"
    assert problem.entry_point == "one"
    assert problem.extra == {"tests": "assert one() == 1\nassert one() < 2"}
    assert problem.reference == "def one():\n  return 1"


def test_sanitized_mbpp_is_a_json_list_with_imports(written):
    path = written(json.dumps([SANITIZED], indent=1), name="sanitized.json")

    (problem,) = read_problems("mbpp", path)

    assert problem.instruction == SANITIZED["prompt"]
    assert problem.setup == "import math\nimport re"
    assert problem.entry_point == "two"


@pytest.mark.parametrize(
    "split, ids",
    {
        "prompt": [1, 10],
        "test": [11, 510],
        "validation": [511, 600],
        "train": [601, 974],
        "": [1, 10, 11, 510, 511, 600, 601, 974],
    }.items(),
)
def test_mbpp_splits_reach_from_id_to_id(written, split, ids):
    path = written(*(MBPP | {"task_id": n} for n in [1, 10, 11, 510, 511, 600, 601, 974]))

    problems = read_problems("mbpp", path, split)

    assert [problem.task_id for problem in problems] == [f"MBPP/{n}" for n in ids]


def test_custom_problems_carry_every_kind_of_test(written):
    (problem,) = read_problems("custom", written(CUSTOM | {"composition": ["a", "b"]}))

    assert problem.prompt == "def add(a, b):\n"
    assert problem.family == "sums"
    assert problem.tests == (
        Call(args=(1, 2), kwargs={}, expected=3),
        Call(args=(1,), kwargs={"b": 2}, expected=3),
        Dialogue(stdin="1 2", stdout="3"),
        Script(source="assert add(1, 2) == 3"),
    )


def test_problems_with_code_of_ones_own_for_tests_are_not_trusted(written):
    harmless = CUSTOM | {"task_id": "b", "tests": CUSTOM["tests"][:3]}

    first, second = read_problems("custom", written(CUSTOM, harmless))

    assert not first.trusted
    assert second.trusted


def test_humanevalplus_is_judged_by_its_inputs_alone(written):
    (problem,) = read_problems("humanevalplus", written(HUMANEVALPLUS))

    assert problem.prompt == problem.instruction == HUMANEVALPLUS["prompt"]
    assert problem.reference == HUMANEVALPLUS["prompt"] + "    return 1.0\n"
    assert problem.tests == (
        Trials(name="base", inputs=(([1, 2],), ([3, 4],)), rule="root", tolerance=0.0001),
        Trials(name="plus", inputs=(([5, 6],),), rule="root", tolerance=0.0001),
    )


def test_mbppplus_asks_with_its_one_assert_and_has_no_prompt_to_continue(written):
    (problem,) = read_problems("mbppplus", written(MBPPPLUS))

    assert problem.task_id == "Mbpp/2"
    assert problem.prompt == ""
    assert problem.instruction == "Find what two lists share."
    assert problem.extra == {
        "tests": "assert similar((3, 4),(4,)) == {4}",
        "published": MBPPPLUS["prompt"],
    }
    assert problem.reference == MBPPPLUS["prompt"] + MBPPPLUS["canonical_solution"]


def test_mbppplus_may_have_no_further_inputs(written):
    (problem,) = read_problems("mbppplus", written(MBPPPLUS))

    assert problem.tests == (
        Trials(name="base", inputs=(((3, 4), (4,)),), rule="set"),
        Trials(name="plus", inputs=(), rule="set"),
    )


ARGUMENTS = {
    "a list of tuples": (63, [[[1, 2], [3, 4]]], ([(1, 2), (3, 4)],)),
    "a tuple of tuples": (259, [[[1, 2]], [[3, 4]]], (((1, 2),), ((3, 4),))),
    "a tuple among numbers": (278, [[4, [5, 6], 7]], ((4, (5, 6), 7),)),
    "tuples all the way down": (580, [[1, [2, [3]]]], ((1, (2, (3,))),)),
    "a tuple first": (720, [[1, 2], {"a": 1}], ((1, 2), {"a": 1})),
    "a tuple second": (106, [[1], [2]], ([1], (2,))),
    "a list of tuples first": (75, [[[1, 2]], 6], ([(1, 2)], 6)),
    "a dict of tuples": (722, [{"a": [1, 2]}, 6, 70], ({"a": (1, 2)}, 6, 70)),
    "sets": (115, [[[1, 1], [], 5]], ([{1}, {}, {}],)),
    "a complex number": (252, ["1+2j"], (1 + 2j,)),
    "a float and a complex number": (124, ["0", "1j"], (0.0, 1j)),
    "what JSON has": (3, [[1, "a", None]], ([1, "a", None],)),
}


@pytest.mark.parametrize("number, given, args", ARGUMENTS.values(), ids=ARGUMENTS)
def test_arguments_of_mbppplus_become(written, number, given, args):
    record = MBPPPLUS | {"task_id": f"Mbpp/{number}", "base_input": [given]}

    (problem,) = read_problems("mbppplus", written(record))

    assert problem.tests[0].inputs == (args,)


WRONG = {
    "no inputs": (
        "humanevalplus",
        HUMANEVALPLUS | {"base_input": []},
        "field 'base_input' has no inputs",
    ),
    "an input that its problem cannot take": (
        "mbppplus",
        MBPPPLUS | {"base_input": [[1, 2]]},
        "base_input[0] is [1, 2], no input of it",
    ),
    "a call without arguments": (
        "humanevalplus",
        HUMANEVALPLUS | {"plus_input": [5]},
        "plus_input[0] is 5, no input of it: a list of arguments is expected",
    ),
    "a tolerance in words": (
        "humanevalplus",
        HUMANEVALPLUS | {"atol": "small"},
        "field 'atol' is 'small'; a number is expected",
    ),
    "a function without a name": (
        "humaneval",
        HUMANEVAL | {"entry_point": "a b"},
        "field 'entry_point' is 'a b'; the name of a function is expected",
    ),
    "a field missing": (
        "humaneval",
        {k: v for k, v in HUMANEVAL.items() if k != "test"} | {"tests": "x"},
        "field 'test' is missing; the nearest field there is 'tests'",
    ),
    "a field of another kind": (
        "mbpp",
        MBPP | {"test_list": "assert one() == 1"},
        "field 'test_list' is \"assert one() == 1\"; a list is expected",
    ),
    "no tests": ("mbpp", MBPP | {"test_list": []}, "field 'test_list' has no tests"),
    "an unknown field": (
        "custom",
        CUSTOM | {"refrence": "x"},
        "there is no field 'refrence'; did you mean 'reference'?",
    ),
    "an unknown field of a test": (
        "custom",
        CUSTOM | {"tests": [{"arg": [1], "expected": 1}]},
        "tests[0] has no field 'arg'; did you mean 'args'?",
    ),
    "a test without its answer": (
        "custom",
        CUSTOM | {"tests": [{"args": [1]}]},
        "tests[0] has no 'expected'",
    ),
    "an assert that is no Python": (
        "custom",
        CUSTOM | {"tests": ["assert add(1 == 2"]},
        "tests[0] is not Python",
    ),
    "calls of nothing": (
        "custom",
        CUSTOM | {"entry_point": "a.b.c"},
        "field 'entry_point' is 'a.b.c'",
    ),
    "no JSON": ("custom", '{"task_id": ', "this is not JSON"),
    "no object": ("custom", "[1]\n", "an object is expected, not 1"),
}


@pytest.mark.parametrize("benchmark, record, message", WRONG.values(), ids=WRONG)
def test_a_mistake_is_named_for(written, benchmark, record, message):
    path = written(record)

    found = mistakes(benchmark, path)

    assert any(line.startswith(str(path)) and message in line for line in found), found


FORMATS = {
    "humaneval": HUMANEVAL,
    "mbpp": MBPP,
    "humanevalplus": HUMANEVALPLUS,
    "mbppplus": MBPPPLUS,
    "custom": CUSTOM,
}


@pytest.mark.parametrize("benchmark, given", list(permutations(FORMATS, 2)))
def test_a_file_of_another_benchmark_is_named_once(written, benchmark, given):
    path = written(FORMATS[given], FORMATS[given])

    (message,) = mistakes(benchmark, path)

    assert message == (
        f"{path}, line 1: this is a problem of {given}, not of {benchmark}; "
        f"name {given!r} as the benchmark"
    )


def test_completions_in_the_place_of_problems_are_recognised(written):
    path = written({"task_id": 11, "completion": "x"})

    assert "this is a completion" in mistakes("mbpp", path)[0]


def test_every_mistake_is_said_at_once_with_its_line(written):
    path = written(CUSTOM, "not JSON", CUSTOM | {"instruction": 5, "tests": []}, CUSTOM)

    found = mistakes("custom", path)

    places = [line.removeprefix(f"{path}, ").split(":")[0] for line in found]
    assert places == ["line 2", "line 3", "line 3", "line 3", "line 4"]
    assert "already used by line 1" in found[-1]


def test_twenty_mistakes_are_shown_and_the_rest_counted(written):
    found = mistakes("custom", written(*["{"] * 30))

    assert len(found) == 21
    assert found[-1].startswith("and 10 more mistakes")


def test_a_file_that_is_not_there_is_named_with_its_neighbour(written):
    path = written(CUSTOM)

    (message,) = mistakes("custom", path.with_name("problem.jsonl"))

    assert "No such file" in message
    assert "'problems.jsonl'" in message


DAMAGED = {
    "empty": (b"", "there is nothing in it"),
    "a damaged gzip": (b"\x1f\x8bgarbage", "gzip file is damaged"),
    "no text": (b"\xff\xfe\xfd", "not UTF-8"),
}


@pytest.mark.parametrize("content, message", DAMAGED.values(), ids=DAMAGED)
def test_a_file_is_refused_that_is(tmp_path, content, message):
    path = tmp_path / "problems.jsonl"
    path.write_bytes(content)

    assert message in mistakes("custom", path)[0]


@pytest.mark.parametrize(
    "benchmark, split, nearest",
    [
        ("mbpp", "tests", "'test'"),
        ("humaneval", "test", "leave it out"),
        ("human", "", "humaneval"),
    ],
)
def test_a_wrong_name_is_answered_with_the_nearest(written, benchmark, split, nearest):
    assert nearest in mistakes(benchmark, written(MBPP), split)[0]


def test_a_split_that_is_not_in_the_file_is_refused(written):
    assert "split 'train'" in mistakes("mbpp", written(MBPP), "train")[0]


PUBLISHED = [
    ("humaneval", "HumanEval.jsonl.gz", "", 164),
    ("mbpp", "mbpp.jsonl", "", 974),
    ("mbpp", "mbpp.jsonl", "test", 500),
    ("mbpp", "sanitized-mbpp.json", "", 427),
    ("humanevalplus", "HumanEvalPlus.jsonl.gz", "", 164),
    ("mbppplus", "MbppPlus.jsonl.gz", "", 378),
]


@pytest.mark.parametrize("benchmark, name, split, problems", PUBLISHED)
def test_published_files_are_read_whole(published, benchmark, name, split, problems):
    read = read_problems(benchmark, published / "bench" / name, split)

    assert benchmark in BENCHMARKS
    assert len(read) == len({problem_id(problem.task_id) for problem in read}) == problems
    assert all(problem.reference and problem.tests for problem in read)
