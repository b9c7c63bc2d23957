"""The warm process that candidates are cloned from; process 1 of its sandbox.

Started once behind bubblewrap, it imports what programs use most, compiles a little so that
nothing is left to initialise, freezes its memory, and then makes one clone for each order of the
judge. It never reads a program: the clone does, from its own pipe, so that nothing of one
candidate is in the memory of the next.

An order is one message on a socket: what the candidate may use, and its descriptors (`calls`,
`replies`, output; for a dialogue also standard input and standard error). The answer is a
`Report`. Any message while a candidate runs means: end it now.
"""

import _signal as signal  # type: ignore[import-not-found] # `signal` would load more
import _socket
import gc
import mmap
import os
import select
import struct
import sys
import time
from collections.abc import Callable
from enum import IntEnum
from typing import NamedTuple, NoReturn

from eval_sandbox import candidate, confine, seccomp
from eval_sandbox.usage import Usage, open_processes

HOME = "/tmp"
DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom")
ORDER = struct.Struct("<ddQQ?")
REPORT = struct.Struct("<iBddd")
_TICK_SECONDS = 0.05
_REPLIES, _CALLS = 3, 4
_UNPRIVILEGED = 65534
_ROOM_FOR_DESCRIPTORS = _socket.CMSG_SPACE(4 * 5)


class Reason(IntEnum):
    """Why a candidate came to its end."""

    ENDED = 0
    """It ended by itself, or the kernel ended it."""
    ASKED = 1
    """The judge knew enough."""
    WALL = 2
    CPU = 3
    MEMORY = 4
    """All its processes together."""
    OUTPUT = 5
    NOT_STARTED = 6
    """No line of the program ran: our failure."""


class Allowance(NamedTuple):
    """What one candidate may use."""

    cpu_seconds: float
    wall_seconds: float
    """Without the time that it was ready to run and had no processor, up to ten times as long."""
    together: int
    """Bytes of resident memory of all its processes."""
    output_bytes: int
    dialogue: bool
    """Whether the program itself is run, on standard input."""

    def packed(self) -> bytes:
        """The message of an order."""
        return ORDER.pack(*self)


class Report(NamedTuple):
    """How one candidate ended and what it used, all its processes together."""

    status: int
    """Wait status of its first process."""
    reason: Reason
    cpu_seconds: float
    wall_seconds: float
    withheld_seconds: float
    """Of these: its first process was ready, and the host had no processor for it."""

    @classmethod
    def read(cls, message: bytes) -> "Report":
        """The report in a message."""
        status, reason, *seconds = REPORT.unpack(message)
        return cls(status, Reason(reason), *seconds)


