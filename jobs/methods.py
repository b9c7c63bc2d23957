"""How a base is tuned: LoRA, DoRA, QLoRA, or all its weights, each a named entry of an experiment.

What they share is in `Method`. `settings()` is the same without pydantic, for the workers.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from jobs.declared import Declared
from jobs.training.order import UNSHAPING
from jobs.training.settings import Adapter, Quantization, Settings, Spread


class Method(Declared):
    """What every method has: how long, in what steps, how exact. Loss is on responses only."""

    learning_rate: float = Field(default=2.0e-4, gt=0)
    """At its highest."""
    schedule: Literal["cosine", "linear", "constant", "wsd"] = "cosine"
    """After the warm-up; `wsd` (warm-up, stable, decay) stays, then falls in a line."""
    warmup: float = Field(default=0.03, ge=0, lt=1)
    """Share of the steps over which the learning rate rises from 0."""
    decay: float = Field(default=0.2, gt=0, le=1)
    """Share of the steps, at the end, over which `wsd` falls to 0."""
    epochs: float | None = Field(default=None, gt=0)
    steps: int | None = Field(default=None, ge=1)
    """Optimizer steps; exactly one of steps and epochs is given."""
    batch_size: int = Field(default=16, ge=1)
    """Rows per optimizer step, over all workers."""
    packing: bool = True
    """Rows go through the model one behind the other, each seeing itself only; else side by side,
    padded to the longest. The loss is the same."""
    micro_batch_tokens: int = Field(default=2048, ge=8)
    """Tokens that go through the model at once on one worker, padding counted; a longer row goes
    through alone."""
    max_length: int = Field(default=1024, ge=8)
    """Tokens of prompt and response; what becomes of longer rows the dataset's recipe says."""
    weight_decay: float = Field(default=0.0, ge=0)
    """Of AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101)."""
    clip: float = Field(default=1.0, gt=0)
    """Largest norm of the gradient."""
    precision: Literal["bf16", "fp32"] = "bf16"
    """Of the arithmetic, and of frozen weights; what is trained is held in float32 always."""
    activation_checkpointing: bool = False
    """Compute activations again in the backward pass instead of keeping them: less memory, a third
    more work."""
    compile: bool = False
    """Compile the blocks with torch.compile: pays on a GPU, over many steps."""
    held_out: float = Field(default=0.0, ge=0, lt=0.5)
    """Share of the rows that are not trained on but only measured."""
    evaluate_every: int = Field(default=50, ge=1)
    """Optimizer steps between two measurements of the loss on held-out rows."""
    patience: int | None = Field(default=None, ge=1)
    """Stop after so many measurements in a row without a better one, and keep the best weights."""
    checkpoint_every: int = Field(default=50, ge=1)
    """Optimizer steps after which a checkpoint is due, from which a killed training goes on."""
    checkpoint_minutes: float = Field(default=10.0, gt=0)
    """Minutes after which one is due, where that is sooner."""

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if (self.epochs is None) == (self.steps is None):
            raise ValueError("give either steps or epochs, and not both")
        if self.patience is not None and not self.held_out:
            raise ValueError("patience needs rows to measure; set held_out, such as 0.05")
        return self

    def settings(self) -> Settings:
        """The same, for a worker."""
        adapter = self._adapter()
        shared = self.model_dump(include=set(Method.model_fields))
        return Settings(**shared, adapter=adapter)

    def shaping(self) -> dict[str, Any]:
        """What shapes the weights: the fields that differ from their defaults."""
        fields = self.model_dump(mode="json", exclude_defaults=True, exclude=set(UNSHAPING))
        return {"kind": self.model_dump()["kind"]} | fields

    def _adapter(self) -> Adapter | None:
        return None


