"""The list of system calls: read as a program, and tried on this kernel in forks."""

import asyncio
import contextlib
import ctypes
import errno
import fcntl
import json
import multiprocessing
import os
import platform
import random
import re
import resource
import signal
import socket
import sqlite3
import struct
import subprocess
import sys
import tempfile
import threading
import warnings
import zoneinfo
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from eval_sandbox import confine, seccomp

HERE = platform.machine()
AUDIT = {"x86_64": 62 | 1 << 31 | 1 << 30, "aarch64": 183 | 1 << 31 | 1 << 30}  # linux/audit.h
HEADERS = {
    "x86_64": Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
    "aarch64": Path("/usr/include/asm-generic/unistd.h"),
}
ALLOW, KILL = 0x7FFF0000, 0x80000000
REFUSE, ABSENT = 0x00050000 | errno.EPERM, 0x00050000 | errno.ENOSYS

FILES = """
    access chdir chmod close close_range copy_file_range creat dup dup2 dup3 faccessat faccessat2
    fgetxattr flistxattr getxattr lgetxattr listxattr llistxattr preadv2 pwritev2
    fadvise64 fallocate fchdir fchmod fchmodat fdatasync fstat fstatfs fsync ftruncate getcwd
    getdents getdents64 link linkat lseek lstat mkdir mkdirat newfstatat open openat openat2 pipe
    pipe2 pread64 preadv pwrite64 pwritev read readlink readlinkat readv rename renameat renameat2
    rmdir sendfile stat statfs statx symlink symlinkat truncate umask unlink unlinkat utime
    utimensat utimes write writev
"""
WAITING = """
    alarm clock_getres clock_gettime clock_nanosleep epoll_create epoll_create1 epoll_ctl
    epoll_pwait epoll_pwait2 epoll_wait eventfd eventfd2 getitimer gettimeofday nanosleep pause
    poll ppoll pselect6 select setitimer signalfd4 time timer_create timer_delete timer_getoverrun
    timer_gettime timer_settime timerfd_create timerfd_gettime timerfd_settime times
"""
PROCESS = """
    exit exit_group fork futex getcpu getegid geteuid getgid getgroups getpgid getpgrp getpid
    getppid getpriority getrandom getresgid getresuid getrlimit getrusage getsid gettid getuid
    kill membarrier restart_syscall rseq rt_sigaction rt_sigpending rt_sigprocmask rt_sigreturn
    rt_sigsuspend rt_sigtimedwait sched_getaffinity sched_getparam sched_getscheduler
    sched_get_priority_max sched_get_priority_min sched_setaffinity sched_yield set_robust_list
    set_tid_address setpgid setsid sigaltstack sysinfo tgkill tkill uname vfork wait4 waitid
"""
MEMORY = "brk madvise mincore mmap mprotect mremap msync munmap"
CONNECTED = """
    getsockname getsockopt recvfrom recvmsg sendmsg sendto setsockopt shutdown
"""
SERVERS = "capset"
ALLOWED = frozenset(f"{FILES} {WAITING} {PROCESS} {MEMORY} {CONNECTED} {SERVERS}".split())

