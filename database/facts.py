"""What the queries return: frozen values, free of the database they came from."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from database.comparisons import Difference, Noise, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """A score as every tool reads it; fractions are in [0, 1]."""

    run: str
    model: str
    base: str | None
    """Id of the run that asked the same model untuned; null for a base itself."""
    method: str | None
    dataset: str | None
    seed: int
    benchmark: str
    metric: str
    value: float
    low: float
    high: float
    problems: int
    completions: int
    """Per problem."""
    contract: str
    delta: Difference | None
    """Against the base; null: this is a base, or its base has no score here."""
    coverage: float = 1.0
    """Problems judged, of those asked.

    Under 1 the sandbox failed, or it is a partial import; nothing is compared then."""
    interval_method: str = ""
    """How the interval was made; empty: by a version that did not say."""
    why: str = ""
    """Why the difference is not comparable; empty where it is."""
    rank_low: int | None = None
    """Best rank on another draw of the problems, among the scores in view; null: not all judged."""
    rank_high: int | None = None
    """Worst."""
    p_holm: float | None = None
    """`delta.p`, adjusted for all comparisons in view."""
    comparisons: int | None = None
    """How many those are."""
    verdict: Verdict | None = None
    """By `p_holm`, where `delta.verdict` knows of no other comparison."""
    flags: tuple[str, ...] = ()
    """Kinds of what is odd about it (`database.anomalies.Kind`), where that was counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PerProblem:
    """What a score is the mean of."""

    task_ids: tuple[str, ...]
    units: tuple[str, ...]
    """What each problem was drawn with: its family, or itself."""
    values: tuple[float, ...]
    """pass@k of each, in [0, 1]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A result with what a page shows beside it."""

    result: Result
    label: str
    kind: str
    asked: int
    """Problems asked; more than `result.problems`: the sandbox failed, or a partial import."""
    asking: str
    judging: str
    recorded_at: datetime
    per_problem: PerProblem | None = None
    """None: some problem has no verdict on every completion."""
    noise: Noise | None = None
    """Of the difference to the base; None: there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFacts:
    """A run and where it stands."""

    id: str
    label: str
    kind: str
    model: str
    method: str | None
    dataset: str | None
    dataset_digest: str | None
    """Of the dataset as it was prepared for this run."""
    seed: int
    base_run: str | None
    state: str
    spec: dict[str, Any]
    provenance: dict[str, Any]
    created_at: datetime
    finished_at: datetime | None
    last_step: int | None
    """Optimizer steps recorded so far; None: none."""
    of: int | None
    """Optimizer steps it takes if nothing stops it early; None: not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointFacts:
    """The weights a run produced."""

    kind: str
    path: str
    sha256: str
    steps: int
    facts: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Happening:
    """An event of a run."""

    run: str
    kind: str
    message: str
    seconds: float
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPage:
    """One run whole, but for its steps and completions."""

    run: RunFacts
    checkpoint: CheckpointFacts | None
    standings: list[Standing]


@dataclass(frozen=True, slots=True, kw_only=True)
class StepFacts:
    """One optimizer step, the columns of `database.schema.Step`.

    Losses are in nats per token; None where they were not finite, or nothing was measured.
    """

    step: int
    loss: float | None
    learning_rate: float
    gradient_norm: float | None
    tokens: int
    seconds: float
    padding: float | None
    memory: int | None
    flops_share: float | None
    joules: float | None
    held_out_loss: float | None

    @property
    def tokens_per_second(self) -> float | None:
        """Over all workers; None where the step took no time that a clock can tell."""
        return self.tokens / self.seconds if self.seconds > 0 else None

    @property
    def memory_gib(self) -> float | None:
        """Of the worker that used most so far."""
        return None if self.memory is None else self.memory / 2**30

    @property
    def watts(self) -> float | None:
        """Of all GPUs, over this step."""
        if self.joules is None or self.seconds <= 0:
            return None
        return self.joules / self.seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingFacts:
    """A training, and where it stands."""

    run: str
    label: str
    state: str
    """Of its run."""
    of: int | None
    """Optimizer steps it takes if nothing stops it early; None: not known."""
    last_step: int
    """0: it was started, and no step is done."""
    at: datetime
    """When a step was last heard of; before the first one, when the run was recorded."""
    loss: float | None
    """Of the last step."""
    tokens_per_second: float | None
    """Over the last steps, all workers together."""
    step_seconds: float | None
    """Median of the last steps."""

    @property
    def seconds_left(self) -> float | None:
        """Until its last step, going by the last steps; None where that cannot be told."""
        if self.of is None or self.step_seconds is None:
            return None
        return max(0, self.of - self.last_step) * self.step_seconds

    def stalled(self, now: datetime) -> bool:
        """Whether it trains, but for 60 s and ten times a step's time no step was heard of."""
        silent = (now - self.at).total_seconds()
        patience = max(60.0, 10 * (self.step_seconds or 0.0))
        return self.state == "training" and self.last_step > 0 and silent > patience


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What the steps of a training have cost together."""

    steps: int
    tokens: int
    seconds: float
    joules: float | None
    """Of all GPUs; None where nothing measures it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A completion, its verdict and its problem; without a verdict, `outcome` is None."""

    task_id: str
    position: int
    text: str
    whole: bool
    tokens: int
    finish: str
    outcome: str | None
    detail: str | None
    cpu_seconds: float | None
    wall_seconds: float | None
    asking: str
    judging: str | None
    instruction: str | None
    prompt: str | None
    tests: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkFacts:
    """A benchmark that has scores."""

    name: str
    metrics: list[str]
    """`pass@1` first, then by k."""
    problems: int
    """The most that were asked of one run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetFacts:
    """A prepared dataset, without its report."""

    digest: str
    name: str
    licence: str
    """The strictest term of all that is in it."""
    rows_in: int
    rows_out: int
    duplicates: int
    """Rows left out because another stands for them."""
    contaminated: int
    """Rows left out because they touch a benchmark."""
    runs: int
    """Runs that train on it."""
    recorded_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class TouchFacts:
    """A problem that rows of a dataset touch, as one method found it."""

    benchmark: str
    benchmark_digest: str
    task_id: str
    method: str
    rows: int
    trained_on: int
    """Those of the rows that are trained on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposure:
    """How much of what a run was asked is touched by rows it was trained on."""

    run: str
    benchmark: str
    asking: str
    judging: str
    benchmark_digest: str | None
    """sha256 of the benchmark's file; null where the contract names none."""
    problems: int
    """Problems asked that such a row touches."""
    methods: dict[str, int]
    """Method -> problems it found, by name; one problem may be found by several."""


@dataclass(frozen=True, slots=True)
class Pulse:
    """Changes whenever a page would show something new; costs next to nothing to read."""

    changed_at: datetime | None
    """Steps of trainings are not counted."""
    events: int
    scores: int
    stepped_at: datetime | None
    """When a step of any training was last heard of."""
    datasets: int
    states: tuple[tuple[str, int], ...]
