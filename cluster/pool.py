"""Many items through a few workers that keep what they have set up, on the cluster's processors."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol, TypeVar

import ray

from cluster.ending import LOOK_SECONDS, Unwanted, UnwantedError, never

Item = TypeVar("Item", contravariant=True)
Result = TypeVar("Result", covariant=True)
RESTARTS = 3
SECONDS_TO_CLOSE = 60.0
"""For a worker that has a `close`: it may have to end another program."""


class Worker(Protocol[Item, Result]):
    """What is set up once and works many times.

    Where it has a `close`, that is called and waited for before its actor ends, unless it is at
    work then.
    """

    def work(self, item: Item) -> Result:
        """The result for one item; safe to repeat."""


def scatter(
    worker: Callable[..., Worker[Item, Result]],
    rest: Sequence[Any],
    items: Sequence[Item],
    *,
    at_most: int,
    gpus: bool = False,
    kind: str = "",
    unwanted: Unwanted = never,
) -> Iterator[tuple[int, Result]]:
    """Have `items` worked on by up to `at_most` actors of one processor, or one GPU, each.

    An actor gets its next item when it has given back the last, so memory is bounded by actors
    and not by items; when there is none, the actor ends and its processor is free. Where an actor
    dies, alone or with its node, another takes its place and works on its item again, up to three
    times an item.

    Args:
        worker: class of the actors.
        rest: what each is made with.
        items: work.
        at_most: actors at once.
        gpus: one for each.
        kind: of GPU, as Ray names it; empty: any.
        unwanted: whether to end all actors at once, at work or not.

    Yields:
        (position of the item, result), in order of completion.

    Raises:
        Exception: what `work` raised, as it was; or Ray's error when an item lost four actors.
        UnwantedError: it was ended.
    """
    shared = [ray.put(value) for value in rest]
    crew = _Crew(worker, shared, _takes(gpus, kind), unwanted)
    waiting = iter(enumerate(items))
    try:
        for place, item in islice(waiting, max(at_most, 1)):
            crew.start(crew.hire(), place, item)
        while crew.running:
            place, member, result = crew.next()
            following = next(waiting, None)
            if following is None:
                crew.dismiss(member)
            else:
                crew.start(member, *following)
            yield place, result
    finally:
        crew.close()


def _takes(gpus: bool, kind: str) -> dict[str, Any]:
    """What Ray reserves for one worker."""
    more = {"accelerator_type": kind} if kind else {}
    return {"num_cpus": 1, "num_gpus": 1 if gpus else 0, **more}


@dataclass(slots=True)
class _Order:
    member: Any
    place: int
    item: Any
    left: int
    """Times that it may still be given to another member."""


class _Crew:
    """Actors and what each works on.

    Ray could start a dead actor again by itself, but warns of it where the constructor takes what
    lies in its object store; here another one takes its place.
    """

    def __init__(
        self,
        worker: Callable[..., Any],
        shared: Sequence[Any],
        takes: dict[str, Any],
        unwanted: Unwanted,
    ) -> None:
        self._actor = ray.remote(worker).options(**takes)
        self._closes = hasattr(worker, "close")
        self._shared = shared
        self._unwanted = unwanted
        self._members: list[Any] = []
        self.running: dict[Any, _Order] = {}

    def hire(self) -> Any:
        """A new member."""
        member = self._actor.remote(*self._shared)
        self._members.append(member)
        return member

    def start(self, member: Any, place: int, item: Any, left: int = RESTARTS) -> None:
        """Give a member its next item."""
        self.running[member.work.remote(item)] = _Order(member, place, item, left)

    def next(self) -> tuple[int, Any, Any]:
        """Wait for a result: its item's place, who is free now, and what it is."""
        while True:
            done = self._one_done()
            order = self.running.pop(done)
            try:
                return order.place, order.member, ray.get(done)
            except ray.exceptions.RayActorError:
                if not order.left:
                    raise
                self._members.remove(order.member)
                self.start(self.hire(), order.place, order.item, order.left - 1)
            except ray.exceptions.RayTaskError as error:
                raise error.cause from None

    def _one_done(self) -> Any:
        while True:
            if self._unwanted():
                raise UnwantedError
            done, _ = ray.wait(list(self.running), num_returns=1, timeout=LOOK_SECONDS)
            if done:
                return done[0]

    def dismiss(self, member: Any) -> None:
        """End a member, so that its processor is free."""
        self._members.remove(member)
        self._end([member])

    def close(self) -> None:
        """End all members."""
        self._end(self._members)

    def _end(self, members: Sequence[Any]) -> None:
        busy = [order.member for order in self.running.values()]
        if closing := [m.close.remote() for m in members if self._closes and m not in busy]:
            ray.wait(closing, num_returns=len(closing), timeout=SECONDS_TO_CLOSE)
        for member in members:
            ray.kill(member)
