"""Two processes in two sandboxes: the judge, and the server that candidates are cloned from.

Both are started once for each worker and used for thousands of checks. Around each: every
namespace unshared (user, pid, net, ipc, uts, cgroup, mount), no network, an empty environment, of
the host only the interpreter's standard library (read-only, installed packages covered), of /dev
only null, zero and urandom, everything read-only but one private /tmp of bounded size. Both keep
CAP_SYS_ADMIN, each in its own user namespace: to make namespaces, and the server to mount that
/tmp anew. A candidate gives it up before the first line of its program, and so does the clone of
the judge that runs a user's own tests.

What each layer stops and what is not promised: docs/sandbox.md.
"""

import contextlib
import importlib.util
import marshal
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from functools import cache
from pathlib import Path
from typing import IO, Any

from eval_sandbox import codec
from eval_sandbox.candidate_server import DEVICES
from eval_sandbox.channel import LONGEST_ORDER, ClosedError, Frames, send
from eval_sandbox.host import (
    NOBODY,
    START_SECONDS,
    Launcher,
    SandboxUnavailable,
    bwrap,
    ended,
    explain,
    installed,
    interpreter,
    launchers,
    reachable,
    shown,
)

__all__ = ["Sandbox", "SandboxFailureError", "SandboxUnavailable", "StuckError", "check_host"]

_SOURCES = "/sandbox"
_PACKAGES = "/packages"
_CANDIDATES = (
    "__init__",
    "candidate",
    "candidate_server",
    "channel",
    "codec",
    "confine",
    "decoding",
    "encoding",
    "seccomp",
    "tags",
    "usage",
)
_JUDGE = (
    *_CANDIDATES,
    *("comparison", "conversation", "examine", "foresight", "judge_server", "plus", "printed"),
    "verdict",
)
_BOOT = """\
import sys
sys.path[:0] = [{sources!r}]
from eval_sandbox.{module} import main
sys.path[:1] = {packages!r}
main({arguments})
"""
_choosing = threading.Lock()


class SandboxFailureError(Exception):
    """A sandbox did not work, or was killed from outside: nothing is known about the candidate."""


class StuckError(Exception):
    """The tests did not come to an end: what the candidate returned keeps them busy."""


def check_host(isolation: str = "full") -> None:
    """Make sure that candidates can be isolated here; cheap after the first call.

    Raises:
        SandboxUnavailable: with the one thing to do about it.
    """
    if isolation == "full":
        with _choosing:
            _launcher()
    elif os.geteuid() == 0 and not reachable():
        raise SandboxUnavailable(
            f"as root, programs run as another user, who cannot reach {interpreter().executable}; "
            "use an interpreter that every user can read, such as /usr/bin/python3"
        )


@cache
def _launcher() -> Launcher:
    complaint = ""
    for launcher in launchers():
        argv = [*launcher(), *_around((), cloning=True)]
        argv += ["-c", "import os; os.write(1, b'isolated')"]
        tried = ended(argv, _path())
        if tried.stdout == b"isolated":
            return launcher
        complaint = tried.stderr.decode(errors="replace")
    raise SandboxUnavailable(explain(complaint))


def _path() -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", os.defpath)}


def _around(
    packages: tuple[str, ...], *, cloning: bool, sources: dict[str, int] | None = None
) -> list[str]:
    """The arguments up to those of the interpreter.

    Args:
        packages: installed packages to show.
        cloning: whether it makes namespaces and mounts of its own, and is process 1.
        sources: descriptors of our modules' source, which the sandbox's user may not be able to
            read by their paths.
    """
    view = interpreter()
    arguments = [
        bwrap(),
        *("--unshare-user", "--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts"),
        *("--unshare-cgroup-try", "--uid", "65534", "--gid", "65534", "--hostname", "sandbox"),
        *("--cap-add", "CAP_SYS_ADMIN", "--die-with-parent", "--new-session", "--clearenv"),
        *("--setenv", "HOME", "/tmp", "--setenv", "LANG", "C.UTF-8"),
        *("--setenv", "PYTHONHASHSEED", "0"),  # the order of a set must not shape a verdict
        *shown(view),
        *(word for path in DEVICES for word in ("--dev-bind", path, path)),
        *("--dir", "/tmp"),
    ]
    if cloning:
        arguments += ["--as-pid-1", "--proc", "/proc"]
    if packages:
        arguments += ["--setenv", "OPENBLAS_NUM_THREADS", "1"]  # a thread would not be cloned
    for name in packages:
        for folder in installed(name):
            arguments += ["--ro-bind", str(folder), f"{_PACKAGES}/{folder.name}"]
    for module, descriptor in (sources or {}).items():
        arguments += ["--ro-bind-data", str(descriptor), f"{_SOURCES}/eval_sandbox/{module}.pyc"]
    return [
        *(*arguments, "--remount-ro", "/", "--chdir", "/", "--", str(view.executable)),
        *("-S", "-s", "-P", "-B", "-X", "utf8", "-X", "no_debug_ranges"),
    ]


