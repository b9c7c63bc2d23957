"""Stopping a run by hand: who may ask for what, who heeds it, and what is left."""

import io
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from plausible_rows import BASE, TUNED, base_run, tuned_run
from rich.console import Console

from cluster.slots import Slots
from database import open_ledger, queries, write
from database.live import Driver, Stop
from database.schema import Experiment
from jobs import pipeline
from jobs.__main__ import main
from jobs.declared import UserError
from jobs.home import Home
from jobs.loading import load
from jobs.pipeline import execute_all
from jobs.progress import Board
from jobs.record import Recorder
from jobs.run import outstanding
from jobs.run_logs import RunLogs
from jobs.stopping import NotRunningError, Stops, ask_to_stop
from jobs.telemetry import Telemetry
from jobs.workplace import Work, Workplace

SMOKE = Path(__file__).parent.parent / "experiments" / "smoke.yaml"
PATIENCE = 30.0


def driver(at, experiment="mine", **more):
    given = {"id": "d" * 32, "host": "node-7", "process": 4, "cluster": "c:1", "started_at": at}
    return Driver(experiment=experiment, at=at, **(given | more))


@pytest.fixture
def training(ledger):
    """A run that trains, and one that is done."""
    runs = [base_run(), tuned_run(state="training", finished_at=None)]
    write(ledger, [*runs, Experiment(name="mine", text="", runs=[BASE, TUNED])])
    return ledger


def test_a_driver_heeds_a_wish_that_is_younger_than_itself_and_no_older_one(training):
    now = datetime.now(UTC)
    write(training, [Stop(run=TUNED, asked_by="ada", at=now)])
    earlier, later = (Stops(training, since=now + timedelta(seconds=s)) for s in (-1, 1))
    earlier.look()
    later.look()

    assert earlier.of(TUNED).asked_by == "ada"
    assert earlier.unwanted(TUNED)() and not earlier.unwanted(BASE)()
    assert later.of(TUNED) is None


def test_who_stopped_a_run_and_when_is_said(training):
    at = datetime(2026, 11, 29, 7, 41, 5, tzinfo=UTC)
    write(training, [Stop(run=TUNED, asked_by="ada", at=at), Stop(run=BASE, at=at)])
    stops = Stops(training, since=at)
    stops.look()

    assert stops.why(TUNED).startswith("stopped by ada at 07:41:05 UTC; what was done is kept")
    assert stops.why(BASE).startswith("stopped by hand at 07:41:05 UTC")


def test_asking_says_which_driver_ends_the_run_or_that_none_works_on_it(training):
    now = datetime.now(UTC)
    assert "no driver is working on it" in str(ask_to_stop(training, TUNED, "ada"))

    write(training, [driver(now - timedelta(minutes=5))])
    silent = ask_to_stop(training, TUNED, "ada")
    assert silent.driver is None
    assert "on node-7 was not heard of since" in str(silent) and "if it still lives" in str(silent)

    write(training, [driver(now)])
    asked = ask_to_stop(training, TUNED, "ada")
    assert "within seconds by the driver on node-7" in str(asked)
    assert (asked.stop.run, asked.stop.asked_by) == (TUNED, "ada")


def test_a_run_that_is_over_is_not_stopped(training):
    with pytest.raises(NotRunningError, match="is done: there is nothing to stop"):
        ask_to_stop(training, BASE, "ada")


def test_a_run_with_a_typo_is_answered_with_the_nearest_that_goes_on(training):
    with pytest.raises(UserError, match=f"no run '70ded70ded7x'.*{TUNED}"):
        ask_to_stop(training, "70ded70ded7x", "ada")


def test_the_command_says_what_comes_of_it_and_ends_with_1_where_nobody_heeds_it(home, capsys):
    ledger = open_ledger()
    runs = [base_run(), tuned_run(state="training", finished_at=None)]
    write(ledger, [*runs, Experiment(name="mine", text="", runs=[TUNED])])

    assert main(["stop", TUNED]) == 1
    assert "no driver is working on it" in capsys.readouterr().out
    write(ledger, [driver(datetime.now(UTC))])
    assert main(["stop", TUNED]) == 0
    assert "goes on from there" in capsys.readouterr().out
    assert main(["stop", BASE]) == 2
    assert "nothing to stop" in capsys.readouterr().err
    ledger.dispose()


def test_the_command_makes_no_ledger(home, capsys):
    assert main(["stop", TUNED]) == 2
    assert "make train-all" in capsys.readouterr().err
    assert not (home / "ledger.db").exists()


def place_of(ledger, home, experiment):
    """A workplace with one processor, and nobody who answers a mailbox."""
    board = Board(Console(file=io.StringIO()))
    return Workplace(
        home=Home(home),
        recorder=Recorder(ledger, experiment),
        board=board,
        mailbox=None,
        processors=Slots(1),
        gpus=None,
        telemetry=Telemetry(ledger, experiment.name, board.say),
        logs=RunLogs(Home(home)),
    )


