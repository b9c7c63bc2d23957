"""Rows in the sandbox: do they pass their own tests, and do they solve a benchmark's problems?

An infrastructure failure is no verdict: it drops no row and is counted.
"""

import ast
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Literal, Self

from pydantic import Field

from eval_sandbox.benchmarks import read_problems
from eval_sandbox.contract import Judging, Limits
from eval_sandbox.custom import custom_problem
from eval_sandbox.mistakes import InputError, Mistakes
from eval_sandbox.problem import Completion, Problem
from eval_sandbox.records import Fields
from jobs.data.bench import Asked, Ending, Owner, run
from jobs.data.code import code_of, parse, programs_beside
from jobs.data.crew import Crew
from jobs.data.nominations import Nomination
from jobs.data.row import Row
from jobs.data.syntax import functions_of
from jobs.declared import Declared, UserError
from jobs.recipes import PinnedFile, find_file

_BESIDE = """\
from __future__ import annotations
import collections, functools, heapq, itertools, math, operator, random, re, string, typing
from typing import *
"""
"""What stands before a row's code: a row without its imports solves a problem all the same."""
_TRIVIAL = ("None", "True", "False", "0", "args[0] if args else None")
"""What a function may return, whatever it is asked; a problem that accepts it tells nothing."""


class Execution(Declared):
    """What rows with tests have to show, and within which limits everything is run."""

    tests: Literal["require", "keep"] = "require"
    """`require`: a row whose tests fail is left out. `keep`: nothing is run. A test that calls
    nothing, such as `assert True`, passes and tells nothing: tests are taken as they are given."""
    without_tests: Literal["keep", "drop"] = "keep"
    """What becomes of rows that have no tests."""
    cases: PinnedFile | None = None
    """A file of test cases in the custom form; a row that defines the function of one of its
    problems, or names it as its entry point, must pass that problem's tests besides its own."""
    cpu_seconds: float = Field(default=2.0, gt=0)
    """For all tests of a row; five times what a problem's reference takes where that is more."""
    wall_seconds: float = Field(default=10.0, gt=0)
    memory_mib: int = Field(default=1024, gt=0)

    def judging(self) -> Judging:
        """The contract that rows are judged under."""
        limits = Limits(
            cpu_seconds=self.cpu_seconds,
            wall_seconds=self.wall_seconds,
            memory_mib=self.memory_mib,
        )
        return Judging(limits=limits)


