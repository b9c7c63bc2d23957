"""Bytes to values: see `codec`. What is read here may be hostile."""

import math
import struct
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from itertools import accumulate
from typing import Any

from eval_sandbox.tags import (
    MAX_DEPTH,
    MAX_DRAWN,
    MOMENTS,
    SHARED,
    SLACK,
    Adopt,
    CutShortError,
    MalformedError,
)


def _no_adopt(tag: bytes, number: int) -> Any:
    raise MalformedError("a handle, where only data was expected")


def decode(data: bytes, adopt: Adopt = _no_adopt) -> Any:
    """The value that `encode` wrote.

    Raises:
        MalformedError: for bytes that `encode` does not write. No other exception leaves, but
            MemoryError where even the bounded value does not fit.
    """
    reader = _Reader(data, adopt)
    try:
        value = reader.read(0)
    except (struct.error, IndexError, TypeError, ValueError, OverflowError, ArithmeticError) as e:
        raise MalformedError(f"not a value: {type(e).__name__}") from None
    if reader.at != len(data):
        raise MalformedError("bytes after the value")
    return value


class _Reader:
    __slots__ = ("adopt", "at", "data")

    def __init__(self, data: bytes, adopt: Adopt) -> None:
        self.data = data
        self.at = 0
        self.adopt = adopt

    def read(self, depth: int) -> Any:
        if depth > MAX_DEPTH + SLACK:
            raise MalformedError(f"nested deeper than {MAX_DEPTH} levels")
        tag = self.data[self.at]
        self.at += 1
        return _READERS[tag](self, depth) if tag in _READERS else self._unknown(tag)

    def _unknown(self, tag: int) -> Any:
        raise MalformedError(f"there is no tag {tag}")

    def _count(self, size: int = 1) -> int:
        """A count of things that take at least `size` bytes each."""
        (count,) = struct.unpack_from("<I", self.data, self.at)
        self.at += 4
        if count * size > len(self.data) - self.at:
            raise MalformedError("more is announced than there is")
        return int(count)

    def _take(self) -> bytes:
        length = self._count()
        self.at += length
        return self.data[self.at - length : self.at]

    def integer(self, depth: int) -> int:
        self.at += 8
        return int.from_bytes(self.data[self.at - 8 : self.at], "little", signed=True)

    def long(self, depth: int) -> int:
        return int.from_bytes(self._take(), "little", signed=True)

    def real(self, depth: int) -> float:
        (value,) = struct.unpack_from("<d", self.data, self.at)
        self.at += 8
        return float(value)

    def text(self, depth: int) -> str:
        return self._take().decode("utf-8", "surrogatepass")

    def octets(self, depth: int) -> bytes:
        return self._take()

    def array(self, depth: int) -> bytearray:
        return bytearray(self._take())

    def packed(self, depth: int) -> list[Any]:
        letter = self.data[self.at : self.at + 1]
        self.at += 1
        if letter == b"s":
            return self._texts()
        if letter not in (b"q", b"d"):
            raise MalformedError("an array of neither ints, floats nor texts")
        count = self._count(8)
        values = struct.unpack_from(f"<{count}{letter.decode()}", self.data, self.at)
        self.at += 8 * count
        return list(values)

    def _texts(self) -> list[str]:
        count = self._count(4)
        lengths = struct.unpack_from(f"<{count}I", self.data, self.at)
        self.at += 4 * count
        joined = self._take().decode("ascii")
        if sum(lengths) != len(joined):
            raise MalformedError("texts that are not as long as they say")
        ends = accumulate(lengths)
        return [joined[end - length : end] for end, length in zip(ends, lengths, strict=True)]

    def items(self, depth: int) -> list[Any]:
        read, below = self.read, depth + 1
        return [read(below) for _ in range(self._count())]

    def pairs(self, depth: int) -> dict[Any, Any]:
        content = self.items(depth)
        if len(content) % 2:
            raise MalformedError("a key without a value")
        return dict(zip(content[::2], content[1::2], strict=True))

    def complex(self, depth: int) -> complex:
        real, imaginary = struct.unpack_from("<dd", self.data, self.at)
        self.at += 16
        return complex(real, imaginary)

    def range(self, depth: int) -> range:
        return range(*(self._integral(depth) for _ in range(3)))

    def _integral(self, depth: int) -> int:
        value = self.read(depth + 1)
        if type(value) is not int:
            raise MalformedError("a whole number was expected")
        return value

    def shared(self, depth: int) -> Any:
        name = self.read(depth + 1)
        if type(name) is not str or name not in SHARED:
            raise MalformedError("no such builtin")
        return SHARED[name]

    def drawn(self, depth: int) -> Any:
        return iter(self._list(depth))

    def cut(self, depth: int) -> Any:
        return _cut_short(self._list(depth))

    def view(self, depth: int) -> Any:
        which = self.data[self.at - 1 : self.at]
        content = self._list(depth)
        if which == b"1":
            return dict.fromkeys(content).keys()
        return dict(enumerate(content)).values() if which == b"2" else dict(content).items()

    def _list(self, depth: int) -> list[Any]:
        content = self.read(depth + 1)
        if type(content) is not list:
            raise MalformedError("a list was expected")
        return content

    def _tuple(self, depth: int) -> tuple[Any, ...]:
        content = self.read(depth + 1)
        if type(content) is not tuple:
            raise MalformedError("a tuple was expected")
        return content

    def decimal(self, depth: int) -> Any:
        from decimal import Decimal

        content = self.read(depth + 1)
        if type(content) is not str:
            raise MalformedError("digits were expected")
        return Decimal(content)

    def fraction(self, depth: int) -> Any:
        from fractions import Fraction

        numerator, denominator = self._tuple(depth)
        if type(numerator) is not int or type(denominator) is not int:
            raise MalformedError("whole numbers were expected")
        # Already in lowest terms where it was a Fraction; hostile ones are reduced here.
        if math.gcd(numerator, denominator) == 1 and denominator > 0:
            return Fraction(numerator, denominator)
        raise MalformedError("a fraction that is not in lowest terms")

    def moment(self, depth: int) -> Any:
        import datetime

        name, *parts = self._tuple(depth)
        if name not in MOMENTS or any(type(part) is not int for part in parts):
            raise MalformedError("no such date or time")
        return getattr(datetime, name)(*parts)

    def reference(self, depth: int) -> Any:
        tag = self.data[self.at - 1 : self.at]
        (number,) = struct.unpack_from("<I", self.data, self.at)
        self.at += 4
        return self.adopt(tag, number)


