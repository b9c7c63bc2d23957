"""The memory of a process where there is no GPU."""

import os
import resource
import sys

STATUS = "/proc/self/status"


class Resident:
    """The most memory that this process has had resident."""

    def __init__(self) -> None:
        try:
            self._status: int | None = os.open(STATUS, os.O_RDONLY)
        except OSError:
            self._status = None

    def peak(self) -> int:
        """In bytes.

        Not `ru_maxrss`, where the kernel tells more: that begins with what the process had which
        started this one.
        """
        if self._status is not None:
            told = os.pread(self._status, 4096, 0)
            start = told.find(b"VmHWM:")
            if start >= 0:
                return 1024 * int(told[start + 6 :].split(maxsplit=1)[0])
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else 1024 * most

    def close(self) -> None:
        """May be called twice."""
        if self._status is not None:
            os.close(self._status)
            self._status = None
