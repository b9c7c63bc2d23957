"""`python -m jobs run`: from an experiment file to a table of scores, as often as it takes."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from sqlalchemy import Engine

from cluster.gpus import Hardware, of_cluster
from cluster.slots import Slots
from database.queries import recorded_runs, recorded_scores, runs
from database.session import LedgerError, open_ledger
from jobs.asha import Contest, contests, stopped, stops
from jobs.checks import host_mistakes, missing_libraries
from jobs.curves.copies import NO_COPIES, Copies
from jobs.declared import UserError, report
from jobs.experiment import Benchmark, Experiment, Run, short_hash
from jobs.fit.spreading import decide, refuse
from jobs.home import Home
from jobs.hub.download import download
from jobs.hub.models import Looked, look
from jobs.loading import load
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
from jobs.training.settings import Spread
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
    with home.only_driver(), _ledger(experiment, home, console, copies) as ledger:
        record_stopped(experiment, ledger, home)
        works = outstanding(experiment, ledger, home)
        if not works:
            count = len(experiment.runs())
            console.print(f"Nothing to do: all {count} runs of {experiment.name} are recorded.")
            show_results(ledger, experiment.name, console)
            return 0
        recorder = Recorder(ledger, experiment, served(works, home, path))
        tell = partial(console.print, markup=False, highlight=False)
        with telling(ledger, experiment.name, tell) as telemetry:
            fetch(looked, works, console)
            ended = _run(works, experiment, recorder, telemetry, home, console)
    show_results(ledger, experiment.name, console)
    _show_time(ended.spent, time.monotonic() - started, console)
    return _conclude(ended, path, console)


def outstanding(experiment: Experiment, ledger: Engine, home: Home) -> list[Work]:
    """The runs that are not done, or lack a score under a benchmark's present contract; but for
    those that a sweep stopped."""
    recorded = recorded_scores(ledger)
    done = recorded_runs(ledger)

    def missing(run: Run, benchmark: Benchmark) -> bool:
        asking = short_hash(benchmark.asked_of(run))
        judging = short_hash(benchmark.judging_content)
        return any(
            (run.id, benchmark.name, f"pass@{k}", asking, judging) not in recorded
            for k in benchmark.asking.report
        )

    given_up = {run.id for run, _ in stops(experiment.runs(), experiment.file, home)}
    works = [
        Work(run=run, benchmarks=tuple(b for b in experiment.benchmarks if missing(run, b)))
        for run in experiment.runs()
        if run.id not in given_up
    ]
    return [work for work in works if work.benchmarks or work.run.id not in done]


def record_stopped(experiment: Experiment, ledger: Engine, home: Home) -> None:
    """Record what a sweep stopped and no driver lived to record."""
    states = {run.id: run.state for run in runs(ledger)}
    for run, decision in stops(experiment.runs(), experiment.file, home):
        if states.get(run.id) != "stopped":
            Recorder(ledger, experiment).stopped(run, str(decision))


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
    try:
        ledger = open_ledger()
    except LedgerError as error:
        raise UserError(str(error)) from None
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
) -> _Ended:
    from cluster.mailbox import Mailbox
    from cluster.session import connect
    from jobs.listen import listening

    began = time.monotonic()
    with connect(home.folder) as cluster, telemetry.on(cluster), Board(console) as board:
        gpus = Slots(int(cluster.gpus)) if cluster.gpus >= 1 else None
        processors = Slots(int(cluster.cpus))
        hardware = of_cluster()
        works = _spread_out(works, experiment, hardware)
        recorder.begin([work.run for work in works])
        board.say(
            f"{experiment.name}: {len(works)} of {len(experiment.runs())} runs to do, on "
            f"{processors.total} processors and {gpus.total if gpus else 0} GPUs. "
            f"Ray dashboard: {cluster.dashboard_url} (its token: make dashboard)"
        )
        storage = seen(Storage.from_environment(home.folder))
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
        )
        waited = time.monotonic() - began
        place.spent.append(Spent(stage="starting Ray", label="", waited=0.0, worked=waited))
        prepare_stage(works, place)
        with listening(place, {work.run.id: work.run.label for work in works}):
            matches = _matches(works, experiment, home)
            competing = {work.run.id for match in matches for work in match.works}
            alone = [work for work in works if work.run.id not in competing]
            failures = execute_all(alone, place, matches)
    return _Ended(spent=place.spent, failures=failures, stopped=place.ended)


def _spread_out(works: list[Work], experiment: Experiment, hardware: Hardware) -> list[Work]:
    """Each training with its spread; what cannot be done here is refused before anything starts."""
    trainings = sum(run.training is not None for run in experiment.runs())
    mistakes = [m for work in works for m in refuse(work.run, hardware, trainings)]
    found = []
    for work in works:
        if work.run.training:
            spread = decide(work.run, hardware, trainings).spread()
            mistakes += _too_wide(work.run, spread, hardware)
            work = replace(work, spread=spread)
        found.append(work)
    if mistakes:
        raise UserError("\n".join(dict.fromkeys(mistakes)))
    return found


def _too_wide(run: Run, spread: Spread, hardware: Hardware) -> list[str]:
    there, kind = (hardware.gpus, "GPUs") if hardware.gpus else (hardware.cpus, "processors")
    if spread.ranks <= there:
        return []
    where = f"models.{run.model_name}.parallelism.workers"
    return [f"{where}: {spread.ranks} workers, but the cluster has {there} {kind}"]


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
                if run.id not in of_run and _is_known(home.run(run.id), contest)
            )
            found.append(Match(contest=contest, works=(*wanted, *others)))
    return found


def _is_known(folder: Path, contest: Contest) -> bool:
    """Whether a run that is done took part: its losses are there, or why it was stopped."""
    return (folder / "checkpoint").exists() or stopped(folder, contest.rule) is not None


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
