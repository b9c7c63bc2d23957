"""ZeRO by DeepSpeed: optimizer (1), gradients (2) and weights (3) spread over the workers.

Rajbhandari et al. 2020, arXiv:1910.02054. Works on gloo too, without an accelerator or a compiler.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jobs.training import engines, models, optimizers
from jobs.training.settings import Settings, Spread

if TYPE_CHECKING:
    from torch import Tensor

    from jobs.training.packing import MicroBatch

MASTERS = {
    1: "single_partition_of_fp32_groups",
    2: "single_partition_of_fp32_groups",
    3: "fp32_partitioned_groups_flat",
}
"""Where DeepSpeed keeps the float32 tensors that a worker's optimizer has state for."""
BUCKET = 50_000_000
"""Gradients that workers exchange at once. Memory for them is taken however few are trained; of
DeepSpeed's own choice, 2 GB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Zero:
    """A model whose optimizer, gradients or weights are spread over the workers."""

    accelerator: Any
    module: Any
    trainee: Any
    settings: Settings
    spread: Spread
    stage: int
    sharded: bool = True

    @property
    def name(self) -> str:
        """Class of what is called."""
        return type(self.module).__name__

    @property
    def device(self) -> Any:
        """Where the tokens must be."""
        return self.module.device

    def rate(self, learning_rate: float) -> None:
        """See `Engine`."""
        optimizers.set_rate(self._optimizer, learning_rate)

    def loss(self, batch: "MicroBatch") -> "Tensor":
        """See `Engine`."""
        return engines.loss_of(self.module, batch, self.settings, self.device)

    def pause(self, *, last: bool) -> Any:
        """See `Engine`."""
        return nullcontext()

    def backward(self, loss: "Tensor", *, last: bool) -> None:
        """See `Engine`."""
        # DeepSpeed would count micro batches to find the last; theirs is the same in every step.
        self.module.set_gradient_accumulation_boundary(is_boundary=last)
        # It takes the mean over workers, and ours are parts of one mean already.
        self.module.backward(loss * self.spread.ranks)

    def step(self) -> float:
        """See `Engine`."""
        self.module.step()
        return float(self.module.get_global_grad_norm())

    def weights(self) -> "dict[str, Tensor]":
        """See `Engine`."""
        first = self.accelerator.is_main_process
        found = {}
        for name, parameter in models.trained(self.trainee.model):
            with models.whole([parameter]):  # one at a time: a worker need not have room for all
                if first:
                    found[name] = engines.on_host(parameter)
        return models.file_names(self.trainee.model, found) if first else {}

    def state(self) -> "dict[str, Tensor]":
        """See `Engine`."""
        return optimizers.state_of(self._optimizer, self._masters())

    def load(self, state: "Mapping[str, Tensor]") -> None:
        """See `Engine`."""
        optimizers.load_state(self._optimizer, self._masters(), state)

    @property
    def _optimizer(self) -> Any:
        """AdamW over this worker's part."""
        return self.module.optimizer.optimizer

    def _masters(self) -> "dict[str, Tensor]":
        found = getattr(self.module.optimizer, MASTERS[self.stage])
        return {f"part-{i}": master for i, master in enumerate(found)}


def prepare(trainee: Any, settings: Settings, spread: Spread) -> Zero:
    """DeepSpeed's engine around a `Trainee`.

    Raises:
        StrategyError: Accelerate prepared another one.
    """
    import torch
    from accelerate import Accelerator, DeepSpeedPlugin

    assert spread.stage is not None, "only called for a stage of ZeRO"
    os.environ["ACCELERATE_USE_DEEPSPEED"] = "true"
    if not torch.cuda.is_available():
        prepare_cpu()
    plugin = DeepSpeedPlugin(hf_ds_config=declared(settings, spread), zero3_init_flag=False)
    accelerator = Accelerator(deepspeed_plugin=plugin)
    optimizer = optimizers.adamw(trainee.model, settings)
    module, _ = accelerator.prepare(trainee, optimizer)
    engine = Zero(
        accelerator=accelerator,
        module=module,
        trainee=trainee,
        settings=settings,
        spread=spread,
        stage=spread.stage,
    )
    right = (
        engine.name == "DeepSpeedEngine"
        and module.zero_optimization_stage() == spread.stage
        and module.dp_world_size == spread.ranks == accelerator.num_processes
    )
    engines.expect(right, spread, engine.name, accelerator)
    return engine


def declared(settings: Settings, spread: Spread) -> dict[str, Any]:
    """DeepSpeed's configuration.

    Mixed precision stays off: a base comes in its precision and what is trained is float32, which
    DeepSpeed's own bf16 mode would cast away. The sizes mean nothing here, but DeepSpeed refuses
    to start without, and accumulation has to be 1, because it divides the loss by it.
    """
    zero: dict[str, Any] = {
        "stage": spread.stage,
        "overlap_comm": False,
        "reduce_bucket_size": BUCKET,
    }
    if spread.offload != "none":
        zero["offload_optimizer"] = {"device": "cpu"}
    if spread.offload == "parameters":
        zero["offload_param"] = {"device": "cpu"}
    return {
        "train_batch_size": spread.ranks,
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "gradient_clipping": settings.clip,
        "zero_optimization": zero,
        "zero_allow_untested_optimizer": True,
        # torch's AdamW is fused on a CPU too; DeepSpeed's has to be compiled at every start.
        "zero_force_ds_cpu_optimizer": False,
    }


@contextmanager
def loading(settings: Settings, spread: Spread) -> Iterator[None]:
    """Within, transformers and peft make models that are spread over the workers from the start.

    Else each worker would need room for all of the weights before ZeRO-3 spreads them.
    """
    import deepspeed
    import torch
    from transformers.integrations import HfDeepSpeedConfig

    on_gpu = torch.cuda.is_available()
    if not on_gpu:
        prepare_cpu()
    deepspeed.init_distributed("nccl" if on_gpu else "gloo", auto_mpi_discovery=False)
    rounded = settings.adapter is not None and settings.precision == "bf16"
    # Transformers looks for an object of this class as long as there is one.
    known = HfDeepSpeedConfig(declared(settings, spread) | {"bf16": {"enabled": rounded}})
    yield
    del known


def prepare_cpu() -> None:
    """Let DeepSpeed run on gloo, without an accelerator and without a compiler.

    Call before anything imports deepspeed, and only in a process that has no accelerator.
    """
    os.environ["DS_ACCELERATOR"] = "cpu"  # read once, at import
    _compile_nothing()
    _count_ranks()


def _compile_nothing() -> None:
    """DeepSpeed would build a shared-memory collective with a C++ compiler when it starts.

    There may be no compiler; and where a rank dies while it builds, a lock file stays behind that
    blocks every later start on that machine.
    """
    from deepspeed import ops

    ops.__compatible_ops__["deepspeed_shm_comm"] = False


def _count_ranks() -> None:
    """Accelerate looks for a GPU to learn that there are several ranks.

    With `cpu=True` it ignores DeepSpeed without a word; without it, and without a GPU, each rank
    believes it is alone, and would train on all the data and write as the first.
    """
    from accelerate.state import DistributedType, PartialState

    def gloo(*_: Any, **__: Any) -> tuple[str, DistributedType]:
        return "gloo", DistributedType.MULTI_CPU

    PartialState._prepare_backend = gloo
