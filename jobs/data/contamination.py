"""What a row of training data has of a benchmark's problems.

Methods, each with where it is from:

- `substring`: the problem's description or its solution stands in the row, without regard to case
  and white space (BigCode, `bigcode-dataset/decontamination/find_substrings.py`, which regards
  white space).
- `ngram10`: ten words in a row are the same (DeepSeek-Coder, arXiv:2401.14196, section 2, which
  looks for shorter texts whole; Qwen2.5-Coder, arXiv:2409.12186, section 5).
- `ngram13`: thirteen words (GPT-3, arXiv:2005.14165, appendix C; `lm-evaluation-harness`,
  docs/decontamination.md). GPT-3 ignores n-grams that are frequent; here an n-gram counts
  that one problem of a benchmark has and no other, and at least half of whose words are not its
  manner of speaking (`overlap`).
- `ngram8`: eight words, the least of GPT-3's range; flags what a person may look at.
- `syntax`: a function of the row has the normal form (`syntax`) of the problem's reference. Ours,
  for copies under other names, which share no words in a row.
- `execution`: a function of the row passes the problem's tests, as ise-uiuc/magicoder issue 40
  found 82 of HumanEval's 164 problems in an instruction set. Only pairs that `nominations` names
  are run, by `execution`.

What is not found: a question in other words with a solution that the tests refuse, or with none.
"""

import ast
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Self

from pydantic import Field, model_validator

from eval_sandbox.problem import Problem
from jobs.data.code import parse, programs_beside
from jobs.data.nominations import By, Nomination, Nominator
from jobs.data.overlap import SHORTEST_SUBSTRING, Overlap, Text, words_of
from jobs.data.problem_texts import description_of, entry_of, question_of, solution_of
from jobs.data.row import Row
from jobs.data.syntax import Function, Program, functions_of, outline
from jobs.declared import Declared

Method = Literal["substring", "ngram8", "ngram10", "ngram13", "syntax", "execution"]

SIZES: dict[Method, int] = {"ngram8": 8, "ngram10": 10, "ngram13": 13}
"""Words of an n-gram."""
FEWEST_NODES = 9
"""Nodes of a normal form below which functions are the same by chance: `return a + b`. Of 87,410
functions of installed packages 14 have the form of a reference below 9 nodes, 5 above, which are
the same algorithm."""
LONGEST_EVIDENCE = 200
"""Characters."""


class Contamination(Declared):
    """Against what rows are compared, how, and what follows. On by default."""

    against: Literal["experiment"] | tuple[str, ...] = "experiment"
    """`experiment`: every benchmark of the experiment; else names of datasets/bench."""
    drop: tuple[Method, ...] = ("substring", "ngram10", "ngram13", "syntax", "execution")
    """Methods whose finds leave the mixture."""
    flag: tuple[Method, ...] = ("ngram8",)
    """Methods whose finds are only reported. A method in neither list is not used."""
    nominate: tuple[By, ...] = ("name", "ngram8", "arity")
    """Which pairs of row and problem `execution` tries."""
    pairs_per_row: int = Field(default=3, ge=1)
    """Most pairs of a row and one benchmark that only `arity` nominates."""
    most_pairs: int = Field(default=20_000, ge=0)
    """Most pairs that are run, the likeliest first; the rest is reported as not tried."""

    @model_validator(mode="after")
    def _one_fate(self) -> Self:
        both = sorted(set(self.drop) & set(self.flag))
        if both:
            raise ValueError(f"{both[0]} stands in drop and in flag; leave it in one of them")
        return self

    @property
    def methods(self) -> frozenset[Method]:
        """Those that are used; none where decontamination is switched off (`drop: []`,
        `flag: []`)."""
        return frozenset((*self.drop, *self.flag))

    def drops(self, method: str) -> bool:
        """Whether a find of this method leaves the mixture."""
        return method in self.drop


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """Something of a problem that a row has."""

    method: Method
    benchmark: str
    task_id: str
    evidence: str
    """What both have in common, cut to 200 characters; the name of a function for `syntax` and
    `execution`."""


