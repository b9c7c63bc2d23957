"""Who may start next: a line of requests for processors or GPUs, in order, without gaps or threads.

Ray starts whatever fits, so a gang starves behind a stream of small tasks. Here the first in line
reserves. Who stands behind it may still start, but only on slots whose loss cannot delay the first
by a moment, however long anybody works.

The order: the highest priority first; then who came first. An experiment's places in line are its
own to give: requests for a large part of all slots stand in its earliest places, the widest first,
because what is narrow fits in later; the others in the order of their rank.
"""

import heapq
from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain, count

WIDE = 1 / 8
"""A request for more than this part of all slots is a wide one. Found in simulations: among many
slots the longest work has to start first, among few the widest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Slots that one stage of one run waits for."""

    count: int
    least: int
    """It begins as soon as so many are free, with those that are, up to `count`."""
    experiment: str = ""
    priority: int = 0
    """Of the experiment; the highest goes first."""
    rank: float = 0.0
    """Within the experiment the lowest goes first, but for wide requests."""
    limit: int | None = None
    """The most slots that the experiment may hold at once."""
    kind: str = ""
    """Of slots; empty: any one kind."""


@dataclass(frozen=True, slots=True)
class Held:
    """Slots that somebody holds, all of one kind."""

    count: int
    kind: str = ""


class Line:
    """Slots of one resource, by kind; who holds them, and who waits. Not safe for threads."""

    def __init__(self, totals: Mapping[str, int]) -> None:
        """All slots that there are, by kind."""
        self._totals = dict(totals)
        self._held: dict[Hashable, tuple[Request, Held]] = {}
        self._used: dict[str, int] = defaultdict(int)
        self._queues: dict[tuple[int, str], _Queue] = {}
        self._waiting: dict[Hashable, tuple[_Queue, _Waiter]] = {}
        self._arrivals = count()

    @property
    def totals(self) -> dict[str, int]:
        """All slots that there are, by kind."""
        return dict(self._totals)

    def held(self, key: Hashable) -> Held | None:
        """What somebody holds; None: nothing."""
        return self._held[key][1] if key in self._held else None

    @property
    def holdings(self) -> list[Held]:
        """What all hold."""
        return [held for _, held in self._held.values()]

    def ask(self, key: Hashable, request: Request, at: float = 0.0) -> None:
        """Stand in line.

        Args:
            key: of who asks, unlike that of any other.
            request: for what.
            at: when it came; of those who came at the same time, who asked first was first.
        """
        place = (at, next(self._arrivals))
        is_wide = request.least > WIDE * sum(self._totals.values())
        order = (-request.least if is_wide else 0, request.rank, *place)
        waiter = _Waiter(order=order, key=key, request=request)
        queue = self._queues.setdefault((-request.priority, request.experiment), _Queue())
        queue.add(waiter, place)
        self._waiting[key] = queue, waiter

    def leave(self, key: Hashable) -> None:
        """Leave the line, or give back what is held; nothing where neither is so."""
        if key in self._waiting:
            queue, waiter = self._waiting.pop(key)
            queue.remove(waiter)
        if key in self._held:
            request, held = self._held.pop(key)
            self._used[request.experiment] -= held.count

    def hold(self, key: Hashable, request: Request, held: Held) -> None:
        """Note what somebody holds, whether there is as much or not."""
        self.leave(key)
        self._held[key] = request, held
        self._used[request.experiment] += held.count

    def resize(self, totals: Mapping[str, int]) -> None:
        """There are so many slots now; who holds more keeps them."""
        self._totals = dict(totals)

    def decide(self) -> dict[Hashable, Held]:
        """Who may start now, and with what; from here on they hold it."""
        started = {}
        room = _Room.of(self)
        used = dict(self._used)
        for waiter in self._in_line():
            if not room.any:
                break
            request = waiter.request
            allowed = request.count
            if request.limit is not None:
                allowed = min(allowed, request.limit - used.get(request.experiment, 0))
            if allowed < request.least:
                continue
            held = room.take(request, allowed)
            if held:
                started[waiter.key] = held
                used[request.experiment] = used.get(request.experiment, 0) + held.count
        for key, held in started.items():
            self.hold(key, self._waiting[key][1].request, held)
        return started

    def _in_line(self) -> Iterator["_Waiter"]:
        """Everybody who waits, the first one first."""
        places = [queue.places(rank) for (rank, _), queue in self._queues.items() if queue.waiters]
        for _, _, waiter in heapq.merge(*places) if len(places) > 1 else chain(*places):
            yield waiter


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class _Waiter:
    order: tuple[float, ...]
    """Within its experiment; unlike that of any other."""
    key: Hashable = field(compare=False)
    request: Request = field(compare=False)


