"""Values to bytes: see `codec`."""

import struct
import sys
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from itertools import islice
from typing import Any

from eval_sandbox.tags import (
    MAX_DEPTH,
    MAX_DRAWN,
    MOMENTS,
    SHARED,
    Export,
    NotDataError,
    TooLargeError,
    type_name,
)

_SHORT = struct.Struct("<cq")
_DOUBLE = struct.Struct("<cd")
_COUNT = struct.Struct("<cI")
_INT64 = range(-(1 << 63), 1 << 63)
_PIECE = 1 << 20
_PACK_FROM = 4
"""Shorter sequences are not worth looking for one type."""

_NAME_OF_SHARED = {value: name for name, value in SHARED.items() if value.__name__ == name}


def _no_export(value: Any) -> tuple[bytes, int]:
    raise NotDataError(f"a value of type {type_name(type(value))}, which is not data")


def encode(value: Any, limit: int, export: Export = _no_export) -> bytes:
    """`value` as bytes.

    Args:
        value: anything; what is no data goes to `export`.
        limit: longest result in bytes.
        export: called for each value that is no data.

    Raises:
        NotDataError: for a type without a tag (from `export`), or beyond a depth of 200.
        TooLargeError: when the result would be longer than `limit`.
    """
    writer = _Writer(limit, export)
    writer.write(value, 0)
    if len(writer.out) > limit:
        raise TooLargeError(f"more than {limit} bytes")
    return bytes(writer.out)


def digest(value: Any) -> bytes:
    """SHA-256 of a value's encoding, however long: equal values of equal types have the same.

    Raises:
        NotDataError: for a type without a tag, or beyond a depth of 200.
    """
    digester = _Digester()
    digester.write(value, 0)
    digester.hash.update(digester.out)
    return digester.hash.digest()


class _Writer:
    __slots__ = ("export", "limit", "out")

    def __init__(self, limit: int, export: Export) -> None:
        self.out = bytearray()
        self.limit = limit
        self.export = export

    def write(self, value: Any, depth: int) -> None:
        write = _WRITERS.get(type(value))
        if write is None:
            self._decayed(value, depth)
        else:
            write(self, value, depth)

    def _decayed(self, value: Any, depth: int) -> None:
        kind = type(value)
        for base in type.__dict__["__mro__"].__get__(kind):
            if base in _DECAY:
                return _WRITERS[base](self, _DECAY[base](value), depth)
        plain = _plain(value, kind)
        if plain is not None:
            tag, content = plain
            self.out += tag
            return self.write(content, depth + 1)
        return self._reference(value)

    def _reference(self, value: Any) -> None:
        self.out += _COUNT.pack(*self.export(value))

    def singleton(self, value: Any, depth: int) -> None:
        self.out += _SINGLETONS[value]

    def integer(self, value: int, depth: int) -> None:
        if value in _INT64:
            self.out += _SHORT.pack(b"i", value)
            return
        length = value.bit_length() // 8 + 1
        self._room(length)
        self.out += _COUNT.pack(b"I", length)
        self.out += value.to_bytes(length, "little", signed=True)

    def real(self, value: float, depth: int) -> None:
        self.out += _DOUBLE.pack(b"f", value)

    def text(self, value: str, depth: int) -> None:
        self._room(len(value))
        content = value.encode("utf-8", "surrogatepass")
        self.out += _COUNT.pack(b"s", len(content))
        self.out += content

    def octets(self, value: bytes | bytearray, depth: int) -> None:
        self._room(len(value))
        self.out += _COUNT.pack(b"b" if type(value) is bytes else b"B", len(value))
        self.out += value

    def sequence(self, value: list[Any] | tuple[Any, ...], depth: int) -> None:
        tag = b"l" if type(value) is list else b"t"
        if len(value) < _PACK_FROM or not self._packed(tag, value):
            self._items(tag, value, depth)

    def _packed(self, tag: bytes, values: Any) -> bool:
        """Values of one simple type go together: 20 times faster than one by one."""
        kinds = set(map(type, values))
        if len(kinds) != 1:
            return False
        kind = kinds.pop()
        if kind is str:
            return self._texts(tag, values)
        letter = "q" if kind is int else "d" if kind is float else ""
        if not letter:
            return False
        self._room(8 * len(values))
        try:
            content = struct.pack(f"<{len(values)}{letter}", *values)
        except struct.error:
            return False
        self.out += _PACKED[tag] + letter.encode() + len(values).to_bytes(4, "little") + content
        return True

    def _texts(self, tag: bytes, values: Any) -> bool:
        """Texts of ASCII alone go as their lengths and all of them joined."""
        joined = "".join(values)
        if not joined.isascii():
            return False
        self._room(4 * len(values) + len(joined))
        self.out += _PACKED[tag] + b"s" + len(values).to_bytes(4, "little")
        self.out += struct.pack(f"<{len(values)}I", *map(len, values))
        self.out += len(joined).to_bytes(4, "little") + joined.encode("ascii")
        return True

    def collection(self, value: Any, depth: int) -> None:
        self._items(_COLLECTIONS[type(value)], value, depth)

    def mapping(self, value: Any, depth: int) -> None:
        content: list[Any] = []
        for pair in dict.items(value):
            content += pair
        self._items(_MAPPINGS[type(value)], content, depth)

    def _items(self, tag: bytes, values: Any, depth: int) -> None:
        if depth >= MAX_DEPTH:
            raise NotDataError(f"a value nested deeper than {MAX_DEPTH} levels")
        self.out += _COUNT.pack(tag, len(values))
        for value in values:
            write = _WRITERS.get(type(value))
            if write is None:
                self._decayed(value, depth + 1)
            else:
                write(self, value, depth + 1)
            if len(self.out) > self.limit:
                self._full()

    def complex(self, value: complex, depth: int) -> None:
        self.out += struct.pack("<cdd", b"c", value.real, value.imag)

    def range(self, value: range, depth: int) -> None:
        self.out += b"r"
        for number in (value.start, value.stop, value.step):
            self.integer(number, depth)

    def shared(self, value: Any, depth: int) -> None:
        name = _NAME_OF_SHARED.get(value)
        if name is None:
            self._reference(value)
        else:
            self.out += b"Y"
            self.text(name, depth)

    def drawn(self, value: Any, depth: int) -> None:
        content = list(islice(value, MAX_DRAWN + 1))
        cut = len(content) > MAX_DRAWN
        self.out += b"G" if cut else b"g"
        self._items(b"l", content[:MAX_DRAWN], depth)

    def view(self, value: Any, depth: int) -> None:
        self.out += _VIEWS[type(value)]
        self._items(b"l", list(value), depth)

    def _room(self, length: int) -> None:
        if len(self.out) + length > self.limit:
            self._full()

    def _full(self) -> None:
        raise TooLargeError(f"more than {self.limit} bytes")


