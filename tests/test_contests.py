"""Contest benchmarks in the format their authors publish; the oracles are programs of our own."""

import base64
import gzip
import json
import os
import pickle
import re
import zlib
from dataclasses import replace
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from database import open_ledger
from database.anomalies import anomalies
from database.queries import standings
from eval_sandbox.benchmarks import InputError
from eval_sandbox.contract import Judging, Limits
from eval_sandbox.judge import Worker
from eval_sandbox.printed import mismatch
from eval_sandbox.problem import Completion
from eval_sandbox.verdict import Outcome, Verdict
from jobs.answers import Answer
from jobs.cases import convert, read_cases, within
from jobs.declared import UserError
from jobs.loading import load
from jobs.plain_pickle import RefusedPickleError, text_of_pickle
from jobs.recipes import BenchmarkRecipe, JudgingRecipe, sha256_of
from jobs.record import Recorder


def packed(tests):
    """Hidden tests as LiveCodeBench publishes them."""
    return base64.b64encode(zlib.compress(pickle.dumps(json.dumps(tests)))).decode()


def case(given, told, testtype="stdin"):
    return {"input": given, "output": told, "testtype": testtype}


# The fields are those of https://huggingface.co/datasets/livecodebench/code_generation_lite; the
# problems are ours.
HALVES = {
    "question_title": "Halves",
    "question_content": "Print the half of each number.",
    "platform": "atcoder",
    "question_id": "abc999_a",
    "contest_id": "abc999",
    "contest_date": "2024-05-31T00:00:00",
    "starter_code": "",
    "difficulty": "easy",
    "public_test_cases": json.dumps([case("3\n", "1.5\n")]),
    "private_test_cases": packed([case("4\n", "2\n"), case("-5\n", "-2.50\n")]),
    "metadata": "{}",
}
PAIR = {
    "question_title": "Pair",
    "question_content": "Return the first and the last of nums, times factor.",
    "platform": "leetcode",
    "question_id": "9999",
    "contest_id": "biweekly-contest-999",
    "contest_date": "2023-01-07T00:00:00",
    "starter_code": "class Solution:\n"
    "    def pair(self, nums: List[int], factor: int) -> List[int]:\n"
    "        ",
    "difficulty": "easy",
    "public_test_cases": json.dumps([case("[1, 2, 3]\n2", "[2, 6]", "functional")]),
    "private_test_cases": packed([case("[5]\n1", "[5, 5]", "functional")]),
    "metadata": json.dumps({"func_name": "pair"}),
}
LIVE = {
    "prints the half": (0, "print(int(input()) / 2)", Outcome.PASSED),
    "prints it as a fraction": (
        0,
        "from fractions import Fraction\nprint(Fraction(int(input()), 2))",
        Outcome.FAILED,
    ),
    "is right for the public test alone": (0, "input(); print(1.5)", Outcome.FAILED),
    "defines the method": (
        1,
        "class Solution:\n"
        "    def pair(self, nums: List[int], factor: int) -> List[int]:\n"
        "        return nums[0] * factor, nums[-1] * factor",
        Outcome.PASSED,
    ),
    "defines a function and no class": (
        1,
        "def pair(nums, factor): return [nums[0] * factor, nums[-1] * factor]",
        Outcome.PASSED,
    ),
    "forgets the factor": (
        1,
        "class Solution:\n    def pair(self, nums, factor): return [nums[0], nums[-1]]",
        Outcome.FAILED,
    ),
    "remembers the last call": (
        1,
        "class Solution:\n"
        "    def __init__(self): self.calls = 0\n"
        "    def pair(self, nums, factor):\n"
        "        self.calls += 1\n"
        "        return [nums[0] * factor * self.calls, nums[-1] * factor * self.calls]",
        Outcome.PASSED,
    ),
    "is named otherwise": (
        1,
        "class Solution:\n    def twin(self, nums, factor): return [2, 6]",
        Outcome.FAILED,
    ),
    "defines nothing": (1, "answer = [2, 6]", Outcome.FAILED),
}


@pytest.fixture(scope="module")
def worker():
    with Worker() as worker:
        yield worker


