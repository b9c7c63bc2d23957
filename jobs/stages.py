"""The stages of a run: prepare, train, prove, ask, judge. What is on disk is not done again."""

import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from eval_sandbox.problem import Completion
from jobs.answers import Answer, cost_path, read_answers, read_cost
from jobs.asha import Rule, Stopped
from jobs.data.crew import Alone, OnCluster
from jobs.data.report import Report, read_stored
from jobs.experiment import Benchmark, Dataset, ModelSpec, Run, short_hash
from jobs.exports.model_cards import model_card, tuned_of, write_model_card
from jobs.generate import AskOrder, ask
from jobs.home import Home
from jobs.judge import JudgeOrder, judge, read_verdicts
from jobs.prepare import prepare
from jobs.prepared import read_report
from jobs.prompts import question, tokenizer_for
from jobs.proof import ProofOrder, prove
from jobs.remote.asking import ask_server, served_order
from jobs.search import Outcome, train_swept
from jobs.train import train
from jobs.training.order import TrainOrder
from jobs.weights import Weights, tuned_weights
from jobs.workplace import HaltedError, Spent, Work, Workplace


def prepare_stage(works: Sequence[Work], place: Workplace) -> None:
    """Prepare the data of all trainings to come, each dataset once.

    Raises:
        UserError: a source is missing or damaged, or no row is left of a dataset.
    """
    crew = OnCluster(place.processors.total) if place.storage.shared else Alone()
    for location in {work.run.model.location for work in works}:
        place.storage.keep_base(location)
    for dataset, models in _to_prepare(works, place):
        started = time.monotonic()
        there = place.storage.there(place.home.data(dataset.digest).path)
        folder = prepare(dataset, place.home, crew, place.board.part)
        place.recorder.prepared(read_report(folder, dataset.recipe, models, crew))
        if not there:
            place.storage.keep(folder.path)
        worked = time.monotonic() - started
        place.spent.append(Spent(stage="preparing", label=dataset.name, waited=0.0, worked=worked))
        place.board.say(f"  {dataset.name}: prepared in {worked:.0f} s")


def _to_prepare(
    works: Sequence[Work], place: Workplace
) -> list[tuple[Dataset, dict[str, ModelSpec]]]:
    """Datasets that something is trained on, or proven by, each with the models that are."""
    found: dict[str, tuple[Dataset, dict[str, ModelSpec]]] = {}
    for run in (work.run for work in works):
        left = [place.home.run(run.id) / name for name in ("checkpoint", "proof.json")]
        if run.training and not all(map(place.storage.there, left)):
            dataset = run.training.dataset
            found.setdefault(dataset.digest, (dataset, {}))[1][run.model_name] = run.model
    return list(found.values())


def base_weights(model: ModelSpec) -> Weights:
    """A model as it came."""
    return Weights(location=model.location, revision=model.revision or None)


def train_stage(work: Work, place: Workplace, rank: float) -> Weights:
    """What a tuned run is asked with, trained now or found on disk."""
    run = work.run
    order = train_order(work, place.home)
    if place.storage.there(order.checkpoint):
        place.recorder.found(run, "training")
    else:
        ranks = work.spread.ranks
        with place.stage(run, "training", place.accelerators, ranks, rank) as held:
            train(
                order,
                place.mailbox,
                gpus=place.gpus is not None,
                cuda=place.cuda,
                kind=held.kind,
                title=f"{run.label} {run.id}",
                attempt=place.claims.attempt(run.id),
                unwanted=place.unwanted(run),
                lost=partial(place.happened, run, "training"),
                storage=place.storage,
            )
    place.recorder.trained(run, order.checkpoint)
    _write_card(run, order.checkpoint, place.home)
    assert run.training is not None
    kind, method = order.settings.weights, run.training.method.model_dump()
    return tuned_weights(base_weights(run.model), order.checkpoint, kind, method)


