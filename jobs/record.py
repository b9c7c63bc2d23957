"""What happened becomes rows. The driver is the only writer; everything here is safe to repeat."""

import hashlib
import json
import threading
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from database import schema
from database.answered import JudgedAnswer, answered_row
from database.claims import Claim, LostClaimError
from database.queries import events
from database.queries import runs as recorded
from database.scores import ProblemResult, method_of, score
from database.tallies import tally_rows
from database.writing import write
from eval_sandbox.extracted import holds_program
from eval_sandbox.problem import Completion, Problem
from eval_sandbox.verdict import Outcome, Verdict
from jobs.answers import Answer, Cost
from jobs.data.report import Report
from jobs.experiment import Benchmark, Experiment, Run, short_hash
from jobs.holding import Claims
from jobs.provenance import provenance
from jobs.recipes import sha256_of
from jobs.training.steps import STEPS, Progress, Step, read_facts, read_steps

MOST_SHOWN = 100_000
"""Characters of a problem's tests that the ledger keeps for people to read."""


class Recorder:
    """Writes one experiment's rows, from any thread of the driver."""

    def __init__(
        self,
        engine: Engine,
        experiment: Experiment,
        served: Mapping[str, dict[str, Any]] | None = None,
        claims: Claims | None = None,
    ) -> None:
        """Write to a ledger; `served` is what servers say of their models, by name. Where `claims`
        are given, what is written of a run without a present one raises `LostClaimError`."""
        self._served = served
        self._claims = claims
        self._engine = engine
        self._experiment = experiment
        self._lock = threading.Lock()

    def begin(self, runs: Sequence[Run]) -> None:
        """Record the experiment, its contracts, its problems and the runs about to start, but for
        those that are known: another driver may be working on them."""
        experiment = self._experiment
        known = {run.id for run in recorded(self._engine)}
        grid = [run.id for run in experiment.runs()]
        self._write(
            [
                schema.Experiment(name=experiment.name, text=experiment.text, runs=grid),
                *_contracts(experiment.benchmarks, runs),
                *(row for benchmark in experiment.benchmarks for row in problem_rows(benchmark)),
                *(self._run(run, "waiting") for run in runs if run.id not in known),
            ]
        )

    def prepared(self, report: Report) -> None:
        """Record a dataset that is ready to be trained on."""
        self._write(list(dataset_rows(report)))

    def state(self, run: Run, state: str) -> None:
        """Record what a run is doing now."""
        self._write([self._run(run, state)], run.id)

    def done(self, run: Run) -> None:
        """Record that every benchmark of a run is scored."""
        self._write([self._run(run, "done", datetime.now(UTC))], run.id)

    def event(self, run: Run, kind: str, message: str, seconds: float = 0.0) -> None:
        """Record something that happened to a run, in words."""
        event = schema.Event(run=run.id, kind=kind, message=message, seconds=seconds)
        self._write([event], run.id)

    def happened(self, run: Run, stage: str, text: str) -> None:
        """Record what came between a stage and its end, such as a worker that was lost; each time
        under a kind of its own, so that none hides another."""
        with self._lock:
            kinds = {happening.kind for happening in events(self._engine, run.id)}
            kind = next(k for n in count(1) if (k := f"{stage}, again {n}") not in kinds)
            event = schema.Event(run=run.id, kind=kind, message=text)
            write(self._engine, [event], self._claim(run.id))

    def failed(self, run: Run, reason: str) -> None:
        """Record that a run could not be finished, in one transaction with why."""
        why = schema.Event(run=run.id, kind="failed", message=reason)
        self._write([self._run(run, "failed"), why], run.id)

    def stopped(self, run: Run, reason: str) -> None:
        """Record that a sweep stopped a training which did worse than others, and why."""
        stop = schema.Event(run=run.id, kind="stopped", message=reason)
        self._write([self._run(run, "stopped"), stop], run.id)

    def found(self, run: Run, stage: str) -> None:
        """Record a stage that was done when an earlier driver was killed, unless that one did."""
        if stage not in {happening.kind for happening in events(self._engine, run.id)}:
            self.event(run, stage, f"{stage} done")

    def steps(self, messages: Sequence[Progress]) -> None:
        """Record steps of trainings as they come, and how far that brings each.

        A training that went on from a checkpoint tells some steps again; the later word counts.
        Those of a run that another driver has by now are dropped.
        """
        of_run: dict[str, list[Progress]] = defaultdict(list)
        for message in messages:
            of_run[message.run_id].append(message)
        for run, told in of_run.items():
            rows = [_step(run, message.step) for message in told]
            with suppress(LostClaimError):
                self._write([*rows, _training(run, told[-1].of, told[-1].step.step)], run)

    def trained(self, run: Run, checkpoint: Path) -> None:
        """Record the weights that a training left in a folder, and its whole curve."""
        steps, facts = read_steps(checkpoint / STEPS), read_facts(checkpoint)
        weights = schema.Checkpoint(
            run=run.id,
            kind=facts.weights,
            path=str(checkpoint),
            sha256=weights_digest(checkpoint),
            steps=facts.best_step or len(steps),
            facts=asdict(facts),
        )
        training = _training(run.id, len(steps), len(steps))
        self._write([weights, training, *(_step(run.id, step) for step in steps)], run.id)

    def generated(self, run: Run, benchmark: Benchmark, cost: Cost) -> None:
        """Record what it cost to ask a run one benchmark."""
        asking = short_hash(benchmark.asked_of(run))
        told = asdict(cost) | {"device": cost.device[:100]}
        row = schema.Generation(run=run.id, benchmark=benchmark.name, asking=asking, **told)
        self._write([row], run.id)

    def judged(
        self,
        run: Run,
        benchmark: Benchmark,
        answers: Sequence[Answer],
        verdicts: Sequence[Verdict],
    ) -> None:
        """Record answers, their verdicts and the scores that follow, in one transaction."""
        asking = short_hash(benchmark.asked_of(run))
        self._write(list(judged_rows(run.id, benchmark, asking, answers, verdicts)), run.id)

    def _run(self, run: Run, state: str, finished: datetime | None = None) -> schema.Run:
        training = run.training
        return schema.Run(
            id=run.id,
            label=run.label,
            kind="tuned" if training else "base",
            model=run.model_name,
            method=training.method_name if training else None,
            dataset=training.dataset.name if training else None,
            dataset_digest=training.dataset.digest if training else None,
            seed=run.seed,
            base_run=run.base_id,
            state=state,
            spec=run.spec,
            released=run.model.released,
            provenance=provenance(run, self._experiment.name, self._served),
            finished_at=finished,
        )

    def _write(self, rows: list[schema.Row], run_id: str = "") -> None:
        with self._lock:
            write(self._engine, rows, self._claim(run_id))

    def _claim(self, run_id: str) -> Claim | None:
        held = self._claims.of(run_id) if self._claims else None
        if self._claims and run_id and held is None:
            raise LostClaimError(run_id, by="")
        return held


