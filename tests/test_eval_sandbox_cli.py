"""The judge as a command: verdicts in order, mistakes at once, published verdicts met."""

import gzip
import json
import os
import re
import signal
import subprocess
import sys
import time
import tracemalloc
from itertools import islice
from pathlib import Path

import pytest

from eval_sandbox import cli
from eval_sandbox.benchmarks import problem_id, read_problems
from eval_sandbox.cli import main
from eval_sandbox.completions import count_completions
from eval_sandbox.unfinished import unfinished

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
        ("--isolation", "non", "none"),
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


def processes_called(name):
    found = []
    for process in Path("/proc").glob("[0-9]*/comm"):
        try:
            found += [process] if process.read_text().strip() == name else []
        except OSError:
            continue
    return found


def until(condition, seconds=20.0):
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return condition()


def started(*arguments, **more):
    command = [sys.executable, "-m", "eval_sandbox", "judge", *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, **more)


@pytest.fixture
def stopping(tmp_path, problems):
    """Answers of which the second is under way, by a name of its own, until somebody ends it."""
    name = f"cli{os.getpid()}"
    endless = (
        f"import ctypes, time\nctypes.CDLL(None).prctl(15, b'{name}', 0, 0, 0)\ntime.sleep(60)"
    )
    answers = [right(), {"task_id": 7, "solution": endless}]
    completions = lines(tmp_path / "a.jsonl", answers)
    arguments = ["--benchmark", "custom", "--problems", problems, "--completions", completions]
    return name, [*arguments, "--out", tmp_path / "out.jsonl", "--workers", "1"]


def right():
    return {"task_id": 7, "completion": "    return x * 2"}


def wrong():
    return {"task_id": 7, "completion": "    return x"}


def test_a_killed_judge_leaves_no_candidate_and_verdicts_only_under_another_name(
    tmp_path, stopping
):
    name, arguments = stopping

    with started(*arguments) as process:
        assert until(lambda: processes_called(name))
        process.kill()

    assert until(lambda: not processes_called(name))
    assert not (tmp_path / "out.jsonl").exists()
    (verdict,) = written(tmp_path / "out.jsonl.unfinished")
    assert verdict["outcome"] == "passed"


def test_ctrl_c_says_what_is_there_and_leaves_it(tmp_path, stopping):
    name, arguments = stopping

    with started(*arguments, start_new_session=True) as process:
        assert until(lambda: processes_called(name))
        os.killpg(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=60)

    assert process.returncode == 130
    assert "stopped: 1 of 2 verdicts are in" in said
    assert "Traceback" not in said
    assert len(written(tmp_path / "out.jsonl.unfinished")) == 1
    assert until(lambda: not processes_called(name))


def written(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture
def interrupted(tmp_path, problems, monkeypatch):
    """A judge that was stopped after two of four verdicts, and its arguments."""
    completions = lines(tmp_path / "a.jsonl", [right(), wrong(), right(), wrong()])
    arguments = ["custom", problems, completions, tmp_path / "out.jsonl"]
    judge_really = cli.judge_all

    def stopping_early(*given):
        yield from islice(judge_really(*given), 2)
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "judge_all", stopping_early)
    assert judge(*arguments) == (130, [])
    monkeypatch.setattr(cli, "judge_all", judge_really)
    return arguments


def test_the_same_command_judges_only_what_was_not_judged(tmp_path, interrupted, monkeypatch):
    judge_really, judged = cli.judge_all, []

    def counting(pairs, *given):
        pairs = list(pairs)
        judged.extend(pairs)
        return judge_really(pairs, *given)

    monkeypatch.setattr(cli, "judge_all", counting)

    status, verdicts = judge(*interrupted)

    assert (status, len(judged)) == (0, 2)
    outcomes = [(verdict["index"], verdict["outcome"]) for verdict in verdicts]
    assert outcomes == [(0, "passed"), (1, "failed"), (2, "passed"), (3, "failed")]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "a.jsonl",
        "out.jsonl",
        "problems.jsonl",
    ]


def test_half_a_line_is_judged_again(tmp_path, interrupted):
    unfinished = tmp_path / "out.jsonl.unfinished"
    unfinished.write_bytes(unfinished.read_bytes()[:-5])

    status, verdicts = judge(*interrupted)

    assert status == 0
    assert [verdict["index"] for verdict in verdicts] == [0, 1, 2, 3]


def test_verdicts_of_another_command_are_neither_mixed_nor_touched(tmp_path, interrupted, capsys):
    before = (tmp_path / "out.jsonl.unfinished").read_bytes()

    status, verdicts = judge(*interrupted, "--preamble", "standard")

    said = capsys.readouterr().err
    assert (status, verdicts) == (2, [])
    assert "it differs in: preamble)" in said
    assert "out.jsonl.unfinished.json" in said
    assert (tmp_path / "out.jsonl.unfinished").read_bytes() == before


def test_verdicts_of_a_command_that_says_more_are_another_commands(tmp_path, interrupted, capsys):
    left_by = tmp_path / "out.jsonl.unfinished.json"
    left_by.write_text(json.dumps(json.loads(left_by.read_text()) | {"temperature": 1}))

    assert judge(*interrupted) == (2, [])
    assert "(it says more: temperature)" in capsys.readouterr().err


