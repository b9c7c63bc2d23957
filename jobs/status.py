"""`python -m jobs status`: how far work is, who does it, and what became of it."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from sqlalchemy import Engine

from database.claims import ClaimFacts, holders
from database.clock import moment
from database.facts import Happening, RunFacts, TrainingFacts
from database.queries import ACTIVE, experiments, trainings
from database.work import DriverFacts, StageFacts, drivers, grid, remarkable, stages
from jobs.declared import UserError
from jobs.named_runs import Named, named, printable
from jobs.stopping import is_by_hand

ALL_DONE, FAILED, LEFT, GOES_ON = 0, 1, 3, 4
"""Exit statuses, for a CI; 2 is a mistake in the command."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStatus:
    """One run."""

    run: str
    label: str
    state: str
    stage: str
    """`generating humaneval`; empty where nothing is told of one."""
    done: int | None
    """Steps or completions of the stage; null: not known."""
    of: int | None
    seconds_left: float | None
    """Of the stage, at its present speed; null: not known."""
    holder: str
    """Host of the driver that has claimed it and lives; empty: nobody has."""
    why: str
    """Why it failed or was stopped; empty otherwise."""
    on_the_way: tuple[str, ...]
    """What came between its stages and their end and was overcome, the first first."""
    settled: bool
    """Whether nothing is left to do: it is done, or its sweep has given it up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DriverStatus:
    """A process that works on it, or did."""

    host: str
    process: int
    attempt: int
    """Which start of its supervisor it is."""
    submission: str
    """Id of its Ray job; empty without."""
    page: str
    """Of that job, on Ray's dashboard; empty without."""
    works: bool
    silent_seconds: float | None
    """Since when nothing was heard of it, if it never said that it ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """An experiment, or one run."""

    name: str
    is_experiment: bool
    drivers: tuple[DriverStatus, ...]
    runs: tuple[RunStatus, ...]

    @property
    def exit_status(self) -> int:
        """See `ALL_DONE` and its like."""
        if any(driver.works for driver in self.drivers) and not self._over:
            return GOES_ON
        if any(run.state == "failed" for run in self.runs):
            return FAILED
        return ALL_DONE if all(run.settled for run in self.runs) and self.runs else LEFT

    @property
    def _over(self) -> bool:
        """Whether no driver has anything to do with a run: it may be over before its experiment,
        and a driver that works on an experiment takes what failed of it before."""
        return not self.is_experiment and not any(run.state in ACTIVE for run in self.runs)

    @property
    def sentence(self) -> str:
        """What to do now."""
        counted = Counter(run.state for run in self.runs)
        told = ", ".join(f"{number} {state}" for state, number in counted.items()) or "no run yet"
        return f"{self.name}: {told}. {self._advice}"

    @property
    def _advice(self) -> str:
        again = f"`python -m jobs retry {self.name!r}`" if self.runs else "`python -m jobs run`"
        return {
            ALL_DONE: "All is done.",
            FAILED: f"What failed says nothing of the models; {again} tries it again.",
            LEFT: f"Nobody works on what is left; {again} says how to go on.",
            GOES_ON: "Work goes on.",
        }[self.exit_status]


def show_status(ledger: Engine, name: str, console: Console, *, as_json: bool = False) -> int:
    """Print how far something is.

    Args:
        ledger: open for reading.
        name: a run's id or label, or an experiment; empty: all that is worked on, or else the
            latest experiment.
        console: for people.
        as_json: print a JSON list instead, one object for each experiment or run.

    Returns:
        The exit status; of several the one that asks for most attention: work that goes on counts
        before what failed, and that before what is left.

    Raises:
        UserError: there is no run or experiment of that name.
    """
    found = statuses(ledger, name)
    if as_json:
        said = [asdict(one) | {"exit_status": one.exit_status} for one in found]
        print(json.dumps(said, indent=2))
    else:
        for one in found:
            _show(one, console)
        if not found:
            console.print("No experiment has been run yet.")
    asked = {one.exit_status for one in found}
    return next((each for each in (GOES_ON, FAILED, LEFT) if each in asked), ALL_DONE)


def statuses(ledger: Engine, name: str = "") -> list[Status]:
    """How far an experiment or run is; without a name, all that is worked on."""
    now = moment(ledger)
    known = drivers(ledger, limit=1000)
    names = [name] if name else _at_work(ledger, known, now)
    return [_status(ledger, _named(ledger, one, known, now), known, now) for one in names]


def _named(ledger: Engine, name: str, known: Sequence[DriverFacts], now: datetime) -> Named:
    """What a name stands for; an experiment without runs where its driver is only starting.

    Raises:
        UserError: there is no run or experiment of that name, and no driver.
    """
    try:
        return named(ledger, name)
    except UserError:
        stem = Path(name).stem if name.endswith((".yaml", ".yml")) else name
        if any(driver.experiment == stem and driver.works(now) for driver in known):
            return Named(name=stem, is_experiment=True, runs=())
        raise


def _at_work(ledger: Engine, known: Sequence[DriverFacts], now: datetime) -> list[str]:
    working = [driver.experiment for driver in known if driver.works(now)]
    return list(dict.fromkeys(working)) or experiments(ledger)[:1]


def _status(ledger: Engine, asked: Named, known: Sequence[DriverFacts], now: datetime) -> Status:
    ids = [run.id for run in asked.runs]
    held = {run: claim for run, claim in holders(ledger, ids).items() if claim.alive}
    teller = _Teller(
        stages={stage.run: stage for stage in reversed(stages(ledger, ids))},
        trainings={one.run: one for one in _trainings(ledger, asked.runs)},
        told=remarkable(ledger, ids),
        held=held,
    )
    theirs = _theirs(ledger, known, asked, held)
    shown = [driver for driver in theirs if driver.works(now)] or theirs[:1]
    return Status(
        name=asked.name,
        is_experiment=asked.is_experiment,
        drivers=tuple(_driver(driver, now) for driver in shown),
        runs=tuple(teller.of(run) for run in asked.runs),
    )


def _theirs(
    ledger: Engine, known: Sequence[DriverFacts], asked: Named, held: dict[str, ClaimFacts]
) -> list[DriverFacts]:
    """The drivers of an experiment; of a run the one that holds it, or those of its experiments."""
    if asked.is_experiment:
        return [driver for driver in known if driver.experiment == asked.name]
    run = asked.runs[0].id
    if run in held:
        return [driver for driver in known if driver.id == held[run].driver]
    told = {driver.experiment for driver in known}
    of_run = {name for name in told if run in grid(ledger, name)}
    return [driver for driver in known if driver.experiment in of_run]


def _trainings(ledger: Engine, runs: Sequence[RunFacts]) -> list[TrainingFacts]:
    return trainings(ledger) if any(run.state == "training" for run in runs) else []


def _driver(driver: DriverFacts, now: datetime) -> DriverStatus:
    silent = (now - driver.at).total_seconds() if driver.silent(now) else None
    return DriverStatus(
        host=driver.host,
        process=driver.process,
        attempt=driver.attempt,
        submission=driver.submission,
        page=driver.page,
        works=driver.works(now),
        silent_seconds=silent,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Teller:
    """What is known of the runs, by run."""

    stages: dict[str, StageFacts]
    trainings: dict[str, TrainingFacts]
    told: dict[str, list[Happening]]
    held: dict[str, ClaimFacts]

    def of(self, run: RunFacts) -> RunStatus:
        stage, done, of, left = self._progress(run)
        told = self.told.get(run.id, [])
        why = next((one.message for one in told if one.kind == run.state), "")
        given_up = run.state == "stopped" and not is_by_hand(why)
        return RunStatus(
            run=run.id,
            label=run.label,
            state=run.state,
            stage=stage,
            done=done,
            of=of,
            seconds_left=left,
            holder=self.held[run.id].host if run.id in self.held else "",
            why=why,
            on_the_way=tuple(
                f"{one.at:%H:%M:%S} UTC, {one.message}"
                for one in told
                if one.kind not in ("failed", "stopped")
            ),
            settled=run.state == "done" or given_up,
        )

    def _progress(self, run: RunFacts) -> tuple[str, int | None, int | None, float | None]:
        training, stage = self.trainings.get(run.id), self.stages.get(run.id)
        if run.state == "training" and training is not None:
            return "training", training.last_step, training.of, training.seconds_left
        if run.state in ACTIVE and stage is not None and stage.name.startswith(run.state):
            return stage.name, stage.done, stage.of, stage.seconds_left
        return "", None, None, None


def _show(status: Status, console: Console) -> None:
    def say(text: str) -> None:
        console.print(printable(text), markup=False, highlight=False)

    say(status.sentence)
    for driver in status.drivers:
        say(f"  driver: {_driver_words(driver)}")
    table = Table("run", "id", "state", "how far", "left", "held by")
    for run in status.runs:
        cells = (run.label, run.run, run.state, _far(run), _left(run.seconds_left), run.holder)
        table.add_row(*map(escape, map(printable, cells)))
    console.print(table)
    for run in status.runs:
        for said in (*run.on_the_way, *([f"{run.state}: {run.why}"] if run.why else [])):
            say(f"  {run.label}: {said}")


def _driver_words(driver: DriverStatus) -> str:
    told = f"{driver.host}, process {driver.process}"
    if driver.attempt > 1:
        told += f", start {driver.attempt} of its supervisor"
    if driver.silent_seconds is not None:
        told += f", not heard of for {driver.silent_seconds:.0f} s"
    elif not driver.works:
        told += ", ended"
    if driver.submission:
        told += f", Ray job {driver.submission} {driver.page}"
    return told.rstrip()


def _far(run: RunStatus) -> str:
    if run.done is None:
        return run.stage
    of = f" of {run.of:,}" if run.of else ""
    return f"{run.stage} {run.done:,}{of}"


def _left(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
