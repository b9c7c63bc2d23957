"""What stands in cluster/NAME.yaml: read, checked, and every mistake told at once."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from cluster.ports import FIRST, LAST
from cluster.session import ClusterError
from cluster.yaml_file import UnreadableError, nearest, read_mapping

VARIABLE = re.compile(r"[A-Z][A-Z0-9_]*")
Name = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$", max_length=40)]
"""As Kubernetes wants names."""
Host = Annotated[str, Field(pattern=r"^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$")]
"""A name or an address; never an option of ssh."""
Absolute = Annotated[str, Field(pattern=r"^/[A-Za-z0-9_./@:+,=~-]*$")]
"""A path on other hosts, without anything a shell would read otherwise."""
Plain = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.:/@-]*$")]
"""A word without anything a shell or YAML would read otherwise."""


NO_AUTOSCALING = "an experiment counts on what is there, so nothing is lent as work asks for it"


class Declared(BaseModel):
    """Base of what a user writes: immutable, and a misspelt key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Everywhere(Declared):
    """What can be said of a cluster at any place."""

    description: str = ""
    home: str = ""
    """Folder of work (`CODELADDER_HOME`), which all nodes see; of this machine alone: its own."""
    pass_on: tuple[str, ...] = ()
    """Names of variables of the environment that all nodes get, such as `HF_TOKEN`."""
    ports: int = Field(default=FIRST, ge=1024, le=LAST)
    """The first of 1,000 ports that the cluster uses."""
    gpu_kind: str = Field(default="", pattern=r"^[A-Za-z0-9_.-]*$")
    """Where Ray does not find out by itself what the GPUs are."""

    @model_validator(mode="after")
    def _variables(self) -> Self:
        wrong = [name for name in self.pass_on if not VARIABLE.fullmatch(name)]
        if wrong:
            raise ValueError(
                f"pass_on: {wrong[0]!r} is no name of a variable; values stand in the environment "
                "of the command and never in this file"
            )
        return self


class Kept(Declared):
    """What can be said where our own supervisor starts the nodes."""

    control_store: str = ""
    """A folder of the head, in which what the cluster knows survives the head; alpha in Ray."""
    tls: bool = False
    """Encrypt what Ray's processes say to each other."""


class ThisMachine(Everywhere, Kept):
    """A cluster of this machine alone, on its loopback interface."""

    place: Literal["this-machine"]
    cpus: int | None = Field(default=None, ge=1)
    gpus: int | None = Field(default=None, ge=0)


class Hosts(Everywhere, Kept):
    """Machines that can be reached over SSH with a key."""

    place: Literal["hosts"]
    home: Absolute
    """All hosts see it."""
    head: Host
    workers: tuple[Host, ...] = Field(min_length=1)
    user: str = Field(default="", pattern=r"^[a-z_0-9][a-z0-9_.-]*$|^$")
    key: str = ""
    """File of the private key; default: what SSH takes by itself."""
    ssh_options: str = ""
    """File of ssh's own settings (`ssh -F`), for a jump host, say."""
    ssh_port: int = Field(default=22, ge=1, le=65535)
    folder: Absolute
    """On each host, for the program, its environment, token and logs; made if it is not there."""
    python: Plain = "python3"
    """On each host."""
    head_works: bool = False
    """Whether work runs on the head too."""

    @property
    def all(self) -> tuple[str, ...]:
        """The head first."""
        return self.head, *self.workers

    @model_validator(mode="after")
    def _once(self) -> Self:
        wrong = []
        twice = sorted({host for host in self.workers if self.workers.count(host) > 1})
        wrong += [f"workers: {host} stands twice" for host in twice]
        if self.head in self.workers:
            wrong.append(f"workers: {self.head} is the head; head_works: true lets it work as well")
        if wrong:
            raise ValueError("\n".join(wrong))
        return self


class Pods(Declared):
    """Pods of one kind."""

    count: int = Field(default=1, ge=0)
    most: int | None = Field(default=None, ge=1)
    """No other than `count`: an experiment counts on what is there when it begins."""
    cpus: int = Field(default=8, ge=1)
    memory_gib: int = Field(default=32, ge=1)
    gpus: int = Field(default=0, ge=0)
    select: dict[str, str] = Field(default_factory=dict)
    """Labels of the nodes that they may run on."""


class Kubernetes(Everywhere):
    """Pods that the KubeRay operator keeps."""

    place: Literal["kubernetes"]
    home: Absolute
    """Where the pods find the claim."""
    namespace: Name = "default"
    image: Plain
    """Built by cluster/image/Dockerfile; see docs/cluster.md."""
    claim: Name
    """A PersistentVolumeClaim that many pods may write (ReadWriteMany), mounted at `home`."""
    secret: Name | None = None
    """Keys of this Secret become variables of the environment: the database's address, HF_TOKEN."""
    head: Pods = Pods(cpus=2, memory_gib=8)
    workers: dict[Name, Pods] = Field(min_length=1)
    redis: Plain | None = None
    """host:port of a Redis in which what the cluster knows survives its head."""
    retries: int = Field(default=3, ge=0)
    """New clusters that an experiment may take after its first."""
    run_as: int = Field(default=1000, ge=1)
    """User id inside the pods; never root."""

    @model_validator(mode="after")
    def _possible(self) -> Self:
        wrong = [
            f"workers.{name}.most: {pods.most} is not count, {pods.count}; {NO_AUTOSCALING}"
            for name, pods in self.workers.items()
            if pods.most is not None and pods.most != pods.count
        ]
        if self.pass_on:
            wrong.append("pass_on: pods get their variables from `secret`, never from this machine")
        if wrong:
            raise ValueError("\n".join(wrong))
        return self


