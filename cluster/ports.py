"""The ports of a node: fixed and side by side, so that a firewall can be told of them."""

from dataclasses import dataclass

FIRST = 10000
SPAN = 1000
"""Ports that a node takes from its first; several clusters on one host are this far apart."""
LAST = 32768 - SPAN
"""From here on Linux hands ports out to whoever asks for any."""


@dataclass(frozen=True, slots=True)
class Ports:
    """Where each part of Ray listens; the same on all nodes of a cluster."""

    first: int = FIRST

    @property
    def control_store(self) -> int:
        """On the head only; nodes and drivers join here."""
        return self.first

    @property
    def dashboard(self) -> int:
        """On the head only: HTTP, and the door for `submit`."""
        return self.first + 1

    @property
    def objects(self) -> int:
        """What tasks return, from node to node."""
        return self.first + 2

    @property
    def raylet(self) -> int:
        """Tasks, from node to node."""
        return self.first + 3

    @property
    def agent_http(self) -> int:
        """The dashboard fetches a node's logs here."""
        return self.first + 4

    @property
    def agent(self) -> int:
        """The dashboard fetches a node's figures here."""
        return self.first + 5

    @property
    def environments(self) -> int:
        """Of the node itself: files that work brings along."""
        return self.first + 6

    @property
    def metrics(self) -> int:
        """For Prometheus; Ray asks for no token here."""
        return self.first + 7

    @property
    def client(self) -> int:
        """On the head only: Ray Client, which we do not use and Ray starts all the same."""
        return self.first + 8

    @property
    def autoscaler_metrics(self) -> int:
        """On the head only: for Prometheus."""
        return self.first + 9

    @property
    def dashboard_metrics(self) -> int:
        """On the head only: for Prometheus."""
        return self.first + 10

    @property
    def fixed(self) -> range:
        """All but those of workers."""
        return range(self.first, self.dashboard_metrics + 1)

    @property
    def workers(self) -> tuple[int, int]:
        """The first and the last port of worker processes, one each."""
        return self.first + 20, self.first + SPAN - 1


def of_slurm(job: int) -> Ports:
    """Ports by a Slurm job's number, so that two clusters on one host rarely ask for the same."""
    spans = (LAST - FIRST) // SPAN
    return Ports(FIRST + job % spans * SPAN)
