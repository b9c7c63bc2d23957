"""`python -m cluster node`: what it is told, and what it does with it."""

import argparse
import json
import os
import socket
import stat
import sys
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

from cluster.certificates import sign_node
from cluster.node import NodeError, keep_node, living, start_in_background, stop_node
from cluster.ports import FIRST, LAST, Ports
from cluster.ray_start import Node, address_on, interface_of
from cluster.session import Cluster, forget, note

MEET_SECONDS = 600.0
"""For the head to come up, where all nodes are started at once."""
ELSEWHERE = "192.0.2.1"
"""An address of nobody (RFC 5737): the way there begins at this host's usual address."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options; `--state` alone is always needed."""
    parser.add_argument("--head", action="store_true", help="this node is the head")
    parser.add_argument("--join", default="", metavar="HOST:PORT", help="the head's control store")
    parser.add_argument(
        "--join-at", type=Path, metavar="FILE", help="which names it, once it is up"
    )
    parser.add_argument("--meet", type=Path, metavar="FILE", help="write there where the head is")
    parser.add_argument(
        "--record", default="", metavar="NAME", help="as the cluster of CODELADDER_HOME"
    )
    parser.add_argument("--ip", default="", help="the address of this host that the others use")
    parser.add_argument("--interface", default="", help="whose address to take instead")
    parser.add_argument("--token", type=Path, help="file with the cluster's token, mode 600")
    parser.add_argument("--state", type=Path, required=True, help="folder for notes and log")
    parser.add_argument("--ports", type=int, default=FIRST, metavar="FIRST", help="of 1000 ports")
    parser.add_argument(
        "--cpus", type=_count, metavar="N|all", help="default: all; on the head: none"
    )
    parser.add_argument("--gpus", type=int, help="default: as many as Ray finds")
    parser.add_argument("--kind", default="", help="of the GPUs, such as H200")
    parser.add_argument("--gcs-folder", type=Path, help="keep the control store here (RocksDB)")
    parser.add_argument("--tls", type=Path, help="folder with certificates; default: no TLS")
    parser.add_argument("--variables", type=Path, help="a JSON file of more environment, mode 600")
    parser.add_argument("--autoscaling", type=Path, help="of Ray's cluster launcher, on its head")
    act = parser.add_mutually_exclusive_group()
    act.add_argument("--background", action="store_true", help="return once the node is up")
    act.add_argument("--stop", action="store_true", help="end the node that works in --state")
    act.add_argument("--show", action="store_true", help="say whether one works in --state")


def _count(text: str) -> int:
    """A number of processors; `all` of them is -1."""
    return -1 if text == "all" else int(text)


def run_node(asked: argparse.Namespace) -> int:
    """Keep, start, stop or show a node.

    Raises:
        NodeError: what is wrong with the options or on this host, in one message.
    """
    state: Path = asked.state.resolve()
    if asked.stop:
        print("stopped" if stop_node(state) else "no node here")
        return 0
    if asked.show:
        found = living(state)
        print(f"{'up' if found.up else 'starting'}, start {found.starts}" if found else "no node")
        return 0 if found and found.up else 1
    node = _node(asked, state)
    if asked.background:
        words = [word for word in sys.argv[2:] if word != "--background"]
        kept = start_in_background(words, node)
        print(f"up, kept by process {kept.process}")
        return 0
    keep_node(node, when_up=partial(_tell, asked, node))
    if asked.record:
        forget(_home(node), address=_cluster(node).address)
    return 0


def _cluster(node: Node) -> Cluster:
    """The cluster whose head a node is."""
    return Cluster(
        address=f"{node.ip}:{node.ports.control_store}",
        dashboard_url=f"http://{node.ip}:{node.ports.dashboard}",
        token_path=node.token,
        cpus=0,
        gpus=0,
    )


def _tell(asked: argparse.Namespace, node: Node) -> None:
    """Leave word where others look for the head."""
    cluster = _cluster(node)
    if asked.record:
        note(_home(node), cluster, name=asked.record, replace=True)
    if asked.meet:
        draft = asked.meet.with_name(f".{asked.meet.name}.{os.getpid()}")
        draft.write_text(cluster.address)
        draft.replace(asked.meet)


def _home(node: Node) -> Path:
    return Path(dict(node.variables).get("CODELADDER_HOME") or os.environ["CODELADDER_HOME"])


def _awaited(path: Path) -> str:
    """The address in a file that the head writes once it is up."""
    deadline = time.monotonic() + MEET_SECONDS
    while time.monotonic() < deadline:
        with suppress(FileNotFoundError):
            return path.read_text().strip()
        time.sleep(1.0)
    raise NodeError(f"--join-at: no head wrote {path} within {MEET_SECONDS:.0f} s")


def _own_address(asked: argparse.Namespace) -> str:
    """As said; else of the interface; else the one that the way to the head begins at."""
    if asked.ip:
        return str(asked.ip)
    if asked.interface:
        return address_on(asked.interface)
    towards, _, port = (asked.join or f"{ELSEWHERE}:9").rpartition(":")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as way:
        way.connect((towards, int(port)))  # nothing is sent
        return str(way.getsockname()[0])


def _node(asked: argparse.Namespace, state: Path) -> Node:
    if asked.join_at:
        asked.join = _awaited(asked.join_at)
    try:
        asked.ip = _own_address(asked)
    except (OSError, ValueError) as error:
        raise NodeError(f"--ip: say it; it cannot be found out: {error}") from None
    mistakes = list(_mistakes(asked))
    if mistakes:
        raise NodeError("\n".join(mistakes))
    tls = asked.tls.resolve() if asked.tls else None
    if tls:
        sign_node(tls, asked.ip)
    return Node(
        ip=asked.ip,
        join=asked.join,
        token=asked.token.resolve(),
        state=state,
        ports=Ports(asked.ports),
        cpus=_processors(asked),
        gpus=0 if asked.head and asked.cpus is None and asked.gpus is None else asked.gpus,
        kind=asked.kind,
        gcs_folder=asked.gcs_folder,
        tls=tls,
        variables=_variables(asked.variables),
        autoscaling=asked.autoscaling,
    )


def _processors(asked: argparse.Namespace) -> int | None:
    if asked.cpus is None:
        return 0 if asked.head else None
    return None if asked.cpus < 0 else int(asked.cpus)


def _mistakes(asked: argparse.Namespace) -> list[str]:
    found = []
    if asked.head == bool(asked.join):
        found.append("say --head, or --join HOST:PORT of the head")
    try:
        interface_of(asked.ip)
    except ValueError as error:
        found.append(f"--ip: {error}")
    if asked.token is None or not asked.token.is_file():
        found.append(f"--token: {asked.token or 'say it:'} is not there; a file with the token")
    else:
        found += _private("--token", asked.token)
    if not 1024 <= asked.ports <= LAST:
        found.append(f"--ports: {asked.ports} is not between 1024 and {LAST}")
    if asked.variables:
        found += _private("--variables", asked.variables)
    if asked.gcs_folder and asked.join:
        found.append("--gcs-folder: only the head has a control store")
    return found


def _private(option: str, path: Path) -> list[str]:
    if not path.is_file():
        return [f"{option}: {path} is not there"]
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        return [f"{option}: others may read {path}; chmod 600 {path}"]
    return []


def _variables(path: Path | None) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(json.loads(path.read_text()).items())) if path else ()
