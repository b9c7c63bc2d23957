"""`python -m jobs plan`: what an experiment would run and need. Starts nothing, downloads nothing.

The figures are estimates for deciding, each from a stated rule; nothing else relies on them.
"""

import json
import struct
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from jobs.data.sources import parts
from jobs.declared import UserError
from jobs.experiment import Dataset, Experiment, ModelSpec, Run, Training
from jobs.loading import load
from jobs.recipes import TRAIN, MissingFileError

GPU_RATE = 2e14
"""Floating-point operations a second that a training sustains on one current GPU in bf16."""
CPU_RATE = 2e10
"""The same on one core in fp32."""
DECODING_SHARE = 0.1
"""Share of that rate that generation reaches: it waits for memory."""
SMALL = 1e8
"""Models below so many parameters are planned for a processor, not a GPU."""
CHARACTERS_PER_TOKEN = 3.0
ROW_TOKENS = 256
"""Of an ordinary row, where a method counts steps."""
GIB = 2**30
MOST_HEADER_BYTES = 100_000_000
"""The limit of the safetensors format."""


@dataclass(frozen=True, slots=True)
class Need:
    """What one run needs."""

    workers: int
    memory_gib: float
    """Of each worker while it trains or, for a base, answers."""
    seconds: float
    """Of all its workers together."""


def show_plan(path: Path, console: Console) -> None:
    """Print the runs an experiment would make and what they need.

    Raises:
        UserError: every mistake in the experiment; files that are not here are only listed.
    """
    experiment = load(path, need_files=False)
    runs = experiment.runs()
    needs = [need(run, experiment) for run in runs]
    table = Table("run", "what", "spread", "memory each", "time of one worker")
    for run, needed in zip(runs, needs, strict=True):
        table.add_row(
            run.id,
            run.label,
            run.model.parallelism.strategy if run.training else "single",
            f"{needed.workers} x {_size(needed.memory_gib)}",
            _duration(needed.seconds),
        )
    console.print(table)
    on = "GPU" if any(parameters(run.model) >= SMALL for run in runs) else "core"
    console.print(
        f"{len(runs)} runs, {len(runs) * answers(experiment)} answers to judge, about "
        f"{_duration(sum(n.seconds for n in needs))} of one {on}, "
        f"{download_gib(experiment):.1f} GiB to download from the hub."
    )
    console.print(
        f"Assumed: {GPU_RATE:.0e} operations a second on a GPU, {CPU_RATE:.0e} on a core; "
        "every answer runs to its longest.",
        style="dim",
    )
    for missing in experiment.missing:
        console.print(f"Not here yet, so not counted: {missing}", style="yellow", markup=False)


def parameters(model: ModelSpec) -> float:
    """How many parameters a model has: counted in its folder, or as the experiment says."""
    if not model.path:
        return model.parameters * 1e9
    return float(sum(map(_parameters_in, Path(model.location).glob("*.safetensors"))))


def download_gib(experiment: Experiment) -> float:
    """GiB of weights to fetch from the hub, at two bytes a parameter."""
    models = experiment.file.models.values()
    return sum(2 * parameters(model) / GIB for model in models if model.hub)


def answers(experiment: Experiment) -> int:
    """Completions that one run is asked for."""
    return sum(b.asking.completions * len(b.problems) for b in experiment.benchmarks)


def need(run: Run, experiment: Experiment) -> Need:
    """What one run needs, estimated."""
    count = parameters(run.model)
    rate = GPU_RATE if count >= SMALL else CPU_RATE
    asked = sum(
        b.asking.completions * len(b.problems) * b.asking.max_new_tokens
        for b in experiment.benchmarks
    )
    seconds = 2 * count * asked / (rate * DECODING_SHARE)
    if run.training is None:
        return Need(1, 2 * count / GIB, seconds)
    # A frozen base costs 2N forward and 2N backward to the activations: 4N a token.
    seconds += 4 * count * training_tokens(run.training) / rate
    workers = run.model.parallelism.workers
    return Need(workers, _training_gib(run, count), seconds)


def training_tokens(training: Training) -> float:
    """Tokens that a training passes through the model: of so many steps, or of so many epochs of
    all that its files hold."""
    method = training.method
    if method.steps:
        return float(method.steps * method.batch_size * min(ROW_TOKENS, method.max_length))
    return float(method.epochs or 0) * _source_bytes(training.dataset) / CHARACTERS_PER_TOKEN


def _source_bytes(dataset: Dataset) -> int:
    """Bytes of the sources that are files of this machine."""
    sources = dataset.recipe.sources.items()
    files = [(name, source) for name, source in sources if source.kind in ("file", "files")]
    try:
        return sum(
            Path(part.path).stat().st_size
            for name, source in files
            for part in parts(name, source, TRAIN)
        )
    except MissingFileError:
        return 0


def _training_gib(run: Run, count: float) -> float:
    """Weights, adapters with their optimizer, and activations of one micro batch.

    Depth and width are read off the count by the usual shape of a decoder: 12 L d^2 parameters
    and d = 128 L. Activations: 34 bytes per token, unit of width and layer (Korthikanti et al.
    2022, arXiv:2205.05198, eq. 2, without the attention scores that fused kernels do not keep).
    """
    assert run.training is not None
    method, parallelism = run.training.method, run.model.parallelism
    layers = (count / (12 * 128**2)) ** (1 / 3)
    width = 128 * layers
    sharded = parallelism.workers if parallelism.strategy == "zero3" else 1
    weights = (2 if method.precision == "bf16" else 4) * count / sharded
    adapters = 16 * method.rank * 16 * width * layers
    tokens = _micro_batch(method, parallelism.workers) * method.max_length
    return float(weights + adapters + 34 * tokens * width * layers) / GIB


def _micro_batch(method: Any, workers: int) -> int:
    return method.micro_batch_size or max(1, method.batch_size // workers)


def _parameters_in(file: Path) -> int:
    """Counted in the header of a safetensors file: 8 bytes of length, then JSON."""
    try:
        with file.open("rb") as opened:
            (length,) = struct.unpack("<Q", opened.read(8))
            header = json.loads(opened.read(min(length, MOST_HEADER_BYTES)))
    except (struct.error, ValueError):
        raise UserError(f"{file} is no safetensors file; is it a pointer to one?") from None
    return sum(prod(t["shape"]) for name, t in header.items() if name != "__metadata__")


def _size(gib: float) -> str:
    return f"{gib:.1f} GiB" if gib >= 1 else f"{gib * 1024:.0f} MiB"


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
