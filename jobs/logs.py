"""`python -m jobs logs`: the logs of runs, and what is added to them until they are over."""

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from sqlalchemy import Engine

from database.clock import moment
from database.queries import ACTIVE
from database.work import driver_of
from jobs.declared import UserError
from jobs.home import Home
from jobs.named_runs import Named, named
from jobs.run_logs import LOG, tail
from jobs.status import GOES_ON, LEFT, statuses

LOOK_SECONDS = 0.5
"""Between two looks at the logs."""
ASK_SECONDS = 3.0
"""Between two looks at the ledger."""
KNOWN_BY = 10_000
"""Bytes by which the place in a log is found again."""


@dataclass
class _Followed:
    """A log that grows, and is cut now and then: a cut one is another file."""

    path: Path
    prefix: str
    read: int = 0
    file: int = 0
    """Number of the file on its disk."""
    last: bytes = b""
    """The end of what was read: where to go on in a log that was cut."""
    rest: bytes = b""
    """A line that has no end yet."""

    def skip(self, lines: int) -> str:
        """The last lines of what is there now; what follows comes later."""
        try:
            status = self.path.stat()
            self.read, self.file = status.st_size, status.st_ino
            text = tail(self.path, lines)
            self.last = text.encode()[-KNOWN_BY:]
            return self._named(text.splitlines())
        except FileNotFoundError:
            return ""

    def new(self) -> str:
        """Whole lines that were added since."""
        try:
            with self.path.open("rb") as file:
                number = os.fstat(file.fileno()).st_ino
                if number == self.file:
                    file.seek(self.read)
                added = file.read()
        except FileNotFoundError:
            return ""
        if number != self.file:  # cut, or begun
            before, found, after = added.rpartition(self.last) if self.last else (b"", b"", added)
            self.file, self.read = number, len(before) + len(found)
            self.rest, added = self.rest if found else b"", after
        self.read += len(added)
        self.last = (self.last + added)[-KNOWN_BY:]
        *lines, self.rest = (self.rest + added).split(b"\n")
        return self._named([line.decode("utf-8", errors="replace") for line in lines])

    def _named(self, lines: Sequence[str]) -> str:
        return "".join(f"{self.prefix}{line}\n" for line in lines)


def show_logs(
    ledger: Engine, home: Home, name: str, console: Console, *, follow: bool, lines: int
) -> int:
    """Print the last lines of the logs of a run, or of all runs of an experiment.

    Args:
        ledger: open for reading.
        home: the folder of work that the driver has.
        name: a run's id or label, or an experiment.
        console: for people.
        follow: print what is added too, across drivers, until all of it is over.
        lines: of each log.

    Returns:
        0; of what was followed the exit status of `python -m jobs status`.

    Raises:
        UserError: there is no such run or experiment, or it has no log here.
    """
    asked = named(ledger, name)
    logs = _logs(asked, home)
    if not follow and not any(log.path.exists() for log in logs):
        raise UserError(_no_log(asked, home))
    for log in logs:
        print(log.skip(lines), end="", flush=True)
    if not follow:
        return 0
    for _ in _rounds(ledger, name, console):
        for log in logs:
            print(log.new(), end="", flush=True)
    (status,) = statuses(ledger, name)
    return LEFT if status.exit_status == GOES_ON else status.exit_status


def _logs(asked: Named, home: Home) -> list[_Followed]:
    return [
        _Followed(home.run(run.id) / LOG, f"{run.label}: " if asked.is_experiment else "")
        for run in asked.runs
    ]


def _no_log(asked: Named, home: Home) -> str:
    return (
        f"{asked.name} has no log in {home.folder}: it did not begin, or its driver has another "
        "folder of work (CODELADDER_HOME), perhaps on another machine"
    )


def _rounds(ledger: Engine, name: str, console: Console) -> Iterator[None]:
    """A round for each look at the logs, until all runs are over, and one more."""
    said, asked_at, over = "", 0.0, False
    while not over:
        if time.monotonic() - asked_at > ASK_SECONDS:
            asked_at = time.monotonic()
            active = _active(ledger, name)
            over, note = not active, _unattended(ledger, active)
            if note and note != said:
                console.print(note, style="yellow", markup=False, highlight=False)
            said = note
        yield
        time.sleep(0 if over else LOOK_SECONDS)


def _active(ledger: Engine, name: str) -> list[str]:
    return [run.id for run in named(ledger, name).runs if run.state in ACTIVE]


def _unattended(ledger: Engine, active: Sequence[str]) -> str:
    if not active or driver_of(ledger, active[0], moment(ledger)):
        return ""
    return "No driver is working on it; what the next one says will follow. Ctrl-C ends this."
