"""The models that answer, in this process: a few bases in memory, each with its own thread.

The same class stands behind `python -m jobs serve` on one machine and in every replica on a
cluster (`jobs.serving.replicas`).
"""

import asyncio
import contextlib
import threading
import time
from collections import OrderedDict, deque
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
    turn: float = 20.0
    """Seconds that a busy base keeps its place at least, though others wait for one."""
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
        self._in_memory: dict[Resident, float] = {}
        """Those that have a place, and others that end, until their memory is free again; the one
        that has it longest first, with the time it was given."""
        self._line: list[Resident] = []
        """Those that wait for a place, in the order in which they came."""
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
                self._begin(Resident(self, key, answering.order.model.weights))
            self._held.move_to_end(key)
            self._held[key].ask(answering)
            self.changed.notify_all()

    def _begin(self, resident: "Resident") -> None:
        self._held[resident.key] = resident
        self._line.append(resident)
        resident.start()

    def make_room(self, newcomer: "Resident") -> bool:
        """Wait until one more base may be loaded: first come, first served.

        Returns:
            False: nobody wants the newcomer any more.
        """
        with self.changed:
            while not newcomer.closing and newcomer.is_wanted():
                if self._line[0] is newcomer:
                    if len(self._in_memory) < self.room.bases:
                        self._line.remove(newcomer)
                        self._in_memory[newcomer] = time.monotonic()
                        return True
                    self._let_go_idle()
                self.changed.wait(LOOKS_EVERY_SECONDS)
            self._line.remove(newcomer)
            self.dismiss(newcomer)
            return False

    def _let_go_idle(self) -> None:
        """Have an idle base end, unless one ends already."""
        idle = next((one for one in self._held.values() if one.is_idle()), None)
        if idle is not None and not any(one.closing for one in self._in_memory):
            self.dismiss(idle)

    def comes_first(self, resident: "Resident", answering: "Answering") -> bool:
        """Whether a question may be begun, although other bases wait for a place.

        The base that has its place longest gives it up after its turn: it begins what was asked
        before the others' questions, and no more.
        """
        with self.changed:
            if not self._line or resident is not next(iter(self._in_memory), None):
                return True
            if time.monotonic() - self._in_memory[resident] < self.room.turn:
                return True
            others = self._line[0].asked_at
            return others is None or answering.asked_at <= others

    def pass_on(self, resident: "Resident") -> None:
        """Have a base give up its place; who still waits for it goes to the end of the line."""
        from jobs.serving.resident import Resident

        with self.changed:
            self.dismiss(resident)
            if (waiting := [one for one in resident.waiting if one.wanted]) and not self.closed:
                again = Resident(self, resident.key, waiting[0].order.model.weights)
                resident.waiting.clear()
                again.waiting = deque(waiting)
                self._begin(again)

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
            self._in_memory.pop(resident, None)
            self.changed.notify_all()


def _key(model: Servable) -> tuple[Any, ...]:
    from jobs.bases import base_key
    from jobs.loaded import usual_precision

    return base_key(model.weights, usual_precision())
