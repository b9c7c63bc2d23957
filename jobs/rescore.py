"""`python -m jobs rescore`: stored answers judged again, under another contract or the same.

Needs no model and no GPU. Verdicts are written as they come, some seconds' worth at a time, and a
score once all its answers have one: killed midway it leaves verdicts and no half score, and the
same command goes on from there. Nothing is deleted.
"""

import os
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from sqlalchemy import Engine

from database.answered import count_answered
from database.queries import runs
from database.rejudging import (
    Asked,
    StoredAnswer,
    answered_benchmarks,
    asked,
    count_unjudged,
    moved,
    questions,
    scores_of,
    unjudged,
)
from database.session import open_ledger
from database.standings import k_of, runs_of
from database.tallies import count_verdicts
from database.writing import write
from eval_sandbox.judge import judge_all
from eval_sandbox.mistakes import InputError
from eval_sandbox.problem import Completion, Problem
from eval_sandbox.sandbox import check_host
from eval_sandbox.verdict import Outcome, Verdict
from jobs.answers import Answer
from jobs.cases import read_cases
from jobs.declared import UserError, nearest
from jobs.named_runs import named_run
from jobs.progress import Board
from jobs.recipes import BENCH, BenchmarkRecipe, find_file, read_recipe
from jobs.record import contract_row, problem_rows, score_rows, verdict_rows
from jobs.rejudged import Again, UnjudgeableError, Wanted, judged_again, some

BATCH = 200
"""Verdicts that are written at a time."""
SECONDS = 5.0
"""After so long fewer are written: all that is lost where we are killed."""


def rescore(wanted: Wanted, console: Console) -> int:
    """Judge stored answers under the present contract, or one with other names, and say what moved.

    Safe to repeat: what has a verdict under that contract is not judged again.

    Returns:
        0; 1 where the sandbox failed, or some answers could not be judged again.

    Raises:
        UserError: there is no such benchmark, run, experiment, preamble or extraction, or there are
            no such answers.
        LedgerError: there is no such experiment.
        SandboxUnavailable: this host cannot isolate anything.
    """
    recipe = read_recipe(BenchmarkRecipe, BENCH, wanted.benchmark)
    problems = _problems(recipe)
    check_host()
    ledger = open_ledger()
    try:
        return _rescore(wanted, recipe, problems, ledger, console)
    finally:
        ledger.dispose()


def _rescore(
    wanted: Wanted,
    recipe: BenchmarkRecipe,
    problems: dict[str, Problem],
    ledger: Engine,
    console: Console,
) -> int:
    again: list[Again] = []
    refused = 0
    for of in _answers(wanted, ledger):
        try:
            again.append(judged_again(of, wanted, recipe, problems, ledger))
        except UnjudgeableError as error:
            refused += 1
            _say(console, f"{of.label}: left as it is: {error}")
    broken = _judge(again, ledger, console)
    for one in again:
        _say(console, _told(one, ledger))
    return 1 if broken or refused else 0


def _problems(recipe: BenchmarkRecipe) -> dict[str, Problem]:
    try:
        found = read_cases(recipe.benchmark, find_file(recipe.source, BENCH), recipe.split)
    except InputError as error:
        raise UserError(str(error)) from None
    return {problem.task_id: problem for problem in found}


def _answers(wanted: Wanted, ledger: Engine) -> list[Asked]:
    """Whose answers are judged again.

    Raises:
        UserError: there is no such run, or there are no answers.
        LedgerError: there is no such experiment.
    """
    among = set(runs_of(ledger, wanted.experiment)) if wanted.experiment else None
    if wanted.run:
        known = runs(ledger)
        run = named_run(wanted.run, known, known)
        among = {run.id} if among is None else among & {run.id}
    found = asked(ledger, wanted.benchmark, among)
    if not found:
        of = f" of {wanted.run or wanted.experiment}" if among is not None else ""
        known_answers = answered_benchmarks(ledger)
        near = nearest(wanted.benchmark, set(known_answers) - {wanted.benchmark})
        raise UserError(f"the ledger has no answers{of} to {wanted.benchmark!r}.{near}")
    return found


def _judge(again: Sequence[Again], ledger: Engine, console: Console) -> int:
    """Judge all that has no verdict and score what is complete; how often the sandbox failed."""
    for one in again:
        write(ledger, _contract(one, ledger))
    total, done, broken = sum(one.unjudged for one in again), 0, 0
    with Board(console) as board:
        for judging in dict.fromkeys(one.judging for one in again):
            alike = [one for one in again if one.judging == judging]
            for one, verdicts in _batches(alike, ledger):
                kept = [(a, v) for a, v in verdicts if v.outcome is not Outcome.SANDBOX_ERROR]
                broken += len(verdicts) - len(kept)
                write(ledger, _rows(one, kept))
                done += len(verdicts)
                board.update(f"judging {one.of.benchmark}", "answers", done, total)
            for one in alike:
                write(ledger, _scores(one, ledger))
    if broken:
        _say(console, f"the sandbox failed on {broken} answers; the same command tries them again")
    return broken


