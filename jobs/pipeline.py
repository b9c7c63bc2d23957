"""The conductor: every run of an experiment through train, ask, judge and record, side by side."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from cluster.slots import Slots
from eval_sandbox.problem import Completion
from jobs.answers import Answer, read_answers
from jobs.cards import adapter_of, model_card, write_model_card
from jobs.data.crew import OnCluster
from jobs.data.report import Report, read_stored
from jobs.experiment import Benchmark, Dataset, ModelSpec, Run, short_hash
from jobs.generate import AskOrder, ask
from jobs.home import Home
from jobs.judge import JudgeOrder, judge, read_verdicts
from jobs.prepare import prepare
from jobs.prepared import read_report
from jobs.progress import Board
from jobs.prompts import question, tokenizer_for
from jobs.record import Recorder
from jobs.train import TrainOrder, train

if TYPE_CHECKING:
    from cluster.mailbox import Mailbox


class StoppedError(Exception):
    """The user stopped us: nothing new is started."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """A run that is not done, and the benchmarks it has no score for yet."""

    run: Run
    benchmarks: tuple[Benchmark, ...]


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
    processors: Slots
    gpus: Slots | None
    """None where there is no GPU; then trainings and generations take processors."""
    spent: list[Spent] = field(default_factory=list)
    stopping: threading.Event = field(default_factory=threading.Event)
    """Set when the user stops us: what fails from then on fails for that reason."""

    @property
    def accelerators(self) -> Slots:
        """What one worker of a training or a generation takes one of."""
        return self.gpus or self.processors

    @contextmanager
    def stage(self, run: Run, name: str, slots: Slots, count: int, priority: int) -> Iterator[None]:
        """Wait for processors, do one stage on them, and record that it is done."""
        asked = time.monotonic()
        with slots.take(count, priority=priority):
            if self.stopping.is_set():
                raise StoppedError
            started = time.monotonic()
            self.recorder.state(run, name.split()[0])
            yield
        worked = time.monotonic() - started
        self.board.finish(f"{run.label}: {name}")
        self.spent.append(Spent(stage=name, label=run.label, waited=started - asked, worked=worked))
        self.recorder.event(run, name, f"{name} done", worked)
        self.board.say(f"  {run.label}: {name} done in {worked:.0f} s")


@dataclass(frozen=True, slots=True)
class Failure:
    """A run that we could not finish; it says nothing of the model."""

    run: Run
    error: Exception


def execute(work: Work, place: Workplace, priority: int) -> None:
    """Train, ask, judge and record one run. Stages already on disk are not repeated."""
    run = work.run
    adapter = train_stage(run, place, priority) if run.training else None
    for benchmark in work.benchmarks:
        answers = ask_stage(run, adapter, benchmark, place, priority)
        judge_stage(run, benchmark, answers, place, priority)
    place.recorder.done(run)


def execute_all(works: Sequence[Work], place: Workplace) -> list[Failure]:
    """Execute runs side by side as the cluster's processors allow; widest trainings first.

    A run that fails does not stop the others.
    """
    failures: list[Failure] = []
    threads = [
        threading.Thread(target=_guarded, args=(work, place, rank, failures.append), daemon=True)
        for rank, work in enumerate(sorted(works, key=_widest_first))
    ]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            while thread.is_alive():
                thread.join(timeout=0.2)  # in slices, so that Ctrl-C is heard
    except KeyboardInterrupt:
        place.stopping.set()
        raise
    return failures


def prepare_stage(works: Sequence[Work], place: Workplace) -> None:
    """Prepare the data of all trainings to come, each dataset once.

    Raises:
        UserError: a source is missing or damaged, or no row is left of a dataset.
    """
    crew = OnCluster(place.processors.total)
    for dataset, models in _to_prepare(works, place.home):
        started = time.monotonic()
        folder = prepare(dataset, place.home, crew, place.board.part)
        place.recorder.prepared(read_report(folder, dataset.recipe, models, crew))
        worked = time.monotonic() - started
        place.spent.append(Spent(stage="preparing", label=dataset.name, waited=0.0, worked=worked))
        place.board.say(f"  {dataset.name}: prepared in {worked:.0f} s")


def _to_prepare(works: Sequence[Work], home: Home) -> list[tuple[Dataset, dict[str, ModelSpec]]]:
    """Datasets that something is trained on, each with the models that are."""
    found: dict[str, tuple[Dataset, dict[str, ModelSpec]]] = {}
    for run in (work.run for work in works):
        if run.training and not (home.run(run.id) / "checkpoint").exists():
            dataset = run.training.dataset
            found.setdefault(dataset.digest, (dataset, {}))[1][run.model_name] = run.model
    return list(found.values())


def train_stage(run: Run, place: Workplace, priority: int) -> Path:
    """The adapter of a tuned run, trained now or found on disk."""
    assert run.training is not None
    order = TrainOrder(
        run_id=run.id,
        location=run.model.location,
        revision=run.model.revision or None,
        rows=place.home.data(run.training.dataset.digest).rows,
        form=run.training.dataset.recipe.prompt,
        too_long=run.training.dataset.recipe.too_long,
        method=run.training.method,
        parallelism=run.model.parallelism,
        seed=run.seed,
        folder=place.home.run(run.id),
    )
    workers = run.model.parallelism.workers
    if order.checkpoint.exists():
        place.recorder.found(run, "training")
    else:
        with place.stage(run, "training", place.accelerators, workers, priority):
            train(order, place.mailbox, gpus=place.gpus is not None)
    place.recorder.trained(run, order.checkpoint)
    _write_card(run, order.checkpoint, place.home)
    return order.checkpoint


def _write_card(run: Run, checkpoint: Path, home: Home) -> None:
    """Say beside the weights what they were made of; nothing where the data is no longer there."""
    assert run.training is not None
    data = home.data(run.training.dataset.digest)
    if data.report.exists():
        card = model_card(adapter_of(run, checkpoint), read_stored(Report, data.report))
        write_model_card(checkpoint, card)


def ask_stage(
    run: Run, adapter: Path | None, benchmark: Benchmark, place: Workplace, priority: int
) -> list[Answer]:
    """A run's answers to a benchmark, generated now or found on disk."""
    asking = short_hash(benchmark.asking_content)
    revision = run.model.revision or None
    prompt = benchmark.recipe.prompt
    tokenizer = tokenizer_for(prompt, run.model.location, revision)
    order = AskOrder(
        run_id=run.id,
        benchmark=benchmark.name,
        location=run.model.location,
        revision=run.model.revision or None,
        adapter=adapter,
        questions=tuple(question(p, prompt, tokenizer) for p in benchmark.problems),
        asking=benchmark.asking,
        stop=benchmark.recipe.stop,
        seed=run.seed,
        out=place.home.completions(run.id, benchmark.name, asking),
    )
    name = f"generating {benchmark.name}"
    if order.out.exists():
        place.recorder.found(run, name)
    else:
        with place.stage(run, name, place.accelerators, 1, priority):
            ask(order, place.mailbox, gpus=place.gpus is not None)
    return read_answers(order.out)


