"""Who may start next: processors and GPUs handed out in order of priority, first come first served.

Ray alone starves a gang behind a stream of small tasks: it starts whatever fits. Here the first in
line reserves; what stands behind it waits, so a gang is never overtaken for ever.
"""

import heapq
import itertools
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from cluster.ending import LOOK_SECONDS, Unwanted, UnwantedError, never


class Slots:
    """A counted resource of the cluster; safe to use from many threads."""

    def __init__(self, total: int) -> None:
        self.total = total
        self._free = total
        self._waiting: list[tuple[int, int]] = []
        self._ticket = itertools.count()
        self._changed = threading.Condition()

    @contextmanager
    def take(
        self, count: int, *, priority: int, least: int | None = None, unwanted: Unwanted = never
    ) -> Iterator[int]:
        """Hold `count` slots; the lowest priority goes first, equals in order of arrival.

        Args:
            count: how many.
            priority: see above.
            least: begin as soon as so many are free, with those that are.
            unwanted: whether to leave the line.

        Yields:
            How many are held: `count`, or with `least` perhaps fewer.

        Raises:
            ValueError: there are not that many, so it would wait for ever.
            UnwantedError: it left the line, and holds nothing.
        """
        least = count if least is None else least
        if least > self.total:
            raise ValueError(f"{least} slots asked for, but there are {self.total}")
        with self._changed:
            self._wait(priority, least, unwanted)
            held = min(count, self._free)
            self._free -= held
            self._changed.notify_all()
        try:
            yield held
        finally:
            with self._changed:
                self._free += held
                self._changed.notify_all()

    def _wait(self, priority: int, least: int, unwanted: Unwanted) -> None:
        """Stand in line until so many are free and it is our turn."""
        me = (priority, next(self._ticket))
        heapq.heappush(self._waiting, me)
        try:
            while not self._changed.wait_for(lambda: self._is_next(me, least), LOOK_SECONDS):
                if unwanted():
                    raise UnwantedError
        finally:
            self._waiting.remove(me)
            heapq.heapify(self._waiting)
            self._changed.notify_all()

    def _is_next(self, me: tuple[int, int], least: int) -> bool:
        return self._waiting[0] == me and self._free >= least
