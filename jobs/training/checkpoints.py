"""Points from which a killed training goes on, without any change to its outcome.

Adapter, optimizer and the steps so far are saved. The order of the rows, the learning rate and
the random numbers of a step follow from the seed and the step, so there is nothing of them to save.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from torch import Tensor

from jobs.training import adapters
from jobs.training.engines import Engine

STEPS = "steps.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One optimizer step."""

    step: int
    """Counted from 1."""
    loss: float
    """Mean over the response tokens of the whole batch, in nats, before the update."""
    learning_rate: float
    gradient_norm: float
    """Before clipping."""
    tokens: int
    """Prompt and response, over all workers, padding not counted."""
    seconds: float
    """Wall-clock time of this step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """A checkpoint in memory, but for the adapter, which the model has taken over already."""

    steps: tuple[Step, ...] = ()
    optimizer: tuple[dict[str, Tensor], ...] = ()
    """One state for each of an engine's masters."""


def report(engine: Engine, model: Any, steps: Sequence[Step], rank: int) -> None:
    """Hand a checkpoint to Ray Train. Every worker must call it at the same step."""
    import ray.train

    weights = engine.weights()
    metrics = {"step": steps[-1].step, "loss": steps[-1].loss}
    if rank > 0 and not engine.sharded:
        ray.train.report(metrics)
        return
    with TemporaryDirectory() as name:
        folder = Path(name)
        _write_optimizer(engine, folder / _optimizer_file(rank))
        if rank == 0:
            lora.save(model, weights, folder)
            write_steps(steps, folder / STEPS)
        ray.train.report(metrics, checkpoint=ray.train.Checkpoint.from_directory(folder))


def resume(model: Any, *, rank: int, sharded: bool) -> Saved:
    """Give a model, not yet prepared, the adapter of the last checkpoint; the rest is returned.

    ZeRO copies the weights when it is prepared, so they must be in place before.
    """
    import ray.train
    import torch

    checkpoint = ray.train.get_checkpoint()
    if checkpoint is None:
        return Saved()
    with checkpoint.as_directory() as name:
        folder = Path(name)
        lora.restore(model, folder)
        optimizer = torch.load(
            folder / _optimizer_file(rank if sharded else 0),
            map_location="cpu",
            weights_only=True,
        )
        return Saved(steps=tuple(read_steps(folder / STEPS)), optimizer=tuple(optimizer))


def restore_optimizer(engine: Engine, saved: Saved) -> None:
    """Put the optimizer of a prepared engine where it was."""
    for master, state in zip(engine.masters, saved.optimizer, strict=bool(saved.optimizer)):
        engine.optimizer.state[master] = {
            name: value.to(master.device) for name, value in state.items()
        }


def write_steps(steps: Iterable[Step], path: Path) -> None:
    """One JSON object a line."""
    path.write_text("".join(json.dumps(asdict(step)) + "\n" for step in steps))


def read_steps(path: Path) -> list[Step]:
    """What `write_steps` wrote."""
    return [Step(**json.loads(line)) for line in path.read_text().splitlines()]


def _optimizer_file(rank: int) -> str:
    return f"optimizer-{rank}.pt"


def _write_optimizer(engine: Engine, path: Path) -> None:
    import torch

    torch.save([dict(engine.optimizer.state[master]) for master in engine.masters], path)
