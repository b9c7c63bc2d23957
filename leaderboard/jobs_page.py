"""What the cluster does now: the queue, the machines, what was judged, and the model server."""

from collections.abc import Sequence
from datetime import datetime
from urllib.parse import quote

import streamlit as st

from database.queries import ACTIVE
from database.work import DriverFacts, NodeFacts
from leaderboard import controls, reading, serving, untrusted, work_reading
from leaderboard.board_page import BUSY_REFRESH, opened, watch
from leaderboard.links import page_tools, run_link
from leaderboard.serving import ServerError
from leaderboard.words import ago, badge, count
from leaderboard.work_words import (
    SERVED,
    Place,
    driver_words,
    memory_words,
    node_words,
    outcome_row,
    queue,
)

WAITING_AT_MOST = 20
"""Runs of the queue that are listed."""
JUDGED_AT_MOST = 20
"""Runs whose outcomes are counted: those judged last."""
OVER_AT_MOST = 5
"""Drivers that ended, and are listed all the same."""
SERVER_REFRESH = "15s"


def show() -> None:
    """Show every card; each is drawn again by itself, so nothing that is read or typed is lost."""
    st.title("Jobs")
    st.caption("What runs now and what waits, where, and what became of it.")
    pulse = opened()
    watch(pulse, progress=False)
    busy = any(state in ACTIVE for state, _ in pulse.states)
    every = BUSY_REFRESH if busy else SERVER_REFRESH
    st.fragment(_work, run_every=every)()
    st.header("Judged")
    st.fragment(_judged, run_every=SERVER_REFRESH if busy else None)()
    st.header("Model server")
    st.fragment(_server, run_every=SERVER_REFRESH)()
    with work_reading.calmly():
        page_tools("jobs", [_exported(driver) for driver in work_reading.drivers()])


def _work() -> None:
    """Drivers, their queues and machines, from the ledger as it is now."""
    with work_reading.calmly():
        now = work_reading.present()
        known = work_reading.drivers()
        working = [driver for driver in known if driver.works(now)]
        _now(known, now)
        for driver in working:
            _queue(driver, now)
        if not working:
            _left_behind(now)
        if known:
            st.header("Drivers")
            _drivers(known, now)
        if working:
            st.header("Machines")
            _machines(working)


def _now(known: Sequence[DriverFacts], now: datetime) -> None:
    """The one sentence that says what goes on."""
    working = [driver for driver in known if driver.works(now)]
    if working:
        names = ", ".join(untrusted.word(driver.experiment) for driver in working)
        st.markdown(f"**Running: {names}.**")
        for driver in working:
            _dashboard(driver)
        return
    if not known:
        st.info("No experiment runs now, and none ran yet. Run `make train-all`.")
        return
    last = max(known, key=lambda driver: driver.ended_at or driver.at)
    name = untrusted.word(last.experiment)
    if last.ended_at is not None:
        st.info(f"No experiment runs now; the last one, {name}, ended {ago(last.ended_at, now)}.")
        return
    st.warning(
        f"No experiment is known to run: {name} was not heard of since {last.at:%H:%M} UTC. What "
        "is below comes from the ledger. The same `python -m jobs run` goes on with it."
    )


def _dashboard(driver: DriverFacts) -> None:
    if not driver.dashboard:
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        st.link_button("Ray's dashboard", driver.dashboard, icon=":material/open_in_new:")
        if driver.page:
            named = f"Ray job {untrusted.word(driver.submission)}"
            st.link_button(named, driver.page, icon=":material/open_in_new:")
        host = untrusted.word(driver.host)
        st.markdown(f":small[It asks for a token: `make dashboard` on {host} prints it.]")


def _queue(driver: DriverFacts, now: datetime) -> None:
    st.header(f"Queue of {untrusted.word(driver.experiment)}")
    states = work_reading.counted(driver.experiment)
    told = ", ".join(f"{number:,} {state}" for state, number in sorted(states.items()))
    st.caption(f"{count(sum(states.values()), 'run')}: {told}" if told else "It is being set up.")
    runs = work_reading.in_grid(driver.experiment)
    stages = work_reading.stages([run.id for run in runs])
    trainings = {one.run: one for one in reading.trainings(reading.pulse())}
    places = queue(runs, stages, trainings, now)
    stalled = [place for place in places if place.stalled]
    if stalled:
        st.warning(
            f"{count(len(stalled), 'run')} did not get on for longer than usual: "
            + ", ".join(run_link(place.run.id, place.run.label) for place in stalled)
        )
    _places(places)


def _places(places: Sequence[Place]) -> None:
    for place in places:
        if place.position is None:
            text = f"{run_link(place.run.id, place.run.label)}: {place.words}"
            st.progress(place.share, text=f"{text}. {_closely(place)}")
    waiting = [place for place in places if place.position is not None]
    rows = [
        {
            "Place": f"{place.position}",
            "Run": run_link(place.run.id, place.run.label),
            "State": place.words,
            "More": _closely(place),
        }
        for place in waiting[:WAITING_AT_MOST]
    ]
    if rows:
        st.table(rows, hide_index=True, border="horizontal", alt="Runs that wait, in their order")
    if len(waiting) > WAITING_AT_MOST:
        st.caption(f"{count(len(waiting) - WAITING_AT_MOST, 'more run')} waiting")


