"""Chaos: the starter experiment at several seeds, under one random fault after the other.

    python benchmarks/chaos.py [--minutes 30] [--seeds 3] [--random NUMBER] [--postgresql]

Machines are made of namespaces of this one (root). The same experiment runs undisturbed first; at
the end weights and rows must be the same. What happened, and when, is printed; `--random` repeats
the choice of faults, not the moment at which each finds the work.
"""

import argparse
import random
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from experiment_under_faults import Trial
from faults import difference
from mishaps import ASKS, JUDGES, TRAINS, fill, hog, kill_children, lose_head, recover
from namespaces import ROOT, Machine, missing
from ray_nodes import SIZES, RayNodes, ray_nodes

from benchmarks.private_postgres import private_server

LEAST, MOST = 15.0, 60.0
"""Seconds between two faults."""
AWAY = 20.0
"""Seconds that a machine or a disk stays away."""
LONGEST = 3600.0
"""Seconds for the experiment to come to its end."""
OTHERS = ("gpu-1", "gpu-2", "gpu-3")
"""Machines that come and go; the driver's and the head stay, but for their processes."""


@dataclass(slots=True)
class Chaos:
    """One experiment and what is done to it."""

    trial: Trial
    dice: random.Random
    began: float

    def go_on(self, until: float) -> None:
        """One fault after the other until the time is over or all is done."""
        while time.monotonic() < until and not self._done():
            time.sleep(self.dice.uniform(LEAST, MOST))
            if not self._done():
                name, act = self.dice.choice(sorted(self._acts().items()))
                self._say(f"{name}: {act()}")
            if self.trial.process is not None and self.trial.process.poll() not in (None, 0):
                self._say(f"the driver ended with {self.trial.process.poll()}; again")
                self.trial.begin()

    def settle(self, nodes: RayNodes) -> int:
        """Let it come to its end undisturbed; the driver's exit status."""
        self._say("no more faults")
        recover(nodes)
        for _ in range(3):
            if (status := self.trial.end(LONGEST)) == 0:
                return 0
            self._say(f"the driver ended with {status}; again")
            self.trial.begin()
        return self.trial.end(LONGEST)

    def _done(self) -> bool:
        return self.trial.process is not None and self.trial.process.poll() == 0

    def _acts(self) -> dict[str, Callable[[], str]]:
        away = (
            {}
            if self.trial.server is None
            else {
                "database stopped": self._stop_database,
                "database out of reach": self._freeze_database,
            }
        )
        return away | {
            "worker killed": lambda: self._send(signal.SIGKILL),
            "worker frozen": lambda: self._send(signal.SIGSTOP),
            "raylet killed": self._kill_raylet,
            "node cut off and healed": self._cut,
            "node without power": self._lose_power,
            "driver killed": self._kill_driver,
            "writes into the shared folder wait": self._freeze,
            "disk full": self._fill,
            "shared folder gone": self._hide,
            "head restarted, its memory lost": self._restart_head,
            "sandboxes killed": self._kill_sandboxes,
            "object store full": self._hog,
        }

    def _machine(self) -> Machine:
        return self.trial.nodes.network.all[self.dice.choice(OTHERS)]

    def _send(self, number: signal.Signals) -> str:
        machines = self.trial.nodes.network.all.values()
        found = [p for m in machines for word in (TRAINS, ASKS, JUDGES) for p in m.processes(word)]
        if not found:
            return "there was none"
        process = self.dice.choice(found)
        process.send_signal(number)
        return " ".join(process.cmdline())

    def _kill_raylet(self) -> str:
        machine = self._machine()
        for process in machine.processes("raylet"):
            if process.name() == "raylet":
                process.kill()
        return machine.name

    def _cut(self) -> str:
        machine = self._machine()
        machine.cut()
        time.sleep(2 * AWAY)
        machine.heal()
        return machine.name

    def _lose_power(self) -> str:
        machine = self._machine()
        if not machine.is_on:
            return "there was none"
        machine.lose_power()
        time.sleep(AWAY)
        machine.start()
        self.trial.nodes.keep(machine)
        return machine.name

    def _kill_driver(self) -> str:
        self.trial.kill_driver()
        self.trial.begin()
        return "and the same command given again"

    def _freeze(self) -> str:
        self.trial.nodes.network.freeze()
        time.sleep(AWAY)
        self.trial.nodes.network.thaw()
        return f"for {AWAY:.0f} s"

    def _fill(self) -> str:
        with fill(self.trial):
            time.sleep(AWAY)
        return f"for {AWAY:.0f} s"

    def _hide(self) -> str:
        self.trial.nodes.network.hide()
        time.sleep(AWAY)
        self.trial.nodes.network.show()
        return f"for {AWAY:.0f} s"

    def _restart_head(self) -> str:
        lose_head(self.trial)
        recover(self.trial.nodes)
        return "and all machines joined it again"

    def _kill_sandboxes(self) -> str:
        machines = self.trial.nodes.network.all.values()
        actors = [actor for machine in machines for actor in machine.processes(JUDGES)]
        return f"{sum(map(kill_children, actors))} processes"

    def _hog(self) -> str:
        machine = self._machine()
        if not machine.is_on:
            return "there was none"
        begin = self.trial.nodes.network.folder / "fill"
        begin.touch()
        hog(self.trial, machine, begin)
        time.sleep(AWAY)
        return machine.name

    def _stop_database(self) -> str:
        assert self.trial.server is not None
        self.trial.server.stop()
        time.sleep(AWAY)
        self.trial.server.start()
        return f"for {AWAY:.0f} s"

    def _freeze_database(self) -> str:
        assert self.trial.server is not None
        self.trial.server.freeze()
        time.sleep(AWAY)
        self.trial.server.thaw()
        return f"for {AWAY:.0f} s"

    def _say(self, text: str) -> None:
        print(f"{time.monotonic() - self.began:7.1f} s  {text}", flush=True)


