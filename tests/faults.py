"""Real faults: each a moment of an experiment to wait for, what is done to its machines then, and
what an operator or a supervisor does afterwards.
"""

import re
import shutil
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

import mishaps
from experiment_under_faults import CHECKPOINT_EVERY, Left, Line, Trial
from mishaps import ASKS, JUDGES, TRAINS
from ray_nodes import RayNodes

from benchmarks.private_postgres import private_server


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One kind of mishap."""

    name: str
    moment: Callable[[Trial], Line]
    """Waits for the moment at which it happens."""
    inflict: Callable[[Trial], None]
    mend: Callable[[Trial], None] = mishaps.nothing
    """What is done about it from outside, soon after."""
    noticed: str = r"again|another takes its place"
    """What the log of a run says once it is noticed (a regular expression)."""
    goes_on: str = r"step \d+ of"
    """What the log says once work goes on (a regular expression)."""
    told: str = r", again \d+: "
    """What the board says of it in the end: kind and message of an event (a regular expression)."""
    seconds: float
    """Until work goes on, at most, on machines that are not busy."""
    restarts: bool = False
    """Whether the driver ends and the same command is given again."""
    silent: bool = False
    """Whether nothing is lost, so that there is nothing to notice."""
    kept: bool = False
    """Whether a keeper gives it."""
    last: bool = False
    """Whether all may be recorded by then, so that nothing is lost and there is nothing to tell."""
    postgresql: bool = False
    """Whether the ledger is one, `Trial.server`."""
    apart: bool = False
    """Whether machines must have a network, a disk and Ray's drivers of their own for it, and so be
    made of namespaces."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What a fault has cost."""

    fault: str
    detected: float
    """Seconds until the log had a word on it, or the driver had ended."""
    resumed: float
    """Seconds until work went on: the next step of a training, or the end of the stage; until a
    driver that was started again found that there was none."""
    repeated: int
    """Steps that were trained a second time."""


def once(nodes: RayNodes, undisturbed: Trial, fault: Fault, number: int = 0) -> Measured:
    """Have a fault happen in an experiment of its own; all machines are as before in the end.

    Raises:
        AssertionError: something was lost, repeated or changed, or the board does not tell of it.
    """
    with ExitStack() as stack:
        server = stack.enter_context(private_server()) if fault.postgresql else None
        name = f"{fault.name.replace(' ', '-')}-{number}"
        trial = Trial(nodes, nodes.network.all["driver"], name, server=server, kept=fault.kept)
        stack.callback(trial.forget)
        stack.callback(mishaps.recover, nodes)
        shutil.copytree(undisturbed.seen / "data", trial.seen / "data")
        measured = undergo(trial, fault)
        assert measured.repeated <= CHECKPOINT_EVERY, f"{measured.repeated} steps again"
        assert (wrong := difference(undisturbed.left(), trial.left())) == "", wrong
        events = [f"{kind}: {message}" for kind, message in trial.events()]
        told = any(re.search(fault.told, one) for one in events)
        assert fault.silent or (fault.last and trial.was_over) or told, f"not told: {events}"
        return measured


def undergo(trial: Trial, fault: Fault) -> Measured:
    """Begin the trial, have the fault happen in it, and wait for its end."""
    trial.begin()
    fault.moment(trial)
    began = time.monotonic()
    fault.inflict(trial)
    noticed = Line(time.monotonic(), "")
    if fault.restarts:
        trial.settle()
        noticed = Line(time.monotonic(), "")
    fault.mend(trial)
    if not fault.restarts and not fault.silent:
        noticed = trial.until(fault.noticed, since=began)
    trial.succeed()
    over = Line(time.monotonic(), "")
    trial.settle()
    after = [one for one in trial.lines if one.at > noticed.at]
    working = next((one for one in after if re.search(fault.goes_on, one.text)), None)
    going = working or (over if fault.last else None)
    assert going is not None, f"nothing says that work went on: {trial.said()}"
    return Measured(
        fault=fault.name,
        detected=0.0 if fault.silent else noticed.at - began,
        resumed=going.at - began,
        repeated=sum(len(seconds) - 1 for seconds in trial.trained.values()),
    )


def difference(wanted: Left, found: Left) -> str:
    """What is not as it was left by an undisturbed experiment; empty: nothing."""
    if wanted.weights != found.weights:
        return "other weights"
    other = (table for table, rows in wanted.rows.items() if rows != found.rows[table])
    return next((f"other {table}" for table in other), "")