def _closely(place: Place) -> str:
    """A link to the log of a run and the button that stops it."""
    named = f"{place.run.label} ({place.run.id})"
    return f"[Log, stop](training?run={quote(named, safe='')})"


def _left_behind(now: datetime) -> None:
    """Runs that the ledger calls active though nobody works on them."""
    active = [run for run in reading.runs(reading.pulse()) if run.state in ACTIVE]
    if not active:
        return
    links = ", ".join(run_link(run.id, run.label) for run in active[:WAITING_AT_MOST])
    said = f"{count(len(active), 'run')} did not come to an end, and no driver is working on them"
    st.markdown(f":small[{said}: {links}]")


def _drivers(known: Sequence[DriverFacts], now: datetime) -> None:
    """Those at work, those that fell silent, and the last that ended."""
    over = [driver for driver in known if driver.ended_at is not None]
    shown = [driver for driver in known if driver.ended_at is None] + over[:OVER_AT_MOST]
    rows = [
        {
            "Experiment": untrusted.word(driver.experiment),
            "State": driver_words(driver, now),
            "Host": untrusted.word(driver.host),
            "Process": f"{driver.process}",
            "Cluster": untrusted.word(driver.cluster) or "none yet",
        }
        for driver in shown
    ]
    st.table(rows, hide_index=True, border="horizontal", alt="Drivers, those at work first")


def _machines(working: Sequence[DriverFacts]) -> None:
    found = work_reading.nodes({driver.cluster for driver in working})
    if not found:
        st.caption("The cluster has not told of its machines yet.")
    for node in found:
        _machine(node)


def _machine(node: NodeFacts) -> None:
    with st.container(border=True):
        name = untrusted.word(node.name)
        if not node.alive:
            st.markdown(f"**{name}** {badge('gone')}")
            return
        kind = f", {untrusted.word(node.gpu_kind)}" if node.gpu_kind else ""
        st.markdown(f"**{name}**{kind}")
        for used, there, unit in (
            (node.gpus_used, node.gpus, "GPU"),
            (node.cpus_used, node.cpus, "processor"),
        ):
            if there:
                share = min(1.0, max(0.0, used / there))
                st.progress(share, text=node_words(used, there, unit))
        if not node.gpus:
            st.caption("No GPU.")
        if told := memory_words(node):
            share = min(1.0, (node.memory_used or 0) / node.memory)
            st.progress(share, text=told)


def _judged() -> None:
    """What models did, and apart from it what the sandbox failed on."""
    with work_reading.calmly():
        known = work_reading.drivers()
        if not known:
            st.caption("Nothing was judged by an experiment yet.")
            return
        now = work_reading.present()
        shown = next((driver for driver in known if driver.works(now)), None)
        _outcomes(shown or max(known, key=lambda driver: driver.started_at))


def _outcomes(shown: DriverFacts) -> None:
    labels = {run.id: run.label for run in reading.runs(reading.pulse())}
    last = work_reading.judged_last(shown.experiment, JUDGED_AT_MOST)
    rows = [
        outcome_row(run_link(run, labels.get(run, run)), work_reading.outcomes(run, at))
        for run, at in last.items()
    ]
    name = untrusted.word(shown.experiment)
    if not rows:
        st.caption(f"No run of {name} is judged yet.")
        return
    st.caption(
        f"Completions of {name} by what became of them, over all benchmarks; the runs judged "
        f"last, {JUDGED_AT_MOST} at most. Where the sandbox failed, nothing is known of the model."
    )
    st.table(rows, hide_index=True, border="horizontal", alt="Judged completions by outcome")


def _server() -> None:
    """Whether models can be asked, and which are in memory."""
    try:
        state = controls.state(serving.client())
    except ServerError as error:
        st.markdown(
            f":small[No server: {untrusted.word(str(error))}. `make leaderboard` starts one "
            "beside the pages, `make serve` one alone; training and judging need none.]"
        )
        return
    st.markdown(
        f"It answers. {count(state.pending, 'answer')} being written or waiting; {state.most} may."
    )
    if not state.states:
        st.caption("It has no model yet.")
        return
    rows = [
        {"Model": untrusted.word(label), "State": badge(untrusted.word(SERVED.get(said, said)))}
        for label, said in sorted(state.states, key=lambda one: one[1] == "waiting")
    ]
    st.table(rows, hide_index=True, border="horizontal", alt="Models on offer, those loaded first")


def _exported(driver: DriverFacts) -> dict[str, object]:
    return {
        "experiment": driver.experiment,
        "host": driver.host,
        "process": driver.process,
        "cluster": driver.cluster,
        "started_at": driver.started_at.isoformat(),
        "heard_of_at": driver.at.isoformat(),
        "submission": driver.submission,
        "attempt": driver.attempt,
        "ended_at": driver.ended_at.isoformat() if driver.ended_at else None,
    }
