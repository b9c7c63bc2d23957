"""A cluster of machines that can be reached over SSH."""

import json
import shlex
import socket
import tarfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from cluster.acting import Hands, run
from cluster.certificates import make_authority, sign_node
from cluster.declared import Hosts
from cluster.places.place import Named, Submission, explain, passed_on, record
from cluster.places.ssh import Host
from cluster.ports import Ports
from cluster.session import ROOT, Cluster, ClusterError, forget, own_token, running
from cluster.standing import show_nodes
from cluster.submitting import submit_to

AT_ONCE = 8
"""Hosts worked on side by side."""
OLDEST_PYTHON = (3, 11)
CLOCK_SECONDS = 10.0
"""Clocks may differ by so much: certificates and logs of several hosts are read together."""
SET_UP_SECONDS = 3600.0
LOOK = """
import json, os, socket, sys, time
def free(port):
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try: taken.bind(("", port))
        except OSError: return False
    return True
ports, folder = json.loads(sys.argv[1]), sys.argv[2]
print(json.dumps({"python": list(sys.version_info[:3]), "clock": time.time(),
    "taken": [p for p in ports if not free(p)], "home": os.path.isdir(sys.argv[3])}))
"""
"""What a host is asked before anything is done to it; for its own Python, whichever that is."""
SET_UP = """cd {folder}
[ .venv/.ready -nt requirements.lock ] || PYTHON={python} ./setup.sh environment"""


@dataclass(frozen=True, slots=True, kw_only=True)
class OnHosts:
    """A supervised node on each host."""

    declared: Hosts
    named: Named
    hands: Hands

    def up(self) -> None:
        """Look at all hosts, copy the program, set it up, and start a node on each, head first."""
        declared = self.declared
        own_token(self.named.home) if not self.hands.dry else None
        variables = passed_on(declared)
        hosts = [self._host(name) for name in declared.all]
        _same(dict(zip(declared.all, self._each(hosts, self._look, "looked at"), strict=True)))
        packed = b"" if self.hands.dry else _packed()
        self._each(hosts, self._copy_with(packed), "has the program")
        self._each(hosts, self._set_up, "is set up")
        self._each(hosts, self._secrets_with(variables), "has token and variables")
        self._each(hosts[:1], self._start, "is up")
        self._each(hosts[1:], self._start, "is up")
        record(self.hands, self.named, self._cluster())
        explain(self.hands, self._cluster())

    def down(self) -> None:
        """End the nodes, workers first, and take token and variables from the hosts."""
        hosts = [self._host(name) for name in reversed(self.declared.all)]
        self._each(hosts, self._stop, "is down")
        found = running(self.named.home)
        if found and found["address"] == self._cluster().address and not self.hands.dry:
            forget(self.named.home)

    def status(self) -> int:
        """Say of each host whether its node is up, and of the cluster what it has."""
        hosts = [self._host(name) for name in self.declared.all]
        with ThreadPoolExecutor(AT_ONCE) as pool:
            lines = list(pool.map(self._state, hosts))
        for host, line in zip(hosts, lines, strict=True):
            self.hands.say(f"{host.name}  {line}")
        shown = show_nodes(self._cluster(), self.hands.say)
        return 0 if shown == 0 and all(line.startswith("up") for line in lines) else 1

    def submit(self, submission: Submission) -> int:
        """As a Ray job, over the head's dashboard."""
        token = self.named.home / "cluster.token"
        return submit_to(self._cluster().dashboard_url, token, submission, self.hands)

    def _host(self, name: str) -> Host:
        return Host(name=name, declared=self.declared, hands=self.hands)

    def _cluster(self) -> Cluster:
        ports, head = Ports(self.declared.ports), address_of(self.declared.head)
        return Cluster(
            address=f"{head}:{ports.control_store}",
            dashboard_url=f"http://{head}:{ports.dashboard}",
            token_path=self.named.home / "cluster.token",
            cpus=0,
            gpus=0,
        )

    def _each(self, hosts: Sequence[Host], act: Callable[[Host], str], done: str) -> list[str]:
        """Do the same to several hosts side by side; one line each, and every mistake at once."""
        mistakes = []

        def one(host: Host) -> str:
            try:
                answer = act(host)
            except ClusterError as error:
                mistakes.append(str(error))
                return ""
            if not self.hands.dry:
                self.hands.say(f"{host.name}  {done}")
            return answer

        with ThreadPoolExecutor(AT_ONCE) as pool:
            answers = list(pool.map(one, hosts))
        if mistakes:
            raise ClusterError("\n".join(sorted(mistakes)))
        return answers

    def _look(self, host: Host) -> str:
        """Whether a host will do, and its Python; nothing is changed on it."""
        declared, ports = self.declared, Ports(self.declared.ports)
        asked = [ports.control_store, ports.dashboard] if host.name == declared.head else []
        asked += [ports.raylet, ports.objects, ports.agent]
        words = [declared.python, "-", json.dumps(asked), declared.folder, declared.home]
        shown = f"{self._stop_command} --show"
        script = f"{shlex.join(words)} && {{ {shown} 2>/dev/null || true; }}"
        began = time.time()
        answer = host.run(script, LOOK, seconds=60)
        if self.hands.dry:
            return ""
        facts = json.loads(answer.splitlines()[0])
        here = any("up," in line or "starting," in line for line in answer.splitlines()[1:])
        mistakes = list(_unfit(facts, (began + time.time()) / 2, declared))
        if facts["taken"] and not here:
            mistakes.append(f"port {facts['taken'][0]} is taken; another `ports` may be free")
        if mistakes:
            raise ClusterError("\n".join(f"{host.name}: {mistake}" for mistake in mistakes))
        return _dotted(tuple(facts["python"])[:2])

    def _copy_with(self, packed: bytes) -> Callable[[Host], str]:
        folder = shlex.quote(self.declared.folder)
        script = f"mkdir -p {folder} && tar -xzf - -C {folder}"
        return lambda host: host.run(script, packed)

    def _set_up(self, host: Host) -> str:
        folder, python = shlex.quote(self.declared.folder), shlex.quote(self.declared.python)
        return host.run(SET_UP.format(folder=folder, python=python), seconds=SET_UP_SECONDS)

    def _secrets_with(self, variables: dict[str, str]) -> Callable[[Host], str]:
        state = self._state_folder

        def send(host: Host) -> str:
            host.write(f"{state}/token", self._token())
            host.write(f"{state}/variables.json", json.dumps(variables))
            if self.declared.tls and not self.hands.dry:
                for name, content in self._certificates(address_of(host.name)).items():
                    host.write(f"{state}/tls/{name}", content)
            return ""

        return send

    def _token(self) -> str:
        return "" if self.hands.dry else (self.named.home / "cluster.token").read_text()

    def _certificates(self, ip: str) -> dict[str, str]:
        """A node's own certificate and the authority's; its key never leaves this machine."""
        authority = self.named.folder / "tls"
        make_authority(authority)
        folder = authority / ip
        folder.mkdir(mode=0o700, exist_ok=True)
        for name in ("ca.crt", "ca.key"):
            if not (folder / name).exists():
                (folder / name).symlink_to(authority / name)
        sign_node(folder, ip)
        return {name: (folder / name).read_text() for name in ("ca.crt", "node.crt", "node.key")}

    def _start(self, host: Host) -> str:
        declared, state = self.declared, self._state_folder
        head = host.name == declared.head
        options = {
            "ip": address_of(host.name),
            "token": f"{state}/token",
            "state": state,
            "ports": str(declared.ports),
            "variables": f"{state}/variables.json",
        }
        options |= {} if head else {"join": self._cluster().address}
        options |= {"cpus": "all"} if head and declared.head_works else {}
        options |= {"kind": declared.gpu_kind} if declared.gpu_kind else {}
        options |= {"tls": f"{state}/tls"} if declared.tls else {}
        if head and declared.control_store:
            options |= {"gcs-folder": declared.control_store}
        words = [word for name, value in options.items() for word in (f"--{name}", value)]
        words += ["--head"] if head else []
        return host.run(self._node([*words, "--background"]), seconds=180)

    def _stop(self, host: Host) -> str:
        state = shlex.quote(self._state_folder)
        secrets = f"rm -rf {state}/token {state}/variables.json {state}/tls"
        there = f"[ ! -e {shlex.quote(self.declared.folder)}/.venv/bin/python ]"
        return host.run(f"{there} || {{ {self._stop_command} --stop && {secrets}; }}", seconds=90)

    def _state(self, host: Host) -> str:
        try:
            return host.run(f"{self._stop_command} --show || true", seconds=30).strip() or "not up"
        except ClusterError as error:
            return str(error)

    @property
    def _state_folder(self) -> str:
        return f"{self.declared.folder}/state"

    @property
    def _stop_command(self) -> str:
        return self._node(["--state", self._state_folder])

    def _node(self, words: Sequence[str]) -> str:
        folder = shlex.quote(self.declared.folder)
        return f"cd {folder} && .venv/bin/python -m cluster node {shlex.join(words)}"