def lines(path, *records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def judged(worker, problem, program, **more):
    completion = Completion(task_id=problem.task_id, text=program, whole=True)
    return worker.judge(problem, completion, Judging(preamble="contest", **more))


@pytest.mark.parametrize("place, program, outcome", LIVE.values(), ids=LIVE)
def test_a_livecodebench_answer_that(place, program, outcome, worker, tmp_path):
    problems = read_cases("livecodebench", lines(tmp_path / "test.jsonl", HALVES, PAIR))

    verdict = judged(worker, problems[place], program)

    assert verdict.outcome is outcome, verdict.detail


def test_a_livecodebench_problem_has_its_date_its_starter_and_all_its_tests(tmp_path):
    halves, pair = read_cases("livecodebench", lines(tmp_path / "test.jsonl", HALVES, PAIR))

    assert (halves.task_id, halves.released, halves.prompt) == ("abc999_a", date(2024, 5, 31), "")
    assert [len(halves.tests), len(pair.tests)] == [3, 2]
    assert pair.entry_point == "Solution.pair"
    assert pair.prompt.endswith("-> List[int]:\n")
    assert "reads from standard input" in halves.instruction
    assert "def pair(self, nums: List[int]" in pair.instruction


def test_hidden_tests_that_are_plain_json_are_read_too(tmp_path):
    plain = HALVES | {"private_test_cases": json.dumps([case("4\n", "2\n")])}

    (halves,) = read_cases("livecodebench", lines(tmp_path / "test.jsonl", plain))

    assert [test.stdin for test in halves.tests] == ["3\n", "4\n"]


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("text", ["", "short", "ü😀\0", "x" * 70_000], ids=["", "s", "u", "long"])
def test_the_text_of_a_pickle_is_what_pickle_itself_reads(text, protocol):
    assert text_of_pickle(pickle.dumps(text, protocol)) == text


class Runs:
    def __reduce__(self):
        return os.mkdir, (str(self.made),)


def test_a_pickle_that_would_run_code_is_refused_and_runs_none(tmp_path):
    Runs.made = tmp_path / "made"
    hostile = base64.b64encode(zlib.compress(pickle.dumps(Runs()))).decode()
    path = lines(tmp_path / "test.jsonl", HALVES | {"private_test_cases": hostile})

    with pytest.raises(InputError, match=r"line 1.*private_test_cases.*may run code"):
        read_cases("livecodebench", path)

    assert not Runs.made.exists()


@pytest.mark.parametrize(
    "content",
    [pickle.dumps(["a"]), pickle.dumps(1), b"", b"\x80\x04.", pickle.dumps("a")[:-3]],
    ids=["a list", "a number", "nothing", "no text", "cut off"],
)
def test_a_pickle_of_anything_but_a_text_is_refused(content):
    with pytest.raises(RefusedPickleError):
        text_of_pickle(content)


def test_a_window_keeps_both_its_days_and_leaves_out_what_has_no_date(tmp_path):
    dated = read_cases("livecodebench", lines(tmp_path / "test.jsonl", HALVES, PAIR))
    undated = read_cases("apps", lines(tmp_path / "apps.jsonl", SUM))
    every = (*dated, *undated)
    day = date(2024, 5, 31)

    assert [p.task_id for p in within(every, day, day)] == ["abc999_a"]
    assert [p.task_id for p in within(every, None, date(2024, 1, 1))] == ["9999"]
    assert within(every, date(2024, 6, 1), None) == ()
    assert within(every, None, None) == every


def test_the_templates_of_the_documentation_are_recipes():
    text = (Path(__file__).parents[1] / "docs" / "benchmarks.md").read_text()
    templates = [
        yaml.safe_load(t) for t in re.findall(r"```yaml\n(description:.*?)```", text, re.S)
    ]

    read = [BenchmarkRecipe.parse(template) for template in templates]

    assert [mistakes for _, mistakes in read] == [[], [], []]
    assert [recipe.benchmark for recipe, _ in read] == ["livecodebench", "apps", "code-contests"]
    assert all(recipe.judge_by("chat").limits.test_seconds == 1 for recipe, _ in read)


def experiment(tmp_path, **asking):
    """An experiment that asks the problems above, with their recipe and file beside it."""
    path = lines(tmp_path / "test.jsonl", HALVES, PAIR)
    recipe = {
        "description": "two problems",
        "source": {"file": path.name, "sha256": sha256_of(path)},
        "licence": "MIT",
        "benchmark": "livecodebench",
        "prompt": "alpaca",
    }
    (tmp_path / "live.yaml").write_text(yaml.safe_dump(recipe))
    asked = {
        "models": {"falcon": {"path": "models/starter/falcon", "released": date(2023, 6, 1)}},
        "benchmarks": {"live": asking},
    }
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(asked))
    return tmp_path / "mine.yaml"


