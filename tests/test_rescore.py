"""Stored answers judged again: what is added, what is kept, what is said, and what is refused."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import nullcontext
from dataclasses import replace

import pytest
from sqlalchemy import delete, select

from database import open_ledger, schema, write
from database.rejudging import Asked
from database.standings import standings
from eval_sandbox.verdict import Outcome, Verdict
from jobs.__main__ import main
from jobs.answers import Answer
from jobs.experiment import Asking, Benchmark, short_hash
from jobs.loading import read_questions
from jobs.prompt_contracts import read_prompt
from jobs.recipes import ROOT
from jobs.record import contract_row, judged_rows, problem_rows
from jobs.rejudged import UnjudgeableError, Wanted, judged_again

BASE, TUNED = "base00000000", "tuned0000000"
ASKED = 6
FENCED = "```python\n{}```\n"
ENDLESS = "    while True:\n        pass\n"


def starter(prompt="alpaca-signature", problems=ASKED):
    questions = read_questions("starter", [])
    return Benchmark(
        name="starter",
        recipe=questions.recipe,
        asking=Asking(problems=problems),
        problems=questions.problems[:problems],
        prompt=read_prompt(prompt),
    )


def right(problem):
    """The body that the reference has; it continues the signature."""
    return problem.reference.removeprefix(problem.prompt)


def fenced(problem):
    return FENCED.format(problem.reference)


def wrong(problem):
    return "    return 'nothing of the kind'\n"


def recorded(run, benchmark, texts, asking=None, **columns):
    """A run whose answers were judged as they are: what is fenced failed."""
    answers = [
        Answer(task_id=p.task_id, position=0, text=t(p), whole=False, tokens=9, finish="stop")
        for p, t in zip(benchmark.problems, texts, strict=True)
    ]
    verdicts = [
        Verdict(
            outcome=Outcome.PASSED if text is right else Outcome.FAILED,
            cpu_seconds=0.125,
            wall_seconds=0.25,
            detail="as recorded",
        )
        for text in texts
    ]
    content = asking or benchmark.asking_content
    return [
        schema.Run(
            **{"id": run, "label": f"llama {run}", "kind": "base", "model": "llama"} | columns
        ),
        contract_row("asking", content),
        contract_row("judging", benchmark.judging_content),
        *problem_rows(benchmark),
        *judged_rows(run, benchmark, short_hash(content), answers, verdicts),
    ]


def tuned(benchmark):
    texts = [right, fenced, fenced, fenced, fenced, wrong]
    return recorded(TUNED, benchmark, texts, kind="tuned", base_run=BASE)


def base(benchmark):
    return recorded(BASE, benchmark, [right, fenced, wrong, wrong, wrong, wrong])


def rows(engine, table):
    with engine.connect() as connection:
        return set(connection.execute(select(table.__table__)).all())


def verdicts_under(engine, extract):
    with engine.connect() as connection:
        contracts = connection.execute(select(schema.Contract)).all()
    ids = {row.id for row in contracts if row.content.get("extract") == extract}
    return {row for row in rows(engine, schema.Verdict) if row.judging in ids}


@pytest.fixture
def small(ledger_url, monkeypatch):
    """A base and a run tuned from it on a ledger of each kind, judged as they are."""
    monkeypatch.setenv("CODELADDER_DATABASE_URL", ledger_url)
    engine = open_ledger()
    benchmark = starter()
    write(engine, [*base(benchmark), *tuned(benchmark)])
    yield engine
    engine.dispose()


@pytest.fixture
def ledger(tmp_path, monkeypatch):
    """An empty ledger on SQLite."""
    monkeypatch.setenv("CODELADDER_DATABASE_URL", f"sqlite:///{tmp_path / 'ledger.db'}")
    engine = open_ledger()
    yield engine
    engine.dispose()


def test_a_base_and_its_tuned_run_compare_under_the_other_contract(small, capsys):
    before = rows(small, schema.Verdict), rows(small, schema.Score), rows(small, schema.Completion)

    assert main(["rescore", "--benchmark", "starter", "--extract", "chat"]) == 0

    said = capsys.readouterr().out.splitlines()
    second, third, fourth, fifth = (p.task_id for p in starter().problems[1:5])
    assert f"llama {BASE}: pass@1 16.7 % -> 33.3 %; 1 pass that did not ({second}), " in said[0]
    names = ", ".join([second, third, fourth, fifth])
    assert f"llama {TUNED}: pass@1 16.7 % -> 83.3 %; 4 pass that did not ({names})" in said[1]
    assert before[0] < rows(small, schema.Verdict)
    assert before[1] < rows(small, schema.Score)
    assert before[2] == rows(small, schema.Completion)
    solved = Counter((row.judging, row.run) for row in rows(small, schema.Tally) if row.passed)
    assert sorted(solved.values()) == [1, 1, 2, 5]  # of problems; as recorded, and rescored
    (now,) = [s for s in standings(small, run=TUNED) if s.result.value == pytest.approx(5 / 6)]
    assert now.result.delta.value == pytest.approx(3 / 6)
    (of_base,) = [s for s in standings(small, run=BASE) if s.result.value == pytest.approx(2 / 6)]
    assert now.result.contract == of_base.result.contract


def test_what_has_a_verdict_is_not_judged_again_and_the_same_is_said(small, capsys):
    main(["rescore", "--benchmark", "starter", "--extract", "chat"])
    first, verdicts = capsys.readouterr().out, rows(small, schema.Verdict)

    assert main(["rescore", "--benchmark", "starter", "--extract", "chat"]) == 0

    assert capsys.readouterr().out == first
    assert rows(small, schema.Verdict) == verdicts  # with the seconds that judging took


def test_under_the_present_contract_a_recorded_ledger_stays_as_it_is(ledger, capsys):
    write(ledger, base(starter()))
    before = rows(ledger, schema.Verdict), rows(ledger, schema.Score)

    assert main(["rescore", "--benchmark", "starter"]) == 0

    assert (rows(ledger, schema.Verdict), rows(ledger, schema.Score)) == before
    assert "pass@1 none -> 16.7 %; judged under no other contract" in capsys.readouterr().out


def test_a_score_comes_once_the_verdicts_that_a_kill_prevented_are_there(ledger):
    write(ledger, base(starter()))
    main(["rescore", "--benchmark", "starter", "--extract", "chat"])
    whole = rows(ledger, schema.Score)
    kept = sorted(verdicts_under(ledger, "chat"))[:2]
    (judging,) = {row.judging for row in kept}
    with ledger.begin() as connection:  # as a killed command leaves it
        connection.execute(delete(schema.Score).where(schema.Score.judging == judging))
        some = schema.Verdict.completion.in_([row.completion for row in kept])
        chat = schema.Verdict.judging == judging
        connection.execute(delete(schema.Verdict).where(chat, ~some))

    assert main(["rescore", "--benchmark", "starter", "--extract", "chat"]) == 0

    assert set(kept) < verdicts_under(ledger, "chat")
    values = {(row.run, row.judging, row.value, row.low, row.high) for row in whole}
    now = {(r.run, r.judging, r.value, r.low, r.high) for r in rows(ledger, schema.Score)}
    assert now == values


@pytest.mark.slow
def test_killed_midway_it_leaves_verdicts_and_no_score_and_goes_on_from_there(ledger):
    answers = 14  # of two seconds each: longer than it takes until some are written
    benchmark = starter(problems=answers)
    endless = [lambda problem: ENDLESS] * (answers - 1)
    write(ledger, recorded(BASE, benchmark, [right, *endless]))
    command = [sys.executable, "-m", "jobs", "rescore", "--benchmark", "starter"]
    command += ["--extract", "fenced"]
    running = subprocess.Popen(command, cwd=ROOT, env=os.environ, start_new_session=True)
    deadline = time.monotonic() + 120
    while not verdicts_under(ledger, "fenced") and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    kept = verdicts_under(ledger, "fenced")
    scored = rows(ledger, schema.Score)

    subprocess.run(command, cwd=ROOT, env=os.environ, check=True)

    assert 0 < len(kept) < answers
    assert len(scored) == 1
    assert kept < verdicts_under(ledger, "fenced")
    assert len(verdicts_under(ledger, "fenced")) == answers
    assert len(rows(ledger, schema.Score)) == 2


def test_one_run_is_named_by_its_label(ledger):
    write(ledger, [*base(starter()), *tuned(starter())])

    asked = ["rescore", "--benchmark", "starter", "--extract", "chat", "--run", f"llama {BASE}"]

    assert main(asked) == 0
    assert len(verdicts_under(ledger, "chat")) == ASKED


def test_the_runs_of_one_experiment_are_named_by_it(ledger):
    experiment = schema.Experiment(name="mine", text="", runs=[TUNED])
    write(ledger, [*base(starter()), *tuned(starter()), experiment])

    asked = ["rescore", "--benchmark", "starter", "--extract", "chat", "--experiment", "mine"]

    assert main(asked) == 0
    with ledger.connect() as connection:
        key = schema.Verdict.completion == schema.Completion.id
        found = select(schema.Completion.run, schema.Verdict.judging).join(schema.Verdict, key)
        judged = connection.execute(found).all()
    assert len({row for row in judged if row.run == TUNED}) == 2
    assert len({row for row in judged if row.run == BASE}) == 1


def test_code_is_looked_for_as_the_contract_that_asked_needs_it(ledger):
    asked = starter(prompt="alpaca")
    as_they_are = replace(asked, prompt=None)
    write(ledger, recorded(BASE, as_they_are, [fenced] * ASKED, asked.asking_content))

    assert main(["rescore", "--benchmark", "starter"]) == 0

    assert {row.outcome for row in verdicts_under(ledger, "chat")} == {"passed"}


def test_answers_made_elsewhere_are_judged_again_too(ledger):
    benchmark = replace(starter(), prompt=None)
    made = {"made": "elsewhere", "sha256": benchmark.recipe.source.sha256, "completions": 1}
    write(ledger, recorded(BASE, benchmark, [fenced] * ASKED, made, kind="imported"))

    assert main(["rescore", "--benchmark", "starter", "--extract", "fenced"]) == 0

    assert len(verdicts_under(ledger, "fenced")) == ASKED


def other_file(benchmark):
    source = benchmark.recipe.source.model_copy(update={"sha256": "0" * 64})
    return replace(benchmark, recipe=benchmark.recipe.model_copy(update={"source": source}))


def other_words(benchmark):
    first, *rest = benchmark.problems
    changed = (replace(first, instruction="Something else."), *rest)
    return replace(other_file(benchmark), problems=changed)


def gone(benchmark):
    first, *rest = benchmark.problems
    return replace(benchmark, problems=(replace(first, task_id="starter/gone"), *rest))


@pytest.mark.parametrize("change", [other_words, gone], ids=["other words", "gone"])
def test_answers_to_a_question_that_the_file_has_no_more_are_left_as_they_are(
    change, ledger, capsys
):
    write(ledger, [*base(change(starter())), *tuned(starter())])

    assert main(["rescore", "--benchmark", "starter", "--extract", "chat"]) == 1

    said = capsys.readouterr().out
    assert f"llama {BASE}: left as it is: 1 of its 6 problems are not in starter.jsonl" in said
    assert "starter/" in said
    assert len(verdicts_under(ledger, "chat")) == ASKED  # of the other run


@pytest.mark.parametrize(
    ("prompt", "refused"), [("alpaca", True), ("completion", False)], ids=["shown", "not shown"]
)
def test_answers_to_tests_that_the_ledger_has_not_are_judged_again_under_the_same_file_only(
    ledger, prompt, refused
):
    asked = starter(prompt)
    problems = {p.task_id: replace(p, extra={"tests": "assert f()"}) for p in asked.problems}
    before = other_file(replace(asked, problems=tuple(problems.values())))
    write(ledger, recorded(BASE, before, [right] * ASKED))
    of = Asked(
        run=BASE,
        label="llama",
        benchmark="starter",
        asking=short_hash(before.asking_content),
    )
    wanted = Wanted(benchmark="starter", extract="chat")

    with pytest.raises(UnjudgeableError, match=r"asked \{question\}") if refused else nullcontext():
        judged_again(of, wanted, asked.recipe, problems, ledger)
    judged_again(of, wanted, before.recipe, problems, ledger)


def test_answers_under_a_contract_that_is_there_no_more_need_an_extraction(ledger, capsys):
    benchmark = starter()
    asking = benchmark.asking_content | {"prompt": {"name": "alpaca-signatur", "version": 1}}
    write(ledger, recorded(BASE, benchmark, [right] * ASKED, asking))

    assert main(["rescore", "--benchmark", "starter"]) == 1
    assert "Did you mean 'alpaca-signature'? Name an extraction" in capsys.readouterr().out
    assert main(["rescore", "--benchmark", "starter", "--extract", "chat"]) == 0


WRONG = {
    "benchmark": (["--benchmark", "startr"], "Did you mean 'starter'?"),
    "benchmark without answers": (["--benchmark", "humaneval"], "no answers to 'humaneval'"),
    "run": (["--benchmark", "starter", "--run", "lama base00000000"], "Did you mean 'llama base0"),
    "experiment": (["--benchmark", "starter", "--experiment", "mine"], "no experiment 'mine'"),
    "extraction": (["--benchmark", "starter", "--extract", "chatt"], "did you mean 'chat'?"),
    "preamble": (["--benchmark", "starter", "--preamble", "standrd"], "did you mean 'standard'?"),
}


@pytest.mark.parametrize("asked, message", WRONG.values(), ids=WRONG)
def test_a_wrong_name_ends_with_status_2_and_the_nearest(
    asked, message, ledger, capsys, published, monkeypatch
):
    monkeypatch.setenv("CODELADDER_DATA", str(published))
    write(ledger, base(starter()))

    assert main(["rescore", *asked]) == 2

    assert message in capsys.readouterr().err
