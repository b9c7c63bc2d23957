"""The tables. Keys are content, so writing a row twice changes nothing.

Those of what goes on right now are in `database.live`.
"""

from datetime import date, datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, Integer, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from database.table import Row as Row
from database.table import now as now


class Experiment(Row):
    """An experiment file as it was run, and the runs it asked for."""

    __tablename__ = "experiments"

    name: Mapped[str] = mapped_column(String(200), primary_key=True)
    text: Mapped[str] = mapped_column(Text)
    """The YAML, to the letter."""
    runs: Mapped[list[str]] = mapped_column()
    """Ids of its runs, in the order of the grid."""
    recorded_at: Mapped[datetime] = mapped_column(default_factory=now)


class Run(Row):
    """One cell of a grid: a base model as it came, tuned, or a set of imported answers."""

    __tablename__ = "runs"

    id: Mapped[str] = mapped_column(String(12), primary_key=True)
    label: Mapped[str] = mapped_column(String(300))
    """For people: model, dataset, method, seed."""
    kind: Mapped[str] = mapped_column(String(20))
    """`base`, `tuned` or `imported`."""
    model: Mapped[str] = mapped_column(String(200))
    method: Mapped[str | None] = mapped_column(String(200), default=None)
    dataset: Mapped[str | None] = mapped_column(String(200), default=None)
    dataset_digest: Mapped[str | None] = mapped_column(String(12), default=None, index=True)
    """Of the prepared dataset; its row may come later, or never."""
    seed: Mapped[int] = mapped_column(Integer, default=0)
    base_run: Mapped[str | None] = mapped_column(String(12), default=None)
    """The run that asks the same base model untuned; null for a base itself."""
    state: Mapped[str] = mapped_column(String(20), default="waiting")
    """waiting, preparing, training, generating, judging, done, failed, or stopped: a sweep gave it
    up early."""
    spec: Mapped[dict[str, Any]] = mapped_column(default_factory=dict)
    """Everything that shapes the weights: what the id hashes."""
    provenance: Mapped[dict[str, Any]] = mapped_column(default_factory=dict)
    """Commit, dirty flag, library versions, host, digests: recorded beside the id, not in it."""
    released: Mapped[date | None] = mapped_column(default=None)
    """When the base model was published, where the experiment says so: what is newer than that it
    cannot have learnt."""
    created_at: Mapped[datetime] = mapped_column(default_factory=now)
    finished_at: Mapped[datetime | None] = mapped_column(default=None)


class Dataset(Row):
    """A prepared dataset, as it is trained on."""

    __tablename__ = "datasets"

    digest: Mapped[str] = mapped_column(String(12), primary_key=True)
    name: Mapped[str] = mapped_column(String(200))
    report: Mapped[dict[str, Any]] = mapped_column()
    """What became of every row: the fields of `jobs.data.report.Report`."""
    licence: Mapped[str] = mapped_column(Text)
    """The strictest term of all that is in it."""
    rows_in: Mapped[int] = mapped_column(Integer)
    rows_out: Mapped[int] = mapped_column(Integer)
    """Distinct rows that are trained on."""
    duplicates: Mapped[int] = mapped_column(Integer)
    """Rows left out because another stands for them."""
    contaminated: Mapped[int] = mapped_column(Integer)
    """Rows left out because they touch a benchmark."""
    recorded_at: Mapped[datetime] = mapped_column(default_factory=now)


class Touch(Row):
    """A problem of a benchmark that rows of a dataset have something of in them."""

    __tablename__ = "touches"

    dataset: Mapped[str] = mapped_column(ForeignKey("datasets.digest"), primary_key=True)
    benchmark: Mapped[str] = mapped_column(String(100), primary_key=True)
    benchmark_digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    """sha256 of the benchmark's file."""
    task_id: Mapped[str] = mapped_column(String(200), primary_key=True)
    method: Mapped[str] = mapped_column(String(20), primary_key=True)
    """How it was found: `substring`, `ngram8`, `ngram10`, `ngram13`, `syntax`, `execution`."""
    rows: Mapped[int] = mapped_column(Integer)
    """Rows that touch it, left out and trained on alike."""
    trained_on: Mapped[int] = mapped_column(Integer)
    """Those of them that are trained on."""


