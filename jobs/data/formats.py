"""The published formats by name, and those that are columns or problems with a reference."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from eval_sandbox.benchmarks import InputError, read_problems
from eval_sandbox.problem import Call, Dialogue, Problem, Script, Test, Trials
from jobs.data.competitions import CODE_CONTESTS, LEETCODE
from jobs.data.draft import Draft, Drafts, Form, UnfitError, Values, given, items, optional, text
from jobs.data.exercises import EXERCISM, INTERACTIVE_CODING
from jobs.data.functions import FUNCTIONS, STACK
from jobs.data.origin import Source
from jobs.declared import UserError
from jobs.prompt_contracts import mbpp_instruction

_ASKERS, _ANSWERERS = ("user", "human"), ("assistant", "gpt", "model")


def _columns(source: Source) -> tuple[str, ...]:
    """Columns that must be there; in Alpaca's own form a file without inputs has no `input`."""
    mapped = source.mapping.mapped()
    if source.fields is None:
        del mapped["input"]
    return tuple(mapped.values())


def _fields(values: Values, source: Source) -> Drafts:
    """Columns by the names a recipe gives: Alpaca and all that looks like it."""
    columns = source.mapping
    if columns.messages:
        asked, answer = _first_exchange(items(values, columns.messages))
        yield Draft(instruction=asked, response=answer)
        return
    yield Draft(
        instruction=text(values, columns.instruction) if columns.instruction else "",
        asked=bool(columns.instruction),
        input=optional(values, columns.input) if columns.input else "",
        response=text(values, columns.response),
        tests=_listed_tests(given(values, columns.tests)) if columns.tests else [],
        entry_point=optional(values, columns.entry_point) if columns.entry_point else "",
        preamble=optional(values, columns.preamble) if columns.preamble else "",
    )


def _first_exchange(turns: list[Any]) -> tuple[str, str]:
    """The first turn of the user and the first of the assistant after it, system turns left out.

    Later turns lean on what was said before, so they are no questions of their own.
    """
    asked = ""
    for turn in turns:
        if not isinstance(turn, dict):
            raise UnfitError("not_a_turn", json.dumps(turn, default=str)[:80])
        role = str(turn.get("role", turn.get("from", ""))).lower()
        said = text(turn, "content" if "content" in turn else "value")
        if role in _ASKERS and not asked:
            asked = said
        elif role in _ANSWERERS and asked:
            return asked, said
    raise UnfitError("no_exchange", f"{len(turns)} turns, none that answers a question")


def _listed_tests(found: Any) -> list[Any]:
    try:
        tests = json.loads(found) if isinstance(found, str) and found else found or []
    except (ValueError, RecursionError):
        raise UnfitError("tests", f"no JSON list: {found[:80]}") from None
    if not isinstance(tests, list) or not all(isinstance(test, str | dict) for test in tests):
        raise UnfitError("tests", f"no list of tests: {json.dumps(tests, default=str)[:80]}")
    return [_without_padding(test) if isinstance(test, dict) else test for test in tests]


def _without_padding(test: dict[str, Any]) -> dict[str, Any]:
    """A test without the nulls that Parquet puts where other tests of its column have a key.

    A null that is expected of a call stays.
    """
    called = test.get("args") is not None or test.get("kwargs") is not None
    kept = {
        key: told
        for key, told in test.items()
        if told is not None or (key == "expected" and called)
    }
    return kept or test


def _problems(benchmark: str, path: Path, source: Source) -> Iterator[tuple[int, Problem]]:
    """The problems of a file, with their place in it; only those of the split, if one is named.

    Raises:
        UserError: every mistake of the file, each with its line.
    """
    try:
        every = read_problems(benchmark, path)
        taken = read_problems(benchmark, path, source.split) if source.split else every
    except InputError as error:
        raise UserError(str(error)) from None
    names = {problem.task_id for problem in taken}
    yield from ((n, problem) for n, problem in enumerate(every, 1) if problem.task_id in names)


def mbpp(path: Path, source: Source) -> Iterator[tuple[int, Draft]]:
    """MBPP as its benchmark asks it, the visible tests included; the reference answers."""
    for number, problem in _problems("mbpp", path, source):
        code = problem.reference.replace("\r\n", "\n").replace("\r", "\n")
        yield (
            number,
            Draft(
                instruction=mbpp_instruction(problem.instruction, problem.extra["tests"]),
                response=code.strip("\n") + "\n",
                tests=[_with_setup(problem, test) for test in problem.tests],
                entry_point=problem.entry_point,
            ),
        )


def custom(path: Path, source: Source) -> Iterator[tuple[int, Draft]]:
    """A file of problems with tests (`eval_sandbox.custom`): the reference answers."""
    for number, problem in _problems("custom", path, source):
        yield (
            number,
            Draft(
                instruction=problem.instruction,
                response=problem.reference,
                tests=[_as_custom(test) for test in problem.tests],
                entry_point=problem.entry_point,
            ),
        )


def _with_setup(problem: Problem, test: Test) -> Any:
    told = _as_custom(test)
    return f"{problem.setup}\n{told}" if problem.setup and isinstance(told, str) else told


def _as_custom(test: Test) -> Any:
    """A test in the form that a user's file has."""
    match test:
        case Call(args=args, kwargs=kwargs, expected=expected):
            return {"args": list(args), "kwargs": kwargs, "expected": expected}
        case Dialogue(stdin=stdin, stdout=stdout, compare=compare):
            rule = {} if compare == "lines" else {"compare": compare}
            return {"stdin": stdin, "stdout": stdout} | rule
        case Script(source=source):
            return source
        case Trials():
            raise TypeError("inputs without results are no custom tests")


FORMS: dict[str, Form] = {
    "fields": Form(columns=_columns, drafts=_fields, also=("input",)),
    "leetcode": LEETCODE,
    "code-contests": CODE_CONTESTS,
    "stack": STACK,
    "functions": FUNCTIONS,
    "exercism": EXERCISM,
    "interactive-coding": INTERACTIVE_CODING,
}
"""Formats that are read record by record."""

WHOLE_FILES: dict[str, Callable[[Path, Source], Iterator[tuple[int, Draft]]]] = {
    "mbpp": mbpp,
    "custom": custom,
}
"""Formats of benchmarks, which are small and checked as a whole."""
