"""What is done to the machines of a `Trial`, and the moments at which it is done.

Processes are killed and frozen, cables pulled, disks filled, the head and the database stopped.
Nothing of ours is replaced or told that it is tested.
"""

import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
from experiment_under_faults import Line, Trial
from namespaces import Machine
from ray_nodes import RayNodes

EARLY = 10
"""A step between two checkpoints, the first of them done."""
BACK_SECONDS = 120.0
TRAINS = "ray::RayTrainWorker"
ASKS = "ray::AskActor"
JUDGES = "ray::JudgeActor"
AWAY_SECONDS = 20.0
"""For which a folder hangs, or a database is stopped."""
UNREACHABLE_SECONDS = 60.0
"""For which a database answers nobody."""


def nothing(trial: Trial) -> None:
    """Nobody has to help."""


def in_training(trial: Trial) -> Line:
    """Between two checkpoints of the training."""
    return trial.until_step(EARLY)


def until(text: str, trial: Trial) -> Line:
    """The first line of a run's log that has this."""
    return trial.until(text)


def in_judging(trial: Trial) -> Line:
    """While answers of the tuned model are judged."""
    line = trial.until("judging starter begins")
    _process(trial, JUDGES)
    return line


def in_asking(trial: Trial) -> Line:
    """While a model is asked."""
    line = trial.until("generating starter begins")
    _process(trial, ASKS)
    return line


def _process(trial: Trial, *words: str) -> tuple[Machine, psutil.Process]:
    """A process on a machine other than the driver's, where there is one."""
    others = [one for one in trial.nodes.network.all.values() if one is not trial.driver]
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        for machine in (*others, trial.driver):
            if found := machine.processes(*words):
                return machine, found[0]
        time.sleep(0.02)
    raise AssertionError(f"no process {words}: {trial.said()}")


def send(*words: str, number: signal.Signals = signal.SIGKILL) -> Callable[[Trial], None]:
    """A signal to a process with these words in its command line."""

    def act(trial: Trial) -> None:
        _process(trial, *words)[1].send_signal(number)

    return act


def kill_raylet(trial: Trial) -> None:
    """Of a machine that trains; its supervisor starts Ray again."""
    machine, _ = _process(trial, TRAINS)
    (raylet,) = [one for one in machine.processes("raylet") if one.name() == "raylet"]
    raylet.kill()


def cut(trial: Trial) -> None:
    """The network of a machine that trains."""
    _process(trial, TRAINS)[0].cut()


def heal(trial: Trial) -> None:
    """Put cables back once the others have given the machine up."""
    time.sleep(45)
    for machine in trial.nodes.network.all.values():
        machine.heal()


def lose_power(trial: Trial) -> None:
    """Of a machine that trains."""
    _process(trial, TRAINS)[0].lose_power()


def come_back(trial: Trial) -> None:
    """Switch on what is off."""
    for machine in trial.nodes.network.all.values():
        if not machine.is_on:
            machine.start()
            trial.nodes.keep(machine)


def lose_two(trial: Trial) -> None:
    """Machines with GPUs, so that too few are left for the gang; a while later one is added, which
    makes them just enough."""
    first, _ = _process(trial, TRAINS)
    others = [m for m in trial.nodes.network.all.values() if trial.nodes.sizes[m.name].gpus]
    second = next(machine for machine in others if machine is not first)
    for machine in (first, second):
        machine.lose_power()
    time.sleep(20)
    first.start()
    trial.nodes.keep(first)


@contextmanager
def fill(trial: Trial) -> Iterator[None]:
    """Leave no room on the disk behind the shared folder, until the block ends."""
    filler = trial.disk.parent / "filler"
    free = shutil.disk_usage(trial.seen).free
    fill = f"fallocate -l {free - 2**20} {filler}; dd if=/dev/zero of={filler}.rest bs=4k || true"
    trial.driver.run("sh", "-c", fill)
    try:
        yield
    finally:
        trial.driver.run("rm", str(filler), f"{filler}.rest")


def fill_disk(trial: Trial) -> None:
    """That work lands on, until the driver gives up."""
    with fill(trial):
        assert trial.end() == 1, trial.said()


