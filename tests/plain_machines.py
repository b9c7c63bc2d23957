"""Machines of a cluster that are mere groups of processes of this one, where there can be none of
`namespaces`: each runs Ray on ports of its own, and can lose its power and get it back.

They share this machine's network, disk and names, so nothing of those can be taken from one alone.
A driver finds the raylet of the head, whichever machine it is started on.
"""

import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import namespaces
import psutil

from cluster.node import taken_ports
from cluster.ports import FIRST, LAST, SPAN, Ports
from cluster.ray_start import interface_of
from cluster.session import private_folder

NETWORK = "127.0.0"
"""All of it is this machine. Ray lets no other node join one at 127.0.0.1."""
GONE_SECONDS = 20.0


@dataclass(slots=True)
class PlainMachine:
    """One machine, switched on or off."""

    name: str
    network: "PlainMachines"
    address: str
    ports: Ports
    is_on: bool = False
    begun: list[subprocess.Popen[str]] = field(default_factory=list)
    """Commands that were begun there; with all that they have started, they are the machine."""

    def start(self) -> None:
        """Switch it on: nothing runs on it yet."""
        self.is_on = True

    def run(self, *command: str, environment: Mapping[str, str] | None = None) -> str:
        """The output of a command that must succeed there."""
        known = self.network.environment | dict(environment or {})
        return namespaces.output(command, self.name, known)

    def spawn(
        self, command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None
    ) -> subprocess.Popen[str]:
        """Begin a command there; it ends with its machine, or with the caller."""
        process = namespaces.begin(command, log, self.network.environment | dict(environment or {}))
        self.begun.append(process)
        return process

    def processes(self, *words: str) -> list[psutil.Process]:
        """Its processes whose command line has all these words."""
        return namespaces.having(words, self._all())

    def _all(self) -> list[psutil.Process]:
        found = []
        for command in self.begun:
            with suppress(psutil.NoSuchProcess):
                if command.poll() is None:
                    first = psutil.Process(command.pid)
                    found += [first, *first.children(recursive=True)]
        return found

    def lose_power(self) -> None:
        """End all of its processes without a word to any; none of them starts another meanwhile."""
        family: list[psutil.Process] = []
        while new := [process for process in self._all() if process not in family]:
            for process in new:
                with suppress(psutil.NoSuchProcess):
                    process.suspend()
            family += new
        for process in family:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        deadline = time.monotonic() + GONE_SECONDS
        while any(map(_lives, family)) and time.monotonic() < deadline:
            time.sleep(0.02)
        for command in self.begun:
            command.wait(GONE_SECONDS)
        self.begun.clear()
        self.is_on = False

    def heal(self) -> None:
        """Nothing: its network cannot be cut."""


def _lives(process: psutil.Process) -> bool:
    """Whether it can still do anything; the dead may wait long for somebody to bury them."""
    with suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


@dataclass(slots=True)
class PlainMachines:
    """Machines, and a folder that all of them see."""

    folder: Path
    environment: dict[str, str]
    all: dict[str, PlainMachine] = field(default_factory=dict)

    @property
    def shared(self) -> Path:
        """The folder that all machines see."""
        return self.folder / "disk"

    @property
    def seen(self) -> Path:
        """The same."""
        return self.shared

    def add(self, name: str) -> PlainMachine:
        """Another machine, switched on."""
        (self.folder / name).mkdir(exist_ok=True)
        address = f"{NETWORK}.{len(self.all) + 2}"
        machine = PlainMachine(name=name, network=self, address=address, ports=self._free())
        self.all[name] = machine
        machine.start()
        return machine

    def _free(self) -> Ports:
        """Ports that nothing listens on; from above, because standing clusters begin below."""
        mine = {machine.ports.first for machine in self.all.values()}
        for first in range(LAST, FIRST, -SPAN):
            if first not in mine and not taken_ports(Ports(first)):
                return Ports(first)
        raise AssertionError("no ports are free here")


@contextmanager
def machines(folder: Path) -> Iterator[PlainMachines]:
    """No machines yet; those that are added end with the block.

    Args:
        folder: new or empty; logs of machines are left in it.
    """
    for name in ("disk", "home"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    environment = namespaces.environment(folder, interface_of(f"{NETWORK}.1"))
    found = PlainMachines(folder=folder, environment=environment)
    try:
        yield found
    finally:
        for machine in found.all.values():
            machine.lose_power()
            shutil.rmtree(private_folder() / str(machine.ports.first), ignore_errors=True)
