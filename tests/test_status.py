"""How far work is, by run and by experiment, and the exit statuses that a CI reads."""

import json
from datetime import timedelta

import pytest
from plausible_rows import BASE, TUNED, base_run, training, tuned_run

from database import write
from database.claims import claim
from database.clock import moment
from database.live import Driver, Stage
from database.schema import Event, Experiment
from jobs.__main__ import main
from jobs.declared import UserError
from jobs.status import statuses

OTHER = "07her07her07"


def driver(now, **more):
    given = {
        "id": "d" * 32,
        "experiment": "mine",
        "host": "node-7",
        "process": 41,
        "cluster": "c:1",
        "dashboard": "http://127.0.0.1:8265",
        "started_at": now - timedelta(minutes=5),
        "at": now,
    }
    return Driver(**(given | more))


def stored(ledger, state, why="", *more):
    """An experiment of a base that is done and a tuned run in some state."""
    rows = [base_run(), tuned_run(state=state, finished_at=None), *more]
    rows.append(Experiment(name="mine", text="", runs=[BASE, TUNED]))
    if why:
        rows.append(Event(run=TUNED, kind=state, message=why))
    write(ledger, rows)


def status(ledger, name="mine"):
    (found,) = statuses(ledger, name)
    return found


@pytest.mark.parametrize(
    ("state", "why", "works", "expected"),
    [
        ("done", "", False, 0),
        ("done", "", True, 4),
        ("failed", "GangError: workers were lost", False, 1),
        ("failed", "GangError: workers were lost", True, 4),
        ("stopped", "stopped by ada at 07:41:05 UTC; what was done is kept", False, 3),
        ("stopped", "rung 1: its loss is 2.1, the median 1.4", False, 0),
        ("training", "", False, 3),
        ("waiting", "", True, 4),
        ("training", "", True, 4),
    ],
)
def test_an_exit_status_says_what_is_left_to_do(ledger, state, why, works, expected):
    stored(ledger, state, why, *([driver(moment(ledger))] if works else []))

    assert status(ledger).exit_status == expected


def test_a_driver_whose_experiment_is_not_recorded_yet_is_told_beside_the_others(ledger):
    fresh = driver(moment(ledger), id="f" * 32, experiment="fresh")
    stored(ledger, "training", "", driver(moment(ledger)), fresh)

    assert {one.name: one.exit_status for one in statuses(ledger)} == {"mine": 4, "fresh": 4}
    assert status(ledger, "experiments/fresh.yaml").sentence == "fresh: no run yet. Work goes on."


def test_a_driver_that_fell_silent_does_not_work(ledger):
    gone = moment(ledger) - timedelta(minutes=3)
    stored(ledger, "training", "", driver(gone, started_at=gone))
    found = status(ledger)

    assert found.exit_status == 3
    assert found.drivers[0].silent_seconds == pytest.approx(180, abs=5)


def test_while_one_run_goes_on_another_that_failed_is_not_the_last_word(ledger):
    more = [
        tuned_run(OTHER, state="training", finished_at=None),
        driver(moment(ledger)),
        Experiment(name="both", text="", runs=[TUNED, OTHER]),
    ]
    stored(ledger, "failed", "GangError: lost", *more)
    write(ledger, [driver(moment(ledger), experiment="both")])

    assert status(ledger, "both").exit_status == 4
    assert status(ledger, TUNED).exit_status == 1


def test_a_training_is_told_with_its_steps_and_a_generation_with_its_completions(ledger):
    now = moment(ledger)
    asks = Stage(
        run=OTHER,
        name="generating humaneval",
        done=300,
        of=1200,
        started_at=now - timedelta(seconds=60),
        at=now,
    )
    more = [
        tuned_run(OTHER, state="generating", label="asks", finished_at=None),
        *training(TUNED, 15, of=60, at=now),
        asks,
        Experiment(name="both", text="", runs=[TUNED, OTHER]),
    ]
    stored(ledger, "training", "", *more)
    trains, answers = status(ledger, "both").runs

    assert (trains.stage, trains.done, trains.of) == ("training", 15, 60)
    assert (answers.stage, answers.done, answers.of) == ("generating humaneval", 300, 1200)
    assert answers.seconds_left == pytest.approx(180, abs=1)


def test_who_holds_a_run_and_what_happened_on_the_way_are_told(ledger):
    stored(ledger, "training", "", driver(moment(ledger)))
    claim(ledger, TUNED, "d" * 32)
    lost = "worker 1 on node-2 was lost at step 7; goes on from step 4"
    write(ledger, [Event(run=TUNED, kind="training, again 1", message=lost)])
    _, run = status(ledger).runs

    assert run.holder == "node-7"
    assert [said.endswith(lost) for said in run.on_the_way] == [True]
    assert run.why == ""


def test_a_driver_that_is_a_ray_job_is_told_with_its_page(ledger):
    now = moment(ledger)
    stored(ledger, "training", "", driver(now, submission="codeladder-mine-1", attempt=3))
    (told,) = status(ledger).drivers

    assert told.page == "http://127.0.0.1:8265/#/jobs/codeladder-mine-1"
    assert told.attempt == 3


def test_an_experiment_may_be_named_by_its_file_and_a_typo_gets_the_nearest(ledger):
    stored(ledger, "done")

    assert status(ledger, "experiments/mine.yaml").name == "mine"
    with pytest.raises(UserError, match="Did you mean 'mine'"):
        statuses(ledger, "mien")


def test_without_a_name_all_that_is_worked_on_is_told_or_else_the_latest(ledger):
    stored(ledger, "done")
    assert [found.name for found in statuses(ledger)] == ["mine"]

    now = moment(ledger)
    write(ledger, [driver(now, id=name * 32, experiment=name) for name in "ab"])
    write(ledger, [Experiment(name=name, text="", runs=[BASE]) for name in "ab"])
    assert sorted(found.name for found in statuses(ledger)) == ["a", "b"]


def test_the_command_prints_json_that_a_program_reads_and_ends_as_it_says(
    ledger, ledger_url, monkeypatch, capsys
):
    stored(ledger, "failed", "GangError: lost")
    monkeypatch.setenv("CODELADDER_DATABASE_URL", ledger_url)

    assert main(["status", "--json"]) == 1
    (told,) = json.loads(capsys.readouterr().out)
    assert told["exit_status"] == 1
    assert [(run["run"], run["why"]) for run in told["runs"]] == [
        (BASE, ""),
        (TUNED, "GangError: lost"),
    ]
    assert main(["status", "mine"]) == 1
    said = capsys.readouterr().out
    assert "1 done, 1 failed" in said and "GangError: lost" in said
