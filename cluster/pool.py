"""Many items through a few workers that keep what they have set up, on the cluster's processors."""

import os
import socket
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol, TypeVar

import ray

from cluster.ending import (
    LOOK_SECONDS,
    Lost,
    Unwanted,
    UnwantedError,
    how_lost,
    never,
    unheard,
)

Item = TypeVar("Item", contravariant=True)
Result = TypeVar("Result", covariant=True)
RESTARTS = 3
SILENT_SECONDS = 60.0
"""A worker that does not answer for so long is lost: its process is frozen."""
START_SECONDS = 120.0
"""The same before its first answer: it is set up meanwhile, which busy machines take long for."""
ASK_SECONDS = 5.0
"""Between two questions whether it is there."""
ALIVE = "alive"
"""The thread of a worker that answers them while another one works."""
SECONDS_TO_CLOSE = 60.0
"""For a worker that has a `close`: it may have to end another program."""


class PoolError(Exception):
    """Actors were lost too often at the same item. Calling again may go better."""


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
    lost: Lost = unheard,
) -> Generator[tuple[int, Result], None, None]:
    """Have `items` worked on by up to `at_most` actors of one processor, or one GPU, each.

    An actor gets its next item when it has given back the last, so memory is bounded by actors
    and not by items; when there is none, the actor ends and its processor is free. Where an actor
    dies, alone or with its node, or does not answer for `SILENT_SECONDS`, another takes its place
    and works on its item again, up to three times an item.

    Who looks at results and may fail at it closes the iterator (`contextlib.closing`): until then
    actors hold what they took, and a kept exception keeps it open.

    Args:
        worker: class of the actors.
        rest: what each is made with.
        items: work.
        at_most: actors at once.
        gpus: one for each.
        kind: of GPU, as Ray names it; empty: any.
        unwanted: whether to end all actors at once, at work or not.
        lost: is told which actor was lost and why, before another takes its place.

    Yields:
        (position of the item, result), in order of completion.

    Raises:
        Exception: what `work` raised, as it was.
        PoolError: an item lost four actors.
        UnwantedError: it was ended.
    """
    shared = [ray.put(value) for value in rest]
    crew = _Crew(worker, shared, _takes(gpus, kind), unwanted, lost)
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


@dataclass(slots=True)
class _Pulse:
    """Whether a member answers. It need not until it has a process, for which it may wait long."""

    question: Any = None
    asked: float = 0.0
    began: float | None = None
    """When its process was first seen."""
    where: str = ""
    """Its process and machine, once it is known."""
    answered: bool = False

    def silent(self, member: Any) -> float | None:
        """Ask again where it is time; for how many seconds it has been silent, if it is lost."""
        now = time.monotonic()
        if self.question is not None and ray.wait([self.question], timeout=0)[0]:
            self._hear()
        if self.question is None and now - self.asked > ASK_SECONDS:
            ask = member.__ray_call__.options(concurrency_group=ALIVE)
            self.question, self.asked = ask.remote(_where), now
        since = self.asked if self.answered else self._begun(member, now)
        patience = SILENT_SECONDS if self.answered else START_SECONDS
        return patience if self.question is not None and now - since > patience else None

    def _hear(self) -> None:
        with suppress(ray.exceptions.RayError):  # what it works on will tell
            self.where, self.answered = ray.get(self.question), True
        self.question = None

    def _begun(self, member: Any, now: float) -> float:
        """When its process was there; now, where it has none yet."""
        if self.began is None:
            known = ray._private.state.actors(member._actor_id.hex())
            if known.get("Pid"):
                self.began = now
                self.where = f"process {known['Pid']} on {known['Address']['IPAddress']}"
        return now if self.began is None else self.began


def _where(_: Any) -> str:
    return f"process {os.getpid()} on {socket.gethostname()}"


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
        lost: Lost,
    ) -> None:
        self._actor = ray.remote(concurrency_groups={ALIVE: 1})(worker).options(**takes)
        self._name = worker.__name__
        self._closes = hasattr(worker, "close")
        self._shared = shared
        self._unwanted = unwanted
        self._lost = lost
        self._pulses: dict[Any, _Pulse] = {}
        self._looked = 0.0
        self.running: dict[Any, _Order] = {}

    def hire(self) -> Any:
        """A new member."""
        member = self._actor.remote(*self._shared)
        self._pulses[member] = _Pulse()
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
            except ray.exceptions.RayTaskError as error:
                raise error.cause from None
            except ray.exceptions.RayError as error:  # its process, its node, or its result
                self._replace(order, how_lost(error) or f"lost its result ({error})")

    def _one_done(self) -> Any:
        while True:
            if self._unwanted():
                raise UnwantedError
            self._look()
            done, _ = ray.wait(list(self.running), num_returns=1, timeout=LOOK_SECONDS)
            if done:
                return done[0]

    def _look(self) -> None:
        """Replace members that do not answer, now and then."""
        if time.monotonic() - self._looked < LOOK_SECONDS:
            return
        self._looked = time.monotonic()
        for work, order in list(self.running.items()):
            seconds = self._pulses[order.member].silent(order.member)
            if seconds is not None:
                del self.running[work]
                self._replace(order, f"did not answer for {seconds:.0f} s")

    def _replace(self, order: _Order, reason: str) -> None:
        """Have another member work on the item of one that was lost."""
        pulse = self._pulses.pop(order.member)
        ray.kill(order.member)  # it may only be cut off
        who = f"{self._name}, {pulse.where}," if pulse.where else self._name
        if not order.left:
            raise PoolError(f"{who} {reason}: the {RESTARTS + 1}th on the same part of its work")
        self._lost(f"{who} {reason}; another takes its place, and its part is done again")
        self.start(self.hire(), order.place, order.item, order.left - 1)

    def dismiss(self, member: Any) -> None:
        """End a member, so that its processor is free."""
        del self._pulses[member]
        self._end([member])

    def close(self) -> None:
        """End all members."""
        self._end(list(self._pulses))

    def _end(self, members: Sequence[Any]) -> None:
        busy = [order.member for order in self.running.values()]
        if closing := [m.close.remote() for m in members if self._closes and m not in busy]:
            ray.wait(closing, num_returns=len(closing), timeout=SECONDS_TO_CLOSE)
        for member in members:
            ray.kill(member)
