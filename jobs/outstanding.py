"""What of an experiment is still to be done, going by the ledger and by what sweeps stopped."""

import threading
import time
from dataclasses import dataclass, field

from sqlalchemy import Engine

from database.queries import recorded_runs, recorded_scores, runs
from jobs.asha import stops
from jobs.experiment import Benchmark, Experiment, Run, short_hash
from jobs.home import Home
from jobs.record import Recorder
from jobs.workplace import Work


def outstanding(experiment: Experiment, ledger: Engine, home: Home) -> list[Work]:
    """The runs that are not done, or lack a score under a benchmark's present contract; but for
    those that a sweep stopped."""
    recorded = recorded_scores(ledger)
    done = recorded_runs(ledger)

    def missing(run: Run, benchmark: Benchmark) -> bool:
        asking = short_hash(benchmark.asked_of(run))
        judging = short_hash(benchmark.judging_content)
        return any(
            (run.id, benchmark.name, f"pass@{k}", asking, judging) not in recorded
            for k in benchmark.asking.report
        )

    given_up = {run.id for run, _ in stops(experiment.runs(), experiment.file, home)}
    works = [
        Work(run=run, benchmarks=tuple(b for b in experiment.benchmarks if missing(run, b)))
        for run in experiment.runs()
        if run.id not in given_up
    ]
    return [work for work in works if work.benchmarks or work.run.id not in done]


def record_stopped(experiment: Experiment, ledger: Engine, home: Home) -> None:
    """Record what a sweep stopped and no driver lived to record."""
    states = {run.id: run.state for run in runs(ledger)}
    for run, decision in stops(experiment.runs(), experiment.file, home):
        if states.get(run.id) != "stopped":
            Recorder(ledger, experiment).stopped(run, str(decision))


@dataclass(slots=True)
class LookAgain:
    """Says what is left of a run after another driver had it; safe to use from many threads.

    Many ask at once after a restart, and one look at the ledger is as good for all of them.
    """

    experiment: Experiment
    ledger: Engine
    home: Home
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _looked_at: float = float("-inf")
    _found: dict[str, Work] = field(default_factory=dict)

    def __call__(self, run: Run) -> Work | None:
        """What of a run is still to be done by now; None: nothing."""
        asked_at = time.monotonic()
        with self._lock:
            if self._looked_at < asked_at:
                self._looked_at = time.monotonic()
                works = outstanding(self.experiment, self.ledger, self.home)
                self._found = {work.run.id: work for work in works}
            return self._found.get(run.id)
