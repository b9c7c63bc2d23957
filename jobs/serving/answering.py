"""One answer on its way: what was asked, who is told, and where it is."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jobs.generation.draws import Sampling, uniform_numbers
from jobs.generation.rows import Row, read_prompt
from jobs.loaded import Loaded
from jobs.prompts import Question, chat_question
from jobs.serving.growing import Growing
from jobs.serving.order import Order
from jobs.serving.telling import Piece, Told

Tell = Callable[[Told | Exception | None], None]
NAME = "asked"
"""What a question is called where its random numbers are drawn."""


class Answering:
    """An order from its arrival to its last token; made in one thread, written in another."""

    def __init__(self, order: Order, tell: Tell) -> None:
        """Nothing is read yet.

        Args:
            order: what is asked.
            tell: is called from another thread with each part of the answer, with what it waits
                for, with what went wrong, and at the end with None.
        """
        self.order = order
        self.tell = tell
        self.asked_at = time.monotonic()
        self.left = threading.Event()
        """Set by whoever asked, when nobody wants the answer any more."""
        self.over = False
        self.beside: Path | None = None
        """The adapter that is put beside the weights for it."""
        self._growing: Growing | None = None
        self._ends_at: float | None = None

    @property
    def wanted(self) -> bool:
        """Whether it is to be gone on with."""
        return not (self.over or self.left.is_set())

    @property
    def adapter(self) -> Path | None:
        """The adapter that it is asked of."""
        return self.order.model.weights.adapter

    @property
    def row(self) -> Row:
        """Its tokens; there once it was begun."""
        assert self._growing is not None, "not begun"
        return self._growing.row

    @property
    def way(self) -> tuple[Any, ...]:
        """What answers must have in common to be drawn at once."""
        return self.sampling.temperature, self.sampling.top_k, self.sampling.top_p

    @property
    def number(self) -> float:
        """The random number in [0, 1) behind its next token."""
        return float(self._numbers[len(self.row.tokens)])

    def begin(self, loaded: Loaded) -> None:
        """Make tokens of the question.

        Raises:
            EngineError: the model cannot be asked it.
        """
        if self._growing is not None:
            return
        order = self.order
        question = Question(NAME, order.text, whole=True)
        if order.turns:
            question = chat_question(loaded.tokenizer, NAME, order.turns, order.begun)
        prompt = read_prompt(loaded, question, order.asking.max_new_tokens)
        row = Row(prompt, 0)
        stop = (*order.stop, question.stop) if question.stop else order.stop
        self._growing = Growing(loaded.tokenizer, loaded.ends, row, stop)
        self.sampling = Sampling.of(order.asking, order.seed)
        self._numbers = uniform_numbers(order.seed, row)

    def take(self, token: int) -> None:
        """Have the next token, and tell what it makes certain."""
        assert self._growing is not None, "not begun"
        text = self._growing.take(token)
        if self._ends_at is None:  # not before: it may have waited for a seat
            self._ends_at = time.monotonic() + self.order.seconds
        if self.row.finish is None and time.monotonic() > self._ends_at:
            text += self._growing.end()
        finish = self.row.finish
        counted = {"prompt_tokens": len(self.row.prompt.tokens), "tokens": len(self.row.tokens)}
        self.tell(Piece(text=text, finish=finish, **counted))
        if finish is not None:
            self.finish()

    def finish(self, failure: Exception | None = None) -> None:
        """End it, telling what went wrong if something did; once is enough."""
        if self.over:
            return
        self.over = True
        if failure is not None:
            self.tell(failure)
        self.tell(None)
