"""A cluster of pods that the KubeRay operator keeps, and experiments as RayJobs of their own."""

import json
import re
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from cluster.acting import Hands
from cluster.declared import Kubernetes, Pods
from cluster.places.kuberay import check
from cluster.places.place import Named, Submission
from cluster.ray_start import DRIVER, DRIVERS, HEALTH, OBJECT_STORE_BYTES
from cluster.session import ClusterError
from cluster.submitting import checked

FOLDER = "/codeladder"
"""Of the program in the image."""
RAY = version("ray")
METRICS = 8080
LONGEST_NAME = 47
"""Of a RayJob: KubeRay makes longer names of it."""
STOPPED = 3
"""Exit status of a driver some of whose runs a person stopped; a retry would go on with them."""
LOOK_SECONDS = 10.0
GONE_SECONDS = 3600
"""A finished RayJob takes its pods away after so long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OnKubernetes:
    """Manifests, and kubectl to apply them."""

    declared: Kubernetes
    named: Named
    hands: Hands

    def up(self) -> None:
        """Apply the RayCluster; KubeRay makes it so, and mends it."""
        manifest = cluster_manifest(self.declared, self.named.name)
        self._apply("cluster.yaml", manifest)
        self.hands.say(
            "Applied. Pods: make cluster-status; the dashboard: kubectl --namespace "
            f"{self.declared.namespace} port-forward service/{self.named.name}-head-svc 8265"
        )

    def down(self) -> None:
        """Delete the RayCluster and its pods; the claim, with all work, stays."""
        kind = f"raycluster/{self.named.name}"
        self.hands.run([*self._kubectl, "delete", "--ignore-not-found", kind])
        self.hands.say("deleted; the claim with all work stays")

    def status(self) -> int:
        """Show RayClusters, RayJobs and pods."""
        return self.hands.show([*self._kubectl, "get", "rayclusters,rayjobs,pods"])

    def submit(self, submission: Submission) -> int:
        """As a RayJob, which takes a cluster of its own and gives it back."""
        checked(submission.experiment)
        name = submission.name.lower().replace("_", "-").replace(".", "-")
        _carried(name, submission.experiment)
        for number, manifest in enumerate(job_manifests(self.declared, name, submission)):
            self._apply(f"{name}-{number}.yaml", manifest)
        self.hands.say(f"sent {name}: kubectl --namespace {self.declared.namespace} get rayjobs")
        if not submission.wait:
            return 0
        return self._wait(name)

    def _wait(self, name: str) -> int:
        """Until a RayJob is over: 0 where its driver ended with 0, else 1."""
        asked = ["get", f"rayjob/{name}", "--output=jsonpath={.status.jobDeploymentStatus}"]
        while not self.hands.dry:
            state = self.hands.run([*self._kubectl, *asked]).strip()
            if state in ("Complete", "Failed"):
                self.hands.say(f"{name}: {state.lower()}")
                return 0 if state == "Complete" else 1
            time.sleep(LOOK_SECONDS)
        return 0

    @property
    def _kubectl(self) -> list[str]:
        return ["kubectl", "--namespace", self.declared.namespace]

    def _apply(self, file: str, manifest: dict[str, Any]) -> None:
        check(manifest)
        path = self.named.folder / file
        self.hands.write(path, yaml.safe_dump(manifest, sort_keys=False))
        self.hands.run([*self._kubectl, "apply", "--filename", str(path)])


def cluster_manifest(declared: Kubernetes, name: str) -> dict[str, Any]:
    """A RayCluster as its operator reads it."""
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayCluster",
        "metadata": {"name": name, "namespace": declared.namespace},
        "spec": _cluster(declared),
    }


def job_manifests(
    declared: Kubernetes, name: str, submission: Submission
) -> tuple[dict[str, Any], dict[str, Any]]:
    """A ConfigMap with the experiment, and the RayJob that runs it on a cluster of its own."""
    file = submission.experiment
    carried = f"{name}-experiment"
    config = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": carried, "namespace": declared.namespace},
        "data": {file.name: _text(file)},
    }
    command = (
        f"python -m cluster keep --restarts {submission.restarts} --as-done {STOPPED} -- "
        f"python -m jobs run {FOLDER}/experiments/submitted/{file.name}"
    )
    spec = {
        "entrypoint": command,
        "entrypointResources": json.dumps({DRIVER: 1}),
        "metadata": {"experiment": file.stem},
        "submissionMode": "K8sJobMode",
        "backoffLimit": declared.retries,
        "shutdownAfterJobFinishes": True,
        "ttlSecondsAfterFinished": GONE_SECONDS,
        "rayClusterSpec": _cluster(declared, carried),
    }
    job = {
        "apiVersion": "ray.io/v1",
        "kind": "RayJob",
        "metadata": {"name": name, "namespace": declared.namespace},
        "spec": spec,
    }
    return config, job


def _carried(name: str, file: Path) -> None:
    """Refuse names that KubeRay, a ConfigMap or a shell would not take as they are."""
    if not re.fullmatch(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?", name) or len(name) > LONGEST_NAME:
        raise ClusterError(
            f"--name {name!r}: KubeRay takes small letters, digits and '-', at most {LONGEST_NAME}"
        )
    if not re.fullmatch(r"[A-Za-z0-9_.-]+", file.name):
        raise ClusterError(f"{file.name!r}: a ConfigMap takes letters, digits, '-', '_' and '.'")


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except FileNotFoundError:
        raise ClusterError(f"{file}: no such file") from None


def _cluster(declared: Kubernetes, carried: str = "") -> dict[str, Any]:
    grows = any(pods.most for pods in declared.workers.values())
    kept = {"gcsFaultToleranceOptions": {"redisAddress": declared.redis}} if declared.redis else {}
    return {
        "rayVersion": RAY,
        "authOptions": {"mode": "token"},
        **({"enableInTreeAutoscaling": True} if grows else {}),
        **kept,
        "headGroupSpec": {
            "serviceType": "ClusterIP",
            "rayStartParams": _start(declared.head, head=True),
            "template": _pod(declared, declared.head, carried, head=True),
        },
        "workerGroupSpecs": [
            _group(declared, name, pods, carried) for name, pods in declared.workers.items()
        ],
    }


def _group(declared: Kubernetes, name: str, pods: Pods, carried: str) -> dict[str, Any]:
    return {
        "groupName": name,
        "replicas": pods.count,
        "minReplicas": pods.count,
        "maxReplicas": max(pods.most or pods.count, 1),
        "rayStartParams": _start(pods, head=False),
        "template": _pod(declared, pods, carried, head=False),
    }


def _start(pods: Pods, *, head: bool) -> dict[str, str]:
    """KubeRay makes `ray start` of these; the head offers no processor, so no work goes there."""
    resources = json.dumps(json.dumps({DRIVER: DRIVERS}))
    shared = {
        "object-store-memory": str(OBJECT_STORE_BYTES),
        "metrics-export-port": str(METRICS),
        "disable-usage-stats": "true",
    }
    if head:
        return shared | {"num-cpus": "0", "num-gpus": "0", "dashboard-host": "0.0.0.0"}
    return shared | {"num-cpus": str(pods.cpus), "resources": resources}


def _pod(declared: Kubernetes, pods: Pods, carried: str, *, head: bool) -> dict[str, Any]:
    volumes: list[dict[str, Any]] = [
        {"name": "work", "persistentVolumeClaim": {"claimName": declared.claim}},
        {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "2Gi"}},
    ]
    mounts = [
        {"name": "work", "mountPath": declared.home},
        {"name": "shm", "mountPath": "/dev/shm"},
    ]
    if carried:
        volumes.append({"name": "experiment", "configMap": {"name": carried}})
        mounts.append({"name": "experiment", "mountPath": f"{FOLDER}/experiments/submitted"})
    container = {
        "name": "ray-head" if head else "ray-worker",
        "image": declared.image,
        "env": _environment(declared),
        **({"envFrom": [{"secretRef": {"name": declared.secret}}]} if declared.secret else {}),
        "resources": _resources(pods),
        "ports": _ports(head=head),
        "securityContext": {"allowPrivilegeEscalation": False},
        "volumeMounts": mounts,
    }
    return {
        "metadata": {"labels": {"app.kubernetes.io/part-of": "codeladder"}},
        "spec": {
            "automountServiceAccountToken": head and any(p.most for p in declared.workers.values()),
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": declared.run_as,
                "fsGroup": declared.run_as,
            },
            "containers": [container],
            "volumes": volumes,
            **({"nodeSelector": dict(pods.select)} if pods.select else {}),
        },
    }


def _environment(declared: Kubernetes) -> list[dict[str, str]]:
    found = HEALTH | {
        "CODELADDER_HOME": declared.home,
        "PYTHONPATH": FOLDER,
        "OMP_NUM_THREADS": "1",
        "GLOO_SOCKET_IFNAME": "eth0",
        "NCCL_SOCKET_IFNAME": "eth0",
    }
    return [{"name": name, "value": value} for name, value in found.items()]


def _resources(pods: Pods) -> dict[str, dict[str, Any]]:
    amount: dict[str, Any] = {"cpu": str(pods.cpus), "memory": f"{pods.memory_gib}Gi"}
    amount |= {"nvidia.com/gpu": pods.gpus} if pods.gpus else {}
    return {"requests": amount, "limits": dict(amount)}


def _ports(*, head: bool) -> list[dict[str, Any]]:
    there = {"metrics": METRICS}
    there |= {"gcs-server": 6379, "dashboard": 8265, "client": 10001} if head else {}
    return [{"name": name, "containerPort": port} for name, port in there.items()]
