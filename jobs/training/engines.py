"""What carries a step out: the model alone, a copy per worker (DDP), or ZeRO.

Accelerate prepares all of them, and leaves out what it thinks it cannot have without saying so
(DeepSpeed on a CPU, for one). So what it prepared is looked at before the first step.
"""

import os
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from cluster.gang import HopelessError
from jobs.training import adapters
from jobs.training.settings import Settings, Spread


class EngineError(HopelessError):
    """Accelerate prepared something else than what was asked for."""


class Engine(Protocol):
    """A prepared model with its optimizer."""

    @property
    def model(self) -> Any:
        """What is called with tokens."""

    @property
    def device(self) -> Any:
        """Where the tokens must be."""

    @property
    def masters(self) -> list[Tensor]:
        """The float32 tensors that this worker's optimizer holds state for."""

    @property
    def optimizer(self) -> Any:
        """torch's own optimizer, whatever is wrapped around it."""

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
        """Set the learning rate; before the last `backward` of a step."""

    def backward(self, loss: Tensor, *, last: bool) -> None:
        """Add gradients. `loss` is this worker's part of the mean over the whole batch."""

    def pause(self, *, last: bool) -> Any:
        """A context for forward and backward: workers exchange gradients in the last one only."""

    def step(self) -> float:
        """Clip, update, clear; the norm of the gradient before it was clipped."""

    def weights(self) -> dict[str, Tensor]:
        """The adapter, whole, in float32. Every worker must ask at once."""


def prepare(model: Any, method: LoRA, parallelism: Parallelism, spread: Spread) -> Engine:
    """The engine that was asked for, around a model with adapters.

    Raises:
        EngineError: Accelerate prepared another one.
    """
    if parallelism.strategy.startswith("zero"):
        return _prepare_zero(model, method, int(parallelism.strategy[-1]), spread)
    return _prepare_copies(model, method, parallelism, spread)


@dataclass(frozen=True, slots=True, kw_only=True)
class Copies:
    """One model, or equal copies of it."""

    accelerator: Any
    model: Any
    adapted: Any
    optimizer: Any
    clip: float
    ranks: int
    sharded: bool = False
    stage: int | None = None

    @property
    def name(self) -> str:
        """Class of what is called."""
        return type(self.model).__name__

    @property
    def device(self) -> Any:
        """Where the tokens must be."""
        return self.accelerator.device

    @property
    def masters(self) -> list[Tensor]:
        """The adapter, or this worker's part of it."""
        return _trainable(self.adapted)

    def rate(self, learning_rate: float) -> None:
        """See `Engine`."""
        _set_rate(self.optimizer, learning_rate)

    def pause(self, *, last: bool) -> Any:
        """See `Engine`."""
        return nullcontext() if last else self.accelerator.no_sync(self.model)

    def backward(self, loss: Tensor, *, last: bool) -> None:
        """See `Engine`."""
        # DDP takes the mean over workers, and ours are parts of one mean already.
        self.accelerator.backward(loss * self.ranks)

    def step(self) -> float:
        """See `Engine`."""
        norm = self.accelerator.clip_grad_norm_(self.masters, self.clip)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return float(norm)

    def weights(self) -> dict[str, Tensor]:
        """See `Engine`."""
        return lora.weights_of(self.adapted)


