"""`python -m jobs logs`: the logs of runs, and what is added to them until they are over."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
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


@dataclass
class _Followed:
    """A log that grows, and is cut now and then: a cut one is another file."""

    path: Path
    prefix: str
    read: int = 0
    file: int = 0
    """Number of the file on its disk."""
    rest: bytes = field(default=b"")

    def skip(self, lines: int) -> str:
        """The last lines of what is there now; what follows comes later."""
        try:
            status = self.path.stat()
            self.read, self.file = status.st_size, status.st_ino
            return self._named(tail(self.path, lines).splitlines())
        except FileNotFoundError:
            return ""

    def new(self) -> str:
        """Whole lines that were added since."""
        try:
            status = self.path.stat()
            if (status.st_ino, status.st_size >= self.read) != (self.file, True):
                # Cut: the end of it is what was read already, and what came just before the cut.
                self.read = 0 if not self.file else status.st_size
                self.file, self.rest = status.st_ino, b""
            with self.path.open("rb") as file:
                file.seek(self.read)
                added = file.read()
        except FileNotFoundError:
            return ""
        self.read += len(added)
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
    for log, _ in _rounds(ledger, name, logs, console):
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


def _rounds(
    ledger: Engine, name: str, logs: Sequence[_Followed], console: Console
) -> Iterator[tuple[_Followed, int]]:
    """Each log in turn, until all runs are over and every line has been read."""
    said, over, turn = "", False, 0
    asked_at = 0.0
    while True:
        if time.monotonic() - asked_at > ASK_SECONDS:
            asked_at = time.monotonic()
            over = not _active(ledger, name)
            note = "" if over else _unattended(ledger, name)
            if note != said and note:
                console.print(note, style="yellow", markup=False, highlight=False)
            said = note
        yield from ((log, turn) for log in logs)
        if over:
            return
        turn += 1
        time.sleep(LOOK_SECONDS)


def _active(ledger: Engine, name: str) -> list[str]:
    return [run.id for run in named(ledger, name).runs if run.state in ACTIVE]


def _unattended(ledger: Engine, name: str) -> str:
    active = _active(ledger, name)
    if not active or any(driver_of(ledger, run, moment(ledger)) for run in active[:1]):
        return ""
    return "No driver is working on it; what the next one says will follow. Ctrl-C ends this."
