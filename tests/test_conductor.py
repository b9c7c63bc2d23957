"""What the conductor does with runs that are another driver's, and with those wanted again."""

import io
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from rich.console import Console
from sqlalchemy import update

from cluster.slots import Slots
from database import queries, write
from database.claims import STALE_SECONDS, LostClaimError
from database.live import Claimed, Retry
from jobs.asha import Contest
from jobs.holding import Claims
from jobs.home import Home
from jobs.loading import load
from jobs.outstanding import LookAgain
from jobs.pipeline import Match, execute_all
from jobs.progress import Board
from jobs.record import Recorder
from jobs.run_logs import LOG, RunLogs
from jobs.stopping import ask_to_stop
from jobs.telemetry import Telemetry
from jobs.training.steps import Progress, Step
from jobs.workplace import Work, Workplace

SMOKE = Path(__file__).parent.parent / "experiments" / "smoke.yaml"
PATIENCE = 30.0


def eventually(condition):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.02)


@pytest.fixture
def experiment():
    return load(SMOKE)


@pytest.fixture
def place(ledger, home, experiment):
    """A workplace with one processor, and nobody who answers a mailbox."""
    board = Board(Console(file=io.StringIO()))
    telemetry = Telemetry(ledger, experiment.name, board.say)
    place = Workplace(
        home=Home(home),
        recorder=Recorder(ledger, experiment, claims=telemetry.claims),
        board=board,
        mailbox=None,
        processors=Slots(1),
        gpus=None,
        telemetry=telemetry,
        logs=RunLogs(Home(home)),
    )
    place.recorder.begin(experiment.runs())
    return place


def begin(place, runs):
    """Execute runs in the background; what failed lands in the list."""
    failures = []
    works = [Work(run=run, benchmarks=()) for run in runs]
    thread = threading.Thread(
        target=lambda: failures.extend(execute_all(works, place)), daemon=True
    )
    thread.start()
    return thread, failures


def state(ledger, run):
    return next(one.state for one in queries.runs(ledger) if one.id == run.id)


def told_of(place, run):
    log = place.home.run(run.id) / LOG
    return log.read_text() if log.exists() else ""


def tuned(experiment):
    return next(run for run in experiment.runs() if run.training)


def test_a_run_that_another_driver_has_is_left_to_it_and_nothing_is_done_twice(
    ledger, place, experiment
):
    run, other = tuned(experiment), Claims(ledger, "e" * 32)
    assert other.take(run.id) is None

    thread, failures = begin(place, [run])
    eventually(lambda: "this one waits" in told_of(place, run))
    other.give_back(run.id)
    thread.join(PATIENCE)

    assert (thread.is_alive(), failures, place.spent) == (False, [], [])
    assert "another driver has done all of it" in told_of(place, run)


def test_a_run_that_was_stopped_is_taken_again_when_somebody_asks_for_it_meanwhile(
    ledger, place, experiment
):
    run, other = tuned(experiment), experiment.runs()[0]
    place = replace(place, look_again=LookAgain(experiment, ledger, place.home))
    with place.processors.take(1, rank=0):
        thread, _ = begin(place, [run])
        place.unfinished.add(other.id)  # something else is at work
        eventually(lambda: place.processors.waiting == 1)
        ask_to_stop(ledger, run.id, "ada")
        place.telemetry.look()
        eventually(lambda: state(ledger, run) == "stopped")
        assert place.ended == [run]

        write(ledger, [Retry(run=run.id, asked_by="ada")])
        place.telemetry.look()
        eventually(lambda: place.processors.waiting == 1)
        again = (state(ledger, run), list(place.ended), place.claims.take(run.id))
        ask_to_stop(ledger, run.id, "ada")
        place.telemetry.look()
        place.unfinished.discard(other.id)
        thread.join(PATIENCE)

    assert again == ("waiting", [], None)
    assert not thread.is_alive()
    assert state(ledger, run) == "stopped"


def test_a_driver_whose_run_was_taken_over_records_nothing_of_it_any_more(
    ledger, place, experiment
):
    run = tuned(experiment)
    place.claims.take(run.id)
    with ledger.begin() as connection:  # as if it had been frozen for so long
        silent = datetime.now(UTC) - timedelta(seconds=STALE_SECONDS + 1)
        connection.execute(update(Claimed).values(at=silent))
    assert Claims(ledger, "e" * 32).take(run.id) is None

    with pytest.raises(LostClaimError):
        place.recorder.state(run, "training")
    assert state(ledger, run) == "waiting"


def test_what_comes_late_of_a_run_that_was_lost_and_left_alone_is_not_recorded(
    ledger, place, experiment
):
    run = tuned(experiment)
    step = Step(step=1, loss=1.0, learning_rate=1e-4, gradient_norm=1.0, tokens=9, seconds=1.0)
    place.claims.take(run.id)
    place.claims.lose(run.id)
    place.claims.give_back(run.id)
    assert Claims(ledger, "e" * 32).take(run.id) is None

    place.recorder.steps([Progress(run_id=run.id, step=step, of=9)])
    with pytest.raises(LostClaimError):
        place.recorder.happened(run, "training", "worker 1 was lost")
    assert [told.last_step for told in queries.trainings(ledger)] == [0]


def test_a_run_of_a_sweep_that_is_stopped_while_another_driver_has_it_ends_alone(
    ledger, place, experiment
):
    first, second = sorted(experiment.runs(), key=lambda run: run.id)[:2]
    other = Claims(ledger, "e" * 32)
    other.take(first.id)
    other.take(second.id)
    works = tuple(Work(run=run, benchmarks=()) for run in (first, second))
    match = Match(contest=Contest(rule=None, runs=(first, second)), works=works)
    failures = []
    thread = threading.Thread(
        target=lambda: failures.extend(execute_all([], place, [match])), daemon=True
    )
    thread.start()
    eventually(lambda: "this one waits" in told_of(place, first))
    ask_to_stop(ledger, first.id, "ada")
    place.telemetry.look()
    eventually(lambda: "this one waits" in told_of(place, second))
    other.give_back(second.id)
    thread.join(PATIENCE)

    assert not thread.is_alive()
    assert (place.ended, failures, place.unfinished) == ([first], [], set())


def test_runs_that_are_known_keep_their_state_when_another_driver_begins(ledger, place, experiment):
    run = tuned(experiment)
    place.claims.take(run.id)
    place.recorder.state(run, "training")

    Recorder(ledger, experiment).begin(experiment.runs())

    assert state(ledger, run) == "training"
