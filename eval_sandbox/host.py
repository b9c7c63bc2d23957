"""What this host offers: the interpreter that is shown inside, and a way to start `bwrap`.

As an ordinary user `bwrap` is started directly. As root the real uid is dropped first, because
uid 0 is exempt from RLIMIT_NPROC even where it is mapped to another uid inside. Where that uid
cannot reach the interpreter (it lies under /root, say), a process of ours holds a mount
namespace in which the same paths have open parents, and `bwrap` starts in there.
"""

import atexit
import contextlib
import importlib.util
import os
import shutil
import signal
import stat
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

NOBODY = "65534"
START_SECONDS = 60.0
"""A program that has not started by then is a fault of the host."""
_STARTS = 4
"""Times that a program is started which somebody kills meanwhile."""
_KILLED = (-signal.SIGKILL, 128 + signal.SIGKILL)
"""Statuses of a process that was killed, directly or as bwrap passes it on."""

_MAPPED = """
import importlib, os, sys
folder = next((p for p in sys.path if p.endswith("lib-dynload")), None)
for name in sorted(os.listdir(folder)) if folder else []:
    if name.endswith(".so") and not name.startswith(("_test", "_tkinter", "_xx", "xx")):
        try:
            importlib.import_module(name.split(".")[0])
        except ImportError:
            pass
files = {line.split(None, 5)[5].strip() for line in open("/proc/self/maps") if ".so" in line}
print(os.path.dirname(os.__file__), *sorted({os.path.dirname(f) for f in files}), sep="\\n")
"""


class SandboxUnavailable(RuntimeError):  # noqa: N818 - reads as the state of the host
    """Candidates cannot be isolated here, so nothing is run. The message says what to do."""


@dataclass(frozen=True, slots=True)
class Interpreter:
    """The part of this host that candidates see, all of it read-only."""

    executable: Path
    loader: Path | None
    """The ELF loader by the name the executable asks for; None when statically linked."""
    folders: tuple[Path, ...]
    """The standard library and the folders of the shared libraries it loads."""
    hidden: tuple[Path, ...]
    """Folders inside `folders` that are covered: installed packages may hold solutions."""


def ended(
    command: Sequence[str], environment: Mapping[str, str]
) -> "subprocess.CompletedProcess[bytes]":
    """What a program of ours comes to. One that is killed tells nothing of this host, and is
    started again.

    Raises:
        SandboxUnavailable: it did not end within `START_SECONDS`.
    """
    for _ in range(_STARTS):
        try:
            done = subprocess.run(
                command, capture_output=True, env=environment, timeout=START_SECONDS, check=False
            )
        except subprocess.TimeoutExpired as error:
            name = Path(command[0]).name
            raise SandboxUnavailable(f"{name} did not start in {START_SECONDS:.0f} s") from error
        if done.returncode not in _KILLED:
            break
    return done


@cache
def interpreter() -> Interpreter:
    """The interpreter below this one's virtual environment, without installed packages."""
    executable = Path(os.path.realpath(getattr(sys, "_base_executable", "") or sys.executable))
    found = ended([str(executable), "-I", "-S", "-B", "-W", "ignore", "-c", _MAPPED], {})
    if found.returncode != 0:
        said = found.stderr.decode(errors="replace").strip()[-300:]
        raise SandboxUnavailable(f"{executable} does not start: {said or found.returncode}")
    every = sorted(
        {Path(os.path.realpath(line)) for line in os.fsdecode(found.stdout).splitlines()}
    )
    folders = tuple(a for a in every if not any(b in a.parents for b in every))
    hidden = tuple(
        package
        for folder in folders
        for pattern in ("*-packages", "python*/*-packages")
        for package in sorted(folder.glob(pattern))
        if package.is_dir()
    )
    return Interpreter(executable, _loader(executable), folders, hidden)


def _loader(executable: Path) -> Path | None:
    """PT_INTERP of a 64-bit ELF file (System V ABI, "Program Header")."""
    with executable.open("rb") as file:
        header = file.read(64)
        order = "<" if header[5] == 1 else ">"
        (offset,) = struct.unpack_from(order + "Q", header, 32)
        size, count = struct.unpack_from(order + "HH", header, 54)
        for number in range(count):
            file.seek(offset + number * size)
            entry = file.read(size)
            if struct.unpack_from(order + "I", entry)[0] == 3:
                start, length = struct.unpack_from(order + "8xQ16xQ", entry)
                file.seek(start)
                return Path(os.fsdecode(file.read(length).rstrip(b"\0")))
    return None


@cache
def installed(package: str) -> tuple[Path, ...]:
    """The folders of an installed package: itself, and the libraries that its wheel brought.

    Raises:
        SandboxUnavailable: it is not installed.
    """
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        raise SandboxUnavailable(
            f"a problem needs {package}, which is not installed: pip install {package}"
        )
    folder = Path(os.path.realpath(found.origin)).parent
    libraries = folder.with_name(f"{package}.libs")
    return (folder, libraries) if libraries.is_dir() else (folder,)


def bwrap() -> str:
    """Path of the `bwrap` program."""
    path = shutil.which("bwrap")
    if path is None:
        raise SandboxUnavailable(
            "bwrap is not installed, so nothing model-written is run. "
            "Install it: apt-get install bubblewrap (or: dnf install bubblewrap)"
        )
    return path


