"""How the trainings of an experiment are spread over a cluster, and what cannot be done there."""

from collections.abc import Iterable
from dataclasses import replace

from cluster.gpus import Hardware
from jobs.declared import UserError
from jobs.experiment import Experiment, Run
from jobs.fit.spreading import decide, refuse
from jobs.plan import need
from jobs.workplace import Work


def spread_out(
    works: Iterable[Work], experiment: Experiment, hardware: Hardware, alone: bool
) -> tuple[list[Work], list[str]]:
    """Each training with its spread, and how long each run takes by estimate.

    Args:
        works: what is to be done.
        experiment: all of it; a training's spread is the same at every start.
        hardware: that there is now.
        alone: on a cluster of our own, which does not grow.

    Returns:
        The works, and what is to be said of those that have to wait for more nodes.

    Raises:
        UserError: everything that cannot be done here, at once.
    """
    limit = experiment.file.cluster.gpus
    if limit is not None and hardware.gpus > limit:
        per_node = min(limit, hardware.gpus_per_node)
        hardware = replace(hardware, gpus=limit, gpus_per_node=per_node)
    trainings = sum(run.training is not None for run in experiment.runs())
    found: list[Work] = []
    mistakes: list[str] = []
    notes: list[str] = []
    for work in works:
        mistakes += refuse(work.run, hardware, trainings)
        if work.run.training:
            spread = decide(work.run, hardware, trainings).spread()
            work = replace(work, spread=spread)
            mistakes += _beyond_limit(work, experiment)
            (mistakes if alone else notes).extend(_too_wide(work, hardware))
        found.append(replace(work, seconds=_seconds(work.run, experiment, hardware, trainings)))
    if mistakes:
        raise UserError("\n".join(dict.fromkeys(mistakes)))
    return found, list(dict.fromkeys(notes))


def _seconds(run: Run, experiment: Experiment, hardware: Hardware, trainings: int) -> float:
    return need(run, experiment, hardware, trainings).seconds


def _beyond_limit(work: Work, experiment: Experiment) -> list[str]:
    limit = experiment.file.cluster.gpus
    if limit is None or work.spread.ranks <= limit:
        return []
    return [f"{_where(work.run)}: {work.spread.ranks} workers, but cluster.gpus is {limit}"]


def _too_wide(work: Work, hardware: Hardware) -> list[str]:
    there, kind = (hardware.gpus, "GPUs") if hardware.gpus else (hardware.cpus, "processors")
    if work.spread.ranks <= there:
        return []
    has = f"{work.spread.ranks} workers, but the cluster has {there} {kind}"
    return [f"{_where(work.run)}: {has}"]


def _where(run: Run) -> str:
    return f"models.{run.model_name}.parallelism.workers"