# CLONE_NEWPID, CLONE_NEWIPC, CLONE_PIDFD
SERVERS_CLONE = 0x20000000 | 0x08000000 | 0x1000 | signal.SIGCHLD
SERVERS_MOUNT = os.ST_NOSUID | os.ST_NODEV | os.ST_NOEXEC | os.ST_NOATIME
A_THREAD = 0x003D0F00  # what the C library's pthread_create asks of clone
NAMESPACES = {
    "CLONE_NEWNS": 0x00020000,
    "CLONE_NEWCGROUP": 0x02000000,
    "CLONE_NEWUTS": 0x04000000,
    "CLONE_NEWIPC": 0x08000000,
    "CLONE_NEWUSER": 0x10000000,
    "CLONE_NEWPID": 0x20000000,
    "CLONE_NEWNET": 0x40000000,
}
TIOCSTI, TIOCSWINSZ, TIOCLINUX, TCSETS = 0x5412, 0x5414, 0x541C, 0x5402
LOCKS = {"GETLK": 5, "SETLK": 6, "SETLKW": 7, "OFD_GETLK": 36, "OFD_SETLK": 37, "OFD_SETLKW": 38}
SIGNALS_AND_LEASES = {
    "SETOWN": 8,
    "SETSIG": 10,
    "SETOWN_EX": 15,
    "SETLEASE": 1024,
    "GETLEASE": 1025,
    "NOTIFY": 1026,
    "SETPIPE_SZ": 1031,
}
GUARDED = {
    "clone": [
        ((signal.SIGCHLD,), ALLOW),
        ((A_THREAD,), ALLOW),
        ((SERVERS_CLONE,), ALLOW),
        ((SERVERS_CLONE | NAMESPACES["CLONE_NEWUSER"],), REFUSE),
        ((SERVERS_CLONE | NAMESPACES["CLONE_NEWNS"],), REFUSE),
        *(((flag | signal.SIGCHLD,), REFUSE) for flag in NAMESPACES.values()),
        *(((flag | A_THREAD,), REFUSE) for flag in NAMESPACES.values()),
    ],
    "fchmodat2": [((), ABSENT)],
    "clone3": [((), ABSENT), ((1 << 32, 88), ABSENT)],
    "fcntl": [
        *(((3, command), ALLOW) for command in (0, 1, 2, 3, 4, 1030, 1032)),
        *(((3, command), REFUSE) for command in LOCKS.values()),
        *(((3, command), REFUSE) for command in SIGNALS_AND_LEASES.values()),
        ((3, 1 << 32 | LOCKS["SETLK"]), REFUSE),
    ],
    "ioctl": [
        *(((0, request), ALLOW) for request in (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)),
        *(((0, request), REFUSE) for request in (TIOCSTI, TIOCSWINSZ, TIOCLINUX, TCSETS, 0)),
        ((0, 1 << 32 | TIOCSTI), REFUSE),
    ],
    "mount": [
        ((0, 0, 0, SERVERS_MOUNT), ALLOW),
        *(((0, 0, 0, flags), REFUSE) for flags in (0, 4096, 32, 1 << 18, SERVERS_MOUNT & ~1024)),
    ],
    "prctl": [
        *(((option,), ALLOW) for option in (15, 16)),
        *(((option,), REFUSE) for option in range(80) if option not in (15, 16)),
        ((0x59616D61,), REFUSE),  # PR_SET_PTRACER
    ],
    "prlimit64": [
        ((0, resource.RLIMIT_NOFILE, 0, 1 << 40), ALLOW),
        ((0, resource.RLIMIT_NOFILE, 1 << 40, 0), ALLOW),
        ((0, resource.RLIMIT_CPU, 0, 1 << 40), ALLOW),
        ((0, resource.RLIMIT_CPU, 1 << 40, 0), REFUSE),
        ((0, resource.RLIMIT_CPU, 4096, 0), REFUSE),
        ((1, resource.RLIMIT_NOFILE, 0, 1 << 40), REFUSE),
        ((7, resource.RLIMIT_NOFILE, 1 << 40, 0), REFUSE),
    ],
    "setrlimit": [
        ((resource.RLIMIT_NOFILE,), ALLOW),
        ((resource.RLIMIT_CPU,), REFUSE),
    ],
    "socketpair": [
        ((socket.AF_UNIX, socket.SOCK_STREAM), ALLOW),
        ((socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC), ALLOW),
        ((socket.AF_UNIX, socket.SOCK_DGRAM), REFUSE),
        ((socket.AF_UNIX, socket.SOCK_SEQPACKET), REFUSE),
        ((socket.AF_INET, socket.SOCK_STREAM), REFUSE),
        ((30, socket.SOCK_STREAM), REFUSE),  # AF_TIPC
        ((0, socket.SOCK_STREAM), REFUSE),
    ],
    "umount2": [((0, 2), ALLOW), ((0, 0), REFUSE), ((0, 1), REFUSE), ((0, 8), REFUSE)],
}


