"""The command line: its surface, its mistakes, and importing answers made elsewhere."""

import gzip
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from database.session import open_ledger
from database.training_data import datasets
from jobs.__main__ import main

ROOT = Path(__file__).parent.parent


OPTIONS = {
    "plan": set(),
    "run": {"--tensorboard", "--mlflow"},
    "status": {"--json"},
    "stop": set(),
    "retry": set(),
    "logs": {"--follow", "--lines"},
    "results": {"--experiment", "--json", "--csv", "--by-recipe"},
    "prepare": {"--experiment"},
    "new": set(),
    "import": {
        "--format",
        "--benchmark",
        "--name",
        "--verdicts",
        "--fields",
        "--published",
        "--source",
        "--preamble",
        "--extract",
        "--partial",
    },
    "rescore": {"--benchmark", "--run", "--experiment", "--preamble", "--extract"},
    "export": {"--to", "--merged", "--hub", "--public"},
    "archive": {"--to"},
    "restore": set(),
    "serve": {"--host", "--port", "--idle", "--replicas"},
}


def help_of(capsys, *command):
    with pytest.raises(SystemExit):
        main([*command, "--help"])
    return capsys.readouterr().out


def test_the_commands_are_these(capsys):
    listed = re.findall(r"^    ([a-z]+) ", help_of(capsys), re.MULTILINE)

    assert listed == list(OPTIONS)


@pytest.mark.parametrize("command", OPTIONS)
def test_no_option_that_changes_a_result_creeps_in(command, capsys):
    options = set(re.findall(r"(?<!\w)--[a-z-]+", help_of(capsys, command)))

    assert options - {"--help"} == OPTIONS[command]


def test_a_mistake_ends_with_status_2_and_no_traceback():
    done = subprocess.run(
        [sys.executable, "-m", "jobs", "run", "experiments/startr.yaml"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )

    assert done.returncode == 2
    assert done.stderr == ("experiments/startr.yaml: no such file. Did you mean 'starter.yaml'?\n")


def test_all_that_is_wrong_with_file_and_machine_is_told_at_once(tmp_path):
    (tmp_path / "mine.yaml").write_text("models: {}\nbenchmarks: {startr: {}}\n")
    nothing = tmp_path / "bin"
    nothing.mkdir()

    done = subprocess.run(
        [sys.executable, "-m", "jobs", "run", str(tmp_path / "mine.yaml")],
        cwd=ROOT,
        env=os.environ | {"PATH": str(nothing)},
        capture_output=True,
        text=True,
    )

    assert done.returncode == 2
    assert "Did you mean 'starter'?" in done.stderr
    assert "bubblewrap" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_full_disk_is_refused_before_any_work(monkeypatch, capsys):
    monkeypatch.setattr("jobs.checks.SPARE_GIB", 10.0**9)

    assert main(["run", str(ROOT / "experiments" / "smoke.yaml")]) == 2
    assert "GiB free" in capsys.readouterr().err


def test_plan_shows_every_run_and_starts_nothing(capsys, home):
    assert main(["plan", str(ROOT / "experiments" / "paper.yaml")]) == 0

    said = capsys.readouterr().out
    assert "21 runs" in said
    assert "mistral-7b" in said
    assert not list(home.glob("*"))


def test_results_without_a_ledger_say_what_to_do(capsys):
    assert main(["results"]) == 2
    assert "make train-all" in capsys.readouterr().err


def test_preparing_a_dataset_says_what_became_of_its_rows_and_records_it(capsys, home):
    assert main(["prepare", str(ROOT / "datasets" / "train" / "smoke.yaml")]) == 0

    said = capsys.readouterr().out
    (dataset,) = datasets(open_ledger(f"sqlite:///{home}/ledger.db"))
    assert f"smoke {dataset.digest}: 5,200 rows in, {dataset.rows_out} left" in said
    assert (home / "data" / dataset.digest / "README.md").is_file()


@pytest.fixture
def references(published, monkeypatch, tmp_path):
    """HumanEval's published solutions, as a file of answers."""
    monkeypatch.setenv("CODELADDER_DATA", str(published))
    file = tmp_path / "answers.jsonl"
    with gzip.open(next(published.rglob("HumanEval.jsonl.gz")), "rt") as lines:
        problems = [json.loads(line) for line in lines]
    answers = [{"task_id": p["task_id"], "completion": p["canonical_solution"]} for p in problems]
    file.write_text("".join(json.dumps(answer) + "\n" for answer in answers))
    return file


def test_the_published_solutions_of_humaneval_score_164_of_164(references, capsys):
    asked = ["import", "--benchmark", "humaneval", "--name", "published", str(references)]

    assert main(asked) == 0
    assert "164 of 164 answers passed" in capsys.readouterr().out
    assert main(["results", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["model"], row["value"], row["problems"]) == ("published", 1.0, 164)


def test_importing_the_same_file_again_adds_no_row(references, capsys):
    asked = ["import", "--benchmark", "humaneval", "--name", "published", str(references)]

    assert main(asked) == main(asked) == 0
    capsys.readouterr()
    main(["results", "--json"])
    assert len(json.loads(capsys.readouterr().out)) == 1


def test_answers_to_some_problems_only_are_refused_because_they_compare_with_nothing(
    references, capsys
):
    references.write_text("\n".join(references.read_text().splitlines()[:5]))

    asked = ["import", "--benchmark", "humaneval", "--name", "published", str(references)]

    assert main(asked) == 2
    assert "159 problems have 0, 5 problems have 1" in capsys.readouterr().err


def test_an_answer_to_an_unknown_problem_is_refused_with_its_line(references, capsys):
    references.write_text('{"task_id": "HumanEval/999", "completion": ""}\n')

    asked = ["import", "--benchmark", "humaneval", "--name", "published", str(references)]

    assert main(asked) == 2
    said = capsys.readouterr().err
    assert "HumanEval/999" in said
    assert "line 1" in said
