"""One program in one sandbox: `bwrap` around the runner, watched from outside.

Inside: every namespace unshared (user, pid, net, ipc, uts, cgroup), no capability, no new
privileges, an empty environment, no /proc, of /dev only null, zero and urandom, of the host only
the interpreter (read-only, without installed packages), one private folder /tmp of bounded
size, resource limits. Killing process 1 of the PID namespace ends whatever runs inside.

Not promised: protection from holes in the kernel (there is no seccomp filter yet), from side
channels such as timing, and from file locks on the shared read-only files.
"""

import marshal
import math
import os
import subprocess
import threading
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from io import FileIO
from pathlib import Path
from typing import Any

from eval_sandbox import runner
from eval_sandbox.contract import Limits
from eval_sandbox.host import (
    SandboxUnavailable,
    bwrap,
    explain,
    interpreter,
    launchers,
    shown,
)
from eval_sandbox.watch import START_SECONDS, Ending, watch

__all__ = ["Ending", "Program", "SandboxFailureError", "SandboxUnavailable", "check_host", "run"]

_choosing = threading.Lock()

_BOOTSTRAP = """\
import marshal
with open({fd}, "rb") as blob:
    code, request = marshal.loads(blob.read())
names = {{"__name__": "runner"}}
exec(code, names)
names["main"](request)
"""


class SandboxFailureError(Exception):
    """A sandbox did not work, or was killed from outside: nothing is known about the candidate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What runs inside. `tests` is None where the program itself is run on `stdin`."""

    source: str
    preamble: str = ""
    setup: str = ""
    entry_point: str = ""
    tests: tuple[tuple[Any, ...], ...] | None = None
    """("call", args, kwargs) or ("script", source): never an expected value."""
    stdin: str = ""
    nonce: str = ""
    """Proof that a script's last statement ran."""


@cache
def _runner_code() -> Any:
    path = Path(runner.__file__)
    return compile(path.read_text(encoding="utf-8"), "<runner>", "exec", optimize=2)


def check_host() -> None:
    """Make sure that candidates can be isolated here; cheap after the first call.

    Raises:
        SandboxUnavailable: with the one thing to do about it.
    """
    with _choosing:
        _launcher()


@cache
def _launcher() -> tuple[str, ...]:
    complaint = ""
    for prefix in launchers():
        argv = _argv(prefix, Limits(), 0)
        argv[-1] = "import os; os.write(1, b'isolated')"
        try:
            tried = subprocess.run(
                argv, capture_output=True, env=_path(), timeout=START_SECONDS, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise SandboxUnavailable(f"bwrap did not start in {START_SECONDS:.0f} s") from error
        if tried.stdout == b"isolated":
            return prefix
        complaint = tried.stderr.decode(errors="replace")
    raise SandboxUnavailable(explain(complaint))


def _path() -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", os.defpath)}


def _argv(prefix: tuple[str, ...], limits: Limits, request: int) -> list[str]:
    view = interpreter()
    return [
        *prefix,
        bwrap(),
        *("--unshare-user", "--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts"),
        *("--unshare-cgroup-try", "--disable-userns", "--uid", "65534", "--gid", "65534"),
        *("--hostname", "sandbox", "--die-with-parent", "--new-session", "--as-pid-1"),
        *("--clearenv", "--setenv", "HOME", "/tmp", "--setenv", "LANG", "C.UTF-8"),
        *shown(view),
        *(f for d in ("null", "zero", "urandom") for f in ("--dev-bind", f"/dev/{d}", f"/dev/{d}")),
        *("--size", str(limits.file_mib << 20), "--tmpfs", "/tmp", "--remount-ro", "/"),
        *("--chdir", "/tmp", "--", str(view.executable)),
        *("-I", "-S", "-B", "-X", "utf8", "-c", _BOOTSTRAP.format(fd=request)),
    ]


def run(program: Program, limits: Limits) -> Ending:
    """Run `program` in a sandbox of its own until it ends or has used up its limits.

    Raises:
        SandboxUnavailable: when this host cannot isolate it.
        SandboxFailureError: when it did not start, or somebody outside killed it.
        OSError: when the host lacks processes, descriptors or memory; nothing is known then.
    """
    check_host()
    with ExitStack() as stack:
        control_inside, control = _pipe(stack)
        report, report_inside = _pipe(stack)
        results, results_inside = _pipe(stack)
        inside = (control_inside, report_inside, results_inside)
        blob = _file(stack, _request(program, limits, [end.fileno() for end in inside]))
        process = subprocess.Popen(
            _argv(_launcher(), limits, blob.fileno()),
            stdin=_file(stack, program.stdin.encode("utf-8", "surrogatepass")),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=[end.fileno() for end in (*inside, blob)],
            env=_path(),
        )
        stack.enter_context(process)
        stack.callback(process.kill)
        for end in inside:
            end.close()
        assert process.stdout and process.stderr
        outward = (report, results, process.stdout, process.stderr)
        ending = watch(control, tuple(stream.fileno() for stream in outward), limits)
        if not ending.ready:
            raise SandboxFailureError(f"the sandbox did not start: {_last_line(ending.stderr)}")
        if ending.status is None and ending.stopped is None and _killed_from_outside(process):
            raise SandboxFailureError(f"bwrap was killed by signal {-process.returncode}")
        return ending


def _killed_from_outside(process: "subprocess.Popen[bytes]") -> bool:
    """Whether somebody else ended bwrap; one that does not end at all is the candidate's doing."""
    try:
        return process.wait(START_SECONDS) < 0
    except subprocess.TimeoutExpired:
        return False


def _last_line(stderr: bytes) -> str:
    lines = stderr.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"


def _request(program: Program, limits: Limits, inside: list[int]) -> bytes:
    """The runner and what it is to run. Marshal is only ever written here, never read."""
    request = {
        **dict(zip(("control", "report", "results"), inside, strict=True)),
        "limits": {
            "cpu": math.ceil(limits.cpu_seconds),
            "memory": limits.memory_mib << 20,
            "file": limits.file_mib << 20,
            "processes": limits.processes,
        },
        "preamble": program.preamble,
        "program": program.source,
        "setup": program.setup,
        "entry_point": program.entry_point,
        "tests": program.tests,
        "nonce": program.nonce,
    }
    return marshal.dumps((_runner_code(), request))


def _pipe(stack: ExitStack) -> tuple[FileIO, FileIO]:
    ends = os.pipe()
    reading = stack.enter_context(FileIO(ends[0], "r"))
    return reading, stack.enter_context(FileIO(ends[1], "w"))


def _file(stack: ExitStack, content: bytes) -> FileIO:
    """A file in memory: what is written to it blocks nobody and appears in no folder."""
    file = stack.enter_context(FileIO(os.memfd_create("codeladder"), "r+"))
    rest = memoryview(content)
    while rest:
        rest = rest[file.write(rest) :]
    file.seek(0)
    return file
