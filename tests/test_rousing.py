"""A gang finds its places where Ray's control store has taken them for reserved."""

import shutil
import sys
import tempfile
import time
from pathlib import Path

import pytest
from namespaces import ROOT, missing
from ray_nodes import Size, ray_nodes

SIZES = {"head": Size(0), "driver": Size(2), "gpu-1": Size(1, 1), "gpu-2": Size(1, 1)}
DRIVER = """
import sys, threading, time
from pathlib import Path
import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from cluster.gang import Gang, _waits, run_gang

address, there, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3])
ray.init(address, log_to_driver=False)
(busy,) = (node["NodeID"] for node in ray.nodes() if node["NodeManagerAddress"] == there)

@ray.remote(num_gpus=1, scheduling_strategy=NodeAffinitySchedulingStrategy(busy, soft=False))
class Holder:
    def hold(self):
        pass

holder = Holder.remote()
ray.get(holder.hold.remote())

def let_go():
    while not _waits("late"):
        time.sleep(0.1)
    (folder / "waits").touch()
    while not (folder / "cut").exists():
        time.sleep(0.02)
    ray.kill(holder)

threading.Thread(target=let_go, daemon=True).start()
run_gang(print, None, Gang(workers=2, gpus=True, cuda=False), storage=folder / "ray", name="late")
print("done")
"""


@pytest.fixture
def folder():
    """Near the root: paths of sockets have a limit."""
    found = Path(tempfile.mkdtemp(prefix="r-", dir="/tmp"))
    yield found
    shutil.rmtree(found)


@pytest.mark.slow
@pytest.mark.skipif(bool(missing()), reason=f"no namespaces: {missing()}")
def test_places_that_were_refused_for_a_moment_are_found(folder):
    with ray_nodes(folder, SIZES) as nodes:
        network, head = nodes.network, nodes.head
        cut, busy = (network.all[name] for name in ("gpu-1", "gpu-2"))
        program = [sys.executable, "-c", DRIVER, nodes.address, busy.address, str(network.shared)]
        driver = network.all["driver"].spawn(program, folder / "out", {"PYTHONPATH": str(ROOT)})
        wait_for(network.seen / "waits")

        # What the store says to this node is refused while the other gets free, and for less time
        # than after which it is taken for dead.
        head.run("ip", "route", "add", "unreachable", cut.address)
        head.run("ss", "-K", "dst", cut.address, "dport", "=", str(cut.ports.raylet))
        (network.seen / "cut").touch()
        time.sleep(6)
        head.run("ip", "route", "del", "unreachable", cut.address)

        assert driver.wait(180) == 0, (folder / "out").read_text()


def wait_for(path):
    deadline = time.monotonic() + 120
    while not path.exists():
        assert time.monotonic() < deadline, f"no {path.name}"
        time.sleep(0.1)