NEWER = {"fchmodat2": 452}
"""Calls that an older header lacks; since Linux 5.4 the numbers are the same everywhere."""


def calls_of(machine):
    """Name and number of every system call, as the kernel's own header has them."""
    header = HEADERS[machine]
    if not header.exists():
        pytest.skip(f"no {header}: it is part of the package linux-libc-dev")
    found = re.findall(r"^#define __NR(?:3264)?_(\w+)\s+(\d+)$", header.read_text(), re.M)
    calls = {name: int(number) for name, number in found}
    calls.pop("arch_specific_syscall", None)
    if "fstatat" in calls:
        calls["newfstatat"] = calls.pop("fstatat")
    if machine == "aarch64":
        calls.pop("syscalls", None)
    return NEWER | calls


def instructions(machine):
    return list(struct.iter_unpack("<HBBI", seccomp.build(machine)))


def answer(code, number, arguments=(), arch=None):
    """What a filter says to one call: an interpreter of the instructions in linux/filter.h."""
    padded = (*arguments, *[0] * (6 - len(arguments)))
    words = struct.pack("<IIQ6Q", number, arch, 0, *padded)
    at, accumulator = 0, 0
    while True:
        operation, yes, no, operand = code[at]
        at += 1
        match operation:
            case 0x06:
                return operand
            case 0x20:
                (accumulator,) = struct.unpack_from("<I", words, operand)
            case 0x54:
                accumulator &= operand
            case 0x15:
                at += yes if accumulator == operand else no
            case 0x25:
                at += yes if accumulator > operand else no
            case 0x35:
                at += yes if accumulator >= operand else no
            case 0x45:
                at += yes if accumulator & operand else no
            case _:
                raise AssertionError(f"instruction {operation:#x} is not expected in a filter")


both = pytest.mark.parametrize("machine", AUDIT)


@both
def test_the_program_ends_on_every_path_within_its_bounds(machine):
    code = instructions(machine)

    assert len(code) < 4096
    assert code[-1][0] == 0x06
    for place, (operation, yes, no, operand) in enumerate(code):
        if operation & 0x07 == 0x05:
            assert place + 1 + max(yes, no) < len(code), place
        else:
            assert (yes, no) == (0, 0), place
        if operation == 0x20:
            assert operand % 4 == 0, place
            assert operand < 64, place


@both
def test_every_instruction_can_be_reached(machine):
    code = instructions(machine)
    reached = {0}
    for place, (operation, yes, no, _) in enumerate(code):
        if place in reached and operation != 0x06:
            reached |= {place + 1 + yes, place + 1 + no}

    assert reached == set(range(len(code)))


@both
def test_every_name_in_the_list_is_one_of_the_kernels(machine):
    names = set(calls_of("x86_64")) | set(calls_of("aarch64"))

    assert names >= ALLOWED | set(GUARDED)


@both
def test_each_call_of_the_kernels_header_is_allowed_or_refused_as_listed(machine):
    code, arch = instructions(machine), AUDIT[machine]
    calls = {name: n for name, n in calls_of(machine).items() if name not in GUARDED}
    told = {name: answer(code, number, (), arch) for name, number in calls.items()}

    assert told == {name: ALLOW if name in ALLOWED else REFUSE for name in calls}


@both
def test_numbers_that_the_header_does_not_have_are_refused(machine):
    code, arch = instructions(machine), AUDIT[machine]
    unknown = set(range(2048)) - set(calls_of(machine).values())

    assert {answer(code, number, (), arch) for number in unknown} == {REFUSE}


@both
@pytest.mark.parametrize("name", GUARDED)
def test_arguments_decide_about(name, machine):
    code, arch, calls = instructions(machine), AUDIT[machine], calls_of(machine)
    for arguments, expected in GUARDED[name]:
        assert answer(code, calls[name], arguments, arch) == expected, [hex(a) for a in arguments]


