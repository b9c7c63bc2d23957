"""The ranked scores: what is shown of them, the table, the charts and the files."""

from collections.abc import Callable, Sequence
from math import ceil

import streamlit as st

from database.exchange import as_csv, as_json, gap_in_words, rows_as_latex
from database.spread import worth_a_table
from leaderboard import charts, choices, links, marks, ranking, reading, recipes, tradeoffs
from leaderboard.entries import Board, Entry, Filters, in_the_way, kept, size_words, values
from leaderboard.ranking import Column
from leaderboard.words import count, small

COMPARED_AT_MOST = 3
ROWS, PLAIN_ROWS = 1_000, 50
"""On one page of the grid, and of the plain table, which is slower to draw."""
FITTING, HIGHEST = 18, 640
"""More rows scroll in a grid of so many pixels."""
ALWAYS = ("Rank", "Model")
"""Columns that nobody can leave out."""
KEYS = {
    "words": "q",
    "kinds": "kind",
    "models": "model",
    "methods": "method",
    "datasets": "dataset",
    "sizes": "size",
    "experiments": "experiment",
    "whole": "whole",
}
"""Of each filter in the URL."""
NAMES = KEYS | {"words": "search", "whole": "full coverage"}
"""Of each filter on the page."""


def show(board: Board) -> None:
    """Show one board; all that a visitor sets lives in the URL."""
    price = reading.price()
    entries = list(board.entries)
    filters, order, shown = _controls(board, ranking.columns(board.metric, price))
    found = ranking.ordered(kept(entries, filters), order)
    if filters.used():
        names = ", ".join(NAMES[name] for name in filters.used())
        st.caption(f"{len(found):,} of {count(len(entries), 'score')} shown, narrowed by {names}.")
    if not found:
        _nothing_left(entries, filters)
        return
    with st.container(horizontal=True):
        group = st.toggle("Group by base", key="group", bind="query-params")
        plainly = st.toggle(
            "View as plain table",
            key="plain",
            bind="query-params",
            help="Every cell as text with its links, for screen readers and for copying.",
        )
    below: list[str] = []
    if group:
        found, below = ranking.grouped(found)
    _table(board, found, shown, below, order, plainly)
    _compare(board)
    _told(board, found)
    _charts(found)
    _recipes(board)
    _files(board, found)


def _controls(board: Board, columns: Sequence[Column]) -> tuple[Filters, str, list[Column]]:
    """Return the filters, the order and the columns chosen."""
    entries = board.entries
    with st.container(horizontal=True, vertical_alignment="bottom"):
        words = st.text_input(
            "Search",
            key="q",
            type="search",
            live=True,
            bind="query-params",
            placeholder="Model, method, dataset or run",
            width=300,
        )
        order = st.selectbox(
            "Sort by", list(ranking.ORDERS), key="sort", bind="query-params", width=170
        )
        kinds = st.pills(
            "Kind",
            values(entries, lambda entry: entry.standing.kind),
            selection_mode="multi",
            key="kind",
            bind="query-params",
        )
        with st.popover("Filters", icon=":material/filter_list:"):
            filters = _further_filters(entries, words or "", tuple(kinds))
        with st.popover("Columns", icon=":material/view_column:"):
            shown = _chosen_columns(columns, entries)
    return filters, order, shown


def _further_filters(entries: Sequence[Entry], words: str, kinds: tuple[str, ...]) -> Filters:
    sizes = sorted({entry.size for entry in entries if entry.size is not None})
    return Filters(
        words=words,
        kinds=kinds,
        models=_several("Model", "model", values(entries, lambda e: e.standing.result.model)),
        methods=_several("Method", "method", values(entries, lambda e: e.standing.result.method)),
        datasets=_several(
            "Dataset", "dataset", values(entries, lambda e: e.standing.result.dataset)
        ),
        sizes=_several("Size, as the model's name says", "size", list(map(size_words, sizes))),
        experiments=_several("Experiment", "experiment", values(entries, lambda e: e.experiment)),
        whole=st.toggle("Only with every problem judged", key="whole", bind="query-params"),
    )


def _several(label: str, key: str, options: list[str]) -> tuple[str, ...]:
    if not options:
        return ()
    return tuple(st.multiselect(label, options, key=key, bind="query-params"))


def _chosen_columns(columns: Sequence[Column], entries: Sequence[Entry]) -> list[Column]:
    there = ranking.filled(columns, entries)
    names = [column.name for column in there if column.name not in ALWAYS]
    told_above = {"Problems"} if all(entry.whole for entry in entries) else set()
    chosen = st.multiselect(
        "Columns",
        names,
        default=[c.name for c in there if c.at_first and c.name in set(names) - told_above],
        key="columns",
        bind="query-params",
    )
    return [column for column in there if column.name in (*ALWAYS, *chosen)]


def _nothing_left(entries: Sequence[Entry], filters: Filters) -> None:
    """Say which filter leaves nothing, with a button that clears it."""
    alone = in_the_way(entries, filters)
    names = " or ".join(NAMES[name] for name in alone)
    reason = f"Clear {names} to see scores again." if alone else "No single filter is to blame."
    st.info(f"No score is left. {reason}")
    with st.container(horizontal=True):
        for name in alone:
            st.button(f"Clear {NAMES[name]}", on_click=_clear, args=([name],))
        if len(filters.used()) > 1:
            st.button("Clear all filters", on_click=_clear, args=(filters.used(),))


def _clear(names: Sequence[str]) -> None:
    empty = {"words": "", "whole": False}
    for name in names:
        st.session_state[KEYS[name]] = empty.get(name, [])


