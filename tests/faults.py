"""Real faults: processes killed and frozen, cables pulled, disks filled, the head lost.

Each is a moment of a `Trial` to wait for, what is done to its machines then, and what an operator
or a supervisor does afterwards. Nothing of ours is replaced or told that it is tested.
"""

import re
import shutil
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import psutil
from experiment_under_faults import Left, Line, Trial, step_of
from namespaces import Machine
from ray_nodes import RayNodes

EARLY = 10
"""A step between two checkpoints, the first of them done."""
BACK_SECONDS = 120.0
TRAINS = "ray::RayTrainWorker"
ASKS = "ray::AskActor"
JUDGES = "ray::JudgeActor"


def nothing(trial: Trial) -> None:
    """Nobody has to help."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One kind of mishap."""

    name: str
    moment: Callable[[Trial], Line]
    """Waits for the moment at which it happens."""
    inflict: Callable[[Trial], None]
    mend: Callable[[Trial], None] = nothing
    """What is done about it from outside, soon after."""
    noticed: str = r"again|another takes its place"
    """What the log of a run says once it is noticed (a regular expression)."""
    goes_on: str = r"step \d+ of"
    """What the log says once work goes on (a regular expression)."""
    seconds: float
    """Until work goes on, at most, on machines that are not busy."""
    restarts: bool = False
    """Whether the driver ends and the same command is given again."""
    silent: bool = False
    """Whether nothing is lost, so that there is nothing to tell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What a fault has cost."""

    fault: str
    detected: float
    """Seconds until the board had a word on it."""
    resumed: float
    """Seconds until work went on: the next step of a training, or the end of the stage."""
    repeated: int
    """Steps trained a second time."""


def undergo(trial: Trial, fault: Fault) -> Measured:
    """Begin the trial, have the fault happen in it, and wait for its end."""
    trial.begin()
    fault.moment(trial)
    began = time.monotonic()
    reached = max(map(step_of, trial.lines), default=0)
    fault.inflict(trial)
    fault.mend(trial)
    if fault.restarts or fault.silent:
        noticed = Line(time.monotonic(), "")
    else:
        noticed = trial.until(fault.noticed, since=began)
        reached = max((step_of(one) for one in trial.lines if one.at <= noticed.at), default=0)
    kept = trial.newest_checkpoint()
    status = trial.end()
    assert status == 0, trial.said()
    after = [one for one in list(trial.lines) if one.at > noticed.at]
    going = next((one for one in after if re.search(fault.goes_on, one.text)), noticed)
    return Measured(
        fault=fault.name,
        detected=noticed.at - began,
        resumed=going.at - began,
        repeated=max(0, reached - kept) if step_of(going) and not fault.silent else 0,
    )


def in_training(trial: Trial) -> Line:
    """Between two checkpoints of the training."""
    return trial.until_step(EARLY)


def _line(text: str, trial: Trial) -> Line:
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


def _signal(*words: str, number: signal.Signals = signal.SIGKILL) -> Callable[[Trial], None]:
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
        if machine.init is None:
            machine.start()
            trial.nodes.keep(machine)


def lose_two(trial: Trial) -> None:
    """Machines with GPUs, so that too few are left for the gang; one is added a while later."""
    first, _ = _process(trial, TRAINS)
    others = [m for m in trial.nodes.network.all.values() if trial.nodes.sizes[m.name].gpus]
    second = next(machine for machine in others if machine is not first)
    for machine in (first, second):
        machine.lose_power()
    time.sleep(20)
    first.start()
    trial.nodes.keep(first)


def fill_disk(trial: Trial) -> None:
    """That work lands on, until the driver gives up."""
    filler = trial.disk.parent / "filler"
    free = shutil.disk_usage(trial.seen).free
    fill = f"fallocate -l {free - 2**20} {filler}; dd if=/dev/zero of={filler}.rest bs=4k || true"
    trial.driver.run("sh", "-c", fill)
    try:
        assert trial.end() == 1, trial.said()
    finally:
        trial.driver.run("rm", str(filler), f"{filler}.rest")


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
    time.sleep(20)
    trial.nodes.network.thaw()


def restart_head(trial: Trial) -> None:
    """It loses its power and all that it knew, and is back after a few seconds."""
    head = trial.nodes.head
    head.lose_power()
    time.sleep(5)
    head.start()
    trial.nodes.keep(head)
    assert trial.end() != 0, trial.said()
    recover(trial.nodes)


