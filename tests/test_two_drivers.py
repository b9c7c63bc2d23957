"""Two drivers on one cluster: no run is worked on twice, and a late one changes nothing."""

import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from plausible_rows import BASE, TUNED, base_run, tuned_run
from shared_cluster import SharedCluster
from sqlalchemy import func, select, update

from database import open_ledger
from database.claims import STALE_SECONDS, LostClaimError
from database.live import Claimed
from database.schema import Completion, Event, Run, Score, Verdict
from database.writing import write
from jobs import holding
from jobs.holding import Claims
from jobs.home import Home, written
from jobs.training.checkpoints import Checkpoints, newest
from jobs.training.fence import Fence, SupersededError
from jobs.training.peers import Peers
from jobs.training.settings import Spread
from jobs.training.steps import Step

ROOT = Path(__file__).parent.parent
PATIENCE_SECONDS = 420.0


@pytest.fixture
def recorded(ledger):
    write(ledger, [base_run(), tuned_run(state="training", finished_at=None)])
    return ledger


def test_of_two_drivers_one_has_a_run_and_the_other_hears_who(recorded):
    first, second = Claims(recorded, "1" * 32), Claims(recorded, "2" * 32)

    assert first.take(TUNED) is None
    assert second.take(TUNED).driver == "1" * 32
    assert second.take(BASE) is None
    first.give_back(TUNED)
    assert second.take(TUNED) is None
    assert second.was_anothers(TUNED)


def test_who_is_replaced_hears_of_it_at_its_next_beat_and_can_write_nothing(recorded):
    late, successor = Claims(recorded, "1" * 32), Claims(recorded, "2" * 32)
    late.take(TUNED)
    late.take(BASE)
    with recorded.begin() as connection:  # as if it had been frozen for so long
        silent = datetime.now(UTC) - timedelta(seconds=STALE_SECONDS + 1)
        connection.execute(update(Claimed).where(Claimed.run == TUNED).values(at=silent))

    assert successor.take(TUNED) is None
    with pytest.raises(LostClaimError):
        write(recorded, [Event(run=TUNED, kind="training", message="late")], late.of(TUNED))
    late.renew()

    assert late.lost(TUNED)
    assert not late.lost(BASE)
    with recorded.connect() as connection:
        assert connection.scalar(select(func.count()).select_from(Event)) == 0


def test_after_an_outage_nobody_is_replaced_before_it_had_the_time_to_renew(recorded, monkeypatch):
    now = 100.0
    monkeypatch.setattr(holding, "time", SimpleNamespace(monotonic=lambda: now))
    owner, waits = Claims(recorded, "1" * 32), Claims(recorded, "2" * 32)
    owner.take(TUNED)
    waits.renew()
    with recorded.begin() as connection:  # as after a database that was away for so long
        silent = datetime.now(UTC) - timedelta(seconds=STALE_SECONDS + 1)
        connection.execute(update(Claimed).values(at=silent))
    now += holding.AWAY_SECONDS + 1
    waits.renew()
    assert waits.take(TUNED).driver == "1" * 32

    for _ in range(4):
        now += holding.AWAY_SECONDS / 3
        waits.renew()
    assert waits.take(TUNED) is None


def test_no_two_attempts_have_the_same_name(recorded):
    first, second = Claims(recorded, "1" * 32), Claims(recorded, "2" * 32)
    names = []
    for claims in (first, second, first):
        claims.take(TUNED)
        names.append(claims.attempt(TUNED))
        claims.give_back(TUNED)

    assert len(set(names)) == 3


