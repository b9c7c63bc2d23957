"""Processors and GPUs as the threads of one driver take and give them back; `cluster/line.py`
decides who is next."""

import itertools
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Protocol

from cluster.ending import LOOK_SECONDS, Unwanted, UnwantedError, never
from cluster.line import Held, Line, Request
from cluster.nodes import Machine

Told = Callable[[str], None]
"""Takes a line for people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """What one experiment may have of a cluster."""

    experiment: str = ""
    priority: int = 0
    """Of several experiments the one with the highest goes first."""
    limit: int | None = None
    """The most slots it holds at once; None: all."""
    kind: str = ""
    """Of GPUs that will do; empty: any."""

    def request(self, count: int, least: int | None, rank: float) -> Request:
        """What a stage of it asks for; `least` may be left out, see `Taking.take`.

        Raises:
            ValueError: the experiment never holds so many.
        """
        least = count if least is None else least
        if self.limit is not None and least > self.limit:
            raise ValueError(f"{least} slots asked for, but the experiment may hold {self.limit}")
        return Request(
            count=count,
            least=least,
            experiment=self.experiment,
            priority=self.priority,
            rank=rank,
            limit=self.limit,
            kind=self.kind,
        )

    def most(self, totals: Mapping[str, int]) -> int:
        """The most slots that one request can hold where there are so many, by kind."""
        there = totals.get(self.kind, 0) if self.kind else max(totals.values(), default=0)
        return there if self.limit is None else min(there, self.limit)


class Taking(Protocol):
    """Slots to take: those of a cluster of our own, or those that several drivers share."""

    @property
    def total(self) -> int:
        """The most that one request can ever hold of those there are now."""

    def take(
        self,
        count: int,
        *,
        rank: float,
        least: int | None = None,
        unwanted: Unwanted = never,
        told: Told = ...,
    ) -> AbstractContextManager[Held]:
        """Hold slots; see `cluster.line` for the order.

        Args:
            count: how many.
            rank: the lowest of the experiment goes first.
            least: begin as soon as so many are free, with those that are.
            unwanted: whether to leave the line.
            told: hears why nothing can start for now, where there are not so many.

        Yields:
            What is held: `count`, or with `least` perhaps fewer.

        Raises:
            ValueError: there will never be that many.
            UnwantedError: it left the line, and holds nothing.
        """


class Slots:
    """Slots of a cluster of our own, whose machines stay; safe to use from many threads."""

    def __init__(self, totals: Mapping[str, int] | int, share: Share | None = None) -> None:
        """All there are, by kind; a number: of one kind."""
        by_kind = {"": totals} if isinstance(totals, int) else totals
        self._line = Line(by_kind)
        self._share = share or Share()
        self._total = self._share.most(by_kind)
        self._keys = itertools.count()
        self._lock = threading.Lock()
        self._turns: dict[int, Turn] = {}

    @property
    def total(self) -> int:
        """See `Taking`."""
        return self._total

    @property
    def waiting(self) -> int:
        """How many stand in line."""
        with self._lock:
            return len(self._turns)

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
        """See `Taking`."""
        request = self._share.request(count, least, rank)
        if request.least > self.total:
            raise ValueError(f"{request.least} slots asked for, but there are {self.total}")
        key, turn = next(self._keys), Turn()
        try:
            with self._lock:
                self._turns[key] = turn
                self._line.ask(key, request)
                self._call()
            yield turn.wait(unwanted)
        finally:
            with self._lock:
                self._turns.pop(key, None)
                self._line.leave(key)
                self._call()

    def _call(self) -> None:
        """Let everybody begin whose turn it is."""
        for key, held in self._line.decide().items():
            self._turns.pop(key).begin(held)  # type: ignore[call-overload]  # our keys are numbers


class Turn:
    """One thread that waits for slots."""

    def __init__(self) -> None:
        self._come = threading.Event()
        self._held = Held(0)

    def begin(self, held: Held) -> None:
        """Wake it; from here on it holds this."""
        self._held = held
        self._come.set()

    def wait(self, unwanted: Unwanted, look: Callable[[], None] = lambda: None) -> Held:
        """What it holds, once it does.

        Args:
            unwanted: whether to wait no longer.
            look: is called now and then.

        Raises:
            UnwantedError: nobody wants it any more.
        """
        while not self._come.wait(LOOK_SECONDS):
            look()
            if unwanted():
                raise UnwantedError
        return self._held


def gpus_of(machines: Sequence[Machine]) -> dict[str, int]:
    """GPUs by kind; those of which Ray does not know it are of one without a name.

    Each node counts alone, so one that joins changes nothing of what is held.
    """
    found: dict[str, int] = {}
    for machine in machines:
        if machine.alive and machine.gpus >= 1:
            found[machine.gpu_kind] = found.get(machine.gpu_kind, 0) + int(machine.gpus)
    return found


def processors_of(machines: Sequence[Machine]) -> dict[str, int]:
    """Processors that work without a GPU may take: one is left for each GPU, whose worker needs
    it."""
    left = (int(max(0, m.cpus - m.gpus)) for m in machines if m.alive)
    return {"": max(1, sum(left))}
