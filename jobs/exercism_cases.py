"""Exercism's canonical test data as problems: one for each exercise and property.

Read from its specification (github.com/exercism/problem-specifications, README.md, `Test Data
Format (canonical-data.json)`): a case is `{uuid, description, property, input, expected}`, cases
nest, `expected: {"error": ...}` wants an exception, `reimplements` names the case it replaces.
Taken are one canonical-data.json, an archive of the repository, and one object of
`{slug: {canonical, instructions}}`.
"""

import json
import keyword
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from eval_sandbox.mistakes import InputError
from jobs.custom_form import Converted, LeftOut, record, texts_in

MOST_DECIMALS = 6
"""A result with more is no rounded one; it is compared as the judge compares floats."""
LONGEST_EXAMPLE = 240
"""Characters; a longer example is not shown with the question."""

_FUNCTION = re.compile(r"\s*(\(?[\w, ]*\)?\s*(=>|->)|fn\s*\()")
_FORMULA = re.compile(r"(ln\(.*\)|pi|e)(/\d+)?")
_RELATION = re.compile(r"[\w.]+ (={2,3}|[<>]=?) .*|[\w.]+\(.*\)|cipher\..*")
_HEADING = re.compile(r"\A#[^\n]*\n+")


@dataclass(frozen=True, slots=True)
class _Exercise:
    slug: str
    canonical: Mapping[str, Any]
    instructions: str


@dataclass(frozen=True, slots=True)
class _Case:
    """A case that is well-formed."""

    name: str
    uuid: str
    property_name: str
    input: Mapping[str, Any]
    expected: Any
    scenarios: Sequence[str]
    replaces: str

    @property
    def error(self) -> str | None:
        """The message of the exception that is wanted."""
        wants = isinstance(self.expected, dict) and set(self.expected) == {"error"}
        return str(self.expected["error"]) if wants else None


def convert(path: Path) -> Converted:
    """Every exercise of a file.

    Raises:
        InputError: the file cannot be read or has none of the three shapes.
    """
    records: list[dict[str, Any]] = []
    left_out: list[LeftOut] = []
    for exercise in _exercises(path):
        for made in _problems(exercise, left_out):
            records.append(made)
    return Converted(records=tuple(records), left_out=tuple(left_out))


