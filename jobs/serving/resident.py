"""A base in memory, with the thread that loads it, writes for it, and lets it go."""

import gc
import logging
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from jobs.bases import Base, shared, without_adapter
from jobs.loaded import EngineError, Loaded, load_model, usual_precision
from jobs.serving.answering import Answering
from jobs.serving.beside import Beside
from jobs.serving.table import Table, too_little_memory
from jobs.serving.telling import LOADING_ADAPTER, LOADING_MODEL, WRITING, ahead
from jobs.training.shortage import is_shortage
from jobs.weights import Weights

if TYPE_CHECKING:
    from jobs.serving.engine import ModelEngine

LOGGER = logging.getLogger(__name__)


class Resident:
    """One base, and whoever waits for it. What is not private is guarded by `engine.changed`."""

    def __init__(self, engine: "ModelEngine", key: tuple[Any, ...], weights: Weights) -> None:
        """Load nothing yet.

        Args:
            engine: whose it is.
            key: of the base, see `jobs.bases.base_key`.
            weights: of any model that shares it.
        """
        self.engine = engine
        self.key = key
        self.waiting: deque[Answering] = deque()
        self.closing = False
        self._shared = shared(weights)
        self._weights = without_adapter(weights) if self._shared else weights
        self._base: Base | None = None
        self._table: Table | None = None
        self._putting: Path | None = None
        self._alone: set[Path] = set()
        """Adapters that are merged into the weights, because they do more than add to layers."""

    def start(self) -> None:
        """Begin to live, in a thread of its own."""
        threading.Thread(target=self._live, name="base", daemon=True).start()

    def ask(self, answering: Answering) -> None:
        """Have a question wait."""
        if self._table is None and self.engine.is_in_memory(self):
            answering.tell(LOADING_MODEL)
        elif self.waiting:
            answering.tell(ahead(len(self.waiting)))
        self.waiting.append(answering)

    def is_wanted(self) -> bool:
        """Whether anybody waits who has not left."""
        return any(one.wanted for one in self.waiting)

    @property
    def asked_at(self) -> float | None:
        """When the question was asked that waits longest; None: nobody waits."""
        return min((one.asked_at for one in self.waiting if one.wanted), default=None)

    def is_idle(self) -> bool:
        """Whether it is in memory for nobody."""
        table = self._table
        return table is not None and not table.taken and not self.is_wanted()

    def state_of(self, adapter: Path | None) -> str:
        """`loaded`, `loading` or `waiting` of the model with this adapter, or with none."""
        if self._table is None or self._base is None:
            return "loading" if self.engine.is_in_memory(self) else "waiting"
        if not self._shared or adapter is None:
            return "loaded"
        if adapter == self._putting:
            return "loading"
        there = adapter in self._table.beside.names or adapter == self._base.adapter
        return "loaded" if there else "waiting"

    def _live(self) -> None:
        failure: Exception | None = None
        try:
            if self.engine.make_room(self):
                self._load()
                while self._somebody_waits():
                    self._turn()
        except Exception as error:  # told to everybody who waits
            LOGGER.error("a base is let go", exc_info=error)
            failure = too_little_memory(error) or error
        self._end(failure)

    def _somebody_waits(self) -> bool:
        """Let those who left get up; wait for a question; False once it is time to let go."""
        self._the_table.leave()
        if self._the_table.taken:
            return not self.closing
        first = self._first()
        if first is not None and not self.engine.comes_first(self, first):
            self.engine.pass_on(self)
        let_go = time.monotonic() + self.engine.room.idle
        with self.engine.changed:
            while not self.closing and not self.waiting:
                in_time = self.engine.changed.wait(let_go - time.monotonic())
                if not in_time and not self.waiting:  # one may have come at the last moment
                    self.engine.dismiss(self)
            return not self.closing

    def _load(self) -> None:
        with self.engine.changed:
            for one in self.waiting:
                one.tell(LOADING_MODEL)
        loaded = self._read()
        room = self.engine.room
        beside = Beside(loaded.model, room.adapters)
        self._base, self._table = Base(loaded), Table(loaded, beside, room.seats)

    def _read(self) -> Loaded:
        """The base from its disk; where memory does not suffice, others that are idle make room."""
        while True:
            try:
                with self.engine.loading:
                    return load_model(self._weights, usual_precision())
            except RuntimeError as error:
                if not is_shortage(error):
                    raise
                failure = str(error)
            if not self.engine.let_go_one():
                raise EngineError(f"the model does not fit into memory: {failure}")

    def _turn(self) -> None:
        """Let one more sit down, and write a token of every answer."""
        answering = self._first()
        if answering and self.engine.comes_first(self, answering) and self._may_sit(answering):
            answering.tell(WRITING)
            self._within_memory(lambda: self._the_table.sit(answering), answering)
        if self._table is None:  # given up: see `_wear`
            _free()
            self._load()
        if self._the_table.taken:
            self._within_memory(self._the_table.step)

    def _first(self) -> Answering | None:
        """Who waits longest; those who left, or failed, are let go."""
        with self.engine.changed:
            while self.waiting and not self.waiting[0].wanted:
                self.waiting.popleft().finish()
            return self.waiting[0] if self.waiting else None

    def _may_sit(self, answering: Answering) -> bool:
        """Whether an answer can be begun now; the weights are what it needs then."""
        try:
            answering.begin(self._the_table.loaded)
            return self._the_table.has_room(answering) and self._fitted(answering)
        except Exception as error:  # a question or an adapter is wrong: told to its asker alone
            traceback.clear_frames(error.__traceback__)  # of weights that `_wear` gave up
            answering.finish(error)  # and so taken out of the queue, as those who left
            return False

    def _fitted(self, answering: Answering) -> bool:
        """Have the adapter that an answer needs; False: others need the weights as they are."""
        assert self._base is not None, "not loaded"
        adapter = answering.adapter if self._shared else None
        merged = adapter if adapter in self._alone else None
        if self._base.adapter != merged:
            if self._the_table.taken:
                return False
            self._wear(answering, merged)
        if adapter is None or merged is not None:
            return True
        beside, needed = self._the_table.beside, self._the_table.adapters
        put = partial(beside.put, adapter, needed)
        if adapter not in beside.names and not self._put(answering, adapter, put):
            self._alone.add(adapter)
            return self._fitted(answering)
        beside.put(adapter, needed)
        answering.beside = adapter
        return True

    def _wear(self, answering: Answering, adapter: Path | None) -> None:
        """Merge an adapter into the weights, which are given up where that fails."""
        assert self._base is not None, "not loaded"
        try:
            self._put(answering, adapter, partial(self._base.wear, adapter))
        except Exception:
            self._base = self._table = None  # half of an adapter may be on them
            raise

    def _put(
        self, answering: Answering, adapter: Path | None, put: Callable[[], bool | None]
    ) -> bool | None:
        answering.tell(LOADING_ADAPTER)
        self._putting = adapter
        try:
            with self.engine.loading:
                return put()
        finally:
            self._putting = None

    def _within_memory(self, work: Callable[[], None], sitting: Answering | None = None) -> None:
        """Do a part of the work; where memory does not suffice, with fewer answers at once.

        Those who have to get up go on later where they were.
        """
        table = self._the_table
        failure: Exception | None = None
        try:
            work()
        except RuntimeError as error:
            failure = too_little_memory(error)
            if failure is None:
                raise
        # Not above: while an error is handled, it keeps the memory that did not suffice.
        with self.engine.changed:
            if sitting is not None:
                self.waiting.remove(sitting)
                self._tell_places()
            if failure is None:
                return
            table.halve(sitting)
            up = [*table.clear(), *([sitting] if sitting else [])]
            if len(up) == 1:
                up.pop().finish(failure)
            self.waiting.extendleft(reversed(up))
        _free()

    def _tell_places(self) -> None:
        for place, one in enumerate(self.waiting):
            if place:
                one.tell(ahead(place))

    @property
    def _the_table(self) -> Table:
        assert self._table is not None, "not loaded"
        return self._table

    def _end(self, failure: Exception | None) -> None:
        """Let go of the weights, and of everybody who still waits."""
        self.engine.dismiss(self)
        stopped = failure or RuntimeError("the server is being stopped")
        seated = self._table.clear() if self._table else []
        with self.engine.changed:
            for one in (*seated, *self.waiting):
                one.finish(stopped)
            self.waiting.clear()
            self._base = self._table = None
        if not self.engine.closed:
            _free()
        self.engine.gone(self)


def _free() -> None:
    """Have the memory of what was let go."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
