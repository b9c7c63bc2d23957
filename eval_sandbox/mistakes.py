"""Everything wrong with a user's file, said at once."""

from pathlib import Path

_AT_MOST = 20


class InputError(ValueError):
    """A file of the user's is wrong; the message has one line for each mistake."""


class Mistakes:
    """Collects what is wrong with one file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._found: list[str] = []

    def add(self, line: int | None, what: str) -> None:
        """Note a mistake; `line` counts from 1, None where the file has no lines to speak of."""
        place = f"{self._path}" if line is None else f"{self._path}, line {line}"
        self._found.append(f"{place}: {what}")

    def raise_if_any(self) -> None:
        """Raise `InputError` with the first 20 mistakes and the number of the others."""
        if not self._found:
            return
        shown = self._found[:_AT_MOST]
        if len(self._found) > _AT_MOST:
            shown.append(f"and {len(self._found) - _AT_MOST} more mistakes in {self._path}")
        raise InputError("\n".join(shown))
