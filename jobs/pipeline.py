"""The conductor: each run of an experiment through its stages, side by side."""

import threading
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from cluster.ending import UnwantedError
from jobs.asha import Contest, Trained
from jobs.experiment import Run
from jobs.run_logs import without_secrets
from jobs.search import Failed
from jobs.stages import (
    ask_stage,
    base_weights,
    contest_stage,
    judge_stage,
    proof_stage,
    train_stage,
)
from jobs.workplace import Work, Workplace


@dataclass(frozen=True, slots=True)
class Failure:
    """A run that we could not finish; it says nothing of the model."""

    run: Run
    error: Exception


def execute(work: Work, place: Workplace, priority: int) -> None:
    """Train, ask, judge and record one run. Stages already on disk are not repeated."""
    run = work.run
    place.go_on_with(run)
    weights = base_weights(run.model)
    if run.training:
        weights = train_stage(work, place, priority)
        proof_stage(run, weights, place, priority)
    for benchmark in work.benchmarks:
        place.go_on_with(run)
        answers = ask_stage(run, weights, benchmark, place, priority)
        judge_stage(run, benchmark, answers, place, priority)
    place.recorder.done(run)


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """A contest with work to do, and what is to be done for each of its runs that goes on."""

    contest: Contest
    works: tuple[Work, ...]
    """Of all its runs, those that are done included: their losses count."""


def execute_all(
    works: Sequence[Work], place: Workplace, matches: Sequence[Match] = ()
) -> list[Failure]:
    """Execute runs side by side as the cluster's processors allow; widest trainings first.

    A run that fails does not stop the others. Runs of `matches` are trained together and may be
    stopped early; they must be no part of `works`.
    """
    competing = [work for match in matches for work in match.works if work.wanted]
    place.unfinished.update(work.run.id for work in (*works, *competing))
    failures: list[Failure] = []
    hand = _Hand(place, failures.append)
    tasks: list[Callable[[], None]] = [
        partial(hand.compete, match, rank) for rank, match in enumerate(matches)
    ]
    for rank, work in enumerate(sorted(works, key=_widest_first)):
        tasks.append(partial(hand.execute, work, len(matches) + rank))
    try:
        _side_by_side(tasks)
    except KeyboardInterrupt:
        place.stopping.set()
        raise
    return failures


@dataclass(frozen=True, slots=True)
class _Hand:
    """Does what the conductor says; what fails is told, and others go on."""

    workplace: Workplace
    failed: Callable[[Failure], None]

    def execute(self, work: Work, priority: int) -> None:
        """One run, whatever becomes of it."""
        try:
            execute(work, self.workplace, priority)
        except Exception as error:  # the outermost loop of a run
            self._tell(work.run, error)
        finally:
            self.workplace.unfinished.discard(work.run.id)

    def compete(self, match: Match, priority: int) -> None:
        """The trainings of a contest; then each run that was not stopped, as any other."""
        try:
            outcomes = contest_stage(match.contest.rule, match.works, self.workplace, priority)
        except Exception as error:
            for work in match.works:
                if work.wanted:
                    self._tell(work.run, error)
                    self.workplace.unfinished.discard(work.run.id)
            return
        trained = []
        for work in match.works:
            outcome = outcomes[work.run.id]
            if isinstance(outcome, Failed):
                self._tell(work.run, outcome.error)
            elif isinstance(outcome, Trained) and work.wanted:
                trained.append(partial(self.execute, work, priority))
                continue
            self.workplace.unfinished.discard(work.run.id)
        _side_by_side(trained)

    def _tell(self, run: Run, error: Exception) -> None:
        place = self.workplace
        if place.stopping.is_set():
            return
        if isinstance(error, UnwantedError):
            self._ended(run)
            return
        self.failed(Failure(run, error))
        place.say(run, f"FAILED: {error}")
        place.logs.say(run.id, _whole(error))
        place.recorder.failed(run, without_secrets(f"{type(error).__name__}: {error}"))

    def _ended(self, run: Run) -> None:
        """Somebody stopped it: it did not fail."""
        place = self.workplace
        why = place.telemetry.stops.why(run.id)
        place.ended.append(run)
        place.say(run, why)
        place.recorder.stopped(run, why)


def _whole(error: Exception) -> str:
    """All that is known of an error: the traceback here, and what workers said of theirs."""
    said = "".join(traceback.format_exception(error))
    return f"{said}\n{getattr(error, 'details', '')}".strip()


def _side_by_side(tasks: Sequence[Callable[[], None]]) -> None:
    threads = [threading.Thread(target=task, daemon=True) for task in tasks]
    for thread in threads:
        thread.start()
    for thread in threads:
        while thread.is_alive():
            thread.join(timeout=0.2)  # in slices, so that Ctrl-C is heard


def _widest_first(work: Work) -> int:
    return -work.spread.ranks if work.run.training else 0