def address_of(host: str) -> str:
    """The address of a host, which must be of the cluster's own network.

    Raises:
        ClusterError: no host of this name is known here.
    """
    try:
        return socket.gethostbyname(host)
    except OSError as error:
        raise ClusterError(f"{host}: no host of this name is known here ({error})") from None


def _unfit(facts: dict[str, Any], now: float, declared: Hosts) -> list[str]:
    found = []
    version = tuple(facts["python"])
    if version[:2] < OLDEST_PYTHON:
        oldest, there = _dotted(OLDEST_PYTHON), _dotted(version)
        found.append(f"`{declared.python}` is Python {there}; {oldest} or newer is needed")
    apart = float(facts["clock"]) - now
    if abs(apart) > CLOCK_SECONDS:
        found.append(f"its clock is {apart:+.0f} s apart from ours; use NTP")
    if not facts["home"]:
        found.append(f"home: {declared.home} is not there; mount the shared folder")
    return found


def _same(pythons: dict[str, str]) -> None:
    """Refuse hosts whose Pythons differ: what one pickles the other may not read."""
    if len(set(pythons.values())) > 1:
        told = ", ".join(f"{host} has {version}" for host, version in pythons.items())
        raise ClusterError(f"the hosts need one version of Python: {told}. See `python`")


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


def _packed() -> bytes:
    """The program as it stands here, new files included and ignored ones left out."""
    listing = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others"]
    listed = run([*listing, "--exclude-standard"])
    names = [name for name in listed.split("\0") if name and (ROOT / name).is_file()]
    with TemporaryDirectory() as folder:
        archive = Path(folder) / "program.tar.gz"
        with tarfile.open(archive, "w:gz", compresslevel=1) as file:
            for name in names:
                if not name.startswith(("docs/pictures/", "tests/")):
                    file.add(ROOT / name, arcname=name)
        return archive.read_bytes()