def fill_object_stores(trial: Trial) -> None:
    """Another driver keeps more in the object store of each machine than it holds."""
    for machine in trial.nodes.network.all.values():
        if trial.nodes.sizes[machine.name].cpus:
            log = trial.nodes.network.folder / f"hog-{machine.name}.log"
            machine.spawn([sys.executable, "-c", HOG, trial.nodes.address], log)
    time.sleep(20)


HOG = """
import sys, time, numpy, ray
ray.init(sys.argv[1], log_to_driver=False)
kept = [ray.put(numpy.ones(25 * 2**20, dtype="uint8")) for _ in range(20)]
time.sleep(60)
"""


def kill_sandboxes(trial: Trial) -> None:
    """The processes that a judging actor runs untrusted programs in."""
    _, actor = _process(trial, JUDGES)
    for process in actor.children(recursive=True):
        process.kill()


def restart_driver(trial: Trial) -> None:
    """Give the same command again."""
    trial.begin()


def kill_driver(trial: Trial) -> None:
    """With everything that it holds in memory."""
    trial.kill_driver()


def difference(wanted: Left, found: Left) -> str:
    """What is not as it was left by an undisturbed experiment; empty: nothing."""
    if wanted.weights != found.weights:
        return "other weights"
    other = (table for table, rows in wanted.rows.items() if rows != found.rows[table])
    return next((f"other {table}" for table in other), "")


def recover(nodes: RayNodes) -> None:
    """Have all machines of a cluster as they were before any fault."""
    for machine in nodes.network.all.values():
        nodes.come_back(machine)
    deadline = time.monotonic() + BACK_SECONDS
    while nodes.alive() < len(nodes.sizes):
        assert time.monotonic() < deadline, "not all machines came back"
        time.sleep(1)


FAULTS = {
    fault.name: fault
    for fault in (
        Fault(
            name="worker of a training killed",
            moment=in_training,
            inflict=_signal(TRAINS),
            seconds=30,
        ),
        Fault(
            name="worker of a training frozen",
            moment=in_training,
            inflict=_signal(TRAINS, number=signal.SIGSTOP),
            seconds=150,
        ),
        Fault(name="raylet killed", moment=in_training, inflict=kill_raylet, seconds=60),
        Fault(
            name="node cut off and healed", moment=in_training, inflict=cut, mend=heal, seconds=90
        ),
        Fault(
            name="node without power, and back",
            moment=in_training,
            inflict=lose_power,
            mend=come_back,
            seconds=90,
        ),
        Fault(
            name="worker that asks killed",
            moment=in_asking,
            inflict=_signal(ASKS),
            goes_on="generating starter done",
            seconds=60,
        ),
        Fault(
            name="worker that asks frozen",
            moment=in_asking,
            inflict=_signal(ASKS, number=signal.SIGSTOP),
            goes_on="generating starter done",
            seconds=150,
        ),
        Fault(
            name="worker that judges killed",
            moment=in_judging,
            inflict=_signal(JUDGES),
            goes_on="judging starter done",
            seconds=60,
        ),
        Fault(
            name="two nodes without power, one added",
            moment=in_training,
            inflict=lose_two,
            mend=come_back,
            seconds=120,
        ),
        Fault(
            name="disk full, and room again",
            moment=in_training,
            inflict=fill_disk,
            mend=restart_driver,
            restarts=True,
            seconds=120,
        ),
        Fault(
            name="shared folder gone, and back",
            moment=in_training,
            inflict=hide_folder,
            mend=restart_driver,
            restarts=True,
            seconds=120,
        ),
        Fault(
            name="writes into the shared folder wait",
            moment=in_training,
            inflict=freeze_folder,
            silent=True,
            seconds=60,
        ),
        Fault(
            name="head restarted, its memory lost",
            moment=in_training,
            inflict=restart_head,
            mend=restart_driver,
            restarts=True,
            seconds=240,
        ),
        Fault(
            name="object stores full",
            moment=in_asking,
            inflict=fill_object_stores,
            silent=True,
            goes_on="generating starter done",
            seconds=90,
        ),
        Fault(
            name="sandboxes killed",
            moment=in_judging,
            inflict=kill_sandboxes,
            silent=True,
            goes_on="judging starter done",
            seconds=60,
        ),
        Fault(
            name="driver killed in training",
            moment=in_training,
            inflict=kill_driver,
            mend=restart_driver,
            restarts=True,
            seconds=60,
        ),
        *(
            Fault(
                name=f"driver killed when {moment}",
                moment=partial(_line, moment),
                inflict=kill_driver,
                mend=restart_driver,
                restarts=True,
                goes_on=".",
                seconds=60,
            )
            for moment in (
                "training begins",
                "training done",
                "proving done",
                "generating starter done",
                "judging starter done",
            )
        ),
    )
}
