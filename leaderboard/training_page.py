"""How trainings get on: those that run now, the curves of any of them, and one run closely."""

from collections.abc import Sequence
from datetime import UTC, datetime

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from database import LedgerError
from database.facts import Pulse, RunFacts, Spent, TrainingFacts
from database.queries import ACTIVE
from leaderboard import one_run, reading, training_charts, work_reading
from leaderboard.board_page import BUSY_REFRESH, opened, watch
from leaderboard.links import Query, page_tools, run_link
from leaderboard.training_charts import BESIDE, BY_STEP, CURVES, POINTS_AT_MOST, Axis, by_time
from leaderboard.words import NONE, ago, badge, count, plain, span
from leaderboard.work_words import lately, standing, training_words

CHOSEN_AT_MOST = 8
"""Curves on one axis; more cannot be told apart."""
LATEST = 3
"""Trainings whose curves are shown where none was chosen and none runs."""
LISTED = 100
"""Rows of the table."""
SPARKS = 60
"""Steps of the small curve beside a running training."""
AXES = ("Step", "Time")


def show() -> None:
    """Show what trains now, the chosen curves, one run closely, and all trainings."""
    st.title("Training")
    st.caption("How trainings get on, how their losses compare, and why some ended early.")
    pulse = opened()
    watch(pulse, progress=False)
    known = reading.trainings(pulse)
    if known:
        every = BUSY_REFRESH if any(one.state == "training" for one in known) else None
        st.header("Running now")
        st.fragment(_running, run_every=every)()
        _curves(known, every)
    else:
        st.info("No training yet. Run `make train-all`; its curves are here while it runs.")
    _one_run(pulse)
    if known:
        st.header("All trainings")
        _table(known)
    now = datetime.now(UTC)
    page_tools("trainings", [_exported(one, now) for one in known], keep=_kept(known, pulse))


def _kept(known: Sequence[TrainingFacts], pulse: Pulse) -> Query:
    """What is shown though nobody chose it, as the URL has it: newer runs change the defaults."""
    state, begun = st.session_state, {one.run: one.label for one in known}
    of_id = {run.id: run.label for run in reading.runs(pulse)}
    run = state.get("run")
    return {
        "runs": [_named(one, begun[one]) for one in state.get("runs") or [] if one in begun],
        "curve": CURVES[state["curve"]].title if state.get("curve") in CURVES else None,
        "run": _named(run, of_id[run]) if run in of_id else None,
    }


def _named(run_id: str, label: str) -> str:
    """A run as lists of choices and the URL name it."""
    return f"{label} ({run_id})"


def draw(run_id: str) -> None:
    """Show the curves of one training and what it cost, from the ledger as it is now."""
    try:
        known = reading.trainings(reading.pulse())
    except LedgerError as error:
        st.warning(f"The ledger does not answer. {plain(str(error))}")
        return
    training = next((one for one in known if one.run == run_id), None)
    if training is None or not training.last_step:
        st.info("No step is done yet.")
        return
    steps = reading.curve(training, POINTS_AT_MOST)
    told = training_charts.loss_words(steps)
    st.markdown(training_words(training, datetime.now(UTC)))
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


def _running() -> None:
    """One bar and the last losses for each training that runs now."""
    try:
        known = reading.trainings(reading.pulse())
    except LedgerError as error:
        st.warning(f"The ledger does not answer; what is shown may be old. {plain(str(error))}")
        return
    running = [one for one in known if one.state == "training"]
    if not running:
        st.caption("Nothing trains now.")
    now = datetime.now(UTC)
    for one in running:
        wide, narrow = st.columns([4, 1], vertical_alignment="center")
        text = f"{run_link(one.run, one.label)}: {training_words(one, now)}"
        wide.progress(_share(one), text=text)
        if one.last_step:
            wide.caption(f"Last step {lately(one.at, now)}.")
        _spark(one, narrow)


def _spark(training: TrainingFacts, place: DeltaGenerator) -> None:
    """The losses of a training so far, small."""
    losses = CURVES["loss"].points(reading.curve(training, SPARKS))
    if len(losses) < 2:
        return
    place.metric(
        "Loss",
        f"{losses[-1][1]:.3f}",
        chart_data=[round(loss, 4) for _, loss in losses],
        chart_type="line",
    )


def _share(training: TrainingFacts) -> float:
    return min(1.0, training.last_step / training.of) if training.of else 0.0


