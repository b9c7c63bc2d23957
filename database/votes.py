"""The votes of the try-it page: written once each, and counted for the rating."""

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import Engine, func, select
from sqlalchemy.orm import Session

from database.live import Vote
from database.ratings import VoteCount
from database.rows import rows_of
from database.schema import Run
from database.writing import write_first


@dataclass(frozen=True, slots=True, kw_only=True)
class VotedRun:
    """A run that somebody voted on."""

    id: str
    label: str
    base_run: str | None


def cast(engine: Engine, vote: Vote) -> str:
    """Store a vote once; return its choice, which is the first one where it is there already.

    Raises:
        sqlalchemy.exc.IntegrityError: one of its runs is not in the ledger.
    """
    write_first(engine, vote)
    with Session(engine) as session:
        return session.get_one(Vote, vote.id).choice


def vote_counts(engine: Engine) -> list[VoteCount]:
    """Return how often each choice was made on each two runs, of blind votes only."""
    wanted = (
        select(Vote.run_a, Vote.run_b, Vote.choice, func.count())
        .where(Vote.blind)
        .group_by(Vote.run_a, Vote.run_b, Vote.choice)
        .order_by(Vote.run_a, Vote.run_b, Vote.choice)
    )
    return [
        VoteCount(run_a=run_a, run_b=run_b, choice=choice, votes=votes)
        for run_a, run_b, choice, votes in rows_of(engine, wanted)
    ]


def voted_runs(engine: Engine, runs: Collection[str]) -> dict[str, VotedRun]:
    """Return the names and bases of runs, by id; those that are not in the ledger are left out."""
    wanted = select(Run.id, Run.label, Run.base_run).where(Run.id.in_(runs))
    return {
        run: VotedRun(id=run, label=label, base_run=base)
        for run, label, base in rows_of(engine, wanted)
    }
