"""Machines that are mere groups of processes: power and ports of their own."""

import shutil
import tempfile
from pathlib import Path

import plain_machines
import psutil
import pytest

COMMAND = ["sh", "-c", "sleep 1234 & sleep 1235; true"]


@pytest.fixture
def pair():
    folder = Path(tempfile.mkdtemp(prefix="p-", dir="/tmp"))
    with plain_machines.machines(folder) as network:
        yield network.add("one"), network.add("two")
    shutil.rmtree(folder)


def begun(machine):
    machine.spawn(COMMAND, machine.network.folder / f"{machine.name}.log")
    while len(found := machine.processes("sleep", "123")) < 3:
        pass
    return found


def lives(process):
    """The dead may wait long for somebody to bury them."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_power_loss_ends_everything_on_a_machine_and_nothing_on_others(pair):
    one, two = pair
    kept, lost = begun(one), begun(two)

    two.lose_power()

    assert not any(map(lives, lost))
    assert all(map(lives, kept))
    assert not two.is_on
    two.start()
    assert two.processes() == []
    assert len(begun(two)) == 3


def test_machines_take_ports_far_apart(pair):
    one, two = pair

    assert not set(one.ports.fixed) & set(two.ports.fixed)
    assert not set(range(*one.ports.workers)) & set(range(*two.ports.workers))
