"""Rows in the sandbox: do they pass their own tests, and do they solve a benchmark's problems?

An infrastructure failure is no verdict: it drops no row and is counted.
"""

import ast
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
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
from jobs.data.code import code_of, parse
from jobs.data.crew import Crew
from jobs.data.nominations import Nomination
from jobs.data.row import Row
from jobs.data.syntax import functions_of
from jobs.declared import Declared, UserError

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
    """`require`: a row whose tests fail is left out. `keep`: nothing is run."""
    without_tests: Literal["keep", "drop"] = "keep"
    """What becomes of rows that have no tests."""
    cases: str = ""
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


Pair = tuple[Row, Nomination]


class Cases:
    """A user's own test cases, by the function that they call."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self._by_name: dict[str, list[Problem]] = {}
        for problem in problems:
            if problem.entry_point:
                self._by_name.setdefault(problem.entry_point, []).append(problem)

    @classmethod
    def read(cls, path: Path) -> Self:
        """The problems of a file in the custom form.

        Raises:
            UserError: with every mistake of the file.
        """
        try:
            return cls(read_problems("custom", path))
        except InputError as error:
            raise UserError(str(error)) from None

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
    parts = (_BESIDE, before, definitions(row.preamble), definitions(code_of(row)), alias)
    return Completion(task_id=problem.task_id, text="\n".join(filter(None, parts)), whole=True)


def definitions(code: str) -> str:
    """What a program defines and imports, without what else it does; as it is where unreadable."""
    tree = parse(code)
    if tree is None:
        return code
    kept = [statement for statement in tree.body if _defines(statement)]
    try:
        return ast.unparse(ast.Module(body=kept, type_ignores=[]))
    except RecursionError:  # nested deeper than it was when it was read
        return code


def _defines(statement: ast.stmt) -> bool:
    match statement:
        case ast.ImportFrom(module="__future__"):
            return False
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef() | ast.Try():
            return True
        case ast.Import() | ast.ImportFrom() | ast.AnnAssign() | ast.AugAssign():
            return True
        case ast.Assign(value=value):
            return not any(
                isinstance(part, ast.Name) and part.id == "input" for part in ast.walk(value)
            )
    return False


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnTests:
    """What rows showed of their own tests and of a user's cases, by their positions."""

    failed: dict[int, str]
    """What went wrong, for people."""
    passed: tuple[int, ...]
    untested: tuple[int, ...]
    sandbox_errors: int
    """Programs without a verdict; their rows are in none of the above, and kept."""

    @property
    def with_tests(self) -> int:
        """Rows that had tests."""
        return len(self.failed) + len(self.passed) + self.sandbox_errors


def run_own(
    rows: Sequence[Row], cases: Cases, judging: Judging, crew: Crew | None = None
) -> OwnTests:
    """Run every row that has tests, its own or a user's; all of them must pass.

    A row whose tests cannot be read has failed: nobody knows whether it would pass.
    """
    failed: dict[int, str] = {}
    asked: list[tuple[int, Asked]] = []
    for position, row in enumerate(rows):
        try:
            problems = [problem for problem in (problem_of(row),) if problem]
        except InputError as error:
            failed[position] = f"tests not readable: {error}"
            continue
        asked += [(position, (p, answer(row, p))) for p in (*problems, *cases.of(row))]
    results = run([one for _, one in asked], {}, judging, crew)
    unknown: set[int] = set()
    for (position, _), ran in zip(asked, results, strict=True):
        if ran.ending is Ending.NOT:
            failed.setdefault(position, ran.found)
        elif ran.ending is Ending.SANDBOX_ERROR:
            unknown.add(position)
    unknown -= failed.keys()
    tested = dict.fromkeys(position for position, _ in asked)
    return OwnTests(
        failed=failed,
        passed=tuple(p for p in tested if p not in failed and p not in unknown),
        untested=tuple(p for p in range(len(rows)) if p not in tested and p not in failed),
        sandbox_errors=len(unknown),
    )


@dataclass(frozen=True, slots=True)
class Chosen:
    """Nominations that are run, the likeliest first."""

    pairs: tuple[tuple[int, Nomination], ...]
    """Number of the row, and what it may solve."""
    not_tried: int


def choose(nominated: Iterable[tuple[int, Nomination]], most: int) -> Chosen:
    """The `most` strongest of all rows; equals in the order of their rows and names."""
    ordered = sorted(
        nominated,
        key=lambda pair: (
            -pair[1].strength,
            pair[0],
            pair[1].benchmark,
            pair[1].task_id,
            pair[1].function,
        ),
    )
    return Chosen(tuple(ordered[:most]), max(len(ordered) - most, 0))


def run_pairs(
    pairs: Sequence[Pair],
    benchmarks: Mapping[str, Sequence[Problem]],
    judging: Judging,
    crew: Crew | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> list[Ending]:
    """Whether the function of each pair solves its problem, in their order.

    A problem that also accepts a function which returns the same whatever it is asked tells
    nothing, so nothing solves it here.
    """
    by_owner = {(name, p.task_id): p for name, problems in benchmarks.items() for p in problems}
    owners = [(pair[1].benchmark, pair[1].task_id) for pair in pairs]
    needed = {owner: by_owner[owner] for owner in dict.fromkeys(owners)}
    asked: list[Asked] = [
        (owner, attempt(nomination, row, needed[owner]))
        for owner, (row, nomination) in zip(owners, pairs, strict=True)
    ]
    endings = [ran.ending for ran in run(asked, needed, judging, crew, progress)]
    solved = dict.fromkeys(o for o, e in zip(owners, endings, strict=True) if e is Ending.SOLVED)
    weak = telling_nothing({owner: needed[owner] for owner in solved}, judging, crew)
    return [
        Ending.NOT if ending is Ending.SOLVED and owner in weak else ending
        for owner, ending in zip(owners, endings, strict=True)
    ]


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
