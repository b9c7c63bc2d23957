"""Tables of what goes on: votes, wishes, drivers and their claims, nodes, how far stages are."""

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, Integer, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from database.clock import BY_CLOCK
from database.table import Row, now


class Vote(Row):
    """Which of two answers a person found better; kept apart from scores."""

    __tablename__ = "votes"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    """Random, in hex."""
    run_a: Mapped[str] = mapped_column(ForeignKey("runs.id"), index=True)
    run_b: Mapped[str] = mapped_column(ForeignKey("runs.id"), index=True)
    choice: Mapped[str] = mapped_column(String(10))
    """`a`, `b`, `tie` or `both_bad`."""
    blind: Mapped[bool] = mapped_column()
    """Whether the names were hidden until the vote; only such votes are rated."""
    instruction: Mapped[str] = mapped_column(Text)
    answer_a: Mapped[str] = mapped_column(Text)
    answer_b: Mapped[str] = mapped_column(Text)
    voter: Mapped[str] = mapped_column(String(200), default="")
    """Who signed in; empty: nobody has to."""
    recorded_at: Mapped[datetime] = mapped_column(default_factory=now)


class Stop(Row):
    """Somebody wants a run to end; the driver that runs it looks for these."""

    __tablename__ = "stops"

    run: Mapped[str] = mapped_column(ForeignKey("runs.id"), primary_key=True)
    asked_by: Mapped[str] = mapped_column(String(200), default="")
    at: Mapped[datetime] = mapped_column(default=None, info=BY_CLOCK)
    """A driver that started later does not heed it."""


class Retry(Row):
    """Somebody wants a run that failed or was stopped tried again, without a restart."""

    __tablename__ = "retries"

    run: Mapped[str] = mapped_column(ForeignKey("runs.id"), primary_key=True)
    asked_by: Mapped[str] = mapped_column(String(200), default="")
    at: Mapped[datetime] = mapped_column(default=None, info=BY_CLOCK)
    """A driver that started later takes the run again anyway."""


class Claimed(Row):
    """The right of a driver to work on a run; read and written by `database.claims` alone."""

    __tablename__ = "claims"

    run: Mapped[str] = mapped_column(ForeignKey("runs.id"), primary_key=True)
    driver: Mapped[str] = mapped_column(String(32), index=True)
    attempt: Mapped[int] = mapped_column(Integer)
    """Rises whenever the run changes hands."""
    since: Mapped[datetime] = mapped_column(default=None, info=BY_CLOCK)
    at: Mapped[datetime] = mapped_column(default=None, info=BY_CLOCK)
    """When it was renewed last."""
    released_at: Mapped[datetime | None] = mapped_column(default=None)


class Driver(Row):
    """A process that runs an experiment, and when it was last heard of."""

    __tablename__ = "drivers"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    """Random, in hex."""
    experiment: Mapped[str] = mapped_column(String(200))
    host: Mapped[str] = mapped_column(String(200))
    process: Mapped[int] = mapped_column(Integer)
    cluster: Mapped[str] = mapped_column(String(200))
    """Address of its Ray cluster."""
    dashboard: Mapped[str] = mapped_column(Text, default="")
    """Address of Ray's dashboard, without the token."""
    started_at: Mapped[datetime] = mapped_column(default_factory=now)
    at: Mapped[datetime] = mapped_column(default=None, info=BY_CLOCK)
    """When it was last heard of."""
    ended_at: Mapped[datetime | None] = mapped_column(default=None)
    """Null: it runs, or was killed."""
    submission: Mapped[str] = mapped_column(String(200), default="")
    """Id of the Ray job that it is; empty: it was started otherwise."""
    attempt: Mapped[int] = mapped_column(Integer, default=1)
    """Which start of its supervisor it is, from 1."""


class Node(Row):
    """A machine of a Ray cluster, as a driver last saw it."""

    __tablename__ = "nodes"

    cluster: Mapped[str] = mapped_column(String(200), primary_key=True)
    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    """Ray's own."""
    name: Mapped[str] = mapped_column(String(200))
    alive: Mapped[bool] = mapped_column()
    cpus: Mapped[float] = mapped_column()
    cpus_used: Mapped[float] = mapped_column()
    """Promised to work, as Ray counts it."""
    gpus: Mapped[float] = mapped_column()
    gpus_used: Mapped[float] = mapped_column()
    gpu_kind: Mapped[str] = mapped_column(String(100), default="")
    memory: Mapped[int] = mapped_column(BigInteger, default=0)
    """Bytes of the machine."""
    memory_used: Mapped[int | None] = mapped_column(BigInteger, default=None)
    at: Mapped[datetime] = mapped_column(default_factory=now)


class Stage(Row):
    """How far a run is with asking or judging one benchmark."""

    __tablename__ = "stages"

    run: Mapped[str] = mapped_column(ForeignKey("runs.id"), primary_key=True)
    name: Mapped[str] = mapped_column(String(200), primary_key=True)
    """`generating humaneval`, `judging humaneval`: as the event that follows."""
    done: Mapped[int] = mapped_column(Integer)
    of: Mapped[int] = mapped_column(Integer)
    """Completions."""
    found: Mapped[int] = mapped_column(Integer, default=0)
    """Completions that were there when it started, made by an earlier driver."""
    workers: Mapped[int] = mapped_column(Integer, default=0)
    started_at: Mapped[datetime] = mapped_column(default_factory=now)
    at: Mapped[datetime] = mapped_column(default_factory=now)
    """When it was last heard of."""
