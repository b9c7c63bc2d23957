"""What a worker is told: the method and the spread, complete, without pydantic.

`jobs/methods.py` has what each field means, and its default.
"""

from dataclasses import dataclass
from typing import Literal

Strategy = Literal["single", "ddp", "zero1", "zero2", "zero3"]
Offload = Literal["none", "optimizer", "parameters"]
Quantization = Literal["nf4", "fp4"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapter:
    """Low-rank matrices beside the frozen weights."""

    rank: int
    alpha: int
    dropout: float
    targets: str | tuple[str, ...]
    rslora: bool
    lora_plus: float
    dora: bool
    quantization: Quantization | None
    """Of the frozen base; None: as `Settings.precision` says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """One method."""

    adapter: Adapter | None
    """None: every weight is trained."""
    learning_rate: float
    schedule: Literal["cosine", "linear", "constant", "wsd"]
    warmup: float
    decay: float
    epochs: float | None
    steps: int | None
    batch_size: int
    packing: bool
    micro_batch_tokens: int
    max_length: int
    weight_decay: float
    clip: float
    precision: Literal["bf16", "fp32"]
    activation_checkpointing: bool
    compile: bool
    held_out: float
    evaluate_every: int
    patience: int | None
    checkpoint_every: int
    checkpoint_minutes: float

    @property
    def weights(self) -> Literal["adapter", "full"]:
        """What the training leaves behind."""
        return "adapter" if self.adapter else "full"


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """How a training is spread over workers."""

    strategy: Strategy
    ranks: int
    offload: Offload = "none"

    @property
    def stage(self) -> int | None:
        """Of ZeRO; None where there is none."""
        return int(self.strategy[-1]) if self.strategy.startswith("zero") else None


ALONE = Spread(strategy="single", ranks=1)
