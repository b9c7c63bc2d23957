"""`python -m jobs logs`: the logs of runs, and what is added to them until they are over."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from rich.console import Console
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from database.clock import moment
from database.patience import is_passing, patience
from database.queries import ACTIVE
from database.work import driver_of
from jobs.declared import UserError
from jobs.home import Home
from jobs.named_runs import Named, named, printable
from jobs.run_logs import BYTES_AT_MOST, LOG
from jobs.status import GOES_ON, LEFT, statuses

LOOK_SECONDS = 0.5
"""Between two looks at the logs."""
ASK_SECONDS = 3.0
"""Between two looks at the ledger."""
KNOWN_BY = 10_000
"""Bytes by which the place in a log is found again."""
T = TypeVar("T")


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
            with self.path.open("rb") as file:
                known = os.fstat(file.fileno())
                start = file.seek(max(0, known.st_size - BYTES_AT_MOST))
                there = file.read()
        except FileNotFoundError:
            return ""
        self.file, self.read, self.last = known.st_ino, start + len(there), there[-KNOWN_BY:]
        *whole, self.rest = there.split(b"\n")
        return self._told(whole[-lines:] if lines else [])

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
        return self._told(lines)

    def _told(self, lines: Sequence[bytes]) -> str:
        told = (line.decode("utf-8", errors="replace") for line in lines)
        return "".join(f"{printable(self.prefix + line)}\n" for line in told)


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
    (status,) = _patiently(lambda: statuses(ledger, name))
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
    """A round for each look at the logs, until all runs are over and no driver works on them, and
    one more."""
    said, asked_at, over = "", 0.0, False
    while not over:
        if time.monotonic() - asked_at > ASK_SECONDS:
            asked_at = time.monotonic()
            over, note = _patiently(lambda: _look(ledger, name))
            if note and note != said:
                console.print(note, style="yellow", markup=False, highlight=False)
            said = note
        yield
        time.sleep(0 if over else LOOK_SECONDS)


def _look(ledger: Engine, name: str) -> tuple[bool, str]:
    """Whether all is over, and what is to be said of it."""
    active = [run.id for run in named(ledger, name).runs if run.state in ACTIVE]
    (status,) = statuses(ledger, name)
    return not active and status.exit_status != GOES_ON, _unattended(ledger, active)


def _patiently(look: Callable[[], T]) -> T:
    """Look at the ledger, again and again while the database is away, as long as writers do."""
    given_up = time.monotonic() + patience()
    while True:
        try:
            return look()
        except DBAPIError as error:
            if not is_passing(error) or time.monotonic() > given_up:
                raise
        time.sleep(LOOK_SECONDS)


def _unattended(ledger: Engine, active: Sequence[str]) -> str:
    if not active or driver_of(ledger, active[0], moment(ledger)):
        return ""
    return "No driver is working on it; what the next one says will follow. Ctrl-C ends this."
