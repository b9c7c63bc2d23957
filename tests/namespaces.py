"""Machines of a cluster on this one, each with a network, processes, a host name and a /tmp/ray of
its own, so that they can be cut off, lose their power and come back.

Only Linux's own means: namespaces that hang on one process, which ends with the one that called
`machines`, however that ends. Then every process, link and mount in them is gone. The machines see
this one's files at the same paths. Needs root and a kernel that lets it.
"""

import ctypes
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from cluster.ports import Ports

ROOT = Path(__file__).parent.parent
NETWORK = "10.77.0"
PORT = 6379
START_SECONDS = 90.0
STORE_BYTES = 100 * 2**20
PR_SET_PDEATHSIG = 1
_c = ctypes.CDLL(None)


def missing() -> str:
    """Why there can be no such machines here; empty: there can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "needs Linux and root"
    command = ["unshare", "--net", "--pid", "--mount", "--uts", "--fork", "true"]
    tried = subprocess.run(command, capture_output=True, text=True, check=False)
    return tried.stderr.strip() if tried.returncode else ""


def output(command: Sequence[str], name: str, environment: Mapping[str, str]) -> str:
    """The output of a command that must succeed on the machine of this name."""
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=False, env=environment
    )
    assert done.returncode == 0, f"{shlex.join(command)} on {name}: {done.stderr}"
    return done.stdout


def having(words: Sequence[str], processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    """Those whose command line has all these words; the dead have none."""
    found = []
    for process in processes:
        with suppress(psutil.NoSuchProcess):  # a zombie is one, too
            line = " ".join(process.cmdline())
            if all(word in line for word in words):
                found.append(process)
    return found


@dataclass(slots=True)
class Machine:
    """One machine, switched on or off."""

    name: str
    address: str
    network: "Machines"
    ports: Ports = field(default_factory=Ports)
    init: psutil.Process | None = None
    """Its first process; None while it is off."""
    holder: subprocess.Popen[str] | None = None

    @property
    def is_on(self) -> bool:
        """Whether it has power."""
        return self.init is not None

    def start(self) -> None:
        """Switch it on: nothing runs on it yet."""
        ready = self._root() / "ready"
        ready.unlink(missing_ok=True)
        self.holder = self.network.spawn(
            [*self.network.entering("pid", "mount", "net", "uts"), *_new("slave"), *self._boot()],
            self._root() / "console.log",
        )
        self.network.connect(self, _first(self.holder))
        _until(ready.exists, f"{self.name} to boot")
        self.init = _first(self.holder)

    def _root(self) -> Path:
        folder = self.network.folder / self.name
        (folder / "ray").mkdir(parents=True, exist_ok=True)
        return folder

    def _boot(self) -> list[str]:
        folder = self._root()
        lines = [
            f"hostname {self.name}",
            "mount -t tmpfs -o size=2g tmpfs /dev/shm",
            *(
                f"mkdir -p {path} && mount --bind {folder}/ray {path}"
                for path in ("/tmp/ray", f"/tmp/codeladder-{os.getuid()}")
            ),
            f"mount --bind {self.network.folder}/hosts /etc/hosts",
            "ip link set lo up",
            "until ip link show eth0 >/dev/null 2>&1; do sleep 0.05; done",
            f"ip address add {self.address}/24 dev eth0",
            "ip link set eth0 up",
            f"touch {folder}/ready",
            "trap '' CHLD",  # inherited by what follows: orphans leave no zombies
            "exec sleep infinity",
        ]
        return ["sh", "-ec", "\n".join(lines)]

    def entering(self) -> list[str]:
        """What to put before a command so that it runs there."""
        assert self.init is not None, f"{self.name} is off"
        return ["nsenter", "-t", str(self.init.pid), "--pid", "--mount", "--net", "--uts", "--"]

    def run(self, *command: str, environment: Mapping[str, str] | None = None) -> str:
        """The output of a command that must succeed there."""
        known = self.network.environment | dict(environment or {})
        return output([*self.entering(), *command], self.name, known)

    def spawn(
        self, command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None
    ) -> subprocess.Popen[str]:
        """Begin a command there; it ends with its machine, or with the caller."""
        return self.network.spawn([*self.entering(), *command], log, environment)

    def processes(self, *words: str) -> list[psutil.Process]:
        """Its processes whose command line has all these words."""
        return having(words, self._all())

    def _all(self) -> list[psutil.Process]:
        if self.init is None:
            return []
        mine = _namespace(self.init.pid)
        return [one for one in psutil.process_iter() if _namespace(one.pid) == mine]

    def lose_power(self) -> None:
        """End all of its processes at once, without a word to any."""
        assert self.init is not None
        family = self._all()
        self.init.kill()
        psutil.wait_procs(family, timeout=20)
        if self.holder is not None:
            self.holder.wait(20)
        self.init = self.holder = None

    def cut(self) -> None:
        """Pull its network cable."""
        self.network.run("ip", "link", "set", f"to-{self.name}", "down")

    def heal(self) -> None:
        """Put the cable back."""
        self.network.run("ip", "link", "set", f"to-{self.name}", "up")


@dataclass(slots=True)
class Machines:
    """Machines on one switch, and a folder that all of them see."""

    folder: Path
    environment: dict[str, str]
    switch: psutil.Process
    all: dict[str, Machine] = field(default_factory=dict)
    spawned: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def shared(self) -> Path:
        """The folder on the network that all machines see; `hide` takes it away from them."""
        return self.folder / "shared"

    @property
    def seen(self) -> Path:
        """The disk behind it, which nobody can hide, as this process sees it: machines' mounts are
        not this one's."""
        return Path(f"/proc/{self.switch.pid}/root") / (self.folder / "disk").relative_to("/")

    def entering(self, *namespaces: str) -> list[str]:
        """What to put before a command so that it runs on the switch."""
        return ["nsenter", "-t", str(self.switch.pid), *(f"--{n}" for n in namespaces), "--"]

    def run(self, *command: str, inside: Sequence[str] = ("pid", "mount", "net")) -> str:
        """The output of a command that must succeed on the switch, whose mounts all others see."""
        done = subprocess.run(
            [*self.entering(*inside), *command], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{shlex.join(command)}: {done.stderr}"
        return done.stdout

    def spawn(
        self, command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None
    ) -> subprocess.Popen[str]:
        """Begin a command that ends with this process; what it says is added to a log."""
        process = begin(command, log, self.environment | dict(environment or {}))
        self.spawned.append(process)
        return process

    def add(self, name: str) -> Machine:
        """Another machine, switched on. Its name resolves on all of them."""
        number = len(self.all) + 1
        machine = Machine(name=name, address=f"{NETWORK}.{number}", network=self)
        self.all[name] = machine
        with (self.folder / "hosts").open("a") as file:
            file.write(f"{machine.address} {name}\n")
        machine.start()
        return machine

    def connect(self, machine: Machine, init: psutil.Process) -> None:
        """Lay a cable from the switch to a machine that boots."""
        link = f"to-{machine.name}"
        card = f"02:00:00:00:00:{int(machine.address.rpartition('.')[2]):02x}"  # as before, if any
        add = ["ip", "link", "add", link, "type", "veth", "peer", "eth0", "address", card]
        # Its process id is the one outside of the switch's own namespace of them.
        self.run(*add, "netns", str(init.pid), inside=["net"])
        self.run("ip", "link", "set", link, "master", "switch", "up")

    def hide(self) -> None:
        """Take the shared folder from all machines; files that are open stay open."""
        self.run("umount", "--lazy", str(self.shared))

    def show(self) -> None:
        """Give it back, with all that was in it."""
        self.run("mount", "--bind", str(self.folder / "disk"), str(self.shared))

    def freeze(self) -> None:
        """Have every write into the shared folder wait; reads go on."""
        self.run("fsfreeze", "--freeze", str(self.folder / "disk"))

    def thaw(self) -> None:
        """Let writes go on."""
        self.run("fsfreeze", "--unfreeze", str(self.folder / "disk"))


@contextmanager
def machines(folder: Path, shared_mib: int = 2048) -> Iterator[Machines]:
    """A switch without machines, until the block ends.

    Args:
        folder: new or empty; logs of machines are left in it. Its path should be short.
        shared_mib: size of the disk behind the shared folder.
    """
    for name in ("disk", "shared", "home"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "hosts").write_text("127.0.0.1 localhost\n")
    image = folder / "disk.img"
    with image.open("wb") as file:
        file.truncate(shared_mib * 2**20)
    subprocess.run(["mkfs.ext4", "-q", "-F", "-m", "0", str(image)], check=True)
    lines = [
        "mount --make-rshared /",
        f"mount -o loop {image} {folder}/disk",
        # Nothing can be written under the folder while the disk is not there.
        f"mount -t tmpfs -o ro tmpfs {folder}/shared",
        f"mount --bind {folder}/disk {folder}/shared",
        "ip link set lo up",
        "ip link add switch type bridge",
        "ip link set switch up",
        f"touch {folder}/ready",
        "trap '' CHLD",
        "exec sleep infinity",
    ]
    found = Machines(
        folder=folder, environment=environment(folder, "eth0"), switch=psutil.Process()
    )
    holder = found.spawn([*_new("private"), "sh", "-ec", "\n".join(lines)], folder / "switch.log")
    try:
        _until((folder / "ready").exists, "the switch", folder / "switch.log")
        found.switch = _first(holder)
        yield found
    finally:
        _end(found, holder)
        image.unlink(missing_ok=True)


def _end(found: Machines, holder: subprocess.Popen[str]) -> None:
    if found.switch.pid != os.getpid():
        found.switch.kill()  # and with it all that was started within
    holder.kill()
    for process in found.spawned:
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def begin(
    command: Sequence[str], log: Path, environment: Mapping[str, str]
) -> subprocess.Popen[str]:
    """A command that ends with this process; what it says is added to a log."""
    with log.open("a") as out:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
            start_new_session=True,
            preexec_fn=_end_with_parent,
        )


