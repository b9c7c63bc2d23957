"""One run, down to each answer; without an id, all runs."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from math import ceil

import streamlit as st

from database import queries
from database.facts import Answer, CheckpointFacts, Pulse, Result, RunFacts, RunPage, Standing
from database.in_view import in_view
from leaderboard import dataset_words, marks, published_words, reading, training_page
from leaderboard.board_page import BUSY_REFRESH, opened, watch
from leaderboard.words import (
    NONE,
    against_base,
    ago,
    badge,
    colour,
    coverage,
    cut,
    difference,
    interval,
    percent,
    plain,
    span,
)

ANSWERS = 10
"""Answers on a page."""


def show() -> None:
    """Show the run that the URL names, or the list of runs."""
    run_id = st.query_params.get("id")
    pulse = opened()
    if run_id is None:
        _list(pulse)
        return
    page = reading.run_page(pulse, run_id)
    if page is None:
        st.title("Run")
        st.warning(f"The ledger holds no run `{plain(run_id)}`.")
        st.markdown("[All runs](run)")
        return
    _head(page.run)
    watch(pulse, only=run_id)
    _scores(in_view(page.standings))
    _marks(pulse, page)
    published_words.show(page.run.id, page.standings, ANSWERS)
    _overlap(pulse, page)
    _training(page)
    _events(page.run)
    _provenance(page.run)
    _answers(page)


def _list(pulse: Pulse) -> None:
    st.title("Runs")
    watch(pulse)
    found = reading.runs(pulse)
    if not found:
        st.info("No runs yet. Run `make train-all`.")
        return
    now = datetime.now(UTC)
    rows = [
        {
            "Run": f"[{plain(run.label)}](run?id={run.id})",
            "State": badge(run.state),
            "Started": ago(run.created_at, now),
            "Took": _took(run),
            "Id": f"`{run.id}`",
        }
        for run in found
    ]
    st.table(rows, hide_index=True, border="horizontal", alt="All runs, the newest first")


def _took(run: RunFacts) -> str:
    if run.finished_at is None:
        return NONE
    return span((run.finished_at - run.created_at).total_seconds())


def _head(run: RunFacts) -> None:
    st.title(plain(run.label))
    with st.container(horizontal=True):
        st.badge(run.state, color=colour(run.state))
        st.badge(run.kind, color="gray")
    told = f"Run `{run.id}`, started {ago(run.created_at, datetime.now(UTC))}"
    if run.finished_at is not None:
        told += f", took {_took(run)}"
    if run.base_run is not None:
        told += f". [Its base](run?id={run.base_run})"
    if trained_on := dataset_words.trained_on(run):
        told += f". {trained_on}"
    st.markdown(told)


def _scores(standings: Sequence[Standing]) -> None:
    st.header("Scores")
    if not standings:
        st.info("No scores yet.")
        return
    rows = [
        {
            "Benchmark": plain(standing.result.benchmark),
            "Metric": standing.result.metric,
            "Score": f"**{percent(standing.result.value)}**",
            "95 % interval": interval(standing.result.low, standing.result.high),
            "vs base": against_base(standing),
            "Problems": coverage(standing),
            "Contract": f"`{standing.result.contract}`",
        }
        for standing in standings
    ]
    st.table(rows, hide_index=True, border="horizontal", alt="Scores of this run")
    _chances(standings)


def _chances(standings: Sequence[Standing]) -> None:
    deltas = [(s.result, s.result.delta) for s in standings if s.result.delta]
    said = [
        f"{plain(result.benchmark)} {result.metric}: {difference(delta, result.verdict)}, "
        f"p = {delta.p:.2g}{_adjusted(result)}. {delta.method}, seed {delta.draws_seed}."
        for result, delta in deltas
        if delta is not None and delta.p is not None
    ]
    how = [
        f"{plain(s.result.benchmark)} {s.result.metric}, interval: {s.result.interval_method}."
        for s in standings
        if s.result.interval_method
    ]
    if said or how:
        with st.expander("How sure are these numbers?"):
            st.markdown("\n".join(f"- {line}" for line in [*said, *how]))
            st.caption(
                "p is the chance of a difference this big were there none; the interval is for "
                "another draw of such problems, not for another training seed."
            )


def _adjusted(result: Result) -> str:
    if result.p_holm is None or not result.comparisons or result.comparisons < 2:
        return ""
    return f", {result.p_holm:.2g} over the {result.comparisons} comparisons on this page (Holm)"


def _marks(pulse: Pulse, page: RunPage) -> None:
    """Say what is odd about the scores, and what they cost."""
    odd = marks.sentences(page.standings, reading.anomalies_of(pulse, page.run.id))
    if odd:
        st.subheader("What to know before these scores are believed")
        st.markdown("\n".join(f"- {line}" for line in odd))
    spent = marks.costs_said(page.standings, reading.costs_of(pulse, page.run.id), reading.price())
    if spent:
        with st.expander("What these scores cost"):
            st.markdown("\n".join(f"- {line}" for line in spent))


def _overlap(pulse: Pulse, page: RunPage) -> None:
    """Say how many of the problems asked are touched by rows the run was trained on."""
    digest = page.run.dataset_digest
    report = reading.report(pulse, digest) if digest else None
    if report is None:
        return
    standings = {(s.result.benchmark, s.asking, s.judging): s for s in page.standings}
    said = [
        dataset_words.overlap(
            found, standings[found.benchmark, found.asking, found.judging], report
        )
        for found in reading.exposures(pulse, run=page.run.id)
    ]
    if said:
        st.subheader("Problems it was trained on")
        st.markdown("\n".join(f"- {line}" for line in said))


def _training(page: RunPage) -> None:
    """Show the curves, redrawn while they grow, and what the training left behind."""
    busy = page.run.state == "training"
    if not busy and page.run.last_step is None and page.checkpoint is None:
        return
    st.header("Training")
    if busy or page.run.last_step is not None:
        st.fragment(training_page.draw, run_every=BUSY_REFRESH if busy else None)(page.run.id)
    if page.checkpoint is not None:
        _checkpoint(page.checkpoint)


def _checkpoint(weights: CheckpointFacts) -> None:
    known = {"weights": weights.kind, "steps": weights.steps} | weights.facts
    shown = [
        {"Checkpoint": name.replace("_", " "), "": plain(_value(value))}
        for name, value in known.items()
    ]
    st.table(shown, hide_index=True, border="horizontal", alt="Facts of the checkpoint")
    st.code(f"{weights.path}\nsha256 {weights.sha256}", language=None, wrap_lines=True)


def _value(value: object) -> str:
    match value:
        case bool() | str():
            return str(value)
        case int():
            return f"{value:,}"
        case float():
            return f"{value:,.4g}"
        case _:
            return json.dumps(value)


def _events(run: RunFacts) -> None:
    happened = queries.events(reading.ledger(), run.id)
    if not happened:
        return
    st.header("What happened")
    now = datetime.now(UTC)
    rows = [
        {
            "When": ago(event.at, now),
            "What": plain(event.kind),
            "Details": plain(cut(event.message)),
            "Took": span(event.seconds) if event.seconds else NONE,
        }
        for event in happened
    ]
    st.table(rows, hide_index=True, border="horizontal", alt="Events, the newest first")


def _provenance(run: RunFacts) -> None:
    with st.expander("What this run is made of, and where it came from"):
        st.caption("Hashed into the run's id")
        st.code(json.dumps(run.spec, indent=2), language="json")
        st.caption("Recorded beside it")
        st.code(json.dumps(run.provenance, indent=2), language="json")


def _answers(page: RunPage) -> None:
    """Show a page of the run's answers; benchmark, outcome and page live in the URL."""
    first = {(s.result.benchmark, s.result.contract): s for s in page.standings}
    if not first:
        return
    st.header("Answers")
    keys = list(first)
    key = keys[0]
    if len(keys) > 1:
        key = st.selectbox("Benchmark and contract", keys, format_func=", ".join, key="answers")
    standing = first[key]
    engine, run_id, benchmark = reading.ledger(), page.run.id, standing.result.benchmark
    contract = {"asking": standing.asking, "judging": standing.judging}
    counts = queries.outcomes(engine, run_id, benchmark, **contract)
    outcome = _outcome(counts)
    wanted = counts[outcome] if outcome else sum(counts.values())
    place = st.pagination(max(1, ceil(wanted / ANSWERS)), key="page", bind="query-params")
    found = queries.completions(
        engine,
        run_id,
        benchmark,
        **contract,
        outcome=outcome,
        limit=ANSWERS,
        offset=(place - 1) * ANSWERS,
    )
    for answer in found:
        _answer(answer)