class _Adapted(Method):
    """What every low-rank method has."""

    rank: int = Field(default=16, ge=1)
    alpha: int = Field(default=32, ge=1)
    """The adapter's output is multiplied by alpha / rank."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    targets: str | tuple[str, ...] = "all-linear"
    """Names of the linear layers that get an adapter; `all-linear` is all but the output layer."""
    rslora: bool = False
    """Multiply by alpha / sqrt(rank) instead (Kalajdzievski 2023, arXiv:2312.03732)."""
    lora_plus: float = Field(default=1.0, ge=1)
    """How many times the learning rate of A the one of B is (Hayou et al. 2024, arXiv:2402.12354);
    theirs is 16."""

    @model_validator(mode="after")
    def _targeted(self) -> Self:
        if not self.targets:
            raise ValueError("targets names no layer; give names, or all-linear")
        return self

    def _adapter(self) -> Adapter:
        fields = self.model_dump(include=set(_Adapted.model_fields) - set(Method.model_fields))
        return Adapter(**fields, dora=self._dora, quantization=self._quantization)

    @property
    def _dora(self) -> bool:
        return False

    @property
    def _quantization(self) -> Quantization | None:
        return None


class LoRA(_Adapted):
    """Low-rank adaptation (Hu et al. 2021, arXiv:2106.09685) by peft."""

    kind: Literal["lora"]


class DoRA(_Adapted):
    """LoRA on the direction of each weight, its length trained apart (arXiv:2402.09353)."""

    kind: Literal["dora"]

    @property
    def _dora(self) -> bool:
        return True


class QLoRA(_Adapted):
    """LoRA on a frozen base of 4 bits a weight (arXiv:2305.14314); needs bitsandbytes."""

    kind: Literal["qlora"]
    quantization: Quantization = "nf4"
    """How the base's weights are held: normal floats (`nf4`), or floats (`fp4`), of 4 bits."""

    @property
    def _quantization(self) -> Quantization | None:
        return self.quantization


class Full(Method):
    """Every weight is trained; the run leaves a whole model behind."""

    kind: Literal["full"]
    learning_rate: float = Field(default=1.0e-5, gt=0)


AnyMethod = Annotated[LoRA | DoRA | QLoRA | Full, Field(discriminator="kind")]
"""One entry of an experiment's `methods`."""


class Parallelism(Declared):
    """How one training is spread over workers."""

    strategy: Literal["single", "ddp", "zero1", "zero2", "zero3", "auto"] = "single"
    """`ddp` copies the model to each worker; `zeroN` is DeepSpeed's ZeRO, stage N; `auto` is
    decided by memory: see `jobs.fit.spreading.decide`."""
    workers: int = Field(default=1, ge=1)
    """One GPU each, or one core where there is none; the most that `auto` takes, where it is given.
    """
    offload: Literal["none", "optimizer", "parameters"] = "none"
    """Keep the optimizer, or with ZeRO-3 the weights too, in the memory of the host."""

    @model_validator(mode="before")
    @classmethod
    def _mapping(cls, value: Any) -> Any:
        if isinstance(value, str):
            raise ValueError(f"give keys and values, such as {{strategy: {value}}}")
        return value

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.strategy == "auto" and self.offload != "none":
            raise ValueError(
                f"auto decides what is offloaded, but offload is {self.offload!r}; remove it, or "
                "say zero1, zero2 or zero3"
            )
        if self.strategy == "single" and self.workers > 1:
            raise ValueError(
                f"strategy 'single' is one worker, but workers is {self.workers}; "
                "say ddp, zero1, zero2 or zero3"
            )
        if self.offload != "none" and not self.strategy.startswith("zero"):
            raise ValueError(
                f"offload {self.offload!r} is a part of ZeRO, but strategy is {self.strategy!r}; "
                "say zero1, zero2 or zero3"
            )
        if self.offload == "parameters" and self.strategy != "zero3":
            raise ValueError(
                f"only zero3 can offload parameters, but strategy is {self.strategy!r}"
            )
        return self

    @property
    def most_workers(self) -> int | None:
        """The limit that `auto` keeps; None: all there are."""
        given = "workers" in self.model_fields_set
        return self.workers if given or self.strategy != "auto" else None

    def spread(self) -> Spread:
        """The same, for a worker; `auto` has to be decided before. One copy needs no DDP."""
        assert self.strategy != "auto", "auto is decided before a training starts"
        alone = self.strategy == "ddp" and self.workers == 1
        strategy = "single" if alone else self.strategy
        return Spread(strategy=strategy, ranks=self.workers, offload=self.offload)
