"""One node of a cluster: Ray on this host, started again whenever it ends, until told to stop."""

import ctypes
import fcntl
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import psutil

from cluster.ports import Ports
from cluster.ray_start import Node, environment, start_command

UP = b"Ray runtime started."
"""What `ray start` prints once the node is part of its cluster."""
UP_SECONDS = 120.0
TRIES = 3
"""Starts that may fail before a node that is to come up is given up."""
STOP_SECONDS = 20.0
"""For Ray's processes to end by themselves; they take about two."""
SHORTEST_WAIT, LONGEST_WAIT = 1.0, 15.0
"""Between two starts; doubled while they fail, because the head may be away for long."""
STEADY_SECONDS = 60.0
"""After so long a life, the next start is not kept waiting."""


class NodeError(Exception):
    """A node cannot be kept here; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """What a supervisor tells of itself in its state folder."""

    process: int
    """Its own id."""
    starts: int
    """How often it has started Ray."""
    up: bool
    """Whether Ray runs and has joined."""
    command: list[str]
    """How Ray is started here."""
    settings: str
    """A digest of all that it was told."""


class Supervisor:
    """Keeps Ray running on this host; the process that calls it adopts all that Ray starts."""

    def __init__(self, node: Node, when_up: Callable[[], None]) -> None:
        self._node = node
        self._when_up = when_up
        self._command = start_command(node)
        self._stop = threading.Event()
        self._starts = 0

    def stop(self, *_: Any) -> None:
        """End Ray and return from `keep`; made for a signal handler."""
        self._stop.set()

    def keep(self) -> None:
        """Start Ray, again and again, until `stop`; nothing of it is left then.

        Raises:
            NodeError: another supervisor works in the node's state folder.
        """
        with _alone(self._node.state):
            _adopt_orphans()
            wait = SHORTEST_WAIT
            while not self._stop.is_set():
                began = time.monotonic()
                self._live_once()
                _end_all()
                steady = time.monotonic() - began > STEADY_SECONDS
                wait = SHORTEST_WAIT if steady else min(2 * wait, LONGEST_WAIT)
                self._stop.wait(wait)

    def _live_once(self) -> None:
        self._starts += 1
        self._tell(up=False)
        with (self._node.state / "node.log").open("ab", buffering=0) as log:
            log.write(f"{time.strftime('%F %T')} start {self._starts}\n".encode())
            ray = subprocess.Popen(
                self._command,
                env=environment(self._node),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )
            assert ray.stdout is not None
            reader = threading.Thread(target=self._copy, args=(ray.stdout, log), daemon=True)
            reader.start()
            self._wait(ray)
            reader.join(1.0)
            log.write(f"{time.strftime('%F %T')} ended with {ray.returncode}\n".encode())
        self._tell(up=False)

    def _wait(self, ray: subprocess.Popen[bytes]) -> None:
        looks = 0
        while ray.poll() is None and not self._stop.is_set():
            self._stop.wait(0.2)
            looks += 1
            if looks % 50 == 0:
                _bury(ray.pid)
        if ray.poll() is None:
            ray.terminate()
        with suppress(subprocess.TimeoutExpired):
            ray.wait(STOP_SECONDS)
        if ray.poll() is None:
            ray.kill()
            ray.wait()

    def _copy(self, output: IO[bytes], log: IO[bytes]) -> None:
        for line in output:
            with suppress(ValueError):  # the log is closed: a process of Ray's outlived it
                log.write(line)
            if UP in line:
                self._tell(up=True)
                try:
                    self._when_up()
                except OSError as error:  # Ray would wait for this thread to read on
                    log.write(f"{error}\n".encode())

    def _tell(self, *, up: bool) -> None:
        note = {
            "process": os.getpid(),
            "starts": self._starts,
            "up": up,
            "command": self._command,
            "settings": digest(self._node),
        }
        draft = self._node.state / f".node.json.{os.getpid()}"
        draft.write_text(json.dumps(note))
        draft.replace(self._node.state / "node.json")


def keep_node(node: Node, when_up: Callable[[], None]) -> None:
    """Supervise a node in this process until it is told to end (SIGTERM or SIGINT).

    Args:
        when_up: called whenever Ray has come up.

    Raises:
        NodeError: another supervisor works in the node's state folder.
    """
    supervisor = Supervisor(node, when_up)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, supervisor.stop)
    supervisor.keep()


def digest(node: Node) -> str:
    """A word for all that a node is told, the variables too, which may be secrets."""
    told = [*start_command(node), str(node.tls), str(node.gcs_folder), repr(node.variables)]
    return hashlib.sha256("\0".join(told).encode()).hexdigest()


def start_in_background(arguments: list[str], node: Node) -> Note:
    """Start `python -m cluster node ARGUMENTS` as a process of its own, and wait until Ray is up.

    Does nothing where a supervisor already works in the node's state folder, but wait.

    Raises:
        NodeError: one works there that was told something else; a port is taken; or Ray did not
            come up, and then nothing of it is left, and the message ends with what it said last.
    """
    state = node.state
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    if found := living(state):
        kept = _until_up(state, found.process)
        if kept.settings != digest(node):
            raise NodeError(
                "it is up with other settings than the cluster's file and variables say now; "
                "take it down first"
            )
        return kept
    if taken := taken_ports(node.ports):
        told = ", ".join(map(str, taken))
        raise NodeError(f"taken by another program here: port {told}; see `ports` (--ports)")
    with (state / "supervisor.log").open("ab") as log:
        started = subprocess.Popen(
            [sys.executable, "-m", "cluster", "node", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    return _until_up(state, started.pid)


def _until_up(state: Path, process: int) -> Note:
    deadline = time.monotonic() + UP_SECONDS
    while time.monotonic() < deadline and psutil.pid_exists(process):
        found = living(state)
        if found and found.up:
            return found
        if found and found.starts > TRIES:
            break
        with suppress(ChildProcessError):
            os.waitpid(process, os.WNOHANG)  # a dead child exists until it is asked for
        time.sleep(0.1)
    stop_node(state)
    said = [*_last_lines(state / "supervisor.log", 2), *_last_lines(state / "node.log", 8)]
    raise NodeError(f"Ray did not come up here. {state}/node.log ends:\n" + "\n".join(said))


def taken_ports(ports: Ports) -> list[int]:
    """Those of a node's ports that something on this host listens on already."""
    listening = {
        connection.laddr.port
        for connection in psutil.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    return sorted(listening & set(ports.fixed))


def _last_lines(path: Path, count: int) -> list[str]:
    if not path.exists():
        return []
    return [f"  {line}" for line in path.read_text(errors="replace").splitlines()[-count:]]


def living(state: Path) -> Note | None:
    """What the supervisor that works in this folder says of itself; None: there is none."""
    if not _is_locked(state / "node.lock"):
        return None
    try:
        return Note(**json.loads((state / "node.json").read_text()))
    except FileNotFoundError:  # it has only just begun
        process = (state / "node.lock").read_text()
        return Note(process=int(process or 0), starts=0, up=False, command=[], settings="")


def _is_locked(path: Path) -> bool:
    """Whether a process holds the lock of a file."""
    try:
        with path.open("r") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def stop_node(state: Path) -> bool:
    """End the supervisor in a state folder, with all of Ray; whether there was one.

    Raises:
        NodeError: it is still there.
    """
    found = living(state)
    if found is None:
        return False
    with suppress(ProcessLookupError):
        os.kill(found.process, signal.SIGTERM)
    deadline = time.monotonic() + 2 * STOP_SECONDS
    while time.monotonic() < deadline:
        if living(state) is None:
            (state / "node.json").unlink(missing_ok=True)
            return True
        time.sleep(0.1)
    raise NodeError(f"process {found.process} does not end; look into {state}/node.log")


@contextmanager
def _alone(state: Path) -> Iterator[None]:
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (state / "node.lock").open("a+") as file:
        if not _locked(file):
            file.seek(0)
            raise NodeError(f"{state}: process {file.read()} already keeps a node here")
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        os.set_inheritable(file.fileno(), False)
        (state / "node.json").unlink(missing_ok=True)
        yield


def _locked(file: IO[str]) -> bool:
    """Take the lock of a state folder; `living` holds it for a moment, to see whether it can."""
    for _ in range(20):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except OSError:
            time.sleep(0.05)
    return False


_libc = ctypes.CDLL(None)
_SET_DEATH_SIGNAL, _SET_CHILD_SUBREAPER = 1, 36  # of prctl(2)


def _die_with_parent() -> None:
    _libc.prctl(_SET_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)


def _adopt_orphans() -> None:
    """Make this process the parent of whatever its children leave behind, so that it can end it."""
    _libc.prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _bury(living: int) -> None:
    """Collect orphans that have died meanwhile; never the child that is waited for elsewhere."""
    for process in psutil.Process().children():
        with suppress(psutil.NoSuchProcess, ChildProcessError):
            if process.pid != living and process.status() == psutil.STATUS_ZOMBIE:
                os.waitpid(process.pid, os.WNOHANG)


def _end_all() -> None:
    """End every descendant of this process, and collect what is dead."""
    for _ in range(3):  # one that is just starting another may escape the first look
        for process in psutil.Process().children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                process.kill()
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG) != (0, 0):
                pass
        time.sleep(0.05)