class Checkpoint(Row):
    """The weights a run produced."""

    __tablename__ = "checkpoints"

    run: Mapped[str] = mapped_column(ForeignKey("runs.id"), primary_key=True)
    kind: Mapped[str] = mapped_column(String(20))
    """`adapter` or `full`."""
    path: Mapped[str] = mapped_column(Text)
    sha256: Mapped[str] = mapped_column(String(64))
    """Of the weights' file; of several, what `sha256sum *.safetensors | sha256sum` says."""
    steps: Mapped[int] = mapped_column(Integer)
    """After how many these weights were taken."""
    facts: Mapped[dict[str, Any]] = mapped_column(default_factory=dict)
    """What the trainer measured: engine, ZeRO stage, ranks, tokens, seconds."""


class Problem(Row):
    """A question of one version of a benchmark."""

    __tablename__ = "problems"

    benchmark: Mapped[str] = mapped_column(String(100), primary_key=True)
    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    """sha256 of the benchmark's file."""
    task_id: Mapped[str] = mapped_column(String(200), primary_key=True)
    position: Mapped[int] = mapped_column(Integer)
    """Its place in the file, from 0."""
    family: Mapped[str] = mapped_column(String(100))
    instruction: Mapped[str] = mapped_column(Text)
    prompt: Mapped[str] = mapped_column(Text)
    tests: Mapped[str] = mapped_column(Text)
    """The tests as text, for people."""
    reference: Mapped[str] = mapped_column(Text, default="")
    released: Mapped[date | None] = mapped_column(default=None)
    """When it was published, where its benchmark says so."""


class Contract(Row):
    """How a model was asked (`asking`) or judged (`judging`), hashed.

    A judging contract names its benchmark's file under `sha256`, which is the `digest`
    of the problems it judges.
    """

    __tablename__ = "contracts"

    id: Mapped[str] = mapped_column(String(12), primary_key=True)
    kind: Mapped[str] = mapped_column(String(10))
    content: Mapped[dict[str, Any]] = mapped_column()


class Completion(Row):
    """One answer of a model; `id` hashes (run, benchmark, task_id, position, asking)."""

    __tablename__ = "completions"
    __table_args__ = (
        Index("ix_completions_counted", "benchmark", "asking", "run", "task_id", "id"),
    )

    id: Mapped[str] = mapped_column(String(20), primary_key=True)
    run: Mapped[str] = mapped_column(ForeignKey("runs.id"), index=True)
    benchmark: Mapped[str] = mapped_column(String(100))
    task_id: Mapped[str] = mapped_column(String(200))
    position: Mapped[int] = mapped_column(Integer)
    """Which of the problem's completions, from 0."""
    asking: Mapped[str] = mapped_column(ForeignKey("contracts.id"))
    text: Mapped[str] = mapped_column(Text)
    whole: Mapped[bool] = mapped_column()
    """True: a whole program. False: it continues the problem's prompt."""
    tokens: Mapped[int] = mapped_column(Integer)
    finish: Mapped[str] = mapped_column(String(20))
    """Why it ended: `end`, `stop` or `length`; `imported` for answers made elsewhere."""
    pruned_at: Mapped[datetime | None] = mapped_column(default=None)
    """When its text was taken away to save room; another one then stands in its place, which says
    so."""


class Verdict(Row):
    """The outcome of one completion under one judging contract."""

    __tablename__ = "verdicts"
    completion: Mapped[str] = mapped_column(ForeignKey("completions.id"), primary_key=True)
    judging: Mapped[str] = mapped_column(ForeignKey("contracts.id"), primary_key=True)
    outcome: Mapped[str] = mapped_column(String(20))
    """passed, failed, timed_out, out_of_memory, crashed, output_limit or sandbox_error."""
    cpu_seconds: Mapped[float] = mapped_column()
    wall_seconds: Mapped[float] = mapped_column()
    detail: Mapped[str] = mapped_column(Text)
    extracted: Mapped[bool | None] = mapped_column(default=None)
    """Whether a program was found in the answer; null: the contract takes answers as they are."""


