"""The judge as a command: verdicts in order, mistakes at once, published verdicts met."""

import gzip
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from eval_sandbox.benchmarks import problem_id, read_problems
from eval_sandbox.cli import main

ROOT = Path(__file__).parent.parent
PROBLEM = {
    "task_id": "7",
    "instruction": "Double it.",
    "signature": "def double(x):",
    "entry_point": "double",
    "tests": [{"args": [2], "expected": 4}],
}


def lines(path, records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def judge(benchmark, problems, completions, out, *more):
    arguments = ["--benchmark", benchmark, "--problems", problems, "--completions", completions]
    status = main(["judge", *map(str, [*arguments, "--out", out, *more])])
    if not out.exists():
        return status, []
    return status, [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]


@pytest.fixture
def problems(tmp_path):
    return lines(tmp_path / "problems.jsonl", [PROBLEM])


def test_verdicts_come_in_input_order_with_ids_as_given(tmp_path, problems, capsys):
    completions = lines(
        tmp_path / "answers.jsonl",
        [
            {"task_id": 7, "completion": "    return x * 2", "model": "ignored"},
            {"task_id": "7", "completion": "    return x"},
            {"task_id": "Mbpp/7", "solution": "double = lambda x: x + x"},
        ],
    )

    status, verdicts = judge("custom", problems, completions, tmp_path / "out.jsonl")

    assert status == 0
    assert [(v["task_id"], v["index"], v["outcome"]) for v in verdicts] == [
        (7, 0, "passed"),
        ("7", 1, "failed"),
        ("Mbpp/7", 2, "passed"),
    ]
    fields = ["task_id", "index", "outcome", "cpu_seconds", "wall_seconds", "detail"]
    assert list(verdicts[0]) == fields
    assert "3 judged" in capsys.readouterr().err


def test_an_index_counts_lines_and_not_records(tmp_path, problems):
    completions = tmp_path / "answers.jsonl"
    completions.write_text('\n{"task_id": 7, "completion": " return 4"}\n', encoding="utf-8")

    _, (verdict,) = judge("custom", problems, completions, tmp_path / "out.jsonl")

    assert verdict["index"] == 1


def test_verdicts_go_to_standard_output_without_out(tmp_path, problems, capsys):
    completions = lines(tmp_path / "a.jsonl", [{"task_id": 7, "completion": "    return 4"}])
    arguments = ["--benchmark", "custom", "--problems", problems, "--completions", completions]

    assert main(["judge", *map(str, arguments)]) == 0
    assert json.loads(capsys.readouterr().out)["outcome"] == "passed"


def test_all_mistakes_of_both_files_are_said_at_once_and_nothing_is_written(tmp_path, capsys):
    problems = lines(tmp_path / "problems.jsonl", [PROBLEM | {"tests": []}])
    completions = lines(
        tmp_path / "answers.jsonl", [{"task_id": 7}, {"task_id": 7, "completion": 5}]
    )

    status, verdicts = judge("custom", problems, completions, tmp_path / "out.jsonl")

    said = capsys.readouterr().err
    assert (status, verdicts) == (2, [])
    assert "problems.jsonl, line 1" in said
    assert "answers.jsonl, line 1" in said
    assert "answers.jsonl, line 2" in said
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == [
        "answers.jsonl",
        "problems.jsonl",
    ]


def test_an_unknown_problem_is_answered_with_the_nearest(tmp_path, problems, capsys):
    completions = lines(tmp_path / "a.jsonl", [{"task_id": "77", "completion": ""}])

    assert judge("custom", problems, completions, tmp_path / "out.jsonl")[0] == 2
    assert "there is no problem '77'" in capsys.readouterr().err


def test_both_completion_and_solution_is_a_mistake(tmp_path, problems, capsys):
    both = {"task_id": 7, "completion": "", "solution": ""}

    assert judge("custom", problems, lines(tmp_path / "a", [both]), tmp_path / "out")[0] == 2
    assert "keep the one" in capsys.readouterr().err


def test_a_folder_that_is_not_there_is_said_before_judging(tmp_path, problems, capsys):
    completions = lines(tmp_path / "a.jsonl", [{"task_id": 7, "completion": "    return 4"}])

    assert judge("custom", problems, completions, tmp_path / "no" / "out.jsonl")[0] == 2
    assert "there is no folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    "option, value, expected",
    [
        ("--benchmark", "humanevil", "humaneval"),
        ("--preamble", "standrad", "standard"),
        ("--extract", "fence", "fenced"),
        ("--workers", "0", "above 0"),
    ],
)
def test_a_wrong_option_exits_with_2_and_says_what_is_right(
    tmp_path, option, value, expected, capsys
):
    arguments = {"--benchmark": "custom", "--problems": "p", "--completions": "c"} | {option: value}

    with pytest.raises(SystemExit) as left:
        main(["judge", *(word for pair in arguments.items() for word in pair)])

    assert left.value.code == 2
    assert expected in capsys.readouterr().err


