"""Curves for other eyes: what the ledger knows of each step, copied to TensorBoard and MLflow.

Copies follow the ledger, not the trainings: a step is copied once it is recorded, and one that is
told again after a resume is not copied again. So a copy can be begun, or gone on with, at any time,
also when the trainings are long done.
"""

import math
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from sqlalchemy import Engine

from database import queries
from database.facts import RunFacts, StepFacts
from jobs.experiment import Experiment
from jobs.home import Home

TAGS = (
    "loss",
    "held_out_loss",
    "learning_rate",
    "gradient_norm",
    "tokens_per_second",
    "padding",
    "memory_gib",
    "flops_share",
    "watts",
)
"""Names of the curves: fields of `database.facts.StepFacts`."""
LOOK_SECONDS = 2.0
"""Between two looks at the ledger."""
LOGIN = re.compile(r"(://)[^\s/]*@")
"""From the scheme of an address to its host; a password may hold an @ of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One step as others draw it."""

    step: int
    at: float
    """When, in seconds since 1970; told from the end of the curve, as steps have no time."""
    values: dict[str, float]
    """Tag -> number; what was not measured, or is not finite, is left out."""


class Sink(Protocol):
    """What curves are copied to."""

    name: str
    hint: str
    """How to look at it."""

    def last_step(self, run: RunFacts) -> int:
        """The furthest step that is there; 0: none."""

    def write(self, run: RunFacts, points: Sequence[Point]) -> None:
        """Add the next points of a run's curves, to be seen at once; none: its state changed."""

    def close(self) -> None:
        """Leave everything readable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Copies:
    """Which copies somebody wants."""

    tensorboard: bool = False
    mlflow: str | None = None
    """Address of a server or a database, or a folder."""

    @contextmanager
    def kept(
        self, experiment: Experiment, ledger: Engine, home: Home, tell: Callable[[str], None]
    ) -> Iterator[None]:
        """Keep the copies up with the ledger until the block ends.

        A copy that cannot be written any more is told of and given up; nothing waits for it.

        Args:
            tell: shows a line to people.

        Raises:
            UserError: a library is missing, or a copy cannot be begun.
        """
        runs = [run.id for run in experiment.runs()]
        sinks = list(self._opened(experiment, home))
        with ExitStack() as stack:
            for sink in sinks:
                tell(f"Curves go to {sink.name}: {sink.hint}")
                stack.enter_context(_followed(Copy(ledger, sink, runs), tell))
            yield

    def _opened(self, experiment: Experiment, home: Home) -> Iterator[Sink]:
        if self.tensorboard:
            from jobs.curves.tensorboard import TensorBoard

            yield TensorBoard(home.folder / "tensorboard")
        if self.mlflow is not None:
            from jobs.curves.mlflow_runs import open_mlflow

            yield open_mlflow(self.mlflow, experiment.name)


NO_COPIES = Copies()


@dataclass
class Copy:
    """The curves of some runs in one sink, as far as they were copied."""

    ledger: Engine
    sink: Sink
    runs: Sequence[str]
    _seen: dict[str, tuple[datetime, str]] = field(default_factory=dict)
    _last: dict[str, int] = field(default_factory=dict)

    def catch_up(self) -> None:
        """Copy the steps that were recorded since the last time."""
        heard = queries.last_heard(self.ledger)
        told = [run for run in self.runs if run in heard]
        for run in queries.runs(self.ledger, among=told) if told else []:
            now = heard[run.id], run.state
            if now != self._seen.get(run.id):
                self._copy(run, heard[run.id])
                self._seen[run.id] = now

    def _copy(self, run: RunFacts, at: datetime) -> None:
        last = self._last.get(run.id)
        if last is None:
            last = self.sink.last_step(run)
        steps = queries.steps(self.ledger, run.id, after=last)
        self.sink.write(run, points(steps, at))
        self._last[run.id] = steps[-1].step if steps else last


def points(steps: Sequence[StepFacts], end: datetime) -> list[Point]:
    """Steps as points.

    Args:
        steps: in order.
        end: when the last of them was recorded.
    """
    left = math.fsum(step.seconds for step in steps)
    found = []
    for step in steps:
        left -= step.seconds
        known = {tag: getattr(step, tag) for tag in TAGS}
        values = {tag: float(value) for tag, value in known.items() if value is not None}
        found.append(Point(step=step.step, at=end.timestamp() - max(0.0, left), values=values))
    return found


def without_password(text: str) -> str:
    """A text to show, in which no address names who logs in, nor by what."""
    return LOGIN.sub(r"\1***@", text)


@contextmanager
def _followed(copy: Copy, tell: Callable[[str], None]) -> Iterator[None]:
    """Catch up now, every `LOOK_SECONDS`, and when the block ends."""
    ended, lost = threading.Event(), threading.Event()

    def catch_up() -> None:
        if lost.is_set():
            return
        try:
            copy.catch_up()
        except Exception as error:  # a copy is worth no training, whatever went wrong with it
            lost.set()
            tell(
                f"{copy.sink.name} is given up: {without_password(str(error))}. The ledger has the "
                "curves; the same command copies the rest when it is repeated."
            )

    def follow() -> None:
        catch_up()
        while not ended.wait(LOOK_SECONDS):
            catch_up()

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        catch_up()
        copy.sink.close()