FAULTS = {
    fault.name: fault
    for fault in (
        Fault(
            name="worker of a training killed",
            moment=mishaps.in_training,
            inflict=mishaps.send(TRAINS),
            seconds=30,
        ),
        Fault(
            name="worker of a training frozen",
            moment=mishaps.in_training,
            inflict=mishaps.send(TRAINS, number=signal.SIGSTOP),
            seconds=150,
        ),
        Fault(
            name="raylet killed",
            moment=mishaps.in_training,
            inflict=mishaps.kill_raylet,
            seconds=60,
        ),
        Fault(
            name="node cut off and healed",
            moment=mishaps.in_training,
            inflict=mishaps.cut,
            mend=mishaps.heal,
            seconds=90,
            apart=True,
        ),
        Fault(
            name="node without power, and back",
            moment=mishaps.in_training,
            inflict=mishaps.lose_power,
            mend=mishaps.come_back,
            seconds=90,
        ),
        Fault(
            name="worker that asks killed",
            moment=mishaps.in_asking,
            inflict=mishaps.send(ASKS),
            goes_on="generating starter done",
            seconds=60,
        ),
        Fault(
            name="worker that asks frozen",
            moment=mishaps.in_asking,
            inflict=mishaps.send(ASKS, number=signal.SIGSTOP),
            goes_on="generating starter done",
            seconds=150,
        ),
        Fault(
            name="worker that judges killed",
            moment=mishaps.in_judging,
            inflict=mishaps.send(JUDGES),
            goes_on="judging starter done",
            seconds=60,
        ),
        Fault(
            name="two nodes without power, one added",
            moment=mishaps.in_training,
            inflict=mishaps.lose_two,
            seconds=120,
        ),
        Fault(
            name="disk full, and room again",
            moment=mishaps.in_training,
            inflict=mishaps.fill_disk,
            mend=mishaps.restart_driver,
            told="failed: .*/shared/",
            restarts=True,
            seconds=120,
            apart=True,
        ),
        Fault(
            name="shared folder gone, and back",
            moment=mishaps.in_training,
            inflict=mishaps.hide_folder,
            mend=mishaps.restart_driver,
            told="failed: .*/shared/",
            restarts=True,
            seconds=120,
            apart=True,
        ),
        Fault(
            name="writes into the shared folder wait",
            moment=mishaps.in_training,
            inflict=mishaps.freeze_folder,
            silent=True,
            seconds=60,
            apart=True,
        ),
        Fault(
            name="head restarted, its memory lost",
            moment=mishaps.in_training,
            inflict=mishaps.restart_head,
            mend=mishaps.come_back_and_restart,
            goes_on=r"step \d+ of|generating starter begins",  # its workers may end without it
            told="^training: ",
            restarts=True,
            seconds=240,
            apart=True,
        ),
        Fault(
            name="head restarted under a keeper",
            moment=mishaps.in_training,
            inflict=mishaps.lose_head,
            goes_on=r"step \d+ of|generating starter begins",
            told="^training: ",
            restarts=True,
            kept=True,
            seconds=240,
            apart=True,
        ),
        Fault(
            name="object stores full",
            moment=mishaps.in_asking_beside_others,
            inflict=mishaps.fill_object_stores,
            silent=True,
            goes_on="(generating|judging) starter done",
            seconds=90,
            apart=True,
        ),
        Fault(
            name="sandboxes killed",
            moment=mishaps.in_judging,
            inflict=mishaps.kill_sandboxes,
            silent=True,
            goes_on="judging starter done",
            seconds=60,
        ),
        Fault(
            name="driver killed in training",
            moment=mishaps.in_training,
            inflict=mishaps.kill_driver,
            mend=mishaps.restart_driver,
            told="an earlier driver left it unfinished",
            restarts=True,
            seconds=60,
        ),
        Fault(
            name="disk full while a model is asked, and room again",
            moment=mishaps.in_asking,
            inflict=mishaps.fill_disk,
            mend=mishaps.restart_driver,
            goes_on="generating starter done",
            told="failed: .*/shared/",
            restarts=True,
            seconds=120,
            apart=True,
        ),
        Fault(
            name="database stopped for 20 s",
            moment=mishaps.in_training,
            inflict=mishaps.stop_database,
            silent=True,
            postgresql=True,
            seconds=60,
        ),
        Fault(
            name="database stopped for 20 s between two stages",
            moment=partial(mishaps.until, "training done"),
            inflict=mishaps.stop_database,
            silent=True,
            postgresql=True,
            goes_on=r"(proving|generating starter) (begins|done)",
            seconds=60,
        ),
        Fault(
            name="database out of reach for 60 s",
            moment=mishaps.in_training,
            inflict=mishaps.freeze_database,
            silent=True,
            postgresql=True,
            goes_on=r"step \d+ of|training done",  # trainings do not wait for it
            seconds=100,
        ),
        Fault(
            name="database out of reach for 60 s between two stages",
            moment=partial(mishaps.until, "training done"),
            inflict=mishaps.freeze_database,
            silent=True,
            postgresql=True,
            goes_on=r"(proving|generating starter) (begins|done)",
            seconds=100,
        ),
        *(
            Fault(
                name=f"driver killed when {moment}",
                moment=partial(mishaps.until, moment),
                inflict=mishaps.kill_driver,
                mend=mishaps.restart_driver,
                restarts=True,
                goes_on=".",
                told=f"^{moment.rpartition(' ')[0]}: ",
                last=moment == "judging starter done",
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
