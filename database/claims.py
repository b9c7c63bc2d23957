"""Claims: the right of one driver to work on a run, while several share a ledger.

A driver renews its claims every few seconds. One that was not renewed for `STALE_SECONDS` may be
taken over; the attempt then rises, and whatever the late owner still wants to write is refused
(`database.writing.write` asks `require` in its own transaction).

Not promised: that the late owner stops at once. It learns of its loss at its next beat or row.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, Engine, case, func, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from database.clock import clock
from database.live import Claimed, Driver
from database.patience import patiently
from database.rows import rows_of

STALE_SECONDS = 60.0
"""A claim that was not renewed for so long may be taken over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """The right of a driver to work on a run."""

    run: str
    driver: str
    attempt: int
    """How often the run had been claimed by then, this time included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimFacts:
    """Who holds a run."""

    run: str
    driver: str
    attempt: int
    host: str
    """Of the driver; empty: it never told of itself."""
    experiment: str
    since: datetime
    at: datetime
    """When it was renewed last."""
    alive: bool
    """False: it was not renewed for `STALE_SECONDS`, and anybody may take it over."""


class LostClaimError(Exception):
    """A driver wrote of a run that it has no claim on any more; nothing was stored."""

    def __init__(self, run: str, by: str) -> None:
        """`by` is the driver that has it now; empty: nobody."""
        super().__init__(run, by)
        self.run = run
        self.by = by

    def __str__(self) -> str:
        now = f"driver {self.by[:8]} has taken it over" if self.by else "it was given back"
        return f"run {self.run} is no longer ours: {now}"


def claim(
    engine: Engine, run_id: str, driver_id: str, patience: float | None = None
) -> Claim | None:
    """Claim a run, in one statement: of any number of processes that try, one succeeds.

    A driver that holds the run already gets the claim that it has.

    Args:
        engine: open for writing.
        run_id: a run that is recorded.
        driver_id: who claims it.
        patience: seconds to wait for a database that is away; None: as long as writers do.

    Returns:
        None: another driver holds it, and was heard of within `STALE_SECONDS`.

    Raises:
        sqlalchemy.exc.IntegrityError: the run is not recorded.
    """
    insert = postgresql.insert if engine.dialect.name == "postgresql" else sqlite.insert
    statement = insert(Claimed).values(
        run=run_id, driver=driver_id, attempt=1, since=clock(), at=clock(), released_at=None
    )
    given = statement.excluded
    own = (Claimed.driver == given.driver) & Claimed.released_at.is_(None)
    free = or_(own, Claimed.released_at.is_not(None), Claimed.at < clock(STALE_SECONDS))
    statement = statement.on_conflict_do_update(
        index_elements=[Claimed.run],
        set_={
            "driver": given.driver,
            "attempt": case((own, Claimed.attempt), else_=Claimed.attempt + 1),
            "since": case((own, Claimed.since), else_=clock()),
            "at": clock(),
            "released_at": None,
        },
        where=free,
    )

    def act(connection: Connection) -> int | None:
        return connection.scalar(statement.returning(Claimed.attempt))

    attempt = patiently(engine, act, patience)
    return None if attempt is None else Claim(run=run_id, driver=driver_id, attempt=attempt)


def beat(engine: Engine, driver_id: str) -> frozenset[str]:
    """Renew all claims of a driver; does not wait for a database that is gone.

    Returns:
        The runs that are still its own.
    """
    statement = update(Claimed).where(Claimed.driver == driver_id, Claimed.released_at.is_(None))
    renewed = statement.values(at=clock()).returning(Claimed.run)
    return patiently(engine, lambda c: frozenset(c.scalars(renewed)), seconds=0)


def release(engine: Engine, claim: Claim, patience: float | None = None) -> None:
    """Give a run back, so that anybody may claim it at once; nothing if it was lost before."""
    statement = update(Claimed).where(*_is(claim)).values(released_at=clock())
    patiently(engine, lambda connection: connection.execute(statement), patience)


def holder(engine: Engine, run_id: str) -> ClaimFacts | None:
    """Who holds a run; None: nobody."""
    return holders(engine, [run_id]).get(run_id)


def holders(engine: Engine, runs: Collection[str]) -> dict[str, ClaimFacts]:
    """Who holds which of these runs, by run."""
    wanted = (
        select(
            Claimed.run,
            Claimed.driver,
            Claimed.attempt,
            func.coalesce(Driver.host, "").label("host"),
            func.coalesce(Driver.experiment, "").label("experiment"),
            Claimed.since,
            Claimed.at,
            (Claimed.at >= clock(STALE_SECONDS)).label("alive"),
        )
        .outerjoin(Driver, Driver.id == Claimed.driver)
        .where(Claimed.run.in_(runs), Claimed.released_at.is_(None))
    )
    return {row.run: ClaimFacts(**row._mapping) for row in rows_of(engine, wanted)}


def require(connection: Connection, claim: Claim) -> None:
    """Hold a claim until the transaction ends: nobody takes the run over meanwhile.

    Raises:
        LostClaimError: it is not the current one any more.
    """
    current = select(Claimed.run).where(*_is(claim))
    # FOR SHARE: its own writers and beats do not wait for each other longer than they must.
    if connection.scalar(current.with_for_update(read=True)) is None:
        now = select(Claimed.driver).where(Claimed.run == claim.run, Claimed.released_at.is_(None))
        raise LostClaimError(claim.run, connection.scalar(now) or "")


def _is(claim: Claim) -> tuple[ColumnElement[bool], ...]:
    """Conditions of SQL: the row is this very claim."""
    return (
        Claimed.run == claim.run,
        Claimed.driver == claim.driver,
        Claimed.attempt == claim.attempt,
        Claimed.released_at.is_(None),
    )
