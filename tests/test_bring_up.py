"""A cluster of this machine brought up, mended, used and taken down; real Ray, real signals."""

import json
import os
import re
import signal
import socket
import socketserver
import stat
import subprocess
import sys
import threading
import time
import urllib.request
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import yaml

from cluster.__main__ import main
from cluster.keeping import ENDED
from cluster.node import living
from cluster.ports import Ports
from cluster.ray_start import Node, environment
from cluster.session import Cluster, ClusterError, connect, forget, note, private_folder, running

ROOT = Path(__file__).parent.parent
PORTS = 30000


def command(*words, home, **more):
    return subprocess.run(
        [sys.executable, "-m", "cluster", *map(str, words)],
        cwd=ROOT,
        env=os.environ | {"CODELADDER_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=more.pop("timeout", 200),
        **more,
    )


class Standing:
    """A cluster of this machine that is up."""

    def __init__(self, folder):
        self.home = folder / "home"
        self.file = folder / "here.yaml"
        self.file.write_text(f"place: this-machine\nports: {PORTS}\ncpus: 1\n")
        self.state = self.home / "cluster" / "here"

    def run(self, *words, **more):
        return command(*words, home=self.home, **more)

    def dashboard(self, path):
        """What the Ray dashboard answers to who knows the token."""
        token = (self.home / "cluster.token").read_text()
        asked = urllib.request.Request(
            f"http://127.0.0.1:{PORTS + 1}{path}", headers={"Authorization": f"Bearer {token}"}
        )
        with urllib.request.urlopen(asked, timeout=10) as answer:
            return json.load(answer)

    def family(self):
        return psutil.Process(living(self.state).process).children(recursive=True)


@pytest.fixture(scope="module")
def standing(tmp_path_factory):
    there = Standing(tmp_path_factory.mktemp("standing"))
    try:
        done = there.run("up", there.file)
        assert done.returncode == 0, done.stderr
        yield there
    finally:
        there.run("down", there.file)


def wait_until(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.2)


def test_up_again_changes_nothing(standing):
    before = living(standing.state)

    done = standing.run("up", standing.file)

    assert done.returncode == 0, done.stderr
    assert living(standing.state) == before


def test_up_with_other_settings_says_that_they_would_not_be_heeded(standing, tmp_path):
    file = tmp_path / "here.yaml"  # the same name: the same cluster
    file.write_text(standing.file.read_text() + "gpu_kind: H200\n")

    done = standing.run("up", file)

    assert done.returncode == 2
    assert "take it down first" in done.stderr
    assert "Traceback" not in done.stderr


def test_status_says_where_the_cluster_is_and_what_it_has(standing):
    of_the_file = standing.run("status", standing.file)
    of_whatever_is_up = standing.run("status")

    assert of_the_file.returncode == of_whatever_is_up.returncode == 0
    assert f"127.0.0.1:{PORTS}" in of_the_file.stdout
    assert "alive  1 processors" in of_the_file.stdout
    assert (standing.home / "cluster.token").read_text() in of_whatever_is_up.stdout


def test_it_listens_on_its_own_ports_of_the_loopback_interface_only(standing):
    listening = {
        (connection.laddr.ip.removeprefix("::ffff:"), connection.laddr.port)
        for process in standing.family()
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }

    assert {ip for ip, _ in listening} == {"127.0.0.1"}
    assert {port for _, port in listening if not PORTS <= port < PORTS + 1000} == set()


def test_no_command_line_shows_the_token(standing):
    token = (standing.home / "cluster.token").read_text()

    lines = [" ".join(process.cmdline()) for process in standing.family()]

    assert len(lines) > 5
    assert not [line for line in lines if token in line]


def test_nobody_else_looks_into_the_folder_of_ray(standing):
    folder = Path(f"/tmp/codeladder-{os.getuid()}")

    assert (folder / str(PORTS) / "session_latest").exists()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_folder_of_ray_that_somebody_else_prepared_is_refused(tmp_path, monkeypatch):
    nobody = 999_000_001
    monkeypatch.setattr(os, "getuid", lambda: nobody)
    theirs = Path(f"/tmp/codeladder-{nobody}")
    theirs.symlink_to(tmp_path)
    try:
        with pytest.raises(ClusterError, match="no folder of ours"):
            private_folder()
    finally:
        theirs.unlink()


def test_prometheus_and_grafana_find_what_ray_writes(standing):
    folder = ROOT / "cluster" / "monitoring"
    named = {
        path
        for file in folder.rglob("*.y*ml")
        for path in re.findall(r"/ray/([\w./]+)", file.read_text())
    }
    written = Path(f"/tmp/codeladder-{os.getuid()}/{PORTS}")
    services = yaml.safe_load((folder / "compose.yaml").read_text())["services"].values()
    mounts = [
        dict(reversed(mount.removesuffix(":ro").rsplit(":", 1)) for mount in service["volumes"])
        for service in services
    ]

    assert len(named) == 2
    wait_until(lambda: all((written / path).exists() for path in named))
    # A container follows links as it sees them: all of Ray's lead to the folder by its own path.
    assert {(written / path).resolve().is_relative_to(written) for path in named} == {True}
    for there in mounts:
        assert there["/ray"].startswith("${RAY_FOLDER:?")
        assert there["${RAY_FOLDER}"] == "${RAY_FOLDER}"
    (targets,) = json.loads((written / "prom_metrics_service_discovery.json").read_text())
    assert {int(target.rpartition(":")[2]) for target in targets["targets"]} <= set(
        range(PORTS, PORTS + 1000)
    )


def test_rays_figures_are_open_and_documented_as_such(standing):
    page = (ROOT / "docs" / "security.md").read_text()

    with urllib.request.urlopen(f"http://127.0.0.1:{Ports(PORTS).metrics}/metrics") as told:
        assert told.status == 200
    assert "**Ray's `/metrics`**" in page and "it answers without a token" in page


def test_a_raylet_that_dies_is_there_again(standing):
    before = living(standing.state).starts
    (raylet,) = [p for p in standing.family() if p.name() == "raylet"]

    raylet.send_signal(signal.SIGKILL)

    wait_until(lambda: (found := living(standing.state)).starts == before + 1 and found.up)
    assert "ray_version" in standing.dashboard("/api/version")


@pytest.mark.slow
def test_a_cluster_of_our_own_beside_it_leaves_its_record_alone(standing):
    before = running(standing.home)

    code = "import sys; from pathlib import Path; from cluster.session import connect, running\n"
    code += "with connect(Path(sys.argv[1])) as cluster: print(cluster.address)"
    own = subprocess.run(
        [sys.executable, "-c", code, str(standing.home)], capture_output=True, text=True, cwd=ROOT
    )

    assert own.returncode == 0, own.stderr
    assert own.stdout.strip() != before["address"]
    assert running(standing.home) == before


def test_an_experiment_with_mistakes_is_not_sent(standing):
    done = standing.run("submit", "experiments/startr.yaml")

    assert done.returncode == 2
    assert "Did you mean 'starter.yaml'?" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_submitted_experiment_runs_under_its_name_and_its_exit_status_comes_back(
    standing, monkeypatch
):
    monkeypatch.setenv("CODELADDER_BOARD_URL", "http://board.example")
    sent = standing.run(
        "submit", "experiments/smoke.yaml", "--name", "nightly", "--wait", timeout=500
    )

    assert sent.returncode == 0, sent.stdout + sent.stderr
    assert "sent nightly" in sent.stdout
    assert (standing.home / "ledger.db").exists()
    assert standing.dashboard("/api/jobs/nightly")["metadata"] == {
        "experiment": "smoke",
        "board": "http://board.example",
    }
    again = standing.run("submit", "experiments/smoke.yaml", "--name", "nightly")
    assert again.returncode == 2
    assert "nightly is over (SUCCEEDED)" in again.stderr


AT_WORK = """
import sys
from pathlib import Path
from cluster.session import running
from cluster.submitting import _speaking
found = running(Path(sys.argv[1]))
until = f"until [ -e {sys.argv[2]} ]; do sleep 0.2; done; exit 3"
with _speaking(found["dashboard_url"], Path(found["token_path"])) as client:
    client.submit_job(entrypoint=until, submission_id="twice")
"""


@pytest.mark.slow
def test_an_experiment_that_was_sent_before_under_a_name_is_not_sent_twice(standing, tmp_path):
    end = tmp_path / "end"
    before = [sys.executable, "-c", AT_WORK, str(standing.home), str(end)]
    subprocess.run(before, cwd=ROOT, check=True, timeout=100)
    words = ["submit", "experiments/smoke.yaml", "--name", "twice"]

    again = standing.run(*words)
    with subprocess.Popen(
        [sys.executable, "-u", "-m", "cluster", *words, "--wait"],
        cwd=ROOT,
        env=os.environ | {"CODELADDER_HOME": str(standing.home)},
        stdout=subprocess.PIPE,
        text=True,
    ) as waited:
        told = waited.stdout.readline()
        end.touch()
        waited.stdout.read()

    assert again.returncode == 0
    assert "twice is at work already: http" in again.stdout
    assert "twice is at work already: http" in told
    assert waited.returncode == 3


class Way(socketserver.BaseRequestHandler):
    """From a caller to the dashboard and back, while the server has not closed it."""

    def handle(self):
        with socket.create_connection(("127.0.0.1", PORTS + 1)) as there:
            back = threading.Thread(target=self.carry, args=(there, self.request))
            back.start()
            self.carry(self.request, there)
            back.join()

    def carry(self, from_, to):
        with suppress(OSError):
            while data := from_.recv(65536):
                if self.server.closed.is_set():
                    self.server.refused += 1
                    break
                to.sendall(data)
        for end in (from_, to):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@pytest.mark.slow
def test_waiting_for_an_experiment_outlives_a_dashboard_that_is_away_for_a_moment(standing):
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Way) as server:
        server.closed, server.refused = threading.Event(), 0
        threading.Thread(target=server.serve_forever).start()
        words = ["submit", "experiments/smoke.yaml", "--name", "hiccup", "--wait"]
        words += ["--at", f"127.0.0.1:{server.server_address[1] - 1}"]
        with subprocess.Popen(
            [sys.executable, "-u", "-m", "cluster", *words],
            cwd=ROOT,
            env=os.environ | {"CODELADDER_HOME": str(standing.home)},
            stdout=subprocess.PIPE,
            text=True,
        ) as sent:
            assert "sent hiccup" in sent.stdout.readline()
            server.closed.set()
            time.sleep(4)
            server.closed.clear()
            sent.stdout.read()
        server.shutdown()

    assert server.refused > 0
    assert sent.returncode == 0


