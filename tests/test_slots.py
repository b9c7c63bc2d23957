"""Processors are handed out in order, and a gang is never overtaken."""

import threading
import time

import pytest

from cluster.ending import UnwantedError
from cluster.slots import Slots

PATIENCE = 10.0


def eventually(condition):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.005)


def start(slots, name, count, priority, log, release):
    def work():
        with slots.take(count, priority=priority):
            log.append(name)
            release.wait(PATIENCE)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def test_never_more_are_taken_than_there_are():
    slots, taken, most, lock = Slots(3), [0], [0], threading.Lock()

    def work(count):
        for _ in range(50):
            with slots.take(count, priority=0):
                with lock:
                    taken[0] += count
                    most[0] = max(most[0], taken[0])
                with lock:
                    taken[0] -= count

    threads = [threading.Thread(target=work, args=(1 + n % 3,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)

    assert not any(thread.is_alive() for thread in threads)
    assert most[0] <= 3


def test_a_waiting_gang_is_not_overtaken_by_single_workers_that_would_fit():
    slots, log = Slots(2), []
    first, rest = threading.Event(), threading.Event()
    start(slots, "single", 1, 0, log, first)
    eventually(lambda: log == ["single"])
    start(slots, "gang", 2, 1, log, rest)
    eventually(lambda: len(slots._waiting) == 1)
    start(slots, "late single", 1, 2, log, rest)
    eventually(lambda: len(slots._waiting) == 2)

    first.set()
    eventually(lambda: "gang" in log)
    order_while_gang_holds = list(log)
    rest.set()
    eventually(lambda: len(log) == 3)

    assert order_while_gang_holds == ["single", "gang"]


def test_the_lowest_priority_goes_first_whoever_came_first():
    slots, log, held, rest = Slots(1), [], threading.Event(), threading.Event()
    start(slots, "holder", 1, 0, log, held)
    eventually(lambda: log == ["holder"])
    for name, priority in (("low", 5), ("high", 1)):
        start(slots, name, 1, priority, log, rest)
    eventually(lambda: len(slots._waiting) == 2)

    rest.set()
    held.set()
    eventually(lambda: len(log) == 3)

    assert log == ["holder", "high", "low"]


def test_who_is_not_wanted_any_more_leaves_the_line_and_holds_up_nobody():
    slots, log, held, ended = Slots(2), [], threading.Event(), threading.Event()
    start(slots, "holder", 1, 0, log, held)
    eventually(lambda: log == ["holder"])
    with pytest.raises(UnwantedError), slots.take(2, priority=1, unwanted=lambda: True):
        log.append("first in line")
    start(slots, "next", 1, 2, log, ended)

    eventually(lambda: log == ["holder", "next"])
    held.set()
    ended.set()


def test_who_can_begin_with_fewer_takes_what_is_free_and_gives_as_many_back():
    slots = Slots(4)

    with slots.take(3, priority=0), slots.take(4, priority=0, least=1) as held:
        assert held == 1
    with slots.take(2, priority=0, least=1) as held:
        assert held == 2
    with slots.take(4, priority=0) as held:
        assert held == 4


def test_asking_for_more_than_there_is_fails_at_once():
    with (
        pytest.raises(ValueError, match="3 slots asked for, but there are 2"),
        Slots(2).take(3, priority=0),
    ):
        pass


def test_slots_come_back_when_the_work_fails():
    slots = Slots(1)
    with pytest.raises(KeyError), slots.take(1, priority=0):
        raise KeyError

    with slots.take(1, priority=0):
        pass
