"""What others published of imported answers, beside what we found: a section of the run page."""

from collections import Counter
from collections.abc import Sequence

import streamlit as st

from database.facts import Standing
from database.published import Agreement, Differing, PublishedFacts
from leaderboard import reading, untrusted
from leaderboard.words import NONE, interval, percent, plain

SHOWN = 200
"""Differing verdicts in the table; the first ones in the order of the answers."""


def show(run: str, standings: Sequence[Standing], answers_on_a_page: int) -> None:
    """Show published scores and verdicts that differ from ours; nothing where there are none."""
    pulse = reading.pulse()
    facts = reading.published(pulse, run)
    found = {
        (first.result.benchmark, first.result.contract): reading.agreement(
            pulse, run, first.result.benchmark, first.asking, first.judging
        )
        for first in standings
        if first.kind == "imported" and first.result.metric == "pass@1"
    }
    if not facts and not any(one.compared for one in found.values()):
        return
    st.header("Published")
    if facts:
        rows = [row for fact in facts for row in _beside(fact, standings)]
        st.table(rows, hide_index=True, border="horizontal", alt="Published scores beside ours")
    for (benchmark, contract), one in found.items():
        if one.compared:
            _differences(run, f"{plain(benchmark)}, contract `{contract}`", one, answers_on_a_page)


def _beside(fact: PublishedFacts, standings: Sequence[Standing]) -> list[dict[str, str]]:
    """Return a row for each score of ours that a published one compares with; one at least."""
    ours = [
        standing.result
        for standing in standings
        if (standing.result.benchmark, standing.result.metric) == (fact.benchmark, fact.metric)
    ]
    shared = {"Benchmark": plain(fact.benchmark), "Metric": fact.metric}
    theirs = {"Published": f"**{percent(fact.value)}**", "By": plain(fact.source) or NONE}
    nothing = {"Ours": NONE, "95 % interval": NONE, "Contract": NONE}
    return [
        shared
        | theirs
        | {
            "Ours": f"**{percent(result.value)}**",
            "95 % interval": interval(result.low, result.high),
            "Contract": f"`{result.contract}`",
        }
        for result in ours
    ] or [shared | theirs | nothing]


def _differences(run: str, title: str, found: Agreement, answers_on_a_page: int) -> None:
    differing = found.differing
    st.markdown(
        f"{title}: **{len(differing)} of {found.compared:,} verdicts differ** from the publisher's"
    )
    if not differing:
        return
    causes = Counter((one.claimed, one.cause) for one in differing)
    said = [
        f"- {count} pass for {'the publisher' if claimed else 'us'} alone: {plain(cause)}"
        for (claimed, cause), count in causes.most_common()
    ]
    st.markdown("\n".join(said))
    rows = [_row(run, one, answers_on_a_page) for one in differing[:SHOWN]]
    st.table(rows, hide_index=True, border="horizontal", alt="Verdicts that differ")
    if len(differing) > SHOWN:
        st.caption(f"The first {SHOWN} of {len(differing):,}.")


def _row(run: str, one: Differing, answers_on_a_page: int) -> dict[str, str]:
    page = one.place // answers_on_a_page + 1
    ours = one.outcome.replace("_", " ")
    return {
        "Answer": f"[{plain(one.task_id)}, {one.position + 1}](run?id={run}&page={page})",
        "Ours": f"{ours} {untrusted.word(one.detail)}".strip(),
        "Published": f"{'passed' if one.claimed else 'failed'} {untrusted.word(one.said)}".strip(),
        "Cause, as far as it shows": plain(one.cause),
    }
