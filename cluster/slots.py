"""Who may start next: processors and GPUs handed out in order of priority, first come first served.

Ray alone starves a gang behind a stream of small tasks: it starts whatever fits. Here the first in
line reserves; what stands behind it waits, so a gang is never overtaken for ever.
"""

import heapq
import itertools
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Slots:
    """A counted resource of the cluster; safe to use from many threads."""

    def __init__(self, total: int) -> None:
        self.total = total
        self._free = total
        self._waiting: list[tuple[int, int]] = []
        self._ticket = itertools.count()
        self._changed = threading.Condition()

    @contextmanager
    def take(self, count: int, *, priority: int, least: int | None = None) -> Iterator[int]:
        """Hold `count` slots; the lowest priority goes first, equals in order of arrival.

        Args:
            count: how many.
            priority: see above.
            least: begin as soon as so many are free, with those that are.

        Yields:
            How many are held: `count`, or with `least` perhaps fewer.

        Raises:
            ValueError: there are not that many, so it would wait for ever.
        """
        least = count if least is None else least
        if least > self.total:
            raise ValueError(f"{least} slots asked for, but there are {self.total}")
        with self._changed:
            me = (priority, next(self._ticket))
            heapq.heappush(self._waiting, me)
            self._changed.wait_for(lambda: self._waiting[0] == me and self._free >= least)
            heapq.heappop(self._waiting)
            held = min(count, self._free)
            self._free -= held
            self._changed.notify_all()
        try:
            yield held
        finally:
            with self._changed:
                self._free += held
                self._changed.notify_all()
