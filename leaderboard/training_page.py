"""How trainings get on: those that run now, and the curves of any of them on one axis."""

from collections.abc import Sequence
from datetime import UTC, datetime

import streamlit as st

from database import LedgerError
from database.facts import Spent, TrainingFacts
from leaderboard import reading, training_charts
from leaderboard.board_page import BUSY_REFRESH, opened, watch
from leaderboard.training_charts import BESIDE, CURVES, POINTS_AT_MOST
from leaderboard.words import NONE, ago, badge, count, plain, span

CHOSEN_AT_MOST = 8
"""Curves on one axis; more cannot be told apart."""
LATEST = 3
"""Trainings whose curves are shown where none was chosen and none runs."""
LISTED = 100
"""Rows of the table."""


def show() -> None:
    """Show what trains now, the chosen curves, and all trainings."""
    st.title("Training")
    pulse = opened()
    watch(pulse, progress=False)
    known = reading.trainings(pulse)
    if not known:
        st.info("No training yet. Run `make train-all`; its curves are here while it runs.")
        return
    every = BUSY_REFRESH if any(one.state == "training" for one in known) else None
    st.header("Running now")
    st.fragment(_running, run_every=every)()
    st.header("Curves")
    chosen = _choose(known)
    with st.container(horizontal=True):
        field = st.selectbox(
            "Curve",
            list(CURVES),
            format_func=lambda name: CURVES[name].title,
            key="curve",
            bind="query-params",
        )
        smoothing = st.slider(
            "Smoothing",
            0.0,
            0.95,
            0.0,
            0.05,
            key="smoothing",
            bind="query-params",
            help="How much the steps before weigh in each point. 0 draws what was measured.",
        )
    st.fragment(_overlay, run_every=every)(chosen, field, smoothing)
    st.header("All trainings")
    _table(known)


def draw(run_id: str) -> None:
    """Show the curves of one training and what it cost, from the ledger as it is now."""
    try:
        known = reading.trainings(reading.pulse())
    except LedgerError as error:
        st.warning(f"The ledger does not answer. {error}")
        return
    training = next((one for one in known if one.run == run_id), None)
    if training is None or not training.last_step:
        st.info("No step is done yet.")
        return
    steps = reading.curve(training, POINTS_AT_MOST)
    told = training_charts.loss_words(steps)
    st.markdown(_standing(training, datetime.now(UTC)))
    st.caption(cost(reading.spent(training)))
    st.altair_chart(training_charts.loss_chart(steps), alt=told)
    st.caption(plain(told))
    measured = [curve for curve in BESIDE if curve.points(steps)]
    for start in range(0, len(measured), 3):
        for column, curve in zip(st.columns(3), measured[start : start + 3], strict=False):
            told = training_charts.words(curve, steps)
            column.markdown(f"**{plain(curve.axis)}**")
            column.altair_chart(training_charts.chart(curve, steps), alt=told)
            column.caption(plain(told))


def cost(spent: Spent) -> str:
    """Return what a training has cost so far, in words."""
    told = [
        count(spent.steps, "step"),
        f"{spent.tokens:,} tokens",
        f"{span(spent.seconds)} of training",
    ]
    if spent.joules is not None:
        told.append(f"{spent.joules / 3.6e6:.2g} kWh")
    return ", ".join(told)


def standing(training: TrainingFacts, now: datetime) -> str:
    """Return the state of a training as a badge says it: `stalled` where nothing is heard of it."""
    return "stalled" if training.stalled(now) else training.state


def _running() -> None:
    """One bar for each training that runs now."""
    try:
        known = reading.trainings(reading.pulse())
    except LedgerError as error:
        st.warning(f"The ledger does not answer; what is shown may be old. {error}")
        return
    running = [one for one in known if one.state == "training"]
    if not running:
        st.caption("Nothing trains now.")
    now = datetime.now(UTC)
    for one in running:
        link = f"[{plain(one.label)}](run?id={one.run})"
        st.progress(_share(one), text=f"{link}: {_standing(one, now)}")


def _share(training: TrainingFacts) -> float:
    return min(1.0, training.last_step / training.of) if training.of else 0.0


def _standing(training: TrainingFacts, now: datetime) -> str:
    """How far a training is, how it does, and how long it still takes."""
    if not training.last_step:
        return "starts, no step is done yet"
    of = f" of {training.of:,}" if training.of else ""
    told = [f"step {training.last_step:,}{of}"]
    if training.loss is not None:
        told.append(f"loss {training.loss:.3f}")
    if training.tokens_per_second is not None:
        told.append(f"{training.tokens_per_second:,.0f} tokens/s")
    if training.stalled(now):
        told.append(f":orange-badge[stalled] last step {ago(training.at, now)}")
        if training.step_seconds is not None:
            told.append(f"one takes {span(training.step_seconds)}")
    elif training.state == "training" and training.seconds_left is not None:
        told.append(f"about {span(training.seconds_left)} left")
    return ", ".join(told)


def _choose(known: Sequence[TrainingFacts]) -> list[str]:
    """Return the ids of the runs chosen; they live in the URL, by label and id."""
    begun = {one.run: one for one in known if one.last_step}
    running = [run for run, one in begun.items() if one.state == "training"]
    return st.multiselect(
        "Runs",
        list(begun),
        default=(running or list(begun)[:LATEST])[:CHOSEN_AT_MOST],
        format_func=lambda run: f"{begun[run].label} ({run})",
        max_selections=CHOSEN_AT_MOST,
        key="runs",
        bind="query-params",
    )


def _overlay(chosen: Sequence[str], field: str, smoothing: float) -> None:
    """The chosen curves, from the ledger as it is now."""
    try:
        known = {one.run: one for one in reading.trainings(reading.pulse())}
    except LedgerError as error:
        st.warning(f"The ledger does not answer. {error}")
        return
    curve = CURVES[field]
    shown = {f"{known[run].label} ({run})": known[run] for run in chosen if run in known}
    of_run = {name: reading.curve(one, POINTS_AT_MOST) for name, one in shown.items()}
    drawn = {name: steps for name, steps in of_run.items() if curve.points(steps)}
    if not drawn:
        reason = (
            f"{curve.title} was not measured in these runs." if of_run else "Choose runs above."
        )
        st.info(reason)
        return
    told = training_charts.overlay_words(curve, drawn)
    st.altair_chart(training_charts.overlay(curve, drawn, smoothing), alt=told)
    st.caption(plain(told))


def _table(known: Sequence[TrainingFacts]) -> None:
    now = datetime.now(UTC)
    rows = [
        {
            "Run": f"[{plain(one.label)}](run?id={one.run})",
            "State": badge(standing(one, now)),
            "Steps": f"{one.last_step:,} of {one.of:,}" if one.of else f"{one.last_step:,}",
            "Last loss": NONE if one.loss is None else f"{one.loss:.3f}",
            "A step": NONE if one.step_seconds is None else span(one.step_seconds),
            "Last step": ago(one.at, now) if one.last_step else NONE,
        }
        for one in known[:LISTED]
    ]
    st.table(rows, hide_index=True, border="horizontal", alt="Trainings, those that run first")
    if len(known) > LISTED:
        st.caption(f"{count(len(known) - LISTED, 'older training')} not listed; choose it above.")