@both
def test_calls_of_another_processor_end_the_process(machine):
    code = instructions(machine)
    others = {0, 3 | 1 << 30, 40 | 1 << 30, *AUDIT.values()} - {AUDIT[machine]}

    told = {answer(code, number, (), arch) for number in (0, 1, 63, 220) for arch in others}

    assert told == {KILL}


def test_the_x32_form_of_any_call_ends_the_process():
    code, arch = instructions("x86_64"), AUDIT["x86_64"]

    told = {answer(code, 1 << 30 | number, (), arch) for number in range(1024)}

    assert told == {KILL}


def test_another_machine_is_named_with_the_known_ones():
    with pytest.raises(ValueError, match=r"riscv64.*x86_64.*aarch64"):
        seccomp.build("riscv64")


def say(action, filtered):
    """What became of an action: its own words, "ok" where it has none, or the name of an error."""
    try:
        if filtered:
            confine.forbid_new_privileges()
            seccomp.install(seccomp.build(HERE))
        result = action()
    except OSError as error:
        return errno.errorcode[error.errno]
    except BaseException as error:
        return f"{type(error).__name__}: {error}"
    return result if isinstance(result, dict) else "ok"


def fork_for(action, filtered=True):
    """Wait status and words of a fork that does something, under the filter or without."""
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # other tests may have left threads
        pid = os.fork()
    if pid == 0:
        try:
            os.setsid()
            os.write(writing, json.dumps(say(action, filtered)).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as stream:
        words = stream.read()
    _, status = os.waitpid(pid, 0)
    return status, json.loads(words) if words else None


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


on_this_kernel = pytest.mark.skipif(
    sys.platform != "linux" or HERE not in AUDIT, reason=f"no filter for {sys.platform} {HERE}"
)
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long


def call(name, *arguments):
    """One system call by the number in the header; OSError where it fails."""
    number = calls_of(HERE)[name]
    result = libc.syscall(ctypes.c_long(number), *map(ctypes.c_long, arguments))
    if result == -1:
        raise OSError(ctypes.get_errno(), name)
    return result


@on_this_kernel
def test_the_kernel_refuses_every_call_that_is_not_listed():
    refused = set(calls_of(HERE)) - ALLOWED - set(GUARDED)

    def try_all():
        told = {}
        for name in refused:
            try:
                call(name, *[-1] * 6)
                told[name] = "ok"
            except OSError as error:
                told[name] = errno.errorcode[error.errno]
        return told

    assert fork_for(try_all) == (0, dict.fromkeys(refused, "EPERM"))


@on_this_kernel
def test_clone3_is_told_to_be_absent():
    assert fork_for(lambda: call("clone3", 0, 0)) == (0, "ENOSYS")


def lock(command):
    with Path("lock").open("w") as file:
        fcntl.fcntl(file, command, struct.pack("hhqqi4x", fcntl.F_RDLCK, 0, 0, 0, 0))


def flock():
    with Path("lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)


def enlarge_a_pipe():
    reading, _ = os.pipe()
    fcntl.fcntl(reading, fcntl.F_SETPIPE_SZ, 8192)


def name_a_socket():
    one, other = socket.socketpair()
    with one, other:
        one.bind("name")


def limit_cpu_time(name, *rest):
    limits = ctypes.create_string_buffer(struct.pack("QQ", 1000, 1000))
    call(name, *rest[:1], resource.RLIMIT_CPU, ctypes.addressof(limits), *rest[1:])


CONTROL = {  # each of these works without the filter
    "a socket of the network": socket.socket,
    "a socket of this machine": lambda: socket.socket(socket.AF_UNIX).close(),
    "a name for a socket": name_a_socket,
    "a file in memory": lambda: os.close(os.memfd_create("x")),
    "shared memory of System V": lambda: call("shmget", 0, 4096, 0o600),
    "watching files": lambda: os.close(call("inotify_init1", 0)),
    "a lock on a file": flock,
    "a lock on a part of a file": lambda: lock(fcntl.F_GETLK),
    "a lock of an open file": lambda: lock(36),
    "a larger pipe": enlarge_a_pipe,
    "a fifo": lambda: os.mkfifo("fifo"),
    "being traced": lambda: call("ptrace", 0, 0, 0, 0),
    "pages that stay in memory": lambda: call("mlock", id(flock) & ~4095, 1),
    "another personality": lambda: call("personality", 0xFFFFFFFF),
    "a lower priority": lambda: os.setpriority(os.PRIO_PROCESS, 0, 19),
    "another owner of a file": lambda: os.chown(".", os.getuid(), os.getgid()),
    "a user of its own": lambda: os.setuid(os.getuid()),
    "a namespace": lambda: call("unshare", 0),
    "a limit of another process": lambda: resource.prlimit(os.getppid(), resource.RLIMIT_NOFILE),
    "a limit of its CPU time": lambda: limit_cpu_time("prlimit64", 0, 0),
    "a limit of its CPU time, the old way": lambda: limit_cpu_time("setrlimit"),
    "another program": lambda: subprocess.run([sys.executable, "-c", ""], check=True),
    "another program in asyncio": lambda: asyncio.run(start_in_asyncio()),
    "dying with its parent": lambda: prctl(1, 0),
    "being dumpable": lambda: prctl(4, 1),
}


async def start_in_asyncio():
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", "")
    await process.wait()


def prctl(option, value):
    if libc.prctl(option, value, 0, 0, 0) == -1:
        raise OSError(ctypes.get_errno(), "prctl")


@on_this_kernel
@pytest.mark.parametrize("name", CONTROL)
def test_the_filter_and_not_the_kernel_refuses(name, home):
    assert fork_for(CONTROL[name], filtered=False) == (0, "ok")
    assert fork_for(CONTROL[name]) == (0, "EPERM")


@on_this_kernel
def test_bytes_are_not_put_into_a_terminal(home):
    main, other = os.openpty()

    def put():
        fcntl.ioctl(other, TIOCSTI, b"x")

    status, told = fork_for(put)
    os.close(main)
    os.close(other)

    assert (status, told) == (0, "EPERM")


def threads():
    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(abs, range(-9, 0))) == list(range(1, 10))
    started = threading.Timer(0.001, lambda: None)
    started.start()
    started.join()


def forks():
    pid = os.fork()
    if pid == 0:
        os._exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7


def a_pool():
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map(abs, [-1, -2]) == [1, 2]


def coroutines():
    async def both():
        return await asyncio.gather(asyncio.sleep(0.001, 1), asyncio.to_thread(abs, -2))

    assert asyncio.run(both()) == [1, 2]


def files():
    with tempfile.TemporaryDirectory(dir=".") as folder:
        path = Path(folder, "a", "b")
        path.parent.mkdir()
        path.write_text("x")
        path.rename(path.with_name("c")).chmod(0o600)
        os.utime(path.with_name("c"))
        path.symlink_to("c")
        os.link(path.with_name("c"), path.with_name("d"))
        os.truncate(path, 100)
        assert [len(names) for _, _, names in os.walk(folder)] == [0, 3]


def a_database():
    with contextlib.closing(sqlite3.connect(":memory:")) as database:
        assert database.execute("select 6 * 7").fetchone() == (42,)


def connected_sockets():
    one, other = socket.socketpair()
    one.sendall(b"x")
    one.shutdown(socket.SHUT_WR)
    assert other.recv(2) + other.recv(2) == b"x"
    one.close()
    other.close()


def timers():
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
    signal.setitimer(signal.ITIMER_REAL, 0.001)
    assert signal.sigtimedwait({signal.SIGALRM}, 30)


def a_name_of_its_own():
    name = ctypes.create_string_buffer(b"solver")
    prctl(15, ctypes.c_void_p(ctypes.addressof(name)))
    prctl(16, ctypes.byref(name))
    assert name.value == b"solver"


def limits():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft - 1, hard))
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (soft - 1, hard)
    resource.getrlimit(resource.RLIMIT_CPU)


