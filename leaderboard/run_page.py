"""One run, down to each answer; without an id, all runs."""

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from math import ceil

import streamlit as st

from database import queries
from database.facts import CheckpointFacts, Pulse, Result, RunFacts, RunPage, Standing
from database.in_view import in_view
from database.queries import ACTIVE
from leaderboard import (
    dataset_words,
    links,
    marks,
    one_run,
    published_words,
    reading,
    run_answers,
    run_facts,
    training_page,
    untrusted,
)
from leaderboard.board_page import BUSY_REFRESH, opened, watch
from leaderboard.words import (
    NONE,
    against_base,
    ago,
    badge,
    colour,
    count,
    coverage,
    cut,
    difference,
    interval,
    percent,
    plain,
    span,
)

RUNS = 50
"""On a page of the list."""


def show() -> None:
    """Show the run that the URL names, or the list of runs."""
    run_id = st.query_params.get("id")
    pulse = opened()
    if run_id is None:
        _list(pulse)
        return
    stored = reading.run_page(pulse, run_id)
    if stored is None:
        st.title("Run")
        st.warning(f"The ledger holds no run {untrusted.word(run_id)}.")
        st.markdown("[All runs](run)")
        return
    page = replace(stored, standings=in_view(stored.standings))
    _head(pulse, page)
    watch(pulse, only=run_id)
    if page.run.state in (*ACTIVE, "failed", "stopped"):
        one_run.show(page.run)
    _scores(page.standings)
    _marks(pulse, page)
    published_words.show(page.run.id, page.standings, run_answers.ON_A_PAGE)
    _overlap(pulse, page)
    _training(page)
    _events(page.run)
    _provenance(pulse, page)
    run_answers.show(page.run.id, page.standings)
    links.page_tools(f"run-{run_id}", _rows(page), keep={"id": run_id})


def _list(pulse: Pulse) -> None:
    st.title("Runs")
    watch(pulse)
    found = reading.runs(pulse)
    if not found:
        st.info("No runs yet. Run `make train-all`.")
        return
    words = st.text_input(
        "Search",
        type="search",
        key="q",
        bind="query-params",
        placeholder="Name, id or state",
        width=300,
    )
    wanted = run_facts.with_words(found, words or "")
    if not wanted:
        st.info("No run has these words. Clear the search to see all.")
        return
    pages = ceil(len(wanted) / RUNS)
    place = st.pagination(pages, key="page", bind="query-params") if pages > 1 else 1
    now = datetime.now(UTC)
    rows = [
        {
            "Run": links.run_link(run.id, untrusted.seen(run.label)),
            "State": badge(run.state),
            "Started": ago(run.created_at, now),
            "Took": _took(run),
            "Id": f"`{run.id}`",
        }
        for run in wanted[(place - 1) * RUNS : place * RUNS]
    ]
    st.table(rows, hide_index=True, border="horizontal", alt="Runs, the newest first")
    if len(wanted) > len(rows):
        st.caption(f"{len(rows):,} of {count(len(wanted), 'run')}.")
    links.page_tools("runs", [_told(run) for run in wanted], keep=links.held("q"))


def _told(run: RunFacts) -> dict[str, object]:
    """One run as the files of the list have it."""
    return {
        "run": run.id,
        "label": run.label,
        "kind": run.kind,
        "state": run.state,
        "created_at": run.created_at.isoformat(),
        "finished_at": run.finished_at.isoformat() if run.finished_at else None,
    }


def _took(run: RunFacts) -> str:
    if run.finished_at is None:
        return NONE
    return span((run.finished_at - run.created_at).total_seconds())


