"""Where questions wait for a model: a bounded queue; an answer ends when its asker leaves."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from fastapi import Request

from jobs.experiment import Asking
from jobs.shelf import Servable

if TYPE_CHECKING:
    from jobs.engine import Piece

LOOKS_EVERY_SECONDS = 0.1


class BusyError(Exception):
    """Too many questions wait already."""


class Answerer(Protocol):
    """What writes answers: see `Shelf`."""

    def state(self, model: Servable) -> str:
        """`loaded`, `loading` or `waiting` (on disk)."""

    def answer(
        self, model: Servable, text: str, asking: Asking, stop: Sequence[str], seed: int
    ) -> Iterator["Piece"]:
        """One answer as it is written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A question put to a model."""

    model: Servable
    text: str
    asking: Asking
    stop: tuple[str, ...]
    seed: int


class Job:
    """An order on its way; its pieces come from a thread."""

    def __init__(self, order: Order, request: Request) -> None:
        """Begin to look whether the asker is still there."""
        self.order = order
        self.left = threading.Event()
        self._loop = asyncio.get_running_loop()
        self._told: asyncio.Queue[Piece | str | Exception | None] = asyncio.Queue()
        self._watcher = self._loop.create_task(self._watch(request))

    def write(self, answerer: Answerer) -> None:
        """Write the answer, in a thread, for as long as somebody wants it."""
        try:
            if not self.left.is_set():
                known = answerer.state(self.order.model) == "loaded"
                self._tell("writing" if known else "loading the model")
                self._write(answerer)
        except Exception as error:  # told to the asker, in whose request it is raised
            self._tell(error)
        finally:
            self._tell(None)

    async def told(self) -> AsyncIterator["Piece | str"]:
        """Pieces of the answer, and before them what it is waiting for, in words.

        Raises whatever the engine raised.
        """
        try:
            while (told := await self._told.get()) is not None:
                if isinstance(told, Exception):
                    raise told
                yield told
        finally:
            self.left.set()
            self._watcher.cancel()

    def _write(self, answerer: Answerer) -> None:
        order = self.order
        pieces = answerer.answer(order.model, order.text, order.asking, order.stop, order.seed)
        for piece in pieces:
            if self.left.is_set():
                return
            self._tell(piece)

    def _tell(self, said: "Piece | str | Exception | None") -> None:
        with contextlib.suppress(RuntimeError):  # the server's loop is closed: nobody listens
            self._loop.call_soon_threadsafe(self._told.put_nowait, said)

    async def _watch(self, request: Request) -> None:
        while not self.left.is_set():
            if await request.is_disconnected():
                self.left.set()
                self._told.put_nowait(None)
            await asyncio.sleep(LOOKS_EVERY_SECONDS)


class Desk:
    """Takes orders up to a limit, and has few written at once."""

    def __init__(self, answerer: Answerer, *, at_once: int = 1, waiting: int = 8) -> None:
        """Write `at_once` answers at a time while at most `waiting` more wait."""
        self.answerer = answerer
        self.at_once = at_once
        self.most = at_once + waiting
        self._jobs: set[Job] = set()
        self._threads = ThreadPoolExecutor(at_once, thread_name_prefix="answer")

    @property
    def pending(self) -> int:
        """Answers that are being written or wait, and that somebody still wants."""
        return sum(not job.left.is_set() for job in self._jobs)

    def take(self, order: Order, request: Request) -> Job:
        """Put an order into the queue.

        Raises:
            BusyError: the queue is full.
        """
        if self.pending >= self.most:
            raise BusyError(f"{self.pending - self.at_once} questions wait already")
        job = Job(order, request)
        self._jobs.add(job)
        loop = asyncio.get_running_loop()

        def leave(_: "Future[None]") -> None:
            with contextlib.suppress(RuntimeError):  # as in Job._tell
                loop.call_soon_threadsafe(self._jobs.discard, job)

        self._threads.submit(job.write, self.answerer).add_done_callback(leave)
        return job

    def close(self) -> None:
        """Let go of every order."""
        for job in self._jobs:
            job.left.set()
        self._threads.shutdown(wait=False, cancel_futures=True)
