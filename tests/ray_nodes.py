"""A Ray cluster on machines of namespaces, or plain ones, each kept by `python -m cluster node`."""

import json
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import namespaces
import plain_machines
from namespaces import ROOT, Machine, Machines
from plain_machines import PlainMachine, PlainMachines

UP_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Size:
    """What Ray counts on a machine."""

    cpus: int
    gpus: int = 0


SIZES = {
    "head": Size(0),
    "driver": Size(2),
    "gpu-1": Size(1, 1),
    "gpu-2": Size(1, 1),
    "gpu-3": Size(1, 1),
}
"""Five machines, three with a GPU that is only counted."""


@dataclass(slots=True)
class RayNodes:
    """Ray on every machine of a network; the first is the head, which takes no work."""

    network: Machines | PlainMachines
    sizes: dict[str, Size]
    gcs_folder: Path | None = None
    """Where the head keeps what it knows; None: in memory."""

    @property
    def head(self) -> Machine | PlainMachine:
        """The machine with the control store."""
        return self.network.all[next(iter(self.sizes))]

    @property
    def address(self) -> str:
        """host:port that nodes and drivers join."""
        return f"{self.head.address}:{self.head.ports.control_store}"

    def keep(self, machine: Machine | PlainMachine) -> None:
        """Have Ray kept on a machine, and wait until it has joined."""
        state = self._state(machine)
        (state / "node.json").unlink(missing_ok=True)
        size = self.sizes[machine.name]
        options = ["--cpus", str(size.cpus), "--gpus", str(size.gpus), "--ip", machine.address]
        options += ["--ports", str(machine.ports.first)]
        where = ["--head"] if machine is self.head else ["--join", self.address]
        if machine is self.head and self.gcs_folder:
            where += ["--gcs-folder", str(self.gcs_folder)]
        token = self.network.environment["RAY_AUTH_TOKEN_PATH"]
        command = [sys.executable, "-m", "cluster", "node", *where, *options]
        command += ["--token", token, "--state", str(state)]
        machine.spawn(command, state / "supervisor.log", {"PYTHONPATH": str(ROOT)})

    def wait(self, machine: Machine | PlainMachine) -> None:
        """Return once Ray is up there."""
        deadline = time.monotonic() + UP_SECONDS
        while not self.is_up(machine):
            assert time.monotonic() < deadline, self._said(machine)
            time.sleep(0.1)

    def is_up(self, machine: Machine | PlainMachine) -> bool:
        """Whether Ray runs there, as its supervisor says."""
        try:
            return bool(json.loads((self._state(machine) / "node.json").read_text())["up"])
        except (OSError, ValueError):
            return False

    def come_back(self, machine: Machine | PlainMachine) -> None:
        """Have a machine as it was before whatever happened to it."""
        if not machine.is_on:
            machine.start()
            self.keep(machine)
        machine.heal()
        for process in machine.processes():
            if process.status() == "stopped":
                process.send_signal(signal.SIGCONT)
        self.wait(machine)

    def alive(self) -> int:
        """How many nodes the control store takes for alive."""
        script = (
            "import ray; from ray._private.state import state; "
            "from ray._raylet import GcsClientOptions as O; "
            f"state._initialize_global_state(O.create({self.address!r}, None, True, False)); "
            "print(sum(n['Alive'] for n in state.node_table()))"
        )
        return int(self.head.run(sys.executable, "-c", script).split()[-1])

    def _state(self, machine: Machine | PlainMachine) -> Path:
        folder = self.network.folder / machine.name / "state"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder

    def _said(self, machine: Machine | PlainMachine) -> str:
        logs = [self._state(machine) / name for name in ("supervisor.log", "node.log")]
        said = [log.read_text()[-2000:] for log in logs if log.exists()]
        return "\n".join([f"Ray did not come up on {machine.name}", *said])


@contextmanager
def ray_nodes(
    folder: Path,
    sizes: Mapping[str, Size],
    *,
    shared_mib: int = 2048,
    gcs_folder: Path | None = None,
    plain: bool = False,
) -> Iterator[RayNodes]:
    """Ray on new machines, the first of them the head, until the block ends.

    Args:
        plain: whether machines are mere groups of processes, without networks and disks.
    """
    made = plain_machines.machines(folder) if plain else namespaces.machines(folder, shared_mib)
    with made as network:
        found = RayNodes(network, dict(sizes), gcs_folder)
        for name in sizes:
            machine = network.add(name)
            found.keep(machine)
            if machine is found.head:
                found.wait(machine)
        for machine in network.all.values():
            found.wait(machine)
        yield found
