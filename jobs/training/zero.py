"""ZeRO by DeepSpeed: its settings, and what it needs where there is no accelerator."""

import os
from typing import Any

from jobs.experiment import LoRA
from jobs.training.spread import Spread


def plugin(stage: int, method: LoRA, spread: Spread) -> Any:
    """Accelerate's plugin for one stage of ZeRO.

    The sizes are stated, because Accelerate can only infer them from a data loader, and DeepSpeed
    refuses sizes that do not multiply. Mixed precision stays off: the base comes in its precision
    and adapters are float32, which DeepSpeed's own bf16 mode would cast away.
    """
    from accelerate import DeepSpeedPlugin

    return DeepSpeedPlugin(
        hf_ds_config={
            "train_batch_size": spread.micro_batch_size * spread.micro_batches * spread.ranks,
            "train_micro_batch_size_per_gpu": spread.micro_batch_size,
            "gradient_accumulation_steps": spread.micro_batches,
            "gradient_clipping": method.clip,
            "zero_optimization": {"stage": stage, "overlap_comm": False},
            "zero_allow_untested_optimizer": True,
        },
        zero3_init_flag=False,
    )


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
