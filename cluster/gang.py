"""Workers that train together: all of them run, or all of them start again from a checkpoint."""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

RESTARTS = 3
"""Deaths of workers that one call survives."""
COLLECTIVE_TIMEOUT_SECONDS = 600
"""How long a worker waits for the others, loading of their models included."""
SNAPSHOT = "checkpoint_manager_snapshot.json"
TRAIN_SETTINGS = {
    # A reported checkpoint counts once the controller has polled it.
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
    "RAY_TRAIN_WORKER_HEALTH_CHECK_TIMEOUT_S": "60",
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "120",
    "RAY_TRAIN_ENABLE_STATE_TRACKING": "1",  # the dashboard's Train page is empty without it
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
}

Config = TypeVar("Config")


class GangError(Exception):
    """A gang did not finish. Calling again with the same name goes on from its last checkpoint."""

    def __init__(self, name: str, reason: str, details: str = "") -> None:
        super().__init__(name, reason, details)
        self.details = details
        """The whole of what Ray says, tracebacks of workers included."""

    def __str__(self) -> str:
        return f"{self.args[0]}: {self.args[1]}"


class HopelessError(Exception):
    """What no restart mends. A worker raises it, on every rank, and the gang ends at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gang:
    """What workers take."""

    workers: int
    gpus: bool
    """One GPU each; else one core each."""


def run_gang(
    worker: Callable[[Config], None], config: Config, gang: Gang, *, storage: Path, name: str
) -> None:
    """Run `worker(config)` on every member of a gang, and wait.

    Workers call `ray.train.report`. When one dies, all start again and find the last checkpoint
    with `ray.train.get_checkpoint()`; so does a later call with the same `storage` and `name`.

    Args:
        worker: importable on every node; its ranks meet in a torch process group.
        config: picklable.
        gang: how many, and on what.
        storage: a folder that all nodes see.
        name: of the folder below it.

    Raises:
        HopelessError: the one a worker raised.
        GangError: workers died more than `RESTARTS` times, or could not meet.
    """
    import ray

    # fit() wants a main thread, and the driver calls this from several threads.
    task = ray.remote(num_cpus=0)(_fit)
    failure = ray.get(task.remote(worker, config, gang, storage, name))
    if failure is not None:
        raise failure


def _fit(
    worker: Callable[[Config], None], config: Config, gang: Gang, storage: Path, name: str
) -> Exception | None:
    os.environ.update(TRAIN_SETTINGS)
    _discard_torn_snapshot(storage / name)
    from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer
    from ray.train.v2.api.exceptions import TrainingFailedError

    trainer = TorchTrainer(
        partial(_work, worker, config),
        torch_config=TorchConfig(
            backend="nccl" if gang.gpus else "gloo", timeout_s=COLLECTIVE_TIMEOUT_SECONDS
        ),
        scaling_config=ScalingConfig(
            num_workers=gang.workers,
            use_gpu=gang.gpus,
            resources_per_worker={"CPU": 1, "GPU": 1} if gang.gpus else {"CPU": 1},
        ),
        run_config=RunConfig(
            name=name,
            storage_path=str(storage),
            failure_config=FailureConfig(max_failures=RESTARTS),
            checkpoint_config=CheckpointConfig(num_to_keep=2),
        ),
    )
    try:
        result = trainer.fit()
    except TrainingFailedError as error:
        return GangError(name, _reason(error), str(error))
    failure: Exception | None = result.return_value
    return failure


def _discard_torn_snapshot(folder: Path) -> None:
    """Begin anew where a kill tore Ray's list of checkpoints: it rewrites that file in place, and
    refuses to start when it is half written or names a folder that is gone."""
    snapshot = folder / SNAPSHOT
    if not snapshot.exists():
        return
    try:
        named = json.loads(snapshot.read_text())["checkpoint_results"]
        whole = all((folder / entry["checkpoint_dir_name"]).is_dir() for entry in named)
    except (ValueError, KeyError, TypeError):
        whole = False
    if not whole:
        shutil.rmtree(folder)


def _work(worker: Callable[[Config], None], config: Config) -> HopelessError | None:
    """A returned error ends the gang; a raised one starts it again."""
    try:
        worker(config)
    except HopelessError as error:
        return error
    return None


def _reason(error: Exception) -> str:
    """The first cause, in one line, from what Ray wraps around it."""
    failures: dict[int, Exception] = getattr(error, "worker_failures", {})
    if failures:
        rank, cause = sorted(failures.items())[0]
        return f"worker {rank} failed: {_last_line(cause)}"
    return _last_line(getattr(error, "controller_failure", error))


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
