"""The conductor: each run of an experiment through its stages, side by side."""

import threading
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from cluster.ending import LOOK_SECONDS, UnwantedError
from database.claims import LostClaimError
from jobs.asha import Contest, Trained, is_known
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

CLAIMED_SECONDS = 3.0
"""Between two looks whether another driver has given a run back."""
ENDING_SECONDS = 30.0
"""That stages have to hear that all of it stops."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A run that we could not finish; it says nothing of the model."""

    run: Run
    error: Exception


def execute(work: Work, place: Workplace, rank: float) -> None:
    """Train, ask, judge and record one run. Stages already on disk are not repeated."""
    run = work.run
    place.go_on_with(run)
    weights = base_weights(run.model)
    if run.training:
        weights = train_stage(work, place, rank)
        proof_stage(run, weights, place, rank)
    for benchmark in work.benchmarks:
        place.go_on_with(run)
        answers = ask_stage(run, weights, benchmark, place, rank)
        judge_stage(run, benchmark, answers, place, rank)
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
    """Execute runs side by side as the cluster's processors allow; what takes longest first.

    A run that another driver has claimed is left to it, and looked at again when it is given back.
    One that fails does not stop the others, and is tried again where somebody asks for that
    meanwhile. Runs of `matches` are trained together and may be stopped early; they must be no part
    of `works`.
    """
    competing = [work for match in matches for work in match.works if work.wanted]
    place.unfinished.update(work.run.id for work in (*works, *competing))
    failures: dict[str, Failure] = {}
    hand = _Hand(place, failures)
    tasks = [
        (match.works[0].run, partial(hand.compete, match, rank))
        for rank, match in enumerate(matches)
    ]
    for rank, work in enumerate(sorted(works, key=_longest_first)):
        tasks.append((work.run, partial(hand.execute, work, len(matches) + rank)))
    hand.side_by_side(tasks)
    return list(failures.values())


