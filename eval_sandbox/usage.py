"""What the processes of a candidate use, read off /proc by the server above them.

The server is process 1 of its namespace, and every other process in there is the candidate's.
"""

import os
import time
from collections.abc import Iterator

from eval_sandbox import confine

_TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def open_processes() -> int | None:
    """This namespace's /proc, for the server alone: candidates find no such folder."""
    try:
        descriptor = os.open("/proc", os.O_RDONLY | os.O_DIRECTORY)
        confine.unmount("/proc")
    except OSError:
        return None
    return descriptor


class Usage:
    """Of one candidate, all its processes together, as far as `look` saw them."""

    def __init__(self, processes: int | None, pid: int) -> None:
        """Begin.

        Args:
            processes: a descriptor of /proc; None where only `pid` itself can be seen.
            pid: the candidate's first process.
        """
        self._processes, self._pid = processes, pid
        self._own: dict[tuple[bytes, bytes], int] = {}
        self.cpu_seconds = 0.0
        self.resident_bytes = 0
        """At the last look."""

    def look(self) -> None:
        """Read what there is now (proc(5), `stat`)."""
        if self._processes is None:
            # The clock of one process, by its number (clock_getcpuclockid(3)).
            self.cpu_seconds = time.clock_gettime(~self._pid << 3 | 2)
            return
        ticks, pages = 0, 0
        for text in _each(self._processes, "stat"):
            fields = text.rpartition(b")")[2].split()
            own, waited_for = sum(map(int, fields[11:13])), sum(map(int, fields[13:15]))
            # Where SIGCHLD is ignored nobody waits for a child, and what it used shows only here.
            self._own[text.partition(b" ")[0], fields[19]] = own
            ticks += own + waited_for
            pages += int(fields[21])
        most = max(ticks, sum(self._own.values())) / _TICKS_A_SECOND
        self.cpu_seconds = max(self.cpu_seconds, most)
        self.resident_bytes = pages * _PAGE_BYTES

    def withheld_seconds(self) -> float:
        """For how long every process at once was ready but not run, at the most.

        The shortest wait of any: one of them that slept all the time was kept from nothing.
        """
        if self._processes is None:
            return 0.0
        return min(map(_waited, _each(self._processes, "schedstat")), default=0.0)

    def first_withheld_seconds(self) -> float:
        """The same of the first process alone, which may have ended but was not waited for."""
        if self._processes is None:
            return 0.0
        return _waited(_content(self._processes, f"{self._pid}/schedstat"))


def _waited(schedstat: bytes) -> float:
    """Its second field, in nanoseconds (Documentation/scheduler/sched-stats.rst)."""
    return int(schedstat.split()[1]) / 1e9


def _each(processes: int, file: str) -> Iterator[bytes]:
    """One file of /proc for every process but the server."""
    for name in os.listdir(processes):
        if name.isdecimal() and name != "1":
            try:
                text = _content(processes, f"{name}/{file}")
            except OSError:
                continue  # it ended meanwhile
            yield text


def _content(folder: int, path: str) -> bytes:
    with os.fdopen(os.open(path, os.O_RDONLY, dir_fd=folder), "rb") as content:
        return content.read()
