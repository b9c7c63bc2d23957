"""Where questions wait for a model: so many and no more; an answer ends when its asker leaves."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Protocol

from fastapi import Request

from jobs.serving.order import Order
from jobs.serving.telling import Told
from jobs.shelf import Servable


class BusyError(Exception):
    """Too many questions wait already."""


class Answerer(Protocol):
    """What writes answers: `jobs.serving.engine.ModelEngine`, here or on a cluster."""

    def state(self, model: Servable) -> str:
        """`loaded`, `loading`, `starting` (a replica) or `waiting` (on disk); may take a moment."""

    def answer(self, order: Order) -> AsyncGenerator[Told]:
        """One answer as it is written; closing the iterator ends the work."""

    def close(self) -> None:
        """End every answer, and let go of the models."""


class Job:
    """An order on its way, in a task of its own: it ends whether or not anybody reads it."""

    def __init__(self, answerer: Answerer, order: Order, request: Request) -> None:
        """Begin to write, and to look whether the asker is still there."""
        self._told: asyncio.Queue[Told | Exception | None] = asyncio.Queue()
        self.task = asyncio.create_task(self._write(answerer, order))
        watcher = asyncio.create_task(self._watch(request))
        self.task.add_done_callback(lambda _: watcher.cancel())

    async def told(self) -> AsyncIterator[Told]:
        """Pieces of the answer, and before them what it is waiting for, in words.

        It ends without a last piece where the asker left. Raises whatever the engine raised.
        """
        try:
            while (told := await self._told.get()) is not None:
                if isinstance(told, Exception):
                    raise told
                yield told
        finally:
            self.task.cancel()

    async def _write(self, answerer: Answerer, order: Order) -> None:
        try:
            async with aclosing(answerer.answer(order)) as pieces:
                async for said in pieces:
                    self._told.put_nowait(said)
        except Exception as error:  # told to the asker, in whose request it is raised
            self._told.put_nowait(error)
        finally:
            self._told.put_nowait(None)

    async def _watch(self, request: Request) -> None:
        """End the work when the connection ends: after the body nothing else is received."""
        while (await request.receive())["type"] != "http.disconnect":
            pass
        self.task.cancel()


class Desk:
    """Takes orders up to a limit."""

    def __init__(self, answerer: Answerer, *, most: int = 48) -> None:
        """Have at most so many answers written or waiting."""
        self.answerer = answerer
        self.most = most
        self._jobs: set[asyncio.Task[None]] = set()

    @property
    def pending(self) -> int:
        """Answers that are being written or wait, and that somebody still wants."""
        return len(self._jobs)

    def take(self, order: Order, request: Request) -> Job:
        """Put an order into the queue.

        Raises:
            BusyError: the queue is full.
        """
        if self.pending >= self.most:
            raise BusyError(f"{self.pending} questions are being answered or wait already")
        job = Job(self.answerer, order, request)
        self._jobs.add(job.task)
        job.task.add_done_callback(self._jobs.discard)
        return job

    def close(self) -> None:
        """Let go of every order."""
        for task in tuple(self._jobs):
            task.cancel()
        self.answerer.close()