HOLDER = """
import sys, time
from pathlib import Path
import database.schema
from database import open_ledger
from database.live import Driver
from database.writing import write
from jobs.holding import Claims
from jobs.home import Home
import socket
ledger, driver = open_ledger(), "d" * 32
write(ledger, [Driver(id=driver, experiment="theirs", host=socket.gethostname(), process=1,
                      cluster="")])
claims = Claims(ledger, driver)
with claims.alive(Home(Path(sys.argv[1]))):
    claims.take(sys.argv[2])
    print("holds", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def holder(home):
    """Another driver of this home, a process, that has a run."""
    home.mkdir()
    ledger = open_ledger()
    write(ledger, [tuned_run(state="training", finished_at=None), base_run()])
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(home), TUNED],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "holds\n"
    yield process, Claims(ledger, "e" * 32)
    process.kill()
    process.wait()
    process.stdout.close()
    ledger.dispose()


def test_the_run_of_a_driver_that_was_killed_here_is_free_at_once(holder, home):
    process, claims = holder
    with claims.alive(Home(home)):
        assert claims.take(TUNED).experiment == "theirs"
        process.kill()
        process.wait()

        assert claims.take(TUNED) is None


def test_a_driver_that_is_frozen_is_not_taken_for_dead(holder, home):
    process, claims = holder
    process.send_signal(signal.SIGSTOP)
    with claims.alive(Home(home)):
        assert claims.take(TUNED).driver == "d" * 32
    process.send_signal(signal.SIGCONT)


def test_what_a_driver_still_holds_at_its_end_is_given_back(recorded, tmp_path):
    first, second = Claims(recorded, "1" * 32), Claims(recorded, "2" * 32)
    with first.alive(Home(tmp_path)):
        first.take(TUNED)
        assert second.take(TUNED) is not None

    assert second.take(TUNED) is None


def test_of_two_that_write_an_outcome_the_first_stays(tmp_path):
    path = tmp_path / "answers.jsonl"
    with written(path, first=True) as late:
        with written(path, first=True) as early:
            early.write_text("early")
        late.write_text("late")

    assert path.read_text() == "early"
    assert list(tmp_path.iterdir()) == [path]


def step(number):
    return Step(step=number, loss=1.0, learning_rate=0.1, gradient_norm=1, tokens=5, seconds=1)


def test_workers_of_an_earlier_start_write_no_checkpoint_any_more(tmp_path):
    def started(fence):
        return Checkpoints(
            folder=tmp_path / "attempts",
            identity={},
            spread=Spread(strategy="single", ranks=1),
            peers=Peers(),
            fence=fence,
        )

    weights = {"w": torch.ones(2)}
    fence = Fence(tmp_path, "driver").begin()
    late = started(fence)
    late.save([step(1)], weights, weights, None)
    following = started(fence.begin())
    draft = following.folder / "step-00000002.draft-of-the-next"
    draft.mkdir()

    with pytest.raises(SupersededError, match="was started again, as driver-"):
        late.save([step(1), step(2)], weights, weights, None)
    assert {path.name for path in late.folder.iterdir()} == {"step-00000001", draft.name}
    following.save([step(1), step(2)], weights, weights, None)
    assert newest(following.folder) == 2


def test_a_late_driver_does_not_start_workers_that_keep_out_those_of_the_next(tmp_path):
    late = Fence(tmp_path, "first").begin()
    following = Fence(tmp_path, "second").begin()

    with pytest.raises(SupersededError, match="as second-"):
        late.begin()
    following.require()


def test_a_fence_lets_everybody_through_where_there_can_be_no_other(tmp_path):
    Fence(tmp_path).begin()

    Fence(tmp_path).require()
    Fence(tmp_path / "elsewhere", start="second").require()


EXPERIMENT = """
models:
  starter-falcon: {{path: models/starter/falcon}}
datasets: [smoke]
methods:
  {method}: {{kind: lora, rank: {rank}, learning_rate: 4.0e-3, steps: {steps}, batch_size: 8,
              max_length: 256, precision: fp32, checkpoint_every: 5}}
benchmarks:
  starter: {{problems: 12, completions: 2, temperature: 0.2, max_new_tokens: 48, report: [1]}}
