"""Prompt contracts: how a problem is put to a model, as data in datasets/prompts, named and hashed.

`jobs/prompts.py` puts the text together.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from string import Formatter
from typing import Any, Self

from pydantic import Field, field_validator, model_validator

from eval_sandbox.benchmarks import problem_id
from eval_sandbox.contract import Judging
from eval_sandbox.extraction import EXTRACTIONS
from eval_sandbox.problem import Problem
from jobs.cases import read_cases
from jobs.declared import Declared, UserError, nearest
from jobs.recipes import (
    BENCH,
    ROOT,
    BenchmarkRecipe,
    MissingFileError,
    find_file,
    read_recipe,
)

PROMPTS = ROOT / "datasets" / "prompts"
FOR_PEOPLE = {"description", "reference"}
APART = {"stop", "extract", "benchmarks"}
"""What of a contract shapes no question; of `stop`, what is in effect is hashed beside it."""


def words_of(problem: Problem) -> dict[str, str]:
    """What a contract's text may name in braces, for one problem.

    `instruction`: the question in words. `tests`: those that the benchmark shows to a model, one a
    line. `question`: both, in the words of MBPP's paper; the instruction alone where no test is
    shown. `prompt`: the code to go on from, as published. `signature`: that without its last line
    breaks, because a byte-pair tokenizer merges a line break with the indentation that follows.
    `published`: what the benchmark's file calls its prompt, without white space around it (code in
    HumanEval, a docstring in MBPP+).
    """
    tests = problem.extra.get("tests", "")
    return {
        "instruction": problem.instruction,
        "tests": tests,
        "question": mbpp_instruction(problem.instruction, tests) if tests else problem.instruction,
        "prompt": problem.prompt,
        "signature": problem.prompt.rstrip("\n"),
        "published": problem.extra.get("published", problem.prompt).strip(),
    }


def mbpp_instruction(text: str, tests: str) -> str:
    """MBPP's question with its visible tests, in the words of its paper (Austin et al. 2021)."""
    return f"{text}\nYour code should pass these tests:\n{tests}"


WORDS = tuple(words_of(Problem(task_id="", instruction="", prompt="", entry_point="", tests=())))
MAY_BE_EMPTY = {"signature"}
"""A problem without it is asked for a whole program."""


class Shots(Declared):
    """Worked examples before the question: problems of a benchmark, each with its solution."""

    benchmark: str
    """Name of datasets/bench/NAME.yaml: the examples are read from its file."""
    split: str = ""
    """The part of that file that they are in, where it has parts."""
    task_ids: tuple[str, ...] = Field(min_length=1)
    """In the order in which they are shown."""
    closing: str
    """What follows each solution."""


