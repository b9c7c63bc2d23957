"""A base model and rows in, a LoRA adapter out; killed at any time, it goes on where it was."""

import json
import logging
import math
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zlib import crc32

from cluster.gang import Gang, HopelessError, run_gang
from cluster.mailbox import Mailbox
from jobs.experiment import LoRA, Parallelism
from jobs.prompts import PromptError, PromptForm, TooLong

if TYPE_CHECKING:
    from torch import Tensor

    from jobs.training.batches import Order
    from jobs.training.checkpoints import Step
    from jobs.training.spread import Spread
    from jobs.training.engines import Engine
    from jobs.training.rows import Row, Rows, Tokenised

LIBRARIES = ("torch", "transformers", "peft", "accelerate", "deepspeed", "ray")
MESSAGE_SECONDS = 0.5
"""Least time between two messages of one training."""


class TrainingError(HopelessError):
    """A training that would fail again."""


class DivergedError(TrainingError):
    """The loss or its gradient is no longer a number."""

    def __init__(self, run_id: str, step: int, loss: float, norm: float) -> None:
        super().__init__(run_id, step, loss, norm)

    def __str__(self) -> str:
        run_id, step, loss, norm = self.args
        return (
            f"run {run_id}: at step {step} the loss is {loss} and its gradient's norm {norm}; "
            "a lower learning_rate, a longer warmup or precision fp32 may help"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainOrder:
    """One training, complete. Picklable."""

    run_id: str
    location: str
    """What `from_pretrained` takes: a folder, or a repository on the hub."""
    revision: str | None
    """A commit of that repository; None for a folder."""
    rows: Path
    """A folder of Parquet files of `jobs.data.row.Row`, taken in the order of their names."""
    form: PromptForm = "alpaca"
    """How a row is put to the model: see `jobs.prompts.text_of`."""
    too_long: TooLong = "drop"
    """What becomes of rows of more than `max_length` tokens: see `jobs.prompts.TooLong`."""
    method: LoRA
    parallelism: Parallelism
    seed: int
    folder: Path
    """The run's own, on a disk that all workers see; `checkpoint` appears in it, complete."""

    @property
    def checkpoint(self) -> Path:
        """Adapter, steps and facts, once the training is done."""
        return self.folder / "checkpoint"


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """A step that is done, for whoever watches."""

    run_id: str
    step: int
    of: int
    loss: float
    learning_rate: float
    gradient_norm: float
    tokens: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a training was, as found while it ran."""

    engine: str
    """Class of the prepared model."""
    zero_stage: int | None
    ranks: int
    tokens: int
    """Over all steps and workers, padding not counted."""
    seconds: float
    """Of the steps; start and checkpoints not counted."""
    rows: int
    """Trained on, each window of a split text counted."""
    rows_left_out: int
    """Longer than `max_length`."""
    rows_cut: int = 0
    """Longer than `max_length`, so their response lost its end."""
    windows: int = 0
    """Rows that are a part of a text longer than `max_length`."""
    trainable_parameters: int
    device: str
    versions: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Work:
    """What a worker is given."""

    order: TrainOrder
    mailbox: Mailbox


def train(order: TrainOrder, mailbox: Mailbox, *, gpus: bool) -> Facts:
    """Train on the cluster this process is connected to, unless it is done already, and wait.

    Args:
        order: the training.
        mailbox: receives `Progress`, some steps at a time.
        gpus: one GPU per worker; else one core.

    Raises:
        TrainingError: what another attempt would not change, such as a loss that is not finite.
        cluster.gang.GangError: workers were lost too often; calling again goes on.
    """
    attempts = order.folder / "attempts"
    if not order.checkpoint.exists():
        gang = Gang(workers=order.parallelism.workers, gpus=gpus)
        work = _Work(order=order, mailbox=mailbox)
        run_gang(train_worker, work, gang, storage=attempts, name=order.run_id)
    shutil.rmtree(attempts, ignore_errors=True)
    return Facts(**json.loads((order.checkpoint / "facts.json").read_text()))


def learning_rate(method: LoRA, step: int, steps: int) -> float:
    """The rate of a step counted from 0: up in a line, then down to 0 after the last step."""
    rising = math.ceil(method.warmup * steps)
    if step < rising:
        return method.learning_rate * (step + 1) / rising
    done = (step - rising) / max(1, steps - rising)
    match method.schedule:
        case "constant":
            factor = 1.0
        case "linear":
            factor = 1 - done
        case "cosine":
            factor = (1 + math.cos(math.pi * done)) / 2
    return method.learning_rate * factor


def train_worker(work: _Work) -> None:
    """What every worker of the gang does."""
    import ray.train

    from jobs import checkpoint, lora
    from jobs.training.spread import Spread
    from jobs.training.engines import prepare

    _quiet()
    order = work.order
    if order.checkpoint.exists():
        return
    context = ray.train.get_context()
    rank, ranks = context.get_world_rank(), context.get_world_size()
    spread = Spread.of(order.method, ranks)
    found = _rows(order)
    base = lora.load_base(order.location, order.revision, order.method.precision)
    base.config.use_cache = False
    model = lora.adapted(base, order.method, order.seed)
    sharded = order.parallelism.strategy.startswith("zero")
    saved = checkpoint.resume(model, rank=rank, sharded=sharded)
    engine = prepare(model, order.method, order.parallelism, spread)
    checkpoint.restore_optimizer(engine, saved)
    steps = list(saved.steps)
    _Training(order, found.rows, engine, model, spread, rank).run(steps, work.mailbox)
    weights = engine.weights()
    if rank == 0:
        facts = _facts(order, engine, steps, found)
        _finish(order, model, weights, steps, facts)


@dataclass(frozen=True, slots=True)
class _Training:
    """One worker's loop."""

    order: TrainOrder
    rows: "Rows"
    engine: "Engine"
    model: Any
    spread: "Spread"
    rank: int

    def run(self, steps: "list[Step]", mailbox: Mailbox) -> None:
        """Append to `steps` until all are done, with checkpoints and messages on the way."""
        from jobs import checkpoint

        plan = _plan(self.order, len(self.rows))
        unsent: list[Progress] = []
        sent = time.monotonic()
        self.engine.model.train()
        for number in range(len(steps), plan.steps):
            steps.append(self._step(plan, number))
            unsent.append(Progress(run_id=self.order.run_id, of=plan.steps, **asdict(steps[-1])))
            last = number + 1 == plan.steps
            if self.rank == 0 and (last or time.monotonic() - sent >= MESSAGE_SECONDS):
                mailbox.put(*unsent)
                unsent.clear()
                sent = time.monotonic()
            if not last and (number + 1) % self.order.method.checkpoint_every == 0:
                checkpoint.report(self.engine, self.model, steps, self.rank)

    def _step(self, plan: "Order", number: int) -> "Step":
        import torch

        from jobs.training.checkpoints import Step

        start = time.monotonic()
        torch.manual_seed(crc32(f"{self.order.seed} {number} {self.rank}".encode()))
        batch = [self.rows[i] for i in plan.batch(number)]
        rate = learning_rate(self.order.method, number, plan.steps)
        self.engine.rate(rate)
        loss = self._gradients(batch)
        norm = self.engine.step()
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise DivergedError(self.order.run_id, number + 1, loss, norm)
        return Step(
            step=number + 1,
            loss=loss,
            learning_rate=rate,
            gradient_norm=norm,
            tokens=sum(len(row.tokens) for row in batch),
            seconds=time.monotonic() - start,
        )

    def _gradients(self, batch: "list[Row]") -> float:
        """Backward over this worker's share; the mean loss of the whole batch."""
        import torch

        total = max(1, sum(row.response_length for row in batch))
        loss = torch.zeros((), device=self.engine.device)
        for rows, last in self._parts(batch):
            with self.engine.pause(last=last):
                part = self._loss(rows or batch[:1], counts=bool(rows)) / total
                self.engine.backward(part, last=last)
            loss += part.detach()
        if self.spread.ranks > 1:
            torch.distributed.all_reduce(loss)
        return loss.item()

    def _parts(self, batch: "list[Row]") -> "Iterator[tuple[list[Row], bool]]":
        from jobs.training.batches import micro_batches, share

        mine = share(batch, self.rank, self.spread.ranks)
        count = self.spread.micro_batches
        for i, rows in enumerate(micro_batches(mine, self.spread.micro_batch_size, count)):
            yield list(rows), i == count - 1

    def _loss(self, rows: "list[Row]", *, counts: bool) -> "Tensor":
        """Sum of the cross-entropy over response tokens; times 0 for rows that only keep step."""
        from torch.nn.functional import cross_entropy

        from jobs.training.batches import NO_LOSS, collate

        tokens_BT, targets_BT = collate(rows, self.engine.device)
        # Logits of the prompts are not needed: with a large vocabulary they are most of the memory.
        kept = tokens_BT.shape[1] - max(0, min(row.prompt_length for row in rows) - 1)
        output = self.engine.model(input_ids=tokens_BT, use_cache=False, logits_to_keep=kept)
        wanted = targets_BT[:, -kept:] != NO_LOSS
        loss = cross_entropy(
            output.logits[wanted].float(), targets_BT[:, -kept:][wanted], reduction="sum"
        )
        return loss if counts else loss * 0


def _plan(order: TrainOrder, rows: int) -> "Order":
    from jobs.training.batches import order_of

    method = order.method
    return order_of(
        rows,
        batch_size=method.batch_size,
        seed=order.seed,
        steps=method.steps,
        epochs=method.epochs,
    )


def _rows(order: TrainOrder) -> "Tokenised":
    """Rows as tokens, and what became of those that were too long."""
    from transformers import AutoTokenizer

    from jobs.data.row import stream
    from jobs.tokens import tokenise

    tokenizer = AutoTokenizer.from_pretrained(order.location, revision=order.revision or "main")
    longest = order.method.max_length
    files = sorted(order.rows.glob("*.parquet"))
    try:
        found = tokenise(stream(files), tokenizer, longest, order.form, order.too_long)
    except PromptError as error:
        raise TrainingError(f"run {order.run_id}: {error}") from None
    if not found.rows:
        raise TrainingError(
            f"run {order.run_id}: none of the {found.dropped} rows in {order.rows} has at most "
            f"{longest} tokens (max_length)"
        )
    return found


def _facts(order: TrainOrder, engine: "Engine", steps: "list[Step]", found: "Tokenised") -> Facts:
    return Facts(
        engine=engine.name,
        zero_stage=engine.stage,
        ranks=order.parallelism.workers,
        tokens=sum(step.tokens for step in steps),
        seconds=sum(step.seconds for step in steps),
        rows=len(found.rows),
        rows_left_out=found.dropped,
        rows_cut=found.cut,
        windows=found.windows,
        trainable_parameters=sum(
            getattr(parameter, "ds_numel", parameter.numel())  # ZeRO-3 leaves an empty tensor
            for parameter in engine.model.parameters()
            if parameter.requires_grad
        ),
        device=_device_name(),
        versions={name: version(name) for name in LIBRARIES},
    )


def _device_name() -> str:
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"


def _finish(
    order: TrainOrder, model: Any, weights: "dict[str, Tensor]", steps: "list[Step]", facts: Facts
) -> None:
    """Write what the training leaves behind, all at once for those who look."""
    from jobs import checkpoint, lora

    draft = order.folder / f"checkpoint.{os.getpid()}"
    shutil.rmtree(draft, ignore_errors=True)
    lora.save(model, weights, draft)
    checkpoint.write_steps(steps, draft / checkpoint.STEPS)
    (draft / "facts.json").write_text(json.dumps(asdict(facts), indent=2) + "\n")
    draft.rename(order.checkpoint)


def _quiet() -> None:
    """Nothing a worker prints is seen, and some of it would be written for each step."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    logging.getLogger("DeepSpeed").setLevel(logging.ERROR)