def judge_stage(
    run: Run, benchmark: Benchmark, answers: Sequence[Answer], place: Workplace, priority: int
) -> None:
    """Judge a run's answers to a benchmark, and record answers, verdicts and scores."""
    name = f"judging {benchmark.name}"
    problems = {problem.task_id: problem for problem in benchmark.problems}
    pairs = tuple(
        (problems[a.task_id], Completion(task_id=a.task_id, text=a.text, whole=a.whole))
        for a in answers
    )
    contracts = (short_hash(benchmark.asking_content), short_hash(benchmark.judging_content))
    out = place.home.verdicts(run.id, benchmark.name, *contracts)
    order = JudgeOrder(pairs, benchmark.recipe.judge_by(), out)
    actors = max(1, place.processors.total // 4)

    def progress(done: int) -> None:
        place.board.update(f"{run.label}: {name}", "answers", done, len(pairs))

    if out.exists():
        place.recorder.found(run, name)
    else:
        with place.stage(run, name, place.processors, actors, priority):
            judge(order, actors, progress)
    place.recorder.judged(run, benchmark, answers, read_verdicts(out))


def _guarded(
    work: Work, place: Workplace, priority: int, failed: Callable[[Failure], None]
) -> None:
    try:
        execute(work, place, priority)
    except Exception as error:  # the outermost loop of a run: others go on, this one is reported
        if place.stopping.is_set():
            return
        failed(Failure(work.run, error))
        place.board.say(f"  {work.run.label}: FAILED: {error}")
        place.recorder.failed(work.run, f"{type(error).__name__}: {error}")


def _widest_first(work: Work) -> int:
    return -work.run.model.parallelism.workers if work.run.training else 0
