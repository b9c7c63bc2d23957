"""A cluster of this machine alone."""

import sys
from dataclasses import dataclass
from pathlib import Path

from cluster.acting import Hands
from cluster.certificates import make_authority
from cluster.declared import ThisMachine
from cluster.node import living, stop_node
from cluster.places.place import Named, Submission, explain, passed_on, record, write_variables
from cluster.ports import Ports
from cluster.session import Cluster, forget, own_token, running
from cluster.standing import show_nodes
from cluster.submitting import submit_to

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class OnThisMachine:
    """A supervised node on the loopback interface that is head and worker at once."""

    declared: ThisMachine
    named: Named
    hands: Hands

    def up(self) -> None:
        """Start the node in the background."""
        token = self.named.home / "cluster.token"
        if self.hands.dry:
            self.hands.say(f"write  {token}, mode 600, if it is not there")
        else:
            own_token(self.named.home)
        variables = {"CODELADDER_HOME": str(self.named.home)} | passed_on(self.declared)
        write_variables(self.hands, self.named.folder / "variables.json", variables)
        if self._tls and not self.hands.dry:
            make_authority(self._tls)
        self.hands.run(self._command(), seconds=150)
        found = living(self.named.folder)
        cluster = self._cluster()
        record(self.hands, self.named, cluster, found.process if found else 0)
        explain(self.hands, cluster, self._tls)

    def down(self) -> None:
        """End the node."""
        if self.hands.dry:
            self.hands.say(f"stop   the node in {self.named.folder}")
            return
        self.hands.say("stopped" if stop_node(self.named.folder) else "It is not up.")
        found = running(self.named.home)
        if found is None or found["address"] == self._cluster().address:
            forget(self.named.home)

    def status(self) -> int:
        """Say whether the node is up."""
        found = living(self.named.folder)
        if not found or not found.up:
            self.hands.say("not up" if not found else f"starting, start {found.starts}")
            return 1
        explain(self.hands, self._cluster(), self._tls)
        return show_nodes(self._cluster(), self.hands.say)

    def submit(self, submission: Submission) -> int:
        """As a Ray job of the node."""
        token = self.named.home / "cluster.token"
        return submit_to(self._cluster().dashboard_url, token, submission, self.hands)

    @property
    def _tls(self) -> Path | None:
        return self.named.folder / "tls" if self.declared.tls else None

    def _cluster(self) -> Cluster:
        ports = Ports(self.declared.ports)
        return Cluster(
            address=f"{LOOPBACK}:{ports.control_store}",
            dashboard_url=f"http://{LOOPBACK}:{ports.dashboard}",
            token_path=self.named.home / "cluster.token",
            cpus=0,
            gpus=0,
        )

    def _command(self) -> list[str]:
        declared, folder = self.declared, self.named.folder
        options: dict[str, object] = {
            "ip": LOOPBACK,
            "token": self.named.home / "cluster.token",
            "state": folder,
            "ports": declared.ports,
            "cpus": "all" if declared.cpus is None else declared.cpus,
            "variables": folder / "variables.json",
        }
        options |= {"gpus": declared.gpus} if declared.gpus is not None else {}
        options |= {"kind": declared.gpu_kind} if declared.gpu_kind else {}
        options |= {"gcs-folder": declared.control_store} if declared.control_store else {}
        options |= {"tls": self._tls} if self._tls else {}
        words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
        return [sys.executable, "-m", "cluster", "node", "--head", *words, "--background"]