class Cases:
    """A user's own test cases, by the function that they call."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self._by_name: dict[str, list[Problem]] = {}
        for problem in problems:
            if problem.entry_point:
                self._by_name.setdefault(problem.entry_point, []).append(problem)

    @classmethod
    def read(cls, pinned: PinnedFile | None, folder: Path) -> Self:
        """The problems of a file in the custom form; none where there is no file.

        Raises:
            UserError: it is not there or not what is pinned; or with every mistake in it.
        """
        if pinned is None:
            return cls(())
        try:
            return cls(read_problems("custom", find_file(pinned, folder)))
        except InputError as error:
            raise UserError(str(error)) from None

    def __bool__(self) -> bool:
        return bool(self._by_name)

    def of(self, row: Row) -> list[Problem]:
        """Those whose function the row is for: its entry point, or one that it defines."""
        if not self._by_name:
            return []
        tree = parse(code_of(row))
        functions = functions_of(tree) if tree else []
        names = dict.fromkeys([row.entry_point, *(f.name for f in functions)])
        return [problem for name in names for problem in self._by_name.get(name, ())]


def problem_of(row: Row) -> Problem | None:
    """The problem that a row's own tests make; None where it has none.

    Raises:
        InputError: the tests are not in the custom form, or call a function that is not named.
    """
    if not row.tests:
        return None
    place = f"{row.source}/{row.place}"
    try:
        tests = json.loads(row.tests)
    except ValueError as error:
        raise InputError(f"{place}: the tests are not JSON ({error})") from None
    if not tests:
        return None
    mistakes = Mistakes(Path(place))
    record = {
        "task_id": place,
        "instruction": row.instruction,
        "entry_point": row.entry_point,
        "tests": tests,
    }
    problem = custom_problem(Fields((None, record), mistakes))
    mistakes.raise_if_any()
    return problem


def answer(row: Row, problem: Problem) -> Completion:
    """A row's whole program for its own tests, or for a user's cases."""
    text = "\n".join(part for part in (row.preamble, code_of(row)) if part)
    return Completion(task_id=problem.task_id, text=text, whole=True)


def attempt(nomination: Nomination, row: Row, problem: Problem) -> Completion:
    """A row's code as an answer to a problem: its function under the name that the tests call.

    Of the row's code stays what defines something; calls, loops and asserts at its top level would
    read, print or fail before any test. The problem's prompt comes first, for the functions that
    tests take from there (HumanEval/32, 38, 50).
    """
    path = nomination.function.split(".")
    function = path[0] if len(path) == 1 else f"{path[0]}().{path[1]}"
    alias = f"{problem.entry_point} = {function}" if function != problem.entry_point else ""
    before = problem.prompt if parse(problem.prompt) else ""
    code = definitions(_program_with(path[0], row))
    parts = (_BESIDE, before, definitions(row.preamble), code, alias)
    return Completion(task_id=problem.task_id, text="\n".join(filter(None, parts)), whole=True)


def _program_with(name: str, row: Row) -> str:
    """The row's code, or where that does not define the name, the first other piece that does."""
    code = code_of(row)
    tree = parse(code)
    for program, other in [(code, tree), *programs_beside(row, code)]:
        if other is not None and name in _top_names(other):
            return program
    return code


def _top_names(tree: ast.Module) -> set[str]:
    return {function.name.partition(".")[0] for function in functions_of(tree)}


def definitions(code: str) -> str:
    """What a program defines and imports, without what else it does; as it is where unreadable.

    Functions that stand under an `if` or `with`, where `functions_of` finds them, come out of it.
    """
    tree = parse(code)
    if tree is None:
        return code
    try:
        return ast.unparse(ast.Module(body=list(_definitions(tree.body)), type_ignores=[]))
    except RecursionError:  # nested deeper than it was when it was read
        return code


def _definitions(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    for statement in body:
        if isinstance(statement, ast.If | ast.With):
            inside = list(_definitions(statement.body))
            if functions_of(ast.Module(body=inside, type_ignores=[])):
                yield from inside
        elif _defines(statement):
            yield statement


def _defines(statement: ast.stmt) -> bool:
    match statement:
        case ast.ImportFrom(module="__future__"):
            return False
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef() | ast.Try():
            return True
        case ast.Import() | ast.ImportFrom() | ast.AnnAssign() | ast.AugAssign():
            return True
        case ast.Assign(value=value):
            return isinstance(value, ast.Lambda) or not any(
                isinstance(part, ast.Name) and part.id == "input" for part in ast.walk(value)
            )
    return False


def telling_nothing(
    problems: Mapping[Owner, Problem], judging: Judging, crew: Crew | None = None
) -> frozenset[Owner]:
    """Problems whose tests accept a function that does nothing with what it is given."""
    asked: list[Asked] = [
        (owner, Completion(task_id=problem.task_id, text=text, whole=True))
        for owner, problem in problems.items()
        for text in _trivial(problem)
    ]
    results = run(asked, problems, judging, crew)
    return frozenset(
        owner
        for (owner, _), ran in zip(asked, results, strict=True)
        if ran.ending is Ending.SOLVED and not isinstance(owner, Problem)
    )


def _trivial(problem: Problem) -> Iterator[str]:
    before = problem.prompt if parse(problem.prompt) else ""
    for value in _TRIVIAL:
        yield f"{before}\ndef {problem.entry_point}(*args, **kwargs):\n    return {value}\n"
