"""The models that answer, in this process: a few bases in memory, each with its own thread.

The same class stands behind `python -m jobs serve` on one machine and in every replica on a
cluster (`jobs.serving.replicas`).
"""

import asyncio
import contextlib
import threading
from collections import OrderedDict
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jobs.serving.order import Order
from jobs.serving.telling import WAITING, Told
from jobs.shelf import Servable

if TYPE_CHECKING:
    from jobs.serving.answering import Answering
    from jobs.serving.resident import Resident

CLOSING_SECONDS = 5.0
"""The longest wait for bases that end: for tokens that are being written, and the memory."""
LOOKS_EVERY_SECONDS = 0.1
"""How often a base that waits for room looks whether anybody still wants it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What may be in memory at once, and for how long. Picklable."""

    bases: int = 4
    """Bases, and models of weights of their own; the one not asked for longest makes room."""
    adapters: int = 16
    """Adapters beside each base."""
    seats: int = 16
    """Answers that are written at once on each base."""
    idle: float = 1800.0
    """Seconds without a question after which a base is let go."""


class ModelEngine:
    """Answers questions; those to one base and its adapters are written together."""

    def __init__(self, room: Room | None = None) -> None:
        """Load nothing yet."""
        self.room = room or Room()
        self.changed = threading.Condition()
        """Guards what waits for whom, here and in every `Resident`."""
        self.loading = threading.Lock()
        """Held while weights are read: transformers and peft do that in one thread at a time."""
        self._held: OrderedDict[tuple[Any, ...], Resident] = OrderedDict()
        """Those that take questions, the one asked last at the end."""
        self._in_memory: set[Resident] = set()
        """Those and others that end, until their memory is free again."""
        self.closed = False

    def state(self, model: Servable) -> str:
        """`loaded`, `loading` or `waiting` (on disk)."""
        if not self._held:  # nor is torch imported to find out
            return "waiting"
        key = _key(model)
        with self.changed:
            resident = self._held.get(key)
            return resident.state_of(model.weights.adapter) if resident else "waiting"

    async def answer(self, order: Order) -> AsyncGenerator[Told]:
        """One answer as it is written, and before it what it is waiting for.

        Closing the iterator ends the work before the next token.

        Raises:
            EngineError: the model cannot be asked this.
            OSError: there is no such model.
        """
        from jobs.serving.answering import Answering

        loop = asyncio.get_running_loop()
        told: asyncio.Queue[Told | Exception | None] = asyncio.Queue()

        def tell(said: Told | Exception | None) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody listens
                loop.call_soon_threadsafe(told.put_nowait, said)

        answering = Answering(order, tell)
        try:
            yield WAITING
            await asyncio.to_thread(self._ask, answering)  # which imports torch
            while (said := await told.get()) is not None:
                if isinstance(said, Exception):
                    raise said
                yield said
        finally:
            answering.left.set()

    def close(self) -> None:
        """End every answer before its next token, and let go of the models."""
        with self.changed:
            self.closed = True
            for resident in tuple(self._held.values()):
                self.dismiss(resident)
            self.changed.wait_for(lambda: not self._in_memory, CLOSING_SECONDS)

    def _ask(self, answering: "Answering") -> None:
        from jobs.serving.resident import Resident

        key = _key(answering.order.model)
        with self.changed:
            if self.closed:
                answering.finish(RuntimeError("the server is being stopped"))
                return
            if key not in self._held:
                self._held[key] = Resident(self, key, answering.order.model.weights)
                self._held[key].start()
            self._held.move_to_end(key)
            self._held[key].ask(answering)
            self.changed.notify_all()

    def make_room(self, newcomer: "Resident") -> bool:
        """Wait until one more base may be loaded; those that are idle are let go.

        Returns:
            False: nobody wants the newcomer any more.
        """
        with self.changed:
            while not newcomer.closing and newcomer.is_wanted():
                if len(self._in_memory) < self.room.bases:
                    self._in_memory.add(newcomer)
                    return True
                leaving = any(one.closing for one in self._in_memory)
                idle = next((one for one in self._held.values() if one.is_idle()), None)
                if idle is not None and not leaving:
                    self.dismiss(idle)
                self.changed.wait(LOOKS_EVERY_SECONDS)
            self.dismiss(newcomer)
            return False

    def let_go_one(self) -> bool:
        """Have an idle base end, and wait for its memory; False: there is none."""
        with self.changed:
            idle = next((one for one in self._held.values() if one.is_idle()), None)
            if idle is None:
                return False
            self.dismiss(idle)
            self.changed.wait_for(lambda: idle not in self._in_memory, CLOSING_SECONDS)
            return True

    def is_in_memory(self, resident: "Resident") -> bool:
        """Whether a base was given room: it is loaded or will be."""
        return resident in self._in_memory

    def dismiss(self, resident: "Resident") -> None:
        """Have a base end; the next question to it starts it anew."""
        with self.changed:
            resident.closing = True
            if self._held.get(resident.key) is resident:
                del self._held[resident.key]
            self.changed.notify_all()

    def gone(self, resident: "Resident") -> None:
        """Know that a base's memory is free again."""
        with self.changed:
            self._in_memory.discard(resident)
            self.changed.notify_all()


def _key(model: Servable) -> tuple[Any, ...]:
    from jobs.bases import base_key
    from jobs.loaded import usual_precision

    return base_key(model.weights, usual_precision())
