"""What listens where, by a scan of every TCP port of a cluster node with all our servers on it.

Run as root: it works in a network of its own, so that nothing else of this machine is found.

    python benchmarks/ports.py

Prints the table of docs/security.md.
"""

import contextlib
import http.client
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from cluster.ports import Ports  # noqa: E402

INSIDE = "CODELADDER_PORTS_INSIDE"
NETWORK, LOOPBACK = "10.78.0.1", "127.0.0.1"
ASKING = {NETWORK: "10.78.0.2", LOOPBACK: "127.0.0.2"}
"""Where a scan comes from: at one address, a socket now and then connects to itself."""
SETTLE_SECONDS = 45
PARTS = {name for name, value in vars(Ports).items() if isinstance(value, property)}
NAMES = {getattr(Ports(), name): name for name in PARTS - {"fixed", "workers"}}
NAMES |= {8377: "jobs serve", 8501: "the board"}
PATHS = ("/", "/metrics", "/api/version", "/v1/models", "/api/v1/runs")


def main() -> int:
    """Bring the servers up, scan, print; returns the exit status."""
    if INSIDE not in os.environ:
        return subprocess.call(
            ["unshare", "--net", sys.executable, __file__], env=os.environ | {INSIDE: "1"}
        )
    for command in (
        "link set lo up",
        "link add eth0 type veth peer name eth1",
        f"address add {NETWORK}/24 dev eth0",
        f"address add {ASKING[NETWORK]}/24 dev eth0",
        "link set eth0 up",
        "link set eth1 up",
    ):
        subprocess.run(["ip", *command.split()], check=True)
    with tempfile.TemporaryDirectory(dir="/tmp") as folder, contextlib.ExitStack() as stack:
        token = Path(folder) / "token"
        token.write_text(secrets.token_hex(32))
        token.chmod(0o600)
        stack.callback(_end_all)
        _begin(Path(folder), token)
        time.sleep(SETTLE_SECONDS)
        _table(token.read_text())
    return 0


def _begin(folder: Path, token: Path) -> None:
    environment = os.environ | {
        "CODELADDER_HOME": str(folder / "home"),
        "CODELADDER_SERVE_TOKEN": token.read_text(),
        "CODELADDER_BOARD_TOKEN": token.read_text(),
        "PYTHONPATH": str(ROOT),
    }
    node = ["cluster", "node", "--head", "--cpus", "1", "--gpus", "0", "--ip", NETWORK]
    for number, words in enumerate(
        (
            [*node, "--token", str(token), "--state", str(folder / "state")],
            ["leaderboard", "--port", "8501", "--serve-port", "8377"],
        )
    ):
        with (folder / f"{number}.log").open("w") as log:
            subprocess.Popen(
                [sys.executable, "-m", *words], cwd=ROOT, env=environment, stdout=log, stderr=log
            )


def _table(token: str) -> None:
    print("| port | who | reached at | HTTP without a token | a wrong one | the right one |")
    print("|---|---|---|---|---|---|")
    owners = _owners()
    at = {address: set(_open(address)) for address in (NETWORK, LOOPBACK)}
    for port in sorted(at[NETWORK] | at[LOOPBACK]):
        where = "the network" if port in at[NETWORK] else "this machine alone"
        address = NETWORK if port in at[NETWORK] else LOOPBACK
        told = [_http(address, port, shown) for shown in (None, "0" * 64, token)]
        name = NAMES.get(port, "worker" if port >= Ports().workers[0] else "").replace("_", " ")
        who = f"{name} ({owners.get(port, '?')})" if name else owners.get(port, "?")
        print(f"| {port} | {who} | {where} | {' | '.join(told)} |")


def _open(address: str) -> list[int]:
    """Every TCP port at which somebody answers."""
    found = []
    for port in range(1, 65536):
        with socket.socket() as tried:
            tried.settimeout(0.5)
            tried.bind((ASKING[address], 0))
            if tried.connect_ex((address, port)) == 0:
                found.append(port)
    return found


def _owners() -> dict[int, str]:
    """Which program listens at each port."""
    found = {}
    for connection in psutil.net_connections("tcp"):
        if connection.status == psutil.CONN_LISTEN and connection.pid:
            process = psutil.Process(connection.pid)
            found[connection.laddr.port] = process.name()[:30]
    return found


def _http(address: str, port: int, token: str | None) -> str:
    """The statuses of some paths, those that are not there left out."""
    told: dict[str, list[str]] = {}
    for path in PATHS:
        asked = urllib.request.Request(f"http://{address}:{port}{path}")
        if token is not None:
            asked.add_header("Authorization", f"Bearer {token}")
        try:
            with urllib.request.urlopen(asked, timeout=3) as answer:
                told.setdefault(str(answer.status), []).append(f"`{path}`")
        except urllib.error.HTTPError as error:
            told.setdefault(str(error.code), []).append(f"`{path}`")
        except (OSError, ValueError, http.client.HTTPException):
            return "no HTTP"
    told.pop("404", None)
    if len(told) < 2:
        return next(iter(told), "404")
    return "; ".join(f"{status}: {', '.join(paths)}" for status, paths in sorted(told.items()))


def _end_all() -> None:
    """End what was started here: children first told, then made to."""
    family = psutil.Process().children(recursive=True)
    for process in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    _, alive = psutil.wait_procs(family, timeout=20)
    for process in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


if __name__ == "__main__":
    sys.exit(main())
