"""The loop: rows go through an engine, step after step, measured, watched and saved.

Random numbers of a step follow from seed, step and worker, so nothing before it matters to it.
Per step the workers exchange one gradient and one line of numbers, which all of them judge alike.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple, Protocol
from zlib import crc32

import torch

from jobs.training.packing import Pack, deal, make
from jobs.training.peers import Peers
from jobs.training.rows import Row
from jobs.training.schedule import Many, Order, learning_rate, order_of
from jobs.training.settings import Settings
from jobs.training.steps import Progress, Step
from jobs.training.watch import DivergedError, Trouble, Watch

if TYPE_CHECKING:
    from jobs.training.checkpoints import Checkpoints
    from jobs.training.engines import Engine
    from jobs.training.meter import Meter

MESSAGE_SECONDS = 1.0
"""Least time between two messages of one training."""
MEASURED_AT_ONCE = 512
"""Held-out rows that are dealt to the workers at once."""


class Teller(Protocol):
    """Who is told of steps that are done."""

    def put(self, *messages: Progress) -> None:
        """Take messages, without waiting."""


def numbered(rows: Sequence[Row]) -> list[str]:
    """Rows by their place in the dataset, windows of one text once."""
    return [f"row {origin} of the dataset" for origin in dict.fromkeys(r.origin for r in rows)]


class Best(NamedTuple):
    """The best measurement so far, and what came after it."""

    step: int
    worse_since: int
    """Measurements after it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """What is trained on, and how."""

    run_id: str
    settings: Settings
    seed: int
    trained: Many
    held_out: Many = ()
    """Only measured."""
    named: Callable[[Sequence[Row]], Sequence[str]] = numbered
    """Names of rows, for a message."""

    @property
    def order(self) -> Order:
        """Which rows each step takes."""
        settings = self.settings
        return order_of(
            len(self.trained),
            batch_size=settings.batch_size,
            seed=self.seed,
            steps=settings.steps,
            epochs=settings.epochs,
        )


