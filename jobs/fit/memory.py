"""How much memory a worker needs, counted from the shape of the model; needs no library.

Of the height of a step: weights, gradients and optimizer are there all the time, activations
(`jobs/fit/activations.py`) at the end of the forward pass, logits while the loss is computed. A
test compares the count with what torch holds.
"""

from dataclasses import dataclass, replace
from math import ceil

from jobs.fit.activations import block_bytes, kept_bytes, layer_bytes, targeted
from jobs.fit.shapes import Linear, Shape
from jobs.training.settings import Adapter, Settings, Spread

GIB = 2**30
MASTER = 4
"""Bytes of a trained weight, and of its gradient: float32."""
MOMENTS = 8
"""Bytes of AdamW's two moments of a weight."""
NIBBLES = 0.5 + 1 / 64 + 4 / (64 * 256)
"""Bytes of a weight in 4 bits: a byte of scale for 64 weights, a float32 for 256 such scales
(Dettmers et al. 2023, arXiv:2305.14314, section 3)."""
LOGIT_BYTES = 12
"""Of one logit in the backward pass: its log-softmax, the gradient of that, and its own."""
LOGITS_AT_ONCE = {"cpu": 2**24, "cuda": 2**28}
"""As in `jobs/training/loss.py`."""
CONTEXT_BYTES = int(0.6 * GIB)
"""CUDA's context, and the workspaces of its libraries."""
FRAGMENTED = 0.05
"""Of the rest: what the allocator holds beside it in pieces that fit nothing."""
BUCKET = 50_000_000
"""Gradients that DeepSpeed collects before they are exchanged, as in `jobs/training/zero.py`."""
LIVE = 1_000_000_000
"""Weights that ZeRO-3 has whole at once: DeepSpeed's default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What one worker needs, in bytes."""

    weights: int
    """Frozen and trained, and copies of the trained in the precision of the arithmetic."""
    gradients: int
    optimizer: int
    activations: int
    """Kept for the backward pass."""
    logits: int
    """While the loss is computed."""
    working: int
    """While a block is in its backward pass."""
    overhead: int
    """What is there whatever is trained, and what the allocator wastes."""
    host: int = 0
    """Offloaded, in the memory of the host."""
    loading: int = 0
    """Before the first step, where a base is loaded whole on each worker, and cut into parts then.
    """

    @property
    def total(self) -> int:
        """At the height of a step, of the device it computes on; the loss comes before the blocks'
        backward pass. Gradients are there from one micro batch to the next."""
        lasting = self.weights + self.gradients + self.optimizer + self.overhead
        step = lasting + self.activations + max(self.logits, self.working)
        return max(self.loading, step)


def training_memory(shape: Shape, settings: Settings, spread: Spread, *, gpu: bool) -> Memory:
    """What each worker of a training needs.

    Args:
        shape: of the base.
        settings: of the method.
        spread: over how many workers, and how.
        gpu: whether they compute on GPUs. Processors are taken to be without instructions for
            bfloat16, so that weights in bf16 are held as float32.
    """
    if not gpu:
        settings = replace(settings, precision="fp32")
    held = _held(shape, settings, spread)
    tokens = micro_batch_tokens(settings, spread.ranks)
    at_once = LOGITS_AT_ONCE["cuda" if gpu else "cpu"]
    needed = Memory(
        weights=held.weights,
        gradients=held.gradients,
        optimizer=held.optimizer,
        activations=tokens * kept_bytes(shape, settings),
        logits=LOGIT_BYTES * min(tokens * shape.vocabulary, at_once),
        working=tokens * block_bytes(shape, settings) + layer_bytes(shape, settings),
        overhead=0,
        host=held.host,
        loading=_loading_bytes(shape, settings, spread),
    )
    if not gpu:
        return needed
    return replace(
        needed,
        overhead=CONTEXT_BYTES + int(FRAGMENTED * needed.total),
        loading=needed.loading + CONTEXT_BYTES if needed.loading else 0,
    )


def answering_memory(shape: Shape, *, gpu: bool) -> Memory:
    """The least that a worker needs to answer: weights, in bfloat16 on a GPU, else in float32.

    Batches become as small as memory asks, so what they take is not counted.
    """
    return Memory(
        weights=shape.parameters * (2 if gpu else 4),
        gradients=0,
        optimizer=0,
        activations=0,
        logits=0,
        working=0,
        overhead=CONTEXT_BYTES if gpu else 0,
    )