def _outcome(counts: dict[str, int]) -> str | None:
    """Return the outcome chosen; None: all of them."""
    in_words = {name.replace("_", " "): name for name in counts}
    chosen = st.pills("Outcome", list(in_words), key="outcome", bind="query-params")
    st.caption(", ".join(f"{counts[name]:,} {said}" for said, name in in_words.items()))
    return in_words[chosen] if chosen else None


def _answer(answer: Answer) -> None:
    outcome = (answer.outcome or "not judged").replace("_", " ")
    mark = "✓" if answer.outcome == "passed" else "✗"
    title = f"{mark} {plain(answer.task_id)}, answer {answer.position + 1}: **{outcome}**"
    with st.container(border=True):
        st.markdown(title)
        if answer.instruction:
            st.text(cut(answer.instruction))
        st.code(cut(_program(answer)), language="python")
        if answer.detail:
            st.code(cut(answer.detail), language=None, wrap_lines=True)
        st.caption(_told(answer))
        if answer.tests:
            with st.expander("Tests"):
                st.code(cut(answer.tests), language="python")


def _program(answer: Answer) -> str:
    """Return the answer behind the prompt it continues."""
    return answer.text if answer.whole else f"{answer.prompt or ''}{answer.text}"


def _told(answer: Answer) -> str:
    told = f"{answer.tokens} tokens, ended by {answer.finish}"
    if answer.wall_seconds is None:
        return told
    return f"{told}; judged in {span(answer.wall_seconds)}, {span(answer.cpu_seconds or 0)} CPU"
