"""`python -m jobs import`: answers made elsewhere, judged as our own and put on the same board."""

import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

from rich.console import Console
from sqlalchemy import Engine

from database import limits, schema
from database.published import counted, published_scores
from database.queries import recorded_scores
from database.session import open_ledger
from database.writing import write
from eval_sandbox.mistakes import InputError
from eval_sandbox.problem import Problem
from eval_sandbox.sandbox import check_host
from eval_sandbox.verdict import Verdict, printable
from jobs.answers import Answer
from jobs.cases import read_cases
from jobs.declared import UserError
from jobs.experiment import Asking, Benchmark, short_hash
from jobs.imports.fields import spec_of
from jobs.imports.formats import AUTO, TRAINING
from jobs.imports.found import Found
from jobs.imports.judging import forget, judge_found
from jobs.imports.reading import Answers, Import, format_of, read_answers
from jobs.imports.telling import Imported, tell, tell_training
from jobs.imports.trainer_state import read_training
from jobs.recipes import BENCH, BenchmarkRecipe, find_file, read_recipe, sha256_of
from jobs.record import completion_id, contract_row, judged_rows, problem_rows

REPORTED = (1, 10, 100)
"""k of pass@k, as far as there are completions."""
COUNTED = "counted from the published verdicts"
_READ_ALIKE = ("completions", "human-eval", "evalplus")
"""Formats in which the same file has the same answers, so the id of its run does not name them."""


def import_answers(order: Import, console: Console) -> int:
    """Judge the answers in files and record them as a run of kind `imported`; or a curve.

    The same files under the same name are the same run, so a repeat changes nothing, and judges
    nothing again; under another judging contract it adds verdicts and scores.

    Returns:
        0; a sandbox that failed raises instead, and nothing is recorded.

    Raises:
        UserError: no such benchmark or format, an unreadable file, or one without the same number
            of answers to every problem.
    """
    _check_name(order.name)
    form = format_of(order)
    if order.format == AUTO:
        console.print(f"{order.files[0].name}: read as {form}", highlight=False, markup=False)
    if form == TRAINING:
        return _import_training(order, console)
    if not order.benchmark:
        raise UserError("--benchmark is needed: humaneval, mbpp, humanevalplus, mbppplus ...")
    started = time.monotonic()
    recipe = _recipe(order)
    problems = _problems(recipe)
    answers = read_answers(order, form, problems, recipe.benchmark)
    each = _answers_to_each(order, answers, problems)
    imported = _Importing(
        order=order,
        form=form,
        answers=answers,
        benchmark=_benchmark(order.benchmark, recipe, problems, each),
    )
    with _ledger() as ledger:
        judged = imported.judge_unless_recorded(ledger, console)
        write(ledger, imported.published(ledger))
        tell(ledger, imported.told(judged, time.monotonic() - started), console)
    return 0


@contextmanager
def _ledger() -> Iterator[Engine]:
    """The ledger, its connections closed at the end."""
    ledger = open_ledger()
    try:
        yield ledger
    finally:
        ledger.dispose()


def _check_name(name: str) -> None:
    at_most = min(limits.MODEL, limits.LABEL - len(_label("")))
    if not name.strip() or len(name) > at_most:
        raise UserError(f"--name has {len(name)} characters; 1 to {at_most} are expected")


def _recipe(order: Import) -> BenchmarkRecipe:
    recipe = read_recipe(BenchmarkRecipe, BENCH, order.benchmark)
    asked = {"preamble": order.preamble, "extract": order.extract}
    other = {name: value for name, value in asked.items() if value is not None}
    recipe = recipe.model_copy(update={"judging": recipe.judging.model_copy(update=other)})
    try:
        recipe.judge_by()
    except ValueError as error:
        raise UserError(str(error)) from None
    return recipe


def _problems(recipe: BenchmarkRecipe) -> tuple[Problem, ...]:
    try:
        return read_cases(recipe.benchmark, find_file(recipe.source, BENCH), recipe.split)
    except InputError as error:
        raise UserError(str(error)) from None


def _answers_to_each(order: Import, answers: Answers, problems: Sequence[Problem]) -> int:
    """How many answers every problem has: a score over chosen problems would compare with none.

    Of a partial import, how many every problem has that is answered at all.
    """
    number = Counter(found.problem.task_id for found in answers.found)
    counts = Counter(number[problem.task_id] for problem in problems)
    if order.partial:
        del counts[0]
    if len(counts) == 1:
        return next(iter(counts))
    said = ", ".join(f"{those} problems have {n}" for n, those in sorted(counts.items()))
    if 0 in counts and len(counts) == 2:
        said += ". --partial scores those with answers, and compares that with nothing"
    unknown = f"\n{answers.unknown}" if answers.unknown else ""
    files = ", ".join(str(path) for path in order.files)
    raise UserError(f"{files}: pass@k needs as many answers to each problem, but {said}{unknown}")