class PublishedVerdict(Row):
    """What the publisher of an imported completion says of it; ours is a `Verdict`."""

    __tablename__ = "published_verdicts"

    completion: Mapped[str] = mapped_column(ForeignKey("completions.id"), primary_key=True)
    passed: Mapped[bool] = mapped_column()
    detail: Mapped[str] = mapped_column(Text, default="")
    """In the publisher's own words, where there are any."""


class PublishedScore(Row):
    """What somebody published of an imported run; ours is a `Score`."""

    __tablename__ = "published_scores"

    run: Mapped[str] = mapped_column(ForeignKey("runs.id"), primary_key=True)
    benchmark: Mapped[str] = mapped_column(String(100), primary_key=True)
    metric: Mapped[str] = mapped_column(String(20), primary_key=True)
    value: Mapped[float] = mapped_column()
    """In [0, 1]."""
    source: Mapped[str] = mapped_column(Text, default="")
    """Where it was published, or that it was counted from the published verdicts."""


class Generation(Row):
    """What it cost to ask a run one benchmark."""

    __tablename__ = "generations"

    run: Mapped[str] = mapped_column(ForeignKey("runs.id"), primary_key=True)
    benchmark: Mapped[str] = mapped_column(String(100), primary_key=True)
    asking: Mapped[str] = mapped_column(ForeignKey("contracts.id"), primary_key=True)
    device: Mapped[str] = mapped_column(String(100))
    """`cpu`, the name of the GPU, or the address of the server that was asked."""
    seconds: Mapped[float] = mapped_column()
    """Summed over workers, from the model being there to the last answer; of a server the wall
    clock."""
    prompt_tokens: Mapped[int] = mapped_column(BigInteger)
    """Read; a prompt is read once for all its completions, and counted once."""
    tokens: Mapped[int] = mapped_column(BigInteger)
    """Drawn, over all completions."""


class Score(Row):
    """One number of one run with its interval; deltas are computed from tallies when read."""

    __tablename__ = "scores"

    run: Mapped[str] = mapped_column(ForeignKey("runs.id"), primary_key=True)
    benchmark: Mapped[str] = mapped_column(String(100), primary_key=True)
    metric: Mapped[str] = mapped_column(String(20), primary_key=True)
    """`pass@1`, `pass@5`, ..."""
    asking: Mapped[str] = mapped_column(ForeignKey("contracts.id"), primary_key=True)
    judging: Mapped[str] = mapped_column(ForeignKey("contracts.id"), primary_key=True)
    value: Mapped[float] = mapped_column()
    """In [0, 1]."""
    low: Mapped[float] = mapped_column()
    high: Mapped[float] = mapped_column()
    """Bounds of the 95 % interval."""
    problems: Mapped[int] = mapped_column(Integer)
    """Problems with a verdict on every completion."""
    asked: Mapped[int] = mapped_column(Integer)
    """Problems asked; fewer judged: the sandbox failed, not the model, or a partial import."""
    completions: Mapped[int] = mapped_column(Integer)
    """Completions per problem."""
    method: Mapped[str] = mapped_column(String(100), default="")
    """How the interval was made; empty: by a version that did not say."""
    recorded_at: Mapped[datetime] = mapped_column(default_factory=now)


class Training(Row):
    """How far the training of a run is: all that a page needs to show progress after a reload."""

    __tablename__ = "trainings"

    run: Mapped[str] = mapped_column(ForeignKey("runs.id"), primary_key=True)
    of: Mapped[int | None] = mapped_column(Integer)
    """Optimizer steps it takes if nothing stops it early; null: an older version recorded it."""
    last_step: Mapped[int] = mapped_column(Integer)
    """Less than before where it went on from a checkpoint."""
    at: Mapped[datetime] = mapped_column(default_factory=now)
    """When a step was last heard of."""


