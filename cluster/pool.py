"""Many items through a few workers that keep what they have set up, on the cluster's processors."""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any, Protocol, TypeVar

import ray

Item = TypeVar("Item", contravariant=True)
Result = TypeVar("Result", covariant=True)


class Worker(Protocol[Item, Result]):
    """What is set up once and works many times."""

    def work(self, item: Item) -> Result:
        """The result for one item; safe to repeat."""


def scatter(
    worker: Callable[..., Worker[Item, Result]],
    rest: Sequence[Any],
    items: Sequence[Item],
    *,
    at_most: int,
) -> Iterator[tuple[int, Result]]:
    """Have `items` worked on by up to `at_most` actors of one processor each.

    An actor gets its next item when it has given back the last, so memory is bounded by actors
    and not by items; when there is none, the actor ends and its processor is free. An actor that
    dies, alone or with its node, is started again up to three times, and its item worked on again.

    Args:
        worker: class of the actors.
        rest: what each is made with.
        items: work.
        at_most: actors at once.

    Yields:
        (position of the item, result), in order of completion.
    """
    actor = ray.remote(worker).options(num_cpus=1, max_restarts=3, max_task_retries=3)
    shared = [ray.put(value) for value in rest]
    waiting = iter(enumerate(items))
    crew = [actor.remote(*shared) for _ in items[: max(at_most, 1)]]
    running: dict[Any, tuple[int, Any]] = {}
    try:
        for member, (place, item) in zip(crew, islice(waiting, len(crew)), strict=True):
            running[member.work.remote(item)] = place, member
        while running:
            (done,), _ = ray.wait(list(running), num_returns=1)
            place, member = running.pop(done)
            following = next(waiting, None)
            if following is not None:
                running[member.work.remote(following[1])] = following[0], member
            result = ray.get(done)
            if following is None:
                crew.remove(member)
                ray.kill(member)
            yield place, result
    finally:
        for member in crew:
            ray.kill(member)
