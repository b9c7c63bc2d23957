"""Processors and GPUs that several drivers of one cluster share.

One actor of the cluster keeps the line. It knows nothing that the drivers do not: each tells it,
twice a second and when something changes, all that it waits for and all that it holds. So an actor
that was lost with its node, or with the driver that made it, is replaced by an empty one that soon
knows the same. What a driver holds that is not heard of any more comes free.

Ray itself still hands out what is real, so that two actors for a moment would only make work wait.
"""

import itertools
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from cluster.ending import Unwanted, never
from cluster.line import Held, Line, Request
from cluster.nodes import machines
from cluster.session import ClusterError
from cluster.slots import Share, Told, Turn, gpus_of, processors_of

NAMESPACE = "codeladder"
NAME = "slots-1"
"""Of the actor; the number is raised by hand when what is told to it changes."""
BEAT_SECONDS = 0.5
LEASE_SECONDS = 30.0
"""What a driver holds comes free when it was not heard of for so long."""
SETTLE_SECONDS = 3.0
"""A new actor lets nobody begin before the drivers have told it what they hold."""
NODES_SECONDS = 2.0
"""Between two counts of what the cluster has."""
ANSWER_SECONDS = 20.0
"""For an answer of the actor; after that another one is looked for."""
TRIES = 4
"""To reach the actor at the start of a driver."""
GPUS, PROCESSORS = "GPUs", "processors"

Totals = Mapping[str, Mapping[str, int]]
"""All slots of each resource, by kind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """Everything that one driver waits for and holds, under numbers of its own."""

    waiting: dict[int, tuple[str, Request, float]] = field(default_factory=dict)
    """Resource, what for, and for how many seconds by now."""
    holding: dict[int, tuple[str, Request, Held]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a driver is told."""

    begin: dict[int, Held]
    """Of those that it said are waiting, who may begin."""
    totals: Totals


class Desk:
    """The lines of one cluster. Not safe for threads."""

    def __init__(self, now: float) -> None:
        self._lines = {GPUS: Line({}), PROCESSORS: Line({})}
        self._totals: Totals = {}
        self._known: dict[str, dict[int, str]] = {}
        """Of each driver, the resource of each of its numbers."""
        self._heard: dict[str, float] = {}
        self._opens = now + SETTLE_SECONDS

    def resize(self, totals: Totals) -> None:
        """The cluster has so much now."""
        self._totals = totals
        for resource, line in self._lines.items():
            line.resize(totals[resource])

    def exchange(self, driver: str, state: State, now: float) -> Answer:
        """Hear a driver, and tell it who of its own may begin.

        Args:
            driver: unlike any other.
            state: all that it waits for and holds.
            now: seconds on a clock that only rises.
        """
        self._heard[driver] = now
        self._note(driver, state, now)
        for silent in [name for name, at in self._heard.items() if now - at > LEASE_SECONDS]:
            self._note(silent, State(), now)
            del self._heard[silent], self._known[silent]
        if now >= self._opens:
            for line in self._lines.values():
                line.decide()
        begin = {
            number: held
            for number, (resource, _, _) in state.waiting.items()
            if (held := self._lines[resource].held((driver, number)))
        }
        return Answer(begin=begin, totals=self._totals)

    def _note(self, driver: str, state: State, now: float) -> None:
        known = self._known.setdefault(driver, {})
        for number in known.keys() - state.waiting.keys() - state.holding.keys():
            self._lines[known.pop(number)].leave((driver, number))
        for number, (resource, request, held) in state.holding.items():
            known[number] = resource
            if self._lines[resource].held((driver, number)) != held:
                self._lines[resource].hold((driver, number), request, held)
        for number, (resource, request, seconds) in state.waiting.items():
            if number not in known:
                known[number] = resource
                self._lines[resource].ask((driver, number), request, now - seconds)


class _Actor:
    """A desk in a process of its own."""

    def __init__(self) -> None:
        self._desk = Desk(time.monotonic())
        self._counted = float("-inf")

    def exchange(self, driver: str, state: State) -> Answer:
        now = time.monotonic()
        if now - self._counted > NODES_SECONDS:
            there = machines()
            self._desk.resize({GPUS: gpus_of(there), PROCESSORS: processors_of(there)})
            self._counted = now
        return self._desk.exchange(driver, state, now)


