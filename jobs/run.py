"""`python -m jobs run`: from an experiment file to a table of scores, as often as it takes."""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from sqlalchemy import Engine

from cluster.gpus import of_cluster
from cluster.nodes import machines
from cluster.slots import Slots, Taking, gpus_of, processors_of
from database.session import open_ledger
from jobs.asha import contests, is_known
from jobs.checks import host_mistakes, missing_libraries
from jobs.curves.copies import NO_COPIES, Copies
from jobs.declared import UserError, nearest, report
from jobs.experiment import Benchmark, Experiment, Run, short_hash
from jobs.fit.placing import spread_out
from jobs.home import Home
from jobs.hub.download import download
from jobs.hub.models import Looked, look
from jobs.loading import load
from jobs.outstanding import LookAgain, outstanding, record_stopped
from jobs.pipeline import Failure, Match, execute_all
from jobs.progress import Board
from jobs.record import Recorder
from jobs.remote.models import introduced
from jobs.results import show_results
from jobs.run_logs import RunLogs
from jobs.stages import prepare_stage
from jobs.storage.keeping import Storage
from jobs.storage.seeing import seen
from jobs.telemetry import Telemetry, telling
from jobs.workplace import Spent, Work, Workplace

MB = 10**6
STOPPED = 3
"""Exit status: nothing failed, but not all is recorded, because somebody stopped runs by hand."""
NOTHING = Looked(models=(), mistakes=(), notes=())


def run_experiment(path: Path, console: Console, copies: Copies = NO_COPIES) -> int:
    """Run all of an experiment that is not recorded yet.

    Args:
        copies: of the curves of its trainings, for other tools.

    Returns:
        0 when everything is recorded, 1 when some run failed for a reason of ours, `STOPPED` when
        none did, but somebody stopped some by hand.

    Raises:
        UserError: every mistake in the experiment and on this machine, before any work.
    """
    started = time.monotonic()
    home = Home.from_environment()
    experiment, looked = _checked(path, home)
    for note in looked.notes:
        console.print(note, style="yellow", markup=False)
    alone = not os.environ.get("RAY_ADDRESS")
    with home.driver(alone=alone), _ledger(experiment, home, console, copies) as ledger:
        record_stopped(experiment, ledger, home)
        works = outstanding(experiment, ledger, home)
        if not works:
            count = len(experiment.runs())
            console.print(f"Nothing to do: all {count} runs of {experiment.name} are recorded.")
            show_results(ledger, experiment.name, console)
            return 0
        said = served(works, home, path)
        tell = partial(console.print, markup=False, highlight=False)
        with (
            telling(ledger, experiment.name, tell) as telemetry,
            telemetry.claims.alive(home),
        ):
            recorder = Recorder(ledger, experiment, said, telemetry.claims)
            fetch(looked, works, console)
            again = LookAgain(experiment, ledger, home)
            ended = _run(works, experiment, recorder, telemetry, home, console, again)
    show_results(ledger, experiment.name, console)
    _show_time(ended.spent, time.monotonic() - started, console)
    return _conclude(ended, path, console)


def _checked(path: Path, home: Home) -> tuple[Experiment, Looked]:
    experiment, looked, mistakes = None, NOTHING, []
    try:
        experiment = load(path)
    except UserError as error:
        mistakes.append(str(error))
    if experiment is not None:
        looked = look(experiment.file.models)
        lacking = [*missing_libraries(experiment), *looked.mistakes]
        if lacking:
            mistakes.append(str(report(path, lacking)))
    machine = host_mistakes(home)
    if machine:
        mistakes.append(str(report(Path("this machine"), machine)))
    if experiment is None or mistakes:
        raise UserError("\n".join(mistakes))
    return experiment, looked


