"""What runs were trained on: where it is from, what was left out, what it touches."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from math import ceil

import streamlit as st

from database.exchange import facts_as_csv, facts_as_json
from database.facts import DatasetFacts, Pulse, TouchFacts
from leaderboard import charts, dataset_words, evidence, links, reading, untrusted
from leaderboard.board_page import opened, watch
from leaderboard.dataset_words import Cells, Report, Version
from leaderboard.words import ago, count, plain

ROWS = 25
"""Rows of a table on a page."""


def show() -> None:
    """Show the dataset that the URL names, or the list of datasets."""
    digest = st.query_params.get("dataset")
    pulse = opened()
    found = reading.datasets(pulse)
    if digest is None:
        _list(pulse, found)
        return
    facts = next((dataset for dataset in found if dataset.digest == digest), None)
    report = reading.report(pulse, digest)
    if facts is None or report is None:
        st.title("Dataset")
        st.warning(f"The ledger holds no dataset {untrusted.word(digest)}.")
        st.markdown("[All datasets](datasets)")
        return
    _dataset(pulse, facts, report)


def _list(pulse: Pulse, found: Sequence[DatasetFacts]) -> None:
    st.title("Datasets")
    st.markdown("What runs were trained on, and what was kept out of it.")
    watch(pulse)
    if not found:
        st.info("No datasets yet. Run `make train-all`; it prepares those of its experiment.")
        links.tools("datasets", {})
        return
    rows = dataset_words.listed(found)
    st.table(rows, hide_index=True, border="horizontal", alt="All datasets, the newest first")
    links.tools(
        "datasets",
        {"csv": lambda: facts_as_csv(DatasetFacts, found), "json": lambda: facts_as_json(found)},
    )


def _dataset(pulse: Pulse, facts: DatasetFacts, report: Report) -> None:
    touches = reading.touches(pulse, facts.digest)
    _head(facts, report, touches)
    watch(pulse)
    _sources(report)
    _left_out(report)
    _benchmarks(pulse, report, touches)
    _duplicates(report)
    _lengths(report)
    _execution(report)
    _licences(report)
    _runs(pulse, facts.digest)
    _downloads(facts, report, touches)


def _head(facts: DatasetFacts, report: Report, touches: Sequence[TouchFacts]) -> None:
    st.title(plain(facts.name))
    kept = {(touch.benchmark, touch.task_id) for touch in touches if touch.trained_on}
    with st.container(horizontal=True):
        st.badge(plain(facts.licence), color="gray")
        if kept:
            st.badge(f"touches {count(len(kept), 'problem')} of benchmarks", color="orange")
    written = report["rows_written"]
    repeats = f", {written:,} with repeats" if written != facts.rows_out else ""
    st.markdown(
        f"{facts.rows_in:,} rows in, {facts.rows_out:,} rows out{repeats}. "
        f"Dataset `{facts.digest}`, recorded {ago(facts.recorded_at, datetime.now(UTC))}. "
        "[All datasets](datasets)"
    )


def _sources(report: Report) -> None:
    st.header("Sources")
    rows = dataset_words.sources(report)
    st.table(rows, hide_index=True, border="horizontal", alt="Rows in and out of every source")


def _left_out(report: Report) -> None:
    st.header("What was left out")
    rows = dataset_words.drops(report)
    if not rows:
        st.markdown("Nothing.")
        return
    _paged(rows, "drop", "Rows left out, by source, step and reason")
    with st.expander("Examples"):
        for title, text in dataset_words.examples(report):
            st.caption(title)
            untrusted.glance(text, language=None)


def _benchmarks(pulse: Pulse, report: Report, touches: Sequence[TouchFacts]) -> None:
    st.header("Benchmarks")
    if not report["benchmarks"]:
        st.markdown("Compared with none: nothing is known of what these rows touch.")
        return
    st.markdown("\n".join(f"- {line}" for line in dataset_words.compared(report, touches)))
    if not touches:
        return
    rows = dataset_words.touched(touches, _contracts(pulse, touches))
    _paged(rows, "touch", "Problems that rows touch, by benchmark")
    if report["touches"]:
        with st.expander("What they have in common"):
            untrusted.show(
                dataset_words.evidence(report),
                language=None,
                key="evidence",
                name=f"{report['digest']}-evidence",
            )


def _contracts(pulse: Pulse, touches: Sequence[TouchFacts]) -> dict[Version, str]:
    """The contract of most runs for each version of a benchmark that rows were compared with."""
    versions = {(touch.benchmark, touch.benchmark_digest) for touch in touches}
    return {
        (benchmark, digest): one.id
        for benchmark, digest in versions
        for one in reversed(evidence.contracts(pulse, benchmark))
        if evidence.digest(one.judging) == digest
    }


def _duplicates(report: Report) -> None:
    st.header("Duplicates")
    rows, number = dataset_words.pairs(report), report["duplicate_pairs"]
    if not number:
        st.markdown("None.")
        return
    shown = "" if number == len(rows) else f"; the first {len(rows):,} are shown"
    st.markdown(f"{count(number, 'row')} left out because another stands for them{shown}.")
    _paged(rows, "pair", "Rows left out, and the rows that stand for them")


def _lengths(report: Report) -> None:
    measured = report["lengths"]
    if not measured:
        return
    st.header("Lengths")
    for lengths in measured:
        words = charts.lengths_words(lengths)
        st.altair_chart(charts.lengths_chart(lengths), alt=words)
        st.caption(plain(charts.longest_words(lengths)))


def _execution(report: Report) -> None:
    said = dataset_words.executed(report)
    if said:
        st.header("Execution")
        st.markdown("\n".join(f"- {line}" for line in said))


def _licences(report: Report) -> None:
    st.header("Licences")
    st.markdown(f"The strictest term is **{plain(report['licence'])}**.")
    for title, lines in (("Attribution", report["attributions"]), ("Terms", report["terms"])):
        if lines:
            st.markdown(f"{title}:\n" + "\n".join(f"- {plain(line)}" for line in lines))


def _runs(pulse: Pulse, digest: str) -> None:
    st.header("Runs")
    found = [run for run in reading.runs(pulse) if run.dataset_digest == digest]
    if not found:
        st.markdown("No run was trained on it yet.")
        return
    st.markdown(
        "\n".join(
            f"- {links.run_link(run.id, untrusted.seen(run.label))}: {run.state}" for run in found
        )
    )


def _downloads(facts: DatasetFacts, report: Report, touches: Sequence[TouchFacts]) -> None:
    st.caption("JSON: the whole report. CSV: the problems of benchmarks that its rows touch.")
    links.tools(
        f"{facts.digest}-report",
        {
            "json": lambda: json.dumps(report, indent=2, ensure_ascii=False) + "\n",
            "csv": lambda: facts_as_csv(TouchFacts, touches),
        },
        keep={"dataset": facts.digest},
    )


def _paged(rows: Cells, key: str, alt: str) -> None:
    """Show a table a page at a time; the page lives in the URL."""
    pages = max(1, ceil(len(rows) / ROWS))
    place = st.pagination(pages, key=key, bind="query-params") if pages > 1 else 1
    shown = rows[(place - 1) * ROWS : place * ROWS]
    st.table(shown, hide_index=True, border="horizontal", alt=alt)
