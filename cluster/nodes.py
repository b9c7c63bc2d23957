"""The machines of the cluster that this process is connected to, and how much of each is promised.

Asked of Ray's control store alone, so it costs a node nothing, however often.
"""

from dataclasses import dataclass
from typing import Any

import psutil

KIND = "accelerator_type:"
"""Ray names the kind of a node's GPUs as a resource."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A node as Ray counts it."""

    id: str
    """Ray's own."""
    name: str
    alive: bool
    cpus: float
    cpus_used: float
    """Promised to work."""
    gpus: float
    gpus_used: float
    gpu_kind: str
    """Empty: there is no GPU, or Ray does not know it."""
    memory: int = 0
    """Bytes of the machine; 0: this process does not run there, so it is not known."""
    memory_used: int | None = None


def machines() -> list[Machine]:
    """All nodes that there are or were since the cluster started, by name."""
    import ray

    free = ray._private.state.available_resources_per_node()
    here = ray.get_runtime_context().get_node_id()
    found = [_machine(node, free.get(node["NodeID"], {}), here) for node in ray.nodes()]
    return sorted(found, key=lambda machine: (machine.name, machine.id))


def _machine(node: dict[str, Any], free: dict[str, float], here: str) -> Machine:
    alive, there = bool(node["Alive"]), node["Resources"] if node["Alive"] else {}
    memory = psutil.virtual_memory() if node["NodeID"] == here else None
    cpus, gpus = there.get("CPU", 0.0), there.get("GPU", 0.0)
    return Machine(
        id=node["NodeID"],
        name=node["NodeManagerHostname"],
        alive=alive,
        cpus=cpus,
        cpus_used=round(cpus - free.get("CPU", 0.0), 3) if alive else 0.0,
        gpus=gpus,
        gpus_used=round(gpus - free.get("GPU", 0.0), 3) if alive else 0.0,
        gpu_kind=next((key.removeprefix(KIND) for key in there if key.startswith(KIND)), ""),
        memory=memory.total if memory else 0,
        memory_used=memory.used if memory else None,
    )
