"""Having nodes say again what they have free.

A node tells Ray's control store what it has free whenever that changes. Where the store cannot
reach a node for a moment while it reserves a gang's places there (as when connections to its
address were refused until just now, because it has come back), the store takes those places for
reserved ever after (Ray 2.60). The node is idle and has nothing new to tell, so a gang that needs
it would wait for as long as nothing else runs there. Whatever a node does makes it tell.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

FIRST_SECONDS = 5.0
"""Of waiting for a place, before nodes are roused; a place is normally found in one."""
LONGEST_SECONDS = 40.0
"""Between two times; each wait is twice the one before."""
SHARE = 0.001
"""Of a node's own resource, of which it has 1."""


@contextmanager
def roused(waits: Callable[[], bool]) -> Iterator[None]:
    """Meanwhile, rouse all nodes now and then for as long as `waits()`, asked in a thread."""
    over = threading.Event()
    threading.Thread(target=_keep_rousing, args=(waits, over), daemon=True).start()
    try:
        yield
    finally:
        over.set()


def _keep_rousing(waits: Callable[[], bool], over: threading.Event) -> None:
    from ray.exceptions import RayError

    pause = FIRST_SECONDS
    while not over.wait(pause):
        with suppress(RayError):  # a head that is away is back at another time
            if waits():
                rouse()
                pause = min(2 * pause, LONGEST_SECONDS)


def rouse() -> None:
    """Have each living node work for a moment, on next to nothing; nobody waits for it."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    task = ray.remote(num_cpus=0, max_retries=0)(_do_nothing)
    for node in ray.nodes():
        if node["Alive"]:
            task.options(
                name="rouse",
                resources={f"node:{node['NodeManagerAddress']}": SHARE},
                scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False),
            ).remote()


def _do_nothing() -> None:
    pass
