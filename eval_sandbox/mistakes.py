"""Everything wrong with a user's file, said at once."""

from pathlib import Path

_AT_MOST = 20


class InputError(ValueError):
    """A file of the user's is wrong; the message has one line for each mistake."""


class Mistakes:
    """Collects what is wrong with one file: the first 20 in words, the others as a number."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._shown: list[str] = []
        self._number = 0

    @property
    def enough(self) -> bool:
        """Whether further mistakes are only counted, so that their words need not be found."""
        return len(self._shown) == _AT_MOST

    def add(self, line: int | None, what: str) -> None:
        """Note a mistake; `line` counts from 1, None where the file has no lines to speak of."""
        self._number += 1
        if not self.enough:
            place = f"{self._path}" if line is None else f"{self._path}, line {line}"
            self._shown.append(f"{place}: {what}")

    def raise_if_any(self) -> None:
        """Raise `InputError` with the first 20 mistakes and the number of the others."""
        if not self._number:
            return
        others = self._number - len(self._shown)
        rest = [f"and {others} more mistakes in {self._path}"] if others else []
        raise InputError("\n".join([*self._shown, *rest]))