def _table(
    board: Board,
    found: Sequence[Entry],
    shown: Sequence[Column],
    below: Sequence[str],
    order: str,
    plainly: bool,
) -> None:
    size = PLAIN_ROWS if plainly else ROWS
    pages = ceil(len(found) / size)
    page = st.pagination(pages, key="page", bind="query-params") if pages > 1 else 1
    here = found[(page - 1) * size : page * size]
    title = f"{board.metric} on {board.benchmark.name}, sorted by {order.lower()}"
    if plainly:
        rows = ranking.table(here, shown, below)
        st.table(rows, hide_index=True, border="horizontal", alt=title)
    else:
        _grid(board, here, shown, below, title)


def _grid(
    board: Board, here: Sequence[Entry], shown: Sequence[Column], below: Sequence[str], title: str
) -> None:
    """The grid. What is selected in it are positions, so its key tells which runs are where."""
    runs = [entry.run for entry in here]
    picked = choices.chosen("compare")
    key = f"grid-{hash((tuple(runs), choices.edits('compare')))}"
    rows = [
        row | {"Open": links.address("run", id=entry.run), "Evidence": ranking.evidence(entry)}
        for row, entry in zip(ranking.grid(here, shown, below), here, strict=True)
    ]
    config = {column.name: st.column_config.TextColumn(help=column.help) for column in shown}
    st.dataframe(
        rows,
        hide_index=True,
        height="content" if len(rows) <= FITTING else HIGHEST,
        column_config={
            **config,
            board.metric: st.column_config.NumberColumn(format="%.1f %%", width=85),
            "Open": st.column_config.LinkColumn(display_text="Run", width=60),
            "Evidence": st.column_config.LinkColumn(display_text="Problems", width=85),
        },
        key=key,
        on_select=lambda: _pick(key, runs),
        selection_mode="multi-row",
        selection_default={"selection": {"rows": [p for p, r in enumerate(runs) if r in picked]}},
        placeholder="",
        alt=title,
    )


def _pick(key: str, runs: Sequence[str]) -> None:
    """Hold the selected rows by id; what was chosen and is out of sight stays chosen."""
    rows = st.session_state[key].selection.rows
    selected = [runs[row] for row in rows if row < len(runs)]
    before = choices.chosen("compare")
    stay = [run for run in before if run in selected or run not in runs]
    new = [run for run in selected if run not in stay]
    choices.put("compare", [*stay, *new][:COMPARED_AT_MOST])


def _compare(board: Board) -> None:
    of_run = {entry.run: entry for entry in board.entries}
    with st.container(horizontal=True, vertical_alignment="bottom"):
        picked = choices.several(
            "compare",
            "Compare",
            list(of_run),
            shown=lambda run: of_run[run].name,
            at_most=COMPARED_AT_MOST,
            placeholder="Choose two or three, here or in the table",
        )
        if len(picked) > 1:
            opened = links.address(
                "compare",
                **dict(zip("abc", picked, strict=False)),
                benchmark=board.benchmark.name,
                metric=board.metric,
                contract=board.contract,
            )
            st.link_button(f"Compare {len(picked)} selected", opened)
            st.link_button("Try them side by side", links.address("try", m=picked))
        elif picked:
            st.link_button("Open its run", links.address("run", id=picked[0]))


def _told(board: Board, found: Sequence[Entry]) -> None:
    """Say what the numbers stand for, and what the flags mean."""
    how = links.methods_link("How each number is made")
    st.markdown(small(f"{gap_in_words(board.gap)} {ranking.covers(board.standings)} {how}"))
    flags = marks.meanings([entry.odd for entry in found])
    if flags:
        with st.expander("Flags: see them before a score is believed"):
            st.markdown("\n".join(f"- {line}" for line in flags))
            st.caption("The page of the run says how many answers or problems, and which.")


def _charts(found: Sequence[Entry]) -> None:
    axes = tradeoffs.known(found)
    if not axes:
        _intervals(found)
        return
    left, right = st.columns([3, 2])
    with left:
        _intervals(found)
    with right:
        name = st.selectbox("Score against", axes, key="against", bind="query-params")
        axis = tradeoffs.AXES[name]
        points = tradeoffs.points(found, axis)
        drawn = tradeoffs.chart(points, axis)
        st.vega_lite_chart(spec=drawn, alt=tradeoffs.words(points, axis))
        st.caption(
            "Dashed: the best score at each price. Filled: on that line. Hollow: tied with it, for "
            "both may have the same rank on other problems. Faint: below it."
        )


def _intervals(found: Sequence[Entry]) -> None:
    standings = [entry.standing for entry in found]
    drawn = charts.interval_plot(standings)
    st.vega_lite_chart(spec=drawn, alt=charts.interval_words(standings))
    if len(found) > charts.DRAWN:
        st.caption(f"The first {charts.DRAWN} of {len(found):,} are drawn.")


def _recipes(board: Board) -> None:
    """Say how recipes do over their seeds, where some have several or two compare."""
    if not worth_a_table(board.recipes):
        return
    st.subheader("Recipes")
    st.table(
        recipes.recipe_table(board.recipes),
        hide_index=True,
        border="horizontal",
        alt="Recipes over their seeds, the best mean first",
    )
    st.caption(recipes.covers(board.recipes))


def _files(board: Board, found: Sequence[Entry]) -> None:
    results = [entry.standing.result for entry in found]
    files: dict[str, Callable[[], str]] = {
        "csv": lambda: as_csv(results),
        "json": lambda: as_json(results),
        "tex": lambda: rows_as_latex(ranking.paper_rows(found)),
    }
    keep = {
        **links.held(*KEYS.values(), "sort", "group", "plain", "against"),
        "benchmark": board.benchmark.name,
        "metric": board.metric,
        "contract": board.contract,
    }
    links.tools(board.benchmark.name, files, keep)
