"""Who looks at the page, and what they may do."""

import streamlit as st

from leaderboard import access, sign_in
from leaderboard.words import plain

USER = "email"
"""Under this name Streamlit keeps who signed in, by OpenID Connect or by a proxy's header."""


def name() -> str:
    """Return who signed in; empty where nobody has to."""
    if access.from_environment().sign_in == "none":
        return ""
    if _provider_doubts():
        return ""
    return str(st.user.get(USER) or "")


def may_act() -> bool:
    """Return whether this visitor may stop runs, vote, and have answers judged again."""
    return access.from_environment().may_act(name())


def admit() -> None:
    """End the page here, with a way to sign in, unless the visitor is known or need not be."""
    settings = access.from_environment()
    if settings.sign_in == "none" or name():
        return
    st.title("Codeladder")
    if settings.sign_in == "header":
        st.error("The proxy in front of this site did not say who you are.")
    elif _provider_doubts():
        st.error("Your provider has not verified your e-mail address; verify it, then sign in.")
        st.button("Sign out", on_click=st.logout)
    else:
        if why := sign_in.TOLD.get(st.query_params.get(sign_in.WHY, "")):
            st.error(why)
        st.markdown("Sign in to see the leaderboard.")
        st.button("Sign in", on_click=st.login)
    st.stop()


def foot() -> None:
    """Say below the page who signed in, and what that allows."""
    who = name()
    if not who:
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        role = "a member" if may_act() else "a viewer: only members may stop runs, vote or judge"
        st.caption(f"Signed in as {plain(who)}, {role}.")
        if access.from_environment().sign_in == "oidc":
            st.button("Sign out", on_click=st.logout, type="tertiary")


def _provider_doubts() -> bool:
    """Whether somebody signed in with an address that the provider says is not verified."""
    return st.user.get("email_verified") is False
