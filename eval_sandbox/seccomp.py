"""The list of system calls that a candidate may make, as a seccomp filter (classic BPF).

The filter is installed once in the server that candidates are cloned from, and every clone is
born with it: one filter for each execution would cost as much as all other walls together. So
the list also holds the few calls that the server needs to make a clone and a fresh folder.
Without a capability, which a clone gives up at once, the kernel refuses these.

Whatever is not listed fails with EPERM; clone3 and fchmodat2 with ENOSYS, and the C library does
without. Another processor's calls, and the x32 form of x86-64's, end the process.

Formats: linux/filter.h, linux/seccomp.h, linux/audit.h. Numbers: asm/unistd_64.h (x86-64) and
asm-generic/unistd.h (aarch64).
"""

import ctypes
import errno
import os
import struct

_LD, _JEQ, _JGE, _JSET, _RET = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER, _ARCH, _ARGUMENTS = 0, 4, 16
_KILL, _ERRNO, _ALLOW = 0x80000000, 0x00050000, 0x7FFF0000
_REFUSE, _ABSENT = _ERRNO | errno.EPERM, _ERRNO | errno.ENOSYS
_X32 = 0x40000000

_AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_PLAIN = """
    access:21: alarm:37: brk:12:214 capset:126:91 chdir:80:49 chmod:90: clock_getres:229:114
    clock_gettime:228:113 clock_nanosleep:230:115 close:3:57 close_range:436:436
    copy_file_range:326:285 creat:85: dup2:33: dup3:292:24 dup:32:23 epoll_create1:291:20
    epoll_create:213: epoll_ctl:233:21 epoll_pwait2:441:441 epoll_pwait:281:22 epoll_wait:232:
    eventfd2:290:19 eventfd:284: exit:60:93 exit_group:231:94 faccessat2:439:439
    faccessat:269:48 fadvise64:221:223 fallocate:285:47 fchdir:81:50 fchmod:91:52
    fchmodat:268:53 fdatasync:75:83 fgetxattr:193:10 flistxattr:196:13 fork:57: fstat:5:80
    fstatfs:138:44 fsync:74:82 ftruncate:77:46 futex:202:98 getcpu:309:168 getcwd:79:17
    getdents64:217:61 getdents:78: getegid:108:177 geteuid:107:175 getgid:104:176
    getgroups:115:158 getitimer:36:102 getpgid:121:155 getpgrp:111: getpid:39:172
    getppid:110:173 getpriority:140:141 getrandom:318:278 getresgid:120:150 getresuid:118:148
    getrlimit:97:163 getrusage:98:165 getsid:124:156 getsockname:51:204 getsockopt:55:209
    gettid:186:178 gettimeofday:96:169 getuid:102:174 getxattr:191:8 kill:62:129 lgetxattr:192:9
    link:86: linkat:265:37 listxattr:194:11 llistxattr:195:12 lseek:8:62 lstat:6: madvise:28:233
    membarrier:324:283 mincore:27:232 mkdir:83: mkdirat:258:34 mmap:9:222 mprotect:10:226
    mremap:25:216 msync:26:227 munmap:11:215 nanosleep:35:101 newfstatat:262:79 open:2:
    openat2:437:437 openat:257:56 pause:34: pipe2:293:59 pipe:22: poll:7: ppoll:271:73
    pread64:17:67 preadv2:327:286 preadv:295:69 pselect6:270:72 pwrite64:18:68 pwritev2:328:287
    pwritev:296:70 read:0:63 readlink:89: readlinkat:267:78 readv:19:65 recvfrom:45:207
    recvmsg:47:212 rename:82: renameat2:316:276 renameat:264:38 restart_syscall:219:128
    rmdir:84: rseq:334:293 rt_sigaction:13:134 rt_sigpending:127:136 rt_sigprocmask:14:135
    rt_sigreturn:15:139 rt_sigsuspend:130:133 rt_sigtimedwait:128:137
    sched_get_priority_max:146:125 sched_get_priority_min:147:126 sched_getaffinity:204:123
    sched_getparam:143:121 sched_getscheduler:145:120 sched_setaffinity:203:122
    sched_yield:24:124 select:23: sendfile:40:71 sendmsg:46:211 sendto:44:206
    set_robust_list:273:99 set_tid_address:218:96 setitimer:38:103 setpgid:109:154
    setsid:112:157 setsockopt:54:208 shutdown:48:210 sigaltstack:131:132 signalfd4:289:74
    stat:4: statfs:137:43 statx:332:291 symlink:88: symlinkat:266:36 sysinfo:99:179
    tgkill:234:131 time:201: timer_create:222:107 timer_delete:226:111 timer_getoverrun:225:109
    timer_gettime:224:108 timer_settime:223:110 timerfd_create:283:85 timerfd_gettime:287:87
    timerfd_settime:286:86 times:100:153 tkill:200:130 truncate:76:45 umask:95:166 uname:63:160
    unlink:87: unlinkat:263:35 utime:132: utimensat:280:88 utimes:235: vfork:58: wait4:61:260
    waitid:247:95 write:1:64 writev:20:66
"""
_GUARDED = """
    clone3:435:435 clone:56:220 fchmodat2:452:452 fcntl:72:25 ioctl:16:29 mount:165:40
    prctl:157:167 prlimit64:302:261 setrlimit:160:164 socketpair:53:199 umount2:166:39
"""
_CLONE_NEW = 0x7E020080
"""Every CLONE_NEW* flag."""
_SERVERS_CLONE = 0x20000000 | 0x08000000 | 0x1000 | 17
"""What `confine.cloner` asks for: NEWPID, NEWIPC, PIDFD and SIGCHLD, and nothing else."""
_SERVERS_MOUNT = 2 | 4 | 8 | 1024
"""Flags of `confine.mount_private`."""
_DETACH = 2
_FCNTL_FORBIDDEN = (
    *(5, 6, 7),  # F_GETLK, F_SETLK, F_SETLKW: two candidates could signal through a shared file
    *(36, 37, 38),  # the same, by open file description
    *(8, 10, 15),  # F_SETOWN, F_SETSIG, F_SETOWN_EX
    *(1024, 1025, 1026, 1031),  # leases, F_NOTIFY, F_SETPIPE_SZ
)
_IOCTL_ALLOWED = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451, 0x40049409)
"""TCGETS, TIOCGWINSZ, FIONREAD, FIONBIO, FIONCLEX, FIOCLEX, FICLONE."""
_PRCTL_ALLOWED = (15, 16)
"""PR_SET_NAME, PR_GET_NAME."""
_AF_UNIX = 1
_STREAMS = (0x80001, 1, 0x801, 0x80801)
"""SOCK_STREAM, with and without CLOEXEC and NONBLOCK. A datagram socket can get itself a name, by
which another candidate would find it."""
_RLIMIT_CPU = 0