def a_terminals_size():
    with pytest.raises(OSError) as refused, Path("file").open("w") as file:
        os.get_terminal_size(file.fileno())
    assert refused.value.errno == errno.ENOTTY


WORKS = {
    "threads": threads,
    "forks": forks,
    "a pool of processes": a_pool,
    "coroutines": coroutines,
    "files and folders": files,
    "a database in memory": a_database,
    "connected sockets": connected_sockets,
    "timers": timers,
    "limits of its own": limits,
    "asking for a terminal": a_terminals_size,
    "randomness": lambda: random.SystemRandom().random() and os.urandom(3),
    "a zone of time": lambda: zoneinfo.ZoneInfo.no_cache("UTC"),
    "a name of its own": a_name_of_its_own,
    "processors": lambda: os.sched_setaffinity(0, os.sched_getaffinity(0)),
    "signals": lambda: os.kill(os.getpid(), 0),
}


@on_this_kernel
@pytest.mark.parametrize("name", WORKS)
def test_python_keeps(name, home):
    assert fork_for(WORKS[name]) == (0, "ok")


@on_this_kernel
@pytest.mark.skipif(HERE != "x86_64", reason="x32 is a form of x86-64")
def test_the_kernel_ends_a_process_that_makes_an_x32_call():
    status, _ = fork_for(lambda: libc.syscall(ctypes.c_long(1 << 30 | 39)))

    assert os.WTERMSIG(status) == signal.SIGSYS