def shown(view: Interpreter) -> list[str]:
    """Arguments of `bwrap` that show the interpreter and nothing else."""
    arguments: list[str] = []
    for folder in view.folders:
        arguments += ["--ro-bind", str(folder), str(folder)]
    for folder in view.hidden:
        arguments += ["--tmpfs", str(folder), "--remount-ro", str(folder)]
    for file in (view.executable, view.loader):
        if file is not None and not any(folder in file.parents for folder in view.folders):
            arguments += ["--ro-bind", os.path.realpath(file), str(file)]
    return arguments


Launcher = Callable[[], tuple[str, ...]]
"""Tells what stands before `bwrap` where it is started next."""


def launchers() -> Iterator[Launcher]:
    """Ways to start `bwrap` here, to be tried in this order."""
    bwrap()
    if os.geteuid() != 0:
        yield tuple
        return
    drop = shutil.which("setpriv")
    if drop is None or shutil.which("nsenter") is None:
        raise SandboxUnavailable(
            "as root, setpriv and nsenter are needed to give up root before a candidate runs. "
            "Install them: apt-get install util-linux; or run as an ordinary user"
        )
    yield lambda: (drop, "--reuid", NOBODY, "--regid", NOBODY, "--clear-groups", "--")
    yield _Opened(interpreter())


class _Opened:
    """Starts `bwrap` in a mount namespace where the interpreter's parents are open.

    A process of ours holds it, which reads a pipe that this process holds and never writes, so
    that it ends with this one. Where somebody kills it, there is another.
    """

    def __init__(self, view: Interpreter) -> None:
        self._view = view
        self._starting = threading.Lock()
        self._holder: subprocess.Popen[bytes] | None = None
        self._inner = ""
        atexit.register(self._release)

    def __call__(self) -> tuple[str, ...]:
        with self._starting:
            if self._holder is None or self._holder.poll() is not None:
                self._release()
                self._hold()
        enter = ("nsenter", f"--mount=/proc/{self._inner}/ns/mnt", "--wd=/")
        return (*enter, "--setuid", NOBODY, "--setgid", NOBODY, "--")

    def _hold(self) -> None:
        command = [bwrap(), "--dev-bind", "/", "/", *_opened(self._view)]
        command += ["sh", "-c", "echo $$; exec cat"]
        for _ in range(_STARTS):
            pipe = subprocess.PIPE
            holder = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe)
            assert holder.stdout and holder.stderr
            self._inner = holder.stdout.readline().decode().strip()
            if self._inner:
                holder.stdout.close()
                holder.stderr.close()
                self._holder = holder
                return
            _, complaint = holder.communicate()
            if holder.returncode not in _KILLED:
                break
        raise SandboxUnavailable(explain(complaint.decode(errors="replace")))

    def _release(self) -> None:
        if self._holder is not None:
            with contextlib.suppress(OSError, subprocess.TimeoutExpired):
                self._holder.communicate(timeout=5)


def _opened(view: Interpreter) -> list[str]:
    """Arguments that show `view` below parents which every user may pass."""
    arguments: list[str] = []
    made: set[Path] = set()
    for path in (*view.folders, view.executable):
        closed = next((parent for parent in reversed(path.parents) if not _open(parent)), None)
        if closed is None:
            continue
        if closed not in made:
            made.add(closed)
            arguments += ["--perms", "0755", "--tmpfs", str(closed)]
        for parent in reversed(path.parents):
            if closed in parent.parents and parent not in made:
                made.add(parent)
                arguments += ["--perms", "0755", "--dir", str(parent)]
        arguments += ["--ro-bind", str(path), str(path)]
    return arguments


def reachable() -> bool:
    """Whether every user can read the interpreter."""
    return not _opened(interpreter())


def _open(folder: Path) -> bool:
    return bool(folder.stat().st_mode & stat.S_IXOTH)


def explain(complaint: str) -> str:
    """What to do about a `bwrap` that did not start, from what it wrote."""
    last = complaint.strip().splitlines()[-1] if complaint.strip() else "it said nothing"
    if "Unknown option" in last:
        return f"bwrap is too old ({last}); version 0.8 or newer is needed"
    if "source path" in last or "execvp" in last:
        where = interpreter().executable
        return (
            f"the interpreter {where} cannot be read by the user that candidates run as "
            f"({last}); use an interpreter that every user can read, such as /usr/bin/python3"
        )
    return f"bwrap cannot isolate a process on this host ({last}). {cure()}"


def cure(root: Path = Path("/"), environment: Mapping[str, str] = os.environ) -> str:
    """What to do on this host so that an ordinary process may make namespaces.

    Args:
        root: where the host's files are.
        environment: variables of this process.
    """
    if "KUBERNETES_SERVICE_HOST" in environment:
        return (
            "In the pod's securityContext set seccompProfile and appArmorProfile to "
            "{type: Unconfined} and procMount: Unmasked (with hostUsers: false)"
        )
    if (root / ".dockerenv").exists() or (root / "run/.containerenv").exists():
        return (
            "Start the container with --security-opt seccomp=unconfined "
            "--security-opt apparmor=unconfined --security-opt systempaths=unconfined"
        )
    for name, forbids, allows in _SETTINGS:
        path = root / "proc/sys" / name
        if path.exists() and path.read_text().strip() == forbids:
            return f"As root: sysctl -w {name.replace('/', '.')}={allows}"
    return "User namespaces must be allowed for this user: see user_namespaces(7)"


_SETTINGS = (
    ("kernel/apparmor_restrict_unprivileged_userns", "1", "0"),  # Ubuntu from 23.10
    ("kernel/unprivileged_userns_clone", "0", "1"),  # Debian
    ("user/max_user_namespaces", "0", "15000"),
)
