"""Workers that train together: all of them run, or all of them start again."""

import hashlib
import os
import re
import shutil
import socket
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

from cluster.ending import (
    Lost,
    Unwanted,
    UnwantedError,
    beside_caller,
    how_lost,
    never,
    outcome,
    unheard,
)
from cluster.rousing import roused

RESTARTS = 3
"""Deaths of workers that one call survives without any progress between them."""
MEETINGS = 3
"""Times in a row that workers may fail to meet: a worker or node that dies just then ends the whole
attempt."""
NOTICE_SECONDS = 4.0
"""Until Ray notices that a node's own process is gone."""
WAIT_SECONDS = 2.0
"""Before workers that could not meet are sent again; doubled each time."""
LINGER_SECONDS = 3.0
"""For the end of a gang whose caller was ended; it takes less than one."""
COLLECTIVE_TIMEOUT_SECONDS = 600
"""How long a worker waits for the others, loading of their models included."""
SILENT_SECONDS = 60.0
"""A worker that does not answer for so long is lost: its process is frozen."""
TRAIN_SETTINGS = {
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "1.0",
    "RAY_TRAIN_WORKER_HEALTH_CHECK_TIMEOUT_S": str(int(SILENT_SECONDS)),
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

    @property
    def reason(self) -> str:
        """The first cause, in one line."""
        return str(self.args[1])

    def __str__(self) -> str:
        return f"{self.args[0]}: {self.reason}"


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
    title: str


def _same(config: Config) -> Config:
    return config


def run_gang(
    worker: Callable[[Config], None],
    config: Config,
    gang: Gang,
    *,
    storage: Path,
    name: str,
    title: str = "",
    starting: Callable[[Config], Config] = _same,
    progress: Callable[[], int] = int,
    unwanted: Unwanted = never,
    lost: Lost = unheard,
) -> None:
    """Run `worker(config)` on every member of a gang, and wait.

    When one dies, alone or with its node, or does not answer for `SILENT_SECONDS`, all start again,
    and go on from what they left on a disk. Between starts they may have to wait until there is
    room for them, on other nodes perhaps.

    Args:
        worker: importable on every node; its ranks meet in a torch process group.
        config: picklable.
        gang: how many, and on what.
        storage: a folder that all nodes see, for Ray's own notes; emptied first.
        name: of the gang, for messages.
        title: of it on Ray's dashboard; the name without one.
        starting: makes of `config`, and at each later start of what it made at the one before, what
            workers are given: those of an earlier start may only be cut off, and still at work.
        progress: how far they are, rising; deaths before it rose are forgotten.
        unwanted: whether to end all of them; what they left on a disk stays.
        lost: is told which worker was lost and why, before all start again.

    Raises:
        HopelessError: the one a worker raised.
        GangError: without progress, workers died more than `RESTARTS` times, or failed to meet
            `MEETINGS` times.
        UnwantedError: they were ended, and what they took is free again.
    """
    import ray

    # fit() wants a main thread, and the driver calls this from several threads.
    task = ray.remote(max_retries=0, **beside_caller())(_fit)
    title = re.sub(r"[^\w.-]+", "-", title) or name  # it becomes a folder
    fit = _Fit(worker=worker, config=config, gang=gang, storage=storage, name=name, title=title)
    release([name])  # of a caller that died, and its gang with it
    reached, deaths, unmet = progress(), 0, 0
    while True:
        shutil.rmtree(storage / title, ignore_errors=True)  # a kill tears what Ray notes there
        if unwanted():
            raise UnwantedError
        fit = replace(fit, config=starting(fit.config))
        try:
            failure = _ended(task.remote(fit), name, unwanted)
        except UnwantedError:
            see_off([name])
            raise
        if failure is None:
            return
        release([name])
        if not isinstance(failure, GangError):
            raise failure
        before, reached = reached, progress()
        if reached > before:
            deaths = unmet = 0
        deaths, unmet = deaths + failure.met, unmet + (not failure.met)
        if deaths > RESTARTS or unmet >= MEETINGS:
            raise failure
        lost(failure.reason)
        if not failure.met:
            time.sleep(WAIT_SECONDS * 2 ** (unmet - 1))


def _ended(reference: Any, name: str, unwanted: Unwanted) -> Exception | None:
    """How one start of a gang ended; None: well."""
    import ray

    try:
        failure: Exception | None = outcome(reference, unwanted)
    except ray.exceptions.RayTaskError:
        raise  # an error of our own code
    except ray.exceptions.RayError as error:  # the process that called fit() was killed
        return GangError(name, _last_line(error), str(error), met=False)
    return failure


def see_off(names: Collection[str]) -> None:
    """Free what gangs took whose caller has just been ended, until none of it can come back.

    A gang ends with the process that started it; a placement group that it was just asking for
    may be there only after the first look.
    """
    deadline = time.monotonic() + LINGER_SECONDS
    while time.monotonic() < deadline:
        release(names)
        time.sleep(0.5)


def _fit(fit: _Fit[Config]) -> Exception | None:
    os.environ.update(TRAIN_SETTINGS)
    from ray.exceptions import RayError
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer
    from ray.train.v2.api.exceptions import ControllerError, TrainingFailedError

    gang = fit.gang
    each = {"CPU": 1.0, "memory": _mark(fit.name)}
    trainer = TorchTrainer(
        partial(_work, fit.worker, fit.config, _places(fit)),
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
            name=fit.title,
            storage_path=str(fit.storage),
            # Who called `run_gang` is to hear of every failure, so the next start is its matter.
            failure_config=FailureConfig(max_failures=0, max_preemption_failures=0),
        ),
    )
    shutil.rmtree(_places(fit), ignore_errors=True)
    try:
        with roused(partial(_waits, fit.name)):
            result = trainer.fit()
    except TrainingFailedError as error:
        met = not isinstance(error, ControllerError)
        return GangError(fit.name, _reason(error, _places(fit)), str(error), met)
    except RayError as error:  # the process of Ray's controller was killed
        return GangError(fit.name, _last_line(error), str(error), met=False)
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

    for number, state in _groups(names):
        if state != "REMOVED":
            remove_placement_group(PlacementGroup(ray.PlacementGroupID(bytes.fromhex(number))))