def test_an_experiment_asks_the_window_and_its_contract_names_it(tmp_path, monkeypatch):
    monkeypatch.setattr("jobs.loading.BENCH", tmp_path)

    (whole,) = load(experiment(tmp_path)).benchmarks
    (late,) = load(experiment(tmp_path, since=date(2024, 1, 1))).benchmarks

    assert [p.task_id for p in whole.problems] == ["abc999_a", "9999"]
    assert [p.task_id for p in late.problems] == ["abc999_a"]
    assert late.asking_content["since"] == "2024-01-01"
    assert late.asking_content != whole.asking_content
    assert late.judging_content == whole.judging_content


def test_a_window_that_leaves_nothing_is_a_mistake_that_says_which_days_there_are(
    tmp_path, monkeypatch
):
    monkeypatch.setattr("jobs.loading.BENCH", tmp_path)

    with pytest.raises(UserError, match=r"benchmarks\.live: .*from 2023-01-07 to 2024-05-31"):
        load(experiment(tmp_path, since=date(2025, 1, 1)))


def test_dates_and_what_was_extracted_are_recorded(tmp_path, monkeypatch):
    monkeypatch.setattr("jobs.loading.BENCH", tmp_path)
    asked = load(experiment(tmp_path))
    (run,), (benchmark,) = asked.runs(), asked.benchmarks
    ledger = open_ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
    answers = [
        Answer(task_id=p.task_id, position=0, text=text, whole=True, tokens=9, finish="end")
        for p, text in zip(benchmark.problems, ["I would rather not.", "print(1)"], strict=True)
    ]
    failed = Verdict(outcome=Outcome.FAILED, cpu_seconds=0.1, wall_seconds=0.1, detail="")
    chatty = replace(
        benchmark,
        recipe=benchmark.recipe.model_copy(update={"judging": JudgingRecipe(extract="chat")}),
    )
    recorder = Recorder(ledger, replace(asked, benchmarks=(chatty,)))

    recorder.begin([run])
    recorder.judged(run, chatty, answers, [failed, failed])

    view = standings(ledger)
    odd = {one.kind: (one.count, one.of) for several in anomalies(ledger, view).values()
           for one in several}  # fmt: skip
    ledger.dispose()
    assert odd == {"extraction": (1, 2), "older": (1, 2)}


# The columns of https://huggingface.co/datasets/codeparrot/apps; the problems are ours.
SUM = {
    "problem_id": 7,
    "question": "Print the sum of each line.",
    "solutions": json.dumps(
        ["print 1", "import sys\nfor line in sys.stdin:\n    print(sum(map(int, line.split())))"]
    ),
    "input_output": json.dumps(
        {"inputs": ["1 2\n3 4\n", ["5", "6"]], "outputs": ["3\n7\n", ["5", "6"]]}
    ),
    "difficulty": "introductory",
    "url": "https://example.org/7",
    "starter_code": "",
}
COUNT = SUM | {
    "problem_id": 8,
    "question": "Count what is in xs.",
    "solutions": "",
    "input_output": json.dumps(
        {
            "fn_name": "count",
            "inputs": [[[1, 2]], [[]], [{"1": 2, "3": 4}]],
            "outputs": [[2], [0], [2]],
        }
    ),
    "starter_code": "def count(xs):\n\t",
}
UNTESTED = SUM | {"problem_id": 9, "input_output": ""}
APPS = {
    "prints the sums": (0, json.loads(SUM["solutions"])[1], Outcome.PASSED),
    "prints them on one line": (
        0,
        "import sys\nprint(*(sum(map(int, line.split())) for line in sys.stdin))",
        Outcome.PASSED,
    ),
    "prints them as floats": (
        0,
        "import sys\nfor line in sys.stdin: print(1.000001 * sum(map(int, line.split())))",
        Outcome.PASSED,
    ),
    "prints one more": (
        0,
        "import sys\nfor line in sys.stdin: print(sum(map(int, line.split())))\nprint(0)",
        Outcome.FAILED,
    ),
    "ends with an error": (0, "print(3, 7); raise SystemExit(2)", Outcome.FAILED),
    "counts": (1, "def count(xs): return len(xs)", Outcome.PASSED),
    "returns it as it is published": (1, "def count(xs): return [len(xs)]", Outcome.FAILED),
    "counts up to one": (1, "def count(xs): return min(1, len(xs))", Outcome.FAILED),
    "wants keys that are numbers": (
        1,
        "def count(xs): return sum(1 for x in xs if isinstance(x, int))",
        Outcome.PASSED,
    ),
}


