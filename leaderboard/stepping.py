"""Buttons, with keys, to what stands before and after what a page shows."""

import streamlit as st

PREVIOUS, FOLLOWING = "Alt+Up", "Alt+Down"
"""Keys; plain arrows scroll."""


def step(label: str, wanted: str | None, keys: str, told: str | None = None) -> None:
    """Show a button that opens the page of another id.

    Args:
        label: of the button.
        wanted: the id; None: there is none, and the button does nothing.
        keys: that do the same.
        told: of the button, when it is pointed at.
    """
    st.button(
        label,
        on_click=_go,
        args=(wanted,),
        disabled=wanted is None,
        shortcut=keys,
        key=label,
        help=told,
    )


def _go(wanted: str) -> None:
    st.query_params["id"] = wanted
