"""What carries a step out: the model alone, a copy per worker (DDP), or ZeRO.

Accelerate prepares all of them, and leaves out what it thinks it cannot have without saying so
(DeepSpeed on a CPU, for one). So what it prepared is looked at before the first step.
"""

import os
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from jobs.training import models, optimizers
from jobs.training.order import TrainingError
from jobs.training.settings import Settings, Spread

if TYPE_CHECKING:
    from torch import Tensor

    from jobs.training.packing import MicroBatch


class StrategyError(TrainingError):
    """Accelerate prepared something else than what was asked for."""


class Engine(Protocol):
    """A prepared model with its optimizer."""

    @property
    def module(self) -> Any:
        """What is called in a step: the trainee, or what was wrapped around it."""

    @property
    def device(self) -> Any:
        """Where the tokens must be."""

    @property
    def sharded(self) -> bool:
        """Whether each worker holds another part of the optimizer."""

    @property
    def name(self) -> str:
        """The class that was found, for the record."""

    @property
    def stage(self) -> int | None:
        """Of ZeRO; None where there is none."""

    def rate(self, learning_rate: float) -> None:
        """Set the learning rate of the next `step`; that of B matrices is `lora_plus` times it."""

    def loss(self, batch: "MicroBatch") -> "Tensor":
        """Sum of the cross-entropy over the batch's response tokens; 0 where it does not count."""

    def pause(self, *, last: bool) -> Any:
        """A context for forward and backward: workers exchange gradients in the last one only."""

    def backward(self, loss: "Tensor", *, last: bool) -> None:
        """Add gradients. `loss` is this worker's part of the mean over the whole batch.

        The number of micro batches may differ from step to step, but not between workers.
        """

    def step(self) -> float:
        """Clip, update, clear; the norm of the whole gradient before it was clipped.

        Where that is not finite, the weights may be spoilt.
        """

    def weights(self) -> "dict[str, Tensor]":
        """What is trained, whole, in float32 on the host, named as in a file, on rank 0.

        Every worker must ask at once; the others get nothing.
        """

    def state(self) -> "dict[str, Tensor]":
        """The part of the optimizer that this worker holds, on the host."""

    def load(self, state: "Mapping[str, Tensor]") -> None:
        """Take back what `state` returned; the weights were restored before `prepare`.

        Raises:
            optimizers.StateError: it is of another training, or of another worker.
        """


def loading(settings: Settings, spread: Spread) -> Any:
    """A context in which `models.load_base` and `models.tuned` make a model for an engine.

    With ZeRO-3 no worker has to have room for the whole model then, unless it is quantized.
    """
    if not spreads(settings, spread):
        return nullcontext()
    from jobs.training import zero

    return zero.loading(settings, spread)


def spreads(settings: Settings, spread: Spread) -> bool:
    """Whether weights go to several workers while they are read: with ZeRO-3, unless quantized."""
    quantized = settings.adapter is not None and settings.adapter.quantization is not None
    return spread.stage == 3 and not quantized


def prepare(trainee: Any, settings: Settings, spread: Spread) -> Engine:
    """The engine that was asked for, around a `Trainee`.

    Ranks are those of torch's process group where there is one, else of RANK, LOCAL_RANK and
    WORLD_SIZE in the environment.

    Raises:
        StrategyError: Accelerate prepared another one.
    """
    if spread.stage is not None:
        from jobs.training import zero

        engine: Engine = zero.prepare(trainee, settings, spread)
        return engine
    return _prepare_copies(trainee, settings, spread)


