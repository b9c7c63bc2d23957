"""A run's answers, a page at a time: the start of each, and a link to the whole."""

from collections.abc import Mapping, Sequence
from math import ceil

import streamlit as st

from database import queries
from database.completions import Answers, AnswerStart, answers_number, answers_page
from database.facts import Standing
from leaderboard import links, reading, untrusted, verdict_words
from leaderboard.words import count, plain, program, span

ON_A_PAGE = 10


def show(run: str, standings: Sequence[Standing]) -> None:
    """Show a page of a run's answers; contract, outcome and page live in the URL."""
    first = {f"{s.result.benchmark}, {s.result.contract}": s for s in standings}
    if not first:
        return
    st.header("Answers")
    name = next(iter(first))
    if len(first) > 1:
        name = st.selectbox(
            "Benchmark and contract", list(first), key="answers", bind="query-params"
        )
    standing = first[name]
    of = Answers(
        run=run,
        benchmark=standing.result.benchmark,
        asking=standing.asking,
        judging=standing.judging,
    )
    engine = reading.ledger()
    counts = queries.outcomes(engine, run, of.benchmark, asking=of.asking, judging=of.judging)
    answers = answers_number(engine, of)
    outcome = _outcome(counts, answers)
    wanted = counts[outcome] if outcome else answers
    place = st.pagination(max(1, ceil(wanted / ON_A_PAGE)), key="page", bind="query-params")
    found = answers_page(
        engine,
        of,
        outcome=outcome,
        limit=ON_A_PAGE,
        offset=(place - 1) * ON_A_PAGE,
        characters=untrusted.GLANCE + 1,
    )
    for answer in found:
        _answer(answer, of, standing.result.contract)


def _outcome(counts: Mapping[str, int], answers: int) -> str | None:
    """Return the outcome chosen; None: all answers, with a verdict or without."""
    in_words = {name.replace("_", " "): name for name in counts}
    chosen = st.pills("Outcome", list(in_words), key="outcome", bind="query-params")
    told = [f"{counts[name]:,} {said}" for said, name in in_words.items()]
    if unjudged := answers - sum(counts.values()):
        told.append(f"{unjudged:,} not judged")
    st.caption(", ".join(told))
    return in_words[chosen] if chosen else None


def _answer(answer: AnswerStart, of: Answers, contract: str) -> None:
    whole = links.completion_link(answer.id, "All of it", of.judging)
    problem = links.problem_link(
        of.benchmark, contract, answer.task_id, untrusted.seen(answer.task_id), of.run
    )
    title = links.completion_link(answer.id, f"answer {answer.position + 1}", of.judging)
    with st.container(border=True):
        st.markdown(f"{verdict_words.sign(answer.outcome)} {problem}, {title}: {_said(answer)}")
        if answer.instruction:
            untrusted.glance(answer.instruction, language=None, more=whole)
        code = program(answer.text, answer.prompt, whole=answer.whole)
        untrusted.glance(code, language="python", more=whole)
        if answer.detail:
            untrusted.glance(answer.detail, language=None)
        st.caption(_told(answer))
        if answer.tests:
            with st.expander("Tests"):
                untrusted.glance(answer.tests, language="python", more=whole)


def _said(answer: AnswerStart) -> str:
    what = verdict_words.failure(answer.outcome, answer.detail, answer.extracted)
    return f"**{plain(verdict_words.short(answer.outcome))}** ({plain(what)})"


def _told(answer: AnswerStart) -> str:
    told = f"{count(answer.tokens, 'token')}, {verdict_words.ended(answer.finish)}"
    if answer.wall_seconds is None:
        return told
    return f"{told}; judged in {span(answer.wall_seconds)}, {span(answer.cpu_seconds or 0)} CPU"
