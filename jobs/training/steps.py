"""What is known of a training while it runs, and after it."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

STEPS = "steps.jsonl"
FACTS = "facts.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One optimizer step."""

    step: int
    """Counted from 1."""
    loss: float
    """Mean over the response tokens of the whole batch, in nats, before the update."""
    learning_rate: float
    """Of the matrices A, where LoRA+ gives those of B another."""
    gradient_norm: float
    """Before clipping."""
    tokens: int
    """Prompt and response, over all workers, padding not counted."""
    seconds: float
    """Wall-clock time of this step, measuring and checkpoints not counted."""
    padding: float = 0.0
    """Share of the tokens computed that were padding or repeats to keep workers in step, [0, 1)."""
    memory: int | None = None
    """Bytes of the worker that used most so far: on a GPU what torch allocated, else resident."""
    flops_share: float | None = None
    """MFU: floating-point operations that the model needs (4 N a token for adapters, 6 N for all
    weights; nothing counted twice), over those that the measured matrix ceiling of all workers
    would have done in these seconds."""
    joules: float | None = None
    """Of all GPUs in these seconds, by NVML; None where there is none."""
    held_out_loss: float | None = None
    """Mean over the response tokens of the held-out rows after this step, where it was measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """A step that is done, for whoever watches."""

    run_id: str
    of: int
    step: Step


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a training was, as found while it ran."""

    weights: str
    """`adapter` or `full`."""
    engine: str
    """Class that Accelerate or DeepSpeed made of the model."""
    zero_stage: int | None
    offload: str
    ranks: int
    attention: str
    """How rows that lie behind each other are kept apart."""
    tokens: int
    """Over all steps and workers, padding not counted."""
    seconds: float
    """Of the steps; start, measuring and checkpoints not counted."""
    gpu_hours: float
    """0 where there is no GPU."""
    kilowatt_hours: float | None
    """Of the GPUs; None where NVML does not tell."""
    memory_gib: float | None
    """Of the worker that used most."""
    rows: int
    """Trained on, each window of a split text counted."""
    rows_held_out: int
    rows_left_out: int
    """Longer than `max_length`."""
    rows_cut: int
    """Longer than `max_length`, so their response lost its end."""
    windows: int
    """Rows that are a part of a text longer than `max_length`."""
    trainable_parameters: int
    best_step: int | None
    """The step with the lowest held-out loss, whose weights these are, where the method has
    `patience`, however many steps were done; None: these are the weights of the last."""
    resumed: int
    """How often it went on from a checkpoint."""
    device: str
    versions: dict[str, str]


def write_steps(steps: Iterable[Step], path: Path) -> None:
    """One JSON object a line."""
    path.write_text("".join(json.dumps(asdict(step)) + "\n" for step in steps))


def read_steps(path: Path) -> list[Step]:
    """What `write_steps` wrote."""
    return [Step(**json.loads(line)) for line in path.read_text().splitlines()]


def read_facts(checkpoint: Path) -> Facts:
    """Of a training that is done."""
    return Facts(**json.loads((checkpoint / FACTS).read_text()))
