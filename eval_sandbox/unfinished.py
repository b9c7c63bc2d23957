"""Verdicts written one by one, under another name until all are there.

Whatever ends the process, the same command goes on after the last whole line.
"""

import fcntl
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from eval_sandbox.mistakes import InputError
from eval_sandbox.verdict import Outcome

Command = dict[str, Any]
"""Everything that shapes the verdicts of a file, ready for JSON."""


class Unfinished:
    """The verdicts of a file so far."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.counts = _whole_lines(file)
        """How often each outcome is there already, and `write` counts on."""

    def write(self, verdict: dict[str, Any]) -> None:
        """Add one; it outlives this process."""
        self._file.write(json.dumps(verdict).encode() + b"\n")
        self._file.flush()
        self.counts[Outcome(verdict["outcome"])] += 1


def unfinished_name(out: Path) -> Path:
    """What the verdicts meant for `out` are called until all are there."""
    return out.with_name(f"{out.name}.unfinished")


@contextmanager
def unfinished(out: Path, command: Command) -> Iterator[Unfinished]:
    """The verdicts meant for `out`, with those that the same command left; named `out` at the end.

    When the block is left by an exception they stay, under `unfinished_name(out)`.

    Raises:
        InputError: when another command left verdicts there, another process is writing them
            now, or the folder does not take files.
    """
    path = unfinished_name(out)
    left_by = path.with_name(f"{path.name}.json")
    with _opened(path) as file:
        _lock(file, path)
        if file.tell():
            _require_same(command, left_by, path)
        else:
            _note(command, left_by)
        yield Unfinished(file)
        path.replace(out)
        left_by.unlink(missing_ok=True)


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("a+b")
    except PermissionError as error:
        raise InputError(f"{path}: {error.strerror}") from error


def _lock(file: BinaryIO, path: Path) -> None:
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise InputError(f"{path}: another process is writing to it") from error


def _note(command: Command, path: Path) -> None:
    whole = path.with_name(f"{path.name}.tmp")
    whole.write_text(json.dumps(command, indent=1) + "\n", encoding="utf-8")
    whole.replace(path)


def _require_same(command: Command, left_by: Path, path: Path) -> None:
    try:
        other = json.loads(left_by.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        other = None
    if other != command:
        raise InputError(
            f"{path} holds verdicts of another command ({_difference(command, other)}). Run "
            f"that one again to complete them, or remove {path.name} and {left_by.name} to start "
            "afresh"
        )


def _difference(command: Command, other: Any) -> str:
    if not isinstance(other, dict):
        return "which one cannot be read"
    differing = [name for name in command if name not in other or other[name] != command[name]]
    if differing:
        return f"it differs in: {', '.join(differing)}"
    return f"it says more: {', '.join(sorted(other.keys() - command.keys()))}"


def _whole_lines(file: BinaryIO) -> Counter[Outcome]:
    """Count the verdicts in a file and cut off what a sudden end left of a line."""
    counts: Counter[Outcome] = Counter()
    end = 0
    file.seek(0)
    for line in file:
        outcome = _outcome(line)
        if outcome is None:
            break
        counts[outcome] += 1
        end += len(line)
    file.truncate(end)
    return counts


def _outcome(line: bytes) -> Outcome | None:
    try:
        return Outcome(json.loads(line)["outcome"]) if line.endswith(b"\n") else None
    except (ValueError, TypeError, KeyError):
        return None
