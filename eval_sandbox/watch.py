"""Reads what comes out of one sandbox, within bounds, and decides when it has had enough."""

import os
import selectors
import time
from dataclasses import dataclass
from enum import Enum
from io import FileIO

from eval_sandbox.contract import Limits

RESULTS_MIB = 4
"""What the calls of one check may return together, as encoded text."""
START_SECONDS = 60.0
"""A sandbox that is not ready by then is a fault of the host."""
_GRACE_SECONDS = 5.0
_CHUNK = 1 << 16
_READY = b'["ready"]\n'


class Stopped(Enum):
    """Why a program was ended that had not ended by itself."""

    WALL = "wall time"
    OUTPUT = "output"
    RESULTS = "results"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How one run ended, as seen from outside the candidate's process."""

    ready: bool
    """False: the candidate's code never began, so this is no fact about it."""
    events: tuple[bytes, ...]
    """Lines on the results descriptor; the candidate can write anything there."""
    stdout: bytes
    stderr: bytes
    """Its beginning, as much as the limit on output allows."""
    stopped: Stopped | None
    status: int | None
    """Wait status of the candidate's process; None when the supervisor could not tell."""
    cpu_seconds: float
    """User and system time of every process below the supervisor, the start of the interpreter
    excluded; 0.0 when the supervisor could not tell."""
    wall_seconds: float


class _Streams:
    """The four descriptors that lead out of a sandbox, and what was read from them."""

    def __init__(self, descriptors: tuple[int, ...]) -> None:
        self.report, self.results, self.stdout, self.stderr = (bytearray() for _ in range(4))
        self._selector = selectors.PollSelector()
        kept = (self.report, self.results, self.stdout, self.stderr)
        for descriptor, content in zip(descriptors, kept, strict=True):
            os.set_blocking(descriptor, False)
            self._selector.register(descriptor, selectors.EVENT_READ, content)

    @property
    def open(self) -> bool:
        return bool(self._selector.get_map())

    def read(self, seconds: float) -> bool:
        """Take what arrives within `seconds`; False when nothing did."""
        ready = self._selector.select(max(0.0, seconds))
        for key, _ in ready:
            chunk = os.read(key.fd, _CHUNK)
            key.data.extend(chunk)
            if not chunk:
                self._selector.unregister(key.fd)
        return bool(ready)

    def excess(self, limits: Limits) -> Stopped | None:
        if len(self.stdout) + len(self.stderr) > limits.output_kib << 10:
            return Stopped.OUTPUT
        if len(self.results) > RESULTS_MIB << 20:
            return Stopped.RESULTS
        return None


def watch(control: FileIO, descriptors: tuple[int, ...], limits: Limits) -> Ending:
    """Follow one sandbox until its report, its end or its limits.

    Closing `control` asks the supervisor inside to kill everything and to report.

    Args:
        control: the pipe that the supervisor waits on.
        descriptors: report, results, standard output, standard error.
        limits: wall time counts from the moment the candidate's code begins.
    """
    streams = _Streams(descriptors)
    stopped = _until_enough(streams, limits)
    control.close()
    deadline = time.monotonic() + _GRACE_SECONDS
    while not streams.report and streams.open and time.monotonic() < deadline:
        streams.read(deadline - time.monotonic())
        del streams.stdout[limits.output_kib << 10 :], streams.results[RESULTS_MIB << 20 :]
        del streams.stderr[limits.output_kib << 10 :]
    while streams.open and not streams.excess(limits) and streams.read(0):
        pass
    return _ending(streams, stopped or streams.excess(limits))


def _until_enough(streams: _Streams, limits: Limits) -> Stopped | None:
    deadline, began = time.monotonic() + START_SECONDS, False
    while streams.open and not streams.report:
        if not began and streams.results.startswith(_READY):
            began, deadline = True, time.monotonic() + limits.wall_seconds
        if not streams.read(deadline - time.monotonic()) and time.monotonic() >= deadline:
            return Stopped.WALL
        if excess := streams.excess(limits):
            return excess
    return None


def _ending(streams: _Streams, stopped: Stopped | None) -> Ending:
    ready = streams.results.startswith(_READY)
    status, cpu, wall = None, 0.0, 0.0
    if streams.report.endswith(b"\n"):
        words = streams.report.split()
        status, cpu, wall = int(words[0]), float(words[1]), float(words[2])
    return Ending(
        ready=ready,
        events=tuple(bytes(streams.results[len(_READY) :]).splitlines()) if ready else (),
        stdout=bytes(streams.stdout),
        stderr=bytes(streams.stderr),
        stopped=stopped,
        status=status,
        cpu_seconds=cpu,
        wall_seconds=wall,
    )
