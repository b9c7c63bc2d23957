"""Whether a result agrees with the reference's, by the rules of evalplus 0.3.1.

Runs inside the judge's sandbox, where a file is all that there is: standard library only, and
nothing of ours. numpy's `allclose` is followed but for its broadcasting, by which one row would
agree with many.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

RELATIVE_TOLERANCE = 1e-7
"""Added to the absolute tolerance, as a share of the expected number."""
FLOAT_TOLERANCE = 1e-6
"""Absolute tolerance where the benchmark's file gives none and floats are expected."""

_INTEGERS = range(-(1 << 63), 1 << 64)
"""What numpy takes for a number; a larger int must be exactly right."""

Rule = Callable[[float, tuple[Any, ...], Any, Any], bool]
"""From tolerance, arguments of the call, expected value and result to whether they agree."""


def agrees(
    rule: str, tolerance: float, args: tuple[Any, ...], expected: object, result: object
) -> bool:
    """Whether `result` is right where the reference returned `expected`.

    Args:
        rule: a name of `RULES`.
        tolerance: absolute, of floats; 0 where the benchmark's file gives none.
        args: what both were called with, before either could change it.
        expected: what the reference returned.
        result: what the candidate returned; of builtin types, its content may be anything.

    Raises:
        KeyError: when there is no such rule; never for what is in `result`.
    """
    judged_by = RULES[rule]
    try:
        return judged_by(tolerance, args, expected, result)
    except Exception:
        return False


def tolerances(tolerance: float, expected: Iterable[object]) -> Iterator[float]:
    """The absolute tolerance of each input of one trial.

    Where a file gives none, the first expected float brings that of floats, and evalplus keeps it
    for the inputs that follow: so a list of floats and ints may be near, if it comes after.
    """
    for one in expected:
        if not tolerance and _is_floats(one):
            tolerance = FLOAT_TOLERANCE
        yield tolerance


def _equal(tolerance: float, args: tuple[Any, ...], expected: Any, result: Any) -> bool:
    return bool(result == expected) or _close(tolerance, expected, result)


def _set(tolerance: float, args: tuple[Any, ...], expected: Any, result: Any) -> bool:
    """The same members in any order and number."""
    wanted = set(expected)
    found = set()
    for one in result:
        if one not in wanted:  # looked up among what was expected: hostile hashes cost nothing
            return _close(tolerance, expected, result)
        found.add(one)
    return len(found) == len(wanted) or _close(tolerance, expected, result)


def _not_none(tolerance: float, args: tuple[Any, ...], expected: Any, result: Any) -> bool:
    """Something or nothing, as the reference; a bool says which of them it means."""
    something = result if type(result) is bool else result is not None
    return something == (expected is not None)


def _anything(tolerance: float, args: tuple[Any, ...], expected: Any, result: Any) -> bool:
    return True


def _or_zero(tolerance: float, args: tuple[Any, ...], expected: Any, result: Any) -> bool:
    return bool(result == 0) or _equal(tolerance, args, expected, result)


def _pyramid(tolerance: float, args: tuple[Any, ...], expected: Any, result: Any) -> bool:
    """The height may also be the perpendicular one, where the reference means the slant."""
    if _equal(tolerance, args, expected, result):
        return True
    base, height = args
    slant = math.sqrt((base / 2) ** 2 + height**2)
    return bool(abs(result - round(base**2 + 2 * base * slant)) <= tolerance)


def _digits(tolerance: float, args: tuple[Any, ...], expected: Any, result: Any) -> bool:
    """The shorter number may also be filled up with zeros on its left."""
    if _equal(tolerance, args, expected, result):
        return True
    left, right = map(str, args)
    width = max(len(left), len(right))
    pairs = zip(left.zfill(width), right.zfill(width), strict=True)
    return bool(result == sum(abs(int(one) - int(other)) for one, other in pairs))


def _root(tolerance: float, args: tuple[Any, ...], expected: Any, result: Any) -> bool:
    """Any root of the polynomial will do."""
    (coefficients,) = args
    terms = (factor * math.pow(result, power) for power, factor in enumerate(coefficients))
    return bool(abs(sum(terms)) <= tolerance)


RULES: dict[str, Rule] = {
    "equal": _equal,
    "set": _set,
    "not-none": _not_none,
    "anything": _anything,
    "or-zero": _or_zero,
    "pyramid": _pyramid,
    "digits": _digits,
    "root": _root,
}
"""`plus_files` says which problems are judged by which."""


def _close(tolerance: float, expected: Any, result: Any) -> bool:
    """Whether the numbers are near: of one type, in one shape, each within its tolerance."""
    if not tolerance and _is_floats(expected):
        tolerance = FLOAT_TOLERANCE
    if not tolerance or type(result) is not type(expected):
        return False
    _shape(expected)
    return _near(tolerance, expected, result)


def _is_floats(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return bool(value) and all(isinstance(one, float) for one in value)
    return isinstance(value, float)


def _shape(value: Any) -> tuple[int, ...]:
    """Lengths from the outside in.

    Raises:
        ValueError: when rows differ in length, which no array can hold.
    """
    if not isinstance(value, (list, tuple)):
        return ()
    shapes = {_shape(one) for one in value} or {()}
    if len(shapes) > 1:
        raise ValueError("rows of different lengths")
    return len(value), *shapes.pop()


def _near(tolerance: float, expected: Any, result: Any) -> bool:
    if isinstance(expected, (list, tuple)):
        return (
            isinstance(result, (list, tuple))
            and len(result) == len(expected)
            and all(
                _near(tolerance, one, other) for one, other in zip(expected, result, strict=True)
            )
        )
    if not (_is_number(expected) and _is_number(result)):
        return False
    size = abs(expected + 0.0)
    if not size < math.inf:
        return bool(result == expected)
    return bool(abs(result - (expected + 0.0)) <= tolerance + RELATIVE_TOLERANCE * size)


def _is_number(value: Any) -> bool:
    if type(value) is int:
        return value in _INTEGERS
    return type(value) in (bool, float, complex)