def call_as_i386():
    """getpid by `int 0x80`, which the kernel takes for a call of the 32-bit processor."""
    libc.mmap.restype = ctypes.c_void_p
    page = libc.mmap(None, ctypes.c_size_t(4096), 7, 0x22, -1, ctypes.c_long(0))
    ctypes.memmove(page, b"\xb8\x14\x00\x00\x00\xcd\x80\xc3", 8)
    assert ctypes.CFUNCTYPE(ctypes.c_int)(page)() == os.getpid()


@on_this_kernel
@pytest.mark.skipif(HERE != "x86_64", reason="int 0x80 is of x86")
def test_the_kernel_ends_a_process_that_makes_a_32_bit_call():
    status, _ = fork_for(call_as_i386, filtered=False)
    if status != 0:
        pytest.skip("this kernel runs no 32-bit calls")

    status, _ = fork_for(call_as_i386)

    assert os.WTERMSIG(status) == signal.SIGSYS


@on_this_kernel
def test_what_the_list_holds_for_the_server_is_useless_without_a_capability(home):
    tmpfs, here = ctypes.create_string_buffer(b"tmpfs"), ctypes.create_string_buffer(b".")
    name, folder = ctypes.addressof(tmpfs), ctypes.addressof(here)

    def clone():
        if call("clone", SERVERS_CLONE, 0, 0, 0, 0) == 0:
            os._exit(0)

    tries = {
        "clone": clone,
        "mount": lambda: call("mount", name, folder, name, SERVERS_MOUNT, 0),
        "umount2": lambda: call("umount2", folder, 2),
    }
    for attempt in tries.values():

        def without_capability(attempt=attempt):
            confine.capability_dropper()()
            return attempt()

        assert fork_for(without_capability) == (0, "EPERM")


@on_this_kernel
def test_a_program_cannot_take_the_filter_off_or_lay_another_over_it():
    told = fork_for(lambda: seccomp.install(struct.pack("<HBBI", 6, 0, 0, ALLOW)))

    assert told == (0, "EPERM")


@on_this_kernel
def test_what_the_kernel_thinks_of_a_bad_program_is_raised():
    def install_nothing():
        confine.forbid_new_privileges()
        seccomp.install(b"")

    assert fork_for(install_nothing, filtered=False) == (0, "EINVAL")