def contest_stage(
    rule: Rule, works: Sequence[Work], place: Workplace, rank: float
) -> dict[str, Outcome]:
    """Train runs that compete, as many at once as there is room for, and stop those that lag.

    Returns:
        What became of each, by run id.
    """
    widest = max(work.spread.ranks for work in works)
    wanted = sum(work.wanted for work in works)
    at_once = min(wanted, max(1, place.accelerators.total // widest))
    asked = time.monotonic()
    stops = place.telemetry.stops
    nobody = partial(_nobody_wants, works, place)
    taken = place.accelerators.take(at_once * widest, rank=rank, least=widest, unwanted=nobody)
    with taken as held:
        if place.stopping.is_set():
            raise HaltedError
        started = time.monotonic()
        orders = [train_order(work, place.home) for work in works]
        for work in works:
            if work.wanted and not stops.of(work.run.id):
                place.recorder.state(work.run, "training")
        runs = {work.run.id: work.run for work in works}

        def told(decision: Stopped) -> None:
            place.say(runs[decision.run_id], str(decision))
            if place.claims.of(decision.run_id):  # of others it is recorded already
                place.recorder.stopped(runs[decision.run_id], str(decision))

        outcomes = train_swept(
            orders,
            rule,
            place.mailbox,
            gpus=place.gpus is not None,
            cuda=place.cuda,
            kind=held.kind,
            at_once=held.count // widest,
            told=told,
            unwanted=lambda run_id: place.unwanted(runs[run_id])(),
            attempts={run_id: place.claims.attempt(run_id) for run_id in runs},
            lost=lambda run_id, text: place.happened(runs[run_id], "training", text),
        )
    worked = time.monotonic() - started
    label = f"{len(works)} trainings of a sweep"
    place.spent.append(Spent(stage="training", label=label, waited=started - asked, worked=worked))
    return outcomes


def _nobody_wants(works: Sequence[Work], place: Workplace) -> bool:
    """Whether every run that is to be trained was stopped by hand, or is another driver's."""
    return all(place.unwanted(work.run)() for work in works if work.wanted)


def train_order(work: Work, home: Home) -> TrainOrder:
    """The training of a tuned run."""
    run = work.run
    assert run.training is not None
    return TrainOrder(
        run_id=run.id,
        location=run.model.location,
        revision=run.model.revision or None,
        rows=home.data(run.training.dataset.digest).rows,
        form=run.training.dataset.recipe.prompt,
        too_long=run.training.dataset.recipe.too_long,
        settings=run.training.method.settings(),
        spread=work.spread,
        seed=run.seed,
        folder=home.run(run.id),
    )


def proof_stage(run: Run, weights: Weights, place: Workplace, rank: float) -> None:
    """Show that a training took, or stop the run here."""
    assert run.training is not None
    recipe = run.training.dataset.recipe
    order = ProofOrder(
        weights=weights,
        rows=place.home.data(run.training.dataset.digest).rows,
        form=recipe.prompt,
        too_long=recipe.too_long,
        max_length=run.training.method.max_length,
        out=place.home.run(run.id) / "proof.json",
        storage=place.storage,
    )
    if place.storage.there(order.out):
        place.recorder.found(run, "proving")
    else:
        with place.stage(run, "proving", place.accelerators, 1, rank) as held:
            gpus = place.gpus is not None
            prove(
                order,
                gpus=gpus,
                cuda=place.cuda,
                kind=held.kind,
                unwanted=place.unwanted(run),
                lost=partial(place.happened, run, "proving"),
            )


def _write_card(run: Run, checkpoint: Path, home: Home) -> None:
    """Say beside the weights what they were made of; nothing where the data is no longer there."""
    assert run.training is not None
    data = home.data(run.training.dataset.digest)
    if data.report.exists():
        card = model_card(tuned_of(run, checkpoint), read_stored(Report, data.report))
        write_model_card(checkpoint, card)


def ask_stage(
    run: Run, weights: Weights, benchmark: Benchmark, place: Workplace, rank: float
) -> list[Answer]:
    """A run's answers to a benchmark, made now or found on disk; what they cost is recorded."""
    asking = short_hash(benchmark.asked_of(run))
    out = place.home.completions(run.id, benchmark.name, asking)
    name = f"generating {benchmark.name}"
    if place.storage.there(out, cost_path(out)):
        place.recorder.found(run, name)
    elif run.model.server is not None:
        order = served_order(run, benchmark, out)
        with place.stage(run, name, None, 0, rank):
            ask_server(order, partial(_show_answers, run, name, place), place.unwanted(run))
            place.storage.keep(cost_path(out), out)
    else:
        own = replace(ask_order(run, weights, benchmark, out), storage=place.storage)
        total, runs = place.accelerators.total, len(place.unfinished)
        most = fair_share(total, runs, len(own.missing))
        with place.stage(run, name, place.accelerators, most, rank, least=1) as held:
            count = len(own.questions) * own.asking.completions
            place.telemetry.stage(run.id, name, 0, count, held.count)
            ask(
                own,
                place.mailbox,
                gpus=place.gpus is not None,
                cuda=place.cuda,
                kind=held.kind,
                workers=held.count,
                unwanted=place.unwanted(run),
                lost=partial(place.happened, run, name),
            )
            place.telemetry.stage(run.id, name, count, count)
            place.storage.keep(cost_path(out), out)
    if cost := read_cost(out):
        place.recorder.generated(run, benchmark, cost)
    return read_answers(out)


def fair_share(total: int, runs: int, useful: int) -> int:
    """How many processors or GPUs one run may take.

    As many as each would get if all runs that are not finished shared them evenly, and one at
    least: while there are more runs than GPUs each is asked by one, and the last run has them all.

    Args:
        total: all there are.
        runs: that are not finished, this one included.
        useful: as many as it has use for.
    """
    return max(1, min(useful, total // max(1, runs)))


def ask_order(run: Run, weights: Weights, benchmark: Benchmark, out: Path) -> AskOrder:
    """What to ask a run; the questions of a tuned run are those of its base, to the letter."""
    prompt = benchmark.prompt
    assert prompt is not None
    tokenizer = tokenizer_for(prompt, run.model.location, run.model.revision or None)
    return AskOrder(
        run_id=run.id,
        benchmark=benchmark.name,
        weights=weights,
        questions=tuple(question(p, prompt, tokenizer) for p in benchmark.problems),
        asking=benchmark.asking,
        stop=benchmark.stop,
        seed=run.seed,
        out=out,
    )


def _show_answers(run: Run, name: str, place: Workplace, done: int, of: int) -> None:
    place.board.update(f"{run.label}: {name}", "answers", done, of)
    place.telemetry.stage(run.id, name, done, of)


def judge_stage(
    run: Run, benchmark: Benchmark, answers: Sequence[Answer], place: Workplace, rank: float
) -> None:
    """Judge a run's answers to a benchmark, and record answers, verdicts and scores."""
    name = f"judging {benchmark.name}"
    problems = {problem.task_id: problem for problem in benchmark.problems}
    pairs = tuple(
        (problems[a.task_id], Completion(task_id=a.task_id, text=a.text, whole=a.whole))
        for a in answers
    )
    contracts = (short_hash(benchmark.asked_of(run)), short_hash(benchmark.judging_content))
    out = place.home.verdicts(run.id, benchmark.name, *contracts)
    order = JudgeOrder(pairs, benchmark.judging, out)
    actors = max(1, place.processors.total // 4)

    def progress(done: int) -> None:
        _show_answers(run, name, place, done, len(pairs))

    if place.storage.there(out):
        place.recorder.found(run, name)
    else:
        with place.stage(run, name, place.processors, actors, rank, least=1) as held:
            place.telemetry.stage(run.id, name, 0, len(pairs), held.count)
            lost = partial(place.happened, run, name)
            judge(order, held.count, progress, place.unwanted(run), lost)
            place.storage.keep(out)
    place.recorder.judged(run, benchmark, answers, read_verdicts(out))
