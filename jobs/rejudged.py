"""How stored answers are judged again, or why they cannot be."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Engine

from database.queries import contract
from database.rejudging import (
    Asked,
    StoredScore,
    answers_to_each,
    count_unjudged,
    questions,
    scores_of,
)
from database.standings import k_of
from database.stored import storable
from eval_sandbox.problem import Problem
from jobs.cases import CONVERTERS_VERSION, FORMS
from jobs.declared import UserError
from jobs.experiment import Asking, Benchmark, short_hash
from jobs.prompt_contracts import WORDS, Prompt, named_in, read_prompt, words_of
from jobs.recipes import BenchmarkRecipe

NAMED = 5
"""Problems that a line about a run names at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What to judge again, and how."""

    benchmark: str
    run: str = ""
    """Id or label; empty: all."""
    experiment: str = ""
    """Name; empty: all."""
    preamble: str = ""
    """Instead of the recipe's; empty: that."""
    extract: str = ""
    """Instead of what recipe and prompt contract say; empty: that."""


class UnjudgeableError(Exception):
    """Answers of one run that cannot be judged again; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Again:
    """Answers of one run, and how they are judged now."""

    of: Asked
    benchmark: Benchmark
    """The problems that they answer, and the judging contract."""
    unjudged: int
    """Answers that have no verdict under that contract yet."""
    before: tuple[StoredScore, ...]
    """Scores under the contract that scored them last, of the others; empty: there is none."""

    @property
    def judging(self) -> str:
        """Id of the judging contract."""
        return short_hash(self.benchmark.judging_content)


def judged_again(
    of: Asked,
    wanted: Wanted,
    recipe: BenchmarkRecipe,
    problems: Mapping[str, Problem],
    ledger: Engine,
) -> Again:
    """How these answers are judged again.

    Raises:
        UnjudgeableError: their problems are not those of the file, or nobody knows how they were
            asked.
        UserError: there is no such preamble or extraction.
    """
    content = contract(ledger, of.asking) or {}
    each = answers_to_each(ledger, of)
    _require_same_questions(of, content, list(each), recipe, problems, ledger)
    judged = _judged_as(wanted, recipe, content)
    scores = scores_of(ledger, of)
    benchmark = Benchmark(
        name=of.benchmark,
        recipe=judged,
        asking=_asking(each, scores),
        problems=_asked_problems(each, scores, problems),
    )
    judging = short_hash(benchmark.judging_content)
    others = [score for score in scores if score.judging != judging]
    return Again(
        of=of,
        benchmark=benchmark,
        unjudged=count_unjudged(ledger, of, judging),
        before=tuple(score for score in others if score.judging == others[0].judging),
    )


def _require_same_questions(
    of: Asked,
    content: Mapping[str, Any],
    task_ids: Sequence[str],
    recipe: BenchmarkRecipe,
    problems: Mapping[str, Problem],
    ledger: Engine,
) -> None:
    """Refuse answers to questions that the benchmark's file no longer asks in the same words."""
    converted = CONVERTERS_VERSION if recipe.benchmark in FORMS else None
    digest = str(content.get("sha256", ""))
    lost = [task_id for task_id in task_ids if task_id not in problems]
    if not lost and (digest, content.get("converted")) != (recipe.source.sha256, converted):
        stored = questions(ledger, of.benchmark, digest)
        lost = [t for t in task_ids if stored.get(t) != _question(problems[t])]
        if not lost:
            _require_all_stored(content, [problems[t] for t in task_ids], recipe)
    if lost:
        raise UnjudgeableError(
            f"{len(lost)} of its {len(task_ids)} problems are not in {recipe.source.file}, or not "
            f"in the words in which they were asked: {some(lost)}"
        )


def _require_all_stored(
    content: Mapping[str, Any], problems: Sequence[Problem], recipe: BenchmarkRecipe
) -> None:
    """Refuse answers to what else a file says of a problem, in another version of that file.

    Of a problem the ledger has its instruction and its prompt.
    """
    put = content.get("prompt")
    if put is None:
        return
    for problem in problems:
        said, stored = words_of(problem), words_of(replace(problem, extra={}))
        if more := sorted(word for word in _put(put, problem) if said[word] != stored[word]):
            raise UnjudgeableError(
                f"it was asked {{{more[0]}}} of another version of {recipe.source.file}, which the "
                f"ledger does not have: nobody knows whether {problem.task_id} was the same"
            )


def _put(prompt: Any, problem: Problem) -> set[str]:
    """The words that a prompt contract named for a problem; all of them where only it is named."""
    if not isinstance(prompt, dict) or "text" not in prompt:
        return set(WORDS)
    other = "" if problem.prompt else str(prompt.get("otherwise", ""))
    template = (other or str(prompt["text"])) + str(prompt.get("answer", ""))
    return named_in(template) & set(WORDS)


def _question(problem: Problem) -> tuple[str, str]:
    return storable(problem.instruction), storable(problem.prompt)


def _judged_as(
    wanted: Wanted, recipe: BenchmarkRecipe, content: Mapping[str, Any]
) -> BenchmarkRecipe:
    """The recipe with the preamble and the extraction that these answers are judged with."""
    prompt = None if wanted.extract else _asked_under(recipe, content)
    try:
        usual = prompt.judging(recipe) if prompt else recipe.judge_by()
        judging = recipe.judging.model_copy(
            update={
                "preamble": wanted.preamble or usual.preamble,
                "extract": wanted.extract or usual.extract,
            }
        )
        changed = recipe.model_copy(update={"judging": judging})
        changed.judge_by()
    except ValueError as error:
        raise UserError(str(error)) from None
    return changed


def _asked_under(recipe: BenchmarkRecipe, content: Mapping[str, Any]) -> Prompt | None:
    """The prompt contract that answers were asked under; None: they were made elsewhere.

    Raises:
        UnjudgeableError: there is none of that name any more, so that what it says of extraction is
            not known.
    """
    put = content.get("prompt")
    if put is None:
        return None
    name = put.get("name", "") if isinstance(put, dict) else put
    try:
        return read_prompt(name or recipe.prompt, [])
    except UserError as error:
        raise UnjudgeableError(f"{error} Name an extraction with --extract") from None


def _asking(each: Mapping[str, int], scores: Sequence[StoredScore]) -> Asking:
    """How many answers there are to each problem, and which pass@k were reported of them."""
    if len(set(each.values())) > 1:
        fewest, most = min(each.values()), max(each.values())
        raise UnjudgeableError(
            f"pass@k needs as many answers to each, but there are {fewest} to {most}"
        )
    report = sorted({k_of(score.metric) for score in scores}) or [1]
    answers = next(iter(each.values()))
    return Asking(completions=answers, temperature=1.0, report=tuple(report))


def _asked_problems(
    each: Mapping[str, int], scores: Sequence[StoredScore], problems: Mapping[str, Problem]
) -> tuple[Problem, ...]:
    """The problems that were asked: those answered, or all of the file where its score says so."""
    answered = tuple(problem for task_id, problem in problems.items() if task_id in each)
    number = scores[0].asked if scores else len(answered)
    if number not in (len(answered), len(problems)):
        raise UnjudgeableError(
            f"{number} problems were asked, but {len(answered)} have answers, and the file has "
            f"{len(problems)}"
        )
    return answered if number == len(answered) else tuple(problems.values())


def some(task_ids: Sequence[str]) -> str:
    """The first names of a list, each once."""
    names = list(dict.fromkeys(task_ids))
    return ", ".join(names[:NAMED]) + (" ..." if names[NAMED:] else "")
