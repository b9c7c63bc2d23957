"""Imports whole: judged in the sandbox, recorded, compared with what was published, repeated."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from sqlalchemy import select

from database import open_ledger
from database.published import agreement, published_scores
from database.queries import steps, trainings
from database.schema import Completion, Run, Score, Step, Tally, Verdict
from eval_sandbox.benchmarks import read_problems
from eval_sandbox.contract import Judging
from eval_sandbox.problem import Trials
from eval_sandbox.verdict import Outcome
from jobs.__main__ import main
from jobs.declared import UserError, read_yaml
from jobs.imports.demo import LIST, DemoBoard, import_demo
from jobs.imports.found import Found
from jobs.imports.judging import judge_found
from jobs.judge import SandboxFailedError

ROOT = Path(__file__).parent.parent
STARTER = read_problems("custom", ROOT / "datasets" / "bench" / "starter.jsonl")
SUM = "starter/0"
"""`sum_double_below(first_prices)`."""
RIGHT = (
    "def sum_double_below(first_prices):\n    return sum(2 * x for x in first_prices if x < 5)\n"
)
USES_MATH = RIGHT.replace("sum(2", "math.trunc(1) * sum(2")
WRONG = "def sum_double_below(first_prices):\n    return 0\n"


def answered(path, *answers):
    """A file of answers to one problem, as LDB writes them: program and claim."""
    rows = [{"task_id": SUM, "solution": text, "is_solved": claim} for text, claim in answers]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def imported(file, *more):
    return main(
        ["import", "--benchmark", "starter", "--name", "somebody", "--partial", *more, str(file)]
    )


def rows_of(home, table):
    engine = open_ledger(f"sqlite:///{home}/ledger.db")
    with engine.connect() as connection:
        found = connection.execute(select(table.__table__)).all()
    engine.dispose()
    return found


@pytest.fixture
def file(tmp_path):
    return answered(tmp_path / "a.jsonl", (RIGHT, True), (USES_MATH, True), (WRONG, False))


def test_an_import_of_some_problems_is_scored_over_these_and_says_so(file, home, capsys):
    assert imported(file) == 0

    (score,) = rows_of(home, Score)
    assert (score.problems, score.asked, score.completions) == (1, len(STARTER), 3)
    assert score.value == pytest.approx(1 / 3)
    (tally,) = rows_of(home, Tally)
    assert (tally.task_id, tally.completions, tally.passed) == (SUM, 3, 1)
    said = capsys.readouterr().out
    assert "read as ldb" in said
    assert f"only 1 of {len(STARTER)} problems have answers" in said


def test_without_being_asked_an_import_of_some_problems_is_refused(file, capsys):
    asked = ["import", "--benchmark", "starter", "--name", "somebody", str(file)]

    assert main(asked) == 2
    assert "1 problems have 3. --partial scores those" in capsys.readouterr().err


def test_a_verdict_that_differs_is_kept_with_its_cause(file, home, capsys):
    imported(file)

    (score,) = rows_of(home, Score)
    engine = open_ledger()
    found = agreement(engine, score.run, "starter", score.asking, score.judging)
    engine.dispose()
    assert found.compared == 3
    (one,) = found.differing
    assert (one.task_id, one.position, one.place, one.claimed) == (SUM, 1, 1, True)
    assert one.cause == "math is not in scope here; a preamble may put it there"
    assert "1 of 3 verdicts differ" in capsys.readouterr().out


def test_where_another_preamble_settles_a_difference_the_cause_says_so(file, home, capsys):
    imported(file, "--preamble", "standard")
    assert "0 of 3 verdicts differ" in capsys.readouterr().out

    imported(file)

    assert "may put it there; under preamble standard we agree" in capsys.readouterr().out


def test_scores_that_were_published_stand_beside_ours_and_a_repeat_keeps_them(file, home, capsys):
    imported(file, "--published", "pass@1=0.5", "--source", "their paper")
    imported(file)

    engine = open_ledger()
    (fact,) = published_scores(engine, benchmark="starter")
    engine.dispose()
    assert (fact.metric, fact.value, fact.source) == ("pass@1", 0.5, "their paper")
    assert "published 50.0 % (their paper)" in capsys.readouterr().out


def test_without_one_the_score_is_counted_from_the_published_verdicts(file, home):
    imported(file)

    engine = open_ledger()
    (fact,) = published_scores(engine)
    engine.dispose()
    assert fact.value == pytest.approx(2 / 3)
    assert fact.source == "counted from the published verdicts"


def test_verdicts_that_cannot_be_read_leave_no_counted_score_and_are_told(tmp_path, home, capsys):
    file = answered(tmp_path / "a.jsonl", (RIGHT, "Accepted"), (WRONG, "who knows"))

    imported(file)

    engine = open_ledger()
    assert published_scores(engine) == []
    engine.dispose()
    assert "1 of 2 answers have no verdict, or one we cannot read" in capsys.readouterr().out


def test_a_name_like_markup_is_shown_to_the_letter_and_one_too_long_is_refused(file, home, capsys):
    assert imported(file, "--name", "their [/chat]") == 0
    assert main(["results"]) == 0
    assert "[/chat]" in capsys.readouterr().out

    assert imported(file, "--name", "x" * 201) == 2
    assert "--name has 201 characters; 1 to 200" in capsys.readouterr().err


def test_verdicts_in_a_file_of_their_own_are_counted_without_a_format(tmp_path, home, capsys):
    samples, said = tmp_path / "samples.jsonl", tmp_path / "elsewhere.json"
    samples.write_text(json.dumps({"task_id": SUM, "solution": RIGHT}) + "\n")
    one = {"solution": RIGHT, "base_status": "pass", "plus_status": "fail"}
    said.write_text(json.dumps({"eval": {SUM: [one]}}))

    assert imported(samples, "--format", "completions", "--verdicts", str(said)) == 2
    assert "--verdicts is for --format evalplus, not for completions" in capsys.readouterr().err
    assert imported(samples, "--verdicts", str(said)) == 0

    engine = open_ledger()
    (fact,) = published_scores(engine)
    engine.dispose()
    assert fact.value == 1.0


def test_the_same_import_again_judges_nothing_and_adds_no_row(file, home, capsys):
    imported(file)
    before = [rows_of(home, table) for table in (Run, Score, Completion, Verdict)]
    capsys.readouterr()

    assert imported(file) == 0

    assert "nothing judged again" in capsys.readouterr().out
    assert [len(rows) for rows in before] == [
        len(rows_of(home, table)) for table in (Run, Score, Completion, Verdict)
    ]
    assert list((home / "imports").iterdir()) == []


def test_another_preamble_adds_verdicts_and_a_score_to_the_same_answers(file, home):
    imported(file)
    imported(file, "--preamble", "standard")

    assert len(rows_of(home, Run)) == 1
    assert len(rows_of(home, Completion)) == 3
    assert sorted(score.value for score in rows_of(home, Score)) == pytest.approx([1 / 3, 2 / 3])


def test_a_preamble_that_is_not_there_is_refused_with_the_nearest(file, capsys):
    assert imported(file, "--preamble", "standrad") == 2
    assert "did you mean 'standard'" in capsys.readouterr().err


def test_an_import_that_was_killed_goes_on_behind_the_last_whole_verdict(home):
    problem = next(p for p in STARTER if p.task_id == SUM)
    found = [Found(problem=problem, text=text, whole=True) for text in (RIGHT, WRONG, RIGHT)]
    asked = found, Judging(), "contract0000", Console(quiet=True), "starter"
    whole = judge_found(*asked)
    (journal,) = (home / "imports").iterdir()
    first, second, _ = journal.read_text().splitlines(keepends=True)
    marked = json.dumps(json.loads(first) | {"cpu_seconds": 123.0})
    journal.write_text(f"{marked}\n{second[:20]}")

    again = judge_found(*asked)

    assert [one.outcome for one in again] == [one.outcome for one in whole]
    assert [one.outcome for one in again] == [Outcome.PASSED, Outcome.FAILED, Outcome.PASSED]
    assert again[0].cpu_seconds == 123.0
    assert len(journal.read_text().splitlines()) == 3


def test_verdicts_before_an_answer_on_which_the_sandbox_failed_are_kept(home):
    problem = next(p for p in STARTER if p.task_id == SUM)
    unprepared = replace(
        problem, tests=(Trials(name="base", inputs=((),)),), reference="raise SystemExit('no')"
    )
    found = [Found(problem=asked, text=RIGHT, whole=True) for asked in (problem, unprepared)]

    with pytest.raises(SandboxFailedError):
        judge_found(found, Judging(), "contract0000", Console(quiet=True), "starter")

    (journal,) = (home / "imports").iterdir()
    assert [json.loads(line)["outcome"] for line in journal.read_text().splitlines()] == ["passed"]


STATE = {
    "global_step": 30,
    "max_steps": 30,
    "log_history": [
        {"epoch": 0.3, "grad_norm": 1.5, "learning_rate": 2e-4, "loss": 1.25, "step": 10},
        {"epoch": 0.6, "grad_norm": float("nan"), "learning_rate": 1e-4, "loss": 1.0, "step": 20},
        {"epoch": 0.6, "eval_loss": 1.125, "eval_runtime": 3.0, "step": 20},
        {"epoch": 1.0, "loss": 0.75, "step": 30, "num_input_tokens_seen": 900},
        {"epoch": 1.0, "train_loss": 1.0, "train_runtime": 9.0, "step": 30},
    ],
}


def test_a_trainer_state_becomes_a_curve_on_the_training_page(tmp_path, home, capsys):
    file = tmp_path / "trainer_state.json"
    file.write_text(json.dumps(STATE, indent=2))

    assert main(["import", "--name", "their LoRA", str(file)]) == 0

    engine = open_ledger()
    (training,) = trainings(engine)
    curve = steps(engine, training.run)
    engine.dispose()
    assert (training.label, training.of, training.last_step) == ("their LoRA (imported)", 30, 30)
    assert [(step.step, step.loss, step.held_out_loss) for step in curve] == [
        (10, 1.25, None),
        (20, 1.0, 1.125),
        (30, 0.75, None),
    ]
    assert [step.gradient_norm for step in curve] == [1.5, None, None]
    assert "3 logged steps up to step 30, loss 1.250 to 0.750" in capsys.readouterr().out


def test_what_was_measured_before_the_first_step_is_left_out_of_a_curve(tmp_path, home):
    first = {"eval_loss": 2.0, "step": 0}
    file = tmp_path / "trainer_state.json"
    file.write_text(json.dumps(STATE | {"log_history": [first, *STATE["log_history"]]}))

    assert main(["import", "--name", "their LoRA", str(file)]) == 0
    assert [step.step for step in rows_of(home, Step)] == [10, 20, 30]


def test_a_step_of_more_tokens_than_a_row_holds_is_refused(tmp_path, home, capsys):
    file = tmp_path / "trainer_state.json"
    logged = {"step": 1, "loss": 1.0, "num_input_tokens_seen": 1e300}
    file.write_text(json.dumps({"log_history": [logged]}))

    assert main(["import", "--name", "their LoRA", str(file)]) == 2
    assert "step 1: 'num_input_tokens_seen' grew by 1e+300" in capsys.readouterr().err


NO_STATE = {
    "no history": {"global_step": 3},
    "a history of texts": {"log_history": ["step 1"]},
    "a step that is no number": {"log_history": [{"step": "1", "loss": 1.0}]},
    "nothing logged": {"log_history": []},
}


@pytest.mark.parametrize("state", NO_STATE.values(), ids=NO_STATE)
def test_a_trainer_state_is_refused_in_words_that_has(state, tmp_path, capsys):
    file = tmp_path / "trainer_state.json"
    file.write_text(json.dumps(state))

    assert main(["import", "--format", "trainer-state", "--name", "x", str(file)]) == 2
    assert "log" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["pass@1", "pass@1=22.3", "pass@0=0.1", "acc=0.5", "pass@1=nan"])
def test_a_published_score_is_a_fraction_of_pass_at_k(text, file, capsys):
    assert imported(file, "--published", text) == 2
    assert "write one as pass@1=0.223" in capsys.readouterr().err


def test_a_demo_board_without_its_files_says_where_they_are_published(monkeypatch, capsys, home):
    monkeypatch.setenv("CODELADDER_DATA", str(home))

    with pytest.raises(Exception, match="none of the 17 files"):
        import_demo(Console())
    assert "https://github.com/" in capsys.readouterr().out


def test_a_demo_board_blames_the_benchmark_where_its_file_is_missing(
    published, tmp_path, monkeypatch, capsys, home
):
    (answers,) = published.rglob("mbpp_codellama_seed.jsonl.gz")
    (tmp_path / answers.name).symlink_to(answers)
    monkeypatch.setenv("CODELADDER_DATA", str(tmp_path))

    with pytest.raises(UserError, match="answers are there, but no file of their benchmarks"):
        import_demo(Console(width=300))
    assert "mbpp: skipped. mbpp.jsonl was not found" in capsys.readouterr().out


def test_every_file_of_the_demo_board_is_pinned_and_its_benchmark_has_a_recipe(published):
    board, mistakes = DemoBoard.parse(read_yaml(LIST))

    assert mistakes == []
    for answers in board.answers:
        assert (ROOT / "datasets" / "bench" / f"{answers.benchmark}.yaml").is_file()
        assert any(
            hashlib.sha256(path.read_bytes()).hexdigest() == answers.source.sha256
            for path in published.rglob(answers.source.file)
        ), answers.source.file


@pytest.mark.slow
def test_a_demo_board_of_real_answers_is_imported_and_repeated(published, monkeypatch, home):
    monkeypatch.setenv("CODELADDER_DATA", str(published))

    assert import_demo(Console(quiet=True)) == import_demo(Console(quiet=True)) == 17

    scores = rows_of(home, Score)
    assert len(scores) == 19
    assert all(score.problems == score.asked for score in scores)
