"""What there is to train on: GPUs and memory, of this machine or of a cluster."""

import os
import shutil
import subprocess
from dataclasses import dataclass
from typing import Any

import psutil

from cluster.nodes import KIND

GIB = 2**30
PATIENCE_SECONDS = 60.0
"""For every node to answer; one that is busy starting has other worries."""
DEVICES = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")
"""One of these is there where a driver of GPUs is, of NVIDIA, AMD or WSL."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """What workers can take one of, and how much memory each then has."""

    gpus: int
    """All there are; 0 where workers take processors."""
    gpus_per_node: int
    """Of the node with the most."""
    gpu_gib: float | None
    """Memory of the smallest GPU; None: not known."""
    cpus: int
    """All there are."""
    host_gib: float
    """Memory of the smallest node that workers run on, which they share."""
    emulated: bool = False
    """Ray counts GPUs that no machine has, as in tests of a cluster: they are handed out, and
    workers compute on processors."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One machine."""

    gpus: int
    gpu_gib: float | None
    cpus: int
    host_gib: float
    emulated: bool = False
    """It has GPUs only in what Ray was told."""


def together(nodes: list[Node]) -> Hardware:
    """Several machines as one: as many GPUs as all have, none larger than the smallest.

    Args:
        nodes: at least one.
    """
    usable = [node for node in nodes if node.gpus] or nodes
    sizes = [node.gpu_gib for node in usable]
    return Hardware(
        gpus=sum(node.gpus for node in nodes),
        gpus_per_node=max(node.gpus for node in nodes),
        gpu_gib=None if None in sizes else min(size for size in sizes if size is not None),
        cpus=sum(node.cpus for node in nodes),
        host_gib=min(node.host_gib for node in usable),
        emulated=all(node.emulated for node in usable),
    )


def of_this_machine() -> Hardware:
    """GPUs of this machine as nvidia-smi counts them."""
    return together([_node(None)])


def of_cluster(kind: str = "") -> Hardware:
    """GPUs of the cluster that this process is connected to: Ray counts them, nodes measure them.

    A node that does not answer within a minute counts as one whose memory is not known.

    Args:
        kind: of GPU, as Ray names it: those of other kinds count as none; empty: any.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    asked: dict[Any, int] = {}
    for node in ray.nodes():
        if node["Alive"]:
            there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            ask = ray.remote(num_cpus=0, scheduling_strategy=there, max_retries=0)(_node)
            has_kind = not kind or f"{KIND}{kind}" in node["Resources"]
            gpus = int(node["Resources"].get("GPU", 0)) if has_kind else 0
            cpus = int(node["Resources"].get("CPU", 0))
            asked[ask.remote(gpus, cpus)] = gpus
    answered, silent = ray.wait(list(asked), num_returns=len(asked), timeout=PATIENCE_SECONDS)
    nodes = [node for one in answered if (node := _answer(one)) is not None]
    unknown = [Node(gpus=asked[one], gpu_gib=None, cpus=0, host_gib=float("inf")) for one in silent]
    return together(nodes + unknown)


def _answer(reference: Any) -> Node | None:
    """What a node said; None: it was lost while it was asked."""
    import ray

    try:
        node: Node = ray.get(reference)
    except ray.exceptions.RayError:
        return None
    return node


def gpu_sizes() -> list[float]:
    """Memory of each GPU of this machine in GiB; empty where nvidia-smi is not there or fails."""
    if shutil.which("nvidia-smi") is None:
        return []
    query = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    asked = subprocess.run(query, capture_output=True, text=True, timeout=30, check=False)
    sizes = asked.stdout.split() if asked.returncode == 0 else []
    return [int(size) / 1024 for size in sizes if size.isdigit()]


def hide_gpus() -> None:
    """Keep this process from GPUs that Ray gave it none of, or only counts: they may be another's.

    Serves until torch looks for GPUs for the first time.
    """
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    os.environ["ACCELERATE_TORCH_DEVICE"] = "cpu"  # Ray Train names there the GPU that it counts


def _node(gpus: int | None, cpus: int | None = None) -> Node:
    """This machine, with as many GPUs and processors as Ray may use of it; None: all."""
    sizes = gpu_sizes()
    count = len(sizes) if gpus is None else gpus
    return Node(
        gpus=count,
        gpu_gib=min(sizes) if count and sizes else None,
        cpus=psutil.cpu_count() or 1 if cpus is None else cpus,
        host_gib=psutil.virtual_memory().total / GIB,
        emulated=count > 0 and not sizes and not any(map(os.path.exists, DEVICES)),
    )
