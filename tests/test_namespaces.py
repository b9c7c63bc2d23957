"""Machines of namespaces: they see each other and one folder, until something is taken away."""

import shutil
import tempfile
from pathlib import Path

import namespaces
import pytest

pytestmark = pytest.mark.skipif(bool(namespaces.missing()), reason=namespaces.missing() or "-")

REACH = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], 9), 1)
except ConnectionRefusedError:
    print("there")
except OSError:
    print("silence")
"""


@pytest.fixture
def pair():
    folder = Path(tempfile.mkdtemp(prefix="m-", dir="/tmp"))
    with namespaces.machines(folder, shared_mib=16) as network:
        yield network.add("one"), network.add("two")
    shutil.rmtree(folder)


def reached(machine, name):
    return machine.run("python3", "-c", REACH, name).strip()


def test_a_cut_machine_hears_nothing_until_it_is_healed(pair):
    one, two = pair

    assert reached(one, "two") == "there"
    two.cut()
    assert reached(one, "two") == "silence"
    two.heal()
    assert reached(one, "two") == "there"


def test_power_loss_ends_everything_on_a_machine_and_nothing_on_others(pair, tmp_path):
    one, two = pair
    for machine in pair:
        machine.spawn(["sleep", "1234"], tmp_path / machine.name)
    while not (one.processes("1234") and two.processes("1234")):
        pass

    lost = two.processes("1234")

    two.lose_power()
    assert [process.is_running() for process in lost] == [False] * len(lost)
    assert one.processes("1234")
    two.start()
    assert two.run("hostname").strip() == "two"
    assert not two.processes("1234")


def test_the_shared_folder_goes_away_and_comes_back_with_what_was_in_it(pair):
    one, two = pair
    note = one.network.shared / "note"

    one.run("sh", "-c", f"echo kept > {note}")
    assert two.run("cat", str(note)) == "kept\n"
    one.network.hide()
    assert two.run("sh", "-c", f"touch {note} 2>&1 || echo refused").endswith("refused\n")
    one.network.show()
    assert two.run("cat", str(note)) == "kept\n"