def _waits(name: str) -> bool:
    """Whether Ray has no place yet for some of a gang's workers."""
    return any(state in ("PENDING", "RESCHEDULING") for _, state in _groups([name]))


def _groups(names: Collection[str]) -> list[tuple[str, str]]:
    """The placement groups of gangs, each with its state."""
    import ray

    marks = set(map(_mark, names))
    found = []
    for number, group in ray.util.placement_group_table().items():
        asked = {bundle.get("memory") for bundle in group["bundles"].values()}
        if len(asked) == 1 and asked <= marks:
            found.append((number, group["state"]))
    return found


def _mark(name: str) -> float:
    """Bytes of memory, at most 16 MiB, that each worker of a gang asks for: as good as a name."""
    return 1.0 + int.from_bytes(hashlib.sha256(name.encode()).digest()[:3])


def _places(fit: _Fit[Any]) -> Path:
    """A folder where each worker notes on which machine it is."""
    return fit.storage / f"{fit.name}.places"


def _work(worker: Callable[[Config], None], config: Config, places: Path) -> HopelessError | None:
    """A returned error ends the gang; a raised one starts it again."""
    import ray.train

    rank = ray.train.get_context().get_world_rank()
    with suppress(OSError):  # a message is all that depends on it
        places.mkdir(parents=True, exist_ok=True)
        here = ray.get_runtime_context().get_node_id()
        (places / str(rank)).write_text(f"{socket.gethostname()} {here}")
    try:
        worker(config)
    except HopelessError as error:
        return error
    return None


def _reason(error: Exception, places: Path) -> str:
    """The first cause, in one line, from what Ray wraps around it.

    Where a worker was lost, those that waited for it fail too, each with a reason of its own.
    """
    failures: dict[int, Exception] = getattr(error, "worker_failures", {})
    if not failures:
        return _last_line(getattr(error, "controller_failure", error))
    gone = {rank: words for rank, one in sorted(failures.items()) if (words := _gone(one))}
    if gone:
        rank, words = next(iter(gone.items()))
        return f"worker {rank}{_on(places / str(rank))} {words}"
    if alone := _without_node(places):
        return f"worker {alone}{_on(places / alone)} was lost with its node"
    number, cause = min(failures.items())
    return f"worker {number}{_on(places / str(number))} failed: {_last_line(cause)}"


def _without_node(places: Path) -> str:
    """A rank whose node is gone; empty: there is none. Those that miss it fail before Ray knows."""
    import ray

    deadline = time.monotonic() + NOTICE_SECONDS
    while True:
        gone = {node["NodeID"] for node in ray.nodes() if not node["Alive"]}
        with suppress(OSError):  # the folder may be gone as well
            for place in sorted(places.glob("*")):
                if place.read_text().rpartition(" ")[2] in gone:
                    return place.name
        if time.monotonic() > deadline:
            return ""
        time.sleep(0.5)


def _on(place: Path) -> str:
    try:
        return f" on {place.read_text().partition(' ')[0]}"
    except OSError:
        return ""


def _gone(error: Exception) -> str:
    """How a worker was lost, in words; empty: it was not, it failed by itself."""
    from ray.train.v2._internal.exceptions import (
        WorkerHealthCheckFailedError,
        WorkerHealthCheckTimeoutError,
    )

    if isinstance(error, WorkerHealthCheckFailedError):
        return _gone(error.health_check_failure)
    if isinstance(error, WorkerHealthCheckTimeoutError):
        return f"did not answer for {SILENT_SECONDS:.0f} s"
    return how_lost(error)


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
