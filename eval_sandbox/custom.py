"""A user's own problems: one JSON object a line.

`{task_id, instruction, signature, entry_point, tests, reference?, family?, composition?,
released?}`, where a test is `{args, kwargs, expected}`, `{stdin, stdout, compare?}` or the text of
an assert. An entry point `C.m` is a method of a class, `released` a date such as 2024-05-31.
"""

import json
from datetime import date
from typing import Any

from eval_sandbox.contract import nearest
from eval_sandbox.printed import RULES
from eval_sandbox.problem import Call, Dialogue, Problem, Script, Test
from eval_sandbox.records import Fields

_FIELDS = (
    "task_id",
    "instruction",
    "signature",
    "entry_point",
    "tests",
    "reference",
    "family",
    "composition",
    "released",
)
_CALL, _DIALOGUE = ("args", "kwargs", "expected"), ("stdin", "stdout", "compare")


def custom_problem(fields: Fields) -> Problem:
    """One problem; what is wrong with it goes to the mistakes of `fields`."""
    fields.only(_FIELDS)
    signature = fields.text("signature", "")
    entry_point = fields.text("entry_point", "")
    tests = _tests(fields)
    if any(isinstance(test, Call) for test in tests) and not _is_callable(entry_point):
        fields.wrong(
            f"field 'entry_point' is {entry_point!r}; tests with 'args' call a function by its name"
        )
    return Problem(
        task_id=fields.task_id(),
        instruction=fields.text("instruction"),
        prompt=f"{signature.rstrip()}\n" if signature.strip() else "",
        entry_point=entry_point,
        tests=tests,
        reference=fields.text("reference", ""),
        family=fields.text("family", ""),
        released=_released(fields),
        trusted=not any(isinstance(test, Script) for test in tests),
    )


def _is_callable(entry_point: str) -> bool:
    """Whether it is the name of a function, or of a class and a method of it."""
    parts = entry_point.split(".")
    return len(parts) <= 2 and all(part.isidentifier() for part in parts)


def _released(fields: Fields) -> date | None:
    said = fields.text("released", "")
    try:
        return date.fromisoformat(said) if said else None
    except ValueError:
        fields.wrong(f"field 'released' is {said!r}; a date such as 2024-05-31 is expected")
        return None


def _tests(fields: Fields) -> tuple[Test, ...]:
    listed = fields.values.get("tests")
    if not isinstance(listed, list) or not listed:
        fields.wrong("field 'tests' must be a list with at least one test")
        return ()
    tests = (_test(fields, number, value) for number, value in enumerate(listed))
    return tuple(test for test in tests if test is not None)


def _test(fields: Fields, number: int, value: Any) -> Test | None:
    place = f"tests[{number}]"
    if isinstance(value, str):
        return _script(fields, place, value)
    if not isinstance(value, dict) or not value:
        fields.wrong(
            f"{place} is {json.dumps(value)[:60]}; expected {{args, kwargs, expected}}, "
            "{stdin, stdout} or the text of an assert"
        )
        return None
    kind = _DIALOGUE if set(value) & set(_DIALOGUE) else _CALL
    for name in value:
        if name not in kind:
            near = nearest(name, kind)
            fields.wrong(f"{place} has no field {name!r}; did you mean {near!r}?")
    return _dialogue(fields, place, value) if kind is _DIALOGUE else _call(fields, place, value)


def _script(fields: Fields, place: str, source: str) -> Script | None:
    try:
        compile(source, place, "exec", dont_inherit=True)
    except (SyntaxError, ValueError) as error:
        fields.wrong(f"{place} is not Python ({error}): {source[:60]!r}")
        return None
    return Script(source=source)


def _dialogue(fields: Fields, place: str, value: dict[str, Any]) -> Dialogue | None:
    stdin, stdout = value.get("stdin", ""), value.get("stdout")
    if not isinstance(stdin, str) or not isinstance(stdout, str):
        fields.wrong(f"{place} needs 'stdout' (and 'stdin', where it reads) as texts")
        return None
    compare = value.get("compare", "lines")
    if compare not in RULES:
        near = nearest(str(compare), RULES)
        fields.wrong(f"{place}.compare is {json.dumps(compare)[:60]}; did you mean {near!r}?")
        return None
    return Dialogue(stdin=stdin, stdout=stdout, compare=compare)


def _call(fields: Fields, place: str, value: dict[str, Any]) -> Call | None:
    args, kwargs = value.get("args", []), value.get("kwargs", {})
    if not isinstance(args, list):
        fields.wrong(f"{place}.args is {json.dumps(args)[:60]}; a list is expected, such as [1, 2]")
    elif not isinstance(kwargs, dict):
        fields.wrong(f"{place}.kwargs is {json.dumps(kwargs)[:60]}; an object is expected")
    elif "expected" not in value:
        fields.wrong(f"{place} has no 'expected': the value that the call must return")
    else:
        return Call(args=tuple(args), kwargs=kwargs, expected=value["expected"])
    return None
