"""Contest problems as their authors publish them, in the custom form: APPS and CodeContests.

LiveCodeBench stands in `jobs/livecodebench.py`. A program of these reads standard input and prints,
or is a function that is called; which one, the problem says.
"""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

from eval_sandbox.mistakes import InputError, Mistakes
from eval_sandbox.records import Fields, stream_records
from jobs.custom_form import Converted, LeftOut, record
from jobs.declared import UserError

PROGRAM = "Write a Python program that reads from standard input and prints to standard output."
LONG_NUMBERS = "with numbers of over 4,300 digits"
_PARQUET = b"PAR1"
_PYTHON_3 = (3, "PYTHON3")
"""Of `solutions.language`, as the card and the protocol buffer of CodeContests write it."""
_INTEGER = re.compile(r"-?\d{1,4300}", re.ASCII)
_KINDS = {str: "text", list: "list", dict: "object"}
_TEST_SETS = ("public_tests", "private_tests", "generated_tests")


Convert = Callable[[Fields], dict[str, Any] | LeftOut]
"""Makes a problem of one record; what is wrong goes to the mistakes of the fields."""

T = TypeVar("T", str, list[Any], dict[str, Any])


class LongNumberError(Exception):
    """JSON with an integer of more digits than Python reads."""


def convert_apps(path: Path) -> Converted:
    """APPS (Hendrycks et al. 2021), JSON lines or Parquet, one problem a record.

    `problem_id`, `question`, `input_output` and `solutions` (JSON as text), `starter_code`. The
    first solution that Python 3 can read is the reference.

    Raises:
        InputError: with what is wrong in the file.
    """
    return converted(path, _APPS_COLUMNS, _apps)


def convert_code_contests(path: Path) -> Converted:
    """CodeContests (Li et al. 2022), Parquet or JSON lines, one problem a record.

    All of its public, private and generated tests count. Problems that read or write a file are
    left out. The first Python 3 solution is the reference.

    Raises:
        InputError: with what is wrong in the file.
    """
    return converted(path, _CONTEST_COLUMNS, _code_contest)


def asked(question: str, starter: str) -> str:
    """A question with what is to be written: a completed starter, or a whole program."""
    wanted = f"Complete this code:\n```python\n{starter.rstrip()}\n```" if starter else PROGRAM
    return f"{question.strip()}\n\n{wanted}"


def entry_point_of(function: str, starter: str) -> str:
    """What the tests call: a function, or a method of the class that the starter begins."""
    return f"Solution.{function}" if "class Solution" in starter else function


