"""Choices of runs: the id of what was chosen lives in the URL, and its name on the page.

The URL alone is believed, so that the browser's way back takes a choice back too.

Streamlit's own binding would write the names, which change as runs come.
"""

from collections.abc import Callable, Sequence

import streamlit as st


def one(
    name: str,
    label: str,
    options: Sequence[str],
    *,
    default: str | None,
    shown: Callable[[str], str],
    optional: str = "",
) -> str | None:
    """Return the id chosen in a select box.

    Args:
        name: of the choice in the URL.
        label: of the select box.
        options: ids.
        default: one of them; None: nothing.
        shown: what an id is called on the page.
        optional: what an empty box says; empty: it cannot be emptied.
    """
    key, asked = f"choice-{name}", st.query_params.get(name)
    st.session_state[key] = asked if asked in options else default
    return st.selectbox(
        label,
        options,
        index=None if optional else 0,
        format_func=shown,
        key=key,
        placeholder=optional or None,
        on_change=_keep,
        args=(name,),
    )


def several(
    name: str,
    label: str,
    options: Sequence[str],
    *,
    shown: Callable[[str], str],
    at_most: int,
    placeholder: str,
) -> list[str]:
    """Return the ids chosen in a multiselect; those that are no options any more are left out."""
    key = f"choice-{name}"
    there = [one for one in chosen(name) if one in options][:at_most]
    if there != chosen(name):
        put(name, there)
    st.session_state[key] = there
    return st.multiselect(
        label,
        options,
        format_func=shown,
        key=key,
        max_selections=at_most,
        select_all=False,
        placeholder=placeholder,
        on_change=_by_hand,
        args=(name,),
    )


def chosen(name: str) -> list[str]:
    """Return the ids that a multiselect holds, or will when it is drawn."""
    return st.query_params.get_all(name)


def edits(name: str) -> int:
    """Return how often a choice was made in its own widget, not from code."""
    return int(st.session_state.get(f"edits-{name}", 0))


def _by_hand(name: str) -> None:
    st.session_state[f"edits-{name}"] = edits(name) + 1
    _keep(name)


def put(name: str, value: str | Sequence[str] | None) -> None:
    """Choose something from code, before the widget is drawn: in a callback."""
    st.session_state[f"choice-{name}"] = value
    _keep(name)


def _keep(name: str) -> None:
    value = st.session_state.get(f"choice-{name}")
    if value:
        st.query_params[name] = value
    elif name in st.query_params:
        del st.query_params[name]
