"""Reading logs of runs: the last lines, what is added, and until when."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from plausible_rows import BASE, TUNED, base_run, tuned_run

from database import open_ledger, write
from database.clock import moment
from database.live import Driver
from database.schema import Event, Experiment
from jobs.__main__ import main
from jobs.home import Home
from jobs.logs import _Followed
from jobs.run_logs import BYTES_AT_MOST, LOG, RunLogs

ROOT = Path(__file__).parent.parent
PATIENCE = 60.0


@pytest.fixture
def own(home):
    """A ledger of this home with a run that trains and one that is done."""
    home.mkdir()
    ledger = open_ledger()
    write(
        ledger,
        [
            base_run(label="as it came"),
            tuned_run(state="training", finished_at=None, label="tuned"),
            Experiment(name="mine", text="", runs=[BASE, TUNED]),
        ],
    )
    yield ledger
    ledger.dispose()


@pytest.fixture
def logs(own, home):
    return RunLogs(Home(home))


class Follower:
    """`jobs logs -f` as people start it."""

    def __init__(self, name, home):
        command = [sys.executable, "-m", "jobs", "logs", "-f", name]
        environment = os.environ | {"CODELADDER_HOME": str(home), "PYTHONUNBUFFERED": "1"}
        self.out = home / "followed"
        with self.out.open("w") as out:
            self.process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=out)

    def wait_for(self, text):
        deadline = time.monotonic() + PATIENCE
        while text not in self.out.read_text():
            assert time.monotonic() < deadline, self.out.read_text()[-2000:]
            time.sleep(0.05)

    def end(self):
        status = self.process.wait(PATIENCE)
        return status, self.out.read_text()


def finish(ledger, state, why=""):
    rows = [tuned_run(state=state, label="tuned")]
    write(ledger, [*rows, *([Event(run=TUNED, kind=state, message=why)] if why else [])])


def test_the_last_lines_of_a_run_are_printed(logs, capsys):
    for number in range(5):
        logs.say(TUNED, f"line {number}")

    assert main(["logs", TUNED, "--lines", "2"]) == 0
    assert [line.split()[-1] for line in capsys.readouterr().out.splitlines()] == ["3", "4"]


def test_of_an_experiment_each_line_says_whose_it_is(logs, capsys):
    logs.say(BASE, "asked")
    logs.say(TUNED, "trained")

    assert main(["logs", "mine"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert [(line.split(": ")[0], line.split()[-1]) for line in said] == [
        ("as it came", "asked"),
        ("tuned", "trained"),
    ]


def test_a_run_without_a_log_here_is_a_mistake_with_its_reason(own, capsys):
    assert main(["logs", TUNED]) == 2
    assert "has no log in" in capsys.readouterr().err


def test_a_log_that_is_cut_before_anything_is_shown_goes_on_where_it_was(logs, home):
    path = home / TUNED / LOG
    long = "x" * 1000
    for number in range(BYTES_AT_MOST // 1030):
        logs.say(TUNED, f"{number:05} {long}")
    followed = _Followed(path, "")
    assert followed.skip(0) == ""
    logs.say(TUNED, "a" * 30_000)
    logs.say(TUNED, "\x1b[2Jthe end")
    said = followed.new()

    assert "... what is older is not kept" in path.read_text()
    assert [len(line) > 20_000 for line in said.splitlines()] == [True, False]
    assert said.endswith("\ufffd[2Jthe end\n")


@pytest.mark.slow
def test_a_result_of_before_does_not_end_what_follows_a_driver_at_work(own, logs, home):
    finish(own, "failed", "GangError: lost")
    now = moment(own)
    driver = {"id": "d" * 32, "experiment": "mine", "host": "node-7", "process": 4, "cluster": "c"}
    write(own, [Driver(**driver, started_at=now, at=now)])
    logs.say(TUNED, "it begins again")
    follower = Follower("mine", home)
    follower.wait_for("it begins again")
    finish(own, "done")
    write(own, [Driver(**driver, started_at=now, at=now, ended_at=now)])
    status, _ = follower.end()

    assert status == 0


@pytest.mark.slow
def test_a_log_is_followed_across_a_cut_and_drivers_until_the_run_is_over(own, logs, home):
    logs.say(TUNED, "the beginning")
    follower = Follower(TUNED, home)
    follower.wait_for("No driver is working on it")
    long = "x" * 1000
    for number in range(3 * BYTES_AT_MOST // 1000 // 2):
        logs.say(TUNED, f"{number:05} {long}")
        if number % 300 == 0:  # half of a log may be cut away; who follows is never so far behind
            follower.wait_for(f" {number:05} ")
    logs.say(TUNED, "the end")
    follower.wait_for("the end")
    finish(own, "done")
    status, said = follower.end()

    numbers = [line.split()[2] for line in said.splitlines() if line.endswith(long)]
    assert status == 0
    assert numbers == [f"{number:05}" for number in range(len(numbers))]
    assert len(numbers) == 3 * BYTES_AT_MOST // 1000 // 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("state", "why", "expected"),
    [("failed", "GangError: lost", 1), ("stopped", "stopped by ada at 07:41:05 UTC", 3)],
)
def test_who_follows_a_run_ends_as_it_does(own, logs, home, state, why, expected):
    logs.say(TUNED, "the beginning")
    follower = Follower(TUNED, home)
    follower.wait_for("the beginning")
    finish(own, state, why)

    assert follower.end()[0] == expected