@pytest.mark.slow
def test_down_leaves_no_process_and_is_safe_to_repeat(tmp_path):
    there = Standing(tmp_path)
    there.file.write_text("place: this-machine\nports: 29000\ncpus: 1\n")
    assert there.run("up", there.file).returncode == 0
    family = there.family()

    first, second = there.run("down", there.file), there.run("down", there.file)

    assert len(family) > 5
    assert not [process for process in family if process.is_running()]
    assert first.returncode == second.returncode == 0
    assert running(there.home) is None


@pytest.mark.slow
def test_a_supervisor_that_is_killed_takes_ray_with_it(tmp_path):
    there = Standing(tmp_path)
    there.file.write_text("place: this-machine\nports: 28000\ncpus: 1\n")
    assert there.run("up", there.file).returncode == 0
    family = there.family()

    os.kill(living(there.state).process, signal.SIGKILL)

    # Two of Ray's agents look for the rest of it that long.
    _, alive = psutil.wait_procs(family, timeout=150)
    assert alive == []


def asked(there, port, route, sent=None):
    """What the dashboard answers, or None while it does not."""
    token = (there.home / "cluster.token").read_text()
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{route}",
        data=json.dumps(sent).encode() if sent else None,
        headers={"Authorization": f"Bearer {token}"},
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)
    except OSError:
        return None