class _Digester(_Writer):
    """Writes into a hash, a piece at a time."""

    __slots__ = ("hash",)

    def __init__(self) -> None:
        super().__init__(_PIECE, _no_export)
        from hashlib import sha256  # brings a large library, which few programs need

        self.hash = sha256()

    def _full(self) -> None:
        self.hash.update(self.out)
        self.out.clear()


def _plain(value: Any, kind: type) -> tuple[bytes, Any] | None:
    """Tag and content of the rarer types, which are looked for by the module they come from."""
    name = (kind.__module__, type_name(kind))
    if kind is not getattr(sys.modules.get(name[0]), name[1], None):
        return (b"g", list(islice(value, MAX_DRAWN))) if _is_iterator(kind) else None
    if name == ("decimal", "Decimal"):
        return b"M", str(value)
    if name == ("fractions", "Fraction"):
        return b"R", (value.numerator, value.denominator)
    if name[0] == "datetime" and name[1] in MOMENTS and getattr(value, "tzinfo", None) is None:
        return b"D", (name[1], *(getattr(value, part) for part in MOMENTS[name[1]]))
    if name[0] == "numpy" and hasattr(kind, "item") and getattr(value, "ndim", None) == 0:
        return b"", value.item()
    return None


def _is_iterator(kind: type) -> bool:
    return hasattr(kind, "__next__") and kind.__module__ == "builtins"


_PACKED = {b"l": b"L", b"t": b"P"}
_SINGLETONS = {None: b"N", True: b"T", False: b"F", Ellipsis: b"E"}
_COLLECTIONS: dict[type, bytes] = {set: b"S", frozenset: b"z", deque: b"q"}
_MAPPINGS: dict[type, bytes] = {dict: b"d", OrderedDict: b"O", Counter: b"C", defaultdict: b"x"}
_VIEWS: dict[type, bytes] = {type({}.keys()): b"1", type({}.values()): b"2", type({}.items()): b"3"}
_ITERATORS: tuple[type, ...] = (
    *(type(_) for _ in ((_ for _ in ()), iter([]), iter(()), iter({}), iter(set()), iter(""))),
    *(type(iter(_)) for _ in (b"", range(0), range(1 << 70), deque())),
    *(type(iter(_)) for _ in (dict[Any, Any]().values(), dict[Any, Any]().items())),
    *(map, filter, zip, enumerate, reversed, type(reversed([])), type(reversed({}))),
)

_WRITERS: dict[type, Callable[[_Writer, Any, int], None]] = {
    **dict.fromkeys((type(None), bool, type(Ellipsis)), _Writer.singleton),
    int: _Writer.integer,
    float: _Writer.real,
    str: _Writer.text,
    **dict.fromkeys((bytes, bytearray), _Writer.octets),
    **dict.fromkeys((list, tuple), _Writer.sequence),
    **dict.fromkeys(_COLLECTIONS, _Writer.collection),
    **dict.fromkeys(_MAPPINGS, _Writer.mapping),
    complex: _Writer.complex,
    range: _Writer.range,
    **dict.fromkeys((type, type(len)), _Writer.shared),
    **dict.fromkeys(_ITERATORS, _Writer.drawn),
    **dict.fromkeys(_VIEWS, _Writer.view),
}

_ALL = slice(None)
_DECAY: dict[type, Callable[[Any], Any]] = {
    int: int.__int__,
    float: float.__float__,
    str: str.__str__,
    bytes: lambda value: bytes.__getitem__(value, _ALL),
    bytearray: lambda value: bytearray.__getitem__(value, _ALL),
    list: lambda value: list.__getitem__(value, _ALL),
    tuple: lambda value: tuple.__getitem__(value, _ALL),
    set: lambda value: set.union(set(), set.__iter__(value)),
    frozenset: lambda value: frozenset(frozenset.__iter__(value)),
    deque: lambda value: deque(deque.__iter__(value)),
    OrderedDict: lambda value: OrderedDict(dict.items(value)),
    Counter: lambda value: Counter(dict(dict.items(value))),
    defaultdict: lambda value: defaultdict(None, dict.items(value)),
    dict: lambda value: dict(dict.items(value)),
    complex: complex.__complex__,
    type: lambda value: value,
}
