"""A cluster of our own: who may speak to it, how it ends, and gangs that lose a worker."""

import json
import os
import pickle
import signal
import socket
import stat
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import psutil
import pytest

from cluster.__main__ import main
from cluster.ending import UnwantedError
from cluster.gang import MEETINGS, RESTARTS, Gang, GangError, HopelessError, run_gang
from cluster.gpus import of_cluster, of_this_machine
from cluster.mailbox import Mailbox
from cluster.nodes import machines
from cluster.session import Cluster, ClusterError, connect
from cluster.sparing import SPARING


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def cluster(home):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parent))  # workers import what is below
        with connect(home) as cluster:
            yield cluster


def test_a_cluster_without_gpus_tells_its_processors_and_memory(cluster):
    if cluster.gpus:
        pytest.skip("there are GPUs here")
    found = of_cluster()

    assert (found.gpus, found.gpu_gib, found.cpus) == (0, None, cluster.cpus)
    assert found.host_gib == pytest.approx(of_this_machine().host_gib, rel=0.01)


@dataclass(frozen=True)
class Task:
    folder: Path
    mailbox: Mailbox | None = None
    start: int = 0


def meet(task):
    import ray.train
    import torch
    import torch.distributed

    ranks = torch.ones(1)
    torch.distributed.all_reduce(ranks)
    task.mailbox.put((ray.train.get_context().get_world_rank(), int(ranks)))


def die_once(task):
    note = task.folder / "note"
    if not note.exists():
        note.write_text("kept")
        time.sleep(1.5)
        os.kill(os.getpid(), signal.SIGKILL)
    (task.folder / "found").write_text(note.read_text())
    (task.folder / "start").write_text(str(task.start))


def how_far(folder):
    return len(list(folder.glob("part-*")))


def die_often(task):
    """More deaths than one call survives, if nothing were done between them."""
    with (task.folder / "deaths").open("a") as file:
        file.write("x")
    deaths = len((task.folder / "deaths").read_text())
    if deaths <= RESTARTS + 2:
        (task.folder / f"part-{deaths}").touch()
        time.sleep(1.5)
        os.kill(os.getpid(), signal.SIGKILL)


def always_die(task):
    with (task.folder / "deaths").open("a") as file:
        file.write("x")
    time.sleep(1.5)
    os.kill(os.getpid(), signal.SIGKILL)


def give_up(task):
    with (task.folder / "attempts").open("a") as file:
        file.write("x")
    raise HopelessError("the sum came out wrong")


def request(url, token=None):
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers)) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def test_the_dashboard_answers_only_who_has_the_token(cluster):
    url = f"{cluster.dashboard_url}/api/jobs/"

    assert request(url) == 401
    assert request(url, "0" * 64) == 403
    assert request(url, cluster.token_path.read_text()) == 200


def told(cluster, path):
    """What the dashboard's pages are made of."""
    headers = {"Authorization": f"Bearer {cluster.token_path.read_text()}"}
    asked = urllib.request.Request(f"{cluster.dashboard_url}{path}", headers=headers)
    with urllib.request.urlopen(asked) as answer:
        return json.load(answer)


def test_the_dashboard_shows_node_actors_and_jobs_though_ray_looks_less_often(cluster):
    mailbox = Mailbox.create()
    mailbox.drain()
    deadline = time.monotonic() + 90

    def node():
        return next(iter(told(cluster, "/nodes?view=summary")["data"]["summary"]), {})

    while "cpu" not in node():  # nor is the node there at once
        assert time.monotonic() < deadline, "the node page has no figures"
        time.sleep(0.5)
    listed = told(cluster, "/api/v0/actors")["data"]["result"]["result"]
    assert node()["raylet"]["state"] == "ALIVE"
    assert "_Box" in {actor["class_name"] for actor in listed}
    assert any(job["type"] == "DRIVER" for job in told(cluster, "/api/jobs/"))


RAYS_OWN = {
    "REPORTER_UPDATE_INTERVAL_MS": "ray.dashboard.modules.reporter.reporter_consts",
    "EVENT_AGENT_REPORT_INTERVAL_SECONDS": "ray.dashboard.modules.event.event_consts",
    "SCAN_EVENT_DIR_INTERVAL_SECONDS": "ray.dashboard.modules.event.event_consts",
    "METRICS_RECORD_INTERVAL_S": "ray.dashboard.consts",
    "RAY_LOG_MONITOR_MANY_FILES_THRESHOLD": "ray._private.log_monitor",
    "LOG_NAME_UPDATE_INTERVAL_S": "ray._private.log_monitor",
}
"""Where Ray keeps what it read of each variable, under the same name."""