@pytest.mark.parametrize("place, program, outcome", APPS.values(), ids=APPS)
def test_an_apps_answer_that(place, program, outcome, worker, tmp_path):
    problems = read_cases("apps", lines(tmp_path / "apps.jsonl", SUM, COUNT))

    verdict = judged(worker, problems[place], program)

    assert verdict.outcome is outcome, verdict.detail


def test_apps_problems_without_tests_are_left_out_and_counted(tmp_path):
    converted = convert("apps", lines(tmp_path / "apps.jsonl", SUM, UNTESTED))

    assert [record["task_id"] for record in converted.records] == ["7"]
    assert converted.told() == "1 cases were left out: 1 without tests."


LONG = "9" * 5_000
LONG_TESTS = json.dumps({"inputs": [["x"]], "outputs": ["y"]}).replace('"y"', LONG)
LONG_CASE = json.dumps([case(LONG, "1", "functional")])


@pytest.mark.parametrize(
    "form, fine, record",
    [
        ("apps", SUM, COUNT | {"input_output": LONG_TESTS}),
        ("livecodebench", HALVES, PAIR | {"public_test_cases": LONG_CASE}),
    ],
)
def test_a_number_of_more_digits_than_python_reads_leaves_out_its_problem_alone(
    form, fine, record, tmp_path
):
    converted = convert(form, lines(tmp_path / "file.jsonl", fine, record))

    assert len(converted.records) == 1
    assert converted.told() == ("1 cases were left out: 1 with numbers of over 4,300 digits.")


@pytest.mark.parametrize("key", ["--1", "²", "٣", "9" * 5_000], ids=["--1", "²", "٣", "long"])
def test_a_key_that_is_no_integer_stays_a_text(key, tmp_path):
    tests = json.dumps({"fn_name": "count", "inputs": [[{key: 2}]], "outputs": [[1]]})

    converted = convert("apps", lines(tmp_path / "a.jsonl", COUNT | {"input_output": tests}))

    assert converted.records[0]["tests"][0]["args"] == [{key: 2}]


def test_the_reference_of_an_apps_problem_is_its_first_solution_in_python_3(tmp_path, worker):
    (problem,) = read_cases("apps", lines(tmp_path / "apps.jsonl", SUM))

    assert problem.reference.startswith("import sys")
    assert judged(worker, problem, problem.reference).outcome is Outcome.PASSED


# The schema of https://huggingface.co/datasets/deepmind/code_contests; the problem is ours.
DOUBLE = {
    "name": "1_A. Double",
    "description": "Print the double of a number.",
    "public_tests": {"input": ["2\n"], "output": ["4\n"]},
    "private_tests": {"input": ["5\n"], "output": ["10\n"]},
    "generated_tests": {"input": ["0\n", "-1\n"], "output": ["0\n", "-2\n"]},
    "solutions": {
        "language": [2, 3, 3],
        "solution": ["int main() {}", "print 2 * input()", "print(2 * int(input()))"],
    },
    "input_file": "",
    "output_file": "",
    "time_limit": {"seconds": 1, "nanos": 0},
}


def as_parquet(tmp_path, *records):
    path = tmp_path / "test-00000-of-00001.parquet"
    pq.write_table(pa.Table.from_pylist(list(records)), path)
    return path


def as_json_lines(tmp_path, *records):
    path = tmp_path / "test.jsonl.gz"
    path.write_bytes(gzip.compress("\n".join(map(json.dumps, records)).encode()))
    return path


def as_messages(tmp_path, *records):
    """As the protocol buffers of CodeContests are written to JSON."""

    def message(record):
        named = {"private_tests", "public_tests", "generated_tests", "solutions"}
        return {
            name: [dict(zip(value, row, strict=True)) for row in zip(*value.values(), strict=True)]
            if name in named
            else value
            for name, value in record.items()
        }

    return lines(tmp_path / "test.jsonl", *map(message, records))


@pytest.mark.parametrize("written", [as_parquet, as_json_lines, as_messages])
def test_a_problem_of_code_contests_is_the_same_however_it_was_exported(written, tmp_path):
    files = DOUBLE | {"name": "2_A. File", "input_file": "in.txt"}

    converted = convert("code-contests", written(tmp_path, DOUBLE, files))

    (double,) = converted.problems(tmp_path)
    assert [(test.stdin, test.stdout) for test in double.tests] == [
        ("2\n", "4\n"), ("5\n", "10\n"), ("0\n", "0\n"), ("-1\n", "-2\n"),
    ]  # fmt: skip
    assert double.reference == "print(2 * int(input()))\n"
    assert converted.told() == "1 cases were left out: 1 that read or write a file."