Instruction = tuple[int, int, int, int]
"""Code, jump if true, jump if false, operand: a struct sock_filter."""


def machines() -> tuple[str, ...]:
    """The processors that there is a filter for, as `platform.machine` names them."""
    return tuple(_AUDIT)


def build(machine: str) -> bytes:
    """The filter, as an array of struct sock_filter.

    Raises:
        ValueError: for a processor without a table here.
    """
    if machine not in _AUDIT:
        raise ValueError(f"no system calls are known of {machine!r}; known: {', '.join(_AUDIT)}")
    allowed, guarded = _numbers(_PLAIN, machine), _numbers(_GUARDED, machine)
    code = [(_LD, 0, 0, _ARCH), (_JEQ, 1, 0, _AUDIT[machine]), (_RET, 0, 0, _KILL)]
    code += [(_LD, 0, 0, _NUMBER)]
    if machine == "x86_64":
        code += [(_JGE, 0, 1, _X32), (_RET, 0, 0, _KILL)]
    for name, rule in _rules().items():
        if name in guarded:
            code += [(_JEQ, 0, len(rule), guarded[name]), *rule]
    code += _search(sorted(allowed.values()))
    return b"".join(struct.pack("<HBBI", *instruction) for instruction in code)


def _numbers(table: str, machine: str) -> dict[str, int]:
    """Name and number of each call that this processor has."""
    place = 1 + list(_AUDIT).index(machine)
    words = (word.split(":") for word in table.split())
    return {word[0]: int(word[place]) for word in words if word[place]}