def test_ray_reads_every_variable_that_spares_it():
    places = {name: RAYS_OWN[name] for name in SPARING}
    look = "import importlib as i, json, sys; print(json.dumps({name: getattr("
    look += "i.import_module(place), name) for name, place in json.loads(sys.argv[1]).items()}))"

    done = subprocess.run(
        [sys.executable, "-c", look, json.dumps(places)],
        env=os.environ | SPARING,
        capture_output=True,
        text=True,
        check=True,
    )

    assert json.loads(done.stdout) == {name: float(value) for name, value in SPARING.items()}


def test_only_the_owner_reads_the_token(cluster):
    assert stat.S_IMODE(cluster.token_path.stat().st_mode) == 0o600


def test_nothing_of_the_cluster_listens_to_the_network(cluster):
    mine = psutil.Process().children(recursive=True)
    addresses = {
        connection.laddr.ip.removeprefix("::ffff:")
        for process in mine
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }

    assert addresses == {"127.0.0.1"}


def test_socket_paths_leave_room_for_their_limit(cluster):
    import ray

    folder = Path(ray._private.worker._global_node.get_sockets_dir_path())

    assert max(len(str(path)) for path in folder.iterdir()) < 107


def test_messages_of_a_worker_arrive_in_order(cluster):
    import ray

    box = Mailbox.create()

    def send(box):
        for i in range(5):
            box.put(2 * i, 2 * i + 1)

    ray.get(ray.remote(num_cpus=0)(send).remote(box))
    deadline = time.monotonic() + 30
    found = []
    while len(found) < 10 and time.monotonic() < deadline:
        found += box.drain()

    assert found == list(range(10))
    assert box.drain() == []


def test_a_mailbox_that_is_frozen_keeps_nobody_waiting(cluster, monkeypatch):
    box = Mailbox.create()
    process = process_of(box)
    os.kill(process, signal.SIGSTOP)
    try:
        with monkeypatch.context() as impatient:
            impatient.setattr("cluster.mailbox.ANSWER_SECONDS", 0.5)
            assert box.drain() == []
    finally:
        os.kill(process, signal.SIGCONT)
    box.put("after")
    found, deadline = [], time.monotonic() + 30
    while not found and time.monotonic() < deadline:
        found = box.drain()

    assert found == ["after"]


def process_of(box):
    import ray

    return ray.get(box.actor.__ray_call__.remote(lambda _: os.getpid()))


def test_a_mailbox_whose_process_is_killed_takes_messages_again(cluster):
    box = Mailbox.create()
    process = process_of(box)
    box.put("before")
    assert box.drain() == ["before"]

    os.kill(process, signal.SIGKILL)
    found, deadline = [], time.monotonic() + 60
    while not found and time.monotonic() < deadline:
        box.put("after")
        time.sleep(0.2)
        found = box.drain()

    assert set(found) == {"after"}


def test_workers_of_a_gang_meet(cluster, tmp_path):
    box = Mailbox.create()

    run_gang(meet, Task(tmp_path, box), Gang(workers=2, gpus=False), storage=tmp_path, name="meet")

    assert sorted(box.drain()) == [(0, 2), (1, 2)]


def test_a_gang_starts_again_after_a_death(cluster, tmp_path):
    told = []
    alone = Gang(workers=1, gpus=False)
    starts = []

    def starting(task):
        starts.append(task.start)
        return replace(task, start=task.start + 1)

    run_gang(
        die_once,
        Task(tmp_path),
        alone,
        storage=tmp_path,
        name="die",
        starting=starting,
        lost=told.append,
    )

    assert starts == [0, 1]
    assert (tmp_path / "start").read_text() == "2"
    assert (tmp_path / "found").read_text() == "kept"
    assert told == [f"worker 0 on {socket.gethostname()} was killed"]


def work_for_long(task):
    (task.folder / f"process-{os.getpid()}").touch()
    time.sleep(600)


def test_a_gang_that_is_not_wanted_any_more_ends_and_what_it_took_is_free(cluster, tmp_path):
    def begun():
        return list(tmp_path.glob("process-*"))

    with pytest.raises(UnwantedError):
        run_gang(
            work_for_long,
            Task(tmp_path),
            Gang(workers=1, gpus=False),
            storage=tmp_path / "ray",
            name="unwanted",
            unwanted=lambda: bool(begun()),
        )

    (process,) = begun()
    assert not psutil.pid_exists(int(process.name.removeprefix("process-")))
    (machine,) = machines()
    assert (machine.alive, machine.cpus, machine.cpus_used) == (True, cluster.cpus, 0)
    assert 0 < machine.memory_used < machine.memory


@pytest.mark.slow
def test_deaths_count_only_where_nothing_was_done_between_them(cluster, tmp_path):
    alone, storage = Gang(workers=1, gpus=False), tmp_path / "ray"
    progress = partial(how_far, tmp_path)

    run_gang(die_often, Task(tmp_path), alone, storage=storage, name="often", progress=progress)
    assert len((tmp_path / "deaths").read_text()) == RESTARTS + 3

    (tmp_path / "deaths").unlink()
    with pytest.raises(GangError):
        run_gang(
            always_die, Task(tmp_path), alone, storage=storage, name="always", progress=progress
        )
    assert len((tmp_path / "deaths").read_text()) == RESTARTS + 1