@dataclass(frozen=True, slots=True)
class _Queue:
    """Who waits of one experiment, the first one first; the nth stands in the nth place."""

    waiters: list[_Waiter] = field(default_factory=list)
    tickets: list[tuple[float, int]] = field(default_factory=list)
    """Places in the whole line."""

    def add(self, waiter: _Waiter, ticket: tuple[float, int]) -> None:
        insort(self.waiters, waiter)
        insort(self.tickets, ticket)

    def remove(self, waiter: _Waiter) -> None:
        place = bisect_left(self.waiters, waiter)
        del self.waiters[place]
        del self.tickets[place]

    def places(self, rank: int) -> Iterator[tuple[int, tuple[float, int], _Waiter]]:
        for ticket, waiter in zip(self.tickets, self.waiters, strict=True):
            yield rank, ticket, waiter


@dataclass(slots=True)
class _Room:
    """What is free while one decision is made, and what is reserved of it."""

    totals: Mapping[str, int]
    free: dict[str, int]
    sums: dict[str, int]
    """Of each kind, bit n: some of those who hold slots hold n together."""
    reserved: dict[str, int] = field(default_factory=dict)
    """Of each kind, how many the first who has to wait for it wants."""

    @classmethod
    def of(cls, line: Line) -> "_Room":
        free, sums = dict(line.totals), dict.fromkeys(line.totals, 1)
        for held in line.holdings:
            if held.kind in free:
                free[held.kind] -= held.count
                sums[held.kind] |= sums[held.kind] << held.count
        return cls(line.totals, free, sums)

    @property
    def any(self) -> bool:
        """Whether anything is free."""
        return any(free > 0 for free in self.free.values())

    def take(self, request: Request, allowed: int) -> Held | None:
        """Slots for one request, up to `allowed`; where too few are free, it reserves."""
        kinds = [request.kind] if request.kind else self.totals
        there = [kind for kind in kinds if self.totals.get(kind, 0) >= request.least]
        if not there:
            return None
        usable, kind = max((self._usable(kind), kind) for kind in there)
        if usable < request.least:
            self._reserve(request.least, there)
            return None
        taken = min(usable, allowed)
        self.free[kind] -= taken
        self.sums[kind] |= self.sums[kind] << taken
        return Held(taken, kind)

    def _reserve(self, least: int, kinds: list[str]) -> None:
        """One request reserves one kind: what is free of it only grows then."""
        _, kind = max((self.free[kind], kind) for kind in kinds)
        self.reserved.setdefault(kind, least)

    def _usable(self, kind: str) -> int:
        """What is free of a kind and cannot delay whoever reserved it.

        That one starts when some of those who hold slots have given back `lacking` or more. If the
        least such sum is larger, so many slots are left over whoever is the first to end.
        """
        free = self.free[kind]
        if kind not in self.reserved:
            return free
        lacking = self.reserved[kind] - free
        enough = self.sums[kind] >> lacking
        if not enough:  # even all of them together: nodes are gone, and nothing helps
            return free
        spare = (enough & -enough).bit_length() - 1
        return min(free, spare)
