"""The curves of trainings, each with a description for those who do not see it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import altair as alt

from database.facts import StepFacts
from leaderboard.words import count

POINTS_AT_MOST = 400
"""Steps that a curve draws; the ledger thins longer ones evenly."""
HOURS_FROM = 3 * 3600.0
"""Seconds of training from which a time axis counts hours."""
FLAT = 1e-12
"""A curve that stays this close to zero is zero, and its axis says 0 and 1."""
TRAINED, HELD_OUT = "rows trained on", "held-out rows"


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """A number of every step."""

    field: str
    """Of `database.facts.StepFacts`."""
    title: str
    unit: str
    """Empty: it has none."""
    form: str
    """As Python and Vega format it."""
    times: float = 1.0
    """What it is shown as is so many times what is stored."""
    typical: bool = False
    """Told by its median, not by where it came from and went to."""

    @property
    def axis(self) -> str:
        """The title, with the unit."""
        return f"{self.title}, {self.unit}" if self.unit else self.title

    def points(self, steps: Sequence[StepFacts]) -> list[tuple[int, float]]:
        """Return (step, value) where it was measured and finite."""
        known = ((step.step, getattr(step, self.field)) for step in steps)
        return [(step, value * self.times) for step, value in known if value is not None]

    def said(self, value: float) -> str:
        """Return a value with its unit."""
        return f"{value:{self.form}} {self.unit}".rstrip()


CURVES = {
    curve.field: curve
    for curve in (
        Curve(field="loss", title="Loss", unit="nats per token", form=".3f"),
        Curve(field="held_out_loss", title="Held-out loss", unit="nats per token", form=".3f"),
        Curve(field="learning_rate", title="Learning rate", unit="", form=".2g"),
        Curve(field="gradient_norm", title="Gradient norm", unit="", form=".3g", typical=True),
        Curve(
            field="tokens_per_second",
            title="Speed",
            unit="tokens per second",
            form=",.0f",
            typical=True,
        ),
        Curve(
            field="padding",
            title="Padding",
            unit="%",
            form=".1f",
            times=100,
            typical=True,
        ),
        Curve(field="memory_gib", title="Memory, most so far", unit="GiB", form=".2f"),
        Curve(
            field="flops_share",
            title="Used of the matrix ceiling (MFU)",
            unit="%",
            form=".1f",
            times=100,
            typical=True,
        ),
        Curve(field="watts", title="Power of the GPUs", unit="W", form=",.0f", typical=True),
    )
}
BESIDE = [curve for name, curve in CURVES.items() if name not in ("loss", "held_out_loss")]
"""Drawn beside the two losses, which share a chart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """What curves of several runs are drawn along."""

    title: str
    clocks: Mapping[str, Mapping[int, float]] | None = None
    """Name of a run -> step -> seconds of training; None: along the steps themselves."""
    unit: float = 1.0
    """Seconds of what the axis counts."""

    def place(self, name: str, step: int) -> float | None:
        """Return where a step of a run is drawn; None: that is not known."""
        if self.clocks is None:
            return step
        seconds = self.clocks[name].get(step)
        return None if seconds is None else round(seconds / self.unit, 4)


BY_STEP = Axis(title="Optimizer step")


def by_time(clocks: Mapping[str, Mapping[int, float]]) -> Axis:
    """Return an axis of time, in minutes or hours of training."""
    longest = max((seconds for clock in clocks.values() for seconds in clock.values()), default=0)
    if longest >= HOURS_FROM:
        return Axis(title="Hours of training", clocks=clocks, unit=3600.0)
    return Axis(title="Minutes of training", clocks=clocks, unit=60.0)


def loss_chart(steps: Sequence[StepFacts]) -> alt.LayerChart:
    """Draw the loss, and over it that of the held-out rows; a gap where it was not finite."""
    trained = [{"step": s.step, "loss": s.loss, "of": TRAINED} for s in steps]
    held_out = [
        {"step": step, "loss": loss, "of": HELD_OUT}
        for step, loss in CURVES["held_out_loss"].points(steps)
    ]
    shown = [TRAINED, HELD_OUT] if held_out else [TRAINED]
    legend = alt.Legend(title=None, orient="top") if held_out else None
    known = [s.loss for s in steps if s.loss is not None]
    base = alt.Chart(alt.Data(values=trained + held_out), height=260).encode(
        x=_steps_axis(),
        y=alt.Y("loss:Q", title=CURVES["loss"].axis, scale=_scale(known)),
        color=alt.Color("of:N", scale=alt.Scale(domain=shown), legend=legend),
        tooltip=["of:N", "step:Q", alt.Tooltip("loss:Q", format=".4f")],
    )
    lines = base.mark_line(strokeWidth=2)
    points = base.transform_filter(alt.datum.of == HELD_OUT).mark_point(filled=True, size=60)
    return lines + points


def chart(curve: Curve, steps: Sequence[StepFacts]) -> alt.Chart:
    """Draw one curve small, with no title of its own."""
    rows = [{"step": step, "value": value} for step, value in curve.points(steps)]
    return (
        alt.Chart(alt.Data(values=rows), height=140)
        .mark_line(strokeWidth=2)
        .encode(
            x=_steps_axis(title=None),
            y=alt.Y(
                "value:Q",
                title=None,
                scale=_scale([row["value"] for row in rows], zero=curve.times == 100),
                axis=alt.Axis(tickCount=4),
            ),
            tooltip=["step:Q", alt.Tooltip("value:Q", title=curve.title, format=".4~g")],
        )
    )


