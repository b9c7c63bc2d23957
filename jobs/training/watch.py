"""When a training is no longer worth its electricity: no numbers any more, or a loss that climbs.

`Watch` looks at every step. All workers see the same numbers, so all of them raise alike.
"""

import math
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from jobs.training.order import TrainingError
from jobs.training.steps import Step

WINDOW = 20
"""Steps of the running mean."""
RISE = 1.0
"""Nats by which it must be above its lowest: the model is 2.7 times as surprised by a token as it
has been. Means of 20 steps of shuffled rows differ by a tenth of that."""
LASTING = 20
"""Steps in a row for which it must be."""
NAMED = 32
"""Most rows that a message names."""


class Trouble(NamedTuple):
    """A step that went wrong."""

    run_id: str
    step: int
    loss: float
    norm: float
    """Of the gradient, before clipping."""
    learning_rate: float
    rows: tuple[str, ...]
    """Names of the rows of its batch."""


class DivergedError(TrainingError):
    """The training went wrong at a step, and would again."""

    def __init__(self, trouble: Trouble, reason: str) -> None:
        super().__init__(trouble, reason)
        self.trouble = trouble

    def __str__(self) -> str:
        trouble, reason = self.args
        rows = list(trouble.rows[:NAMED])
        if len(trouble.rows) > NAMED:
            rows.append(f"and {len(trouble.rows) - NAMED} more")
        return (
            f"run {trouble.run_id}: at step {trouble.step} {reason} (loss {trouble.loss:.6g}, norm "
            f"of its gradient {trouble.norm:.6g}, learning rate {trouble.learning_rate:.3g}). "
            "A lower learning_rate, a longer warmup, a smaller clip or precision fp32 may help. "
            f"Rows in that batch: {', '.join(rows)}"
        )


class Watch:
    """Looks at the steps of one training, in their order."""

    def __init__(self, before: Sequence[Step] = ()) -> None:
        """Go on after steps that were fine."""
        self._losses: deque[float] = deque(maxlen=WINDOW)
        self._lowest = math.inf
        self._above = 0
        for step in before:
            self._climbs(step.loss)

    def wrong(self, step: Step) -> str | None:
        """What is wrong with the next step, or None.

        A loss, held out or not, or a gradient is wrong that is not finite. A loss is wrong whose
        running mean over `WINDOW` steps has been more than `RISE` nats above the lowest such mean
        for `LASTING` steps in a row.
        """
        if not math.isfinite(step.loss):
            return "the loss is not a finite number"
        if not math.isfinite(step.gradient_norm):
            return "the gradient is not finite"
        if step.held_out_loss is not None and not math.isfinite(step.held_out_loss):
            return "the held-out loss is not a finite number"
        if self._climbs(step.loss):
            return (
                f"the loss has climbed: its mean over {WINDOW} steps has for {LASTING} steps been "
                f"more than {RISE} above {self._lowest:.4g}, the lowest it was"
            )
        return None

    def _climbs(self, loss: float) -> bool:
        self._losses.append(loss)
        if len(self._losses) < WINDOW:
            return False
        mean = math.fsum(self._losses) / WINDOW
        self._lowest = min(self._lowest, mean)
        self._above = self._above + 1 if mean > self._lowest + RISE else 0
        return self._above >= LASTING