class Step(Row):
    """One optimizer step of one training; the numbers of `jobs.training.steps.Step`."""

    __tablename__ = "steps"

    run: Mapped[str] = mapped_column(ForeignKey("runs.id"), primary_key=True)
    step: Mapped[int] = mapped_column(Integer, primary_key=True)
    """From 1."""
    loss: Mapped[float | None] = mapped_column()
    """Mean cross-entropy of the response tokens, nats per token; null: not a finite number."""
    learning_rate: Mapped[float] = mapped_column()
    gradient_norm: Mapped[float | None] = mapped_column()
    """Null: not a finite number."""
    tokens: Mapped[int] = mapped_column(Integer)
    """Tokens of this step over all workers, padding left out."""
    seconds: Mapped[float] = mapped_column()
    """Wall-clock seconds of this step."""
    padding: Mapped[float | None] = mapped_column(default=None)
    """Share of the tokens computed that were padding, [0, 1)."""
    memory: Mapped[int | None] = mapped_column(BigInteger, default=None)
    """Bytes of the worker that used most so far."""
    flops_share: Mapped[float | None] = mapped_column(default=None)
    """MFU, of the matrix ceiling measured on the same machine."""
    joules: Mapped[float | None] = mapped_column(default=None)
    """Of all GPUs; null where nothing measures it."""
    held_out_loss: Mapped[float | None] = mapped_column(default=None)
    """As `loss`, over the held-out rows; null: not measured after this step, or not finite."""


class Event(Row):
    """Something that happened to a run, in words."""

    __tablename__ = "events"

    run: Mapped[str] = mapped_column(ForeignKey("runs.id"), primary_key=True)
    kind: Mapped[str] = mapped_column(String(200), primary_key=True)
    """`training`, `generating humaneval`, `judging humaneval` (each when done),
    `published humaneval` (of an import), or `failed`."""
    message: Mapped[str] = mapped_column(Text)
    seconds: Mapped[float] = mapped_column(default=0.0)
    at: Mapped[datetime] = mapped_column(default_factory=now)


class Tally(Row):
    """What a run made of one problem under one contract, written with the scores it leads to.

    A page counts millions of verdicts by reading these. The order of the key is that of reading.
    """

    __tablename__ = "tallies"

    benchmark: Mapped[str] = mapped_column(String(100), primary_key=True)
    asking: Mapped[str] = mapped_column(ForeignKey("contracts.id"), primary_key=True)
    judging: Mapped[str] = mapped_column(ForeignKey("contracts.id"), primary_key=True)
    run: Mapped[str] = mapped_column(ForeignKey("runs.id"), primary_key=True)
    task_id: Mapped[str] = mapped_column(String(200), primary_key=True)
    completions: Mapped[int] = mapped_column(Integer)
    """With a verdict; a sandbox error is none."""
    passed: Mapped[int] = mapped_column(Integer)


class Answered(Row):
    """What the answers of a run to one benchmark look like, counted when they are scored."""

    __tablename__ = "answered"

    benchmark: Mapped[str] = mapped_column(String(100), primary_key=True)
    asking: Mapped[str] = mapped_column(ForeignKey("contracts.id"), primary_key=True)
    run: Mapped[str] = mapped_column(ForeignKey("runs.id"), primary_key=True)
    judging: Mapped[str] = mapped_column(ForeignKey("contracts.id"), primary_key=True)
    answers: Mapped[int] = mapped_column(Integer)
    blank: Mapped[int] = mapped_column(Integer)
    """Without a word."""
    cut: Mapped[int] = mapped_column(Integer)
    """Ended by the length limit."""
    without_program: Mapped[int] = mapped_column(Integer)
    """In which the extraction that was asked for found none."""
    first: Mapped[dict[str, Any]] = mapped_column()
    """`database.answered.digest_of` the first answer to each problem, by its id."""