def _head(pulse: Pulse, page: RunPage) -> None:
    run = page.run
    st.title(untrusted.word(run.label))
    touched = run_facts.contamination(reading.exposures(pulse, run=run.id))
    with st.container(horizontal=True):
        st.badge(run.state, color=colour(run.state))
        st.badge(run.kind, color="gray")
        if run.kind == "tuned" and (seeds := reading.seeds(pulse, run.id)):
            st.badge(count(seeds, "seed"), color="gray")
        if touched:
            st.badge(touched, color="orange")
    told = f"Run `{run.id}`, started {ago(run.created_at, datetime.now(UTC))}"
    if run.finished_at is not None:
        told += f", took {_took(run)}"
    if run.base_run is not None:
        told += f". {links.run_link(run.base_run, 'Its base')}"
    if trained_on := dataset_words.trained_on(run):
        told += f". {trained_on}"
    st.markdown(told)
    if said := _ways_on(page):
        st.markdown(" | ".join(said))


def _ways_on(page: RunPage) -> list[str]:
    """Return links to what else can be done with a run."""
    run = page.run
    said = []
    if run.base_run is not None and page.standings:
        result = page.standings[0].result
        said.append(
            links.compare_link(
                [run.id, run.base_run],
                "Compare with its base",
                benchmark=result.benchmark,
                contract=result.contract,
            )
        )
    if run.state == "done" and run.kind != "imported":
        models = [run.id, *([run.base_run] if run.base_run else [])]
        said.append(links.try_link(models, "Try this model"))
    return said


def _scores(standings: Sequence[Standing]) -> None:
    st.header("Scores")
    if not standings:
        st.info("No scores yet.")
        return
    rows = [
        {
            "Benchmark": plain(standing.result.benchmark),
            "Metric": standing.result.metric,
            "Score": f"**{_linked(standing)}**",
            "95 % interval": interval(standing.result.low, standing.result.high),
            "vs base": against_base(standing),
            "Problems": coverage(standing),
            "Contract": f"`{standing.result.contract}`",
        }
        for standing in standings
    ]
    st.table(rows, hide_index=True, border="horizontal", alt="Scores of this run")
    _chances(standings)


def _linked(standing: Standing) -> str:
    """A score that opens its problems."""
    result = standing.result
    return links.link(
        percent(result.value),
        "problems",
        benchmark=result.benchmark,
        contract=result.contract,
        run=result.run,
    )


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
        if value is not None
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
        case dict():
            return ", ".join(f"{name} {one}" for name, one in value.items())
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
            "Details": plain(untrusted.visible(cut(event.message)).text),
            "Took": span(event.seconds) if event.seconds else NONE,
        }
        for event in happened
    ]
    st.table(rows, hide_index=True, border="horizontal", alt="Events, the newest first")


def _provenance(pulse: Pulse, page: RunPage) -> None:
    run = page.run
    with st.expander("What this run is made of, and where it came from"):
        st.caption("What it takes to make it again")
        lines = run_facts.provenance_lines(run, page.checkpoint)
        untrusted.show(lines, language=None, key="origin", name=f"{run.id}-origin")
        st.caption("Hashed into the run's id")
        spec = json.dumps(run.spec, indent=2)
        untrusted.show(spec, language="json", key="spec", name=f"{run.id}-spec")
        st.caption("Recorded beside it")
        recorded = json.dumps(run.provenance, indent=2)
        untrusted.show(recorded, language="json", key="recorded", name=f"{run.id}-provenance")
        st.download_button(
            "Download model card",
            lambda: run_facts.card(page, reading.exposures(pulse, run=run.id)),
            f"{run.id}-card.md",
            "text/markdown",
            on_click="ignore",
            key="card",
        )


def _rows(page: RunPage) -> list[dict[str, object]]:
    return [
        {
            "run": s.result.run,
            "benchmark": s.result.benchmark,
            "metric": s.result.metric,
            "contract": s.result.contract,
            "value": round(s.result.value, 4),
            "low": round(s.result.low, 4),
            "high": round(s.result.high, 4),
            "problems": s.result.problems,
            "asked": s.asked,
            "vs_base": against_base(s).replace("\u00a0", " "),
        }
        for s in page.standings
    ]
