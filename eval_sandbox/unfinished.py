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
    told = path.with_name(f"{path.name}.json")
    try:
        with path.open("a+b") as file:
            _lock(file, path)
            if file.tell():
                _require_same(command, told, path)
            else:
                _note(command, told)
            yield Unfinished(file)
            path.replace(out)
            told.unlink(missing_ok=True)
    except PermissionError as error:
        raise InputError(f"{path}: {error.strerror}") from error


def _lock(file: BinaryIO, path: Path) -> None:
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise InputError(f"{path}: another process is writing to it") from error


def _note(command: Command, told: Path) -> None:
    whole = told.with_name(f"{told.name}.tmp")
    whole.write_text(json.dumps(command, indent=1) + "\n", encoding="utf-8")
    whole.replace(told)


def _require_same(command: Command, told: Path, path: Path) -> None:
    try:
        left_by = json.loads(told.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        left_by = None
    if left_by == command:
        return
    differing = [name for name in command if not isinstance(left_by, dict) or name not in left_by]
    differing = differing or [name for name in command if left_by[name] != command[name]]
    raise InputError(
        f"{path} holds verdicts of another command (it differs in: {', '.join(differing)}). Run "
        f"that one again to complete them, or remove {path.name} and {told.name} to start afresh"
    )


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