def _rows(path: Path, columns: Sequence[str], mistakes: Mistakes) -> Iterator[Fields]:
    """The records of a Parquet file, or of JSON lines, plain or as .gz.

    Raises:
        InputError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            packed = file.read(len(_PARQUET)) == _PARQUET
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    found = _parquet(path, columns) if packed else stream_records(path, mistakes)
    for one in found:
        yield Fields(one, mistakes)


def _parquet(path: Path, columns: Sequence[str]) -> Iterator[tuple[int | None, dict[str, Any]]]:
    from jobs.data.records import Fault, stream

    try:
        for one in stream(path, columns):
            if isinstance(one, Fault):
                raise InputError(f"{path}, record {one.number}: {one.reason} ({one.found})")
            yield one.number, one.values
    except UserError as error:
        raise InputError(str(error)) from None


def _distinct(path: Path, records: list[dict[str, Any]]) -> None:
    """Refuse a file in which one id names two problems.

    Raises:
        InputError: naming the id.
    """
    seen: set[str] = set()
    for one in records:
        if one["task_id"] in seen:
            raise InputError(f"{path}: two problems have the id {one['task_id']!r}")
        seen.add(one["task_id"])


def converted(path: Path, columns: Sequence[str], convert: Convert) -> Converted:
    """What becomes of each record of a file; problems with too long numbers are left out.

    Raises:
        InputError: with every mistake of the file (the first 20), each with its line.
    """
    mistakes = Mistakes(path)
    records: list[dict[str, Any]] = []
    left_out: list[LeftOut] = []
    for fields in _rows(path, columns, mistakes):
        made = convert(fields)
        if isinstance(made, LeftOut):
            left_out.append(made)
        else:
            records.append(made)
    mistakes.raise_if_any()
    _distinct(path, records)
    return Converted(records=tuple(records), left_out=tuple(left_out))


_APPS_COLUMNS = ("problem_id", "id", "question", "input_output", "solutions", "starter_code")


def _apps(fields: Fields) -> dict[str, Any] | LeftOut:
    name = _apps_id(fields)
    try:
        return _apps_problem(name, fields)
    except LongNumberError:
        return LeftOut(name, LONG_NUMBERS)


def _apps_problem(name: str, fields: Fields) -> dict[str, Any] | LeftOut:
    starter = fields.text("starter_code", "")
    tests = _of_kind({}, fields, "input_output", from_json(fields, "input_output"))
    function = _of_kind("", fields, "fn_name", tests.get("fn_name"))
    inputs = _of_kind([], fields, "inputs", tests.get("inputs"))
    outputs = _of_kind([], fields, "outputs", tests.get("outputs"))
    if not inputs or len(inputs) != len(outputs):
        return LeftOut(name, "without tests")
    made = _calls(inputs, outputs) if function else _dialogues(inputs, outputs)
    if not made:
        return LeftOut(name, "with tests of a form that is not known")
    return record(
        name,
        asked(fields.text("question"), starter),
        made,
        signature=starter,
        entry_point=entry_point_of(function, starter) if function else "",
        reference=_first_python(_of_kind([], fields, "solutions", from_json(fields, "solutions"))),
    )


def _of_kind(empty: T, fields: Fields, name: str, value: Any) -> T:
    """A value of the kind of `empty`, which stands for nothing; another kind is a mistake."""
    if value and not isinstance(value, type(empty)):
        fields.wrong(f"{name!r} is no {_KINDS[type(empty)]}")
    return value if value and isinstance(value, type(empty)) else empty


def _apps_id(fields: Fields) -> str:
    given = fields.values.get("problem_id", fields.values.get("id"))
    if isinstance(given, int | str) and str(given).strip():
        return str(given)
    fields.wrong("field 'problem_id' is missing")
    return ""


def from_json(fields: Fields, name: str) -> Any:
    """What a field's text holds as JSON; None where it is empty, and a mistake where it is none.

    Raises:
        LongNumberError: as `parsed`.
    """
    said = fields.text(name, "")
    try:
        return parsed(said) if said.strip() else None
    except (ValueError, RecursionError) as error:
        fields.wrong(f"field {name!r} is not JSON ({error})")
        return None


def parsed(said: str) -> Any:
    """The value of a JSON text.

    Raises:
        ValueError, RecursionError: it is no JSON, or nested too deep.
        LongNumberError: it is, with an integer that Python does not read.
    """
    try:
        return json.loads(said)
    except json.JSONDecodeError:
        raise
    except ValueError:
        raise LongNumberError from None


def _calls(inputs: Sequence[Any], outputs: Sequence[Any]) -> list[dict[str, Any]]:
    """Arguments and results of a function.

    Most results of APPS stand in a list of their own. A list of one for every test is taken for
    that; its own harness takes both readings for each.
    """
    if not all(isinstance(args, list) for args in inputs):
        return []
    wrapped = all(isinstance(value, list) and len(value) == 1 for value in outputs)
    results = [value[0] if wrapped else value for value in outputs]
    return [
        {"args": [_with_int_keys(arg) for arg in args], "expected": _with_int_keys(value)}
        for args, value in zip(inputs, results, strict=True)
    ]


def _with_int_keys(value: Any) -> Any:
    """JSON has no keys that are numbers; an object with nothing else for keys had them."""
    if isinstance(value, dict) and value and all(map(_INTEGER.fullmatch, value)):
        return {int(key): held for key, held in value.items()}
    return value


def _dialogues(inputs: Sequence[Any], outputs: Sequence[Any]) -> list[dict[str, Any]]:
    pairs = [(_lines(given), _lines(told)) for given, told in zip(inputs, outputs, strict=True)]
    if any(given is None or told is None for given, told in pairs):
        return []
    return [{"stdin": given, "stdout": told, "compare": "tokens"} for given, told in pairs]


def _lines(value: Any) -> str | None:
    """A text, or a list of lines, as a text."""
    if isinstance(value, list) and all(isinstance(line, str) for line in value):
        return "\n".join(value)
    return value if isinstance(value, str) else None


def _first_python(programs: Sequence[Any]) -> str:
    from jobs.data.code import parse

    tidy = (one.replace("\r\n", "\n").strip() + "\n" for one in programs if isinstance(one, str))
    return next((program for program in tidy if parse(program) is not None), "")


_CONTEST_COLUMNS = ("name", "description", "solutions", *_TEST_SETS, "input_file", "output_file")


def _code_contest(fields: Fields) -> dict[str, Any] | LeftOut:
    name, values = fields.text("name"), fields.values
    if values.get("input_file") or values.get("output_file"):
        return LeftOut(name, "that read or write a file")
    pairs = list(chain.from_iterable(_pairs(fields, tests) for tests in _TEST_SETS))
    if not pairs:
        return LeftOut(name, "without tests")
    return record(
        name,
        asked(fields.text("description"), ""),
        [{"stdin": given, "stdout": told, "compare": "tokens"} for given, told in pairs],
        reference=_first_python(list(_python_solutions(fields))),
    )


def _pairs(fields: Fields, tests: str) -> list[tuple[str, str]]:
    """Inputs and outputs, in the columns of Parquet or as the objects of a protocol buffer."""
    return list(
        zip(_column(fields, tests, "input"), _column(fields, tests, "output"), strict=False)
    )


def _python_solutions(fields: Fields) -> Iterator[str]:
    languages = _column(fields, "solutions", "language")
    programs = _column(fields, "solutions", "solution")
    for language, program in zip(languages, programs, strict=False):
        if language in _PYTHON_3:
            yield program


def _column(fields: Fields, group: str, name: str) -> list[Any]:
    value = fields.values.get(group)
    if isinstance(value, dict):
        return _of_kind([], fields, f"{group}.{name}", value.get(name))
    rows = _of_kind([], fields, group, value)
    return [one.get(name, "") for one in rows if isinstance(one, dict)]
