"""The trusted end of the codec: reads what `runner.encode` wrote, compares it and shows it.

Everything here works on the parsed text, never on rebuilt objects: no hostile hash, no `__eq__`
and no constructor is involved, and the time is bounded by the length of the text.
"""

import json
import math
from typing import Any

from eval_sandbox.runner import encode

RELATIVE_TOLERANCE = 1e-9
ABSOLUTE_TOLERANCE = 1e-12
"""For results next to zero, where a relative tolerance allows nothing (0.1 + 0.2 - 0.3)."""

_SEQUENCES, _SETS = ("l", "t"), ("s", "z")


class MalformedError(ValueError):
    """Text that the codec did not write: the candidate wrote to the private descriptor itself."""


def parse(line: bytes) -> Any:
    """One line of the codec as nested lists.

    Raises:
        MalformedError: when it is not JSON, or nested too deeply to be ours.
    """
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        raise MalformedError("the result is not in the form the runner writes") from error


def tagged(value: object) -> Any:
    """`value` in the form that `parse` returns: what a candidate that returned it would send."""
    return json.loads(encode(value))


def same(expected: Any, actual: Any) -> bool:
    """Whether two tagged values are equal: Python's `==` with these differences.

    A tuple equals a list (JSON has no tuples to expect), a bool never equals a number, floats
    are equal within 1e-9 relative or 1e-12 absolute, and nan equals nan. Members of sets and
    keys of dicts are matched by their text, so there 1 and 1.0 differ.

    Raises:
        MalformedError: when `actual` is not in the form that `encode` writes.
    """
    if isinstance(actual, list) and (len(actual) != 2 or not isinstance(actual[0], str)):
        raise MalformedError("a tag and its content were expected")
    wanted, found = _number(expected), _number(actual)
    if wanted is not None and found is not None:
        return _close(wanted, found)
    if not isinstance(expected, list) or not isinstance(actual, list):
        return type(expected) is type(actual) and bool(expected == actual)
    return _same_containers(expected, actual)


def _same_containers(expected: list[Any], actual: list[Any]) -> bool:
    (tag, content), (actual_tag, actual_content) = expected, actual
    family = next((group for group in (_SEQUENCES, _SETS) if tag in group), (tag,))
    if actual_tag not in family:
        return False
    if not isinstance(actual_content, list):
        return bool(content == actual_content)
    if len(content) != len(actual_content):
        return False
    if tag in _SEQUENCES:
        return all(map(same, content, actual_content))
    if tag in _SETS:
        return all(
            map(same, sorted(content, key=json.dumps), sorted(actual_content, key=json.dumps))
        )
    return _same_pairs(content, actual_content)


def _same_pairs(expected: list[Any], actual: list[Any]) -> bool:
    if any(not isinstance(pair, list) or len(pair) != 2 for pair in actual):
        raise MalformedError("a dict that is not a list of pairs")
    ours, theirs = (
        {json.dumps(key): value for key, value in pairs} for pairs in (expected, actual)
    )
    return ours.keys() == theirs.keys() and all(same(ours[key], theirs[key]) for key in ours)


def _number(value: Any) -> int | float | None:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return value
    if isinstance(value, list) and len(value) == 2 and value[0] in ("i", "f"):
        try:
            return int(value[1], 16) if value[0] == "i" else float(value[1])
        except (TypeError, ValueError, OverflowError) as error:
            raise MalformedError("a number that cannot be read") from error
    return None


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
    """A tagged value as Python would show it, cut to about `at_most` characters."""
    try:
        text = _render(value, at_most)
    except (TypeError, ValueError, LookupError, RecursionError):
        text = "something unreadable"
    return text if len(text) <= at_most else text[: at_most - 1] + "…"


_BRACKETS = {"l": ("[", "]"), "t": ("(", ")"), "s": ("{", "}"), "z": ("frozenset({", "})")}


def _render(value: Any, at_most: int) -> str:
    if not isinstance(value, list):
        return repr(value[:at_most] if isinstance(value, str) else value)
    tag, content = value
    if tag == "i":
        return f"0x{content}"[:at_most]
    if tag == "f":
        return str(content)
    if tag == "b":
        return f"bytes.fromhex({content[:at_most]!r})"
    shown: list[str] = []
    for item in content:
        if tag == "d":
            shown.append(f"{_render(item[0], at_most)}: {_render(item[1], at_most)}")
        else:
            shown.append(_render(item, at_most))
        if sum(map(len, shown)) > at_most:
            break
    if tag in _SETS and not shown:
        return "set()" if tag == "s" else "frozenset()"
    opening, closing = _BRACKETS.get(tag, ("{", "}"))
    single = "," if tag == "t" and len(shown) == 1 else ""
    return opening + ", ".join(shown) + single + closing
