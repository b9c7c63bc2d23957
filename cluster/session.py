"""A Ray cluster for as long as a command runs: our own, or the one that RAY_ADDRESS names."""

import json
import logging
import os
import secrets
import shutil
import signal
import socket
import stat
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import psutil

from cluster.ending import TerminatedError
from cluster.sparing import SPARING, UNWATCHED

ROOT = Path(__file__).parent.parent
OBJECT_STORE_BYTES = 256 * 2**20
"""What passes through is rows and messages; weights stay in files."""
STOP_SECONDS = 10.0
"""For Ray's processes to end by themselves; they take half a second."""
RECORD = "cluster.json"
OWN = "own"
"""Ray's folder where a command has a cluster of its own; those that stand are named by ports."""
JOB = "RAY_JOB_CONFIG_JSON_ENV_VAR"
"""Ray sets it for what runs as a Ray job."""
NOT_UPLOADED = [
    *(".git", ".venv*", ".*_cache", ".hypothesis", "runs", "**/__pycache__"),
    *("docs", "tests", "benchmarks"),
]


class ClusterError(Exception):
    """No cluster could be had; the message says why and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """A cluster that answers."""

    address: str
    """host:port of its control store."""
    dashboard_url: str
    """Empty where the cluster has no dashboard."""
    token_path: Path | None
    """The file with the token; None when the token came in a variable of the environment."""
    cpus: int
    gpus: int


@contextmanager
def connect(home: Path) -> Iterator[Cluster]:
    """Start a cluster on this machine, or join the one that `RAY_ADDRESS` names.

    A cluster of our own ends with this context, and with this process however it ends (after a
    kill -9, two idle processes of Ray's notice only within two minutes). It listens on the loopback
    interface, and every request to it needs the token under `home`. Call it in the main thread:
    Linux ends Ray's processes together with the thread that started them.

    Args:
        home: a folder that is ours: token, and the record that `python -m cluster status` reads.

    Raises:
        ClusterError: the cluster to join did not answer, or there is no token for it.
        TerminatedError: SIGTERM, within the context.
    """
    joined = os.environ.get("RAY_ADDRESS", "")
    _refuse_ray_client(joined)
    token_path = _given_token() if joined else own_token(home)
    settings = _settings(token_path) | ({} if joined else _local_settings())
    others = set(psutil.Process().children())
    with _environment(settings, without=() if joined else ("RAY_AUTH_TOKEN",)):
        cluster = _start(joined, token_path)
        started = set(psutil.Process().children()) - others
        # A Ray job works on a cluster that stands; it ends, and the cluster stays.
        noted = JOB not in os.environ and note(home, cluster)
        try:
            with _hearing_sigterm():
                yield cluster
        finally:
            if noted:
                forget(home, process=os.getpid())
            _stop(started)


def _start(joined: str, token_path: Path | None) -> Cluster:
    import ray
    from ray._raylet import (  # type: ignore[attr-defined]  # its stub leaves it out
        AuthenticationTokenLoader,
    )

    AuthenticationTokenLoader.instance().reset_cache()  # else a second cluster gets the first token
    try:
        context = ray.init(**(_joining(joined) if joined else _starting()))
    except Exception as error:  # a plain one, where its dashboard does not start
        where = f"the cluster at RAY_ADDRESS={joined}" if joined else "a cluster on this machine"
        raise ClusterError(f"{where} did not start an exchange: {error}") from error
    resources = ray.cluster_resources()
    return Cluster(
        address=context.address_info["gcs_address"],
        dashboard_url=f"http://{context.dashboard_url}" if context.dashboard_url else "",
        token_path=token_path,
        cpus=int(resources.get("CPU", 0)),
        gpus=int(resources.get("GPU", 0)),
    )


@contextmanager
def _hearing_sigterm() -> Iterator[None]:
    """SIGTERM raises `TerminatedError`. Ray's own handler aborts this process three seconds after
    it, and stages may take longer to end."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGTERM, _terminated)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGTERM) is _terminated:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _terminated(number: int, _: FrameType | None) -> None:
    signal.signal(number, signal.SIG_IGN)  # a keeper passes on what Ray has sent to both
    raise TerminatedError(128 + number)


def _stop(started: set[psutil.Process]) -> None:
    """Leave the cluster; one of our own is gone when this returns, with what its processes have
    started. Whatever else this process has started meanwhile lives on."""
    import ray

    family = started.union(*map(_descendants, started))
    ray.shutdown(wait_for_processes=True)
    deadline = time.monotonic() + STOP_SECONDS
    while (left := list(filter(_lives, family))) and time.monotonic() < deadline:
        time.sleep(0.05)
    for process in left:
        with suppress(psutil.NoSuchProcess):
            process.kill()


def _descendants(process: psutil.Process) -> list[psutil.Process]:
    try:
        return list(process.children(recursive=True))
    except psutil.NoSuchProcess:
        return []


def _lives(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _starting() -> dict[str, Any]:
    return {
        "address": "local",
        "include_dashboard": True,
        "dashboard_host": "127.0.0.1",
        "object_store_memory": OBJECT_STORE_BYTES,
        "_temp_dir": str(_temporary_folder()),
    } | _quiet()


def _joining(address: str) -> dict[str, Any]:
    shared = {name: value for name, value in _worker_settings().items() if name != "PYTHONPATH"}
    code = {"working_dir": str(ROOT), "excludes": NOT_UPLOADED}
    # A Ray job has brought the code along, and workers get what the job got.
    code = {} if JOB in os.environ else code
    return {"address": address, "runtime_env": code | {"env_vars": shared}} | _quiet()


def _refuse_ray_client(address: str) -> None:
    if address.startswith("ray://"):
        raise ClusterError(
            f"RAY_ADDRESS={address} is an address of Ray Client, which trainings cannot go "
            "through. Set RAY_ADDRESS to HOST:PORT of the control store, on a host that reaches "
            "all nodes, or send the experiment to the cluster: python -m cluster submit"
        )


def _quiet() -> dict[str, Any]:
    """Errors reach the user as exceptions; what workers print stays in Ray's log files."""
    return {"log_to_driver": False, "logging_level": logging.ERROR}


def _settings(token_path: Path | None) -> dict[str, str]:
    token = {"RAY_AUTH_TOKEN_PATH": str(token_path)} if token_path else {}
    return token | {"RAY_AUTH_MODE": "token", "RAY_USAGE_STATS_ENABLED": "0"}


def _local_settings() -> dict[str, str]:
    """Inherited by every process of a local cluster.

    A runtime environment could carry the same to the workers, but then Ray could not use the
    processes it starts in advance, and each gang would wait a second longer.
    """
    loopback = next(name for _, name in socket.if_nameindex() if name.startswith("lo"))
    return {
        # Despite its name it rules Linux too: Ray takes 127.0.0.1 for the node's address, so that
        # nothing listens to the network and a change of networks breaks nothing.
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "GLOO_SOCKET_IFNAME": loopback,  # a hostname that does not resolve would end the gang
        "NCCL_SOCKET_IFNAME": loopback,
        # On a busy machine the dashboard starts late; without it Ray would not start at all.
        "RAY_DASHBOARD_STARTUP_TIMEOUT_S": "180",
        "RAY_DASHBOARD_SUBPROCESS_MODULE_WAIT_READY_TIMEOUT": "150",
        **_worker_settings(),
        **SPARING,
        **UNWATCHED,
    }


def _worker_settings() -> dict[str, str]:
    path = os.environ.get("PYTHONPATH")
    return {
        "PYTHONPATH": os.pathsep.join([str(ROOT), *([path] if path else [])]),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),  # one core per worker
    }


@contextmanager
def _environment(settings: Mapping[str, str], without: tuple[str, ...]) -> Iterator[None]:
    """Variables as Ray must find them; put back afterwards."""
    before = dict(os.environ)
    os.environ.update(settings)
    for name in without:
        os.environ.pop(name, None)
    try:
        yield
    finally:
        for name in (*settings, *without):
            os.environ.pop(name, None)
            if name in before:
                os.environ[name] = before[name]


def own_token(home: Path) -> Path:
    """The file with the token of the clusters that are started from a home; made if need be."""
    home.mkdir(parents=True, exist_ok=True)
    path = home.resolve() / "cluster.token"
    if not path.exists():
        draft = path.with_name(f"{path.name}.{os.getpid()}")
        with open(os.open(draft, os.O_CREAT | os.O_WRONLY, 0o600), "w") as file:  # noqa: PTH123
            file.write(secrets.token_hex(32))
        draft.replace(path)
    path.chmod(0o600)
    return path


def _given_token() -> Path | None:
    """The token of a cluster that others started."""
    if "RAY_AUTH_TOKEN" in os.environ:
        return None
    path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH", Path.home() / ".ray" / "auth_token"))
    if not path.is_file():
        raise ClusterError(
            f"RAY_ADDRESS names a cluster, but there is no token for it: {path} is not there. "
            "Set RAY_AUTH_TOKEN_PATH to the cluster's token file, or unset RAY_ADDRESS to use a "
            "cluster of our own"
        )
    return path


def private_folder() -> Path:
    """A folder for those of Ray, made if need be, into which nobody else can look.

    Its path is short, because a socket's may have 107 bytes. Ray opens the folder that it is given
    to everybody, so it gets one inside of this.

    Raises:
        ClusterError: it belongs to someone else.
    """
    folder = Path("/tmp") / f"codeladder-{os.getuid()}"
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise ClusterError(f"{folder} is no folder of ours; remove it")
    folder.chmod(0o700)
    return folder


def _temporary_folder() -> Path:
    folder = private_folder() / OWN
    _sweep(folder)
    return folder


def _sweep(folder: Path) -> None:
    """Remove what ended sessions left, except the latest: its logs may be wanted."""
    sessions = [path for path in folder.glob("session_*_*") if not path.is_symlink()]
    for path in sorted(sessions)[:-1]:
        driver = path.name.rpartition("_")[2]
        if driver.isdigit() and not alive(int(driver)):
            shutil.rmtree(path, ignore_errors=True)


def alive(process: int) -> bool:
    """Whether a process with this id exists."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def note(
    home: Path,
    cluster: Cluster,
    process: int | None = None,
    name: str = "",
    *,
    replace: bool = False,
) -> bool:
    """Record where a cluster is, unless another that lives is recorded; whether it was.

    Of several commands on one cluster that none of them started the last to begin is recorded.

    Args:
        process: whose life is the cluster's; None: this one's; 0: no process tells.
        name: of the cluster that stands; empty: it ends with a command.
        replace: whatever is recorded.
    """
    found = None if replace else running(home)
    if found and (found.get("name") or found["address"] != cluster.address):
        return False
    record = {
        "address": cluster.address,
        "dashboard_url": cluster.dashboard_url,
        "token_path": str(cluster.token_path or ""),
        "process": os.getpid() if process is None else process,
        "host": socket.gethostname(),
        "name": name,
    }
    draft = home / f".{RECORD}.{os.getpid()}"
    draft.write_text(json.dumps(record))
    draft.replace(home / RECORD)
    return True


def forget(home: Path, **only: str | int) -> None:
    """Remove what `note` recorded, if it has the values of `only`."""
    with suppress(FileNotFoundError):
        record = json.loads((home / RECORD).read_text())
        if all(record.get(key) == value for key, value in only.items()):
            (home / RECORD).unlink()


def running(home: Path) -> dict[str, str] | None:
    """The cluster that `note` recorded under `home`, while its process lives; else None.

    Of a process of another host nobody here can tell, so its cluster counts as running.
    Keys: `address`, `dashboard_url`, `token_path`, `name`.
    """
    try:
        record = json.loads((home / RECORD).read_text())
    except FileNotFoundError:
        return None
    process, host = record.pop("process"), record.pop("host", socket.gethostname())
    if process and host == socket.gethostname() and not alive(process):
        return None
    return dict(record)