def _curves(known: Sequence[TrainingFacts], every: str | None) -> None:
    st.header("Curves")
    chosen = _choose(known)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        field = st.selectbox(
            "Curve",
            list(CURVES),
            format_func=lambda name: CURVES[name].title,
            key="curve",
            bind="query-params",
        )
        axis = st.selectbox("Along", AXES, key="along", bind="query-params")
        logarithmic = st.toggle("Logarithmic", key="log-y", bind="query-params")
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
    st.fragment(_overlay, run_every=every)(chosen, field, axis, logarithmic, smoothing)


def _choose(known: Sequence[TrainingFacts]) -> list[str]:
    """Return the ids of the runs chosen; they live in the URL, by label and id."""
    begun = {one.run: one for one in known if one.last_step}
    running = [run for run, one in begun.items() if one.state == "training"]
    return st.multiselect(
        "Runs",
        list(begun),
        default=(running or list(begun)[:LATEST])[:CHOSEN_AT_MOST],
        format_func=lambda run: _named(run, begun[run].label),
        max_selections=CHOSEN_AT_MOST,
        key="runs",
        bind="query-params",
    )


def _overlay(
    chosen: Sequence[str], field: str, axis: str, logarithmic: bool, smoothing: float
) -> None:
    """The chosen curves, from the ledger as it is now."""
    try:
        known = {one.run: one for one in reading.trainings(reading.pulse())}
    except LedgerError as error:
        st.warning(f"The ledger does not answer. {plain(str(error))}")
        return
    curve = CURVES[field]
    shown = {_named(run, known[run].label): known[run] for run in chosen if run in known}
    of_run = {name: reading.curve(one, POINTS_AT_MOST) for name, one in shown.items()}
    drawn = {name: steps for name, steps in of_run.items() if curve.points(steps)}
    if not drawn:
        reason = (
            f"{curve.title} was not measured in these runs." if of_run else "Choose runs above."
        )
        st.info(reason)
        return
    told = training_charts.overlay_words(curve, drawn)
    along = _axis(axis, {name: shown[name] for name in drawn})
    chart = training_charts.overlay(curve, drawn, smoothing, along=along, logarithmic=logarithmic)
    st.altair_chart(chart, alt=told)
    st.caption(plain(told))
    if logarithmic and (lost := training_charts.without_logarithm(curve, drawn)):
        verb = "is" if lost == 1 else "are"
        st.caption(f"{count(lost, 'point')} not above 0 {verb} left out: there is no logarithm.")


def _axis(axis: str, shown: dict[str, TrainingFacts]) -> Axis:
    if axis == AXES[0]:
        return BY_STEP
    return by_time({name: work_reading.clock(one) for name, one in shown.items()})


def _one_run(pulse: Pulse) -> None:
    """Show one run closely; which one is in the URL."""
    runs = {run.id: run for run in reading.runs(pulse)}
    if not runs:
        return
    st.header("One run")
    ids = sorted(runs, key=lambda run_id: _urgency(runs[run_id]))  # the newest first within each
    chosen = st.selectbox(
        "Run",
        ids,
        format_func=lambda run_id: _named(run_id, runs[run_id].label),
        key="run",
        bind="query-params",
    )
    with work_reading.calmly():
        one_run.show(runs[chosen])


def _urgency(run: RunFacts) -> int:
    """At work before failed before waiting before the rest."""
    if run.state in ACTIVE[1:]:
        return 0
    return {"failed": 1, "waiting": 2}.get(run.state, 3)


def _table(known: Sequence[TrainingFacts]) -> None:
    now = datetime.now(UTC)
    rows = [
        {
            "Run": run_link(one.run, one.label),
            "State": badge(standing(one, now)),
            "Steps": _steps(one),
            "Last loss": NONE if one.loss is None else f"{one.loss:.3f}",
            "A step": NONE if one.step_seconds is None else span(one.step_seconds),
            "Last step": ago(one.at, now) if one.last_step else NONE,
        }
        for one in known[:LISTED]
    ]
    st.table(rows, hide_index=True, border="horizontal", alt="Trainings, those that run first")
    if len(known) > LISTED:
        st.caption(f"{count(len(known) - LISTED, 'older training')} not listed; choose it above.")


def _steps(training: TrainingFacts) -> str:
    if not training.last_step:
        return NONE
    return f"{training.last_step:,}" + (f" of {training.of:,}" if training.of else "")


def _exported(training: TrainingFacts, now: datetime) -> dict[str, object]:
    return {
        "run": training.run,
        "label": training.label,
        "state": standing(training, now),
        "last_step": training.last_step,
        "of": training.of,
        "loss": training.loss,
        "step_seconds": training.step_seconds,
        "tokens_per_second": training.tokens_per_second,
        "heard_of": training.at.isoformat(),
    }
