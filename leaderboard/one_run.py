"""One run at work or over: why it ended, its end on demand, and its log."""

from typing import Literal

import streamlit as st

from database.facts import RunFacts
from database.queries import ACTIVE
from leaderboard import controls, people, serving, untrusted, work_reading
from leaderboard.links import run_link
from leaderboard.serving import ServerError
from leaderboard.words import CODE_LIMIT, ago, badge, plain
from leaderboard.work_words import command, ending, holder_words, log_lines, will_happen

LINES_IN_SIGHT = 14
"""Of a log; more of them scroll in a window."""
WINDOW = 320
"""Pixels."""
ASKED = "stop-asked"
"""In the session: id of the run whose stop waits to be confirmed."""
TOLD = "stop-told"
"""In the session: id of a run, and what came of asking for its end."""


def show(run: RunFacts) -> None:
    """Show what can be known and done about one run."""
    st.markdown(f"{run_link(run.id, run.label)} {badge(run.state)}")
    if run.state in ("failed", "stopped"):
        _ended(run)
    if run.state in ACTIVE:
        with work_reading.calmly():
            _held(run)
        _stop(run)
    st.fragment(_log)(run.id)


def _held(run: RunFacts) -> None:
    """Who works on it, and where else that can be looked at."""
    now = work_reading.present()
    claim = work_reading.holder_of(run.id)
    driver = work_reading.driver_of(run.id, now)
    told = [holder_words(claim, now)] if claim else []
    if driver and driver.page:
        named = untrusted.word(driver.submission)
        told.append(f"[Its Ray job, {named}]({driver.page}), on Ray's dashboard.")
    if told:
        st.markdown(" ".join(told))


def _ended(run: RunFacts) -> None:
    """Why it is over, what happened before, and how to go on."""
    happened = work_reading.events(run.id)
    last = next((event for event in happened if event.kind == run.state), None)
    told = ending(run.state, last.message if last else "")
    with st.container(border=True):
        st.markdown(f"**{told.heading}.** {told.meaning}")
        if told.reason:
            untrusted.glance(told.reason, language=None)
        if said := command(run):
            st.markdown("To try again, or go on:" if run.state == "failed" else "To go on:")
            st.code(said, language="bash")
        now = work_reading.present()
        rows = [
            {"When": ago(event.at, now), "What": untrusted.word(event.kind)} for event in happened
        ]
        if rows:
            st.table(rows, hide_index=True, border="horizontal", alt="What happened, latest first")


def _stop(run: RunFacts) -> None:
    """Have it ended, after a second look at what that does."""
    now = work_reading.present()
    driver = work_reading.driver_of(run.id, now)
    if driver is None:
        st.caption("No driver is working on it, so nothing is there to be stopped.")
        if said := command(run):
            st.code(said, language="bash")
        return
    if wish := work_reading.stop_of(run.id, driver.started_at):
        by = f" by {untrusted.word(wish.asked_by)}" if wish.asked_by else ""
        st.info(f"Its end was asked for{by} {ago(wish.at, now)}; the driver ends it in seconds.")
        return
    if not people.may_act():
        st.caption("Members may stop a run; sign in as one.")
        return
    if st.session_state.get(ASKED) == run.id:
        _confirm(run)
    elif st.button("Stop this run", icon=":material/stop_circle:", key="stop"):
        st.session_state[ASKED] = run.id
        st.rerun()
    told = st.session_state.get(TOLD)
    if told and told[0] == run.id:
        st.error(told[1])


def _confirm(run: RunFacts) -> None:
    with st.container(border=True):
        st.markdown(f"**Stop it?** {will_happen(run.state)}")
        with st.container(horizontal=True):
            yes = st.button("Yes, stop it", key="stop-yes")
            no = st.button("Keep it running", key="stop-no")
    if no or yes:
        st.session_state.pop(ASKED, None)
        st.session_state.pop(TOLD, None)
    if yes:
        try:
            controls.stop(serving.client(), run.id, people.name())
        except ServerError as error:
            st.session_state[TOLD] = (run.id, f"It was not stopped: {plain(str(error))}.")
    if no or yes:
        st.rerun()


def _log(run_id: str) -> None:
    """The last lines of its log; typing a filter draws nothing else again."""
    st.subheader("Log")
    try:
        text = controls.log(serving.client(), run_id)
    except ServerError as error:
        st.caption(f"No log: {untrusted.word(str(error))}.")
        return
    with st.container(horizontal=True, vertical_alignment="bottom"):
        wanted = st.text_input("Only lines with", key="log", bind="query-params")
        st.button("Refresh", icon=":material/refresh:", key="log-refresh")
    kept = log_lines(text, wanted)
    if not kept.strip():
        st.caption("No such line among the last ones." if wanted else "The log is empty.")
        return
    height: int | Literal["content"] = WINDOW if kept.count("\n") > LINES_IN_SIGHT else "content"
    st.code(untrusted.visible(kept[-CODE_LIMIT:]).text, language=None, height=height)
    st.caption(f"The last {controls.LOG_LINES} lines at most, in UTC.")
