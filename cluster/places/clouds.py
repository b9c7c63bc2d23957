"""A cluster of machines that AWS or GCP lends, through Ray's cluster launcher."""

import json
import shlex
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import yaml

from cluster.acting import Hands
from cluster.declared import Cloud, Machines
from cluster.places.place import Named, Submission, passed_on, write_variables
from cluster.session import ROOT, ClusterError, own_token
from cluster.submitting import checked, entrypoint

THERE = "~/codeladder"
STATE = "~/.codeladder"
SSH = 22
RAY = str(Path(sys.executable).with_name("ray"))
AUTOSCALING = " --autoscaling ~/ray_bootstrap_config.yaml"
NOT_SENT = [".git", ".venv", ".venv-peers", "runs", "__pycache__", "docs/pictures", "tests"]


@dataclass(frozen=True, slots=True, kw_only=True)
class InCloud:
    """A file for Ray's launcher, and `ray up`, `ray exec` and `ray down`."""

    declared: Cloud
    named: Named
    hands: Hands

    def up(self) -> None:
        """Lend the head, set it up, and have it lend the workers."""
        variables = passed_on(self.declared)
        if not self.hands.dry:
            own_token(self.named.home)
        write_variables(self.hands, self.named.folder / "variables.json", variables)
        self._write()
        self._ray("up", "--yes", "--no-config-cache", str(self._file))
        self.hands.say(
            f"dashboard  ray dashboard {self._file}, then `make dashboard` for the token"
        )

    def down(self) -> None:
        """Give all machines back; what is in `home` stays, and so does its bill."""
        self._write()
        self._ray("down", "--yes", str(self._file))

    def status(self) -> int:
        """What the head says."""
        self._write()
        return self._asked("python -m cluster status")

    def submit(self, submission: Submission) -> int:
        """Send the experiment's file to the head, and hand it in there; 1 for all but 0."""
        checked(submission.experiment)
        entrypoint(submission)
        inside = submission.experiment.resolve().relative_to(ROOT)
        self._write()
        source, target = str(submission.experiment), f"{THERE}/{inside}"
        self._ray("rsync-up", str(self._file), source, target)
        words = ["python", "-m", "cluster", "submit", str(inside), "--name", submission.name]
        words += ["--restarts", str(submission.restarts)]
        words += ["--wait"] if submission.wait else []
        return self._asked(shlex.join(words))

    @property
    def _file(self) -> Path:
        return self.named.folder / "launcher.yaml"

    def _write(self) -> None:
        manifest = launcher(self.declared, self.named)
        # Ray reads its settings when it is imported, for the whole life of a process.
        with ProcessPoolExecutor(1, get_context("spawn")) as apart:
            apart.submit(validate, manifest).result()
        self.hands.write(self._file, yaml.safe_dump(manifest, sort_keys=False))

    def _ray(self, *words: str) -> None:
        if status := self.hands.show([RAY, *words]):
            raise ClusterError(f"ray {words[0]} ended with status {status}; its words are above")

    def _asked(self, command: str) -> int:
        """What a command ends with on the head: Ray tells 1 for everything that is not 0."""
        return self.hands.show([RAY, "exec", str(self._file), self._there(command)])

    def _there(self, command: str) -> str:
        home = shlex.quote(self.declared.home)
        return f"cd {THERE} && CODELADDER_HOME={home} .venv/bin/{command}"