class Sandbox:
    """A judge and its candidates. Belongs to the thread that made it: both end with that thread."""

    def __init__(
        self, limits: tuple[int, int, int], isolation: str = "full", packages: tuple[str, ...] = ()
    ) -> None:
        """Start both.

        Args:
            limits: bytes of address space of each process; processes; bytes of any one file.
            isolation: one of `contract.ISOLATIONS`.
            packages: installed packages that programs and tests may import.

        Raises:
            SandboxUnavailable: when this host cannot isolate them.
            OSError: when the host lacks processes or descriptors.
        """
        check_host(isolation)
        self._isolated = isolation == "full"
        self._limits = limits
        self._packages = packages
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed in `close`
        self._processes: list[subprocess.Popen[bytes]] = []
        self._folder = None if self._isolated else _folder()
        self._ours, asked = socket.socketpair()
        judge_end, candidates_end = socket.socketpair(type=socket.SOCK_SEQPACKET)
        try:
            with asked, judge_end, candidates_end:
                self._start("candidate_server", candidates_end)
                self._start("judge_server", asked, judge_end)
        except BaseException:
            self.close()
            raise
        self._frames = Frames(self._ours.fileno())

    def ask(self, request: Any, seconds: float) -> Any:
        """The judge's answer.

        Args:
            request: data.
            seconds: how long to wait for it.

        Raises:
            SandboxFailureError: the judge is gone.
            StuckError: there is no answer in time, or the judge used up its own CPU time. The
                sandbox is of no use any more.
        """
        deadline = time.monotonic() + seconds
        try:
            send(self._ours.fileno(), codec.encode(request, LONGEST_ORDER))
            while (answer := self._frames.arrived()) is None:
                if not self._frames.wait(deadline - time.monotonic()):
                    raise StuckError(f"the tests did not come to an end in {seconds:.0f} s")
                if self._frames.ended:
                    raise ClosedError
                self._frames.read()
            return codec.decode(answer)
        except (ClosedError, ConnectionError):
            raise self._gone() from None

    def _gone(self) -> Exception:
        try:
            if self._processes[1].wait(START_SECONDS) in _USED_UP:
                return StuckError("the tests used up their CPU time on what was returned")
        except subprocess.TimeoutExpired:
            return SandboxFailureError("the judge neither answers nor ends")
        return SandboxFailureError(f"the judge is gone: {self._complaint()}")

    def close(self) -> None:
        """End both."""
        self._ours.close()
        for process in self._processes:
            process.kill()
            process.wait()
        self._errors.close()
        if self._folder is not None:
            with contextlib.suppress(Exception):  # programs may have made it too deep to remove
                self._folder.cleanup()

    def _start(self, module: str, *ends: socket.socket) -> None:
        descriptors = [end.fileno() for end in ends]
        candidates = module == "candidate_server"
        given = (*descriptors, self._isolated, self._limits, *[self._packages] * candidates)
        arguments = ", ".join(map(str, given))
        with contextlib.ExitStack() as stack:
            sources = _sources(stack, _CANDIDATES if candidates else _JUDGE)
            boot = _BOOT.format(
                sources=_SOURCES if self._isolated else str(Path(__file__).parents[1]),
                module=module,
                packages=[_PACKAGES] if self._packages else [],
                arguments=arguments,
            )
            around = [sys.executable, "-s", "-P", "-B", "-X", "utf8"]
            if self._isolated:
                before = _launcher()
                inside = _around(self._packages, cloning=candidates, sources=sources)
                around = [*before(), *inside]
            self._processes.append(
                subprocess.Popen(
                    [*around, "-c", boot],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=self._errors,
                    pass_fds=[*descriptors, *sources.values()],
                    env=_path() | {"PYTHONHASHSEED": "0"},
                    cwd=self._folder.name if self._folder else None,
                )
            )

    def _complaint(self) -> str:
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"


def _folder() -> "tempfile.TemporaryDirectory[str]":
    """Where programs work without isolation; theirs, as whoever they run as."""
    folder = tempfile.TemporaryDirectory(prefix="codeladder-")
    if os.geteuid() == 0:
        os.chown(folder.name, int(NOBODY), int(NOBODY))
    return folder


_USED_UP = (-24, 128 + 24)
"""Wait statuses of a process that SIGXCPU ended, directly or as bwrap passes it on."""


@cache
def _compiled(module: str) -> bytes:
    """A module as a .pyc file (PEP 3147): compiling inside would leave a larger heap to clone."""
    path = Path(__file__).parent / f"{module}.py"
    code = compile(path.read_bytes(), f"<{module}>", "exec", dont_inherit=True)
    return importlib.util.MAGIC_NUMBER + bytes(12) + marshal.dumps(code)


def _sources(stack: contextlib.ExitStack, modules: tuple[str, ...]) -> dict[str, int]:
    descriptors = {}
    for module in modules:
        descriptor = os.memfd_create(module)
        stack.callback(os.close, descriptor)
        os.write(descriptor, _compiled(module))
        os.lseek(descriptor, 0, os.SEEK_SET)
        descriptors[module] = descriptor
    return descriptors
