"""What a block of a decoder keeps for the backward pass, in bytes of a token.

In the manner of Korthikanti et al. 2022 (arXiv:2205.05198, section 4.1), for the layers that
`jobs/training` computes with. Attention keeps no scores: its kernels compute them again.
"""

from dataclasses import dataclass

from jobs.fit.shapes import Linear, Shape
from jobs.training.settings import Adapter, Settings

FLOAT = 4
"""Bytes of a float32."""
LIKE_LLAMA = frozenset({"llama", "mistral", "qwen2", "granite", ""})
"""Families whose norms keep no more than their input: see `jobs/training/quick_blocks.py`."""
NORMALISING = 20
"""Bytes of gradients, for each unit of width, where most of them are there at once: in the backward
pass of a norm, which is float32."""


def kept_bytes(shape: Shape, settings: Settings) -> int:
    """What is kept of a token for the backward pass; with checkpointing, each block's input."""
    kept = _Kept(shape, settings)
    block = kept.stream if settings.activation_checkpointing else kept.by_block()
    return shape.layers * block + kept.once()


def block_bytes(shape: Shape, settings: Settings) -> int:
    """What is there of a token only while a block is in its backward pass: gradients on their way,
    and with checkpointing all that the block keeps, computed again."""
    again = _Kept(shape, settings).by_block() if settings.activation_checkpointing else 0
    return again + NORMALISING * shape.width


def layer_bytes(shape: Shape, settings: Settings) -> int:
    """What is there only while a layer computes, however many tokens there are.

    Weights of 4 bits are expanded. DoRA needs the length of each row of W + BA, which peft finds by
    sending an identity matrix through B and A, in float32.
    """
    adapter = settings.adapter
    if adapter is None:
        return 0
    layers = targeted(shape, adapter)
    if adapter.dora:
        return max(FLOAT * (x.inputs**2 + 3 * x.inputs * x.outputs) for x in layers)
    if adapter.quantization:
        return max(_number(settings) * x.inputs * x.outputs for x in shape.linears)
    return 0


def targeted(shape: Shape, adapter: Adapter) -> tuple[Linear, ...]:
    """The layers of a block that get an adapter; all of them, where the targets are of another."""
    if adapter.targets == "all-linear":
        return shape.linears
    return tuple(x for x in shape.linears if x.name in adapter.targets) or shape.linears


def _number(settings: Settings) -> int:
    """Bytes of one number in the precision of the arithmetic."""
    return 2 if settings.precision == "bf16" else FLOAT


@dataclass(frozen=True, slots=True)
class _Kept:
    shape: Shape
    settings: Settings

    @property
    def number(self) -> int:
        return _number(self.settings)

    @property
    def full(self) -> bool:
        return self.settings.adapter is None

    @property
    def queries(self) -> int:
        return self.shape.heads * self.shape.head_width

    @property
    def keys(self) -> int:
        return self.shape.kv_heads * self.shape.head_width

    @property
    def stream(self) -> int:
        """The residual stream; under autocast it is float32."""
        return self.shape.width * (FLOAT if self.full else self.number)

    def by_block(self) -> int:
        adapter = self.settings.adapter
        inputs = self._inputs_trained() if adapter is None else self._inputs_adapted(adapter)
        return self._norms() + inputs + self._attention() + self._mlp()

    def once(self) -> int:
        """Rotations of positions, and the last norm; the first keeps nothing where its input is
        not trained."""
        of_rotation = FLOAT if self.full else self.number
        return 2 * self.shape.head_width * of_rotation + self._norm() * self.full

    def _norms(self) -> int:
        heads = 0
        if self.shape.head_norms:
            width = self.queries + self.keys
            # the input in float32; where its weight is trained, also what that multiplies
            heads = (FLOAT + self.number * self.full) * width
        return self.shape.norms * self._norm() + heads

    def _norm(self) -> int:
        """Its input; transformers' own norms make it float32, and keep what a trained weight
        multiplies."""
        quick = self.settings.packing and not self.settings.compile
        if self.shape.layer_norm or (quick and self.shape.family in LIKE_LLAMA):
            return self.stream
        return FLOAT * self.shape.width * (2 if self.full else 1)

    def _inputs_trained(self) -> int:
        """Autocast makes a copy of an input for each layer that reads it."""
        reading = [x for x in self.shape.linears if x.reads in ("attention", "mlp")]
        if self.number == FLOAT:
            return FLOAT * (self._apart(reading) + self.shape.intermediate)
        return self.number * (sum(x.inputs for x in reading) + self.shape.intermediate)

    def _inputs_adapted(self, adapter: Adapter) -> int:
        layers = targeted(self.shape, adapter)
        ranks = adapter.rank * len(layers)
        apart = self._apart([x for x in layers if x.reads != "heads"])
        if adapter.dora or adapter.quantization:
            # peft's own layers compute in float32, and make a copy for each of them
            copies = apart if self.number == FLOAT else sum(x.inputs for x in layers)
            outputs = sum(x.outputs for x in layers) if adapter.dora else 0
            return FLOAT * (copies + outputs + ranks) + self.number * outputs
        if adapter.dropout:
            # what dropout leaves, and what it multiplied with
            apart = 2 * sum(x.inputs for x in layers)
        return self.number * (apart + ranks)

    def _apart(self, layers: list[Linear]) -> int:
        """Width of what layers read, once where several read the same."""
        shared = "mlp" if self.shape.parallel else ""
        read = {shared if x.reads == "attention" and shared else x.reads: x.inputs for x in layers}
        return sum(read.values())

    def _attention(self) -> int:
        """Queries, keys, values and what comes of them, and a float32 for each head."""
        fused = any(x.reads == "attention" and x.outputs > self.queries for x in self.shape.linears)
        # rotated queries and keys are new, values lie in what the fused layer put out
        numbers = 2 * self.queries + 2 * self.keys + (self.queries + self.keys) * fused
        return self.number * numbers + FLOAT * self.shape.heads

    def _mlp(self) -> int:
        """Before and after the activation, and what a gate multiplies it with."""
        return self.number * self.shape.intermediate * (3 if self.shape.gated else 1)