def said_by(program, folder):
    """What a program that starts a cluster of its own prints."""
    return subprocess.run(
        [sys.executable, "-c", program, str(folder)],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parent.parent,
    ).stdout


APART = """
import sys
from pathlib import Path
from cluster import session
from cluster.gang import Gang, GangError, run_gang
there = session._local_settings
session._local_settings = lambda: there() | {"GLOO_SOCKET_IFNAME": "none"}
asked = []
with session.connect(Path(sys.argv[1])):
    try:
        run_gang(
            print, None, Gang(workers=2, gpus=False), storage=Path(sys.argv[1]), name="apart",
            progress=lambda: asked.append(1) or 0,
        )
    except GangError as error:
        print(error.met, len(asked))
    import ray, time
    deadline = time.monotonic() + 60
    while ray.available_resources().get("CPU") != ray.cluster_resources()["CPU"]:
        assert time.monotonic() < deadline, "what the gang took is not free"
        time.sleep(0.2)
    print("free")
"""


@pytest.mark.slow
def test_workers_that_do_not_meet_are_sent_again_and_not_forever(tmp_path):
    said = said_by(APART, tmp_path)

    # What they took is free again, which Ray itself forgets.
    assert said.split() == ["False", str(1 + MEETINGS), "free"]


def test_what_no_restart_mends_is_tried_once(cluster, tmp_path):
    with pytest.raises(HopelessError, match="came out wrong"):
        run_gang(
            give_up, Task(tmp_path), Gang(workers=1, gpus=False), storage=tmp_path, name="give-up"
        )

    assert (tmp_path / "attempts").read_text() == "x"


def test_errors_survive_a_process_border():
    error = GangError("run", "worker 0 failed: no memory", "Traceback ...")

    copy = pickle.loads(pickle.dumps(error))

    assert str(copy) == "run: worker 0 failed: no memory"
    assert copy.details == "Traceback ..."


def test_a_cluster_to_join_needs_its_token(tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "192.0.2.1:6379")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "none"))
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)

    with pytest.raises(ClusterError, match="RAY_AUTH_TOKEN_PATH"), connect(tmp_path):
        pass


BESIDE = """
import subprocess, sys
from pathlib import Path
from cluster.session import connect
with connect(Path(sys.argv[1])):
    beside = subprocess.Popen(["sleep", "600"])
print(beside.poll())
beside.kill()
beside.wait()
"""


def test_what_else_was_started_meanwhile_outlives_the_cluster(tmp_path):
    said = said_by(BESIDE, tmp_path)

    assert said == "None\n"


DRIVER = """
import sys, time
from pathlib import Path
from cluster.session import connect
with connect(Path(sys.argv[1])) as cluster:
    print(cluster.dashboard_url, flush=True)
    time.sleep(600)
"""


@pytest.mark.slow
@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGINT], ids=["kill", "ctrl-c"])
def test_no_process_outlives_its_driver(tmp_path, signal_number):
    with subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        cwd=Path(__file__).parent.parent,
    ) as driver:
        assert driver.stdout.readline().startswith(b"http://127.0.0.1:")
        family = psutil.Process(driver.pid).children(recursive=True)
        driver.send_signal(signal_number)
        driver.wait(60)

    # Two of Ray's agents look for the rest of it that long.
    _, alive = psutil.wait_procs(family, timeout=150)
    assert len(family) > 5
    assert [process for process in alive if process.status() != psutil.STATUS_ZOMBIE] == []


@pytest.mark.slow
def test_a_taken_port_moves_the_dashboard(tmp_path):
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            taken.bind(("127.0.0.1", 8265))
            taken.listen()
        except OSError:
            pass  # somebody else has taken it already
        command = DRIVER.replace("time.sleep(600)", "pass")
        done = subprocess.run(
            [sys.executable, "-c", command, str(tmp_path)],
            capture_output=True,
            text=True,
            check=True,
            cwd=Path(__file__).parent.parent,
        )

    assert done.stdout.startswith("http://127.0.0.1:")
    assert not done.stdout.startswith("http://127.0.0.1:8265")


def test_a_cluster_says_where_it_is(cluster: Cluster):
    assert cluster.address.startswith("127.0.0.1:")
    assert cluster.cpus >= 1


def test_status_tells_where_the_dashboard_is_and_its_token(cluster, home, monkeypatch, capsys):
    monkeypatch.setenv("CODELADDER_HOME", str(home))

    assert main(["status"]) == 0
    told = capsys.readouterr().out
    assert cluster.dashboard_url in told
    assert cluster.token_path.read_text() in told


def test_status_without_a_cluster_says_what_to_run(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CODELADDER_HOME", str(tmp_path))

    assert main(["status"]) == 1
    assert "make train-all" in capsys.readouterr().err