def trained_parameters(shape: Shape, adapter: Adapter | None) -> int:
    """How many are trained: those of adapters, or all."""
    if adapter is None:
        return shape.parameters
    return shape.layers * sum(_beside(x, adapter) for x in targeted(shape, adapter))


def micro_batch_tokens(settings: Settings, ranks: int) -> int:
    """The most tokens that go through the model at once on one worker.

    A row that is longer than a micro batch goes through alone, and no worker has more than its
    share of the rows of a step.
    """
    room = max(settings.micro_batch_tokens, settings.max_length)
    if settings.packing and settings.compile:  # filled up, so that no new shape is compiled
        return ceil(room / settings.micro_batch_tokens) * settings.micro_batch_tokens
    return min(room, ceil(settings.batch_size / ranks) * settings.max_length)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Held:
    """What is there from step to step, in bytes."""

    weights: int
    gradients: int
    optimizer: int
    host: int = 0


def _held(shape: Shape, settings: Settings, spread: Spread) -> _Held:
    """After Rajbhandari et al. 2020 (arXiv:1910.02054, figure 1), where everything trained is
    float32. DeepSpeed keeps a second copy of what a worker updates in stages 1 and 2."""
    trained = trained_parameters(shape, settings.adapter)
    masters = MASTER * trained
    frozen = _frozen_bytes(shape, settings)
    copies = _copies_bytes(shape, settings, trained)
    if spread.stage is None:
        weights = frozen + masters + copies
        return _Held(weights=weights, gradients=masters, optimizer=MOMENTS * trained)
    mine, bucket = ceil(trained / spread.ranks), MASTER * BUCKET
    offloaded = spread.offload != "none"
    optimizer, host = MOMENTS * mine, 0
    if offloaded:
        optimizer, host = 0, (2 * MASTER + MOMENTS) * mine
    if spread.stage < 3:
        second = 0 if offloaded else MASTER * mine
        weights = frozen + masters + second + copies
        whole = spread.stage == 1
        gradients = bucket + MASTER * (trained if whole else 0 if offloaded else mine)
        return _Held(weights=weights, gradients=gradients, optimizer=optimizer, host=host)
    weights = ceil((frozen + masters) / spread.ranks)
    live = int((frozen + masters) * min(1.0, LIVE / shape.parameters))
    if spread.offload == "parameters":
        host, weights = host + weights, 0
    gradients = bucket + (0 if offloaded else MASTER * mine)
    return _Held(
        weights=weights + live + copies, gradients=gradients, optimizer=optimizer, host=host
    )


def _frozen_bytes(shape: Shape, settings: Settings) -> int:
    if settings.adapter is None:
        return 0
    number = 2 if settings.precision == "bf16" else 4
    if settings.adapter.quantization is None:
        return number * shape.parameters
    matrices = shape.layers * sum(x.inputs * x.outputs for x in shape.linears)
    return int(NIBBLES * matrices) + number * (shape.parameters - matrices)


def _loading_bytes(shape: Shape, settings: Settings, spread: Spread) -> int:
    """Of a base of 4 bits under ZeRO-3: only whole weights are quantized."""
    quantized = settings.adapter is not None and settings.adapter.quantization is not None
    return _frozen_bytes(shape, settings) if quantized and spread.stage == 3 else 0


def _copies_bytes(shape: Shape, settings: Settings, trained: int) -> int:
    """Of what is trained, in bfloat16: kept from the forward to the backward pass."""
    if settings.precision != "bf16":
        return 0
    if settings.adapter is None:
        matrices = sum(x.inputs * x.outputs for x in shape.linears)
        return 2 * (shape.layers * matrices + shape.embedding)
    peft_computes = settings.adapter.dora or settings.adapter.quantization
    return 0 if peft_computes else 2 * trained


def _beside(linear: Linear, adapter: Adapter) -> int:
    """A and B, and for DoRA a length for each output."""
    low = adapter.rank * (linear.inputs + linear.outputs)
    return low + (linear.outputs if adapter.dora else 0)