def _benchmark(
    name: str, recipe: BenchmarkRecipe, problems: tuple[Problem, ...], each: int
) -> Benchmark:
    report = tuple(k for k in REPORTED if k <= each)
    asking = Asking(completions=each, temperature=1.0, report=report)
    return Benchmark(name=name, recipe=recipe, asking=asking, problems=problems)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Importing:
    """An import whose files are read: what is recorded of it, and under which keys."""

    order: Import
    form: str
    answers: Answers
    benchmark: Benchmark

    @property
    def spec(self) -> dict[str, Any]:
        """What the answers are: the id of the run hashes it."""
        spec: dict[str, Any] = {
            "imported": _digests(self.order.files),
            "benchmark": self.benchmark.name,
            "name": self.order.name,
        }
        if self.form not in _READ_ALIKE:
            spec["format"] = self.form
        if self.order.fields:
            spec["fields"] = spec_of(self.order.fields)
        return spec

    @property
    def run(self) -> str:
        return short_hash(self.spec)

    @property
    def asking_content(self) -> dict[str, Any]:
        """How the answers were asked for is not known here."""
        each = self.benchmark.asking.completions
        sha256 = self.benchmark.recipe.source.sha256
        return {"made": "elsewhere", "sha256": sha256, "completions": each}

    @property
    def asking(self) -> str:
        return short_hash(self.asking_content)

    @property
    def judging(self) -> str:
        return short_hash(self.benchmark.judging_content)

    def judge_unless_recorded(self, ledger: Engine, console: Console) -> bool:
        """Judge and record; False: the ledger has the scores of this very import already."""
        name = self.benchmark.name
        metrics = [f"pass@{k}" for k in self.benchmark.asking.report]
        keys = {(self.run, name, metric, self.asking, self.judging) for metric in metrics}
        if keys <= recorded_scores(ledger):
            return False
        check_host()
        judging, found = self.benchmark.recipe.judge_by(), self.answers.found
        verdicts = judge_found(found, judging, self.judging, console, name)
        write(ledger, self._rows(verdicts))
        forget(found, self.judging)
        return True

    def _rows(self, verdicts: Sequence[Verdict]) -> Iterator[schema.Row]:
        yield _run_row(self.run, self.order.name, self.spec)
        yield contract_row("asking", self.asking_content)
        yield contract_row("judging", self.benchmark.judging_content)
        yield from problem_rows(self.benchmark)
        answered = {found.problem.task_id for found in self.answers.found}
        covered = tuple(p for p in self.benchmark.problems if p.task_id in answered)
        partly = replace(self.benchmark, problems=covered)
        answers = list(_answered(self.answers.found))
        for row in judged_rows(self.run, partly, self.asking, answers, verdicts):
            if isinstance(row, schema.Score):
                row.asked = len(self.benchmark.problems)
            yield row

    def published(self, ledger: Engine) -> Iterator[schema.Row]:
        """The publisher's verdicts and scores, and that they came: so pages read them anew.

        What was given stands before what is counted.
        """
        claims: dict[str, list[bool | None]] = defaultdict(list)
        for found, answer in zip(self.answers.found, _answered(self.answers.found), strict=True):
            claims[answer.task_id].append(found.passed)
            if found.passed is not None:
                key = self.run, self.benchmark.name, answer.task_id, answer.position, self.asking
                yield schema.PublishedVerdict(
                    completion=completion_id(*key),
                    passed=found.passed,
                    detail=printable(found.said),
                )
        said = sum(passed is not None for passed in chain.from_iterable(claims.values()))
        if said or self.order.published:
            yield schema.Event(
                run=self.run,
                kind=f"published {self.benchmark.name}",
                message=f"{said:,} verdicts on {len(self.answers.found):,} answers",
            )
        known = published_scores(ledger, run=self.run, benchmark=self.benchmark.name)
        given = {fact.metric for fact in known if not fact.source.startswith(COUNTED)}
        source = f"{COUNTED} ({self.order.source})" if self.order.source else COUNTED
        for metric, value in counted(claims, self.benchmark.asking.report).items():
            if metric not in given | self.order.published.keys():
                yield self._published_score(metric, value, source)
        for metric, value in self.order.published.items():
            yield self._published_score(metric, value, self.order.source)

    def _published_score(self, metric: str, value: float, source: str) -> schema.PublishedScore:
        return schema.PublishedScore(
            run=self.run,
            benchmark=self.benchmark.name,
            metric=metric,
            value=value,
            source=source,
        )

    def told(self, judged: bool, seconds: float) -> Imported:
        """What there is to say of it."""
        return Imported(
            run=self.run,
            name=self.order.name,
            benchmark=self.benchmark.name,
            asking=self.asking,
            judging=self.judging,
            answers=len(self.answers.found),
            problems=len(self.benchmark.problems),
            left_out=self.answers.left_out,
            unknown=self.answers.unknown,
            unread=sum(found.passed is None for found in self.answers.found),
            judged=judged,
            seconds=seconds,
        )


def _import_training(order: Import, console: Console) -> int:
    """Record the curve of a training that was done elsewhere."""
    spec = {"imported": _digests(order.files), "name": order.name, "format": TRAINING}
    run = short_hash(spec)
    if len(order.files) > 1:
        raise UserError("a training's curve is one file; name each with a command of its own")
    try:
        rows = read_training(order.files[0], run)
    except InputError as error:
        raise UserError(str(error)) from None
    with _ledger() as ledger:
        write(ledger, [_run_row(run, order.name, spec), *rows])
    tell_training(order.name, run, rows, console)
    return 0


def _digests(files: Sequence[Path]) -> str | list[str]:
    digests = [sha256_of(path) for path in files]
    return digests[0] if len(digests) == 1 else digests


def _label(name: str) -> str:
    return f"{name} (imported)"


def _run_row(run: str, name: str, spec: dict[str, Any]) -> schema.Run:
    return schema.Run(
        id=run,
        label=_label(name),
        kind="imported",
        model=name,
        state="done",
        spec=spec,
        finished_at=schema.now(),
    )


def _answered(found: Sequence[Found]) -> Iterator[Answer]:
    """The answers, each with its place among those to its problem."""
    seen: dict[str, int] = defaultdict(int)
    for one in found:
        task_id = one.problem.task_id
        yield Answer(
            task_id=task_id,
            position=seen[task_id],
            text=one.text,
            whole=one.whole,
            tokens=0,
            finish="imported",
        )
        seen[task_id] += 1
