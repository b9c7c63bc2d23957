"""What both directions of the codec share: names, bounds, errors."""

import builtins
from collections.abc import Callable
from typing import Any

MAX_DEPTH = 200
"""Containers inside containers; Python's own recursion limit is 1,000 frames."""
SLACK = 2
"""Below the deepest container a value may still be made of values: a range, a fraction."""
MAX_DRAWN = 100_000
"""Values drawn from an iterator; one that is longer arrives cut, and says so when it is used up."""

_SHARED_NAMES = (
    "abs all any ascii bin bool bytearray bytes chr complex dict divmod enumerate filter float "
    "format frozenset hex int iter len list map max min next object oct ord pow range repr "
    "reversed round set slice sorted str sum tuple type zip"
)
SHARED = {name: getattr(builtins, name) for name in _SHARED_NAMES.split()} | {
    name: value
    for name, value in vars(builtins).items()
    if isinstance(value, type) and issubclass(value, BaseException)
}
"""Builtins that cross by name: types and functions that reach nothing outside their arguments."""
MOMENTS = {
    "date": ("year", "month", "day"),
    "time": ("hour", "minute", "second", "microsecond"),
    "datetime": ("year", "month", "day", "hour", "minute", "second", "microsecond"),
    "timedelta": ("days", "seconds", "microseconds"),
}
Export = Callable[[Any], tuple[bytes, int]]
"""Gives a value that is no data a tag (`HANDLE`, `TRUTHY`, `CALLBACK`) and a number below 2**32."""
Adopt = Callable[[bytes, int], Any]
"""The value that a tag and a number stand for on this side."""

HANDLE, TRUTHY, CALLBACK = b"H", b"h", b"K"
"""An object; one that is true (a `re.Match`); a function of the tests."""


class NotDataError(Exception):
    """A value that cannot cross: of a type without a tag, or nested too deeply."""


class TooLargeError(Exception):
    """A value whose encoding is longer than is allowed."""


class MalformedError(ValueError):
    """Bytes that the encoder did not write."""


class CutShortError(Exception):
    """An iterator gave more values than may cross, and the reader came to the end of them."""


def type_name(kind: type) -> str:
    """The name of a type, whatever its metaclass says."""
    return str(type.__dict__["__name__"].__get__(kind))