def weights_digest(checkpoint: Path) -> str:
    """sha256 of the weights in a folder, in hex.

    Of one safetensors file its own; of several shards that of what `sha256sum *.safetensors`
    prints, so that anyone can repeat it.

    Raises:
        FileNotFoundError: there are no weights.
    """
    digests = {path.name: sha256_of(path) for path in sorted(checkpoint.glob("*.safetensors"))}
    if not digests:
        raise FileNotFoundError(f"{checkpoint} holds no weights")
    if len(digests) == 1:
        return next(iter(digests.values()))
    listed = "".join(f"{digest}  {name}\n" for name, digest in digests.items())
    return hashlib.sha256(listed.encode()).hexdigest()


def _step(run: str, step: Step) -> schema.Step:
    return schema.Step(run=run, **asdict(step))


def _training(run: str, of: int, last_step: int) -> schema.Training:
    return schema.Training(run=run, of=of, last_step=last_step)


def dataset_rows(report: Report) -> Iterator[schema.Row]:
    """A dataset and the problems that its rows touch."""
    left_out: Counter[str] = Counter()
    for drop in report.drops:
        left_out[drop.step] += drop.rows
    yield schema.Dataset(
        digest=report.digest,
        name=report.dataset,
        report=asdict(report),
        licence=report.licence,
        rows_in=report.rows_in,
        rows_out=report.rows_out,
        duplicates=left_out["duplicates"],
        contaminated=left_out["contamination"],
    )
    yield from _touch_rows(report)


def _touch_rows(report: Report) -> Iterator[schema.Touch]:
    found = [
        (benchmark, task_id, method, rows)
        for benchmark, problems in report.touched.items()
        for task_id, methods in problems.items()
        for method, rows in methods.items()
    ]
    for benchmark, task_id, method, rows in found:
        kept = report.trained_on.get(benchmark, {}).get(task_id, {})
        yield schema.Touch(
            dataset=report.digest,
            benchmark=benchmark,
            benchmark_digest=report.benchmarks[benchmark],
            task_id=task_id,
            method=method,
            rows=rows,
            trained_on=kept.get(method, 0),
        )


def completion_id(run: str, benchmark: str, task_id: str, position: int, asking: str) -> str:
    """The key of a completion: 20 hex digits over what makes it that one."""
    key = json.dumps([run, benchmark, task_id, position, asking])
    return hashlib.sha256(key.encode()).hexdigest()[:20]


def _contracts(benchmarks: Sequence[Benchmark], runs: Sequence[Run]) -> Iterator[schema.Contract]:
    asked = [benchmark.asked_of(run) for benchmark in benchmarks for run in runs]
    yield from {row.id: row for row in (contract_row("asking", how) for how in asked)}.values()
    for benchmark in benchmarks:
        yield contract_row("judging", benchmark.judging_content)


