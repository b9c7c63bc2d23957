"""System calls by which a process of the sandbox is made and loses what it could do.

All of this is Linux; the numbers of system calls are those of x86-64 and of aarch64.
"""

import ctypes
import fcntl
import os
import resource
from collections.abc import Callable

NEW_PID, NEW_IPC = 0x20000000, 0x08000000
_CLONE = {"x86_64": 56, "aarch64": 220}
_CAPSET = {"x86_64": 126, "aarch64": 91}
_CAPABILITY_VERSION_3 = 0x20080522
_SIGCHLD, _CLONE_PIDFD = 17, 0x1000
_DETACH = 2
_REMOUNT, _BIND, _RELATIME = 1 << 5, 1 << 12, 1 << 21
_FLAGS = 2 | 4 | 8 | 1024  # nosuid, nodev, noexec, noatime
_MOST_DESCRIPTORS = 64
_FIRST = 3
"""The number of the first descriptor that is no standard stream."""
_EVERY_NUMBER = 1 << 20
"""More than a process of this host may have open by default (proc(5), `nr_open`)."""
_ASIDE = 40
"""Above every descriptor that a server has open: see `gather`."""
_TO_SAY_SO = 64 << 20
_last_words = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
"""The limits of a process that has used up its memory."""

# PyDLL keeps the interpreter's lock during the call, as a fork needs it.
_python = ctypes.PyDLL(None)
_libc = ctypes.CDLL(None, use_errno=True)
_python.syscall.restype = ctypes.c_long


class UnsupportedMachineError(RuntimeError):
    """The numbers of this processor's system calls are not known here."""


def _number(table: dict[str, int]) -> int:
    machine = os.uname().machine
    if machine not in table:
        raise UnsupportedMachineError(f"processor {machine!r}; known: {', '.join(table)}")
    return table[machine]


def cloner(flags: int) -> Callable[[], tuple[int, int]]:
    """A function like `os.fork` whose child is in new namespaces: its pid and a descriptor of it.

    Both are 0 in the child, which has no such descriptor.

    `unshare` and a fork would leave the *caller* unable to fork twice, and entering the old
    namespace again is refused inside two nested user namespaces; so one raw clone, with the
    hooks of the interpreter around it that `os.fork` calls.

    Args:
        flags: of CLONE_NEW*; the caller needs CAP_SYS_ADMIN in its user namespace.
    """
    number = _number(_CLONE)
    descriptor = ctypes.c_int()
    arguments = (
        ctypes.c_long(number),
        ctypes.c_ulong(flags | _CLONE_PIDFD | _SIGCHLD),
        ctypes.c_void_p(),
        ctypes.byref(descriptor),
    )

    # Looked up here: in the child it would take as long as the clone itself.
    call, before = _python.syscall, _python.PyOS_BeforeFork
    after_in_child, after_in_parent = _python.PyOS_AfterFork_Child, _python.PyOS_AfterFork_Parent

    def clone() -> tuple[int, int]:
        before()
        pid: int = call(*arguments)
        if pid == 0:
            after_in_child()
            return 0, 0
        after_in_parent()
        if pid < 0:
            raise OSError("clone failed: no more processes, or no CAP_SYS_ADMIN")
        return pid, descriptor.value

    return clone


class _CapabilityHeader(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


def capability_dropper() -> Callable[[], None]:
    """A function by which the calling process gives up every capability, for good.

    bwrap has set no_new_privs, so none comes back by an exec.
    """
    header = _CapabilityHeader(_CAPABILITY_VERSION_3, 0)
    nothing = (ctypes.c_uint32 * 6)()
    arguments = (ctypes.c_long(_number(_CAPSET)), ctypes.byref(header), ctypes.byref(nothing))

    call = _python.syscall

    def drop() -> None:
        if call(*arguments) != 0:
            raise OSError("capset failed")

    return drop


def forbid_new_privileges() -> None:
    """What bwrap does for its payload, for a process that it did not start."""
    if _libc.prctl(38, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "no_new_privs")


def gather(*descriptors: int) -> tuple[int, ...]:
    """Give the links of a server the numbers from 3 on, and close every other descriptor.

    They come from a process that may have hundreds open, so with any number.

    Returns:
        Their new numbers.
    """
    end = _FIRST + len(descriptors)
    aside = [fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, end) for descriptor in descriptors]
    places = tuple(range(_FIRST, end))
    for place, descriptor in zip(places, aside, strict=True):
        os.dup2(descriptor, place, inheritable=False)
    os.closerange(end, _EVERY_NUMBER)
    return places


def keep_only(descriptors: tuple[int | None, ...]) -> None:
    """Give descriptors the numbers from 0 on, in this order, and close every other.

    None leaves what has that number. A server has none open above `_ASIDE`.
    """
    aside = {n: os.dup2(d, _ASIDE + n) for n, d in enumerate(descriptors) if d is not None}
    for place, descriptor in aside.items():
        os.dup2(descriptor, place, inheritable=False)
    os.closerange(len(descriptors), _ASIDE + _MOST_DESCRIPTORS)


def limit(memory: int, processes: int, file_bytes: int) -> None:
    """Limit the calling process and all that it starts.

    Args:
        memory: address space of each process in bytes.
        processes: processes and threads of this user in this user namespace.
        file_bytes: size of any one file.
    """
    for which, most in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, file_bytes),
        (resource.RLIMIT_NPROC, processes),
        (resource.RLIMIT_NOFILE, _MOST_DESCRIPTORS),
    ):
        resource.setrlimit(which, (most, most))
    limit_memory(memory)


def limit_memory(memory: int) -> None:
    """Limit the address space of the calling process and of each that it starts, in bytes."""
    global _last_words
    most = memory + _TO_SAY_SO
    resource.setrlimit(resource.RLIMIT_AS, (memory, most))
    _last_words = (most, most)


def allow_last_words() -> None:
    """A little more memory, so that a process which has used up its own can report that.

    It makes no object, for which there may be no room.
    """
    resource.setrlimit(resource.RLIMIT_AS, _last_words)


def mount_private(folder: str, size: int) -> None:
    """Lay an empty file system of at most `size` bytes in memory over `folder`."""
    options = f"size={size},nr_inodes=4096,mode=0700".encode()
    done = _libc.mount(b"tmpfs", folder.encode(), b"tmpfs", _FLAGS, options)
    if done != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"mounting {folder}: {os.strerror(number)}")


def make_read_only(path: str) -> None:
    """Forbid changes of what is mounted on `path`: of a device its times, which are the host's."""
    flags = _REMOUNT | _BIND | os.ST_RDONLY
    there = os.statvfs(path).f_flag
    flags |= there & (os.ST_NOSUID | os.ST_NODEV | os.ST_NOEXEC | os.ST_NOATIME | os.ST_NODIRATIME)
    flags |= _RELATIME if there & os.ST_RELATIME else 0
    if _libc.mount(None, path.encode(), None, flags, None) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"remounting {path}: {os.strerror(number)}")


def unmount(folder: str) -> None:
    """Take away what was mounted on `folder`, though somebody may still hold it open."""
    if _libc.umount2(folder.encode(), _DETACH) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"unmounting {folder}: {os.strerror(number)}")
