"""What a published format makes of one record, before source, place and licence are added."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from jobs.data.origin import Source

Values = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """The content of a row."""

    instruction: str
    input: str = ""
    response: str
    tests: list[Any] = field(default_factory=list)
    entry_point: str = ""
    preamble: str = ""
    licence: str = ""
    """Of this row; empty: its source's."""
    attribution: str = ""
    within: str = ""
    """Which of several rows of one record this is; ends its place."""
    asked: bool = True
    """False: plain code, which has no instruction."""


class UnfitError(Exception):
    """A record, or one of the rows in it, that the format can make nothing of."""

    def __init__(self, reason: str, found: str, within: str = "") -> None:
        super().__init__(reason, found, within)
        self.reason, self.found, self.within = reason, found, within


Drafts = Iterator[Draft | UnfitError]


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """How the records of one published format become rows."""

    columns: Callable[[Source], tuple[str, ...]]
    """Columns that at least one record of a file must have; of `a.b`, a is enough."""
    drafts: Callable[[Values, Source], Drafts]
    """The rows of a record: raises `UnfitError` for the whole, yields it for a part."""
    also: tuple[str, ...] = ()
    """Columns it reads where they are there."""


def given(values: Values, path: str) -> Any:
    """What is at `a.b` of nested objects, or None; a column with dots in its name comes first."""
    if path in values:
        return values[path]
    found: Any = values
    for key in path.split("."):
        found = found.get(key) if isinstance(found, Mapping) else None
    return found


def value(values: Values, path: str) -> Any:
    """What is at a path.

    Raises:
        UnfitError: `missing_field`.
    """
    found = given(values, path)
    if found is None:
        raise UnfitError("missing_field", f"{path}, of {', '.join(sorted(map(str, values)))}")
    return found


def text(values: Values, path: str) -> str:
    """The text at a path.

    Raises:
        UnfitError: `missing_field`, or `not_text` with what is there.
    """
    found = value(values, path)
    if not isinstance(found, str):
        raise UnfitError("not_text", f"{path} is {json.dumps(found, default=str)[:80]}")
    return found


def items(values: Values, path: str) -> list[Any]:
    """The list at a path.

    Raises:
        UnfitError: `missing_field`, or `not_a_list` with what is there.
    """
    found = value(values, path)
    if not isinstance(found, list):
        raise UnfitError("not_a_list", f"{path} is {json.dumps(found, default=str)[:80]}")
    return found


def texts(values: Values, path: str) -> list[str]:
    """The list of texts at a path.

    Raises:
        UnfitError: `missing_field`, `not_a_list`, or `not_text` with what is among them.
    """
    found = items(values, path)
    for one in found:
        if not isinstance(one, str):
            raise UnfitError("not_text", f"{path} has {json.dumps(one, default=str)[:80]}")
    return found


def optional(values: Values, path: str) -> str:
    """The text at a path, or "" where there is none.

    Raises:
        UnfitError: `not_text`.
    """
    return "" if given(values, path) is None else text(values, path)