def test_help_names_the_commands():
    done = subprocess.run(
        [sys.executable, "-m", "eval_sandbox", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )

    assert "judge" in done.stdout
    assert "self-check" in done.stdout


@pytest.mark.slow
def test_self_check_prints_a_line_for_each_attack(capsys):
    assert main(["self-check", "--workers", "4"]) == 0

    said = capsys.readouterr().out.splitlines()
    assert all(line.startswith("ok") for line in said[:-1])
    assert "withstood" in said[-1]


def processes_carrying(marker):
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdecimal():
            try:
                if marker.encode() in (process / "cmdline").read_bytes().split(b"\0"):
                    found.append(int(process.name))
            except OSError:
                continue
    return found


def until(condition, seconds=20.0):
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return condition()


def test_a_killed_judge_leaves_neither_candidates_nor_a_half_written_file(tmp_path, problems):
    marker = f"orphan-{os.getpid()}"
    command = f"[sys.executable, '-c', 'import time; time.sleep(60)', {marker!r}]"
    program = f"import os, sys\nos.execv(sys.executable, {command})"
    completions = lines(tmp_path / "a.jsonl", [{"task_id": 7, "solution": program}])
    arguments = ["--benchmark", "custom", "--problems", problems, "--completions", completions]
    out = tmp_path / "out.jsonl"
    command = [sys.executable, "-m", "eval_sandbox", "judge", *arguments, "--out", out]

    with subprocess.Popen(list(map(str, command)), cwd=ROOT) as process:
        assert until(lambda: processes_carrying(marker))
        process.kill()

    assert until(lambda: not processes_carrying(marker))
    assert not out.exists()


def references(path, benchmark, problems_path, split=""):
    problems = read_problems(benchmark, problems_path, split)
    return lines(path, [{"task_id": p.task_id, "solution": p.reference} for p in problems])


def not_passed(verdicts):
    return [verdict for verdict in verdicts if verdict["outcome"] != "passed"]


def test_every_reference_solution_of_humaneval_passes(published, tmp_path):
    problems = published / "bench" / "HumanEval.jsonl.gz"
    completions = references(tmp_path / "a.jsonl", "humaneval", problems)

    status, verdicts = judge("humaneval", problems, completions, tmp_path / "out.jsonl")

    assert (status, len(verdicts), not_passed(verdicts)) == (0, 164, [])


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, split, count",
    [("mbpp.jsonl", "test", 500), ("mbpp.jsonl", "", 974), ("sanitized-mbpp.json", "", 427)],
)
def test_every_reference_solution_of_mbpp_passes(published, tmp_path, name, split, count):
    problems = published / "bench" / name
    completions = references(tmp_path / "a.jsonl", "mbpp", problems, split)
    options = ["--split", split] if split else []

    status, verdicts = judge("mbpp", problems, completions, tmp_path / "out.jsonl", *options)

    assert (status, len(verdicts), not_passed(verdicts)) == (0, count, [])


def solved(path):
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


@pytest.mark.slow
@pytest.mark.parametrize(
    "model, preamble, agreeing",
    [
        ("codellama", "none", 164),
        ("starcoder", "none", 162),
        ("gpt-3.5-turbo-0613", "none", 163),
        ("codellama", "standard", 161),
        ("starcoder", "standard", 164),
        ("gpt-3.5-turbo-0613", "standard", 164),
    ],
)
def test_verdicts_agree_with_those_that_ldb_recorded(
    published, tmp_path, model, preamble, agreeing
):
    """The few others are policy: which imports were in scope when they were graded."""
    answers = solved(published / "samples" / "ldb" / f"humaneval_{model}_seed.jsonl.gz")
    recorded = {problem_id(one["task_id"]): one["is_solved"] for one in answers}
    whole = [{"task_id": one["task_id"], "solution": one["solution"]} for one in answers]
    completions = lines(tmp_path / "a.jsonl", whole)
    problems = published / "bench" / "HumanEval.jsonl.gz"

    _, verdicts = judge(
        "humaneval", problems, completions, tmp_path / "out.jsonl", "--preamble", preamble
    )

    same = [(v["outcome"] == "passed") == recorded[problem_id(v["task_id"])] for v in verdicts]
    assert (len(same), sum(same)) == (164, agreeing)