def contract_row(kind: str, content: dict[str, Any]) -> schema.Contract:
    """One part of a contract under its hash."""
    return schema.Contract(id=short_hash(content), kind=kind, content=content)


def judged_rows(
    run: str,
    benchmark: Benchmark,
    asking: str,
    answers: Sequence[Answer],
    verdicts: Sequence[Verdict],
) -> Iterator[schema.Row]:
    """Answers, their verdicts, and the scores that follow."""
    for answer in answers:
        completion = completion_id(run, benchmark.name, answer.task_id, answer.position, asking)
        yield schema.Completion(
            id=completion, run=run, benchmark=benchmark.name, asking=asking, **asdict(answer)
        )
    judged = list(verdict_rows(run, benchmark, asking, answers, verdicts))
    yield from judged
    judging = short_hash(benchmark.judging_content)
    looked_at = (
        JudgedAnswer(
            task_id=answer.task_id,
            position=answer.position,
            text=answer.text,
            finish=answer.finish,
            extracted=verdict.extracted,
        )
        for answer, verdict in zip(answers, judged, strict=True)
    )
    yield answered_row(looked_at, run=run, benchmark=benchmark.name, asking=asking, judging=judging)
    contract = (asking, judging)
    yield from score_rows(run, benchmark, contract, _results(benchmark, answers, verdicts))


def verdict_rows(
    run: str,
    benchmark: Benchmark,
    asking: str,
    answers: Sequence[Answer],
    verdicts: Sequence[Verdict],
) -> Iterator[schema.Verdict]:
    """The verdicts on answers, under the benchmark's judging contract."""
    judging, extract = short_hash(benchmark.judging_content), benchmark.judging.extract
    asked = {problem.task_id: problem for problem in benchmark.problems}
    for answer, verdict in zip(answers, verdicts, strict=True):
        completion = completion_id(run, benchmark.name, answer.task_id, answer.position, asking)
        given = Completion(task_id=answer.task_id, text=answer.text, whole=answer.whole)
        extracted = holds_program(asked[answer.task_id], given, extract)
        told = _fields(verdict) | {"extracted": extracted}
        yield schema.Verdict(completion=completion, judging=judging, **told)


def _fields(verdict: Verdict) -> dict[str, Any]:
    return asdict(verdict) | {"outcome": verdict.outcome.value}


def problem_rows(benchmark: Benchmark) -> Iterator[schema.Problem]:
    """The questions of a benchmark, in the order of its file."""
    for position, problem in enumerate(benchmark.problems):
        yield schema.Problem(
            benchmark=benchmark.name,
            digest=benchmark.recipe.source.sha256,
            task_id=problem.task_id,
            position=position,
            family=problem.family,
            instruction=problem.instruction,
            prompt=problem.prompt,
            tests=_shown_tests(problem),
            reference=problem.reference,
            released=problem.released,
        )


def _shown_tests(problem: Problem) -> str:
    """The tests for people, one a line; contests have megabytes of them."""
    shown: list[str] = []
    left = MOST_SHOWN
    for number, test in enumerate(problem.tests):
        line = json.dumps(asdict(test), ensure_ascii=False, default=repr)
        left -= len(line)
        if left < 0:
            shown.append(f"... {len(problem.tests) - number:,} more tests are not shown")
            break
        shown.append(line)
    return "\n".join(shown)


def score_rows(
    run: str, benchmark: Benchmark, contract: tuple[str, str], results: list[ProblemResult]
) -> Iterator[schema.Row]:
    """A run's scores under a contract (asking and judging), one for each k that is reported.

    And the tallies of what they are counted from: neither is right without the other.
    """
    asking, judging = contract
    yield from tally_rows(
        results, run=run, benchmark=benchmark.name, asking=asking, judging=judging
    )
    for k in benchmark.asking.report:
        interval = score(results, k)
        yield schema.Score(
            run=run,
            benchmark=benchmark.name,
            metric=f"pass@{k}",
            asking=asking,
            judging=judging,
            value=interval.value,
            low=interval.low,
            high=interval.high,
            problems=len(results),
            asked=len(benchmark.problems),
            completions=benchmark.asking.completions,
            method=method_of(results),
        )


def _results(
    benchmark: Benchmark, answers: Sequence[Answer], verdicts: Sequence[Verdict]
) -> list[ProblemResult]:
    outcomes = defaultdict(list)
    for answer, verdict in zip(answers, verdicts, strict=True):
        outcomes[answer.task_id].append(verdict.outcome)
    return [
        ProblemResult(
            task_id=problem.task_id,
            family=problem.family,
            completions=len(outcomes[problem.task_id]),
            passed=outcomes[problem.task_id].count(Outcome.PASSED),
        )
        for problem in benchmark.problems
    ]
