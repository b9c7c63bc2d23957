"""Which nodes of the cluster see the driver's folder of work."""

import secrets
from dataclasses import replace
from pathlib import Path
from typing import Any

from jobs.declared import UserError
from jobs.storage.keeping import Storage

SECONDS_TO_ANSWER = 60.0
"""For every node; one that is busy starting has other worries."""


def seen(storage: Storage, *, swept: bool = False) -> Storage:
    """The same, with whether all nodes see its folder; asked only where there is a store.

    Args:
        storage: of the driver.
        swept: whether trainings compete; their trials look at each other's folders.

    Raises:
        UserError: they do, and some node does not see the folder.
    """
    if storage.store is None:
        return storage
    blind = blind_nodes(storage.folder)
    if blind and swept:
        raise UserError(
            f"{', '.join(blind)} does not see {storage.folder}, and trainings of a sweep look at "
            "each other's folders: put CODELADDER_HOME on a disk that all nodes share, or leave "
            "out the sweep's early stopping"
        )
    return replace(storage, shared=not blind)


def blind_nodes(folder: Path) -> list[str]:
    """Names of the nodes that do not see a folder, or did not say so in time.

    Args:
        folder: on this machine's disk, or on one that nodes share.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    probe = folder / f".seen-{secrets.token_hex(8)}"
    probe.touch()
    try:
        asked: dict[Any, str] = {}
        for node in ray.nodes():
            if node["Alive"]:
                there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
                ask = ray.remote(num_cpus=0, scheduling_strategy=there, max_retries=0)(Path.exists)
                asked[ask.remote(probe)] = node["NodeManagerHostname"]
        ray.wait(list(asked), num_returns=len(asked), timeout=SECONDS_TO_ANSWER)
        return sorted({name for answer, name in asked.items() if not _sees(answer)})
    finally:
        probe.unlink()


def _sees(answer: Any) -> bool:
    import ray

    try:
        return bool(ray.get(answer, timeout=0))
    except (ray.exceptions.RayError, ray.exceptions.GetTimeoutError):
        return False
