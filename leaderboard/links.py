"""Addresses of the pages, links to them as Markdown, and the row of tools that ends every page."""

from collections.abc import Callable, Mapping, Sequence
from urllib.parse import quote, urlencode

import streamlit as st

from database.exchange import rows_as_csv, rows_as_json, rows_as_latex
from leaderboard.words import plain

Rows = Sequence[Mapping[str, object]]
Query = Mapping[str, str | Sequence[str] | None]


def address(page: str, /, **query: str | Sequence[str] | None) -> str:
    """Return `page?name=value&...`, relative to the first page; what is None or empty is left out.

    A sequence gives its name once for each of its values.
    """
    said = {name: value for name, value in query.items() if value}
    text = urlencode(said, doseq=True, quote_via=quote, safe="")
    return f"{page}?{text}" if text else page


def link(label: str, page: str, /, **query: str | Sequence[str] | None) -> str:
    """Return a link as Markdown; the label is shown to the letter."""
    return f"[{plain(label)}]({address(page, **query)})"


def run_link(run: str, label: str) -> str:
    """Return a link to a run."""
    return link(label, "run", id=run)


def problems_link(benchmark: str, contract: str, label: str) -> str:
    """Return a link to the problems of a benchmark, as judged under one contract."""
    return link(label, "problems", benchmark=benchmark, contract=contract)


def problem_link(
    benchmark: str, contract: str, task_id: str, label: str, run: str | None = None
) -> str:
    """Return a link to one problem and the answers to it; those of `run` are open."""
    return link(label, "problem", benchmark=benchmark, contract=contract, id=task_id, run=run)


def completion_link(completion: str, label: str, judging: str | None = None) -> str:
    """Return a link to one answer; `judging` is the id of a contract, None: the latest verdict."""
    return link(label, "completion", id=completion, judging=judging)


def compare_link(
    runs: Sequence[str],
    label: str,
    *,
    benchmark: str | None = None,
    metric: str | None = None,
    contract: str | None = None,
) -> str:
    """Return a link that compares two or three runs; the first is the one compared with others."""
    sides = dict(zip("abc", runs, strict=False))
    return link(label, "compare", **sides, benchmark=benchmark, metric=metric, contract=contract)


def try_link(
    runs: Sequence[str], label: str, problem: str | None = None, contract: str | None = None
) -> str:
    """Return a link that asks up to three runs side by side.

    Args:
        runs: ids.
        label: of the link.
        problem: `benchmark:task_id` of a problem to ask.
        contract: that names the version of its benchmark.
    """
    return link(label, "try", m=list(runs), problem=problem, contract=contract)


def methods_link(label: str, anchor: str = "", contract: str | None = None) -> str:
    """Return a link to how numbers are made, at one heading where an anchor is given."""
    text = link(label, "methods", contract=contract)
    return f"{text[:-1]}#{anchor})" if anchor else text


def page_url(keep: Query | None = None) -> str:
    """Return the address of the page as it is shown now, with its query.

    Args:
        keep: what the link says although it may be a default, which is not in the query: so that
            it shows the same when the default is another one day.
    """
    query: dict[str, str | Sequence[str] | None] = {
        name: _said(st.session_state[name])
        if name in st.session_state
        else st.query_params.get_all(name)
        for name in st.query_params
    }
    return address(st.context.url or "", **(query | dict(keep or {})))


def held(*names: str) -> Query:
    """Return what widgets hold that live in the URL, by their keys.

    The query that the server knows is that of before the last change in the browser.
    """
    return {name: _said(value) if (value := st.session_state.get(name)) else None for name in names}


def _said(value: object) -> str | list[str]:
    """A widget's value as the URL has it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return [str(part) for part in value]
    return "" if value is None else str(value)


def page_tools(name: str, rows: Rows, *, latex: bool = False, keep: Query | None = None) -> None:
    """Show one row: a link to copy, and the page's rows as files.

    Args:
        name: of the files, without an ending.
        rows: what the page shows; all have the names of the first, in its order.
        latex: whether a table for a paper is offered as well.
        keep: see `page_url`.
    """
    files: dict[str, Callable[[], str]] = {
        "csv": lambda: rows_as_csv(rows),
        "json": lambda: rows_as_json(rows),
    }
    if latex:
        files["tex"] = lambda: rows_as_latex(rows)
    tools(name, files if rows else {}, keep)


FORMS = {
    "csv": ("CSV", "text/csv"),
    "json": ("JSON", "application/json"),
    "tex": ("LaTeX", "application/x-tex"),
}


def tools(name: str, files: Mapping[str, Callable[[], str]], keep: Query | None = None) -> None:
    """Show the row of tools with files that are written when somebody asks for them.

    Args:
        name: of the files, without an ending.
        files: what writes each, by ending: `csv`, `json`, `tex`.
        keep: see `page_url`.
    """
    with st.container(horizontal=True):
        with st.popover("Copy link", icon=":material/link:"):
            st.caption("This page as it is now")
            st.code(page_url(keep), language=None, wrap_lines=True)
        for ending, write in files.items():
            form, kind = FORMS[ending]
            st.download_button(
                f"Download {form}",
                write,
                f"{name}.{ending}",
                kind,
                on_click="ignore",
                icon=":material/download:",
                key=f"download-{ending}",
            )
