"""The route that judges a stored answer once more, under the very contract of its verdict.

Nothing is written: the fresh verdict stands beside the recorded one, for people to compare.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from fastapi import APIRouter, HTTPException
from sqlalchemy import Engine

from database.comparability import Contents, what_differs
from database.completions import CompletionFacts, completion_page
from eval_sandbox.contract import Judging, Limits
from eval_sandbox.judge import assemble
from eval_sandbox.mistakes import InputError
from eval_sandbox.problem import Completion, Problem
from jobs.cases import CONVERTERS_VERSION, FORMS, read_cases
from jobs.declared import UserError
from jobs.recipes import BENCH, BenchmarkRecipe, find_file, read_recipe
from jobs.serving.service import Service

MOST_SHOWN = 100_000
"""Characters of the program that the answer of the route carries."""


class NotHereError(Exception):
    """The ledger holds no such answer, or no such verdict on it."""


class NotAgainError(Exception):
    """An answer that cannot be judged again under the same contract; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A stored answer, its problem and its contract: what a judge needs."""

    problem: Problem
    answer: Completion
    judging: Judging
    contract: str
    """Id of the judging contract."""

    @property
    def program(self) -> str:
        """What is judged: the program found in the answer, behind what it continues."""
        return assemble(self.problem, self.answer, self.judging)


def router(service: Service) -> APIRouter:
    """POST /completions/{id}/judge."""
    made = APIRouter()

    @made.post("/completions/{completion}/judge")
    async def judge(completion: str, judging: str = "") -> dict[str, Any]:
        """Judge a stored answer again; `judging` is a contract's id, empty: that of its verdict."""
        try:
            case = await asyncio.to_thread(case_of, service.ledger, completion, judging)
        except NotHereError as error:
            raise HTTPException(404, str(error)) from None
        except (NotAgainError, UserError, InputError) as error:
            raise HTTPException(409, str(error)) from None
        verdict = await service.judges.judge_answer(case.problem, case.answer, case.judging)
        program = await asyncio.to_thread(lambda: case.program)
        return asdict(verdict) | {
            "judging": case.contract,
            "program": program[:MOST_SHOWN],
            "characters": len(program),
        }

    return made


def case_of(ledger: Engine, completion: str, judging: str = "") -> Case:
    """What it takes to judge a stored answer again.

    Args:
        ledger: that has it.
        completion: its id.
        judging: id of the contract; empty: that of the verdict that was scored last.

    Raises:
        NotHereError: the ledger holds no such answer, or no verdict on it under that contract.
        NotAgainError: this installation would judge it under another contract, or its text was
            pruned.
        UserError: there is no such benchmark, or its file is not on this machine.
        InputError: the file cannot be read.
    """
    page = completion_page(ledger, completion)
    if page is None:
        raise NotHereError(f"the ledger holds no completion {completion!r}")
    found = next((v for v in page.verdicts if judging in ("", v.judging)), None)
    if found is None:
        under = f" under the contract {judging!r}" if judging else ""
        raise NotHereError(f"completion {completion!r} has no verdict{under}")
    facts = page.facts
    if facts.pruned_at is not None:
        raise NotAgainError(f"its text was pruned on {facts.pruned_at:%Y-%m-%d}")
    recipe = read_recipe(BenchmarkRecipe, BENCH, facts.benchmark)
    return Case(
        problem=_problem(facts, recipe, found.content),
        answer=Completion(task_id=facts.task_id, text=facts.text, whole=facts.whole),
        judging=_judging(recipe, found.content),
        contract=found.judging,
    )


def _problem(
    facts: CompletionFacts, recipe: BenchmarkRecipe, content: Mapping[str, Any]
) -> Problem:
    judged, pinned = str(content.get("sha256", "")), recipe.source.sha256
    if judged != pinned:
        raise NotAgainError(
            f"it was judged by another file of {facts.benchmark}: sha256 {judged[:12] or 'unknown'}"
            f", and {recipe.source.file}, which the recipe names now, is {pinned[:12]}"
        )
    path = find_file(recipe.source, BENCH)
    known = _problems(recipe.benchmark, path, recipe.split, pinned)
    if facts.task_id not in known:
        raise NotAgainError(f"{recipe.source.file} has no problem {facts.task_id!r}")
    return known[facts.task_id]


@lru_cache(maxsize=4)
def _problems(form: str, path: Path, split: str, _sha256: str) -> dict[str, Problem]:
    return {problem.task_id: problem for problem in read_cases(form, path, split)}


def _judging(recipe: BenchmarkRecipe, content: Mapping[str, Any]) -> Judging:
    """The contract that the ledger tells, if the judge that is here keeps all of it."""
    try:
        judging = Judging(
            preamble=content["preamble"],
            extract=content["extract"],
            limits=Limits(**content["limits"]),
            isolation=content["isolation"],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise NotAgainError(f"this judge does not know its contract: {error}") from None
    if judging.isolation != "full":
        raise NotAgainError("it was judged without isolation, and here nothing is")
    here = judging.content() | {
        "benchmark": recipe.benchmark,
        "split": recipe.split,
        "sha256": recipe.source.sha256,
    }
    if recipe.benchmark in FORMS:
        here["converted"] = CONVERTERS_VERSION
    apart = what_differs(_part(here), _part(content))
    if apart:
        raise NotAgainError(f"here it would be {'; '.join(apart)} (here / then)")
    return judging


def _part(content: Mapping[str, Any]) -> Contents:
    return Contents(asking={}, judging=content)
