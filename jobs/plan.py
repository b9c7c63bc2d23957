"""`python -m jobs plan`: what an experiment would run and need. Starts nothing, downloads nothing.

The figures are estimates for deciding, each from a stated rule; nothing else relies on them.
"""

import json
import struct
from dataclasses import dataclass
from math import ceil, prod
from pathlib import Path

from rich.console import Console
from rich.table import Table

from cluster.gpus import Hardware, of_this_machine
from jobs.checks import missing_engine
from jobs.data.sources import parts
from jobs.declared import UserError, report
from jobs.experiment import Dataset, Experiment, ModelSpec, Run, Training
from jobs.fit.memory import GIB, Memory, answering_memory, training_memory
from jobs.fit.spreading import decide, refuse, shape_for
from jobs.hub.cache import absent
from jobs.loading import load
from jobs.methods import Parallelism
from jobs.recipes import TRAIN, MissingFileError

CARDS = {16: 15.0, 24: 22.5, 40: 39.4, 48: 45.0, 80: 79.2, 141: 140.0}
"""Common GPUs by the gigabytes of their names, and the least GiB that those report: T4, L4, A100,
L40S, A100 and H100, H200."""
GPUS_OF_A_NODE = 8
"""As many as `auto` is shown to take of them."""
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
MOST_HEADER_BYTES = 100_000_000
"""The limit of the safetensors format."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What one run needs."""

    parallelism: Parallelism
    """While it trains; one worker, for a base."""
    memory: Memory | None
    """Of each worker while it trains or, for a base, answers; None: not known."""
    seconds: float
    """Of all its workers together."""
    at_least: bool = False
    """Whether it takes longer by what rows of the hub need, which nobody has counted."""


Kinds = dict[tuple[str, str], tuple[Run, Need]]
"""One run, and what it needs, for each model and method; a base's method is to answer."""


def show_plan(path: Path, console: Console) -> None:
    """Print the runs an experiment would make and what they need.

    Where this machine has GPUs, the plan is for it; else it says which GPUs would do.

    Raises:
        UserError: every mistake in the experiment, or every run that this machine's GPUs have not
            enough memory for. Files that are not here are only listed.
    """
    experiment = load(path, need_files=False)
    runs = experiment.runs()
    here = of_this_machine()
    hardware = here if here.gpus else _imagined(runs)
    trainings = sum(run.training is not None for run in runs)
    needs = [need(run, experiment, hardware, trainings) for run in runs]
    kinds = _kinds(runs, needs)
    console.print(_runs_table(runs, needs))
    if kinds:
        console.print(_parts_table(kinds))
    if not here.gpus and not _is_small(runs):
        console.print(_cards_table(kinds, trainings))
    _say_totals(runs, needs, experiment, console)
    for lacking in missing_engine(experiment):
        console.print(f"Not ready: {lacking}", style="yellow", markup=False)
    for missing in experiment.missing:
        console.print(f"Not here yet, so not counted: {missing}", style="yellow", markup=False)
    refused = [why for run in runs for why in refuse(run, here, trainings)] if here.gpus else []
    if refused:
        raise report(path, list(dict.fromkeys(refused)))


def parameters(model: ModelSpec) -> float:
    """How many parameters a model has: counted in its folder, or as the experiment says."""
    if model.server:
        return 0.0
    if not model.path:
        shape = shape_for(model)
        return model.parameters * 1e9 or (shape.parameters if shape else 0.0)
    return float(sum(map(_parameters_in, Path(model.location).glob("*.safetensors"))))


def download_gib(experiment: Experiment) -> float:
    """GiB of weights to fetch from the hub, at two bytes a parameter; what is whole in its cache is
    not fetched."""
    models = [model for model in experiment.file.models.values() if model.hub]
    return sum(2 * parameters(m) / GIB for m in models if absent(m.hub, m.revision))


def answers(experiment: Experiment) -> int:
    """Completions that one run is asked for."""
    return sum(b.asking.completions * len(b.problems) for b in experiment.benchmarks)


