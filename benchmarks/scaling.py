"""How process creation scales on this host: two processes on two cores over one on one.

Run as a script it is one such process: `scaling.py KIND SECONDS` creates, ends and awaits
children for that long once it has read a line, and prints how many a second. It makes a mount
namespace of its own first, as a sandbox's server has.
"""

import ctypes
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

_NEWNS, _NEWUSER = 0x00020000, 0x10000000
_NEWPID, _NEWIPC = 0x20000000, 0x08000000
_PRIVATE = 0x40000 | 0x4000
_CLONE = {"x86_64": 56, "aarch64": 220}

KINDS = {
    "busy": "arithmetic, no system call",
    "fork": "fork and wait",
    "clone": "clone with NEWPID and NEWIPC",
    "mount": "the same with NEWNS and a tmpfs",
}


@dataclass(frozen=True)
class Scaling:
    """Children a second of one process on one core, and of two on two."""

    one: float
    two: float

    @property
    def ratio(self) -> float:
        """What the second core brings; 2 at best."""
        return self.two / self.one


def measure(kind: str, cores: list[int], seconds: float) -> Scaling | str:
    """One process on the first of two cores, then one on each; or why this host forbids it."""
    try:
        return Scaling(
            one=_together(kind, cores[:1], seconds), two=_together(kind, cores[:2], seconds)
        )
    except PermissionError as error:
        return f"not permitted here: {error}"


def _together(kind: str, cores: list[int], seconds: float) -> float:
    """Children a second of all processes, one on each core, at the same time."""
    command = [sys.executable, "-S", __file__, kind, str(seconds)]
    running = [
        subprocess.Popen(
            ["taskset", "--cpu-list", str(core), *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for core in cores
    ]
    time.sleep(0.2)
    for process in running:
        if process.stdin and process.poll() is None:
            process.stdin.write("go\n")
            process.stdin.flush()
    ended = [process.communicate() for process in running]
    for process, (_, trouble) in zip(running, ended, strict=True):
        if process.returncode:
            raise PermissionError((trouble.strip().splitlines() or ["no word"])[-1])
    return sum(float(rate) for rate, _ in ended)


def _busy() -> None:
    sum(range(2000))


def _fork() -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)


def _clone(libc: ctypes.PyDLL, flags: int) -> None:
    """A raw clone; the GIL is kept across it, so that the child can run a line of Python."""
    number = _CLONE[platform.machine()]
    pid = libc.syscall(number, flags | signal.SIGCHLD, None, None, None, None)
    if pid < 0:
        raise OSError(ctypes.get_errno(), "clone")
    if pid == 0:
        mounted = not flags & _NEWNS or libc.mount(b"tmpfs", b"/tmp", b"tmpfs", 0, None) == 0
        os._exit(not mounted)
    if os.waitpid(pid, 0)[1]:
        raise PermissionError("mounting a tmpfs")


def _prepared(kind: str) -> Callable[[], None]:
    libc = ctypes.PyDLL(None, use_errno=True)
    if kind == "busy":
        return _busy
    if kind == "fork":
        return _fork
    rights = 0 if os.geteuid() == 0 else _NEWUSER
    if libc.unshare(_NEWNS | rights) or libc.mount(None, b"/", None, _PRIVATE, None):
        raise PermissionError(os.strerror(ctypes.get_errno()))
    flags = _NEWPID | _NEWIPC | (_NEWNS if kind == "mount" else 0)
    return lambda: _clone(libc, flags)


def main() -> None:
    """Create children for a while and print how many a second."""
    kind, seconds = sys.argv[1], float(sys.argv[2])
    once = _prepared(kind)
    once()
    sys.stdin.readline()
    count, started = 0, time.monotonic()
    while (elapsed := time.monotonic() - started) < seconds:
        once()
        count += 1
    print(count / elapsed)


if __name__ == "__main__":
    main()
