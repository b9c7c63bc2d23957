"""One training on the cluster: workers are started together, and again where one is lost."""

import os
import shutil
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from cluster.ending import Lost, Unwanted, never, unheard
from cluster.gang import Gang, run_gang
from cluster.gpus import hide_gpus
from jobs.storage.going_on import GoingOn
from jobs.storage.keeping import NOWHERE, Storage
from jobs.training.ending import forget
from jobs.training.fence import Fence
from jobs.training.order import ORDER, TrainOrder, to_json
from jobs.training.steps import Facts, read_facts

if TYPE_CHECKING:
    from cluster.mailbox import Mailbox


@dataclass(frozen=True, slots=True, kw_only=True)
class _Work:
    """What a worker is given."""

    order: TrainOrder
    mailbox: "Mailbox"
    gang: Gang
    storage: Storage
    fence: Fence


def train(
    order: TrainOrder,
    mailbox: "Mailbox",
    *,
    gpus: bool,
    cuda: bool = True,
    kind: str = "",
    title: str = "",
    attempt: str = "",
    unwanted: Unwanted = never,
    lost: Lost = unheard,
    storage: Storage = NOWHERE,
) -> Facts:
    """Train on the cluster this process is connected to, unless it is done already, and wait.

    `order.json` beside the checkpoint repeats the training without Ray, see `jobs.training`.

    Args:
        order: the training.
        mailbox: receives `jobs.training.steps.Progress`, some steps at a time.
        gpus: one GPU per worker; else one core.
        cuda: whether workers compute on those GPUs, see `cluster.gpus.Hardware.emulated`.
        kind: of GPU, as Ray names it; empty: any.
        title: of it on Ray's dashboard; the run's id without one.
        attempt: who is at work, for the message of workers of an earlier start; those write nothing
            any more.
        unwanted: whether to end it; another call goes on from its last checkpoint.
        lost: hears of each worker that was lost, and of an earlier driver that was, and from
            which step all go on.
        storage: where its checkpoints are kept as well.

    Raises:
        jobs.training.order.TrainingError: what another attempt would not change, such as a loss
            that is not finite, or a want of memory.
        cluster.gang.GangError: workers were lost too often; calling again goes on.
        cluster.ending.UnwantedError: it was ended.
    """
    going_on = GoingOn(order, storage)
    if not storage.there(order.checkpoint):
        order.folder.mkdir(parents=True, exist_ok=True)
        _write(order)
        forget(order)
        gang = Gang(workers=order.spread.ranks, gpus=gpus, cuda=cuda, kind=kind)
        if step := going_on.reached():
            lost(f"an earlier driver left it unfinished; goes on from step {step}")
        run_gang(
            _work,
            _Work(
                order=order,
                mailbox=mailbox,
                gang=gang,
                storage=storage,
                fence=Fence(order.folder, attempt),
            ),
            gang,
            storage=order.attempts / "ray",
            name=order.run_id,
            title=title,
            starting=_fenced,
            progress=going_on.reached,
            unwanted=unwanted,
            lost=lambda text: lost(f"{text}; all start again, {_from(going_on.reached())}"),
        )
        storage.keep(order.checkpoint)
        going_on.forget()
    shutil.rmtree(order.attempts, ignore_errors=True)
    return read_facts(order.checkpoint)


def _fenced(work: _Work) -> _Work:
    """For a new start: workers of all earlier ones, of whatever driver, write nothing any more."""
    fence = work.fence.begin()
    GoingOn(work.order, work.storage, work.fence.start).hand_over(fence.start)
    return replace(work, fence=fence)


def _from(step: int) -> str:
    return f"from step {step}" if step else "from the beginning"


def _work(work: _Work) -> None:
    """What every worker of the gang does."""
    import ray.train
    import ray.train.torch
    import torch

    from jobs.training.worker import train_worker

    if work.gang.computes_on_gpus:
        torch.cuda.set_device(ray.train.torch.get_device())
    else:
        hide_gpus()
    going_on = GoingOn(work.order, work.storage, work.fence.start)
    order = going_on.begin()
    train_worker(order, work.mailbox, going_on.saved, work.fence)
    if ray.train.get_context().get_world_rank() == 0:
        going_on.end(order)


def _write(order: TrainOrder) -> None:
    draft = order.folder / f"{ORDER}.{os.getpid()}"
    draft.write_text(to_json(order))
    draft.replace(order.folder / ORDER)
