"""What is read of work that goes on: drivers, machines, stages, and wishes to stop."""

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar
from urllib.parse import quote

from sqlalchemy import Engine, Select, func, or_, select

from database.facts import Happening
from database.live import Driver, Node, Retry, Stage, Stop
from database.rows import columns_of, rows_of, scalar_of
from database.schema import Completion, Event, Experiment, Run, Score, Verdict
from database.table import Row

SILENT_SECONDS = 30.0
"""A driver tells of itself every few seconds; after so many without a word it counts as silent."""
PATIENCE_SECONDS = 60.0
"""The least silence that is remarkable in asking or judging."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DriverFacts:
    """A process that runs, or ran, an experiment: the columns of `database.live.Driver`."""

    id: str
    experiment: str
    host: str
    process: int
    cluster: str
    """Address of its Ray cluster; empty: it has none yet."""
    dashboard: str
    started_at: datetime
    at: datetime
    """When it was last heard of."""
    ended_at: datetime | None
    submission: str = ""
    """Id of the Ray job that it is."""
    attempt: int = 1
    """Which start of its supervisor it is."""

    @property
    def page(self) -> str:
        """Of its Ray job, on Ray's dashboard; empty where it is none."""
        if not (self.dashboard and self.submission):
            return ""
        return f"{self.dashboard}/#/jobs/{quote(self.submission, safe='')}"

    def silent(self, now: datetime) -> bool:
        """Whether it never said that it ended, and nothing was heard of it for too long."""
        return self.ended_at is None and (now - self.at).total_seconds() > SILENT_SECONDS

    def works(self, now: datetime) -> bool:
        """Whether it runs, as far as anybody can tell."""
        return self.ended_at is None and not self.silent(now)


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeFacts:
    """A machine of a cluster: the columns of `database.live.Node`."""

    cluster: str
    id: str
    name: str
    alive: bool
    cpus: float
    cpus_used: float
    """Promised to work."""
    gpus: float
    gpus_used: float
    gpu_kind: str
    memory: int
    """Bytes; 0: not known."""
    memory_used: int | None
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class StageFacts:
    """How far a run is with asking or judging: the columns of `database.live.Stage`."""

    run: str
    name: str
    done: int
    of: int
    found: int = 0
    """Of `done`, what was there when it started."""
    workers: int
    started_at: datetime
    at: datetime
    """When it last got on."""

    @property
    def per_second(self) -> float | None:
        """Completions a second since it started; None where that cannot be told yet."""
        seconds = (self.at - self.started_at).total_seconds()
        made = self.done - self.found
        return made / seconds if made > 0 and seconds > 0 else None

    @property
    def seconds_left(self) -> float | None:
        """At that speed; None where it cannot be told yet."""
        speed = self.per_second
        return None if speed is None else (self.of - self.done) / speed

    def stalled(self, now: datetime) -> bool:
        """Whether for 60 s, and ten times what one completion takes, it did not get on."""
        each = 1 / self.per_second if self.per_second else 0.0
        patience = max(PATIENCE_SECONDS, 10 * each)
        return self.done < self.of and (now - self.at).total_seconds() > patience


@dataclass(frozen=True, slots=True, kw_only=True)
class StopFacts:
    """Somebody wants, or wanted, a run to end: the columns of `database.live.Stop`."""

    run: str
    asked_by: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryFacts:
    """Somebody wants a run tried again: the columns of `database.live.Retry`."""

    run: str
    asked_by: str
    at: datetime


Fact = TypeVar("Fact", DriverFacts, NodeFacts, StageFacts, StopFacts, RetryFacts)


def drivers(engine: Engine, *, limit: int = 20) -> list[DriverFacts]:
    """Return drivers: those that did not say that they ended first, then the latest first."""
    over = Driver.ended_at.is_not(None)
    wanted = _select(Driver, DriverFacts).order_by(over, Driver.started_at.desc(), Driver.id)
    return _facts(engine, wanted.limit(limit), DriverFacts)


def nodes(engine: Engine, clusters: Collection[str]) -> list[NodeFacts]:
    """Return the machines of these clusters, by name."""
    wanted = _select(Node, NodeFacts).where(Node.cluster.in_(clusters))
    return _facts(engine, wanted.order_by(Node.cluster, Node.name, Node.id), NodeFacts)


def stages(engine: Engine, runs: Collection[str]) -> list[StageFacts]:
    """Return how far these runs are with asking and judging, what got on last first."""
    wanted = _select(Stage, StageFacts).where(Stage.run.in_(runs))
    return _facts(engine, wanted.order_by(Stage.at.desc(), Stage.run, Stage.name), StageFacts)