def test_an_answer_must_pass_public_private_and_generated_tests(tmp_path, worker):
    (double,) = read_cases("code-contests", as_json_lines(tmp_path, DOUBLE))

    right = judged(worker, double, double.reference)
    wrong = judged(worker, double, "print(2 * abs(int(input())))")

    assert right.outcome is Outcome.PASSED
    assert (wrong.outcome, wrong.detail) == (Outcome.FAILED, "word 1 is '2', expected '-2'")


@pytest.mark.parametrize(
    "form, record, said",
    [
        ("livecodebench", HALVES | {"contest_date": "soon"}, "contest_date"),
        ("livecodebench", HALVES | {"public_test_cases": "[1]"}, "public_test_cases"),
        ("livecodebench", HALVES | {"private_test_cases": "!"}, "private_test_cases"),
        ("livecodebench", PAIR | {"public_test_cases": json.dumps([case("x", "1")])}, "not JSON"),
        ("livecodebench", SUM, "question_content"),
        ("apps", HALVES, "problem_id"),
        ("apps", SUM | {"input_output": "{"}, "input_output"),
        ("apps", SUM | {"input_output": "[1]"}, "input_output"),
        ("apps", SUM | {"input_output": '{"inputs": 5}'}, "inputs"),
        ("apps", SUM | {"solutions": "5"}, "solutions"),
        ("code-contests", SUM, "name"),
        ("code-contests", DOUBLE | {"public_tests": 5}, "public_tests"),
        ("code-contests", DOUBLE | {"private_tests": {"input": 5}}, "private_tests.input"),
    ],
)
def test_what_is_wrong_in_a_file_is_said_with_its_line_and_field(form, record, said, tmp_path):
    with pytest.raises(InputError, match=f"line 1: .*{said}"):
        read_cases(form, lines(tmp_path / "file.jsonl", record))


def test_one_id_for_two_problems_is_refused(tmp_path):
    with pytest.raises(InputError, match="'abc999_a'"):
        read_cases("livecodebench", lines(tmp_path / "test.jsonl", HALVES, HALVES))


# What lcb_runner's own rule says of each pair, worked out by hand from its code; then ours for
# APPS and CodeContests.
PRINTED = [
    ("1 2\n", "1 2", True, True),
    ("  1 2  \n\n", "1 2", True, True),
    ("1  2", "1 2", True, True),
    ("a  b", "a b", False, True),
    ("1\n2", "1 2", False, True),
    ("1.0 2", "1 2.00", True, True),
    ("0.1", "0.10000001", False, True),
    ("0.1", "0.2", False, False),
    ("50000000000000000", "50000000000000001", False, False),
    ("1", "1 1", False, False),
    ("YES", "Yes", False, False),
    ("nan", "nan", True, True),
    ("sNaN 1", "1 1", False, False),
    ("1e999999999", "2e999999999", False, False),
    ("", "", True, True),
    ("", "1", False, False),
]


@pytest.mark.parametrize("printed, expected, decimals, tokens", PRINTED)
def test_what_was_printed_is_compared_by_the_rule_of_its_benchmark(
    printed, expected, decimals, tokens
):
    assert (mismatch("decimals", printed, expected) == "") is decimals
    assert (mismatch("tokens", printed, expected) == "") is tokens


def test_many_tests_may_take_more_time_together_and_one_run_may_not(tmp_path, worker):
    tests = {"input": ["0\n"] * 6, "output": ["0\n"] * 6}
    none = {"input": [], "output": []}
    record = DOUBLE | {"public_tests": tests, "private_tests": none, "generated_tests": none}
    record |= {"solutions": {"language": [], "solution": []}}
    (problem,) = read_cases("code-contests", as_json_lines(tmp_path, record))
    busy = "import time\nwhile time.process_time() < {}: pass\nprint(0)"
    limits = Limits(cpu_seconds=0.5, test_seconds=0.5)

    assert judged(worker, problem, busy.format(0.2), limits=limits).outcome is Outcome.PASSED
    alone = judged(worker, problem, busy.format(0.2), limits=Limits(cpu_seconds=0.5))
    assert alone.outcome is Outcome.TIMED_OUT
    endless = judged(worker, problem, busy.format(60), limits=limits)
    assert endless.outcome is Outcome.TIMED_OUT
    assert endless.cpu_seconds < 1.0
