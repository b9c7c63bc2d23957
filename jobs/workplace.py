"""The place where runs are worked on: what may be used, who is told, and who may want an end."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from cluster.ending import LOOK_SECONDS, Unwanted, UnwantedError
from cluster.line import Held
from cluster.slots import Taking
from database.claims import LostClaimError
from jobs.experiment import Benchmark, Run
from jobs.holding import Claims
from jobs.home import Home
from jobs.progress import Board
from jobs.record import Recorder
from jobs.run_logs import RunLogs, without_secrets
from jobs.storage.keeping import NOWHERE, Storage
from jobs.telemetry import Telemetry
from jobs.training.settings import ALONE, Spread

if TYPE_CHECKING:
    from cluster.mailbox import Mailbox


class HaltedError(Exception):
    """The user stopped us: nothing new is started."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """A run that is not done, and the benchmarks it has no score for yet."""

    run: Run
    benchmarks: tuple[Benchmark, ...]
    spread: Spread = ALONE
    """Of its training, once the cluster is known."""
    wanted: bool = True
    """False: all of it is done; others compete with it."""
    seconds: float = 0.0
    """That all of it takes one worker, estimated; what takes longest starts first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """Where the time of one stage of one run went."""

    stage: str
    label: str
    waited: float
    """Seconds until its processors were free."""
    worked: float
    """Seconds from then to its end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workplace:
    """What every stage needs: where files land, who records, and what may be used."""

    home: Home
    recorder: Recorder
    board: Board
    mailbox: "Mailbox"
    processors: Taking
    gpus: Taking | None
    """None where there is no GPU; then trainings and generations take processors."""
    telemetry: Telemetry
    logs: RunLogs
    storage: Storage = NOWHERE
    """Where what is done is kept as well."""
    cuda: bool = True
    """Whether workers compute on the GPUs that they take, see `cluster.gpus.Hardware.emulated`."""
    ended: list[Run] = field(default_factory=list)
    """Those that somebody stopped by hand."""
    spent: list[Spent] = field(default_factory=list)
    unfinished: set[str] = field(default_factory=set)
    """Ids of the runs that may still want processors; kept by the conductor."""
    look_again: Callable[[Run], Work | None] = lambda run: None
    """What of a run is still to be done, after another driver worked on it; None: nothing."""
    stopping: threading.Event = field(default_factory=threading.Event)
    """Set when the user stops us: what fails from then on fails for that reason."""

    @property
    def accelerators(self) -> Taking:
        """What one worker of a training or a generation takes one of."""
        return self.gpus or self.processors

    @property
    def claims(self) -> Claims:
        """The runs that this driver may work on."""
        return self.telemetry.claims

    def unwanted(self, run: Run) -> Unwanted:
        """A question for work to ask: did somebody stop all of it or this run, or take it over?"""
        stopped = self.telemetry.stops.unwanted(run.id)
        return lambda: self.stopping.is_set() or stopped() or self.claims.lost(run.id)

    def say(self, run: Run, text: str) -> None:
        """Tell of a run, to whoever watches and in its own log."""
        self.board.say(f"  {run.label}: {text}")
        self.logs.say(run.id, text)

    def happened(self, run: Run, stage: str, text: str) -> None:
        """Tell what came between a stage of a run and its end, and was overcome or waited for."""
        self.say(run, f"{stage}: {text}")
        self.recorder.happened(run, stage, without_secrets(text))

    @contextmanager
    def stage(
        self,
        run: Run,
        name: str,
        slots: Taking | None,
        count: int,
        rank: float,
        least: int | None = None,
    ) -> Iterator[Held]:
        """Wait for processors, do one stage on them, and record that it is done.

        Args:
            run: whose stage it is.
            name: of the stage.
            slots: what it takes; None: nothing of this cluster.
            count: how many of them.
            rank: the lowest of the experiment goes first.
            least: begin as soon as so many are free.

        Yields:
            What it holds.

        Raises:
            HaltedError: the user stopped us.
            UnwantedError: somebody stopped this run before it had any.
            LostClaimError: another driver has taken it over.
        """
        asked = time.monotonic()
        nothing = nullcontext(Held(count))
        with self._held(run, name, slots, count, rank, least) if slots else nothing as holding:
            self.go_on_with(run)
            started = time.monotonic()
            self.recorder.state(run, name.split()[0])
            self.logs.say(run.id, f"{name} begins")
            yield holding
        worked = time.monotonic() - started
        self.board.finish(f"{run.label}: {name}")
        self.spent.append(Spent(stage=name, label=run.label, waited=started - asked, worked=worked))
        self.recorder.event(run, name, f"{name} done", worked)
        self.say(run, f"{name} done in {worked:.0f} s")

    def go_on_with(self, run: Run) -> None:
        """Nothing, unless somebody wants an end.

        Raises:
            HaltedError: of everything.
            UnwantedError: of this run.
            LostClaimError: another driver has taken it over.
        """
        if self.stopping.is_set():
            raise HaltedError
        if self.claims.lost(run.id):
            raise LostClaimError(run.id, by="")
        if self.telemetry.stops.of(run.id):
            raise UnwantedError

    def pause(self, run: Run, seconds: float) -> None:
        """Wait, unless somebody wants an end: see `go_on_with`."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.go_on_with(run)
            time.sleep(LOOK_SECONDS)

    def _held(
        self, run: Run, name: str, slots: Taking, count: int, rank: float, least: int | None
    ) -> AbstractContextManager[Held]:
        return slots.take(
            count,
            rank=rank,
            least=least,
            unwanted=self.unwanted(run),
            told=partial(self.happened, run, name),
        )
