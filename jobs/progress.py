"""Progress of long stages: counts and time left, on a terminal and in a log alike."""

import threading
import time
from dataclasses import dataclass, field

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

QUIET_SECONDS = 15.0
"""Where no terminal is watching, a stage says how far it is this often."""


@dataclass
class _Stage:
    label: str
    unit: str
    total: int
    done: int = 0
    note: str = ""
    started: float = field(default_factory=time.monotonic)
    said: float = field(default_factory=time.monotonic)

    def left(self) -> str:
        if not self.done:
            return "time left unknown"
        rate = (time.monotonic() - self.started) / self.done
        return f"{rate * (self.total - self.done):.0f} s left"


class Board:
    """One line per running stage. Safe to use from many threads."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._lock = threading.Lock()
        self._stages: dict[str, _Stage] = {}
        self._bars: dict[str, TaskID] = {}
        self._finished: set[str] = set()
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[unit]}"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=console,
            disable=not console.is_terminal,
        )

    def __enter__(self) -> "Board":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def say(self, text: str) -> None:
        """Print a line above the bars."""
        self._progress.console.print(text, highlight=False, markup=False)

    def update(self, label: str, unit: str, done: int, total: int, note: str = "") -> None:
        """Show how far a stage is; the first call starts its line, none brings it back."""
        with self._lock:
            if label in self._finished:
                return
            stage = self._stages.setdefault(label, _Stage(label, unit, total))
            if label not in self._bars:
                bar = self._progress.add_task(label, total=total, unit=unit, note=note)
                self._bars[label] = bar
            stage.done, stage.note = done, note
            self._progress.update(self._bars[label], completed=done, note=note)
            if not self._console.is_terminal and time.monotonic() - stage.said > QUIET_SECONDS:
                stage.said = time.monotonic()
                self.say(f"  {label}: {done} of {total} {unit}, {stage.left()} {note}".rstrip())

    def part(self, label: str, done: int, total: int) -> None:
        """Show how many parts of a stage are done; with the last one its line goes."""
        self.update(label, "parts", done, total)
        if done == total:
            self.finish(label)

    def finish(self, label: str) -> None:
        """Take a stage's line away."""
        with self._lock:
            self._finished.add(label)
            self._stages.pop(label, None)
            bar = self._bars.pop(label, None)
            if bar is not None:
                self._progress.remove_task(bar)