@pytest.mark.slow
def test_what_a_cluster_knows_survives_its_head_where_it_is_kept_on_a_disk(tmp_path):
    there = Standing(tmp_path)
    kept = tmp_path / "kept"
    there.file.write_text(f"place: this-machine\nports: 26000\ncpus: 1\ncontrol_store: {kept}\n")
    assert there.run("up", there.file).returncode == 0
    try:
        job = {"entrypoint": "true", "submission_id": "before"}
        wait_until(lambda: asked(there, 26001, "/api/jobs/", job) is not None)
        wait_until(
            lambda: (asked(there, 26001, "/api/jobs/before") or {}).get("status") == "SUCCEEDED"
        )
        (store,) = [process for process in there.family() if process.name() == "gcs_server"]

        store.kill()

        wait_until(lambda: (now := living(there.state)).starts == 2 and now.up, seconds=120)
        wait_until(lambda: asked(there, 26001, "/api/jobs/before") is not None)
        assert asked(there, 26001, "/api/jobs/before")["status"] == "SUCCEEDED"
    finally:
        there.run("down", there.file)


def test_a_taken_port_is_told_and_nothing_is_started(tmp_path):
    there = Standing(tmp_path)
    there.file.write_text("place: this-machine\nports: 27000\ncpus: 1\n")
    with socket.create_server(("0.0.0.0", 27000)):
        done = there.run("up", there.file)

    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "port 27000" in done.stderr
    assert living(there.state) is None


