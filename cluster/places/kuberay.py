"""The fields of KubeRay's and Kubernetes' objects that our manifests use, checked strictly.

A field that is not listed here is refused, because Kubernetes would drop it without a word. Listed
after the operator's own types (RayCluster and RayJob of `ray.io/v1`, version 1.6); nothing here was
tried on a Kubernetes.
"""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.alias_generators import to_camel

from cluster.session import ClusterError

Name = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$", max_length=63)]
PortName = Annotated[str, Field(pattern=r"^[a-z0-9-]{1,15}$")]
AMOUNT = re.compile(r"[0-9]+(\.[0-9]+)?(m|Ki|Mi|Gi|Ti)?")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, alias_generator=to_camel)


class _Metadata(_Strict):
    name: Name
    namespace: Name


class _Labels(_Strict):
    labels: dict[str, str] = Field(default_factory=dict)


class _Variable(_Strict):
    name: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
    value: str


class _Reference(_Strict):
    name: Name


class _Source(_Strict):
    secret_ref: _Reference


class _Resources(_Strict):
    requests: dict[str, str | int]
    limits: dict[str, str | int]

    @model_validator(mode="after")
    def _amounts(self) -> Self:
        for amount in (*self.requests.values(), *self.limits.values()):
            if not AMOUNT.fullmatch(str(amount)):
                raise ValueError(f"{amount!r} is no amount")
        return self


class _Port(_Strict):
    name: PortName
    container_port: int = Field(ge=1, le=65535)


class _Mount(_Strict):
    name: Name
    mount_path: Annotated[str, Field(pattern=r"^/")]


class _ContainerSecurity(_Strict):
    allow_privilege_escalation: Literal[False]


class _Container(_Strict):
    name: Name
    image: Annotated[str, Field(min_length=1)]
    env: list[_Variable]
    env_from: list[_Source] = Field(default_factory=list)
    resources: _Resources
    ports: list[_Port]
    security_context: _ContainerSecurity
    volume_mounts: list[_Mount]


class _Claim(_Strict):
    claim_name: Name


class _Empty(_Strict):
    medium: Literal["Memory"]
    size_limit: str


class _Volume(_Strict):
    name: Name
    persistent_volume_claim: _Claim | None = None
    empty_dir: _Empty | None = None
    config_map: _Reference | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if sum(map(bool, (self.persistent_volume_claim, self.empty_dir, self.config_map))) != 1:
            raise ValueError(f"volume {self.name}: one source, no more and no fewer")
        return self


class _PodSecurity(_Strict):
    run_as_non_root: Literal[True]
    run_as_user: int = Field(ge=1)
    fs_group: int = Field(ge=1)


class _PodSpec(_Strict):
    automount_service_account_token: bool
    security_context: _PodSecurity
    containers: list[_Container] = Field(min_length=1)
    volumes: list[_Volume]
    node_selector: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _mounted(self) -> Self:
        there = {volume.name for volume in self.volumes}
        for container in self.containers:
            for mount in container.volume_mounts:
                if mount.name not in there:
                    raise ValueError(f"there is no volume {mount.name}")
        return self


class _Pod(_Strict):
    metadata: _Labels
    spec: _PodSpec


class _Head(_Strict):
    service_type: Literal["ClusterIP", "NodePort", "LoadBalancer"]
    ray_start_params: dict[str, str]
    template: _Pod


class _Group(_Strict):
    group_name: Name
    replicas: int = Field(ge=0)
    min_replicas: int = Field(ge=0)
    max_replicas: int = Field(ge=1)
    ray_start_params: dict[str, str]
    template: _Pod

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not self.min_replicas <= self.replicas <= self.max_replicas:
            raise ValueError("replicas must lie between minReplicas and maxReplicas")
        return self


class _Auth(_Strict):
    mode: Literal["token"]


class _Redis(_Strict):
    redis_address: str


class _ClusterSpec(_Strict):
    ray_version: Annotated[str, Field(pattern=r"^\d+\.\d+\.\d+$")]
    auth_options: _Auth
    enable_in_tree_autoscaling: bool = False
    gcs_fault_tolerance_options: _Redis | None = None
    head_group_spec: _Head
    worker_group_specs: list[_Group] = Field(min_length=1)


class _JobSpec(_Strict):
    entrypoint: Annotated[str, Field(min_length=1)]
    entrypoint_resources: str
    metadata: dict[str, str]
    submission_mode: Literal["K8sJobMode", "HTTPMode"]
    backoff_limit: int = Field(ge=0)
    shutdown_after_job_finishes: Literal[True]
    ttl_seconds_after_finished: int = Field(ge=0)
    ray_cluster_spec: _ClusterSpec


class _RayCluster(_Strict):
    api_version: Literal["ray.io/v1"]
    kind: Literal["RayCluster"]
    metadata: _Metadata
    spec: _ClusterSpec


class _RayJob(_Strict):
    api_version: Literal["ray.io/v1"]
    kind: Literal["RayJob"]
    metadata: _Metadata
    spec: _JobSpec


class _ConfigMap(_Strict):
    api_version: Literal["v1"]
    kind: Literal["ConfigMap"]
    metadata: _Metadata
    data: dict[str, str]


_KINDS: dict[str, type[_Strict]] = {
    "RayCluster": _RayCluster,
    "RayJob": _RayJob,
    "ConfigMap": _ConfigMap,
}


def check(manifest: dict[str, Any]) -> None:
    """Refuse an object that Kubernetes would refuse, or would take and not do.

    Raises:
        ClusterError: every field that is wrong, one a line.
    """
    kind = manifest.get("kind", "")
    if kind not in _KINDS:
        raise ClusterError(f"no kind of ours: {kind!r}")
    try:
        _KINDS[kind].model_validate(manifest)
    except ValidationError as error:
        lines = (f"  {'.'.join(map(str, part['loc']))}: {part['msg']}" for part in error.errors())
        raise ClusterError(f"{kind} has mistakes:\n" + "\n".join(lines)) from None