def hide_folder(trial: Trial) -> None:
    """That all machines share, until the driver gives up; then it is back."""
    trial.nodes.network.hide()
    try:
        assert trial.end() == 1, trial.said()
    finally:
        trial.nodes.network.show()


def freeze_folder(trial: Trial) -> None:
    """Its server hangs for a while, and with it whoever writes."""
    trial.nodes.network.freeze()
    time.sleep(AWAY_SECONDS)
    trial.nodes.network.thaw()


def lose_head(trial: Trial) -> None:
    """It loses its power and all that it knew, and is back after a few seconds."""
    head = trial.nodes.head
    head.lose_power()
    time.sleep(5)
    head.start()
    trial.nodes.keep(head)


def restart_head(trial: Trial) -> None:
    """As above; the driver ends of it."""
    lose_head(trial)
    assert trial.end() != 0, trial.said()


def come_back_and_restart(trial: Trial) -> None:
    """Give the same command again once all machines are back."""
    recover(trial.nodes)
    trial.begin()


def stop_database(trial: Trial) -> None:
    """At once, and start it again a while later."""
    assert trial.server is not None
    trial.server.stop()
    time.sleep(AWAY_SECONDS)
    trial.server.start()


def freeze_database(trial: Trial) -> None:
    """Let it answer nobody for a while."""
    assert trial.server is not None
    trial.server.freeze()
    time.sleep(UNREACHABLE_SECONDS)
    trial.server.thaw()


def in_asking_beside_others(trial: Trial) -> Line:
    """While a model is asked; another driver on each machine waits to fill its object store."""
    for machine in _workers(trial):
        hog(trial, machine, _fill(trial))
    return in_asking(trial)


def fill_object_stores(trial: Trial) -> None:
    """Each of those drivers keeps more in the object store of its machine than it holds."""
    begin = _fill(trial)
    begin.touch()
    deadline = time.monotonic() + BACK_SECONDS
    while len(list(begin.parent.glob(f"{begin.name}-*"))) < len(_workers(trial)):
        assert time.monotonic() < deadline, "an object store is not full"
        time.sleep(0.05)


def _fill(trial: Trial) -> Path:
    return trial.nodes.network.folder / f"{trial.name}.fill"


def _workers(trial: Trial) -> list[Machine]:
    return [one for one in trial.nodes.network.all.values() if trial.nodes.sizes[one.name].cpus]


def hog(trial: Trial, machine: Machine, begin: Path) -> None:
    """Have another driver on a machine fill its object store for a minute, once a file is there."""
    log = trial.nodes.network.folder / f"hog-{machine.name}.log"
    full = f"{begin}-{machine.name}"
    machine.spawn([sys.executable, "-c", HOG, trial.nodes.address, str(begin), full], log)


HOG = """
import sys, time, numpy, ray
from pathlib import Path
ray.init(sys.argv[1], log_to_driver=False)
while not Path(sys.argv[2]).exists():
    time.sleep(0.05)
kept = [ray.put(numpy.ones(25 * 2**20, dtype="uint8")) for _ in range(20)]
Path(sys.argv[3]).touch()
time.sleep(60)
"""


def kill_sandboxes(trial: Trial) -> None:
    """The processes that a judging actor runs untrusted programs in."""
    deadline = time.monotonic() + AWAY_SECONDS
    while not kill_children(_process(trial, JUDGES)[1]):
        assert time.monotonic() < deadline, "a judge had no sandbox"
        time.sleep(0.01)


def kill_children(process: psutil.Process) -> int:
    """All that a process has started, and what that has; how many there were."""
    with suppress(psutil.NoSuchProcess):
        children = process.children(recursive=True)
        for child in children:
            with suppress(psutil.NoSuchProcess):
                child.kill()
        return len(children)
    return 0


def restart_driver(trial: Trial) -> None:
    """Give the same command again."""
    trial.begin()


def kill_driver(trial: Trial) -> None:
    """With everything that it holds in memory."""
    trial.kill_driver()


def recover(nodes: RayNodes) -> None:
    """Have all machines of a cluster as they were before any fault."""
    for machine in nodes.network.all.values():
        nodes.come_back(machine)
    deadline = time.monotonic() + BACK_SECONDS
    while nodes.alive() < len(nodes.sizes):
        assert time.monotonic() < deadline, "not all machines came back"
        time.sleep(1)
