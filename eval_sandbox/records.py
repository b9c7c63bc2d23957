"""JSON records from .jsonl, .json and .gz files, each with the line it came from."""

import gzip
import json
import zlib
from pathlib import Path
from typing import Any

from eval_sandbox.contract import nearest
from eval_sandbox.mistakes import InputError, Mistakes

Record = tuple[int | None, dict[str, Any]]
"""Line from 1 (None in a .json list: the order is said instead), and the object."""

_MISSING = object()
_WORDS = {str: "a text", list: "a list", dict: "an object", bool: "true or false", int: "a number"}


def read_records(path: Path, mistakes: Mistakes) -> list[Record]:
    """The objects of a file: one a line, or one JSON list of them.

    What is no object is added to `mistakes` and left out.

    Raises:
        InputError: when the file cannot be read at all, or holds nothing.
    """
    text = _text(path)
    if text.lstrip().startswith("["):
        return _listed(path, text, mistakes)
    records: list[Record] = []
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                value = json.loads(line)
            except (ValueError, RecursionError) as error:
                mistakes.add(number, f"this is not JSON ({error}); one object a line is expected")
                continue
            _keep(number, value, records, mistakes)
    if not text.strip():
        raise InputError(f"{path}: there is nothing in it; one JSON object a line is expected")
    return records


def _text(path: Path) -> str:
    try:
        content = path.read_bytes()
        if content[:2] == b"\x1f\x8b":
            content = gzip.decompress(content)
        return content.decode("utf-8-sig")
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}{_neighbour(path)}") from error
    except (EOFError, zlib.error) as error:
        raise InputError(f"{path}: the gzip file is damaged ({error})") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: this is not UTF-8 text ({error})") from error


def _neighbour(path: Path) -> str:
    try:
        names = [other.name for other in path.parent.iterdir() if other.is_file()]
    except OSError:
        return ""
    return f". Did you mean {nearest(path.name, sorted(names))!r}?" if names else ""


def _listed(path: Path, text: str, mistakes: Mistakes) -> list[Record]:
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: this is not JSON ({error})") from error
    records: list[Record] = []
    for value in values:
        _keep(None, value, records, mistakes)
    return records


def _keep(line: int | None, value: Any, records: list[Record], mistakes: Mistakes) -> None:
    if isinstance(value, dict):
        records.append((line, value))
    else:
        mistakes.add(line, f"an object is expected, not {json.dumps(value)[:60]}")


class Fields:
    """Typed access to the fields of one record; whatever is wrong goes to `mistakes`."""

    def __init__(self, record: Record, mistakes: Mistakes) -> None:
        self.line, self.values = record
        self._mistakes = mistakes

    def wrong(self, what: str) -> None:
        """Note a mistake of this record, naming it where it has no line."""
        named = "" if self.line else f"task_id {self.values.get('task_id')!r}: "
        self._mistakes.add(self.line, named + what)

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
