"""Processors are handed out in order, and a gang is never overtaken to its harm."""

import threading
import time

import pytest

from cluster.ending import UnwantedError
from cluster.line import Held
from cluster.nodes import Machine
from cluster.slots import Share, Slots, gpus_of, processors_of

PATIENCE = 10.0


def eventually(condition):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.005)


def start(slots, name, count, rank, log, release):
    def work():
        with slots.take(count, rank=rank):
            log.append(name)
            release.wait(PATIENCE)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def test_never_more_are_taken_than_there_are():
    slots, taken, most, lock = Slots(3), [0], [0], threading.Lock()

    def work(count):
        for _ in range(50):
            with slots.take(count, rank=0):
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
    eventually(lambda: slots.waiting == 1)
    start(slots, "late single", 1, 2, log, rest)
    eventually(lambda: slots.waiting == 2)

    first.set()
    eventually(lambda: "gang" in log)
    order_while_gang_holds = list(log)
    rest.set()
    eventually(lambda: len(log) == 3)

    assert order_while_gang_holds == ["single", "gang"]


def test_the_lowest_rank_goes_first_whoever_came_first():
    slots, log, held, rest = Slots(1), [], threading.Event(), threading.Event()
    start(slots, "holder", 1, 0, log, held)
    eventually(lambda: log == ["holder"])
    for name, rank in (("late", 5), ("early", 1)):
        start(slots, name, 1, rank, log, rest)
    eventually(lambda: slots.waiting == 2)

    rest.set()
    held.set()
    eventually(lambda: len(log) == 3)

    assert log == ["holder", "early", "late"]


def test_who_is_not_wanted_any_more_leaves_the_line_and_holds_up_nobody():
    slots, log, held, ended = Slots(2), [], threading.Event(), threading.Event()
    start(slots, "holder", 1, 0, log, held)
    eventually(lambda: log == ["holder"])
    with pytest.raises(UnwantedError), slots.take(2, rank=1, unwanted=lambda: True):
        log.append("first in line")
    start(slots, "next", 1, 2, log, ended)

    eventually(lambda: log == ["holder", "next"])
    held.set()
    ended.set()


def test_who_can_begin_with_fewer_takes_what_is_free_and_gives_as_many_back():
    slots = Slots(4)

    with slots.take(3, rank=0), slots.take(4, rank=0, least=1) as held:
        assert held == Held(1)
    with slots.take(2, rank=0, least=1) as held:
        assert held == Held(2)
    with slots.take(4, rank=0) as held:
        assert held == Held(4)


def test_asking_for_more_than_there_is_fails_at_once():
    with (
        pytest.raises(ValueError, match="3 slots asked for, but there are 2"),
        Slots(2).take(3, rank=0),
    ):
        pass


def test_asking_for_more_than_the_experiment_may_hold_fails_at_once():
    slots = Slots(4, Share(limit=2))

    with (
        pytest.raises(ValueError, match="3 slots asked for, but the experiment may hold 2"),
        slots.take(3, rank=0),
    ):
        pass


def test_slots_come_back_when_the_work_fails():
    slots = Slots(1)
    with pytest.raises(KeyError), slots.take(1, rank=0):
        raise KeyError

    with slots.take(1, rank=0):
        pass


def test_work_is_told_of_which_kind_its_slots_are():
    slots = Slots({"A100": 2, "H100": 4}, Share(kind="A100"))

    with slots.take(2, rank=0) as held:
        assert held == Held(2, "A100")
    assert slots.total == 2


def machine(name, cpus, gpus, kind="", alive=True):
    return Machine(
        id=name, name=name, alive=alive, cpus=cpus, cpus_used=0, gpus=gpus, gpus_used=0,
        gpu_kind=kind,
    )  # fmt: skip


def test_gpus_are_counted_by_kind_on_machines_that_are_alive():
    there = [machine("a", 8, 4, "A100"), machine("b", 8, 8, "H100"), machine("c", 8, 8, "H100")]
    gone = machine("d", 8, 8, "H100", alive=False)

    assert gpus_of([*there, gone]) == {"A100": 4, "H100": 16}


def test_a_node_of_which_ray_does_not_know_the_kind_changes_nothing_of_the_others():
    assert gpus_of([machine("a", 8, 4, "A100"), machine("b", 8, 2)]) == {"A100": 4, "": 2}


def test_a_processor_is_left_for_each_gpu_so_that_its_worker_has_one():
    assert processors_of([machine("a", 8, 2), machine("b", 4, 0)]) == {"": 10}
    assert processors_of([machine("a", 2, 4)]) == {"": 1}
    assert processors_of([machine("a", 2, 4), machine("b", 8, 1)]) == {"": 7}