class Broker:
    """One driver's way to the slots that it shares; safe to use from many threads."""

    def __init__(self, driver: str, gpus: Share, processors: Share) -> None:
        """For one driver, whose name is unlike any other; see `sharing`."""
        self._driver = driver
        self._shares = {GPUS: gpus, PROCESSORS: processors}
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._changed = threading.Event()
        self._ended = threading.Event()
        self._waiting: dict[int, tuple[str, Request, float, Turn]] = {}
        self._holding: dict[int, tuple[str, Request, Held]] = {}
        self._totals: Totals = {}
        self._actor: Any = None

    @property
    def gpus(self) -> "SharedSlots":
        """GPUs to take."""
        return SharedSlots(self, GPUS)

    @property
    def processors(self) -> "SharedSlots":
        """Processors to take."""
        return SharedSlots(self, PROCESSORS)

    def share(self, resource: str) -> Share:
        """What this driver may have of a resource."""
        return self._shares[resource]

    def totals(self, resource: str) -> Mapping[str, int]:
        """All slots of a resource that there are now, by kind."""
        return self._totals[resource]

    def ask(self, resource: str, request: Request) -> tuple[int, Turn]:
        """Stand in line."""
        number, turn = next(self._numbers), Turn()
        with self._lock:
            self._waiting[number] = resource, request, time.monotonic(), turn
        self._changed.set()
        return number, turn

    def leave(self, number: int) -> None:
        """Leave the line, or give back what is held."""
        with self._lock:
            self._waiting.pop(number, None)
            self._holding.pop(number, None)
        self._changed.set()

    def exchange(self) -> None:
        """Tell the actor how things are here, and let begin whom it names.

        Raises:
            ray.exceptions.RayError: it does not answer; the next call looks for another.
        """
        import ray

        if self._actor is None:
            made = ray.remote(num_cpus=0, max_restarts=-1)(_Actor)
            self._actor = made.options(name=NAME, namespace=NAMESPACE, get_if_exists=True).remote()
        try:
            asked = self._actor.exchange.remote(self._driver, self._state())
            answer = ray.get(asked, timeout=ANSWER_SECONDS)
        except (ray.exceptions.RayError, ValueError):
            self._actor = None
            raise
        with self._lock:
            self._totals = answer.totals
            for number, held in answer.begin.items():
                if number in self._waiting:
                    resource, request, _, turn = self._waiting.pop(number)
                    self._holding[number] = resource, request, held
                    turn.begin(held)

    def _state(self) -> State:
        now = time.monotonic()
        with self._lock:
            return State(
                waiting={
                    number: (resource, request, now - since)
                    for number, (resource, request, since, _) in self._waiting.items()
                },
                holding=dict(self._holding),
            )

    def keep_exchanging(self) -> None:
        """Until `end`."""
        import ray

        while not self._ended.is_set():
            self._changed.wait(BEAT_SECONDS)
            self._changed.clear()
            try:
                self.exchange()
            except (ray.exceptions.RayError, ValueError):  # lost, or its name is being given away
                self._ended.wait(BEAT_SECONDS)

    def end(self) -> None:
        """Give everything back."""
        self._ended.set()
        self._changed.set()
        with self._lock:
            self._waiting.clear()
            self._holding.clear()


@contextmanager
def sharing(driver: str, gpus: Share, processors: Share) -> Iterator[Broker]:
    """Share the slots of the cluster that this process is connected to with other drivers.

    Raises:
        ClusterError: the cluster starts no actor.
    """
    import ray

    broker = Broker(driver, gpus, processors)
    _begin(broker)
    thread = threading.Thread(target=broker.keep_exchanging, daemon=True)
    thread.start()
    try:
        yield broker
    finally:
        broker.end()
        thread.join(ANSWER_SECONDS)
        with suppress(ray.exceptions.RayError, ValueError):
            broker.exchange()


def _begin(broker: Broker) -> None:
    """The first exchange; the actor may have to be started, or be about to end with its driver."""
    import ray

    for left in reversed(range(TRIES)):
        try:
            broker.exchange()
            return
        except (ray.exceptions.RayError, ValueError) as error:
            if not left:
                raise ClusterError(
                    f"the cluster starts no actor to share its GPUs and processors: {error}"
                ) from error
            time.sleep(BEAT_SECONDS)


@dataclass(frozen=True, slots=True)
class SharedSlots:
    """One resource of a cluster that drivers share: a `cluster.slots.Taking`."""

    broker: Broker
    resource: str

    @property
    def total(self) -> int:
        """The most that one request can hold of those there are now."""
        return self.broker.share(self.resource).most(self.broker.totals(self.resource))

    @contextmanager
    def take(
        self,
        count: int,
        *,
        rank: float,
        least: int | None = None,
        unwanted: Unwanted = never,
        told: Told = print,
    ) -> Iterator[Held]:
        """Hold slots, see `cluster.slots.Taking`; where there are too few, wait for nodes."""
        request = self.broker.share(self.resource).request(count, least, rank)
        number, turn = self.broker.ask(self.resource, request)
        try:
            yield turn.wait(unwanted, self._once(request, told))
        finally:
            self.broker.leave(number)

    def _once(self, request: Request, told: Told) -> Callable[[], None]:
        """Says, the first time that it is so, that the cluster is too small for now."""
        said = False

        def look() -> None:
            nonlocal said
            if not said and request.least > self.total:
                said = True
                what = f"{request.kind} {self.resource}".strip()
                told(f"waits for {request.least} {what}: the cluster has {self.total} now")

        return look
