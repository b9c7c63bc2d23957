"""The place that a cluster file names."""

import re
from pathlib import Path

from cluster.acting import Hands
from cluster.declared import Cloud, Hosts, Kubernetes, Slurm, load
from cluster.places.place import Named, Place
from cluster.session import ClusterError

NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")


def at(file: Path, home: Path, hands: Hands) -> Place:
    """What can be done with the cluster of a file.

    Raises:
        ClusterError: every mistake in the file, or its name is none for a cluster.
    """
    declared = load(file)
    if not NAME.fullmatch(file.stem):
        raise ClusterError(
            f"{file}: the file's name is the cluster's; small letters, digits and '-', at most 40"
        )
    named = Named(name=file.stem, home=home)
    if isinstance(declared, Hosts):
        from cluster.places.hosts import OnHosts

        return OnHosts(declared=declared, named=named, hands=hands)
    if isinstance(declared, Kubernetes):
        from cluster.places.kubernetes import OnKubernetes

        return OnKubernetes(declared=declared, named=named, hands=hands)
    if isinstance(declared, Slurm):
        from cluster.places.slurm import OnSlurm

        return OnSlurm(declared=declared, named=named, hands=hands)
    if isinstance(declared, Cloud):
        from cluster.places.clouds import InCloud

        return InCloud(declared=declared, named=named, hands=hands)
    from cluster.places.this_machine import OnThisMachine

    return OnThisMachine(declared=declared, named=named, hands=hands)
