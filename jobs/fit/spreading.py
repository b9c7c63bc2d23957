"""Which spread a training gets: what `auto` chooses, and what cannot fit whatever is chosen."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from cluster.gpus import Hardware
from jobs.experiment import ModelSpec, Run
from jobs.fit.memory import GIB, Memory, answering_memory, training_memory
from jobs.fit.shapes import Shape, shape_of
from jobs.methods import LoRA, Parallelism
from jobs.training.settings import Offload, Settings, Spread, Strategy

LEAST_TOKENS = 512
"""Micro batches are not suggested smaller."""
STEPS: tuple[tuple[Strategy, Offload], ...] = (
    ("ddp", "none"),
    ("zero1", "none"),
    ("zero2", "none"),
    ("zero3", "none"),
    ("zero3", "optimizer"),
    ("zero3", "parameters"),
)
"""What `auto` tries on several GPUs, the least to exchange first."""


ADAPTER = LoRA(kind="lora", steps=1).settings().adapter
"""What is suggested instead of training everything."""


def decide(run: Run, hardware: Hardware, trainings: int = 1) -> Parallelism:
    """The parallelism of a run's training, with `auto` decided.

    One worker where there is no GPU, where the model says `workers: 1`, and where the training fits
    one GPU and there are at least as many trainings as GPUs on a node, which run side by side. Else
    as many workers as the model allows, or a node has GPUs, and the first of `STEPS` that fits.

    Args:
        run: of a training.
        hardware: where it shall run.
        trainings: how many there are in the experiment. The same for every start of it, so that a
            training that goes on keeps its spread.

    Returns:
        Never `auto`. Where nothing fits, what needs least; `refuse` says what is wrong with it.
    """
    declared = run.model.parallelism
    if declared.strategy != "auto":
        return declared
    assert run.training is not None
    settings = run.training.method.settings()
    shape = shape_for(run.model)
    most = _most_workers(declared, settings, hardware)
    options = [Spread(strategy="single", ranks=1)]
    if most == 1:
        options += [Spread(strategy="zero3", ranks=1, offload=o) for o in _OFFLOADED]
    elif trainings < hardware.gpus_per_node:
        options = []
    if most > 1:
        options += [Spread(strategy=s, ranks=most, offload=o) for s, o in STEPS]
    options = [spread for spread in options if _possible(settings, spread)]
    if not hardware.gpus or shape is None:
        return _declared(options[0])
    fitting = (s for s in options if not lacks(shape, settings, s, hardware))
    return _declared(next(fitting, options[-1]))


def refuse(run: Run, hardware: Hardware, trainings: int = 1) -> list[str]:
    """Why a run cannot be done here for want of memory, and what would help; empty where it can,
    or where too little is known to tell.

    Args:
        run: a base, or a training.
        hardware: where it shall run.
        trainings: see `decide`.
    """
    shape = shape_for(run.model)
    if shape is None:
        return []
    where = f"models.{run.model_name}"
    memory = answering_memory(shape, gpu=hardware.gpus > 0)
    if short := _shortage(memory, 1, hardware):
        return [f"{where}: to answer, it {short}"]
    if run.training is None:
        return []
    settings = run.training.method.settings()
    spread = decide(run, hardware, trainings).spread()
    short = lacks(shape, settings, spread, hardware)
    if not short:
        return []
    remedies = _remedies(shape, settings, spread, hardware)
    helps = f"it would fit with {', or '.join(remedies)}" if remedies else "nothing we know helps"
    how = spread.strategy if spread.ranks == 1 else f"{spread.strategy} on {spread.ranks} workers"
    return [f"{where} with methods.{run.training.method_name}, {how}: {short}; {helps}"]


def lacks(shape: Shape, settings: Settings, spread: Spread, hardware: Hardware) -> str:
    """What a training lacks here, as `needs ... but ...`; empty where it fits or nobody knows."""
    memory = training_memory(shape, settings, spread, gpu=hardware.gpus > 0)
    return _shortage(memory, spread.ranks, hardware)


def shape_for(model: ModelSpec) -> Shape | None:
    """What is known of a model of an experiment; see `jobs.fit.shapes.shape_of`."""
    if model.server:
        return None  # it needs nothing of this cluster
    return shape_of(model.location, model.revision, model.parameters * 1e9)


_OFFLOADED: tuple[Offload, ...] = ("optimizer", "parameters")


def _most_workers(declared: Parallelism, settings: Settings, hardware: Hardware) -> int:
    if not hardware.gpus:
        return 1
    allowed = declared.most_workers or hardware.gpus_per_node
    return min(allowed, hardware.gpus, settings.batch_size)


def _possible(settings: Settings, spread: Spread) -> bool:
    """Weights of 4 bits are cut into parts by ZeRO-3, but nobody tried to offload those."""
    quantized = settings.adapter is not None and settings.adapter.quantization is not None
    return not (quantized and spread.offload == "parameters")


def _declared(spread: Spread) -> Parallelism:
    return Parallelism(strategy=spread.strategy, workers=spread.ranks, offload=spread.offload)


def _shortage(memory: Memory, ranks: int, hardware: Hardware) -> str:
    if not hardware.gpus:
        return _beyond(ranks * memory.total, hardware.host_gib, "in memory", "the machine has")
    if hardware.gpu_gib is not None:
        on_gpu = _beyond(memory.total, hardware.gpu_gib, "on each GPU", "one has")
        if on_gpu:
            return on_gpu
    per_node = min(ranks, max(1, hardware.gpus_per_node))
    return _beyond(per_node * memory.host, hardware.host_gib, "in a node's memory", "it has")


def _beyond(needed: int, gib: float, place: str, has: str) -> str:
    if needed <= gib * GIB:
        return ""
    return f"needs {needed / GIB:.1f} GiB {place}, but {has} {gib:.1f}"


def _remedies(shape: Shape, settings: Settings, spread: Spread, hardware: Hardware) -> list[str]:
    """Each change by itself after which a training fits; where there is none, several together."""

    def fits(changes: Iterable[_Change], spread: Spread = spread) -> bool:
        changed = replace(settings, **{k: v for c in changes for k, v in c.fields.items()})
        return _possible(changed, spread) and not lacks(shape, changed, spread, hardware)

    ways = _lighter(settings)
    single = [next((c for c in way if fits([c])), None) for way in ways]
    found = [change.said for change in single if change]
    found += [_said(wider) for wider in _wider(settings, hardware) if fits([], wider)][:1]
    if found:
        return found
    for count in range(2, len(ways) + 1):
        together = [way[-1] for way in ways[:count]]
        if fits(together):
            return [" and ".join(change.said for change in together)]
    return []


@dataclass(frozen=True, slots=True, kw_only=True)
class _Change:
    """Of a method, as it would stand in an experiment."""

    said: str
    fields: Mapping[str, Any]


def _lighter(settings: Settings) -> list[list[_Change]]:
    """What makes a training need less, the least first in each list."""
    ways = []
    if not settings.activation_checkpointing:
        fields = {"activation_checkpointing": True}
        ways.append([_Change(said="activation_checkpointing: true", fields=fields)])
    if smaller := list(_halves(settings)):
        ways.append(
            [
                _Change(said=f"micro_batch_tokens: {n}", fields={"micro_batch_tokens": n})
                for n in smaller
            ]
        )
    if settings.adapter is None:
        ways.append([_Change(said="kind: lora", fields={"adapter": ADAPTER})])
    elif settings.adapter.quantization is None:
        coarse = replace(settings.adapter, quantization="nf4", dora=False)
        ways.append([_Change(said="kind: qlora", fields={"adapter": coarse})])
    return ways


def _halves(settings: Settings) -> Iterator[int]:
    """Smaller micro batches; smaller than the longest row they are of no use."""
    tokens = settings.micro_batch_tokens // 2
    while tokens >= max(LEAST_TOKENS, settings.max_length):
        yield tokens
        tokens //= 2


def _wider(settings: Settings, hardware: Hardware) -> Iterator[Spread]:
    """Over all GPUs of a node."""
    ranks = min(hardware.gpus_per_node, settings.batch_size)
    if ranks > 1:
        yield from (Spread(strategy=s, ranks=ranks, offload=o) for s, o in STEPS)
    elif ranks == 1:
        yield from (Spread(strategy="zero3", ranks=1, offload=o) for o in _OFFLOADED)


def _said(spread: Spread) -> str:
    """As it would stand in an experiment."""
    offload = "" if spread.offload == "none" else f", offload: {spread.offload}"
    return f"parallelism: {{strategy: {spread.strategy}, workers: {spread.ranks}{offload}}}"
