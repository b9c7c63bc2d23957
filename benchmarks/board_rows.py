"""A ledger of plausible rows as large as one likes, for `benchmarks/board.py`.

Bases, and adapters of each by method, dataset and seed, are asked the same benchmarks. How often a
run passes follows from the skill of its model, what its method gains and how hard the problem is.
"""

import hashlib
import random
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Engine, insert, text

from database import write
from database.answered import digest_of
from database.schema import (
    Answered,
    Checkpoint,
    Completion,
    Contract,
    Dataset,
    Event,
    Experiment,
    Generation,
    Problem,
    Row,
    Run,
    Score,
    Step,
    Touch,
    Training,
    Verdict,
)
from database.scores import ProblemResult, method_of, score
from database.tallies import tally_rows

SEED = 7
BENCHMARKS = ("humaneval", "humanevalplus", "mbpp", "mbppplus", "rename-me")
MODELS = (
    "falcon-tiny", "llama-small", "qwen-coder", "starcoder", "deepseek-coder", "granite-code",
    "codegen", "stable-code",
)  # fmt: skip
METHODS = ("lora-r8", "lora-r64", "qlora-r16", "full")
DATASETS = ("starter", "instruct-110k")
FAILURES = ("failed", "failed", "failed", "timed_out", "crashed")
BEGAN = datetime(2026, 11, 1, 9, 0, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How much there is of everything."""

    models: int = 8
    methods: int = 4
    datasets: int = 2
    seeds: int = 3
    problems: int = 164
    completions: int = 31
    """Of each run to each problem."""
    steps: int = 200
    """Of each training."""

    @property
    def runs(self) -> int:
        """Bases and adapters."""
        return self.models * (1 + self.methods * self.datasets * self.seeds)

    @property
    def verdicts(self) -> int:
        """Over all runs and benchmarks."""
        return self.runs * len(BENCHMARKS) * self.problems * self.completions


POSTGRESQL = Size()
SQLITE = Size(problems=100, completions=1)
TINY = Size(models=2, methods=1, datasets=1, seeds=2, problems=12, completions=2, steps=20)


def fill(engine: Engine, size: Size) -> None:
    """Write such a ledger into an empty one; indexes are quicker made after the rows."""
    runs = [*_bases(size), *_adapters(size)]
    write(engine, [row for name in BENCHMARKS for row in _benchmark(name, size)])
    write(engine, [row for number in range(size.datasets) for row in _dataset(number, size)])
    grid = [run.id for run in runs]
    write(engine, [Experiment(name="board", text="models: ...\n", runs=grid), *runs])
    write(engine, [row for run in runs if run.base_run for row in _training(run, size)])
    generator = np.random.default_rng(SEED)
    skill = _skills(runs, generator)
    for index in Completion.__table__.indexes:
        index.drop(engine)
    for name in BENCHMARKS:
        passed = _passed(skill, size, generator)
        _pour(engine, Completion, _completions(name, grid, size))
        _pour(engine, Verdict, _verdicts(name, grid, size, passed))
        for run, counts in zip(grid, passed, strict=True):
            write(engine, [*_scored(run, name, size, counts), _looked_at(run, name, size)])
    for index in Completion.__table__.indexes:
        index.create(engine)
    _settle(engine)


def _id(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _bases(size: Size) -> Iterator[Run]:
    for model in MODELS[: size.models]:
        yield Run(
            id=_id(model)[:12],
            label=f"{model} as it came",
            kind="base",
            model=model,
            state="done",
            spec={"model": {"name": model, "params": 1_300_000_000}},
            created_at=BEGAN,
            finished_at=BEGAN + timedelta(hours=1),
        )


def _adapters(size: Size) -> Iterator[Run]:
    methods, datasets = METHODS[: size.methods], DATASETS[: size.datasets]
    grid = product(MODELS[: size.models], datasets, methods, range(size.seeds))
    for number, (model, dataset, method, seed) in enumerate(grid):
        began = BEGAN + timedelta(hours=2 + number)
        yield Run(
            id=_id(model, dataset, method, seed)[:12],
            label=f"{model}, {dataset}, {method}, seed {seed}",
            kind="tuned",
            model=model,
            method=method,
            dataset=dataset,
            dataset_digest=_id(dataset)[:12],
            seed=seed,
            base_run=_id(model)[:12],
            state="done",
            spec={
                "model": {"name": model, "params": 1_300_000_000},
                "method": {"kind": method.split("-", maxsplit=1)[0], "learning_rate": 2e-4},
                "dataset": dataset,
                "seed": seed,
            },
            created_at=began,
            finished_at=began + timedelta(minutes=50),
        )


def _contract(name: str) -> tuple[Contract, Contract]:
    asking = {"prompt": {"name": "alpaca", "text": "{instruction}"}, "benchmark": name}
    judging = {"sha256": _id(name), "cpu_seconds": 10, "extract": "chat"}
    return (
        Contract(id=_id("asking", name)[:12], kind="asking", content=asking),
        Contract(id=_id("judging", name)[:12], kind="judging", content=judging),
    )


def _benchmark(name: str, size: Size) -> Iterator[Row]:
    yield from _contract(name)
    for place in range(size.problems):
        yield Problem(
            benchmark=name,
            digest=_id(name),
            task_id=f"{name}/{place}",
            position=place,
            family="",
            instruction=f"Write a function that solves number {place}. " + "It is long. " * 20,
            prompt=f"def solve_{place}(xs: list[int]) -> list[int]:\n",
            tests=f"assert solve_{place}([]) == []\n" * 20,
            reference="    return sorted(xs)\n",
        )


def _dataset(number: int, size: Size) -> Iterator[Row]:
    name = DATASETS[number]
    digest = _id(name)[:12]
    yield Dataset(
        digest=digest,
        name=name,
        report={"dataset": name, "benchmarks": {}},
        licence="apache-2.0",
        rows_in=1000,
        rows_out=900,
        duplicates=60,
        contaminated=40,
    )
    for benchmark, place in product(BENCHMARKS, range(0, size.problems, 10 + number)):
        yield Touch(
            dataset=digest,
            benchmark=benchmark,
            benchmark_digest=_id(benchmark),
            task_id=f"{benchmark}/{place}",
            method=("ngram10", "syntax")[place % 2],
            rows=3,
            trained_on=place % 3,
        )


def _training(run: Run, size: Size) -> Iterator[Row]:
    facts = {"seconds": 2400.0, "ranks": 4, "device": "NVIDIA H200", "tokens": 9_000_000}
    yield Checkpoint(
        run=run.id, kind="adapter", path=f"runs/{run.id}/checkpoint", sha256=_id(run.id),
        steps=size.steps, facts=facts,
    )  # fmt: skip
    yield Training(run=run.id, of=size.steps, last_step=size.steps, at=run.created_at)
    yield Event(run=run.id, kind="training", message="done", seconds=600.0, at=run.created_at)
    for step in range(1, size.steps + 1):
        yield Step(
            run=run.id, step=step, loss=0.6 + 2 / step, learning_rate=2e-4, gradient_norm=0.8,
            tokens=8192, seconds=3.0, held_out_loss=None if step % 50 else 0.9,
        )  # fmt: skip


def _skills(runs: Sequence[Run], generator: np.random.Generator) -> NDArray[np.float64]:
    """How good each run is, in logits."""
    of_model = dict(zip(MODELS, generator.normal(-0.4, 0.8, len(MODELS)), strict=True))
    of_method = {None: 0.0} | dict(zip(METHODS, (0.15, 0.35, 0.25, 0.5), strict=True))
    noise = generator.normal(0, 0.08, len(runs))
    return np.array([of_model[r.model] + of_method[r.method] for r in runs]) + noise


def _passed(
    skill: NDArray[np.float64], size: Size, generator: np.random.Generator
) -> NDArray[np.int64]:
    """(runs, problems): how many completions pass."""
    hard = generator.normal(0, 1.6, size.problems)
    chance = 1 / (1 + np.exp(hard[None, :] - skill[:, None]))
    return generator.binomial(size.completions, chance)


def _scored(run: str, name: str, size: Size, passed: NDArray[np.int64]) -> Iterator[Row]:
    results = [
        ProblemResult(task_id=f"{name}/{place}", completions=size.completions, passed=count)
        for place, count in enumerate(passed.tolist())
    ]
    asking, judging = (contract.id for contract in _contract(name))
    yield from tally_rows(results, run=run, benchmark=name, asking=asking, judging=judging)
    yield Generation(
        run=run, benchmark=name, asking=asking, device="NVIDIA H200", seconds=300.0,
        prompt_tokens=50_000, tokens=900_000,
    )  # fmt: skip
    yield Event(run=run, kind=f"judging {name}", message="done", seconds=60.0, at=BEGAN)
    for k in (1, 10):
        if k <= size.completions:
            yield Score(
                run=run, benchmark=name, metric=f"pass@{k}", asking=asking, judging=judging,
                **asdict(score(results, k)), problems=size.problems, asked=size.problems,
                completions=size.completions, method=method_of(results), recorded_at=BEGAN,
            )  # fmt: skip


def _looked_at(run: str, name: str, size: Size) -> Row:
    """What is counted of a run's answers when they are scored, here by a rule."""
    asking, judging = (contract.id for contract in _contract(name))
    first = {f"{name}/{place}": digest_of(f"{run} {place}") for place in range(size.problems)}
    answers = size.problems * size.completions
    return Answered(
        benchmark=name, asking=asking, run=run, judging=judging, answers=answers,
        blank=answers // 500, cut=answers // 60, without_program=answers // 50, first=first,
    )  # fmt: skip


@cache
def _texts() -> list[str]:
    """What models write: mostly a dozen lines, now and then a hundred, seldom nothing."""
    generator = random.Random(SEED)
    lines = ["for x in xs:", "    total += x", "if total > 3:", "    return [total]", "# hm"]
    lengths = [generator.choice((4, 8, 12, 16)) for _ in range(500)] + [120] * 8
    texts = [
        "".join(f"    {generator.choice(lines)}  # {generator.random()}\n" for _ in range(length))
        for length in lengths
    ]
    return [*texts, ""]


def _keys(name: str, runs: Sequence[str], size: Size) -> Iterator[tuple[str, int, int]]:
    yield from product(runs, range(size.problems), range(size.completions))


def _completions(name: str, runs: Sequence[str], size: Size) -> Iterator[tuple[Any, ...]]:
    texts = _texts()
    asking = _contract(name)[0].id
    for number, (run, place, position) in enumerate(_keys(name, runs, size)):
        said = texts[number * 7919 % len(texts)]
        finish = "length" if len(said) > 4000 else "stop"
        key = _id(run, name, place, position)[:20]
        task_id = f"{name}/{place}"
        length = len(said) // 4
        yield key, run, name, task_id, position, asking, said, False, length, finish, None


def _verdicts(
    name: str, runs: Sequence[str], size: Size, passed: NDArray[np.int64]
) -> Iterator[tuple[Any, ...]]:
    counts = {run: row.tolist() for run, row in zip(runs, passed, strict=True)}
    judging = _contract(name)[1].id
    for number, (run, place, position) in enumerate(_keys(name, runs, size)):
        right = position < counts[run][place]
        outcome = "passed" if right else FAILURES[number % len(FAILURES)]
        detail = "" if right else f"AssertionError: solve_{place}([3, 1]) returned [3, 1]"
        key = _id(run, name, place, position)[:20]
        yield key, judging, outcome, 0.02, 0.03, detail, number % 50 != 0


def _pour(engine: Engine, table: type[Row], rows: Iterator[tuple[Any, ...]]) -> None:
    """Hand rows to the database as quickly as it takes them."""
    names = [column.name for column in table.__table__.columns]
    if engine.dialect.name == "sqlite":
        with engine.begin() as connection:
            connection.execute(insert(table), [dict(zip(names, row, strict=True)) for row in rows])
        return
    with engine.begin() as connection, connection.connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")  # foreign keys are right
        into = f"COPY {table.__tablename__} ({', '.join(names)}) FROM STDIN"
        with cursor.copy(into) as copy:  # type: ignore[attr-defined]
            for row in rows:
                copy.write_row(row)


def _settle(engine: Engine) -> None:
    """Do what PostgreSQL's autovacuum does to a ledger that is in use; SQLite has no such thing."""
    if engine.dialect.name != "postgresql":
        return
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE"))
