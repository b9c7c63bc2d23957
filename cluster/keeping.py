"""`python -m cluster keep`: a driver, started again where it crashes, not where it ends."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

ENDED = frozenset({0, 1, 2, 3, 4, 130})
"""Exit statuses of ours: the work is over, or only a person can help. All others are crashes."""
MISTAKE = 2
"""Of the user; from a later start, which has the same experiment, something is away for now."""
ATTEMPT = "CODELADDER_ATTEMPT"
FAILED = 1
"""Of runs that failed, and of a process that Ray ends in its own code, as it does with a driver
whose head came back empty: only who comes to its own end says `ended_by_itself`."""
CRASHED = 70
"""Of an error of ours that nothing expected."""
LAST_WORD = "CODELADDER_LAST_WORD"
"""A file that a driver makes when it comes to its own end."""
SHORTEST_WAIT, LONGEST_WAIT = 1.0, 60.0
"""Between two starts, doubled from crash to crash."""
STEADY_SECONDS = 600.0
"""A driver that worked for so long may crash as often again."""


def keep(command: Sequence[str], restarts: int, as_done: Sequence[int] = ()) -> int:
    """Run a command until it ends by itself; crashes, of it or by a signal, start it again.

    The command finds in `CODELADDER_ATTEMPT` which start it is, from 1. SIGTERM and SIGINT go to
    the command and end it for good. Status 1 counts as a crash unless the command called
    `ended_by_itself`.

    Args:
        as_done: exit statuses to return as 0, where the caller would start again all others.

    Returns:
        The exit status of its last start; 128 and the signal where one ended it.
    """
    keeper = _Keeper()
    left, wait, attempt = restarts, SHORTEST_WAIT, 0
    while True:
        attempt += 1
        began = time.monotonic()
        status = keeper.start(command, attempt)
        ended = status in ENDED and (status != MISTAKE or attempt == 1)
        if ended or keeper.told:
            return 0 if status in as_done else status
        if time.monotonic() - began > STEADY_SECONDS:
            left, wait = restarts, SHORTEST_WAIT
        if left == 0:
            print(f"keep: gave up after {restarts} restarts", file=sys.stderr, flush=True)
            return status
        left -= 1
        print(
            f"keep: the driver ended with status {status}; start {attempt + 1} in {wait:.0f} s",
            file=sys.stderr,
            flush=True,
        )
        if keeper.waits(wait):
            return status
        wait = min(2 * wait, LONGEST_WAIT)


def ended_by_itself() -> None:
    """Tell the keeper of this process, if it has one, that its status is its own."""
    if word := os.environ.get(LAST_WORD):
        Path(word).touch()


class _Keeper:
    """The process that is kept, and whether somebody told it to end."""

    def __init__(self) -> None:
        self.told = False
        self._running: subprocess.Popen[bytes] | None = None
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._pass_on)

    def start(self, command: Sequence[str], attempt: int) -> int:
        if self.told:
            return 128 + signal.SIGTERM
        with tempfile.TemporaryDirectory() as folder:
            word = Path(folder) / "ended"
            told = {ATTEMPT: str(attempt), LAST_WORD: str(word)}
            self._running = subprocess.Popen(command, env=os.environ | told)
            status = self._running.wait()
            if status == FAILED and not word.exists():
                return CRASHED
        return status if status >= 0 else 128 - status

    def waits(self, seconds: float) -> bool:
        """Wait; whether somebody told it to end meanwhile."""
        deadline = time.monotonic() + seconds
        while not self.told and time.monotonic() < deadline:
            time.sleep(0.1)
        return self.told

    def _pass_on(self, number: int, _: FrameType | None) -> None:
        self.told = True
        if self._running is not None and self._running.poll() is None:
            self._running.send_signal(number)
