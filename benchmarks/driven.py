"""One measured tool: a process that is started once, warmed, and then asked for executions.

What it speaks is in `peers/driver.py`.
"""

import json
import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence, Set
from contextlib import suppress
from pathlib import Path
from typing import Any

from accounting import Group, Groups

_PATIENCE = 900.0
"""Seconds; the first answer of evalplus includes the computing of its expected results."""


class DriverError(Exception):
    """A tool could not be started, died, or did not answer."""


class Driven:
    """A running driver, in a group of its own and pinned to `cores`."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        cores: set[int],
        groups: Groups,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.group: Group = groups.make(name)
        self._log = tempfile.TemporaryFile()  # noqa: SIM115
        self._channel, theirs = socket.socketpair()
        with theirs:
            self._process = _start(
                [*command, "--channel", str(theirs.fileno())],
                cores,
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(environment or {})},
            )
            self.group.add(self._process.pid)
        self._channel.settimeout(0.5)
        self._received = b""

    @property
    def pid(self) -> int:
        """The driver itself."""
        return self._process.pid

    def ask(self, **command: Any) -> dict[str, Any]:
        """Send a command and wait for its answer.

        Raises:
            DriverError: when the driver died or stayed silent; with the end of what it printed.
        """
        self.send(**command)
        until = time.monotonic() + _PATIENCE
        while time.monotonic() < until:
            if (answer := self.poll()) is not None:
                return answer
        raise DriverError(f"no answer within {_PATIENCE:.0f} s{self._printed()}")

    def send(self, **command: Any) -> None:
        """Send a command whose answer `poll` will bring.

        Raises:
            DriverError: when the driver has died.
        """
        try:
            self._channel.sendall(json.dumps(command).encode() + b"\n")
        except OSError as error:
            raise DriverError(f"it ended at once{self._printed()}") from error

    def poll(self) -> dict[str, Any] | None:
        """The answer, when it comes within half a second.

        Raises:
            DriverError: when the driver has died.
        """
        received = None
        with suppress(TimeoutError, ConnectionError):
            received = self._channel.recv(1 << 16)
            self._received += received
        if b"\n" in self._received:
            line, _, self._received = self._received.partition(b"\n")
            answer: dict[str, Any] = json.loads(line)
            return answer
        if self._process.poll() is not None:
            raise DriverError(f"it ended with status {self._process.returncode}{self._printed()}")
        if received == b"":
            time.sleep(0.1)
        return None

    def cpu_seconds(self) -> float:
        """CPU used so far, read once it has stopped growing."""
        used = self.group.cpu_seconds()
        for _ in range(40):
            time.sleep(0.05)
            before, used = used, self.group.cpu_seconds()
            if used - before < 0.0005:
                break
        return used

    def others(self) -> list[int]:
        """The processes beside the driver that are still there after a moment."""
        return _after_a_moment(self.group, {self.pid})

    def close(self) -> list[int]:
        """End the driver, and return the processes that it left behind, which are killed."""
        self._channel.close()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        left = _after_a_moment(self.group)
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, 9)
        self.group.remove()
        self._log.close()
        return left

    def _printed(self) -> str:
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").strip().splitlines()
        return ": " + lines[-1][:300] if lines else ""


def _start(command: Sequence[str], cores: set[int], **options: Any) -> subprocess.Popen[bytes]:
    """Start a process on `cores` from its first instruction, before it has made any thread."""
    mine = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        return subprocess.Popen(command, **options)
    except OSError as error:
        raise DriverError(f"{Path(command[0]).name} does not start: {error}") from error
    finally:
        os.sched_setaffinity(0, mine)


def _after_a_moment(group: Group, known: Set[int] = frozenset()) -> list[int]:
    for _ in range(20):
        if not (left := [pid for pid in group.processes() if pid not in known]):
            return []
        time.sleep(0.1)
    return left
