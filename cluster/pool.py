"""The same function over many items, on whatever processors the cluster has."""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeVar

import ray

Item = TypeVar("Item")
Result = TypeVar("Result")


def scatter(
    function: Callable[..., Result], items: Sequence[Item], *rest: Any, at_most: int
) -> Iterator[tuple[int, Result]]:
    """Call `function(item, *rest)` for each item as a one-processor Ray task.

    At most `at_most` run at once, so memory is bounded by them and not by the number of items. A
    task whose worker or node dies runs again, up to three times: `function` must be safe to repeat.

    Yields:
        (position of the item, result), in order of completion.
    """
    remote = ray.remote(function).options(num_cpus=1, max_retries=3)
    shared = [ray.put(value) for value in rest]
    waiting = iter(enumerate(items))
    running = {
        remote.remote(item, *shared): place for place, item in islice(waiting, max(at_most, 1))
    }
    while running:
        (done,), _ = ray.wait(list(running), num_returns=1)
        place = running.pop(done)
        for following, item in islice(waiting, 1):
            running[remote.remote(item, *shared)] = following
        yield place, ray.get(done)