@dataclass(slots=True, kw_only=True)
class Loop:
    """One worker's loop."""

    training: Training
    engine: "Engine"
    peers: Peers
    teller: Teller
    meter: "Meter | None" = None
    checkpoints: "Checkpoints | None" = None
    _best: Best | None = field(init=False, default=None)
    _unsent: list[Progress] = field(init=False, default_factory=list)
    _sent: float = field(init=False, default=0.0)
    _saved: float = field(init=False, default=0.0)

    def run(self, steps: list[Step]) -> None:
        """Append to `steps` until all are done, or until patience is at its end.

        Raises:
            DivergedError: the loss or its gradient is not finite, or the loss climbs; see
                `jobs.training.watch`.
            TrainingError: a checkpoint could not be written.
        """
        order = self.training.order
        watch = Watch(steps)
        self._best = best_of(steps)
        self._sent = self._saved = time.monotonic()
        self._tell(steps, order)  # again: what was told may have been lost with the driver
        self.engine.module.train()
        while len(steps) < order.steps and not self._impatient:
            step, due = self._step(order, len(steps))
            if self._is_measured(step.step, order.steps):
                step = replace(step, held_out_loss=self.held_out_loss())
            self._judge(watch, step, order)
            steps.append(step)
            if step.held_out_loss is not None:
                self._best = best_of(steps)
            last = step.step == order.steps or self._impatient
            due = not last and (due or self.best_step == step.step)
            self._tell([step], order, at_once=last or due)
            if due:
                self._save(steps)

    @property
    def best_step(self) -> int | None:
        """The step whose weights are wanted at the end; None: the last."""
        patient = self.training.settings.patience is not None
        return self._best.step if patient and self._best else None

    def held_out_loss(self) -> float:
        """Mean over all response tokens of the held-out rows, without dropout."""
        self.engine.module.eval()
        sums = torch.zeros((), dtype=torch.float64, device=self.engine.device)
        with torch.no_grad():
            for pack in self._held_out_packs():
                batch = make(pack, self.training.settings, self.engine.device)
                sums += self.engine.loss(batch)
        self.engine.module.train()
        aside = self.training.held_out
        total = sum(aside[place].response_length for place in range(len(aside)))
        found = self.peers.numbers([sums.item()], self.engine.device)
        return math.fsum(part for (part,) in found) / max(1, total)

    def _step(self, order: Order, number: int) -> tuple[Step, bool]:
        """One optimizer step, and whether a checkpoint is due after it."""
        start = time.monotonic()
        if self.meter is not None:
            self.meter.begin()
        torch.manual_seed(crc32(f"{self.training.seed} {number} {self.peers.rank}".encode()))
        batch = self._batch(order, number)
        rate = learning_rate(self.training.settings, number, order.steps)
        self.engine.rate(rate)
        packs = deal(batch, self.training.settings, self.peers.ranks)[self.peers.rank]
        loss, computed = self._gradients(packs, sum(row.response_length for row in batch))
        norm = self.engine.step()
        mine = [loss, norm, computed, self._due(number + 1), *self._reading(packs, start)]
        told = list(zip(*self.peers.numbers(mine, self.engine.device), strict=True))
        losses, norms, computed_by, dues, memories, shares, joules = told
        tokens = sum(len(row.tokens) for row in batch)
        step = Step(
            step=number + 1,
            loss=math.fsum(losses) if all(map(math.isfinite, losses)) else math.nan,
            learning_rate=rate,
            gradient_norm=max(norms) if all(map(math.isfinite, norms)) else math.nan,
            tokens=tokens,
            seconds=time.monotonic() - start,
            padding=1 - tokens / sum(computed_by),
            memory=int(max(memories)) or None,
            flops_share=_known(sum(shares) / len(shares)),
            joules=_known(sum(joules)),
        )
        return step, bool(dues[0])

    def _gradients(self, packs: Sequence[Pack], total: int) -> tuple[float, int]:
        """Backward over this worker's packs; its part of the mean loss, and tokens computed."""
        loss = torch.zeros((), device=self.engine.device)
        computed = 0
        for i, pack in enumerate(packs):
            last = i == len(packs) - 1
            batch = make(pack, self.training.settings, self.engine.device)
            with self.engine.pause(last=last):
                part = self.engine.loss(batch) / max(1, total)
                self.engine.backward(part, last=last)
            loss += part.detach()
            computed += batch.computed
        return loss.item(), computed

    def _reading(self, packs: Sequence[Pack], start: float) -> tuple[float, float, float]:
        """Memory, share of the ceiling and energy of this worker; NaN where not known."""
        if self.meter is None:
            return 0, math.nan, math.nan
        tokens = sum(pack.tokens for pack in packs if pack.counts)
        found = self.meter.reading(tokens, time.monotonic() - start)
        return found.memory, _number(found.flops_share), _number(found.joules)

    def _due(self, step: int) -> bool:
        """Whether the first worker thinks that a checkpoint is due; it alone looks at its clock."""
        settings = self.training.settings
        waited = time.monotonic() - self._saved
        return step % settings.checkpoint_every == 0 or waited >= 60 * settings.checkpoint_minutes

    def _judge(self, watch: Watch, step: Step, order: Order) -> None:
        """Stop where a step went wrong; on all workers, since all have the same numbers."""
        reason = watch.wrong(step)
        if reason is None:
            return
        self._tell([], order, at_once=True)  # the steps before, which led there
        batch = self._batch(order, step.step - 1)
        trouble = Trouble(
            run_id=self.training.run_id,
            step=step.step,
            loss=step.loss,
            norm=step.gradient_norm,
            learning_rate=step.learning_rate,
            rows=tuple(self.training.named(batch)),
        )
        raise DivergedError(trouble, reason)

    def _is_measured(self, step: int, steps: int) -> bool:
        """Whether the held-out loss is wanted after a step."""
        wanted = step % self.training.settings.evaluate_every == 0 or step == steps
        return wanted and len(self.training.held_out) > 0

    @property
    def _impatient(self) -> bool:
        patience, best = self.training.settings.patience, self._best
        return patience is not None and best is not None and best.worse_since >= patience

    def _save(self, steps: Sequence[Step]) -> None:
        if self.checkpoints is not None:
            holds = self.engine.sharded or self.peers.first
            state = self.engine.state() if holds else {}
            self.checkpoints.save(steps, self.engine.weights(), state, self.best_step)
        self._saved = time.monotonic()

    def _tell(self, steps: Sequence[Step], order: Order, *, at_once: bool = False) -> None:
        if not self.peers.first:
            return
        run_id, now = self.training.run_id, time.monotonic()
        self._unsent += [Progress(run_id=run_id, of=order.steps, step=step) for step in steps]
        if at_once or now - self._sent >= MESSAGE_SECONDS:
            self.teller.put(*self._unsent)
            self._unsent.clear()
            self._sent = now

    def _batch(self, order: Order, number: int) -> list[Row]:
        return [self.training.trained[place] for place in order.batch(number)]

    def _held_out_packs(self) -> Iterator[Pack]:
        aside, settings = self.training.held_out, self.training.settings
        for start in range(0, len(aside), MEASURED_AT_ONCE):
            places = range(start, min(start + MEASURED_AT_ONCE, len(aside)))
            dealt = deal([aside[place] for place in places], settings, self.peers.ranks)
            yield from dealt[self.peers.rank]


def best_of(steps: Sequence[Step]) -> Best | None:
    """The step with the lowest held-out loss, the first of equals; None where none was measured."""
    measured = [(s.held_out_loss, s.step) for s in steps if s.held_out_loss is not None]
    if not measured:
        return None
    place = min(range(len(measured)), key=lambda i: measured[i])
    return Best(step=measured[place][1], worse_since=len(measured) - 1 - place)


def _number(found: float | None) -> float:
    return math.nan if found is None else found


def _known(number: float) -> float | None:
    return None if math.isnan(number) else number