class Server:
    """Makes candidates, watches them and leaves nothing of one to the next."""

    def __init__(self, link: int, isolated: bool, file_bytes: int) -> None:
        self._link = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET, 0, link)
        self._poll = select.poll()
        self._poll.register(link, select.POLLIN)
        self._isolated = isolated
        flags = confine.NEW_PID | confine.NEW_IPC
        self._clone = confine.cloner(flags if isolated else 0)
        self._drop = confine.capability_dropper()
        self._seed = _seeder()
        self._size = file_bytes
        self._untouched: tuple[int, ...] = ()
        if isolated:
            for path in DEVICES:
                confine.make_read_only(path)
        self._processes = open_processes() if isolated else None
        self._started = mmap.mmap(-1, mmap.PAGESIZE)  # shared with a clone until it is confined

    def serve(self) -> None:
        """Take orders until the judge is gone."""
        while True:
            message, ancillary, _, _ = self._link.recvmsg(ORDER.size, _ROOM_FOR_DESCRIPTORS)
            if not message:
                return
            if len(message) != ORDER.size:
                continue  # an end that came after the end
            ((_, _, packed),) = ancillary
            descriptors = struct.unpack(f"{len(packed) // 4}i", packed)
            self._link.send(self._run(Allowance(*ORDER.unpack(message)), descriptors))

    def _run(self, allowance: Allowance, descriptors: tuple[int, ...]) -> bytes:
        self._prepare_home()
        self._started[0] = 0
        began = time.monotonic()
        pid, process = self._clone()
        if pid == 0:
            self._become(allowance, descriptors)
        calls, replies, output, *streams = descriptors
        outputs = (output, *streams[1:])
        for descriptor in (calls, replies, *streams[:1]):
            os.close(descriptor)
        usage = Usage(self._processes, pid)
        reason = self._watch(pid, process, allowance, usage, outputs, began)
        if not self._isolated:
            _kill_group(pid)
        wall = time.monotonic() - began
        long = allowance.dialogue or wall > _TICK_SECONDS
        withheld = usage.first_withheld_seconds() if long else 0.0
        _, status, used = os.wait4(pid, 0)
        if _length(outputs) > allowance.output_bytes:
            reason = Reason.OUTPUT
        for descriptor in outputs:
            os.close(descriptor)
        cpu = max(used.ru_utime + used.ru_stime, usage.cpu_seconds)
        if reason is Reason.ENDED:
            reason = self._how_it_ended(status, cpu, allowance)
        return REPORT.pack(status, reason, cpu, wall, withheld)

    def _how_it_ended(self, status: int, cpu: float, allowance: Allowance) -> Reason:
        if not self._started[0]:
            return Reason.NOT_STARTED
        return Reason.CPU if cpu >= allowance.cpu_seconds else Reason.ENDED

    def _become(self, allowance: Allowance, descriptors: tuple[int, ...]) -> NoReturn:
        """Give up everything and run the program; in the clone."""
        try:
            calls, replies, output, *streams = descriptors
            stdin, errors = streams or (os.open("/dev/null", os.O_RDONLY), output)
            confine.keep_only((stdin, output, errors, replies, calls))
            os.setsid()
            self._drop()
            self._seed(0)  # one program, one verdict
            self._started[0] = 1
            self._started.close()
        except BaseException as error:
            os.write(2, repr(error).encode())
            os._exit(99)
        if allowance.dialogue:
            candidate.converse()
        candidate.answer(_CALLS, _REPLIES)

    def _watch(
        self,
        pid: int,
        process: int,
        allowance: Allowance,
        usage: Usage,
        outputs: tuple[int, ...],
        began: float,
    ) -> Reason:
        """Wait for the end of a candidate, and bring it about where it does not come."""
        self._poll.register(process, select.POLLIN)
        try:
            while True:
                left = _left(allowance.wall_seconds, usage, began)
                ready = self._poll.poll(max(0.0, min(left, _TICK_SECONDS)) * 1000)
                reason = self._verdict(ready, process, left)
                if reason is None and not ready:
                    reason = _excess(allowance, usage, outputs)
                if reason is None:
                    continue
                if reason is not Reason.ENDED:
                    os.kill(pid, signal.SIGKILL)
                return reason
        finally:
            self._poll.unregister(process)
            os.close(process)

    def _verdict(self, ready: list[tuple[int, int]], process: int, left: float) -> Reason | None:
        if any(descriptor == process for descriptor, _ in ready):
            return Reason.ENDED
        if ready:
            self._link.recv(1)
            return Reason.ASKED
        return Reason.WALL if left <= 0 else None

    def _prepare_home(self) -> None:
        """An empty folder: the one of the last candidate where that did not touch it."""
        if self._untouched and _look() == self._untouched:
            return
        if not self._isolated:
            self._untouched = _emptied()
            return
        if self._untouched:
            confine.unmount(HOME)
            os.chdir("/")
        confine.mount_private(HOME, self._size)
        os.chdir(HOME)
        self._untouched = _look()


def _left(wall_seconds: float, usage: Usage, began: float) -> float:
    """Seconds until a candidate has had its time; what a busy host kept from it is added."""
    passed = time.monotonic() - began
    if passed < wall_seconds or passed > 10 * wall_seconds:
        return wall_seconds - passed
    return wall_seconds + usage.withheld_seconds() - passed


def _excess(allowance: Allowance, usage: Usage, outputs: tuple[int, ...]) -> Reason | None:
    """What a candidate that has run for a while uses too much of, if anything."""
    if _length(outputs) > allowance.output_bytes:
        return Reason.OUTPUT
    usage.look()
    if usage.cpu_seconds > allowance.cpu_seconds:
        return Reason.CPU
    return Reason.MEMORY if usage.resident_bytes > allowance.together else None