def test_a_node_says_all_that_is_wrong_with_its_options(tmp_path, capsys):
    token = tmp_path / "token"
    token.write_text("x")
    token.chmod(0o644)

    words = ["--state", str(tmp_path), "--ip", "192.0.2.7", "--token", str(token), "--ports", "80"]
    assert main(["node", *words]) == 2

    said = capsys.readouterr().err
    assert "--head, or --join" in said
    assert "no interface of this host has the address 192.0.2.7" in said
    assert f"chmod 600 {token}" in said
    assert "--ports: 80" in said


def test_bash_on_a_node_that_was_started_over_ssh_reads_no_bashrc(tmp_path, monkeypatch):
    (tmp_path / ".bashrc").write_text("echo read\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SSH_CLIENT", "192.0.2.1 50000 22")
    monkeypatch.delenv("SHLVL", raising=False)

    def said(variables):
        words = ["bash", "-c", "true"]
        return subprocess.run(words, env=variables, capture_output=True, text=True).stdout

    if said(dict(os.environ)) != "read\n":
        pytest.skip("this bash never reads it")
    node = Node(ip="127.0.0.1", token=tmp_path / "token", state=tmp_path)
    assert said(environment(node)) == ""


def kept(code, *, restarts=5, **more):
    words = ["keep", "--restarts", str(restarts), "--", sys.executable, "-c", code]
    return command(*words, home="/nowhere", **more)


def test_a_driver_that_crashed_outlives_a_database_that_is_away_for_its_next_start(tmp_path):
    note = tmp_path / "attempts"
    code = (
        "import os\n"
        f"open({str(note)!r}, 'a').write(os.environ['CODELADDER_ATTEMPT'])\n"
        "raise SystemExit({'1': 70, '2': 2}.get(os.environ['CODELADDER_ATTEMPT'], 0))"
    )

    done = kept(code)

    assert (done.returncode, note.read_text()) == (0, "123")


@pytest.mark.parametrize("status", sorted(ENDED))
def test_a_driver_that_ended_by_itself_is_not_started_again(status, tmp_path):
    note = tmp_path / "starts"

    code = f"open({str(note)!r}, 'a').write('x'); ended_by_itself(); raise SystemExit({status})"
    done = kept(f"from cluster.keeping import ended_by_itself; {code}")

    assert (done.returncode, note.read_text()) == (status, "x")


def test_a_driver_that_ray_ended_in_its_own_code_is_started_again(tmp_path):
    note = tmp_path / "starts"
    last = "if os.environ['CODELADDER_ATTEMPT'] == '1': os._exit(1)"

    done = kept(f"import os\nwith open({str(note)!r}, 'a') as file: file.write('x')\n{last}")

    assert (done.returncode, note.read_text()) == (0, "xx")