@dataclass(frozen=True, slots=True, kw_only=True)
class Zero:
    """DeepSpeed's ZeRO: optimizer (1), gradients (2) and weights (3) spread over the workers."""

    accelerator: Any
    model: Any
    adapted: Any
    spread: Spread
    stage: int
    sharded: bool = True

    @property
    def name(self) -> str:
        """Class of what is called."""
        return type(self.model).__name__

    @property
    def device(self) -> Any:
        """Where the tokens must be."""
        return self.model.device

    @property
    def optimizer(self) -> Any:
        """AdamW over this worker's part."""
        return self.model.optimizer.optimizer

    @property
    def masters(self) -> list[Tensor]:
        """The adapter, or this worker's part of it."""
        zero = self.model.optimizer
        name = (
            "fp32_partitioned_groups_flat" if self.stage == 3 else "single_partition_of_fp32_groups"
        )
        return list(getattr(zero, name))

    def rate(self, learning_rate: float) -> None:
        """See `Engine`."""
        _set_rate(self.optimizer, learning_rate)

    def pause(self, *, last: bool) -> Any:
        """See `Engine`."""
        return nullcontext()

    def backward(self, loss: Tensor, *, last: bool) -> None:
        """See `Engine`."""
        # Accelerate makes DeepSpeed step in the backward that synchronises; DeepSpeed takes the
        # mean over workers and micro batches.
        self.accelerator.sync_gradients = last
        self.accelerator.backward(loss * self.spread.ranks * self.spread.micro_batches)

    def step(self) -> float:
        """See `Engine`."""
        return float(self.model.get_global_grad_norm())

    def weights(self) -> dict[str, Tensor]:
        """See `Engine`."""
        if self.stage < 3:
            return lora.weights_of(self.adapted)
        import deepspeed

        with deepspeed.zero.GatheredParameters(_trainable(self.adapted)):
            return lora.weights_of(self.adapted)


def _prepare_copies(model: Any, method: LoRA, parallelism: Parallelism, spread: Spread) -> Copies:
    import torch
    from accelerate import Accelerator

    if parallelism.strategy == "single":
        _forget_rank()
    accelerator = Accelerator(cpu=not torch.cuda.is_available())
    optimizer = _optimizer(model)
    prepared = accelerator.prepare_model(model)
    engine = Copies(
        accelerator=accelerator,
        model=prepared,
        adapted=model,
        optimizer=optimizer,
        clip=method.clip,
        ranks=spread.ranks,
    )
    if parallelism.strategy == "single":
        _expect(engine.model is model and accelerator.num_processes == 1, "single", engine)
    else:
        parallel = isinstance(prepared, torch.nn.parallel.DistributedDataParallel)
        _expect(parallel and accelerator.num_processes == spread.ranks, "ddp", engine)
    return engine


def _prepare_zero(model: Any, method: LoRA, stage: int, spread: Spread) -> Zero:
    import torch
    from accelerate import Accelerator

    from jobs.training.zero import plugin, prepare_cpu

    os.environ["ACCELERATE_USE_DEEPSPEED"] = "true"
    if not torch.cuda.is_available():
        prepare_cpu()
    accelerator = Accelerator(
        deepspeed_plugin=plugin(stage, method, spread),
        gradient_accumulation_steps=spread.micro_batches,
    )
    prepared, _ = accelerator.prepare(model, _optimizer(model))
    engine = Zero(
        accelerator=accelerator, model=prepared, adapted=model, spread=spread, stage=stage
    )
    asked = f"zero{stage}"
    _expect(engine.name == "DeepSpeedEngine", asked, engine)
    _expect(prepared.zero_optimization_stage() == stage, asked, engine)
    _expect(prepared.dp_world_size == spread.ranks == accelerator.num_processes, asked, engine)
    return engine


def _expect(agrees: bool, asked: str, engine: Copies | Zero) -> None:
    if not agrees:
        raise EngineError(
            f"asked for {asked}, but Accelerate prepared {engine.name} "
            f"for {engine.accelerator.num_processes} workers"
        )


def _optimizer(model: Any) -> Any:
    from torch.optim import AdamW

    return AdamW(_trainable(model), lr=0.0, weight_decay=0.0, fused=True)


def _trainable(model: Any) -> list[Tensor]:
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def _set_rate(optimizer: Any, learning_rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = learning_rate


def _forget_rank() -> None:
    """A gang of one has a rank too, from which Accelerate concludes that there are others."""
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"):
        os.environ.pop(name, None)
