"""A person's own test cases: typed one a line, as JSON, or chosen from a file in the custom form.

Nothing of them runs here; the model server judges. Lines are only looked at, to say what is wrong
with one before it is sent.
"""

import ast
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

LONGEST_SHOWN = 80


class CasesError(Exception):
    """What is wrong with test cases, where, and how it is written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnProblem:
    """A question with its tests."""

    task_id: str = ""
    instruction: str = ""
    signature: str = ""
    entry_point: str = ""
    tests: tuple[Any, ...] = ()
    """Each `{args, kwargs, expected}`, `{stdin, stdout}` or the text of an assert."""

    @property
    def typed(self) -> str:
        """The tests as they could be typed: one a line where all are asserts, else as JSON."""
        lines = [test for test in self.tests if isinstance(test, str) and "\n" not in test]
        if len(lines) == len(self.tests):
            return "\n".join(line.removeprefix("assert ") for line in lines)
        content: dict[str, Any] = {"tests": list(self.tests)}
        if self.entry_point:
            content = {"entry_point": self.entry_point, **content}
        return json.dumps(content, ensure_ascii=False, indent=1)


def read_tests(typed: str) -> OwnProblem:
    """The tests that somebody typed.

    Args:
        typed: a line for each, such as `f(1, 2) == 3`, with `#` before a remark; or JSON: a test,
            a list of tests, or an object with `tests` and, for calls, `entry_point`.

    Raises:
        CasesError: nothing is there, or a line cannot be a test.
    """
    if typed.lstrip()[:1] in ("{", "["):
        return _of_json(typed)
    numbered = enumerate(typed.splitlines(), start=1)
    lines = {n: line.strip() for n, line in numbered if line.strip()[:1] not in ("", "#")}
    if not lines:
        raise CasesError("there are no test cases yet; write a line such as f(1, 2) == 3")
    return OwnProblem(tests=tuple(_assertion(n, line) for n, line in lines.items()))


def problems_in(content: bytes) -> list[OwnProblem]:
    """The problems of a file in the custom form: JSON lines, or one JSON list.

    Raises:
        CasesError: the first line that is no problem.
    """
    try:
        text = content.decode("utf-8-sig")
        if text.lstrip().startswith("["):
            return [_problem(f"item {n}", one) for n, one in enumerate(_json(text), start=1)]
    except UnicodeDecodeError:
        raise CasesError("the file is not UTF-8 text") from None
    lines = ((n, line) for n, line in enumerate(text.splitlines(), start=1) if line.strip())
    problems = [_problem(f"line {n}", _json(line, f"line {n}: ")) for n, line in lines]
    if not problems:
        raise CasesError("there is nothing in the file; one problem a line is expected")
    return problems


def _of_json(typed: str) -> OwnProblem:
    content = _json(typed)
    if isinstance(content, list):
        tests, named = content, {}
    elif "tests" in content:
        tests, named = content["tests"], content
    else:
        tests, named = [content], {}
    if not isinstance(tests, list) or not tests:
        raise CasesError("'tests' has to be a list with at least one test")
    return OwnProblem(tests=tuple(tests), entry_point=_text(named, "entry_point"))


def _json(text: str, place: str = "") -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CasesError(f"{place}this is not JSON: {error}") from None


def _problem(place: str, value: Any) -> OwnProblem:
    if not isinstance(value, dict) or not isinstance(value.get("tests"), list):
        raise CasesError(f"{place}: a problem is an object with 'instruction' and a list 'tests'")
    return OwnProblem(
        task_id=str(value.get("task_id", place)),
        instruction=_text(value, "instruction"),
        signature=_text(value, "signature"),
        entry_point=_text(value, "entry_point"),
        tests=tuple(value["tests"]),
    )


def _text(values: Mapping[str, Any], name: str) -> str:
    value = values.get(name)
    return value if isinstance(value, str) else ""


def _assertion(number: int, line: str) -> str:
    """A line as an assert that can fail."""
    shown = line if len(line) <= LONGEST_SHOWN else f"{line[: LONGEST_SHOWN - 1]}…"
    said = line.removeprefix("assert ").strip()
    try:
        tree = ast.parse(said, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise CasesError(
            f"line {number}: {shown} is no test; write what must be true, f(1, 2) == 3"
        ) from None
    if isinstance(tree, ast.Tuple | ast.Constant | ast.Lambda):
        raise CasesError(f"line {number}: {shown} is always true; write f(1, 2) == 3")
    if not any(isinstance(node, ast.Call) for node in ast.walk(tree)):
        raise CasesError(f"line {number}: {shown} calls nothing; write f(1, 2) == 3")
    return f"assert {said}"