@dataclass(frozen=True, slots=True)
class _Hand:
    """Does what the conductor says; what fails is told, and others go on."""

    workplace: Workplace
    failures: dict[str, Failure]
    """Of runs that failed and were not tried again, by id."""

    def side_by_side(self, tasks: Sequence[tuple[Run, Callable[[], None]]]) -> None:
        """Do these, each in a thread; what one of them raises is a failure of its run."""
        threads = [threading.Thread(target=self._do, args=task, daemon=True) for task in tasks]
        for thread in threads:
            thread.start()
        try:
            # Not by `join`: a thread whose join is interrupted counts as ended (Python 3.11).
            while any(thread.is_alive() for thread in threads):
                time.sleep(0.2)
        except BaseException:  # Ctrl-C, or SIGTERM
            self.workplace.stopping.set()
            # Ray ends this process where a thread asks it anything after its end.
            deadline = time.monotonic() + ENDING_SECONDS
            while any(thread.is_alive() for thread in threads) and time.monotonic() < deadline:
                time.sleep(0.05)
            raise

    def _do(self, run: Run, act: Callable[[], None]) -> None:
        try:
            act()
        except Exception as error:  # not of a stage, but of what is done around them
            self.workplace.logs.say(run.id, _whole(error))
            self.failures.setdefault(run.id, Failure(run, error))

    def execute(self, work: Work, rank: float) -> None:
        """One run, whatever becomes of it."""
        place, run = self.workplace, work.run
        try:
            while not self._is_over(work, rank):
                place.unfinished.add(run.id)
        finally:
            place.unfinished.discard(run.id)
            place.claims.give_back(run.id)

    def _is_over(self, work: Work, rank: float) -> bool:
        """One attempt at a run; whether it was the last."""
        place, run = self.workplace, work.run
        try:
            left = self._claimed(work)
            if left is not None:
                execute(left, place, rank)
            return True
        except Exception as error:  # the outermost loop of a run
            if self._is_lost(run, error):
                return False
            if place.stopping.is_set():
                return True
            if isinstance(error, UnwantedError) and place.telemetry.stops.of(run.id) is None:
                place.say(run, "somebody wants it tried again, before it was stopped")
                return False
            self._tell_of_attempt(run, error)
        return not self._is_asked_for(run)

    def _claimed(self, work: Work) -> Work | None:
        """Claim a run; while another driver works on it, wait. What is left of it then.

        Raises:
            HaltedError: the user stopped us.
            UnwantedError: somebody stopped this run.
        """
        place, run = self.workplace, work.run
        seen: set[str] = set()
        while other := place.claims.take(run.id):
            if other.driver not in seen:
                seen.add(other.driver)
                whose = f"the driver of {other.experiment} on {other.host}"
                place.say(run, f"{whose} works on it; this one waits, and does what is left then")
            place.pause(run, CLAIMED_SECONDS)
        if seen or place.claims.was_anothers(run.id):
            left = place.look_again(run)
            work = work if left is None else replace(work, benchmarks=left.benchmarks)
            if left is None:
                place.say(run, "another driver has done all of it")
                return None
        place.recorder.state(run, "waiting")
        return work

    def _is_lost(self, run: Run, error: Exception) -> bool:
        """Whether another driver took a run over meanwhile: that is no failure of it."""
        place = self.workplace
        if not (isinstance(error, LostClaimError) or place.claims.lost(run.id)):
            return False
        place.say(run, "another driver has taken it over; this one leaves it alone")
        place.claims.lose(run.id)
        place.claims.give_back(run.id)
        return not place.stopping.is_set()

    def _is_asked_for(self, run: Run) -> bool:
        """Wait until somebody wants a run tried again, or nothing else is left to do."""
        return bool(self._asked_for([run]))

    def _asked_for(self, runs: Sequence[Run]) -> list[Run]:
        """Wait until somebody wants some of these tried again, and which; or nothing else is left
        to do, and none."""
        place = self.workplace
        for run in runs:
            self._leave(run)
        while place.unfinished and not place.stopping.is_set():
            wished = [run for run in runs if place.telemetry.retries.takes(run.id)]
            for run in wished:
                place.unfinished.add(run.id)
                self.failures.pop(run.id, None)
                place.ended[:] = [ended for ended in place.ended if ended.id != run.id]
                place.say(run, "somebody wants it tried again")
            if wished:
                return wished
            time.sleep(LOOK_SECONDS)
        return []

    def compete(self, match: Match, rank: float) -> None:
        """The trainings of a contest; then each run that was not stopped, as any other, and again
        those that failed, where somebody asks for that."""
        try:
            while not self._is_decided(match, rank):
                continue
        finally:
            wanted = (work.run.id for work in match.works if work.wanted)
            self.workplace.unfinished.difference_update(wanted)

    def _is_decided(self, match: Match, rank: float) -> bool:
        """One attempt at a contest; False: another driver took a part of it over, and what is left
        is to be looked at when that one is done."""
        place = self.workplace
        try:
            works = self._claimed_together(match)
            if not any(work.wanted for work in works):
                return True
            outcomes = contest_stage(match.contest.rule, works, place, rank)
        except Exception as error:
            if self._are_lost(match, error) or self._are_wanted_again(match, error):
                return False
            wanted = [work for work in match.works if work.wanted]
            for work in wanted:
                self._tell_of_attempt(work.run, error)
            self._try_again(match, wanted, rank)
            return True
        if self._are_lost(match):
            return False
        trained, failed = [], []
        for work in works:
            outcome = outcomes[work.run.id]
            if isinstance(outcome, Failed):
                self._tell_of_attempt(work.run, outcome.error)
                failed.append(work)
            elif isinstance(outcome, Trained) and work.wanted:
                trained.append((work.run, partial(self.execute, work, rank)))
            elif work.wanted:
                self._leave(work.run)
        if failed:
            trained.append((failed[0].run, partial(self._try_again, match, failed, rank)))
        self.side_by_side(trained)
        return True

    def _try_again(self, match: Match, failed: Sequence[Work], rank: float) -> None:
        """Those of a contest that failed, and that somebody wants tried again while anything else
        goes on: they compete with what the others have lost by then."""
        wished = self._asked_for([work.run for work in failed])
        if not wished:
            return
        rule, home = match.contest.rule, self.workplace.home
        again = tuple(
            replace(work, wanted=work.run in wished)
            for work in match.works
            if work.run in wished or is_known(home.run(work.run.id), rule)
        )
        rest = [work for work in failed if work.run not in wished]
        tasks = [(wished[0], partial(self.compete, replace(match, works=again), rank))]
        if rest:
            tasks.append((rest[0].run, partial(self._try_again, match, rest, rank)))
        self.side_by_side(tasks)

    def _are_wanted_again(self, match: Match, error: Exception) -> bool:
        """Whether all runs of a contest were stopped, but some of them are wanted again by now."""
        place, wanted = self.workplace, [work.run for work in match.works if work.wanted]
        if not isinstance(error, UnwantedError) or place.stopping.is_set():
            return False
        return not all(place.telemetry.stops.of(run.id) for run in wanted)

    def _are_lost(self, match: Match, error: Exception | None = None) -> bool:
        """Whether another driver took runs of a contest over; all are given back then."""
        place, wanted = self.workplace, [work.run for work in match.works if work.wanted]
        lost = [run for run in wanted if place.claims.lost(run.id)]
        if not lost and not isinstance(error, LostClaimError):
            return False
        for run in lost:
            place.say(run, "another driver has taken it over; its sweep waits for that one")
        for run in wanted:
            place.claims.give_back(run.id)
        return not place.stopping.is_set()

    def _claimed_together(self, match: Match) -> list[Work]:
        """Claim the runs of a contest, all in the order of their ids: two drivers that each hold
        some of them would wait for ever. One that was stopped while another driver had it takes no
        part."""
        left = {work.run.id: work for work in match.works}
        for run_id, work in sorted(left.items()):
            if not work.wanted:
                continue
            try:
                claimed = self._claimed(work)
            except UnwantedError as error:
                self._tell(work.run, error)
                self._leave(work.run)
                del left[run_id]
            else:
                left[run_id] = claimed or replace(work, benchmarks=(), wanted=False)
        return list(left.values())

    def _leave(self, run: Run) -> None:
        self.workplace.unfinished.discard(run.id)
        self.workplace.claims.give_back(run.id)

    def _tell_of_attempt(self, run: Run, error: Exception) -> None:
        if not isinstance(error, UnwantedError):
            self.workplace.telemetry.retries.takes(run.id)  # this attempt has heeded an older wish
        self._tell(run, error)

    def _tell(self, run: Run, error: Exception) -> None:
        place = self.workplace
        if place.stopping.is_set():
            return
        if isinstance(error, UnwantedError):
            self._ended(run)
            return
        self.failures[run.id] = Failure(run, error)
        place.say(run, f"FAILED: {error}")
        place.logs.say(run.id, _whole(error))
        self._record(
            run, place.recorder.failed, without_secrets(f"{type(error).__name__}: {error}")
        )

    def _ended(self, run: Run) -> None:
        """Somebody stopped it: it did not fail."""
        place = self.workplace
        why = place.telemetry.stops.why(run.id)
        if run not in place.ended:
            place.ended.append(run)
        place.say(run, why)
        self._record(run, place.recorder.stopped, why)

    def _record(self, run: Run, how: Callable[[Run, str], None], why: str) -> None:
        """Record how a run ended; where even that fails, others still go on."""
        place = self.workplace
        if place.claims.of(run.id) is None:
            return  # it is another driver's
        try:
            how(run, why)
        except Exception as error:  # the database is gone, or another driver has the run
            place.say(run, f"that could not be recorded: {error}")


def _whole(error: Exception) -> str:
    """All that is known of an error: the traceback here, and what workers said of theirs."""
    said = "".join(traceback.format_exception(error))
    return f"{said}\n{getattr(error, 'details', '')}".strip()


def _longest_first(work: Work) -> float:
    return -work.seconds