def fetch(looked: Looked, works: Sequence[Work], console: Console) -> None:
    """Download what is missing of the models that there is work for, before Ray is started."""
    wanted = {work.run.model_name for work in works}
    with Board(console) as board:

        def say(model: str, done: int, total: int) -> None:
            board.update(f"{model}: downloading", "MB", done // MB, total // MB)

        download([model for model in looked.models if model.name in wanted], say)


def served(works: Sequence[Work], home: Home, path: Path) -> dict[str, dict[str, Any]]:
    """What servers say of the models that are to be asked, by name; of no others.

    Raises:
        UserError: a key is not set, a server does not answer, or has no such model.
    """
    servers = {
        work.run.model_name: work.run.model.server
        for work in works
        if work.run.model.server and not all(_is_asked(work.run, b, home) for b in work.benchmarks)
    }
    found, mistakes = introduced(servers)
    if mistakes:
        raise report(path, mistakes)
    return found


def _is_asked(run: Run, benchmark: Benchmark, home: Home) -> bool:
    asking = short_hash(benchmark.asked_of(run))
    return home.completions(run.id, benchmark.name, asking).exists()


@contextmanager
def _ledger(
    experiment: Experiment, home: Home, console: Console, copies: Copies
) -> Iterator[Engine]:
    """The ledger, and copies of its curves that follow it."""
    ledger = open_ledger()
    tell = partial(console.print, markup=False, highlight=False)
    with copies.kept(experiment, ledger, home, tell):
        yield ledger


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ended:
    """What became of the work."""

    spent: list[Spent]
    failures: list[Failure]
    stopped: list[Run]
    """By hand."""


def _run(
    works: list[Work],
    experiment: Experiment,
    recorder: Recorder,
    telemetry: Telemetry,
    home: Home,
    console: Console,
    look_again: LookAgain,
) -> _Ended:
    from cluster.mailbox import Mailbox
    from cluster.session import connect
    from jobs.listen import listening

    began, alone = time.monotonic(), not os.environ.get("RAY_ADDRESS")
    with (
        connect(home.folder) as cluster,
        telemetry.on(cluster),
        Board(console) as board,
        _slots(experiment, telemetry.claims.driver, alone) as (gpus, processors),
    ):
        hardware = of_cluster(experiment.file.cluster.accelerator)
        works, notes = spread_out(works, experiment, hardware, alone)
        swept = bool(contests(experiment.runs(), experiment.file))
        storage = seen(Storage.from_environment(home.folder), swept=swept)
        recorder.begin([work.run for work in works])
        board.say(
            f"{experiment.name}: {len(works)} of {len(experiment.runs())} runs to do, on "
            f"{processors.total} processors and {gpus.total if gpus else 0} GPUs. "
            f"Ray dashboard: {cluster.dashboard_url} (its token: make dashboard)"
        )
        for note in notes:
            board.say(f"  {note}")
        mailbox = Mailbox.create()
        place = Workplace(
            home=home,
            recorder=recorder,
            board=board,
            mailbox=mailbox,
            processors=processors,
            gpus=gpus,
            telemetry=telemetry,
            logs=RunLogs(home),
            storage=storage,
            cuda=not hardware.emulated,
            look_again=look_again,
        )
        waited = time.monotonic() - began
        place.spent.append(Spent(stage="starting Ray", label="", waited=0.0, worked=waited))
        prepare_stage(works, place)
        with listening(place, {work.run.id: work.run.label for work in works}):
            failures = _execute(works, place, experiment)
    return _Ended(spent=place.spent, failures=failures, stopped=place.ended)


def _execute(works: list[Work], place: Workplace, experiment: Experiment) -> list[Failure]:
    """Execute all; and again what somebody wished again while the last of it ended."""
    failures: list[Failure] = []
    while works:
        matches = _matches(works, experiment, place.home)
        competing = {work.run.id for match in matches for work in match.works}
        single = [work for work in works if work.run.id not in competing]
        failures += execute_all(single, place, matches)
        ended = {failure.run.id for failure in failures} | {run.id for run in place.ended}
        wished = place.telemetry.wished_late(ended)
        works = [work for work in works if work.run.id in wished]
        failures = [failure for failure in failures if failure.run.id not in wished]
        place.ended[:] = [run for run in place.ended if run.id not in wished]
    return failures


@contextmanager
def _slots(
    experiment: Experiment, driver: str, alone: bool
) -> Iterator[tuple[Taking | None, Taking]]:
    """The GPUs and processors that runs take: all of a cluster of our own, or, of one that others
    use as well, those that the drivers agree on."""
    from cluster.broker import sharing

    cluster, there = experiment.file.cluster, machines()
    of_gpus, of_cpus = cluster.of_gpus(experiment.name), cluster.of_processors(experiment.name)
    gpus = gpus_of(there)
    if cluster.accelerator and cluster.accelerator not in gpus:
        near = nearest(cluster.accelerator, filter(None, gpus))
        raise UserError(
            f"cluster.accelerator: the cluster has no GPU of kind {cluster.accelerator}.{near}"
        )
    if alone:
        yield Slots(gpus, of_gpus) if gpus else None, Slots(processors_of(there), of_cpus)
        return
    with sharing(driver, of_gpus, of_cpus) as broker:
        yield broker.gpus if gpus else None, broker.processors


def _matches(works: list[Work], experiment: Experiment, home: Home) -> list[Match]:
    """Contests that have a training to do."""
    of_run = {work.run.id: work for work in works}
    found = []
    for contest in contests(experiment.runs(), experiment.file):
        wanted = [of_run[run.id] for run in contest.runs if run.id in of_run]
        if any(not (home.run(work.run.id) / "checkpoint").exists() for work in wanted):
            spread = wanted[0].spread
            others = (
                Work(run=run, benchmarks=(), spread=spread, wanted=False)
                for run in contest.runs
                if run.id not in of_run and is_known(home.run(run.id), contest.rule)
            )
            found.append(Match(contest=contest, works=(*wanted, *others)))
    return found


def _show_time(spent: list[Spent], total: float, console: Console) -> None:
    table = Table("stage", "run", "waited s", "worked s", title="Where the time went")
    for part in spent:
        table.add_row(part.stage, part.label, f"{part.waited:.0f}", f"{part.worked:.0f}")
    table.add_row("all of it, stages side by side", "", "", f"{total:.0f}")
    console.print(table)


def _conclude(ended: _Ended, path: Path, console: Console) -> int:
    for failure in ended.failures:
        console.print(f"{failure.run.label} failed: {failure.error}", style="red", markup=False)
    if ended.failures:
        console.print(
            f"{len(ended.failures)} runs failed for a reason of ours, not of the models. "
            f"`python -m jobs run {path}` tries these again and repeats nothing that is done."
        )
    if ended.stopped:
        names = ", ".join(run.label for run in ended.stopped)
        console.print(
            f"Stopped by hand: {names}. `python -m jobs run {path}` goes on with them.",
            markup=False,
        )
    if ended.failures:
        return 1
    if ended.stopped:
        return STOPPED
    console.print("Look at it: make leaderboard")
    return 0