class PromptContract(Declared):
    """How a problem is put to a model."""

    description: str
    version: int = Field(ge=1)
    """Raised by hand whenever the text changes; the content is hashed in any case."""
    reference: str
    """Where it was published, or who made it: for people."""
    text: str
    """Around the problem; for what stands in braces see `words_of`. `{{` is a brace."""
    otherwise: str = ""
    """The text for a problem that has no code to go on from; empty: `text`."""
    chat: bool = False
    """The text is the user's turn in the chat template of the model; otherwise all there is."""
    answer: str = ""
    """How the answer begins: said for the model, and no part of what it answers."""
    continues: bool = False
    """The answer goes on from the problem's code, where the problem has some."""
    shots: Shots | None = None
    stop: tuple[str, ...] = ()
    """An answer ends before the first of these strings."""
    extract: str = "none"
    """How the code is found in such an answer: see `eval_sandbox/extraction.py`."""
    benchmarks: tuple[str, ...] = ()
    """Forms of benchmarks that it is made for (see `BenchmarkRecipe.benchmark`); empty: all."""

    @field_validator("text", "otherwise", "answer")
    @classmethod
    def _known_words(cls, template: str) -> str:
        for _, word, spec, conversion in Formatter().parse(template):
            if word is not None and (word not in WORDS or spec or conversion):
                raise ValueError(f"there is no {{{word}}}.{nearest(word, WORDS)}")
        return template

    @model_validator(mode="after")
    def _known_extraction(self) -> Self:
        if self.extract not in EXTRACTIONS:
            raise ValueError(f"extract: no {self.extract!r}.{nearest(self.extract, EXTRACTIONS)}")
        return self

    def text_for(self, problem: Problem) -> str:
        """The template that a problem is put in."""
        return self.otherwise if self.otherwise and not problem.prompt else self.text


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """A prompt contract with its worked examples at hand."""

    name: str
    contract: PromptContract
    examples: tuple[Problem, ...] = ()
    """Empty also where their file is not on this machine and only a plan is made."""
    source: str = ""
    """sha256 of the file that the examples are from."""

    def content(self) -> dict[str, Any]:
        """All of it that shapes a question, ready for JSON and for hashing."""
        content = self.contract.model_dump(
            exclude=FOR_PEOPLE | APART, exclude_defaults=True, mode="json"
        )
        examples = {"examples": self.source} if self.source else {}
        return {"name": self.name} | content | examples

    def stop(self, recipe: BenchmarkRecipe) -> tuple[str, ...]:
        """What ends an answer: the recipe's strings where it chose this prompt, else its own."""
        chosen = recipe.stop if self.name == recipe.prompt else None
        return self.contract.stop if chosen is None else chosen

    def judging(self, recipe: BenchmarkRecipe) -> Judging:
        """How answers are judged: code is found as the recipe says where it chose this prompt."""
        chosen = recipe.judging.extract if self.name == recipe.prompt else None
        return recipe.judge_by(self.contract.extract if chosen is None else chosen)

    def unaskable(self, form: str, problems: Sequence[Problem]) -> str:
        """Why a benchmark of this form cannot be asked so, with the first problem; else ``""``."""
        made_for = self.contract.benchmarks
        if made_for and form not in made_for:
            return f"{self.name} is made for {', '.join(made_for)}, and this benchmark is {form}"
        shown = {(example.task_id, example.instruction) for example in self.examples}
        for problem in problems:
            words = words_of(problem)
            if (problem.task_id, problem.instruction) in shown:
                return f"{self.name} shows the solution of {problem.task_id}, which is asked too"
            template = self.contract.text_for(problem) + self.contract.answer
            empty = [word for word in named_in(template) - MAY_BE_EMPTY if not words[word]]
            if empty:
                return f"{self.name} puts {{{empty[0]}}}, and problem {problem.task_id} has none"
        return ""


def read_prompt(name: str, missing: list[str] | None = None) -> Prompt:
    """The contract of this name in datasets/prompts, with its examples.

    Args:
        name: of a file there.
        missing: told of a file with examples that is not on this machine; None: that is refused.

    Raises:
        UserError: there is none (with the nearest name), something is wrong in it, or an example is
            not in its file.
        MissingFileError: the file with the examples is not on this machine.
    """
    contract = read_recipe(PromptContract, PROMPTS, name)
    if contract.shots is None:
        return Prompt(name=name, contract=contract)
    recipe = read_recipe(BenchmarkRecipe, BENCH, contract.shots.benchmark)
    return Prompt(
        name=name,
        contract=contract,
        examples=_examples(name, contract.shots, recipe, missing),
        source=recipe.source.sha256,
    )


def named_in(template: str) -> set[str]:
    """The words that a template names."""
    return {word for _, word, _, _ in Formatter().parse(template) if word}


def _examples(
    name: str, shots: Shots, recipe: BenchmarkRecipe, missing: list[str] | None
) -> tuple[Problem, ...]:
    try:
        path = find_file(recipe.source, BENCH)
    except MissingFileError as error:
        if missing is None:
            raise
        missing.append(str(error))
        return ()
    known = {problem_id(p.task_id): p for p in read_cases(recipe.benchmark, path, shots.split)}
    absent = [task_id for task_id in shots.task_ids if problem_id(task_id) not in known]
    if absent:
        raise UserError(f"datasets/prompts/{name}.yaml: {path.name} has no problem {absent[0]!r}")
    return tuple(known[problem_id(task_id)] for task_id in shots.task_ids)