def _contract(one: Again, ledger: Engine) -> Iterator[Any]:
    """The judging contract, and the questions of its file where the ledger lacks some."""
    yield contract_row("judging", one.benchmark.judging_content)
    known = questions(ledger, one.of.benchmark, one.benchmark.recipe.source.sha256)
    if any(problem.task_id not in known for problem in one.benchmark.problems):
        yield from problem_rows(one.benchmark)


Judged = tuple[StoredAnswer, Verdict]


def _batches(alike: Sequence[Again], ledger: Engine) -> Iterator[tuple[Again, list[Judged]]]:
    """Verdicts of answers that are judged alike, a batch of one run at a time, in their order."""
    batch: list[Judged] = []
    current: Again | None = None
    since = time.monotonic()
    for one, answer, verdict in _verdicts(alike, ledger):
        full = len(batch) == BATCH or time.monotonic() - since > SECONDS
        if current is not None and (one is not current or full):
            yield current, batch
            batch, since = [], time.monotonic()
        current = one
        batch.append((answer, verdict))
    if current is not None:
        yield current, batch


def _verdicts(
    alike: Sequence[Again], ledger: Engine
) -> Iterator[tuple[Again, StoredAnswer, Verdict]]:
    """One crew of workers for all runs; the texts of a run are read when it is its turn."""
    waiting: deque[tuple[Again, StoredAnswer]] = deque()

    def pairs() -> Iterator[tuple[Problem, Completion]]:
        for one in alike:
            asked_of = {problem.task_id: problem for problem in one.benchmark.problems}
            for answer in unjudged(ledger, one.of, one.judging):
                waiting.append((one, answer))
                yield asked_of[answer.task_id], _completion(answer)

    if any(one.unjudged for one in alike):
        judging = alike[0].benchmark.judging
        for verdict in judge_all(pairs(), judging, workers=os.cpu_count() or 1):
            yield (*waiting.popleft(), verdict)


def _completion(answer: StoredAnswer) -> Completion:
    return Completion(task_id=answer.task_id, text=answer.text, whole=answer.whole)


def _rows(one: Again, judged: Sequence[Judged]) -> Iterator[Any]:
    answers = [Answer(**asdict(answer)) for answer, _ in judged]
    verdicts = [verdict for _, verdict in judged]
    return verdict_rows(one.of.run, one.benchmark, one.of.asking, answers, verdicts)


def _scores(one: Again, ledger: Engine) -> Iterator[Any]:
    """The scores of a run, once every answer of it has a verdict."""
    of = one.of
    if count_unjudged(ledger, of, one.judging):
        return
    key = {"run": of.run, "benchmark": of.benchmark, "asking": of.asking, "judging": one.judging}
    yield count_answered(ledger, **key)
    found = count_verdicts(ledger, **key)
    results = {result.task_id: result for result in found}
    in_order = [results[p.task_id] for p in one.benchmark.problems if p.task_id in results]
    yield from score_rows(of.run, one.benchmark, (of.asking, one.judging), in_order)


def _told(one: Again, ledger: Engine) -> str:
    """What became of a run, in a line or two."""
    now = {s.metric: s.value for s in scores_of(ledger, one.of) if s.judging == one.judging}
    if not now:
        return f"{one.of.label}: no score, because the sandbox failed"
    was = {score.metric: score.value for score in one.before}
    values = ", ".join(
        f"{metric} {_percent(was.get(metric))} -> {_percent(now[metric])}"
        for metric in sorted(now, key=k_of)
    )
    if not was:
        return f"{one.of.label}: {values}; judged under no other contract"
    return f"{one.of.label}: {values}; {_differences(one, ledger)}"


def _differences(one: Again, ledger: Engine) -> str:
    changed = moved(ledger, one.of, one.before[0].judging, one.judging)
    won = [m.task_id for m in changed if m.after == "passed"]
    lost = [m.task_id for m in changed if m.before == "passed"]
    other = Counter(
        f"{m.before} now {m.after}" for m in changed if "passed" not in (m.before, m.after)
    )
    parts = [
        f"{len(won)} pass that did not{_named(won)}",
        f"{len(lost)} no longer pass{_named(lost)}",
    ]
    parts += [f"{count} {what}" for what, count in sorted(other.items())]
    return ", ".join(parts)


def _named(task_ids: Sequence[str]) -> str:
    return f" ({some(task_ids)})" if task_ids else ""


def _percent(value: float | None) -> str:
    return "none" if value is None else f"{100 * value:.1f} %"


def _say(console: Console, text: str) -> None:
    console.print(text, highlight=False, markup=False, soft_wrap=True)
