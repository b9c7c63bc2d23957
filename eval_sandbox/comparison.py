"""Whether a result is the expected one, and how both are shown to people.

Results come from `codec.decode`, so they are of builtin types and hold no code of the candidate.
"""

import math
from collections import deque
from collections.abc import Iterator
from typing import Any

RELATIVE_TOLERANCE = 1e-9
ABSOLUTE_TOLERANCE = 1e-12
"""For results next to zero, where a relative tolerance allows nothing (0.1 + 0.2 - 0.3)."""


def same(expected: Any, actual: Any) -> bool:
    """Whether two values are equal: Python's `==` with these differences.

    A tuple equals a list (JSON has no tuples to expect), a bool never equals a number, floats
    are equal within 1e-9 relative or 1e-12 absolute, and nan equals nan. Members of sets and
    keys of dicts must be equal and of one type, so there 1 and 1.0 differ.
    """
    if isinstance(expected, bool) or isinstance(actual, bool):
        return expected is actual
    if isinstance(expected, (int, float)) and isinstance(actual, (int, float)):
        return _close(expected, actual)
    if isinstance(expected, (list, tuple)) and isinstance(actual, (list, tuple)):
        return len(expected) == len(actual) and all(map(same, expected, actual))
    if isinstance(expected, (set, frozenset)) and isinstance(actual, (set, frozenset)):
        return _typed(expected) == _typed(actual)
    if isinstance(expected, dict) and isinstance(actual, dict):
        return _typed(expected) == _typed(actual) and all(
            same(value, actual[key]) for key, value in expected.items()
        )
    return type(expected) is type(actual) and bool(expected == actual)


def _typed(values: Any) -> set[Any]:
    return {(type(value), value) for value in values}


def _close(left: float, right: float) -> bool:
    if isinstance(left, int) and isinstance(right, int):
        return left == right
    try:
        return math.isclose(
            left, right, rel_tol=RELATIVE_TOLERANCE, abs_tol=ABSOLUTE_TOLERANCE
        ) or (math.isnan(left) and math.isnan(right))
    except OverflowError:
        return False


def render(value: Any, at_most: int = 80) -> str:
    """A value as Python would show it, cut to about `at_most` characters."""
    try:
        text = _render(value, at_most)
    except Exception:  # a huge int in a Fraction, a range or a view; nothing may end the judge here
        text = "something too large to show"
    return text if len(text) <= at_most else text[: at_most - 1] + "…"


_BRACKETS: dict[type, tuple[str, str]] = {
    list: ("[", "]"),
    tuple: ("(", ")"),
    set: ("{", "}"),
    frozenset: ("frozenset({", "})"),
    deque: ("deque([", "])"),
}


def _render(value: Any, at_most: int) -> str:
    kind = type(value)
    if isinstance(value, (str, bytes, bytearray)):
        return repr(value[:at_most])
    if kind is int and value.bit_length() > 4 * at_most:
        return f"an int of {value.bit_length()} bits"
    if isinstance(value, dict):
        pairs = ((_render(k, at_most), _render(v, at_most)) for k, v in value.items())
        return _joined("{", "}", (f"{key}: {shown}" for key, shown in pairs), at_most)
    if kind not in _BRACKETS:
        return repr(value)[: at_most + 1]
    opening, closing = _BRACKETS[kind]
    if kind in (set, frozenset) and not value:
        return f"{kind.__name__}()"
    single = "," if kind is tuple and len(value) == 1 else ""
    shown = (_render(one, at_most) for one in value)
    return _joined(opening, single + closing, shown, at_most)


def _joined(opening: str, closing: str, parts: Iterator[str], at_most: int) -> str:
    shown: list[str] = []
    length = 0
    for part in parts:
        shown.append(part)
        length += len(part)
        if length > at_most:
            break
    return opening + ", ".join(shown) + closing