class Slurm(Everywhere):
    """Nodes of a Slurm cluster, asked for by `sbatch`."""

    place: Literal["slurm"]
    home: Absolute
    """All nodes see it."""
    nodes: int = Field(ge=1)
    gpus: int = Field(default=0, ge=0)
    """Of each node."""
    cpus: int = Field(ge=1)
    """Of each node."""
    memory_gib: int | None = Field(default=None, ge=1)
    """Of each node."""
    time: str = Field(pattern=r"^(\d+-)?\d{1,2}:\d{2}:\d{2}$")
    """At most so long, as days-hours:minutes:seconds."""
    partition: Plain | None = None
    account: Plain | None = None
    options: tuple[str, ...] = ()
    """More options of sbatch, one each, such as `--constraint=h100`."""
    folder: Absolute
    """This repository, with its .venv, on a disk that all nodes see."""
    interface: Plain | None = None
    """The network interface that the nodes speak over; default: the way to the first node."""

    @model_validator(mode="after")
    def _possible(self) -> Self:
        wrong = [
            f"options: {option!r} is no option of sbatch; one starts with -- and has no space"
            for option in self.options
            if not re.fullmatch(r"--[a-z][a-z-]*(=[A-Za-z0-9_.,:/&|+-]*)?", option)
        ]
        if wrong:
            raise ValueError("\n".join(wrong))
        return self


class Machines(Declared):
    """Machines of one kind that a cloud lends."""

    type: Plain
    """The cloud's name of it."""
    least: int = Field(default=0, ge=0)
    most: int = Field(default=1, ge=1)
    cpus: int = Field(ge=1)
    gpus: int = Field(default=0, ge=0)
    spot: bool = False
    """Cheaper, and taken away at any moment."""


class Cloud(Everywhere):
    """Machines of AWS or GCP, through Ray's cluster launcher."""

    place: Literal["aws", "gcp"]
    home: Absolute
    """All machines see it: EFS, Filestore."""
    region: Plain
    zone: Plain
    project: Plain | None = None
    """Of GCP."""
    image: Plain | None = None
    """Image of a disk, Debian or Ubuntu with the GPUs' driver; default: the launcher's choice."""
    disk_gib: int = Field(default=200, ge=30)
    user: Plain = "ubuntu"
    head: Machines
    workers: dict[Name, Machines] = Field(min_length=1)
    before: tuple[str, ...] = ()
    """Commands for every machine before set-up, such as mounting the shared folder."""

    @model_validator(mode="after")
    def _possible(self) -> Self:
        wrong = [
            f"workers.{name}.least: {machines.least} is not most, {machines.most}; {NO_AUTOSCALING}"
            for name, machines in self.workers.items()
            if machines.least != machines.most
        ]
        if self.place == "gcp" and self.project is None:
            wrong.append("project: required on GCP")
        if self.place == "aws" and self.project is not None:
            wrong.append("project: AWS has none")
        if wrong:
            raise ValueError("\n".join(wrong))
        return self


Place = ThisMachine | Hosts | Kubernetes | Slurm | Cloud
PLACES: dict[str, type[Declared]] = {
    place: model
    for model in get_args(Place)
    for place in get_args(model.model_fields["place"].annotation)
}


def load(path: Path) -> Any:
    """The cluster that a file declares: one of `Place`.

    Raises:
        ClusterError: the file is not there or no YAML, or every mistake in it, one a line.
    """
    try:
        content = read_mapping(path)
    except UnreadableError as error:
        raise ClusterError(str(error)) from None
    place = content.get("place")
    if place not in PLACES:
        told = f"there is no {place!r}." if place is not None else "required, but not there."
        raise _cannot(path, [f"place: {told}{nearest(str(place), PLACES)}"])
    try:
        return PLACES[place].model_validate(content)
    except ValidationError as error:
        lines = [_line(PLACES[place], part) for part in error.errors()]
        raise _cannot(path, [one for line in lines for one in line.splitlines()]) from None


def _cannot(path: Path, mistakes: Iterable[str]) -> ClusterError:
    lines = "\n".join(f"  {mistake}" for mistake in mistakes)
    return ClusterError(f"{path} cannot be used:\n{lines}")


def _line(model: type[Declared], part: Any) -> str:
    where = ".".join(str(key) for key in part["loc"] if key != "[key]")
    if part["type"] == "extra_forbidden":
        known = _fields(model, part["loc"][:-1])
        return f"{where}: unknown key.{nearest(str(part['loc'][-1]), known)}"
    if part["type"] == "missing":
        return f"{where}: required, but not there"
    message = part["msg"].removeprefix("Value error, ")
    return f"{where}: {message}" if where else message


def _fields(model: Any, way: Iterable[Any]) -> list[str]:
    """The keys of the object at the end of a way through a file."""
    for key in way:
        fields = getattr(model, "model_fields", {})
        annotation = fields[key].annotation if key in fields else model
        arguments = [one for one in get_args(annotation) if _holds(one)]
        model = arguments[-1] if arguments else annotation
    return list(getattr(model, "model_fields", {}))


def _holds(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)