def test_a_status_can_count_as_done_where_all_others_are_tried_again():
    words = ["keep", "--as-done", "3", "--", sys.executable, "-c", "raise SystemExit(3)"]

    assert command(*words, home="/nowhere").returncode == 0


def test_a_driver_that_was_killed_is_started_again_and_knows_it(tmp_path):
    note = tmp_path / "attempts"
    code = (
        "import os, signal\n"
        f"open({str(note)!r}, 'a').write(os.environ['CODELADDER_ATTEMPT'])\n"
        "if os.environ['CODELADDER_ATTEMPT'] == '1': os.kill(os.getpid(), signal.SIGKILL)\n"
        "raise SystemExit(3)"
    )

    done = kept(code)

    assert (done.returncode, note.read_text()) == (3, "12")
    assert "ended with status 137" in done.stderr


def test_a_driver_that_keeps_crashing_is_given_up(tmp_path):
    note = tmp_path / "starts"

    done = kept(f"open({str(note)!r}, 'a').write('x'); raise SystemExit(9)", restarts=1)

    assert (done.returncode, note.read_text()) == (9, "xx")
    assert "gave up after 1 restarts" in done.stderr


def test_a_keeper_that_is_told_to_end_ends_its_driver(tmp_path):
    note = tmp_path / "process"
    code = f"import os, time; open({str(note)!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    keeper = subprocess.Popen(
        [sys.executable, "-m", "cluster", "keep", "--", sys.executable, "-c", code], cwd=ROOT
    )
    wait_until(lambda: note.exists() and note.read_text())

    keeper.terminate()

    assert keeper.wait(20) == 128 + signal.SIGTERM
    assert not psutil.pid_exists(int(note.read_text()))


def test_ray_client_is_refused_by_name(tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "ray://head:10001")

    with pytest.raises(ClusterError, match="Ray Client"), connect(tmp_path):
        pass


def test_a_head_that_ends_leaves_the_record_of_the_one_after_it(tmp_path):
    first, second = (
        Cluster(address=f"{host}:10000", dashboard_url="", token_path=None, cpus=0, gpus=0)
        for host in ("n1", "n2")
    )
    assert note(tmp_path, first, name="lab", replace=True)
    assert note(tmp_path, second, name="lab", replace=True)
    assert not note(tmp_path, first)

    forget(tmp_path, address=first.address)

    assert running(tmp_path)["address"] == second.address
    forget(tmp_path, name="lab")
    assert running(tmp_path) is None


def test_of_two_drivers_on_one_cluster_the_last_is_recorded_and_the_first_leaves_it(tmp_path):
    cluster = Cluster(address="h:10000", dashboard_url="", token_path=None, cpus=0, gpus=0)
    with subprocess.Popen(["sleep", "600"]) as second:
        assert note(tmp_path, cluster)
        assert note(tmp_path, cluster, second.pid)
        forget(tmp_path, process=os.getpid())
        assert running(tmp_path)["address"] == "h:10000"
        second.kill()

    assert running(tmp_path) is None


def test_a_driver_leaves_the_record_of_a_cluster_that_was_brought_up_meanwhile(tmp_path):
    mine, stands = (
        Cluster(address=f"{host}:10000", dashboard_url="", token_path=None, cpus=0, gpus=0)
        for host in ("n1", "n2")
    )
    assert note(tmp_path, mine)
    assert note(tmp_path, stands, 0, name="lab", replace=True)
    assert not note(tmp_path, stands)
    forget(tmp_path, process=os.getpid())

    assert running(tmp_path)["name"] == "lab"


def test_a_record_of_a_dead_process_means_no_cluster(tmp_path):
    gone = subprocess.Popen(["true"])
    gone.wait()
    record = {"address": "x", "dashboard_url": "", "token_path": "", "process": gone.pid}
    (tmp_path / "cluster.json").write_text(json.dumps(record))

    assert running(tmp_path) is None