"""


@pytest.fixture
def cluster():
    with SharedCluster(gpus=2, cpus=4) as cluster:
        yield cluster


def experiment(folder, name, rank, steps=20):
    path = folder / f"{name}.yaml"
    path.write_text(EXPERIMENT.format(method=f"lora-r{rank}", rank=rank, steps=steps))
    return path


def wait_for(condition, *drivers):
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert all(driver.poll() is None for driver in drivers), "a driver ended before"
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.1)


def said(home, name):
    return (home / f"{name}.out").read_text()


def counts(home):
    """How many rows there are of what must be there once."""
    ledger = open_ledger(f"sqlite:///{home}/ledger.db")
    with ledger.connect() as connection:
        found = {
            table.__tablename__: connection.scalar(select(func.count()).select_from(table))
            for table in (Completion, Verdict, Score)
        }
        found["states"] = sorted(connection.scalars(select(Run.state)))
    ledger.dispose()
    return found


def begun(home, run, stage):
    return (home / run / "log.txt").read_text().count(f"{stage} begins")


def taken_over(home):
    ledger = open_ledger(f"sqlite:///{home}/ledger.db")
    with ledger.connect() as connection:
        found = connection.scalar(select(func.max(Claimed.attempt)))
    ledger.dispose()
    return found > 1


def base_of(home):
    ledger = open_ledger(f"sqlite:///{home}/ledger.db")
    with ledger.connect() as connection:
        found = connection.scalar(select(Run.id).where(Run.kind == "base"))
    ledger.dispose()
    return found


@pytest.mark.slow
def test_two_experiments_at_once_share_a_cluster_and_ask_their_base_once(cluster, tmp_path):
    home = tmp_path / "shared"
    one, two = experiment(tmp_path, "one", 4), experiment(tmp_path, "two", 8)

    drivers = [cluster.driver(home, path) for path in (one, two)]
    ended = [driver.wait(PATIENCE_SECONDS) for driver in drivers]

    assert ended == [0, 0], said(home, "one") + said(home, "two")
    assert counts(home) == {
        "completions": 3 * 12 * 2,
        "verdicts": 3 * 12 * 2,
        "scores": 3,
        "states": ["done"] * 3,
    }
    assert begun(home, base_of(home), "generating starter") == 1
    assert begun(home, base_of(home), "judging starter") == 1


@pytest.mark.slow
def test_a_driver_takes_over_what_another_had_claimed_that_was_killed(cluster, tmp_path):
    home, path = tmp_path / "shared", experiment(tmp_path, "one", 4, steps=60)
    first = cluster.driver(home, path)
    wait_for(lambda: list(home.glob("*/attempts/step-*5")), first)
    second = cluster.driver(home, path)
    wait_for(lambda: "this one waits" in said(home, "one"), first, second)

    first.kill()

    assert second.wait(PATIENCE_SECONDS) == 0, said(home, "one")
    assert counts(home)["states"] == ["done"] * 2
    assert counts(home)["completions"] == 2 * 12 * 2


@pytest.mark.slow
def test_a_driver_that_was_frozen_is_replaced_and_changes_nothing_when_it_is_back(
    cluster, tmp_path
):
    home, path = tmp_path / "shared", experiment(tmp_path, "one", 4, steps=60)
    first = cluster.driver(home, path)
    wait_for(lambda: list(home.glob("*/attempts/step-*5")), first)
    second = cluster.driver(home, path)
    wait_for(lambda: "this one waits" in said(home, "one"), first, second)
    first.send_signal(signal.SIGSTOP)
    wait_for(lambda: taken_over(home), second)

    first.send_signal(signal.SIGCONT)
    ended = [driver.wait(PATIENCE_SECONDS) for driver in (second, first)]

    assert ended == [0, 0], said(home, "one")
    assert "another driver has taken it over" in said(home, "one")
    assert counts(home)["states"] == ["done"] * 2
    assert counts(home)["completions"] == 2 * 12 * 2
    assert list((home / "drivers").iterdir()) == []


@pytest.mark.slow
def test_a_driver_that_is_told_to_end_takes_that_for_no_failure_and_gives_its_runs_back(
    cluster, tmp_path
):
    home, path = tmp_path / "shared", experiment(tmp_path, "one", 4, steps=60)
    driver = cluster.driver(home, path)
    wait_for(lambda: list(home.glob("*/attempts/step-*5")), driver)

    driver.terminate()
    assert driver.wait(PATIENCE_SECONDS) == 128 + signal.SIGTERM, said(home, "one")

    ledger = open_ledger(f"sqlite:///{home}/ledger.db")
    with ledger.connect() as connection:
        failed = connection.scalars(select(Event.message).where(Event.kind == "failed")).all()
        claimed = connection.scalar(
            select(func.count()).select_from(Claimed).where(Claimed.released_at.is_(None))
        )
    ledger.dispose()
    assert failed == []
    assert claimed == 0