def launcher(declared: Cloud, named: Named) -> dict[str, Any]:
    """What Ray's launcher reads."""
    types = {"head": declared.head} | dict(declared.workers)
    return {
        "cluster_name": f"codeladder-{named.name}",
        "max_workers": sum(machines.most for machines in declared.workers.values()),
        "provider": _provider(declared),
        "auth": {"ssh_user": declared.user},
        "head_node_type": "head",
        "available_node_types": {
            name: _type(declared, machines, head=name == "head") for name, machines in types.items()
        },
        "file_mounts": {
            THERE: str(ROOT),
            f"{STATE}/token": str(named.home / "cluster.token"),
            f"{STATE}/variables.json": str(named.folder / "variables.json"),
        },
        "rsync_exclude": NOT_SENT,
        "setup_commands": [
            *declared.before,
            f"chmod 600 {STATE}/token {STATE}/variables.json",
            "sudo apt-get update -qq && sudo apt-get install -y -qq make python3-venv bubblewrap",
            f"cd {THERE} && make setup",
        ],
        "head_start_ray_commands": [
            _node("--stop"),
            _node(f"--head --record {named.name}{AUTOSCALING}{_common(declared)}"),
        ],
        "worker_start_ray_commands": [
            _node("--stop"),
            _node(f"--join $RAY_HEAD_IP:{declared.ports}{_common(declared)}"),
        ],
    }


def validate(manifest: dict[str, Any]) -> None:
    """Refuse what Ray's launcher would refuse, before it lends anything.

    Raises:
        ClusterError: why.
    """
    from ray.autoscaler._private.util import prepare_config, validate_config

    try:
        validate_config(prepare_config(json.loads(json.dumps(manifest))))
    except Exception as error:  # jsonschema's, ValueError, KeyError: Ray names no one kind
        told = str(getattr(error, "message", error))
        raise ClusterError(f"Ray's launcher refuses the manifest: {told}") from None


def _provider(declared: Cloud) -> dict[str, Any]:
    if declared.place == "gcp":
        return {
            "type": "gcp",
            "region": declared.region,
            "availability_zone": declared.zone,
            "project_id": declared.project,
        }
    return {
        "type": "aws",
        "region": declared.region,
        "availability_zone": declared.zone,
        "cache_stopped_nodes": False,
    }


def _type(declared: Cloud, machines: Machines, *, head: bool) -> dict[str, Any]:
    offered = {"CPU": 0, "GPU": 0} if head else {"CPU": machines.cpus, "GPU": machines.gpus}
    node = _gcp(declared, machines) if declared.place == "gcp" else _aws(declared, machines)
    workers = {"min_workers": machines.least, "max_workers": machines.most}
    return {"node_config": node, "resources": offered} | ({} if head else workers)


def _aws(declared: Cloud, machines: Machines) -> dict[str, Any]:
    disk = {"DeviceName": "/dev/sda1", "Ebs": {"VolumeSize": declared.disk_gib, "Encrypted": True}}
    node: dict[str, Any] = {
        "InstanceType": machines.type,
        "BlockDeviceMappings": [disk],
        "MetadataOptions": {"HttpTokens": "required"},
    }
    node |= {"ImageId": declared.image} if declared.image else {}
    return node | ({"InstanceMarketOptions": {"MarketType": "spot"}} if machines.spot else {})


def _gcp(declared: Cloud, machines: Machines) -> dict[str, Any]:
    source = {"sourceImage": declared.image} if declared.image else {}
    disk = {
        "boot": True,
        "autoDelete": True,
        "type": "PERSISTENT",
        "initializeParams": {"diskSizeGb": declared.disk_gib} | source,
    }
    node: dict[str, Any] = {"machineType": machines.type, "disks": [disk]}
    scheduling: dict[str, Any] = {"onHostMaintenance": "TERMINATE"} if machines.gpus else {}
    scheduling |= {"preemptible": True} if machines.spot else {}
    return node | ({"scheduling": [scheduling]} if scheduling else {})


def _common(declared: Cloud) -> str:
    kind = f" --kind {declared.gpu_kind}" if declared.gpu_kind else ""
    return (
        f" --ports {declared.ports} --token {STATE}/token --variables {STATE}/variables.json"
        f"{kind} --background"
    )


def _node(words: str) -> str:
    return f"cd {THERE} && .venv/bin/python -m cluster node --state {STATE}/state {words}"