def _length(outputs: tuple[int, ...]) -> int:
    """Bytes that were written, standard output and standard error together."""
    return sum(os.fstat(output).st_size for output in outputs)


def _look() -> tuple[int, ...]:
    """All that shows whether anything in the folder was ever changed."""
    folder, system = os.stat("."), os.statvfs(".")
    return (
        *(folder.st_ctime_ns, folder.st_mtime_ns, folder.st_atime_ns),
        *(folder.st_mode, folder.st_uid, folder.st_gid, folder.st_nlink, folder.st_size),
        *(system.f_ffree, system.f_bfree),
    )


def _kill_group(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _emptied() -> tuple[int, ...]:
    """The working folder, without isolation, with nothing in it.

    Raises:
        OSError: a program left what cannot be removed, so this folder is of no use any more.
    """
    import shutil

    for entry in os.scandir("."):
        try:
            shutil.rmtree(entry.path) if entry.is_dir(follow_symlinks=False) else os.unlink(entry)
        except Exception as error:  # folders may be too deep even to be walked
            raise OSError(f"{entry.name!r} cannot be removed") from error
    return _look()


def _give_up_root() -> None:
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(_UNPRIVILEGED, _UNPRIVILEGED, _UNPRIVILEGED)
        os.setresuid(_UNPRIVILEGED, _UNPRIVILEGED, _UNPRIVILEGED)


def _forget_ourselves() -> None:
    """What a program imports by these names is not ours."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "eval_sandbox"]:
        del sys.modules[name]
    del sys.modules["__main__"]


_WARM_UP = '''
from typing import List, Optional
import math
class Node:
    """A class {n}."""
    def __init__(self, value: int = {n}) -> None:
        self.value, self.left = value, None
def solve{n}(xs: List[float], t: Optional[float] = None, *rest, **more) -> bool:
    """ A function with a docstring. """
    seen = {{}}
    for i, x in enumerate(sorted(set(xs), key=lambda v: (-v, str(v)))):
        while t and x > t:
            x -= 1 if i % 2 == 0 else {n}
        try:
            seen[x] = [y ** 2 for y in range(3) if y not in seen] + [f"{{x:.2f}}"]
        except (KeyError, ValueError) as e:
            raise TypeError("no") from e
        finally:
            pass
    return all(a <= b for a, b in zip(xs, xs[1:])) and len(seen) > 0
solve{n}([1.0, 2.0, 3.9])
'''

PRELOADED = (
    "bisect collections copy datetime functools heapq itertools math operator re string typing"
)


def _seeder() -> Callable[[int], None]:
    """Import `random`, whose generator would seed itself at every fork: an eighth of our time."""
    register = os.register_at_fork
    os.register_at_fork = lambda **_: None
    import random

    os.register_at_fork = register
    return random.seed


def _warm_up(packages: tuple[str, ...]) -> None:
    """Leave nothing to initialise: not the compiler, nor the caches in our own bytecode."""
    for name in (*PRELOADED.split(), *packages):
        __import__(name)
    for number in range(12):
        candidate.rehearse(_WARM_UP.format(n=number), f"solve{number}", [1.0, 2.0, 3.9])
    gc.collect()
    gc.freeze()


def main(
    link: int, isolated: bool, limits: tuple[int, int, int], packages: tuple[str, ...]
) -> None:
    """Serve candidates on the socket `link` until the judge is gone.

    Args:
        link: a descriptor.
        isolated: whether bubblewrap is around this process.
        limits: bytes of address space of each process; processes; bytes of any one file. Every
            clone is born with them.
        packages: what to import besides `PRELOADED`.
    """
    memory, processes, file_bytes = limits
    (link,) = confine.gather(link)
    os.umask(0o077)
    server = Server(link, isolated, file_bytes)
    if not isolated:
        _give_up_root()
        confine.forbid_new_privileges()
    confine.limit(memory, processes + 1, file_bytes)  # this process counts, too
    seccomp.install(seccomp.build(os.uname().machine))
    candidate.settle()
    _warm_up(packages)
    _forget_ourselves()
    gc.freeze()
    server.serve()
