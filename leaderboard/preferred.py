"""What people preferred: the rating that blind votes lead to, kept apart from the scores."""

from functools import lru_cache

import streamlit as st

from database import LedgerError
from database.ratings import Rating, VoteCount, ratings
from database.votes import VotedRun, vote_counts, voted_runs
from leaderboard import reading
from leaderboard.words import NONE, count, interval, percent, plain

Row = dict[str, object]
MEANS = (
    "From blind votes on this page alone: which of two answers somebody found better, without "
    "knowing whose they were. It measures what people here like about answers to their own "
    "questions; whether programs are right is what the [scores](./) say, and no vote changes one."
)
READ = (
    "A rating of 1000 is the mean of the rated models; with 400 points more, ten votes are won for "
    "each one lost. Ties count half; “both bad” is counted, but says nothing of the order. "
    "Intervals are of 95 %; they take each vote for another person's."
)


def show() -> list[Row]:
    """Show the ratings; returns what they are as rows for a file."""
    st.header("What people preferred")
    try:
        engine = reading.ledger()
    except LedgerError:
        st.markdown(":small[There is no ledger yet, and so no vote. Run `make train-all`.]")
        return []
    counts = vote_counts(engine)
    if not counts:
        st.caption("No blind vote yet. Turn on “Blind vote” above, ask, and choose.")
        return []
    runs = voted_runs(engine, {run for one in counts for run in (one.run_a, one.run_b)})
    bases = tuple((run, voted.base_run) for run, voted in sorted(runs.items()))
    found = _rated(tuple(counts), bases)
    st.markdown(MEANS)
    rows = [_row(rating, runs) for rating in found]
    st.table(rows, hide_index=True, border="horizontal", alt="Ratings from blind votes, best first")
    total = sum(one.votes for one in counts)
    st.caption(f"{count(total, 'blind vote')}. {READ}")
    return [as_row(rating, runs) for rating in found]


@lru_cache(maxsize=8)
def _rated(
    counts: tuple[VoteCount, ...], bases: tuple[tuple[str, str | None], ...]
) -> list[Rating]:
    """The ratings, worked out once for the same votes."""
    return ratings(counts, dict(bases))


def _row(rating: Rating, runs: dict[str, VotedRun]) -> Row:
    return {
        "Model": plain(runs[rating.run].label),
        "Rating": in_words(rating),
        "Preferred to its base": against_base(rating, runs[rating.run].base_run),
        "Votes": str(rating.votes),
        "Both bad": str(rating.both_bad),
    }


def in_words(rating: Rating) -> str:
    """Return a rating with its interval, or why there is none."""
    if rating.value is None or rating.low is None or rating.high is None:
        if rating.missing:
            return f"not rated: {count(rating.missing, 'more vote')} needed"
        if rating.alone:
            return "not rated: no other model that votes connect it with has votes enough"
        return "not rated: no votes connect it with the others"
    return f"{rating.value:.0f} ({rating.low:.0f} to {rating.high:.0f})"


def against_base(rating: Rating, base: str | None) -> str:
    """Return the chance to be preferred to the base, with its interval."""
    chance = rating.against_base
    if chance is not None:
        return f"{percent(chance.value)} ({interval(chance.low, chance.high)})"
    return NONE if base is None or rating.value is None else "its base is not rated"


def as_row(rating: Rating, runs: dict[str, VotedRun]) -> Row:
    """Return a rating as a row of a file; what is not known is null."""
    chance = rating.against_base
    bounds = (chance.value, chance.low, chance.high) if chance else (None, None, None)
    preferred, low, high = (_rounded(bound, 4) for bound in bounds)
    return {
        "run": rating.run,
        "model": runs[rating.run].label,
        "rating": _rounded(rating.value, 1),
        "rating_low": _rounded(rating.low, 1),
        "rating_high": _rounded(rating.high, 1),
        "preferred_to_base": preferred,
        "preferred_low": low,
        "preferred_high": high,
        "votes": rating.votes,
        "both_bad": rating.both_bad,
        "votes_missing": rating.missing,
    }


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
