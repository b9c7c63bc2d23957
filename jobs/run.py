"""`python -m jobs run`: from an experiment file to a table of scores, as often as it takes."""

import time
from pathlib import Path

from rich.console import Console
from rich.table import Table
from sqlalchemy import Engine

from cluster.slots import Slots
from database.queries import recorded_runs, recorded_scores
from database.session import LedgerError, open_ledger
from jobs.checks import host_mistakes
from jobs.declared import UserError, report
from jobs.experiment import Benchmark, Experiment, Run, short_hash
from jobs.home import Home
from jobs.loading import load
from jobs.pipeline import Failure, Spent, Work, Workplace, execute_all, prepare_stage
from jobs.progress import Board
from jobs.record import Recorder
from jobs.results import show_results


def run_experiment(path: Path, console: Console) -> int:
    """Run all of an experiment that is not recorded yet.

    Returns:
        0 when everything is recorded, 1 when some run failed for a reason of ours.

    Raises:
        UserError: every mistake in the experiment and on this machine, before any work.
    """
    started = time.monotonic()
    home = Home.from_environment()
    experiment = _checked(path, home)
    with home.only_driver():
        ledger = _ledger()
        works = outstanding(experiment, ledger)
        if not works:
            runs = len(experiment.runs())
            console.print(f"Nothing to do: all {runs} runs of {experiment.name} are recorded.")
            show_results(ledger, experiment.name, console)
            return 0
        spent, failures = _run(works, experiment, ledger, home, console)
    show_results(ledger, experiment.name, console)
    _show_time(spent, time.monotonic() - started, console)
    return _conclude(failures, path, console)


def outstanding(experiment: Experiment, ledger: Engine) -> list[Work]:
    """The runs that are not done, or lack a score under a benchmark's present contract."""
    recorded = recorded_scores(ledger)
    done = recorded_runs(ledger)

    def missing(run: Run, benchmark: Benchmark) -> bool:
        asking = short_hash(benchmark.asking_content)
        judging = short_hash(benchmark.judging_content)
        return any(
            (run.id, benchmark.name, f"pass@{k}", asking, judging) not in recorded
            for k in benchmark.asking.report
        )

    works = [
        Work(run=run, benchmarks=tuple(b for b in experiment.benchmarks if missing(run, b)))
        for run in experiment.runs()
    ]
    return [work for work in works if work.benchmarks or work.run.id not in done]


def _checked(path: Path, home: Home) -> Experiment:
    experiment, mistakes = None, []
    try:
        experiment = load(path)
    except UserError as error:
        mistakes.append(str(error))
    machine = host_mistakes(home, experiment)
    if machine:
        mistakes.append(str(report(Path("this machine"), machine)))
    if experiment is None or mistakes:
        raise UserError("\n".join(mistakes))
    return experiment


def _ledger() -> Engine:
    try:
        return open_ledger()
    except LedgerError as error:
        raise UserError(str(error)) from None


def _run(
    works: list[Work], experiment: Experiment, ledger: Engine, home: Home, console: Console
) -> tuple[list[Spent], list[Failure]]:
    from cluster.mailbox import Mailbox
    from cluster.session import connect
    from jobs.listen import listening

    began = time.monotonic()
    recorder = Recorder(ledger, experiment)
    with connect(home.folder) as cluster, Board(console) as board:
        gpus = Slots(int(cluster.gpus)) if cluster.gpus >= 1 else None
        processors = Slots(int(cluster.cpus))
        _check_width(works, gpus or processors, "GPUs" if gpus else "processors")
        recorder.begin([work.run for work in works])
        board.say(
            f"{experiment.name}: {len(works)} of {len(experiment.runs())} runs to do, on "
            f"{processors.total} processors and {gpus.total if gpus else 0} GPUs. "
            f"Ray dashboard: {cluster.dashboard_url} (its token: make dashboard)"
        )
        mailbox = Mailbox.create()
        place = Workplace(
            home=home,
            recorder=recorder,
            board=board,
            mailbox=mailbox,
            processors=processors,
            gpus=gpus,
        )
        waited = time.monotonic() - began
        place.spent.append(Spent(stage="starting Ray", label="", waited=0.0, worked=waited))
        prepare_stage(works, place)
        with listening(mailbox, recorder, board, works):
            failures = execute_all(works, place)
    return place.spent, failures


def _check_width(works: list[Work], slots: Slots, kind: str) -> None:
    wide = [
        f"models.{work.run.model_name}.parallelism.workers: "
        f"{work.run.model.parallelism.workers} workers, but the cluster has {slots.total} {kind}"
        for work in works
        if work.run.training and work.run.model.parallelism.workers > slots.total
    ]
    if wide:
        raise UserError("\n".join(dict.fromkeys(wide)))


def _show_time(spent: list[Spent], total: float, console: Console) -> None:
    table = Table("stage", "run", "waited s", "worked s", title="Where the time went")
    for part in spent:
        table.add_row(part.stage, part.label, f"{part.waited:.0f}", f"{part.worked:.0f}")
    table.add_row("all of it, stages side by side", "", "", f"{total:.0f}")
    console.print(table)


def _conclude(failures: list[Failure], path: Path, console: Console) -> int:
    if not failures:
        console.print("Look at it: make leaderboard")
        return 0
    for failure in failures:
        console.print(f"{failure.run.label} failed: {failure.error}", style="red", markup=False)
    console.print(
        f"{len(failures)} runs failed for a reason of ours, not of the models. "
        f"`python -m jobs run {path}` tries these again and repeats nothing that is done."
    )
    return 1
