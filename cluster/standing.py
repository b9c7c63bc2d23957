"""A cluster that stands, asked over its dashboard: HTTP and the token, nothing of Ray's own."""

import json
import os
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cluster.session import Cluster, ClusterError

SECONDS = 10.0


def ask(dashboard_url: str, route: str, token_path: Path | None) -> Any:
    """What a route of the dashboard answers, read as JSON.

    Raises:
        ClusterError: it does not answer, or wants another token.
    """
    token = token_path.read_text() if token_path else os.environ.get("RAY_AUTH_TOKEN", "")
    asked = urllib.request.Request(
        f"{dashboard_url}{route}", headers={"Authorization": f"Bearer {token}"}
    )
    try:
        with urllib.request.urlopen(asked, timeout=SECONDS) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        reason = "the token is not its own" if error.code in (401, 403) else error.reason
        raise ClusterError(f"{dashboard_url}{route} answered {error.code}: {reason}") from None
    except (OSError, ValueError) as error:
        raise ClusterError(f"{dashboard_url} does not answer: {error}") from None


def show_nodes(cluster: Cluster, say: Callable[[str], None]) -> int:
    """Say of every node what it has and whether it lives; 0 where the cluster answers."""
    try:
        nodes = _nodes(cluster)
    except ClusterError as error:
        say(str(error))
        return 1
    for node in nodes:
        say(_line(node))
    return 0


def resources(dashboard_url: str, token_path: Path | None) -> dict[str, float]:
    """All that the living nodes of a cluster have together, by name.

    Raises:
        ClusterError: it does not answer.
    """
    found: dict[str, float] = {}
    for node in _alive(dashboard_url, token_path):
        for name, count in node["resources_total"].items():
            found[name] = found.get(name, 0.0) + count
    return found


def _nodes(cluster: Cluster) -> list[dict[str, Any]]:
    return _listed(cluster.dashboard_url, cluster.token_path)


def _alive(dashboard_url: str, token_path: Path | None) -> list[dict[str, Any]]:
    return [node for node in _listed(dashboard_url, token_path) if node["state"] == "ALIVE"]


def _listed(dashboard_url: str, token_path: Path | None) -> list[dict[str, Any]]:
    answer = ask(dashboard_url, "/api/v0/nodes?limit=10000", token_path)
    return list(answer["data"]["result"]["result"])


def _line(node: dict[str, Any]) -> str:
    there = node["resources_total"]
    kind = next((key.split(":")[1] for key in there if key.startswith("accelerator_type:")), "")
    role = "head" if node["is_head_node"] else "node"
    what = f"{there.get('CPU', 0):.0f} processors, {there.get('GPU', 0):.0f} GPUs {kind}".rstrip()
    return f"{role}       {node['node_ip']}  {node['state'].lower()}  {what}"
