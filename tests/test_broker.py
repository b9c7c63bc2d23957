"""Drivers share slots through one actor, and whoever is lost is replaced."""

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from cluster.broker import GPUS, LEASE_SECONDS, PROCESSORS, SETTLE_SECONDS, Desk, State
from cluster.ending import UnwantedError
from cluster.line import Held, Request
from cluster.session import connect
from cluster.slots import Share

ROOT = Path(__file__).parent.parent
PATIENCE = 30.0


def eventually(condition):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.02)


def wants(count):
    return PROCESSORS, Request(count=count, least=count), 0.0


def holds(count):
    return PROCESSORS, Request(count=count, least=count), Held(count)


@pytest.fixture
def desk():
    desk = Desk(now=-SETTLE_SECONDS)
    desk.resize({GPUS: {}, PROCESSORS: {"": 4}})
    return desk


def test_two_drivers_never_hold_more_than_there_is(desk):
    first = desk.exchange("a", State(waiting={0: wants(3)}), now=0)
    second = desk.exchange("b", State(waiting={0: wants(2)}), now=0)

    assert first.begin == {0: Held(3)}
    assert second.begin == {}
    desk.exchange("a", State(), now=1)
    assert desk.exchange("b", State(waiting={0: wants(2)}), now=1).begin == {0: Held(2)}


def test_an_answer_that_was_lost_is_given_again(desk):
    desk.exchange("a", State(waiting={0: wants(3)}), now=0)

    assert desk.exchange("a", State(waiting={0: wants(3)}), now=1).begin == {0: Held(3)}


def test_what_a_driver_holds_that_is_not_heard_of_comes_free(desk):
    desk.exchange("a", State(waiting={0: wants(4)}), now=0)
    waiting = State(waiting={0: wants(4)})

    assert desk.exchange("b", waiting, now=LEASE_SECONDS - 1).begin == {}
    assert desk.exchange("b", waiting, now=LEASE_SECONDS + 1).begin == {0: Held(4)}


def test_a_driver_that_was_only_slow_keeps_what_it_holds_and_nobody_gets_it_meanwhile(desk):
    desk.exchange("a", State(holding={0: holds(3)}), now=0)
    desk.exchange("b", State(), now=LEASE_SECONDS + 1)
    desk.exchange("a", State(holding={0: holds(3)}), now=LEASE_SECONDS + 2)

    waiting = State(waiting={0: wants(2)})
    assert desk.exchange("b", waiting, now=LEASE_SECONDS + 2).begin == {}


def test_a_new_desk_lets_nobody_begin_before_it_was_told_what_is_held():
    desk = Desk(now=0)
    desk.resize({GPUS: {}, PROCESSORS: {"": 4}})

    assert desk.exchange("b", State(waiting={0: wants(2)}), now=0.1).begin == {}
    desk.exchange("a", State(holding={7: holds(3)}), now=0.2)
    late = desk.exchange("b", State(waiting={0: wants(2)}), now=SETTLE_SECONDS + 1)

    assert late.begin == {}


def test_after_a_loss_who_waited_longest_is_first_again():
    desk = Desk(now=-SETTLE_SECONDS)
    desk.resize({GPUS: {}, PROCESSORS: {"": 1}})
    one = Request(count=1, least=1, experiment="young")
    other = Request(count=1, least=1, experiment="old")
    desk.exchange("holder", State(holding={0: holds(1)}), now=0)
    desk.exchange("a", State(waiting={0: (PROCESSORS, one, 5.0)}), now=0)
    desk.exchange("b", State(waiting={0: (PROCESSORS, other, 50.0)}), now=0)
    desk.exchange("holder", State(), now=1)

    assert desk.exchange("a", State(waiting={0: (PROCESSORS, one, 6.0)}), now=1).begin == {}


OTHER = """
import os, sys, threading
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from cluster.session import connect
from cluster.slots import Share
with connect(Path(sys.argv[2])):
    from cluster.broker import sharing
    with sharing("other", Share(experiment="other"), Share(experiment="other")) as broker:
        with broker.processors.take(broker.processors.total, rank=0):
            print("holds", flush=True)
            sys.stdin.readline()
"""


@pytest.fixture(scope="module")
def joined(tmp_path_factory):
    """A cluster, and how another driver joins it."""
    with (
        connect(tmp_path_factory.mktemp("home")) as cluster,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("RAY_ADDRESS", cluster.address)
        patch.setenv("RAY_AUTH_TOKEN_PATH", str(cluster.token_path))

        def other():
            home = tmp_path_factory.mktemp("other")
            return subprocess.Popen(
                [sys.executable, "-c", OTHER, str(ROOT), str(home)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )

        yield other


def test_a_driver_that_is_killed_gives_way_and_so_does_the_actor_that_it_made(joined):
    from cluster.broker import sharing

    other = joined()
    assert other.stdout.readline() == "holds\n"
    mine, log = Share(experiment="mine"), []

    with sharing("mine", mine, mine) as broker:

        def work():
            with broker.processors.take(1, rank=0):
                log.append("began")

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        time.sleep(2)
        while_other_holds = list(log)
        other.kill()  # and with it the actor, which it had made
        other.communicate()
        thread.join(PATIENCE)

    assert while_other_holds == []
    assert log == ["began"]


def test_work_wider_than_the_cluster_says_so_and_can_be_stopped_while_it_waits(joined):
    from cluster.broker import sharing

    said = []
    share = Share(experiment="mine")
    with sharing("wide", share, share) as broker, pytest.raises(UnwantedError):
        total = broker.processors.total
        with broker.processors.take(
            total + 1, rank=0, unwanted=lambda: bool(said), told=said.append
        ):
            pass

    assert said == [f"waits for {total + 1} processors: the cluster has {total} now"]
