"""Each fault once, on real machines: what is left is what an undisturbed experiment leaves.

Where there can be no namespaces, machines are plain, and do what those can.
The whole table, each fault several times, is `benchmarks/faults.py`.
"""

import shutil
import tempfile
from pathlib import Path

import namespaces
import pytest
from experiment_under_faults import CHECKPOINT_EVERY, Trial
from faults import FAULTS, difference, once
from ray_nodes import SIZES, ray_nodes

MISSING = namespaces.missing()
APART = pytest.mark.skipif(bool(MISSING), reason=MISSING or "-")
DOCUMENT = Path(__file__).parent.parent / "docs" / "faults.md"
BUSY = 3.0
"""Tests run on busy machines: so many times the bound is still no failure."""


@pytest.fixture(scope="module")
def nodes():
    folder = Path(tempfile.mkdtemp(prefix="f-", dir="/tmp"))
    with ray_nodes(folder, SIZES, plain=bool(MISSING)) as nodes:
        yield nodes
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def undisturbed(nodes):
    trial = Trial(nodes, nodes.network.all["driver"], "undisturbed")
    trial.begin()
    trial.succeed()
    return trial


def test_the_document_states_the_bound_of_every_fault():
    lines = DOCUMENT.read_text().splitlines()

    for fault in FAULTS.values():
        assert f"| {fault.name} | {fault.seconds:.0f} |" in lines


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=APART if fault.apart else ()) for name, fault in FAULTS.items()],
)
def test_nothing_is_lost_repeated_or_changed_by_a_fault(nodes, undisturbed, name):
    fault = FAULTS[name]

    measured = once(nodes, undisturbed, fault)

    assert measured.resumed <= BUSY * fault.seconds


@pytest.mark.slow
@APART
def test_work_goes_on_while_a_head_restarts_that_keeps_its_memory_on_a_disk(undisturbed):
    folder = Path(tempfile.mkdtemp(prefix="f-", dir="/tmp"))
    gcs = folder / "gcs"
    gcs.mkdir()
    with ray_nodes(folder, SIZES, gcs_folder=gcs) as nodes:
        trial = Trial(nodes, nodes.network.all["driver"], "rocksdb")
        shutil.copytree(undisturbed.seen / "data", trial.seen / "data")
        trial.begin()
        trial.until_step(CHECKPOINT_EVERY)
        nodes.head.lose_power()
        nodes.head.start()
        nodes.keep(nodes.head)

        trial.succeed()
        assert trial.drivers == 1
        assert difference(undisturbed.left(), trial.left()) == ""
    shutil.rmtree(folder)