def ended_in_line(place, work, end):
    """What failed of work that has no processor when it is ended."""
    failures = []
    with place.processors.take(1, rank=0):
        doing = threading.Thread(
            target=lambda: failures.extend(execute_all([work], place)), daemon=True
        )
        doing.start()
        time.sleep(2.0)  # it waits by then
        end()
        doing.join(PATIENCE)
        assert not doing.is_alive()
    return failures


def test_a_run_that_waits_for_processors_ends_and_takes_none(ledger, home):
    experiment = load(SMOKE)
    run = next(run for run in experiment.runs() if run.training)
    place = place_of(ledger, home, experiment)
    place.recorder.begin([run])

    def stop():
        ask_to_stop(ledger, run.id, "ada")
        place.telemetry.look()

    failures = ended_in_line(place, Work(run=run, benchmarks=experiment.benchmarks), stop)

    (recorded,) = queries.runs(ledger)
    (event,) = queries.events(ledger, run.id)
    assert (recorded.state, event.kind) == ("stopped", "stopped")
    assert event.message.startswith("stopped by ada at ")
    assert (failures, place.ended) == ([], [run])
    assert "stopped by ada" in (home / run.id / "log.txt").read_text()
    assert run.id in {work.run.id for work in outstanding(experiment, ledger, Home(home))}
    with place.processors.take(1, rank=0):
        pass


def test_a_run_that_waits_for_processors_hears_that_all_of_it_stops_and_is_not_failed(ledger, home):
    experiment = load(SMOKE)
    run = next(run for run in experiment.runs() if run.training)
    place = place_of(ledger, home, experiment)
    place.recorder.begin([run])

    failures = ended_in_line(place, Work(run=run, benchmarks=()), place.stopping.set)

    (recorded,) = queries.runs(ledger)
    assert recorded.state not in {"failed", "stopped", "done"}
    assert (failures, place.ended, queries.events(ledger, run.id)) == ([], [], [])


def test_no_secret_of_an_error_gets_into_the_ledger(ledger, home, monkeypatch):
    def fails(_):
        raise OSError("https://me:sesame@hub.example refused hf_abcdefghijk")

    monkeypatch.setenv("HF_TOKEN", "hf_abcdefghijk")
    monkeypatch.setattr(pipeline, "base_weights", fails)
    experiment = load(SMOKE)
    run = next(run for run in experiment.runs() if run.training)
    place = place_of(ledger, home, experiment)
    place.recorder.begin([run])

    execute_all([Work(run=run, benchmarks=())], place)
    (event,) = queries.events(ledger, run.id)
    assert event.message == "OSError: https://***@hub.example refused ***"


def test_a_run_is_not_begun_once_somebody_stopped_it_and_others_are(ledger, home):
    experiment = load(SMOKE)
    run = next(run for run in experiment.runs() if run.training)
    place = place_of(ledger, home, experiment)
    place.recorder.begin([run])
    ask_to_stop(ledger, run.id, "")
    place.telemetry.stops.look()

    assert execute_all([Work(run=run, benchmarks=())], place) == []
    assert queries.runs(ledger)[0].state == "stopped"
    assert place.spent == []


LONG = """
description: One training that takes a while, and a base beside it.
models:
  starter-falcon: {path: models/starter/falcon}
datasets: [smoke]
methods:
  lora-r8: {kind: lora, rank: 8, learning_rate: 4.0e-3, steps: 60, batch_size: 8, max_length: 256,
            precision: fp32, checkpoint_every: 5}
benchmarks:
  starter: {problems: 8, completions: 1, temperature: 0.2, max_new_tokens: 32, report: [1]}
"""


@pytest.mark.slow
def test_a_training_that_is_stopped_keeps_its_checkpoint_and_goes_on_with_the_next_driver(
    home, tmp_path
):
    from jobs.run import STOPPED, run_experiment

    path = tmp_path / "long.yaml"
    path.write_text(LONG)
    ledger = open_ledger()
    tuned = next(run for run in load(path).runs() if run.training)

    def kept():
        return list(home.glob(f"{tuned.id}/attempts/step-{8 * '[0-9]'}"))

    def stop_when_there_is_a_checkpoint():
        deadline = time.monotonic() + 300
        while not kept() and time.monotonic() < deadline:
            time.sleep(0.1)
        ask_to_stop(ledger, tuned.id, "ada")

    asking = threading.Thread(target=stop_when_there_is_a_checkpoint, daemon=True)
    asking.start()
    assert run_experiment(path, Console(file=io.StringIO())) == STOPPED
    asking.join()
    states = {run.kind: run.state for run in queries.runs(ledger)}
    reached = queries.trainings(ledger)[0].last_step
    log = (home / tuned.id / "log.txt").read_text()

    assert states == {"base": "done", "tuned": "stopped"}
    assert kept()
    assert reached < 60
    assert "step 5 of 60: loss" in log and "stopped by ada" in log

    assert run_experiment(path, Console(file=io.StringIO())) == 0
    assert {run.state for run in queries.runs(ledger)} == {"done"}
    assert queries.run_page(ledger, tuned.id).checkpoint.facts["resumed"] == 1
    assert [step.step for step in queries.steps(ledger, tuned.id)] == list(range(1, 61))
    ledger.dispose()
