"""LiveCodeBench (Jain et al. 2024) in the custom form: dated problems, two kinds of tests.

Read from `lcb_runner/benchmarks/code_generation.py` of github.com/LiveCodeBench/LiveCodeBench: one
JSON object a line with `question_title`, `question_content`, `question_id`, `contest_date`,
`starter_code`, `public_test_cases` and `private_test_cases` (lists of `{input, output, testtype}`
as JSON text; the private ones also as base64 of zlib of a pickle of that text) and `metadata`, JSON
whose `func_name` is the method of class Solution that a functional test calls.
"""

import base64
import binascii
import json
import zlib
from datetime import date
from pathlib import Path
from typing import Any

from eval_sandbox.records import Fields
from jobs.contests import (
    LONG_NUMBERS,
    LongNumberError,
    asked,
    converted,
    entry_point_of,
    from_json,
    parsed,
)
from jobs.custom_form import Converted, LeftOut, record
from jobs.plain_pickle import RefusedPickleError, text_of_pickle

MOST_UNPACKED = 1 << 30
"""Bytes that the private tests of one problem may have, unpacked."""


def convert(path: Path) -> Converted:
    """Every problem of a file.

    Raises:
        InputError: with every mistake of the file (the first 20), each with its line.
    """
    return converted(path, (), _converted)


def _converted(fields: Fields) -> dict[str, Any] | LeftOut:
    name = _id(fields)
    try:
        return _problem(name, fields)
    except LongNumberError:
        return LeftOut(name, LONG_NUMBERS)


def _problem(name: str, fields: Fields) -> dict[str, Any]:
    starter = fields.text("starter_code", "")
    function = _function(fields)
    public, private = _cases(fields, "public_test_cases"), _cases(fields, "private_test_cases")
    question = f"{fields.text('question_title')}\n\n{fields.text('question_content')}"
    return record(
        name,
        asked(question, starter),
        [_test(fields, case, function) for case in (*public, *private)],
        signature=starter,
        entry_point=entry_point_of(function, starter) if function else "",
        released=_day(fields),
    )


def _id(fields: Fields) -> str:
    given = fields.values.get("question_id")
    if isinstance(given, int):
        return str(given)
    return fields.text("question_id")


def _function(fields: Fields) -> str:
    metadata = from_json(fields, "metadata")
    name = metadata.get("func_name") if isinstance(metadata, dict) else None
    return name if isinstance(name, str) else ""


def _day(fields: Fields) -> str:
    said = fields.text("contest_date")
    try:
        return date.fromisoformat(said[:10]).isoformat()
    except ValueError:
        fields.wrong(f"field 'contest_date' is {said!r}; a date such as 2024-05-31 is expected")
        return ""


def _cases(fields: Fields, name: str) -> list[dict[str, Any]]:
    said = fields.text(name)
    try:
        cases = json.loads(said if said.lstrip()[:1] in ("[", "") else _unpacked(said))
    except (ValueError, RecursionError, binascii.Error, zlib.error) as error:
        fields.wrong(f"field {name!r} holds no tests: {error}")
        return []
    if not isinstance(cases, list) or not all(map(_is_case, cases)):
        fields.wrong(f"field {name!r} is no list of {{input, output, testtype}}")
        return []
    return cases


def _unpacked(said: str) -> str:
    unpacking = zlib.decompressobj()
    content = unpacking.decompress(base64.b64decode(said, validate=True), MOST_UNPACKED)
    if unpacking.unconsumed_tail or not unpacking.eof:
        raise RefusedPickleError("damaged, or more than 1 GiB unpacked")
    return text_of_pickle(content)


def _is_case(case: Any) -> bool:
    return isinstance(case, dict) and all(
        isinstance(case.get(name), str) for name in ("input", "output", "testtype")
    )


def _test(fields: Fields, case: dict[str, Any], function: str) -> dict[str, Any]:
    if not function:
        return {"stdin": case["input"], "stdout": case["output"], "compare": "decimals"}
    try:
        args = [parsed(line) for line in case["input"].split("\n")]
        return {"args": args, "expected": parsed(case["output"])}
    except (ValueError, RecursionError) as error:
        fields.wrong(f"a test of {function} is not JSON ({error}): {case['input'][:60]!r}")
        return {}