@dataclass(frozen=True, slots=True)
class _Forms:
    """Normal forms of the functions that solve problems."""

    outlines: frozenset[tuple[int | str, ...]]
    owners: Mapping[int, tuple[tuple[str, str], ...]]

    @classmethod
    def of(cls, benchmarks: Mapping[str, Sequence[Problem]]) -> Self:
        outlines: set[tuple[int | str, ...]] = set()
        owners: dict[int, list[tuple[str, str]]] = {}
        for benchmark, problem in _each(benchmarks):
            tree = parse(problem.reference)
            entry = entry_of(problem, tree) if tree else None
            if tree is None or entry is None:
                continue
            form = Program(tree).form(entry)
            if form.nodes >= FEWEST_NODES:
                outlines.add(outline(entry))
                owners.setdefault(form.digest, []).append((benchmark, problem.task_id))
        return cls(frozenset(outlines), {key: tuple(of) for key, of in owners.items()})

    def find(self, tree: ast.Module, functions: Iterable[Function]) -> Iterator[Hit]:
        alike = [function for function in functions if outline(function) in self.outlines]
        if not alike:
            return
        try:
            program = Program(tree)
            digests = [(program.form(function).digest, function.name) for function in alike]
        except RecursionError:  # a sum of many hundred terms; no reference is nested like that
            return
        for digest, name in digests:
            for benchmark, task_id in self.owners.get(digest, ()):
                yield _hit("syntax", benchmark, task_id, name)


@dataclass(frozen=True, slots=True)
class Index:
    """The problems of benchmarks, ready to be compared with rows. Picklable, a few megabytes."""

    spec: Contamination
    overlap: Overlap
    forms: _Forms
    nominator: Nominator | None

    @classmethod
    def build(cls, benchmarks: Mapping[str, Sequence[Problem]], spec: Contamination) -> Self:
        """Of the problems of `benchmarks`, by name."""
        methods = spec.methods
        runs = "execution" in methods
        sizes: dict[str, int] = {
            method: size for method, size in SIZES.items() if method in methods
        }
        if runs and "ngram8" in spec.nominate:
            sizes["ngram8"] = SIZES["ngram8"]
        texts = [text for pair in _each(benchmarks) for text in _texts(*pair)]
        return cls(
            spec=spec,
            overlap=Overlap.of(texts, sizes, substrings="substring" in methods),
            forms=_Forms.of(benchmarks if "syntax" in methods else {}),
            nominator=Nominator(benchmarks) if runs and benchmarks else None,
        )

    def hits(self, row: Row, code: str, tree: ast.Module | None) -> list[Hit]:
        """What a row has by all methods but `execution`; each method and problem once.

        Args:
            row: instruction, input and response are compared.
            code: what `jobs.data.code.code_of` finds in it.
            tree: the code's syntax tree; None where it has none.
        """
        found = [
            _hit(shared.method, *shared.owner, shared.evidence)
            for shared in self.overlap.find(_said(row))
            if shared.method in self.spec.methods
        ]
        if self.forms.owners:
            for program in _programs(row, code, tree):
                found += self.forms.find(program, functions_of(program))
        return list({(hit.method, hit.benchmark, hit.task_id): hit for hit in found}.values())

    def nominate(self, row: Row, code: str, tree: ast.Module | None) -> list[Nomination]:
        """Pairs of the row's functions and problems that are worth a run, strongest first."""
        programs = _programs(row, code, tree) if self.nominator else []
        functions = list({f.name: f for p in reversed(programs) for f in functions_of(p)}.values())
        if self.nominator is None or not functions:
            return []
        shared = self.overlap.find(_said(row)) if "ngram8" in self.spec.nominate else []
        return self.nominator.nominate(
            f"{row.instruction}\n{row.input}",
            row.response,
            functions,
            [found.owner for found in shared if found.method == "ngram8"],
            by=self.spec.nominate,
            arity_pairs=self.spec.pairs_per_row,
        )


def _programs(row: Row, code: str, tree: ast.Module | None) -> list[ast.Module]:
    """What is learnt, then each other piece of Python that the row has."""
    others = [other for _, other in programs_beside(row, code)]
    return others if tree is None else [tree, *others]


def _hit(method: Method | str, benchmark: str, task_id: str, evidence: str) -> Hit:
    return Hit(
        method=method,  # type: ignore[arg-type]  # overlap gives back the names it was given
        benchmark=benchmark,
        task_id=task_id,
        evidence=evidence[:LONGEST_EVIDENCE],
    )


def _said(row: Row) -> str:
    return "\n".join((row.instruction, row.input, row.response))


def _each(benchmarks: Mapping[str, Sequence[Problem]]) -> Iterator[tuple[str, Problem]]:
    return ((name, problem) for name, problems in benchmarks.items() for problem in problems)


def _texts(benchmark: str, problem: Problem) -> Iterator[Text]:
    """The question and the solution; the description is what must be there as a whole, unless it
    is so short that its examples have to come with it."""
    owner = (benchmark, problem.task_id)
    question, solution = question_of(problem), solution_of(problem)
    description = description_of(question)
    long_enough = len(words_of(description)) >= SHORTEST_SUBSTRING
    yield Text(owner, question, description if long_enough else question)
    yield Text(owner, solution, solution)
