"""The processes of one tool, and the CPU that all of them together have used.

A cgroup counts every process that a tool ever started, whoever waits for it and however early it
ended; that takes the right to make one (root, or a delegated cgroup v2). `process_groups` finds
the kind this host gives: cpuacct of cgroup v1, then `cpu.stat` of cgroup v2, which is mounted for
the time of the measurement where nobody has mounted either. Elsewhere /proc has to do: it tells
what the living processes and the children that they waited for have used, and misses the rest.
"""

import ctypes
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_PROC = Path("/proc")


class Group:
    """The processes below one process, found by their parents in /proc."""

    def __init__(self) -> None:
        self._root = 0
        self._seen: dict[int, str] = {}

    def add(self, pid: int) -> None:
        """Make `pid`, and every process that it starts from now on, part of the group."""
        self._root = pid

    def cpu_seconds(self) -> float:
        """CPU used so far by the living processes and the children that they waited for."""
        used = (map(int, _stat(pid)[11:15]) for pid in self.processes())
        return sum(map(sum, used)) / os.sysconf("SC_CLK_TCK")

    def processes(self) -> list[int]:
        """The processes that are alive; a zombie is not."""
        born = {pid: since for pid in _below(self._root) if (since := _started(pid))}
        known = {pid: since for pid, since in self._seen.items() if _started(pid) == since}
        self._seen = known | born
        return sorted(self._seen)

    def remove(self) -> None:
        """Forget the group; its processes have ended by now."""


class Cgroup(Group):
    """The processes of one cgroup."""

    def __init__(self, folder: Path, usage: str) -> None:
        super().__init__()
        self._folder = folder
        self._usage = folder / usage
        folder.mkdir()

    def add(self, pid: int) -> None:
        """Make `pid`, and every process that it starts from now on, part of the group."""
        (self._folder / "cgroup.procs").write_text(str(pid))

    def cpu_seconds(self) -> float:
        """CPU used so far by all processes, ended ones too."""
        text = self._usage.read_text().split()
        return int(text[0]) / 1e9 if len(text) == 1 else int(text[1]) / 1e6

    def processes(self) -> list[int]:
        """The processes that are alive; a zombie is not."""
        pids = map(int, (self._folder / "cgroup.procs").read_text().split())
        return sorted(pid for pid in pids if _started(pid))

    def remove(self) -> None:
        """Remove the cgroup, waiting a little for the last process to be gone."""
        for _ in range(20):
            with suppress(OSError):
                self._folder.rmdir()
                return
            time.sleep(0.1)


class Groups:
    """Makes groups of the kind that this host gives; `kind` says in words which that is."""

    def __init__(self, parent: Path | None, usage: str, kind: str) -> None:
        self._parent, self._usage = parent, usage
        self.kind = kind

    @property
    def counts_cpu(self) -> bool:
        """Whether every process of a group is counted."""
        return self._parent is not None

    def make(self, name: str) -> Group:
        """A new group without processes."""
        if self._parent is None:
            return Group()
        return Cgroup(self._parent / f"codeladder-{os.getpid()}-{name}", self._usage)


@contextmanager
def process_groups() -> Iterator[Groups]:
    """The best accounting that this host permits."""
    with tempfile.TemporaryDirectory(prefix="cgroup2-") as spare:
        mounted = False
        groups = _existing()
        if groups is None and (mounted := _mount_cgroup2(spare)):
            groups = _usable(Path(spare), "cpu.stat", "cgroup v2, mounted for this")
        try:
            yield groups or Groups(None, "", "/proc, incomplete")
        finally:
            if mounted:
                ctypes.CDLL(None).umount2(os.fsencode(spare), 2)


def described(pid: int) -> str:
    """The command line of a process, or its name where it has none; empty where it has ended."""
    with suppress(OSError):
        words = (_PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        return words.strip() or (_PROC / str(pid) / "comm").read_text().strip()
    return ""


def resident_mib(pid: int) -> float:
    """The resident memory of a process; 0 where it has ended."""
    with suppress(OSError):
        for line in (_PROC / str(pid) / "status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
    return 0.0


def _existing() -> Groups | None:
    mine = dict(_own_cgroups())
    for kind, options, place in _mounts():
        if kind == "cgroup" and "cpuacct" in options:
            for parent in (place / mine.get("cpuacct", ""), place):
                if groups := _usable(parent, "cpuacct.usage", "cgroup v1, cpuacct"):
                    return groups
    for kind, _, place in _mounts():
        if kind == "cgroup2":
            for parent in (place / mine.get("", ""), place):
                if groups := _usable(parent, "cpu.stat", "cgroup v2, cpu.stat"):
                    return groups
    return None


def _usable(parent: Path, usage: str, kind: str) -> Groups | None:
    """Groups below `parent`, when one can be made there and a process can move in."""
    groups = Groups(parent, usage, kind)
    pid = os.posix_spawn("/bin/sh", ["sh", "-c", "sleep 1"], {"PATH": os.defpath})
    try:
        probe = groups.make("probe")
        try:
            probe.add(pid)
            probe.cpu_seconds()
        finally:
            os.kill(pid, 9)
            os.waitpid(pid, 0)
            probe.remove()
    except (OSError, ValueError, IndexError):
        return None
    return groups


def _mounts() -> Iterator[tuple[str, list[str], Path]]:
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, place, kind, options, *_ = line.split()
        yield kind, options.split(","), Path(place)


def _own_cgroups() -> Iterator[tuple[str, str]]:
    """This process's cgroup by controller; "" stands for cgroup v2."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            yield controller, path.lstrip("/")


def _mount_cgroup2(place: str) -> bool:
    libc = ctypes.CDLL(None, use_errno=True)
    return bool(libc.mount(b"none", os.fsencode(place), b"cgroup2", 0, None) == 0)


def _stat(pid: int) -> list[str]:
    """What follows the name in /proc/PID/stat; empty for a process that is gone or a zombie."""
    with suppress(OSError):
        after = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
        return [] if after[0] == "Z" else after
    return []


def _started(pid: int) -> str:
    stat = _stat(pid)
    return stat[19] if stat else ""


def _below(root: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for entry in _PROC.iterdir():
        if entry.name.isdigit() and (stat := _stat(int(entry.name))):
            children.setdefault(int(stat[1]), []).append(int(entry.name))
    found, waiting = [], [root]
    while waiting:
        pid = waiting.pop()
        found.append(pid)
        waiting += children.get(pid, [])
    return found