@dataclass(frozen=True, slots=True, kw_only=True)
class Copies:
    """One model, or equal copies of it."""

    accelerator: Any
    module: Any
    trainee: Any
    optimizer: Any
    settings: Settings
    ranks: int
    sharded: bool = False
    stage: int | None = None

    @property
    def name(self) -> str:
        """Class of what is called."""
        return type(self.module).__name__

    @property
    def device(self) -> Any:
        """Where the tokens must be."""
        return self.accelerator.device

    def rate(self, learning_rate: float) -> None:
        """See `Engine`."""
        optimizers.set_rate(self.optimizer, learning_rate)

    def loss(self, batch: "MicroBatch") -> "Tensor":
        """See `Engine`."""
        return loss_of(self.module, batch, self.settings, self.device)

    def pause(self, *, last: bool) -> Any:
        """See `Engine`."""
        return nullcontext() if last else self.accelerator.no_sync(self.module)

    def backward(self, loss: "Tensor", *, last: bool) -> None:
        """See `Engine`."""
        # DDP takes the mean over workers, and ours are parts of one mean already.
        self.accelerator.backward(loss * self.ranks)

    def step(self) -> float:
        """See `Engine`."""
        trained = [one for _, one in models.trained(self.trainee.model)]
        norm = self.accelerator.clip_grad_norm_(trained, self.settings.clip)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return float(norm)

    def weights(self) -> "dict[str, Tensor]":
        """See `Engine`."""
        if not self.accelerator.is_main_process:
            return {}
        found = {name: on_host(one) for name, one in models.trained(self.trainee.model)}
        return models.file_names(self.trainee.model, found)

    def state(self) -> "dict[str, Tensor]":
        """See `Engine`."""
        return optimizers.state_of(self.optimizer, self._masters())

    def load(self, state: "Mapping[str, Tensor]") -> None:
        """See `Engine`."""
        optimizers.load_state(self.optimizer, self._masters(), state)

    def _masters(self) -> "dict[str, Tensor]":
        return dict(models.trained(self.trainee.model))


def loss_of(module: Any, batch: "MicroBatch", settings: Settings, device: Any) -> "Tensor":
    """The sum of the losses of a micro batch, by the module that an engine made.

    Where every weight is trained they are float32, and bfloat16 arithmetic is autocast's.
    """
    import torch

    from jobs.training.arithmetic import bf16_pays

    cast = settings.adapter is None and settings.precision == "bf16" and bf16_pays()
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=cast):
        loss: Tensor = module(
            batch.tokens,
            batch.targets,
            batch.positions,
            batch.starts,
            batch.longest,
            batch.places,
        )
    return loss if batch.counts else loss * 0


def on_host(tensor: "Tensor") -> "Tensor":
    """A float32 copy in the host's memory."""
    import torch

    return tensor.detach().to("cpu", torch.float32, copy=True).contiguous()


def expect(agrees: bool, spread: Spread, name: str, accelerator: Any) -> None:
    """Stop where Accelerate did not do what it was told."""
    if not agrees:
        raise StrategyError(
            f"asked for {spread.strategy} on {spread.ranks} workers, but Accelerate prepared "
            f"{name} for {accelerator.num_processes}"
        )


def _prepare_copies(trainee: Any, settings: Settings, spread: Spread) -> Copies:
    import torch
    from accelerate import Accelerator, DistributedDataParallelKwargs

    if spread.strategy == "single":
        _forget_rank()
    copies = DistributedDataParallelKwargs(broadcast_buffers=False, gradient_as_bucket_view=True)
    accelerator = Accelerator(cpu=not torch.cuda.is_available(), kwargs_handlers=[copies])
    trainee.to(accelerator.device)
    optimizer = optimizers.adamw(trainee.model, settings)
    engine = Copies(
        accelerator=accelerator,
        module=accelerator.prepare_model(trainee),
        trainee=trainee,
        optimizer=optimizer,
        settings=settings,
        ranks=spread.ranks,
    )
    if spread.strategy == "single":
        right = engine.module is trainee and spread.ranks == 1
    else:
        right = isinstance(engine.module, torch.nn.parallel.DistributedDataParallel)
    expect(right and accelerator.num_processes == spread.ranks, spread, engine.name, accelerator)
    return engine


def _forget_rank() -> None:
    """A gang of one has a rank too, from which Accelerate concludes that there are others."""
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"):
        os.environ.pop(name, None)
