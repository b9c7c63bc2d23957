"""Workers that train together: all of them run, or all of them start again."""

import hashlib
import os
import shutil
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Generic, TypeVar

from cluster.ending import Unwanted, UnwantedError, never, outcome

RESTARTS = 3
"""Deaths of workers that one call survives without any progress between them."""
MEETINGS = 3
"""Times in a row that workers may fail to meet: a worker or node that dies just then ends the whole
attempt, and Ray does not try again by itself."""
LINGER_SECONDS = 3.0
"""For the end of a gang whose caller was ended; it takes less than one."""
COLLECTIVE_TIMEOUT_SECONDS = 600
"""How long a worker waits for the others, loading of their models included."""
TRAIN_SETTINGS = {
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
    "RAY_TRAIN_WORKER_HEALTH_CHECK_TIMEOUT_S": "60",
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "120",
    "RAY_TRAIN_ENABLE_STATE_TRACKING": "1",  # the dashboard's Train page is empty without it
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
}

Config = TypeVar("Config")


class GangError(Exception):
    """A gang did not finish. Calling again starts it again."""

    def __init__(self, name: str, reason: str, details: str = "", met: bool = True) -> None:
        super().__init__(name, reason, details, met)
        self.details = details
        """The whole of what Ray says, tracebacks of workers included."""
        self.met = met
        """False: workers did not find together, or Ray itself failed."""

    def __str__(self) -> str:
        return f"{self.args[0]}: {self.args[1]}"


class HopelessError(Exception):
    """What no restart mends. A worker raises it, on every rank, and the gang ends at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gang:
    """What workers take."""

    workers: int
    gpus: bool
    """Whether Ray reserves a GPU for each; else it reserves a core alone."""
    cuda: bool = True
    """Whether they compute on those GPUs; False: Ray only counts them, see `Hardware.emulated`."""
    kind: str = ""
    """Of GPU, as Ray names it, such as `H100`; empty: any."""

    @property
    def computes_on_gpus(self) -> bool:
        """Else each computes on its core."""
        return self.gpus and self.cuda


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fit(Generic[Config]):
    """One gang as Ray Train runs it."""

    worker: Callable[[Config], None]
    config: Config
    gang: Gang
    storage: Path
    name: str


def run_gang(
    worker: Callable[[Config], None],
    config: Config,
    gang: Gang,
    *,
    storage: Path,
    name: str,
    progress: Callable[[], int] = int,
    unwanted: Unwanted = never,
) -> None:
    """Run `worker(config)` on every member of a gang, and wait.

    When one dies, all start again, and go on from what they left on a disk. Between starts they may
    have to wait until there is room for them, on other nodes perhaps.

    Args:
        worker: importable on every node; its ranks meet in a torch process group.
        config: picklable.
        gang: how many, and on what.
        storage: a folder that all nodes see, for Ray's own notes; emptied first.
        name: of the gang, for messages and the dashboard.
        progress: how far they are, rising; deaths before it rose are forgotten.
        unwanted: whether to end all of them; what they left on a disk stays.

    Raises:
        HopelessError: the one a worker raised.
        GangError: without progress, workers died more than `RESTARTS` times, or failed to meet
            `MEETINGS` times.
        UnwantedError: they were ended, and what they took is free again.
    """
    import ray

    # fit() wants a main thread, and the driver calls this from several threads.
    task = ray.remote(num_cpus=0)(_fit)
    fit = _Fit(worker=worker, config=config, gang=gang, storage=storage, name=name)
    release([name])  # of a caller that died, and its gang with it
    reached, unmet = progress(), 0
    while True:
        shutil.rmtree(storage / name, ignore_errors=True)  # a kill tears what Ray notes there
        if unwanted():
            raise UnwantedError
        try:
            failure = outcome(task.remote(fit), unwanted)
        except UnwantedError:
            _see_off(name)
            raise
        if failure is None:
            return
        release([name])
        if not isinstance(failure, GangError):
            raise failure
        before, reached = reached, progress()
        unmet = 0 if reached > before else unmet + 1
        if reached <= before and (failure.met or unmet >= MEETINGS):
            raise failure


def _see_off(name: str) -> None:
    """Free what a gang took whose caller has just been ended, until none of it can come back.

    The gang ends with the process that started it; a placement group that it was just asking for
    may be there only after the first look.
    """
    deadline = time.monotonic() + LINGER_SECONDS
    while time.monotonic() < deadline:
        release([name])
        time.sleep(0.5)


def _fit(fit: _Fit[Config]) -> Exception | None:
    os.environ.update(TRAIN_SETTINGS)
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer
    from ray.train.v2.api.exceptions import ControllerError, TrainingFailedError

    gang = fit.gang
    each = {"CPU": 1.0, "memory": _mark(fit.name)}
    trainer = TorchTrainer(
        partial(_work, fit.worker, fit.config),
        torch_config=TorchConfig(
            backend="nccl" if gang.computes_on_gpus else "gloo",
            timeout_s=COLLECTIVE_TIMEOUT_SECONDS,
        ),
        scaling_config=ScalingConfig(
            num_workers=gang.workers,
            use_gpu=gang.gpus,
            resources_per_worker=each | ({"GPU": 1.0} if gang.gpus else {}),
            accelerator_type=gang.kind or None,
        ),
        run_config=RunConfig(
            name=fit.name,
            storage_path=str(fit.storage),
            failure_config=FailureConfig(max_failures=RESTARTS),
        ),
    )
    try:
        result = trainer.fit()
    except TrainingFailedError as error:
        met = not isinstance(error, ControllerError)
        return GangError(fit.name, _reason(error), str(error), met)
    failure: Exception | None = result.return_value
    return failure


def release(names: Collection[str]) -> None:
    """Give back what failed gangs took, or gangs whose caller is dead; they must not run any more.

    Where workers fail while they meet, Ray Train forgets the placement group that they were in, and
    it would be taken until the driver ends; so it is, now and then, where a gang dies with the
    process that called `run_gang`. It has no name, so it is known by what it asked for.
    """
    import ray
    from ray.util.placement_group import PlacementGroup, remove_placement_group

    marks = set(map(_mark, names))
    for number, group in ray.util.placement_group_table().items():
        asked = {bundle.get("memory") for bundle in group["bundles"].values()}
        if len(asked) == 1 and asked <= marks and group["state"] != "REMOVED":
            remove_placement_group(PlacementGroup(ray.PlacementGroupID(bytes.fromhex(number))))


def _mark(name: str) -> float:
    """Bytes of memory, at most 16 MiB, that each worker of a gang asks for: as good as a name."""
    return 1.0 + int.from_bytes(hashlib.sha256(name.encode()).digest()[:3])


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