def _argument(place: int, high: bool = False) -> Instruction:
    return _LD, 0, 0, _ARGUMENTS + 8 * place + (4 if high else 0)


def _only(values: tuple[int, ...], place: int) -> list[Instruction]:
    """Allow a call where the low half of an argument is one of `values`."""
    return [_argument(place), *_one_of(values, _ALLOW, _REFUSE)]


def _one_of(values: tuple[int, ...], then: int, otherwise: int) -> list[Instruction]:
    tests = [(_JEQ, len(values) - n, 0, value) for n, value in enumerate(values)]
    return [*tests, (_RET, 0, 0, otherwise), (_RET, 0, 0, then)]


def _rules() -> dict[str, list[Instruction]]:
    """What decides about each guarded call; every path ends in a return."""
    return {
        "clone": [
            _argument(0),
            (_JEQ, 2, 0, _SERVERS_CLONE),
            (_JSET, 0, 1, _CLONE_NEW),
            (_RET, 0, 0, _REFUSE),
            (_RET, 0, 0, _ALLOW),
        ],
        "clone3": [(_RET, 0, 0, _ABSENT)],
        "fchmodat2": [(_RET, 0, 0, _ABSENT)],
        "fcntl": [_argument(1), *_one_of(_FCNTL_FORBIDDEN, _REFUSE, _ALLOW)],
        "ioctl": _only(_IOCTL_ALLOWED, 1),
        "mount": _only((_SERVERS_MOUNT,), 3),
        "prctl": _only(_PRCTL_ALLOWED, 0),
        # Reading and setting limits of one's own, but for CPU time: a process that the kernel
        # kills for a limit of its own making would look like one killed from outside.
        "prlimit64": [
            _argument(0),
            (_JEQ, 0, 6, 0),
            _argument(1),
            (_JEQ, 0, 5, _RLIMIT_CPU),
            _argument(2),
            (_JEQ, 0, 2, 0),
            _argument(2, high=True),
            (_JEQ, 1, 0, 0),
            (_RET, 0, 0, _REFUSE),
            (_RET, 0, 0, _ALLOW),
        ],
        "setrlimit": [_argument(0), *_one_of((_RLIMIT_CPU,), _REFUSE, _ALLOW)],
        "socketpair": [
            _argument(0),
            (_JEQ, 1, 0, _AF_UNIX),
            (_RET, 0, 0, _REFUSE),
            *_only(_STREAMS, 1),
        ],
        "umount2": _only((_DETACH,), 1),
    }


def _search(numbers: list[int]) -> list[Instruction]:
    """A binary search for the number of the call among runs of neighbours."""
    edges = [(0, _REFUSE)]
    for number in numbers:
        if edges[-1][0] == number:
            edges.pop()
        if not edges or edges[-1][1] == _REFUSE:
            edges.append((number, _ALLOW))
        edges.append((number + 1, _REFUSE))
    return _tree(edges)


def _tree(edges: list[tuple[int, int]]) -> list[Instruction]:
    if len(edges) == 1:
        return [(_RET, 0, 0, edges[0][1])]
    middle = len(edges) // 2
    left, right = _tree(edges[:middle]), _tree(edges[middle:])
    return [(_JGE, len(left), 0, edges[middle][0]), *left, *right]


_libc = ctypes.CDLL(None, use_errno=True)


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def install(program: bytes) -> None:
    """Put the calling process, and all that it starts, under the filter; for good.

    It must have no_new_privs.

    Raises:
        OSError: the kernel refuses; the number says why.
    """
    header = _Program(len(program) // 8, program)
    if _libc.prctl(22, 2, ctypes.byref(header), 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"seccomp: {os.strerror(number)}")
