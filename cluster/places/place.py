"""What can be done with a cluster, wherever it is."""

import json
import os
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from cluster.acting import Hands
from cluster.declared import Everywhere
from cluster.ray_start import encrypted
from cluster.session import Cluster, ClusterError, note, running


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """A cluster as its file declares it, and where this machine keeps what belongs to it."""

    name: str
    """Of the file, without its ending."""
    home: Path
    """The folder of work of this machine."""

    @property
    def folder(self) -> Path:
        """For manifests, tokens and notes."""
        return self.home / "cluster" / self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """An experiment on its way to a cluster."""

    experiment: Path
    name: str
    """What the Ray job shall be called."""
    wait: bool = False
    """Until it is over, showing what it prints."""
    restarts: int = 10
    """Of a driver that crashes."""


class Place(Protocol):
    """One way to have a cluster."""

    def up(self) -> None:
        """Bring it up, or mend what is not up; does nothing where all is."""

    def down(self) -> None:
        """Take it away; does nothing where there is none."""

    def status(self) -> int:
        """Say what is there; 0: all that should be."""

    def submit(self, submission: Submission) -> int:
        """Have an experiment run there; with `wait`, its driver's exit status."""


def passed_on(declared: Everywhere) -> dict[str, str]:
    """The variables that all nodes get, from the environment of this process.

    Raises:
        ClusterError: one is not set.
    """
    lacking = [name for name in declared.pass_on if name not in os.environ]
    if lacking:
        raise ClusterError(
            f"pass_on: {', '.join(lacking)} not set here; export it, or take it out of the file"
        )
    home = {"CODELADDER_HOME": declared.home} if declared.home else {}
    return home | {name: os.environ[name] for name in declared.pass_on}


def write_variables(hands: Hands, path: Path, variables: dict[str, str]) -> None:
    """The file that a node's `--variables` names."""
    hands.write(path, json.dumps(variables), secret=True)


def record(hands: Hands, named: Named, cluster: Cluster, process: int = 0) -> None:
    """Make a cluster the one that `status`, `dashboard` and `submit` without a file mean."""
    if hands.dry:
        hands.say(f"write  {named.home / 'cluster.json'}: where the cluster is")
        return
    found = running(named.home)
    if found and found["address"] != cluster.address:
        hands.say(f"The cluster at {found['address']} stays the one meant where no file is named.")
        return
    note(named.home, cluster, process, named.name, replace=True)


def explain(hands: Hands, cluster: Cluster, tls: Path | None = None) -> None:
    """Say how to use a cluster from here.

    Args:
        tls: the folder with this machine's certificate, where the cluster encrypts.
    """
    settings = {
        "RAY_ADDRESS": cluster.address,
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(cluster.token_path),
    } | encrypted(tls)
    told = " ".join(f"{name}={shlex.quote(value)}" for name, value in settings.items())
    hands.say(f"cluster    {cluster.address}")
    hands.say(f"dashboard  {cluster.dashboard_url}  (its token: make dashboard)")
    hands.say("submit     make submit EXPERIMENT=experiments/NAME.yaml")
    hands.say(f"join       export {told}")
