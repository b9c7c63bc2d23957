"""Values in the form that both databases can hold."""

import json
import math
from typing import Any

UNHOLDABLE = "\ufffd"


def storable(value: Any) -> Any:
    """Return a column's value as it is stored.

    NUL and lone surrogates, which models do write and no SQL text holds, become U+FFFD; a
    number that is not finite becomes null. Everything else is kept to the letter.
    """
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def as_json(value: Any) -> str:
    """Return JSON text, every part of it as `storable` returns it."""
    return json.dumps(_storable_parts(value), allow_nan=False)


def _text(value: str) -> str:
    if "\0" not in value and not _has_surrogates(value):
        return value
    clean = (UNHOLDABLE if c == "\0" or "\ud800" <= c <= "\udfff" else c for c in value)
    return "".join(clean)


def _has_surrogates(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return True
    return False


def _storable_parts(value: Any) -> Any:
    match value:
        case dict():
            return {storable(key): _storable_parts(part) for key, part in value.items()}
        case list() | tuple():
            return [_storable_parts(part) for part in value]
        case _:
            return storable(value)