def main() -> int:
    """Run it; 1 where something was lost, repeated or changed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=30, help="of faults (30)")
    parser.add_argument("--seeds", type=int, default=3, help="seeds of the experiment (3)")
    parser.add_argument("--random", type=int, default=None, help="repeats the choice of faults")
    parser.add_argument("--experiment", type=Path, default=ROOT / "experiments" / "starter.yaml")
    parser.add_argument("--postgresql", action="store_true", help="keep the ledger in one")
    asked = parser.parse_args()
    if why := missing():
        print(f"no machines can be made here: {why}", file=sys.stderr)
        return 2
    number = random.SystemRandom().randrange(10**6) if asked.random is None else asked.random
    print(f"random {number}")
    folder = Path(tempfile.mkdtemp(prefix="c-", dir="/tmp"))
    text = re.sub(r"(?m)^seeds:.*$", "", asked.experiment.read_text())
    text += f"\nseeds: {list(range(asked.seeds))}\n"
    try:
        with ray_nodes(folder, SIZES) as nodes:
            dice = random.Random(number)
            return _compare(nodes, text, dice, 60 * asked.minutes, asked.postgresql)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _compare(
    nodes: RayNodes, text: str, dice: random.Random, seconds: float, postgresql: bool
) -> int:
    driver = nodes.network.all["driver"]
    undisturbed = Trial(nodes, driver, "undisturbed", text)
    began = time.monotonic()
    undisturbed.begin()
    assert undisturbed.end(LONGEST) == 0, undisturbed.said()
    print(f"undisturbed it takes {time.monotonic() - began:.0f} s", flush=True)
    until, rounds = time.monotonic() + seconds, 0
    while not rounds or until - time.monotonic() > MOST:  # there is time for a fault
        rounds += 1
        with ExitStack() as stack:
            server = stack.enter_context(private_server()) if postgresql else None
            trial = Trial(nodes, driver, f"chaos-{rounds}", text, server)
            if not _round(trial, undisturbed, dice, until):
                return 1
            trial.forget()
    return 0


def _round(trial: Trial, undisturbed: Trial, dice: random.Random, until: float) -> bool:
    """One experiment; whether all of it is as undisturbed."""
    trial.begin()
    chaos = Chaos(trial, dice, time.monotonic())
    chaos.go_on(until)
    status = chaos.settle(trial.nodes)
    wrong = f"exit {status}" if status else difference(undisturbed.left(), trial.left())
    told = sum(", again" in kind for kind, _ in trial.events())
    print(f"{trial.name}: {trial.drivers} drivers, the board tells of {told} losses", end=": ")
    print(wrong or "weights and rows as undisturbed", flush=True)
    if wrong:
        print(trial.said(), file=sys.stderr)
    return not wrong


if __name__ == "__main__":
    sys.exit(main())