def snake_case(name: str) -> str:
    """`squareOfSum` as Python names it: `square_of_sum`."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|[^0-9A-Za-z]+", "_", name).strip("_").lower()
    if not words.isidentifier():
        return f"_{words}"
    return f"{words}_" if keyword.iskeyword(words) else words


def _exercises(path: Path) -> Iterator[_Exercise]:
    texts = texts_in(path)
    canonical = {name: text for name, text in texts.items() if name.endswith("canonical-data.json")}
    if len(texts) == 1 and not canonical:
        yield from _packed(path, next(iter(texts.values())))
        return
    if not canonical:
        raise InputError(f"{path}: there is no canonical-data.json in it")
    for name in sorted(canonical):
        folder = PurePosixPath(name).parent
        words = [
            texts.get(str(folder / part), "") for part in ("introduction.md", "instructions.md")
        ]
        content = _json(f"{path}: {name}", canonical[name])
        asked = "\n".join(filter(None, words)) or texts.get(str(folder / "description.md"), "")
        yield _Exercise(str(content.get("exercise", folder.name)), content, asked)


def _packed(path: Path, text: str) -> Iterator[_Exercise]:
    content = _json(str(path), text)
    if "cases" in content:
        yield _Exercise(str(content.get("exercise", path.stem)), content, "")
        return
    for slug, entry in content.items():
        if not isinstance(entry, dict) or not isinstance(entry.get("canonical"), dict):
            raise InputError(
                f"{path}: {slug!r} has no 'canonical'; expected are canonical-data.json as "
                "Exercism publishes it, an archive of its problem-specifications, or "
                "{slug: {canonical, instructions}}"
            )
        yield _Exercise(slug, entry["canonical"], str(entry.get("instructions", "")))


def _json(place: str, text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{place}: this is not JSON ({error})") from None
    if not isinstance(value, dict):
        raise InputError(f"{place}: an object is expected")
    return value


def _problems(exercise: _Exercise, left_out: list[LeftOut]) -> Iterator[dict[str, Any]]:
    cases = list(_cases(exercise.slug, exercise.canonical.get("cases"), left_out))
    replaced = {case.replaces for case in cases if case.replaces}
    of_property: dict[str, list[_Case]] = {}
    for case in cases:
        reason = "replaced by a later one" if case.uuid in replaced else _hindrance(case)
        if reason:
            left_out.append(LeftOut(case.name, reason))
        else:
            of_property.setdefault(case.property_name, []).append(case)
    for name, own in of_property.items():
        if all(case.error is not None for case in own):
            left_out += [LeftOut(case.name, "without one that wants a value") for case in own]
        else:
            yield _problem(exercise, name, own)


def _cases(place: str, listed: Any, left_out: list[LeftOut]) -> Iterator[_Case]:
    for number, value in enumerate(listed if isinstance(listed, list) else [], start=1):
        if not isinstance(value, dict):
            left_out.append(LeftOut(f"{place}: case {number}", "of a form that is not known"))
            continue
        name = f"{place}: {value.get('description', f'case {number}')}"
        given = value.get("input")
        if "cases" in value:
            yield from _cases(name, value["cases"], left_out)
        elif not isinstance(given, dict) or not {"property", "expected"} <= set(value):
            left_out.append(LeftOut(name, "of a form that is not known"))
        else:
            yield _Case(
                name=name,
                uuid=str(value.get("uuid", name)),
                property_name=str(value["property"]),
                input=given,
                expected=value["expected"],
                scenarios=tuple(map(str, value.get("scenarios") or ())),
                replaces=str(value.get("reimplements", "")),
            )


def _hindrance(case: _Case) -> str:
    """Why a case cannot be a call with an expected value; empty where it can."""
    if any(isinstance(v, str) and _FUNCTION.match(v) for v in _within(case.input)):
        return "with a function for input"
    if any({"operation", "command"} & set(v) for v in _within(case.input) if isinstance(v, dict)):
        return "of steps on an object"
    if "random" in case.scenarios:
        return "on something random"
    if isinstance(case.expected, str) and _RELATION.fullmatch(case.expected):
        return "with a relation for a result"
    numbers = [v for v in (*case.input.values(), case.expected) if isinstance(v, list)]
    if any(map(_is_formula, numbers)):
        return "with a formula for a number"
    return ""


def _is_formula(value: list[Any]) -> bool:
    """Whether a list is numbers of which some are written as `pi` or `ln(2)/2`."""
    written = [isinstance(v, str) and bool(_FORMULA.fullmatch(v)) for v in value]
    number = [isinstance(v, int | float) for v in value]
    sure = any(number) or any("(" in v or "pi" in v for v in value if isinstance(v, str))
    return sure and any(written) and all(w or n for w, n in zip(written, number, strict=True))


def _within(value: Any) -> Iterator[Any]:
    yield value
    if isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _within(part)


def _problem(exercise: _Exercise, name: str, cases: Sequence[_Case]) -> dict[str, Any]:
    function = snake_case(name)
    needed, optional = _parameters(cases)
    listed = [*map(snake_case, needed), *(f"{snake_case(key)}=None" for key in optional)]
    signature = f"def {function}({', '.join(listed)}):"
    digits = _decimals([case.expected for case in cases])
    calls = [_arguments(case, needed, optional) for case in cases]
    return record(
        f"{exercise.slug}/{name}",
        _instruction(exercise, signature, _shown(function, cases, calls), cases),
        [_test(function, c, args, digits) for c, args in zip(cases, calls, strict=True)],
        signature=signature,
        entry_point=function,
        family=exercise.slug,
    )


def _parameters(cases: Sequence[_Case]) -> tuple[list[str], list[str]]:
    """Keys that all inputs have, and those that only some have; in the order of the file."""
    counted = Counter(key for case in cases for key in case.input)
    needed = [key for key, number in counted.items() if number == len(cases)]
    return needed, [key for key in counted if key not in needed]


@dataclass(frozen=True, slots=True)
class _Arguments:
    args: list[Any]
    kwargs: dict[str, Any]

    def __str__(self) -> str:
        named = [f"{name}={value!r}" for name, value in self.kwargs.items()]
        return ", ".join([*map(repr, self.args), *named])


def _arguments(case: _Case, needed: Sequence[str], optional: Sequence[str]) -> _Arguments:
    kwargs = {snake_case(key): case.input[key] for key in optional if key in case.input}
    return _Arguments([case.input[key] for key in needed], kwargs)


def _decimals(expected: Sequence[Any]) -> int | None:
    """Most decimals of results that are floats; None where none is one, or they are not rounded."""
    floats = [repr(value).partition(".")[2] for value in expected if isinstance(value, float)]
    most = max(map(len, floats), default=None)
    return most if most is not None and most <= MOST_DECIMALS else None


def _test(function: str, case: _Case, arguments: _Arguments, digits: int | None) -> Any:
    call = f"{function}({arguments})"
    if case.error is not None:
        return (
            f"try:\n    {call}\nexcept Exception:\n    pass\n"
            f"else:\n    raise AssertionError({f'no exception, expected: {case.error}'!r})"
        )
    if digits is not None and isinstance(case.expected, int | float):
        return f"assert round({call}, {digits}) == {case.expected!r}"
    return {"args": arguments.args, "kwargs": arguments.kwargs, "expected": case.expected}


def _shown(
    function: str, cases: Sequence[_Case], calls: Sequence[_Arguments]
) -> Iterator[tuple[bool, str]]:
    """(whether it wants an exception, the example as a line)."""
    for case, arguments in zip(cases, calls, strict=True):
        call = f"{function}({arguments})"
        if case.error is not None:
            yield True, f"{call} raises an exception: {case.error}"
        else:
            yield False, f"{call} == {case.expected!r}"


def _instruction(
    exercise: _Exercise, signature: str, shown: Iterator[tuple[bool, str]], cases: Sequence[_Case]
) -> str:
    short = [(raises, line) for raises, line in shown if len(line) <= LONGEST_EXAMPLE]
    values = [line for raises, line in short if not raises]
    errors = [line for raises, line in short if raises]
    # The first case is often the empty one, and says little of what a result looks like.
    examples = [*values[:1], *sorted(values[1:], key=len)[-1:], *errors[:1]]
    words = _HEADING.sub("", exercise.instructions.strip()).strip() or "\n".join(
        [f"{exercise.slug.replace('-', ' ')}:", *(f"- {_words_of(case)}" for case in cases)]
    )
    asked = f"{words}\n\nWrite a Python function `{signature.removeprefix('def ')[:-1]}`."
    return "\n".join([f"{asked} Examples:", *examples]) if examples else asked


def _words_of(case: _Case) -> str:
    return case.name.partition(": ")[2]
