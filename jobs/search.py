"""The trainings of a sweep on Ray Tune, and those that `jobs/asha.py` stops.

Every trial is a process that trains with a gang of its own, as any other run does. A trial that is
stopped ends with its process, and with that, as Ray ends what an owner leaves, its gang; but Ray
does not always give back the processors and GPUs of such a gang, so the driver sees to it.
"""

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from cluster.ending import beside_caller
from cluster.gang import release, see_off
from cluster.mailbox import Mailbox
from jobs.asha import Rule, Rungs, Stopped, Trained, keep, recall, stopped
from jobs.train import train
from jobs.training.order import TrainOrder
from jobs.training.steps import Progress

LOOK_SECONDS = 1.0
"""How often the driver looks for trainings that were stopped, and for what they left taken."""
LINGER_SECONDS = 5.0
"""For the end of a gang whose trial has ended; it takes less than one."""
POLL_SECONDS = 0.2
"""How often a trial looks for new losses of its gang."""
HALT = "halt"
"""A file in the folder of a run, for as long as its contest: the trial on whatever node ends it."""
RESTARTS = 3
"""Deaths of a trial's own process that it survives."""
TUNE_SETTINGS = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # its CSV, JSON and TensorBoard files; ours is SQL
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
}

Training = Callable[[TrainOrder, Mailbox], object]
"""Trains one order and tells its progress; raises what went wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """A training that we could not finish."""

    run_id: str
    error: Exception


Outcome = Trained | Stopped | Failed


def train_swept(
    orders: Sequence[TrainOrder],
    rule: Rule,
    mailbox: Mailbox,
    *,
    gpus: bool,
    at_once: int,
    cuda: bool = True,
    kind: str = "",
    attempts: Mapping[str, str] | None = None,
    told: Callable[[Stopped], None] = lambda decision: None,
    unwanted: Callable[[str], bool] = lambda run_id: False,
    lost: Callable[[str, str], None] = lambda run_id, text: None,
    training: Training | None = None,
) -> dict[str, Outcome]:
    """Train the runs of one contest, stop those that lag behind, and wait for the rest.

    Safe to repeat: a run that is trained or was stopped under this rule is not trained again, and
    its losses count for the others.

    Args:
        orders: all runs of the contest, those that are done included.
        rule: of their sweep.
        mailbox: hears the progress of all of them.
        gpus: whether workers take GPUs.
        cuda: whether they compute on those, see `cluster.gpus.Hardware.emulated`.
        kind: of GPU, as Ray names it; empty: any.
        attempts: see `attempt` of `jobs.train.train`, by id of the run.
        at_once: trainings side by side; the caller holds the slots for so many.
        told: hears of each training that was stopped, soon after, once; also of those that were
            stopped before this call.
        unwanted: whether a run is to be ended, by id; it comes back as one that failed with
            `cluster.ending.UnwantedError`, and another call goes on with it.
        lost: hears of each worker that was lost, by run id, and from where all go on.
        training: how one is trained; `jobs.train.train` unless said.

    Returns:
        What became of each, by run id.
    """
    import ray

    outcomes = {order.run_id: _known(order, rule) for order in orders}
    for outcome in outcomes.values():
        if isinstance(outcome, Stopped):
            told(outcome)
    left = [order for order in orders if outcomes[order.run_id] is None]
    if left:
        task = ray.remote(**beside_caller())(_search)
        losses = Mailbox.create()
        takes: dict[str, Any] = {
            "gpus": gpus,
            "cuda": cuda,
            "kind": kind,
            "attempts": attempts or {},
        }
        how = training or partial(_train, losses=losses, **takes)
        watch = _Watch(left, rule, told, unwanted, losses, lost)
        watch.begin()
        search = task.remote(orders, left, rule, mailbox, at_once, how)
        try:
            while not ray.wait([search], timeout=LOOK_SECONDS)[0]:
                watch.look()
            watch.linger()
            outcomes |= ray.get(search)
        except BaseException:
            _end(search, [order.run_id for order in left])
            raise
        watch.end()
    return {run_id: outcome for run_id, outcome in outcomes.items() if outcome is not None}


def _end(search: Any, names: Sequence[str]) -> None:
    """End all trials, with their gangs, and free what they took; another call goes on with them."""
    import ray

    ray.cancel(search, force=True)
    ray.wait([search], timeout=LINGER_SECONDS)
    see_off(names)


def _train(
    order: TrainOrder,
    mailbox: Mailbox,
    *,
    losses: Mailbox,
    attempts: Mapping[str, str],
    **takes: Any,
) -> None:
    """One training of a contest, until it is done or its run is to end."""
    halted = (order.folder / HALT).exists

    def lost(text: str) -> None:
        losses.put((order.run_id, text))

    attempt = attempts.get(order.run_id, "")
    train(order, mailbox, attempt=attempt, unwanted=halted, lost=lost, **takes)


class _Watch:
    """Tells of each training that is stopped, once, and frees what its gang leaves taken; has the
    trials of runs end that nobody wants any more."""

    def __init__(
        self,
        orders: Sequence[TrainOrder],
        rule: Rule,
        told: Callable[[Stopped], None],
        unwanted: Callable[[str], bool],
        losses: Mailbox,
        lost: Callable[[str, str], None],
    ) -> None:
        self._losses = losses
        self._lost = lost
        self._orders = orders
        self._going = {order.run_id: order.folder for order in orders}
        self._rule = rule
        self._told = told
        self._unwanted = unwanted
        self._stopped: list[str] = []

    def begin(self) -> None:
        """Forget what an earlier driver was told, and look."""
        self.end()
        self.look()

    def end(self) -> None:
        """Leave no file behind."""
        for order in self._orders:
            (order.folder / HALT).unlink(missing_ok=True)

    def look(self) -> None:
        for run_id, text in self._losses.drain():
            self._lost(run_id, text)
        for run_id, folder in self._going.items():
            if self._unwanted(run_id):
                folder.mkdir(parents=True, exist_ok=True)
                (folder / HALT).touch()
        for run_id, folder in list(self._going.items()):
            decision = stopped(folder, self._rule)
            if decision is not None:
                del self._going[run_id]
                self._stopped.append(run_id)
                self._told(decision)
        release(self._stopped)

    def linger(self) -> None:
        """Look on until a gang that was stopped last is dead, and starts no more."""
        deadline = time.monotonic() + LINGER_SECONDS
        self.look()
        while self._stopped and time.monotonic() < deadline:
            time.sleep(LOOK_SECONDS)
            self.look()


def _known(order: TrainOrder, rule: Rule) -> Outcome | None:
    if order.checkpoint.exists():
        return Trained(run_id=order.run_id)
    return stopped(order.folder, rule)


def _search(
    orders: Sequence[TrainOrder],
    left: Sequence[TrainOrder],
    rule: Rule,
    mailbox: Mailbox,
    at_once: int,
    training: Training,
) -> dict[str, Outcome]:
    """Run the trials, in the main thread of a process of its own, as Tune wants it."""
    os.environ.update(TUNE_SETTINGS)
    import ray
    from ray import tune

    of_run = {order.run_id: order for order in left}
    failures = Mailbox.create()
    scheduler = _scheduler(recall(orders, rule), of_run)
    with _scratch(left[0].folder) as storage:
        tune.Tuner(
            tune.with_resources(
                partial(_trial, of_run, mailbox, failures, training),
                # A trial only waits; something must be asked for, and this is where the driver is.
                {"CPU": 0, f"node:{ray.util.get_node_ip_address()}": 0.001},
            ),
            param_space={"run": tune.grid_search(list(of_run))},
            tune_config=tune.TuneConfig(scheduler=scheduler, max_concurrent_trials=at_once),
            run_config=tune.RunConfig(
                name="trials",
                storage_path=str(storage),
                verbose=0,
                failure_config=tune.FailureConfig(max_failures=RESTARTS),
            ),
        ).fit()
    failed = dict(failures.drain())
    return {run_id: _outcome(order, rule, failed) for run_id, order in of_run.items()}


def _outcome(order: TrainOrder, rule: Rule, failed: Mapping[str, Exception]) -> Outcome:
    known = _known(order, rule)
    if known is not None:
        return known
    lost = RuntimeError(f"the process of run {order.run_id} died more than {RESTARTS} times")
    return Failed(run_id=order.run_id, error=failed.get(order.run_id, lost))


def _scheduler(rungs: Rungs, orders: Mapping[str, TrainOrder]) -> Any:
    """Our rule, as Tune asks it. Tune's own ASHA decides the same, but forgets its rungs with its
    process and does not say what it compared with."""
    from ray.tune.schedulers import FIFOScheduler

    class Scheduler(FIFOScheduler):  # type: ignore[misc]  # Ray's classes are not typed
        def on_trial_result(self, controller: Any, trial: Any, result: dict[str, Any]) -> str:
            run_id = result["run"]
            before = rungs.passed(run_id)
            decision = rungs.tell(run_id, result["step"], result["of"], result["held_out_loss"])
            if rungs.passed(run_id) != before:
                keep(orders[run_id].folder, rungs, run_id, decision)
            return str(self.STOP if decision else self.CONTINUE)

    return Scheduler()


def _trial(
    orders: Mapping[str, TrainOrder],
    mailbox: Mailbox,
    failures: Mailbox,
    training: Training,
    config: dict[str, str],
) -> None:
    """Train one run, and pass on what its workers tell: all to the driver, losses to Tune."""
    from ray import tune

    order, box = orders[config["run"]], Mailbox.create()
    failed: list[Exception] = []

    def work() -> None:
        try:
            training(order, box)
        except Exception as error:  # reported below, as this run's
            failed.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    ended = False
    while not ended:
        thread.join(POLL_SECONDS)
        ended = not thread.is_alive()
        told = box.drain()
        mailbox.put(*told)
        for progress in told:
            if isinstance(progress, Progress) and progress.step.held_out_loss is not None:
                step = progress.step
                tune.report(
                    {
                        "run": order.run_id,
                        "step": step.step,
                        "of": progress.of,
                        "held_out_loss": step.held_out_loss,
                    }
                )
    for error in failed:
        failures.put((order.run_id, error))


@contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    """A folder that all nodes see, for what Tune writes about itself; nobody reads it."""
    path = folder / "tune"
    shutil.rmtree(path, ignore_errors=True)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