def need(run: Run, experiment: Experiment, hardware: Hardware, trainings: int) -> Need:
    """What one run needs, estimated.

    Args:
        run: of the experiment.
        experiment: what is asked of every run.
        hardware: where it would run.
        trainings: see `jobs.fit.spreading.decide`.
    """
    count = parameters(run.model)
    rate = GPU_RATE if count >= SMALL else CPU_RATE
    gpu = hardware.gpus > 0 and count >= SMALL
    asked = sum(
        b.asking.completions * len(b.problems) * b.asking.max_new_tokens
        for b in experiment.benchmarks
    )
    seconds = 2 * count * asked / (rate * DECODING_SHARE)
    shape = shape_for(run.model)
    if run.training is None:
        memory = answering_memory(shape, gpu=gpu) if shape else None
        return Need(parallelism=Parallelism(), memory=memory, seconds=seconds)
    settings = run.training.method.settings()
    parallelism = decide(run, hardware, trainings)
    spread = parallelism.spread()
    memory = training_memory(shape, settings, spread, gpu=gpu) if shape else None
    operations = _operations_per_parameter(run.training) * count
    seconds += operations * training_tokens(run.training) / rate
    seconds += 2 * count * measured_tokens(run.training) / rate
    return Need(
        parallelism=parallelism,
        memory=memory,
        seconds=seconds,
        at_least=_depends_on_rows(run.training) and _is_uncounted(run.training.dataset),
    )


def training_tokens(training: Training) -> float:
    """Tokens that a training passes through the model: of so many steps, or of so many epochs of
    all that its files hold."""
    method = training.method
    if method.steps:
        return float(method.steps * method.batch_size * min(ROW_TOKENS, method.max_length))
    return float(method.epochs or 0) * _tokens(training.dataset)


def measured_tokens(training: Training) -> float:
    """Held-out tokens that are passed forward: all of them, at every measurement."""
    method = training.method
    steps = method.steps or training_tokens(training) / (method.batch_size * ROW_TOKENS)
    return method.held_out * _tokens(training.dataset) * ceil(steps / method.evaluate_every)


def _depends_on_rows(training: Training) -> bool:
    return bool(training.method.epochs or training.method.held_out)


def _operations_per_parameter(training: Training) -> int:
    """Of a token: 2 forward and 2 backward to the activations; 2 to the weights where they are
    trained, and 2 forward again with checkpointing (arXiv:2205.05198, section 5)."""
    settings = training.method.settings()
    return 4 + 2 * (settings.adapter is None) + 2 * settings.activation_checkpointing


def _imagined(runs: tuple[Run, ...]) -> Hardware:
    """Where there is no GPU: as many as any run may take, of no known size."""
    most = max((r.model.parallelism.most_workers or 1) for r in runs)
    gpus = 0 if _is_small(runs) else most
    return Hardware(gpus=gpus, gpus_per_node=gpus, gpu_gib=None, cpus=1, host_gib=float("inf"))


def _is_small(runs: tuple[Run, ...]) -> bool:
    return all(parameters(run.model) < SMALL for run in runs)


def _runs_table(runs: tuple[Run, ...], needs: list[Need]) -> Table:
    table = Table("run", "what", "spread", "memory each", "time of one worker")
    for run, needed in zip(runs, needs, strict=True):
        if run.model.server:
            table.add_row(run.id, run.label, "asked over HTTP", "", "its server's")
            continue
        size = _size(needed.memory.total) if needed.memory else "not known"
        spread = _said(needed.parallelism)
        table.add_row(run.id, run.label, spread, size, _time(needed.seconds, needed.at_least))
    return table


def _parts_table(kinds: Kinds) -> Table:
    """What the memory of a worker is for, for each training that differs in more than its seed."""
    table = Table("model", "method", "spread", title="What a worker needs")
    for column in ("weights", "gradients", "optimizer", "activations", "at work", "fixed", "all"):
        table.add_column(column, justify="right")
    for (model, method), (_, needed) in kinds.items():
        parts = _parts(needed.memory) if needed.memory else ["?"] * 7
        table.add_row(model, method, _said(needed.parallelism), *parts)
    return table


