"""JSON records from .jsonl, .json and .gz files, each with the line it came from."""

import gzip
import json
import zlib
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing, nullcontext
from io import BufferedIOBase
from itertools import chain
from pathlib import Path
from typing import Any

from eval_sandbox.contract import nearest
from eval_sandbox.mistakes import InputError, Mistakes

Record = tuple[int | None, dict[str, Any]]
"""Line from 1 (None in a .json list: the order is said instead), and the object."""

_MISSING = object()
_WORDS = {str: "a text", list: "a list", dict: "an object", bool: "true or false", int: "a number"}
_LARGEST = 512 << 20
"""Bytes, unpacked, of one line or list: a packed file of zeros would fill the memory otherwise."""
_GZIP = b"\x1f\x8b"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def stream_records(path: Path, mistakes: Mistakes) -> Iterator[Record]:
    """The objects of a file: one a line, or one JSON list of them.

    Lines are read one by one, so that a file of any length takes little memory; a list is read
    whole. What is no object is added to `mistakes` and left out.

    Raises:
        InputError: when the file cannot be read at all, holds nothing, or more than
            512 MiB in one line or list.
    """
    with closing(_filled_lines(path)) as lines:
        first = next(lines, None)
        if first is None:
            raise InputError(f"{path}: there is nothing in it; one JSON object a line is expected")
        if first[1].startswith(b"["):
            yield from _listed(path, _joined(path, chain([first], lines)), mistakes)
            return
        for number, line in chain([first], lines):
            try:
                value = json.loads(line.decode())
            except UnicodeDecodeError as error:
                mistakes.add(number, f"this is not UTF-8 text ({error})")
            except (ValueError, RecursionError) as error:
                mistakes.add(number, f"this is not JSON ({error}); one object a line is expected")
            else:
                yield from _object(number, value, mistakes)


def read_document(path: Path) -> Any:
    """The one JSON value that a file holds, plain or as .gz.

    Raises:
        InputError: it cannot be read, is larger than 512 MiB, or is not JSON.
    """
    with closing(_filled_lines(path)) as lines:
        return _parsed(path, _joined(path, lines))


def _joined(path: Path, lines: Iterable[tuple[int, bytes]]) -> bytes:
    kept: list[bytes] = []
    size = 0
    for _, line in lines:
        kept.append(line)
        size += len(line)
        if size > _LARGEST:
            raise InputError(f"{path}: more than {_LARGEST >> 20} MiB of one JSON value")
    return b"\n".join(kept)


def _filled_lines(path: Path) -> Generator[tuple[int, bytes]]:
    """The lines with something in them, counted from 1, without white space around them."""
    try:
        with path.open("rb") as plain:
            packed = plain.read(len(_GZIP)) == _GZIP
            plain.seek(0)
            with gzip.open(plain) if packed else nullcontext(plain) as file:
                for number, line in enumerate(_bounded(file, path), start=1):
                    mark = _BYTE_ORDER_MARK if number == 1 else b""
                    if stripped := line.removeprefix(mark).strip():
                        yield number, stripped
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputError(f"{path}: the gzip file is damaged ({error})") from error
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}{_neighbour(path)}") from error


def _bounded(file: BufferedIOBase, path: Path) -> Iterator[bytes]:
    number = 1
    while line := file.readline(_LARGEST + 1):
        if len(line) > _LARGEST:
            raise InputError(f"{path}, line {number}: longer than {_LARGEST >> 20} MiB")
        yield line
        number += 1


def _neighbour(path: Path) -> str:
    try:
        names = [other.name for other in path.parent.iterdir() if other.is_file()]
    except OSError:
        return ""
    return f". Did you mean {nearest(path.name, sorted(names))!r}?" if names else ""


def _listed(path: Path, content: bytes, mistakes: Mistakes) -> Iterator[Record]:
    for value in _parsed(path, content):
        yield from _object(None, value, mistakes)


def _parsed(path: Path, content: bytes) -> Any:
    try:
        return json.loads(content.decode())
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: this is not UTF-8 text ({error})") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: this is not JSON ({error})") from error


def _object(line: int | None, value: Any, mistakes: Mistakes) -> Iterator[Record]:
    if isinstance(value, dict):
        yield line, value
    else:
        mistakes.add(line, f"an object is expected, not {json.dumps(value)[:60]}")


class Fields:
    """Typed access to the fields of one record; whatever is wrong goes to `mistakes`."""

    def __init__(self, record: Record, mistakes: Mistakes) -> None:
        self.line, self.values = record
        self.mistakes = mistakes

    def wrong(self, what: str) -> None:
        """Note a mistake of this record, naming it where it has no line."""
        named = "" if self.line else f"task_id {self.values.get('task_id')!r}: "
        self.mistakes.add(self.line, named + what)

    def text(self, name: str, default: str | None = None) -> str:
        """A text; absent and null count as `default`, which is a mistake where it is None."""
        value = self._get(name, str, default)
        return value if isinstance(value, str) else ""

    def texts(self, name: str, default: list[str] | None = None) -> list[str]:
        """A list of texts."""
        value = self._get(name, list, default)
        if not isinstance(value, list):
            return []
        for number, item in enumerate(value):
            if not isinstance(item, str):
                self.wrong(f"{name}[{number}] is {_short(item)}; a text is expected")
        return [item for item in value if isinstance(item, str)]

    def items(self, name: str) -> list[Any]:
        """A list of anything."""
        value = self._get(name, list, None)
        return value if isinstance(value, list) else []

    def identifier(self, name: str) -> str:
        """A text that may name a function."""
        value = self.text(name)
        if value and not value.isidentifier():
            self.wrong(f"field {name!r} is {value!r}; the name of a function is expected")
        return value

    def task_id(self) -> str:
        """The id, a text or a whole number."""
        value = self.values.get("task_id", _MISSING)
        if isinstance(value, (str, int)) and not isinstance(value, bool) and str(value).strip():
            return str(value)
        self.wrong(self._absent("task_id") if value is _MISSING else _unfit("task_id", value, str))
        return ""

    def only(self, known: tuple[str, ...]) -> None:
        """Refuse fields that are not among `known`."""
        for name in self.values:
            if name not in known:
                self.wrong(f"there is no field {name!r}; did you mean {nearest(name, known)!r}?")

    def _get(self, name: str, kind: type, default: Any) -> Any:
        value = self.values.get(name, _MISSING)
        if value is _MISSING or value is None:
            if default is None:
                self.wrong(self._absent(name))
            return default
        if not isinstance(value, kind):
            self.wrong(_unfit(name, value, kind))
            return default
        return value

    def _absent(self, name: str) -> str:
        near = nearest(name, self.values) if self.values else ""
        hint = f"; the nearest field there is {near!r}" if near and near != name else ""
        return f"field {name!r} is missing{hint}"


def _unfit(name: str, value: Any, kind: type) -> str:
    return f"field {name!r} is {_short(value)}; {_WORDS.get(kind, kind.__name__)} is expected"


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:59] + "…"