def overlay(
    curve: Curve,
    of_run: Mapping[str, Sequence[StepFacts]],
    smoothing: float = 0.0,
    *,
    along: Axis = BY_STEP,
    logarithmic: bool = False,
) -> alt.Chart:
    """Draw one curve of several runs on one axis, told apart by colour and by dashes.

    Args:
        curve: which one.
        of_run: name -> steps, in the order of the legend.
        smoothing: as `smoothed` takes it.
        along: what they are drawn along.
        logarithmic: whether equal heights are equal ratios; what is not above 0 is left out.
    """
    rows = [
        {"run": name, "step": step, "at": at, "value": value}
        for name, steps in of_run.items()
        for step, value in smoothed(curve.points(steps), smoothing)
        if (at := along.place(name, step)) is not None and (value > 0 or not logarithmic)
    ]
    values = [value for steps in of_run.values() for _, value in curve.points(steps)]
    limit: Any = alt.ExprRef("max(120, containerSize()[0] - 70)")
    legend = alt.Legend(title=None, orient="bottom", columns=1, labelLimit=limit)
    names = alt.Scale(domain=list(of_run))
    return (
        alt.Chart(alt.Data(values=rows), height=380)
        .mark_line(strokeWidth=2, point=alt.OverlayMarkDef(size=40) if len(rows) < 100 else False)
        .encode(
            x=_steps_axis("at") if along.clocks is None else alt.X("at:Q", title=along.title),
            y=alt.Y("value:Q", title=curve.axis, scale=_scale(values, logarithmic=logarithmic)),
            color=alt.Color("run:N", scale=names, legend=legend),
            strokeDash=alt.StrokeDash("run:N", scale=names, legend=legend),
            tooltip=["run:N", "step:Q", alt.Tooltip("value:Q", title=curve.title, format=".4~g")],
        )
    )


def without_logarithm(curve: Curve, of_run: Mapping[str, Sequence[StepFacts]]) -> int:
    """Return how many points a logarithmic axis has no place for."""
    values = [value for steps in of_run.values() for _, value in curve.points(steps)]
    return sum(value <= 0 for value in values)


def smoothed(points: Sequence[tuple[int, float]], weight: float) -> list[tuple[int, float]]:
    """Return a running mean in which the past weighs `weight`, in [0, 1), of every next point.

    The first points are divided by the weights they have, so that they do not start at zero:
    the bias correction of Kingma and Ba (2015, arXiv:1412.6980), section 3.
    """
    mean, total, found = 0.0, 0.0, []
    for step, value in points:
        mean = weight * mean + (1 - weight) * value
        total = weight * total + (1 - weight)
        found.append((step, mean / total))
    return found


def words(curve: Curve, steps: Sequence[StepFacts]) -> str:
    """Return a curve in words."""
    points = curve.points(steps)
    if not points:
        return f"{curve.title}: not measured, or not finite, in {len(steps)} steps."
    values = [value for _, value in points]
    if curve.typical:
        low, high = curve.said(min(values)), curve.said(max(values))
        return f"{curve.title}: {curve.said(median(values))} in the middle, {low} to {high}."
    if len(values) == 1:
        return f"{curve.title}: {curve.said(values[0])} at step {points[0][0]}."
    first, last = curve.said(values[0]), curve.said(values[-1])
    return f"{curve.title}: {first} at step {points[0][0]}, {last} at step {points[-1][0]}."


def loss_words(steps: Sequence[StepFacts]) -> str:
    """Return both losses in words."""
    held_out = CURVES["held_out_loss"]
    said = words(CURVES["loss"], steps)
    points = held_out.points(steps)
    if not points:
        return said
    step, lowest = min(points, key=lambda point: point[1])
    return f"{said} {words(held_out, steps)} Lowest: {lowest:{held_out.form}} at step {step}."


def overlay_words(curve: Curve, of_run: Mapping[str, Sequence[StepFacts]]) -> str:
    """Return the last value of each run in words."""
    said = []
    for name, steps in of_run.items():
        points = curve.points(steps)
        last = f"{curve.said(points[-1][1])} at step {points[-1][0]}" if points else "none"
        said.append(f"{name}: {last}")
    trainings = count(len(of_run), "training")
    return f"{curve.title} over the steps of {trainings}. Last: {'; '.join(said)}."


def _scale(values: Sequence[float], *, zero: bool = False, logarithmic: bool = False) -> alt.Scale:
    """An axis that fits; all zero, it would say 0.000000 alone."""
    if logarithmic:
        return alt.Scale(type="log", nice=True)
    if all(abs(value) < FLAT for value in values):
        return alt.Scale(domain=[0, 1])
    return alt.Scale(zero=zero)


def _steps_axis(field: str = "step", title: str | None = "Optimizer step") -> alt.X:
    axis = alt.Axis(tickMinStep=1, tickCount=12, format="d")
    return alt.X(f"{field}:Q", title=title, scale=alt.Scale(nice=False), axis=axis)
