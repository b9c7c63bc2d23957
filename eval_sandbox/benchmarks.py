"""Benchmarks in the format that their authors publish, as problems.

`humaneval` takes HumanEval.jsonl, `mbpp` both published forms (974 problems with `text`, and the
sanitized list with `prompt`), `humanevalplus` and `mbppplus` what evalplus publishes, `custom` a
user's own problems. MBPP is judged by `test_list` as its authors did; `challenge_test_list` is
not used.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from eval_sandbox.contract import nearest
from eval_sandbox.custom import custom_problem
from eval_sandbox.mistakes import InputError, Mistakes
from eval_sandbox.plus_files import humanevalplus_problem, mbppplus_problem
from eval_sandbox.problem import Problem, Script
from eval_sandbox.records import Fields, stream_records

__all__ = ["BENCHMARKS", "InputError", "problem_id", "read_problems"]

BENCHMARKS = ("humaneval", "mbpp", "humanevalplus", "mbppplus", "custom")

_PUBLISHED = re.compile(r"(?:mbpp|humaneval)\+?/(\d+)", re.IGNORECASE)
_MBPP_SPLITS = {
    "prompt": range(1, 11),
    "test": range(11, 511),
    "validation": range(511, 601),
    "train": range(601, 975),
}


def problem_id(task_id: str | int) -> str:
    """One name for the ways in which tools write one id: 11, "11", MBPP/11 and Mbpp/11."""
    name = str(task_id).strip()
    published = _PUBLISHED.fullmatch(name)
    number = published.group(1) if published else name
    return str(int(number)) if number.isdecimal() and number.isascii() else number


def read_problems(benchmark: str, path: Path, split: str = "") -> tuple[Problem, ...]:
    """The problems of a file in the order it has them.

    Args:
        benchmark: one of `BENCHMARKS`.
        path: .jsonl or .json, either one also as .gz.
        split: for mbpp prompt, test, validation or train, by the ids its paper gives; "" is all.

    Raises:
        InputError: with every mistake of the file (the first 20), each with its line and field
            and the nearest right value; for a file of another benchmark, the name of that one.
    """
    if benchmark not in BENCHMARKS:
        near = nearest(benchmark, BENCHMARKS)
        raise InputError(f"there is no benchmark {benchmark!r}; did you mean {near!r}?")
    wanted = _ids_of(benchmark, split)
    mistakes = Mistakes(path)
    lines: dict[str, int | None] = {}
    problems: list[Problem] = []
    for record in stream_records(path, mistakes):
        fields = Fields(record, mistakes)
        _require_format(benchmark, fields, path)
        problem = _READERS[benchmark](fields)
        name = problem_id(problem.task_id)
        if name and name in lines:
            before = f"line {lines[name]}" if lines[name] else "an earlier problem"
            fields.wrong(f"task_id {problem.task_id!r} was already used by {before}")
        lines.setdefault(name, fields.line)
        if wanted is None or (name.isdecimal() and int(name) in wanted):
            problems.append(problem)
    mistakes.raise_if_any()
    if not problems:
        raise InputError(f"{path}: no problem of split {split!r} is in it")
    return tuple(problems)


def _ids_of(benchmark: str, split: str) -> range | None:
    if not split:
        return None
    if benchmark != "mbpp":
        raise InputError(f"{benchmark} has no splits, so there is no {split!r}; leave it out")
    if split not in _MBPP_SPLITS:
        near = nearest(split, _MBPP_SPLITS)
        known = ", ".join(_MBPP_SPLITS)
        raise InputError(f"mbpp has no split {split!r}; did you mean {near!r}? It has {known}")
    return _MBPP_SPLITS[split]


def _require_format(benchmark: str, fields: Fields, path: Path) -> None:
    """Stop at a problem in the format of another benchmark: each of its fields would be wrong."""
    found = _format(fields.values)
    if found in ("", benchmark):
        return
    if found == "completions":
        what = "this is a completion; the file with the problems is expected here"
    else:
        what = f"this is a problem of {found}, not of {benchmark}; name {found!r} as the benchmark"
    mistakes = Mistakes(path)
    mistakes.add(fields.line, what)
    mistakes.raise_if_any()


def _format(values: Mapping[str, Any]) -> str:
    """What a record is by its fields; "" where nothing but one benchmark's mistakes would say."""
    match values:
        case {"base_input": _} | {"plus_input": _}:
            of_mbpp = str(values.get("task_id")).lower().startswith("mbpp")
            return "mbppplus" if of_mbpp else "humanevalplus"
        case {"test_list": _}:
            return "mbpp"
        case {"prompt": _, "entry_point": _, "test": _}:
            return "humaneval"
        case {"instruction": _, "tests": _}:
            return "custom"
        case {"completion": _} | {"solution": _}:
            return "completions"
    return ""


def _humaneval(fields: Fields) -> Problem:
    prompt, entry_point = fields.text("prompt"), fields.identifier("entry_point")
    solution = fields.text("canonical_solution", "")
    return Problem(
        task_id=fields.task_id(),
        instruction=prompt,
        prompt=prompt,
        entry_point=entry_point,
        tests=(Script(source=f"{fields.text('test')}\ncheck({entry_point})"),),
        reference=prompt + solution if solution else "",
    )


def _mbpp(fields: Fields) -> Problem:
    sanitized = "text" not in fields.values and "prompt" in fields.values
    tests = fields.texts("test_list")
    if fields.values.get("test_list") == []:
        fields.wrong("field 'test_list' has no tests; at least one assert is expected")
    number = problem_id(fields.task_id())
    if number and not number.isdecimal():
        fields.wrong(f"task_id {number!r} is no number; MBPP counts from 1 to 974")
    return Problem(
        task_id=f"MBPP/{number}" if number else "",
        instruction=fields.text("prompt" if sanitized else "text"),
        prompt="",
        entry_point=_called(tests),
        tests=tuple(Script(source=test) for test in tests),
        setup="\n".join(fields.texts("test_imports", []))
        if sanitized
        else fields.text("test_setup_code", ""),
        reference=fields.text("code", "").replace("\r\n", "\n"),
        extra={"tests": "\n".join(tests)},
    )


_WRAPPERS = frozenset(
    {"set", "sorted", "list", "tuple", "round", "str", "len", "abs", "not", "math"}
)
_CALL = re.compile(r"([A-Za-z_]\w*)\s*\(")


def _called(tests: list[str]) -> str:
    """The function that MBPP's asserts call: a label only, since they call it by name."""
    names = _CALL.findall(tests[0].removeprefix("assert")) if tests else []
    return next((name for name in names if name not in _WRAPPERS), names[0] if names else "")


_READERS: dict[str, Callable[[Fields], Problem]] = {
    "humaneval": _humaneval,
    "mbpp": _mbpp,
    "humanevalplus": humanevalplus_problem,
    "mbppplus": mbppplus_problem,
    "custom": custom_problem,
}
