"""Early stopping in a sweep by asynchronous successive halving (ASHA).

At rungs, each `reduction` times as far as the last, a training goes on only if its loss on
held-out rows is among the best 1 / `reduction` of those that passed there so far; nobody waits for
others. This is the stopping variant of Li et al. 2020 (arXiv:1810.05934, algorithm 2) that Ray
Tune has too.
What a run lost or passed is kept in its folder, so that a killed driver decides nothing twice.
"""

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jobs.experiment import ExperimentFile, Run
from jobs.home import Home, written
from jobs.training.order import TrainOrder
from jobs.training.steps import STEPS, read_steps

DECISIONS = "asha.json"
"""In the folder of a run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Where the rungs are and how many go on past each: see `jobs.sweeps.Asha`."""

    grace: float
    reduction: int

    def rungs(self, of: int) -> list[float]:
        """The rungs of a training of `of` steps, in the unit of `grace`, the first one first."""
        return list(self._rungs(of if self.grace >= 1 else 1))

    def place(self, step: int, of: int) -> float:
        """A step in the unit of `grace`."""
        return step if self.grace >= 1 else step / of

    def _rungs(self, end: float) -> Iterator[float]:
        rung = self.grace
        while rung < end:
            yield rung
            rung = round(rung * self.reduction, 9)  # 0.1 times 3 is above 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class Contest:
    """Runs that differ in nothing but the point of one sweep, so their losses compare."""

    rule: Rule
    runs: tuple[Run, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """A training that came to its end; its checkpoint is there."""

    run_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopped:
    """A training that did worse than the others of its sweep. The model did; we did not fail."""

    run_id: str
    step: int
    of: int
    rung: float
    """In the unit of the rule's `grace`."""
    loss: float
    """On held-out rows, in nats a token."""
    threshold: float
    """The highest loss that would have gone on."""
    others: int
    """Trainings that had passed this rung."""

    def __str__(self) -> str:
        rung = f"step {self.rung:g}" if self.rung >= 1 else f"{100 * self.rung:g} % of the steps"
        count = "1 other training" if self.others == 1 else f"{self.others} other trainings"
        return (
            f"stopped at step {self.step} of {self.of}: its held-out loss {self.loss:.4f} is above "
            f"{self.threshold:.4f}, the threshold at the rung of {rung} after {count}"
        )


class Rungs:
    """The losses of a contest at its rungs."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self._losses: dict[float, dict[str, float]] = defaultdict(dict)

    def tell(self, run_id: str, step: int, of: int, loss: float) -> Stopped | None:
        """Record a loss on held-out rows after `step` of `of` steps; what it decides, if anything.

        Only the first measurement at or past a rung counts there, and one past several counts at
        the highest. The last step decides nothing: the training is done.
        """
        reached = [r for r in self.rule.rungs(of) if r <= self.rule.place(step, of)]
        if not reached or self._has_passed(run_id, reached[-1]):
            return None
        loss = loss if math.isfinite(loss) else math.inf
        others = list(self._losses[reached[-1]].values())
        self._losses[reached[-1]][run_id] = loss
        if not others or step >= of:
            return None
        threshold = _threshold(others, self.rule.reduction)
        if loss <= threshold:
            return None
        return Stopped(
            run_id=run_id,
            step=step,
            of=of,
            rung=reached[-1],
            loss=loss,
            threshold=threshold,
            others=len(others),
        )

    def passed(self, run_id: str) -> dict[float, float]:
        """Rung -> loss of a run there."""
        return {rung: of[run_id] for rung, of in sorted(self._losses.items()) if run_id in of}

    def remember(self, run_id: str, passed: Iterable[tuple[float, float]]) -> None:
        """Take rungs and losses from earlier; they decide nothing about this run again."""
        for rung, loss in passed:
            self._losses[rung][run_id] = loss

    def _has_passed(self, run_id: str, rung: float) -> bool:
        return any(at >= rung and run_id in of for at, of in self._losses.items())


def contests(runs: Iterable[Run], file: ExperimentFile) -> list[Contest]:
    """The runs of sweeps with early stopping, those together that compete: one sweep's, of the same
    model, data and seed."""
    groups: dict[tuple[str, str, str, int], list[Run]] = defaultdict(list)
    for run in runs:
        training = run.training
        if training and training.sweep and file.sweeps[training.sweep].early_stop:
            key = training.sweep, run.model_name, training.dataset.name, run.seed
            groups[key].append(run)
    return [Contest(rule=rule_of(file, key[0]), runs=tuple(of)) for key, of in groups.items()]


def stops(runs: Iterable[Run], file: ExperimentFile, home: Home) -> list[tuple[Run, Stopped]]:
    """The runs that their sweep stopped, now or under an earlier driver, and why."""
    decided = [
        (run, stopped(home.run(run.id), contest.rule))
        for contest in contests(runs, file)
        for run in contest.runs
    ]
    return [(run, decision) for run, decision in decided if decision]


def rule_of(file: ExperimentFile, sweep: str) -> Rule:
    """The rule of a sweep that stops early."""
    early_stop = file.sweeps[sweep].early_stop
    assert early_stop is not None, f"sweep {sweep} stops nothing early"
    return Rule(grace=early_stop.asha.grace, reduction=early_stop.asha.reduction)


def stopped(folder: Path, rule: Rule) -> Stopped | None:
    """Why this rule stopped the run of a folder earlier; None where it did not, or too late."""
    if (folder / "checkpoint").exists():
        return None
    decided = _decided(folder, rule)
    return Stopped(**decided["stopped"]) if decided.get("stopped") else None


def is_known(folder: Path, rule: Rule) -> bool:
    """Whether the run of a folder took part and is over: its losses are there, or why this rule
    stopped it."""
    return (folder / "checkpoint").exists() or stopped(folder, rule) is not None


def recall(orders: Iterable[TrainOrder], rule: Rule) -> Rungs:
    """The rungs as earlier drivers left them: from decisions, or from the curves of runs done."""
    rungs = Rungs(rule)
    for order in orders:
        kept = _decided(order.folder, rule).get("passed", {})
        rungs.remember(order.run_id, ((float(rung), loss) for rung, loss in kept.items()))
        if not kept and (order.checkpoint / STEPS).exists():
            steps = read_steps(order.checkpoint / STEPS)
            for step in steps:
                if step.held_out_loss is not None:
                    rungs.tell(order.run_id, step.step, len(steps), step.held_out_loss)
    return rungs


def keep(folder: Path, rungs: Rungs, run_id: str, decision: Stopped | None) -> None:
    """Write down, all at once, what a run passed and whether it was stopped."""
    found = {
        "rule": asdict(rungs.rule),
        "passed": {str(rung): loss for rung, loss in rungs.passed(run_id).items()},
        "stopped": asdict(decision) if decision else None,
    }
    with written(folder / DECISIONS) as draft:
        draft.write_text(json.dumps(found, indent=2) + "\n")


def _decided(folder: Path, rule: Rule) -> dict[str, Any]:
    """What `keep` wrote; nothing where that was under another rule."""
    try:
        found: dict[str, Any] = json.loads((folder / DECISIONS).read_text())
    except FileNotFoundError:
        return {}
    return found if found["rule"] == asdict(rule) else {}


def _threshold(losses: list[float], reduction: int) -> float:
    """The loss that the best 1 / `reduction` of those so far reach, between two if need be."""
    finite = [loss for loss in losses if math.isfinite(loss)]
    return float(np.percentile(finite, 100 / reduction)) if finite else math.inf