def test_a_refusal_that_has_nothing_to_do_with_the_file_is_not_blamed_on_it(tmp_path):
    with pytest.raises(PermissionError), unfinished(tmp_path / "out.jsonl", {}):
        raise PermissionError("another")


def test_changed_completions_are_another_command(tmp_path, interrupted, capsys):
    lines(tmp_path / "a.jsonl", [wrong(), wrong(), right(), wrong()])

    assert judge(*interrupted) == (2, [])
    assert "completions_sha256" in capsys.readouterr().err


def test_two_judges_do_not_write_one_file(tmp_path, stopping, capsys):
    name, arguments = stopping

    with started(*arguments) as process:
        assert until(lambda: processes_called(name))
        status = main(["judge", *map(str, arguments)])
        process.kill()

    assert status == 2
    assert "another process is writing" in capsys.readouterr().err


def test_a_reader_that_goes_away_ends_the_judge_quietly(tmp_path, problems):
    completions = lines(tmp_path / "a.jsonl", [right()] * 200)
    arguments = ["--benchmark", "custom", "--problems", problems, "--completions", completions]

    # A pipe of 4 KiB holds fewer verdicts: the judge cannot end before the reader does.
    with started(*arguments, stdout=subprocess.PIPE, pipesize=4096) as process:
        assert json.loads(process.stdout.readline())["outcome"] == "passed"
        process.stdout.close()
        said = process.stderr.read()

    assert process.returncode == 141
    assert said == ""


def test_completions_of_any_number_are_read_in_little_memory(tmp_path, problems):
    many = tmp_path / "many.jsonl.gz"
    with gzip.open(many, "wt", compresslevel=1) as file:
        file.writelines(json.dumps(right() | {"n": n}) + "\n" for n in range(50_000))
    read = read_problems("custom", problems)

    tracemalloc.start()
    try:
        number = count_completions(many, read)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert number == 50_000
    assert peak < 2_000_000


def test_progress_is_a_line_now_and_then_where_nobody_watches(
    tmp_path, problems, monkeypatch, capsys
):
    monkeypatch.setattr(cli, "_LINE_SECONDS", 0.0)
    completions = lines(tmp_path / "a.jsonl", [right(), wrong()])

    judge("custom", problems, completions, tmp_path / "out.jsonl", "--workers", "1")

    first = capsys.readouterr().err.splitlines()[0]
    assert re.fullmatch(r"1/2 judged, 1 passed, [\d.]+/s, [\d.]+ s left", first)


def test_completions_from_a_pipe_are_refused_before_they_are_read(tmp_path, problems, capsys):
    os.mkfifo(tmp_path / "pipe")

    assert judge("custom", problems, tmp_path / "pipe", tmp_path / "out.jsonl")[0] == 2
    assert "not a pipe" in capsys.readouterr().err


def test_problems_of_another_benchmark_are_named(tmp_path, problems, capsys):
    completions = lines(tmp_path / "a.jsonl", [right()])

    assert judge("humaneval", problems, completions, tmp_path / "out.jsonl")[0] == 2
    assert "problems.jsonl, line 1: this is a problem of custom" in capsys.readouterr().err


def test_plus_is_base_and_plus(tmp_path):
    problem = {
        "task_id": "HumanEval/900",
        "prompt": "def half(x):\n",
        "entry_point": "half",
        "canonical_solution": "    return x / 2\n",
        "base_input": [[2], [3]],
        "plus_input": [[-1], [0]],
        "atol": 0,
    }
    problems = lines(tmp_path / "problems.jsonl", [problem])
    bodies = ["    return x * 0.5", "    return abs(x) / 2", "    return x // 2"]
    answers = [{"task_id": "900", "completion": body} for body in bodies]
    completions = lines(tmp_path / "a.jsonl", answers)

    _, verdicts = judge("humanevalplus", problems, completions, tmp_path / "out.jsonl")

    assert [(v["outcome"], v["detail"]) for v in verdicts] == [
        ("passed", ""),
        ("failed", "plus input 1 returned 0.5, expected -0.5"),
        ("failed", "base input 2 returned 1, expected 1.5"),
    ]


def test_the_program_in_a_chat_answer_is_judged_where_that_is_asked_for(tmp_path, problems):
    text = "Sure!\n```python\ndef double(x):\n    return x * 2\n```\nThat is all."
    completions = lines(tmp_path / "a.jsonl", [{"task_id": 7, "completion": text}])
    out = tmp_path / "out.jsonl"

    _, (as_it_is,) = judge("custom", problems, completions, out)
    _, (found,) = judge("custom", problems, completions, out, "--extract", "chat")

    assert (as_it_is["outcome"], found["outcome"]) == ("failed", "passed")


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
        ("gpt-3.5-turbo-0613", "none", 161),
        ("codellama", "standard", 161),
        ("starcoder", "standard", 164),
        ("gpt-3.5-turbo-0613", "standard", 162),
    ],
)
def test_verdicts_agree_with_those_that_ldb_recorded(
    published, tmp_path, model, preamble, agreeing
):
    """The few others are policy: which imports were in scope when they were graded.

    Two of GPT-3.5's (HumanEval/38 and 50) are right but lack the prompt's helper that their tests
    call: graded in one process they failed, here that helper is the judge's own.
    """
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