def _cut_short(content: list[Any]) -> Any:
    yield from content
    raise CutShortError(f"an iterator of more than {MAX_DRAWN} values")


_READERS: dict[int, Callable[[_Reader, int], Any]] = {
    ord(tag): read
    for tag, read in {
        "N": lambda reader, depth: None,
        "T": lambda reader, depth: True,
        "F": lambda reader, depth: False,
        "E": lambda reader, depth: Ellipsis,
        "i": _Reader.integer,
        "I": _Reader.long,
        "f": _Reader.real,
        "s": _Reader.text,
        "b": _Reader.octets,
        "B": _Reader.array,
        "L": _Reader.packed,
        "l": _Reader.items,
        "P": lambda reader, depth: tuple(reader.packed(depth)),
        "t": lambda reader, depth: tuple(reader.items(depth)),
        "S": lambda reader, depth: set(reader.items(depth)),
        "z": lambda reader, depth: frozenset(reader.items(depth)),
        "q": lambda reader, depth: deque(reader.items(depth)),
        "d": _Reader.pairs,
        "O": lambda reader, depth: OrderedDict(reader.pairs(depth)),
        "C": lambda reader, depth: Counter(reader.pairs(depth)),
        "x": lambda reader, depth: defaultdict(None, reader.pairs(depth)),
        "c": _Reader.complex,
        "r": _Reader.range,
        "Y": _Reader.shared,
        "g": _Reader.drawn,
        "G": _Reader.cut,
        "1": _Reader.view,
        "2": _Reader.view,
        "3": _Reader.view,
        "M": _Reader.decimal,
        "R": _Reader.fraction,
        "D": _Reader.moment,
        "H": _Reader.reference,
        "h": _Reader.reference,
        "K": _Reader.reference,
    }.items()
}