def environment(folder: Path, interface: str) -> dict[str, str]:
    """Of all that runs on machines whose network is at an interface; their token is in a folder."""
    token = folder / "token"
    token.write_text("0123456789abcdef" * 4)
    token.chmod(0o600)
    kept = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    return kept | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(folder / "home"),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_USAGE_STATS_ENABLED": "0",
        "GLOO_SOCKET_IFNAME": interface,
        "NCCL_SOCKET_IFNAME": interface,
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
    }


def _new(propagation: str) -> list[str]:
    kinds = ["--pid", "--net", "--mount", "--uts", "--fork", "--kill-child", "--mount-proc"]
    return ["unshare", *kinds, "--propagation", propagation]


def _first(holder: subprocess.Popen[str]) -> psutil.Process:
    """The first process of the namespaces that a command has made."""
    mine = _namespace(os.getpid())

    def found() -> psutil.Process | None:
        family = psutil.Process(holder.pid).children(recursive=True)
        inner = [one for one in family if _innermost(one.pid) == 1 and _namespace(one.pid) != mine]
        return inner[-1] if inner else None

    _until(lambda: found() is not None, "namespaces")
    first = found()
    assert first is not None
    return first


def _namespace(process: int) -> str:
    try:
        return str(Path(f"/proc/{process}/ns/pid").readlink())
    except OSError:
        return ""


def _innermost(process: int) -> int:
    """The id that a process has in its own namespace."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return 0
    line = next((one for one in status.splitlines() if one.startswith("NSpid:")), "0")
    return int(line.split()[-1])


def _until(there: Callable[[], bool], what: str, log: Path | None = None) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not there():
        said = log.read_text() if log and log.exists() else ""
        assert time.monotonic() < deadline, f"waited in vain for {what}\n{said}"
        time.sleep(0.05)


def _end_with_parent() -> None:
    _c.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