def stops(
    engine: Engine, *, since: datetime | None = None, runs: Collection[str] | None = None
) -> dict[str, StopFacts]:
    """Return who wanted which run to end, by run.

    Args:
        since: leave out wishes from before.
        runs: only of these; None: of all.
    """
    wanted = _select(Stop, StopFacts)
    if since is not None:
        wanted = wanted.where(Stop.at >= since)
    if runs is not None:
        wanted = wanted.where(Stop.run.in_(runs))
    return {stop.run: stop for stop in _facts(engine, wanted, StopFacts)}


def retries(engine: Engine, *, since: datetime) -> dict[str, RetryFacts]:
    """Return who wants which run tried again, by run; wishes from before are left out."""
    wanted = _select(Retry, RetryFacts).where(Retry.at >= since)
    return {wish.run: wish for wish in _facts(engine, wanted, RetryFacts)}


def grid(engine: Engine, experiment: str) -> list[str]:
    """Return the ids of an experiment's runs in the order of its grid; empty: it is not known."""
    wanted = select(Experiment.runs).where(Experiment.name == experiment)
    return list(scalar_of(engine, wanted) or [])


def remarkable(engine: Engine, runs: Collection[str]) -> dict[str, list[Happening]]:
    """Return why these runs failed or were stopped, and what was overcome on the way, by run; the
    first first."""
    ended = Event.kind.in_(("failed", "stopped"))
    wanted = select(*columns_of(Event, Happening)).where(
        Event.run.in_(runs), or_(ended, Event.kind.contains(", again "))
    )
    found: dict[str, list[Happening]] = defaultdict(list)
    for row in rows_of(engine, wanted.order_by(Event.at, Event.run, Event.kind)):
        found[row.run].append(Happening(**row._mapping))
    return found


def states(engine: Engine, runs: Collection[str]) -> dict[str, int]:
    """Return how many of these runs are in each state."""
    wanted = select(Run.state, func.count().label("runs")).where(Run.id.in_(runs))
    return {row.state: row.runs for row in rows_of(engine, wanted.group_by(Run.state))}


def driver_of(engine: Engine, run_id: str, now: datetime) -> DriverFacts | None:
    """Return a driver that works on the experiment of a run; None: nobody does."""
    heard_of = Driver.at >= now - timedelta(seconds=SILENT_SECONDS)
    wanted = _select(Driver, DriverFacts).where(Driver.ended_at.is_(None), heard_of)
    working = _facts(engine, wanted.order_by(Driver.started_at.desc(), Driver.id), DriverFacts)
    return next((one for one in working if run_id in grid(engine, one.experiment)), None)


def silent_driver_of(engine: Engine, run_id: str, now: datetime) -> DriverFacts | None:
    """Return the driver of a run's experiment that was heard of last, where it fell silent without
    a word of its end: it was killed, or cut off and may come back."""
    wanted = _select(Driver, DriverFacts).where(Driver.ended_at.is_(None))
    known = _facts(engine, wanted.order_by(Driver.at.desc(), Driver.id), DriverFacts)
    silent = (one for one in known if one.silent(now))
    return next((one for one in silent if run_id in grid(engine, one.experiment)), None)


def judged_last(engine: Engine, runs: Collection[str], *, limit: int) -> dict[str, datetime]:
    """Return when the runs that were scored last were, the last one first."""
    at = func.max(Score.recorded_at).label("at")
    wanted = select(Score.run, at).where(Score.run.in_(runs)).group_by(Score.run)
    rows = rows_of(engine, wanted.order_by(at.desc(), Score.run).limit(limit))
    return {row.run: row.at for row in rows}


def outcomes_of(engine: Engine, run_id: str) -> dict[str, int]:
    """Return how many verdicts of each outcome a run has, over all benchmarks and contracts."""
    wanted = (
        select(Verdict.outcome, func.count().label("verdicts"))
        .join(Completion, Completion.id == Verdict.completion)
        .where(Completion.run == run_id)
        .group_by(Verdict.outcome)
    )
    return {row.outcome: row.verdicts for row in rows_of(engine, wanted)}


def _select(table: type[Row], fact: type[Fact]) -> Select[tuple[object, ...]]:
    return select(*columns_of(table, fact))


def _facts(engine: Engine, wanted: Select[tuple[object, ...]], fact: type[Fact]) -> list[Fact]:
    return [fact(**row._mapping) for row in rows_of(engine, wanted)]