def _parts(memory: Memory) -> list[str]:
    sizes = (
        memory.weights,
        memory.gradients,
        memory.optimizer,
        memory.activations,
        max(memory.logits, memory.working),
        memory.overhead,
        memory.total,
    )
    return [_size(size) if size else "" for size in sizes]


def _said(parallelism: Parallelism) -> str:
    offload = "" if parallelism.offload == "none" else f" + {parallelism.offload} offload"
    workers = "" if parallelism.workers == 1 else f"{parallelism.workers} x "
    return f"{workers}{parallelism.strategy}{offload}"


def _cards_table(kinds: Kinds, trainings: int) -> Table:
    """Which training fits GPUs of which size, and how `auto` would spread it there."""
    table = Table("model", "method", *(f"{name} GB" for name in CARDS), title="Which GPUs would do")
    for (model, method), (run, needed) in kinds.items():
        known = needed.memory is not None
        cells = [_cell(run, gib, trainings) if known else "?" for gib in CARDS.values()]
        table.add_row(model, method, *cells)
    return table


def _cell(run: Run, gib: float, trainings: int) -> str:
    most = run.model.parallelism.most_workers or GPUS_OF_A_NODE
    node = Hardware(gpus=most, gpus_per_node=most, gpu_gib=gib, cpus=most, host_gib=float("inf"))
    if refuse(run, node, trainings):
        return "-"
    return _said(decide(run, node, trainings)) if run.training else "yes"


def _kinds(runs: tuple[Run, ...], needs: list[Need]) -> Kinds:
    found: Kinds = {}
    for run, needed in zip(runs, needs, strict=True):
        if run.model.server:
            continue
        method = run.training.method_name if run.training else "(answers)"
        found.setdefault((run.model_name, method), (run, needed))
    return found


def _say_totals(
    runs: tuple[Run, ...], needs: list[Need], experiment: Experiment, console: Console
) -> None:
    on = "core" if _is_small(runs) else "GPU"
    at_least = any(needed.at_least for needed in needs)
    console.print(
        f"{len(runs)} runs, {len(runs) * answers(experiment)} answers to judge, "
        f"{'' if at_least else 'about '}{_time(sum(n.seconds for n in needs), at_least)} of one "
        f"{on}, "
        f"{download_gib(experiment):.1f} GiB to download from the hub."
    )
    console.print(
        f"Assumed: {GPU_RATE:.0e} operations a second on a GPU, {CPU_RATE:.0e} on a core; "
        "every answer runs to its longest.",
        style="dim",
    )
    if at_least:
        uncounted = [name for name, known in experiment.datasets.items() if _is_uncounted(known)]
        console.print(f"Rows of the hub are not in the time: {', '.join(uncounted)}.", style="dim")
    unknown = (n.memory is None and not r.model.server for r, n in zip(runs, needs, strict=True))
    if any(unknown):
        console.print(
            "Memory is not known of models that are not here; give their `parameters`.",
            style="yellow",
        )


def _is_uncounted(dataset: Dataset) -> bool:
    """Whether some of its rows are on the hub, so that nobody knows yet how many."""
    return any(source.kind == "hub" for source in dataset.recipe.sources.values())


def _tokens(dataset: Dataset) -> float:
    """Of the sources that are files of this machine."""
    return _source_bytes(dataset) / CHARACTERS_PER_TOKEN


def _source_bytes(dataset: Dataset) -> int:
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


def _parameters_in(file: Path) -> int:
    """Counted in the header of a safetensors file: 8 bytes of length, then JSON."""
    try:
        with file.open("rb") as opened:
            (length,) = struct.unpack("<Q", opened.read(8))
            header = json.loads(opened.read(min(length, MOST_HEADER_BYTES)))
    except (struct.error, ValueError):
        raise UserError(f"{file} is no safetensors file; is it a pointer to one?") from None
    return sum(prod(t["shape"]) for name, t in header.items() if name != "__metadata__")


def _size(size: int) -> str:
    gib = size / GIB
    return f"{gib:.1f} GiB" if gib >= 1 else f"{gib * 1024:.0f} MiB"


def _time(seconds: float, at_least: bool) -> str:
    return f"at least {_duration(seconds)}" if at_least else _duration(seconds)


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
