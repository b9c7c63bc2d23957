"""How Ray is started on a host: every port, interface and setting named, none left to chance."""

import json
import os
import socket
import sys
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from cluster.ports import Ports
from cluster.session import private_folder
from cluster.sparing import SPARING

ROOT = Path(__file__).parent.parent
OBJECT_STORE_BYTES = 256 * 2**20
"""What passes through is rows and messages; weights stay in files."""
DRIVER = "driver"
"""The resource that a driver takes one of, so that it runs where there is work, not on the head."""
DRIVERS = 16
"""Drivers that one node may run."""
HEALTH = {
    "RAY_health_check_initial_delay_ms": "5000",
    "RAY_health_check_period_ms": "5000",
    "RAY_health_check_timeout_ms": "5000",
    "RAY_health_check_failure_threshold": "3",
    "RAY_gcs_rpc_server_reconnect_timeout_s": "120",
}
"""A node that does not answer is given up after about half a minute, and a head that is away is
waited for: shorter is too twitchy for busy hosts, and Ray's own choice is above a minute."""

STOPPING = {"RAY_JOB_STOP_WAIT_TIME_S": "30"}
"""For a driver whose Ray job is stopped, to end by itself; it takes some seconds. Ray would kill it
after three."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A node of a cluster, as its supervisor is told of it."""

    ip: str
    """The address of this host that the others use."""
    join: str = ""
    """host:port of the head's control store; empty: this node is the head."""
    token: Path
    """A file that only its owner reads."""
    state: Path
    """A folder for the supervisor's notes and log."""
    ports: Ports = field(default_factory=Ports)
    cpus: int | None = None
    """None: all; 0: no work runs here."""
    gpus: int | None = None
    kind: str = ""
    """Of the GPUs, where Ray does not find out by itself."""
    gcs_folder: Path | None = None
    """Where the control store keeps what it knows, to survive the head; None: in memory."""
    tls: Path | None = None
    """A folder with ca.crt, node.crt and node.key; None: nothing is encrypted."""
    variables: tuple[tuple[str, str], ...] = ()
    """More of the environment of everything that runs here."""
    autoscaling: Path | None = None
    """What the cluster launcher of a cloud left on its head."""

    @property
    def scratch(self) -> Path:
        """Ray's own folder, by the same path on all nodes, because what a Ray job brings along lies
        there. The folder around it, which is ours alone, is made if need be."""
        return private_folder() / str(self.ports.first)


def start_command(node: Node) -> list[str]:
    """`ray start` for a node; the token is in no argument, because all users see those."""
    ports = node.ports
    first, last = ports.workers
    options = {
        "node-ip-address": node.ip,
        "node-name": socket.gethostname(),
        "object-manager-port": ports.objects,
        "node-manager-port": ports.raylet,
        "dashboard-agent-listen-port": ports.agent_http,
        "dashboard-agent-grpc-port": ports.agent,
        "runtime-env-agent-port": ports.environments,
        "metrics-export-port": ports.metrics,
        "min-worker-port": first,
        "max-worker-port": last,
        "object-store-memory": OBJECT_STORE_BYTES,
        "temp-dir": node.scratch,
        "resources": json.dumps(_resources(node)),
    }
    options |= _joining(node) if node.join else _heading(node)
    options |= {"num-cpus": node.cpus} if node.cpus is not None else {}
    options |= {"num-gpus": node.gpus} if node.gpus is not None else {}
    ray = str(Path(sys.executable).with_name("ray"))
    flags = ["--block", "--disable-usage-stats", *([] if node.join else ["--head"])]
    return [ray, "start", *flags, *(f"--{name}={value}" for name, value in options.items())]


def _heading(node: Node) -> dict[str, object]:
    found: dict[str, object] = {
        "port": node.ports.control_store,
        "dashboard-host": node.ip,
        "dashboard-port": node.ports.dashboard,
        "include-dashboard": "true",
        "ray-client-server-port": node.ports.client,
    }
    return found | ({"autoscaling-config": node.autoscaling} if node.autoscaling else {})


def _joining(node: Node) -> dict[str, object]:
    return {"address": node.join}


def _resources(node: Node) -> dict[str, int]:
    drivers = {DRIVER: DRIVERS} if node.cpus != 0 else {}
    return drivers | ({f"accelerator_type:{node.kind}": 1} if node.kind else {})


def environment(node: Node) -> dict[str, str]:
    """What everything on a node inherits, the drivers and workers included."""
    inherited = {key: value for key, value in os.environ.items() if key not in _MISLEADING}
    programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    return (
        inherited
        | HEALTH
        | STOPPING
        | SPARING
        | {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(node.token),
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_TMPDIR": str(node.scratch),
            "AUTOSCALER_METRIC_PORT": str(node.ports.autoscaler_metrics),
            "DASHBOARD_METRIC_PORT": str(node.ports.dashboard_metrics),
            "PATH": programs,
            "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
            "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),  # one core per worker
        }
        | _network(node.ip)
        | _kept(node)
        | encrypted(node.tls)
        | dict(node.variables)
    )


_MISLEADING = (
    *("RAY_ADDRESS", "RAY_AUTH_TOKEN", "RAY_JOB_CONFIG_JSON_ENV_VAR"),
    # Where these are set, every bash that Ray starts reads ~/.bashrc, and with it another PATH.
    *("SSH_CLIENT", "SSH2_CLIENT", "SSH_CONNECTION"),
)


def _network(ip: str) -> dict[str, str]:
    interface = interface_of(ip)
    pinned = dict.fromkeys(("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"), interface)
    # Despite its name it rules Linux too: Ray then listens on 127.0.0.1 alone.
    return pinned | ({"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"} if ip == "127.0.0.1" else {})


def interface_of(ip: str) -> str:
    """The network interface of this host that has an address.

    Raises:
        ValueError: none has; the message names the addresses there are.
    """
    there: dict[str, str] = {
        address.address: name
        for name, addresses in psutil.net_if_addrs().items()
        for address in addresses
        if address.family == socket.AF_INET
    }
    if ip in there:
        return there[ip]
    if ip.startswith("127.") and "127.0.0.1" in there:
        return there["127.0.0.1"]  # all of 127.0.0.0/8 is this host
    raise ValueError(
        f"no interface of this host has the address {ip}; there are {', '.join(there)}"
    )


def address_on(interface: str) -> str:
    """The address of an interface of this host.

    Raises:
        ValueError: there is no such interface, or it has none; the message names those there are.
    """
    all_of_them = psutil.net_if_addrs()
    for address in all_of_them.get(interface, ()):
        if address.family == socket.AF_INET:
            return str(address.address)
    raise ValueError(f"no address on {interface!r}; there are {', '.join(all_of_them)}")


def _kept(node: Node) -> dict[str, str]:
    if node.gcs_folder is None or node.join:
        return {}
    return {"RAY_gcs_storage": "rocksdb", "RAY_gcs_storage_path": str(node.gcs_folder)}


def encrypted(folder: Path | None) -> dict[str, str]:
    """What has Ray's processes encrypt with the certificate in a folder; None: nothing."""
    if folder is None:
        return {}
    return {
        "RAY_USE_TLS": "1",
        "RAY_TLS_SERVER_CERT": str(folder / "node.crt"),
        "RAY_TLS_SERVER_KEY": str(folder / "node.key"),
        "RAY_TLS_CA_CERT": str(folder / "ca.crt"),
    }
