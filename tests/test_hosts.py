"""Hosts over SSH: real sshd on machines of namespaces, brought up from a third and taken down."""

import os
import shutil
import subprocess
import sys
import sysconfig
import time
from dataclasses import dataclass
from pathlib import Path

import namespaces
import pytest

ROOT = Path(__file__).parent.parent
SSHD = shutil.which("sshd") or "/usr/sbin/sshd"
PROGRAM = f"/tmp/codeladder-{os.getuid()}/program"
"""Each machine has its own /tmp/codeladder-UID."""

pytestmark = pytest.mark.slow


@dataclass
class Lab:
    """A desk, and two hosts with SSH servers."""

    network: namespaces.Machines
    folder: Path

    def cluster(self, *words, timeout=180, **environment):
        desk = [*self.network.all["desk"].entering(), "env", f"--chdir={ROOT}"]
        return subprocess.run(
            [*desk, str(ROOT / ".venv/bin/python"), "-m", "cluster", *map(str, words)],
            env=self.network.environment
            | {"CODELADDER_HOME": str(self.folder / "desk-home"), "SECRET_WORD": "xyzzy"}
            | environment,
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    def declare(self, **more):
        said = {
            "place": "hosts",
            "head": self.network.all["one"].address,
            "workers": f"[{self.network.all['two'].address}]",
            "user": "root",
            "ssh_options": self.folder / "ssh_config",
            "folder": PROGRAM,
            "home": self.network.shared,
            "pass_on": "[SECRET_WORD]",
        } | more
        file = self.folder / "lab.yaml"
        file.write_text("".join(f"{key}: {value}\n" for key, value in said.items()))
        return file

    def serve_ssh(self, name, authorized):
        machine = self.network.all[name]
        conf = self.folder / f"sshd-{name}.conf"
        conf.write_text(
            f"HostKey {self.folder}/host_key\nAuthorizedKeysFile {authorized}\n"
            f"PidFile {self.folder}/sshd-{name}.pid\nPermitRootLogin yes\nStrictModes no\n"
            "UsePAM no\nPasswordAuthentication no\n"
        )
        return machine.spawn([SSHD, "-D", "-e", "-f", str(conf)], self.folder / f"sshd-{name}.log")


def installed(machine):
    """The program's environment, as `setup.sh` would leave it, without a download: an interpreter
    of its own, which finds the packages of this one."""
    venv, packages = Path(PROGRAM) / ".venv", sysconfig.get_path("purelib")
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    lines = [
        f"{sys.executable} -m venv --without-pip {venv}",
        f"echo {packages} > {venv}/lib/{version}/site-packages/packages.pth",
        f"sed '1s|.*|#!{venv}/bin/python|' {ROOT}/.venv/bin/ray > {venv}/bin/ray",
        f"chmod +x {venv}/bin/ray",
        f"touch -d tomorrow {venv}/.ready",
    ]
    machine.run("sh", "-ec", "\n".join(lines))


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    if reason := namespaces.missing():
        pytest.skip(reason)
    if not Path(SSHD).exists():
        pytest.skip("no SSH server is installed: openssh-server")
    folder = tmp_path_factory.mktemp("l")
    Path("/run/sshd").mkdir(exist_ok=True)
    for key in ("host_key", "key"):
        made = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / key)]
        subprocess.run(made, check=True)
    (folder / "ssh_config").write_text(
        f"IdentityFile {folder}/key\nIdentitiesOnly yes\nUserKnownHostsFile {folder}/known\n"
    )
    public = " ".join((folder / "host_key.pub").read_text().split()[:2])
    (folder / "known").write_text(f"10.77.0.* {public}\n")
    with namespaces.machines(folder / "n") as network:
        lab = Lab(network, folder)
        for name in ("desk", "one", "two"):
            network.add(name)
        for name in ("one", "two"):
            installed(network.all[name])
            lab.serve_ssh(name, folder / "key.pub")
        time.sleep(1)
        yield lab


def ray_processes(lab, name):
    return lab.network.all[name].processes("raylet/raylet")


@pytest.mark.parametrize("tls", ["false", "true"])
def test_hosts_come_up_run_an_experiment_and_go_down_again(lab, tls):
    file = lab.declare(tls=tls)

    up = lab.cluster("up", file)
    try:
        assert up.returncode == 0, up.stdout + up.stderr
        assert f"{lab.network.all['two'].address}  is up" in up.stdout
        assert len(ray_processes(lab, "one")) == len(ray_processes(lab, "two")) == 1
        assert lab.cluster("up", file).returncode == 0
        status = lab.cluster("status", file)
        assert status.returncode == 0, status.stdout
        assert status.stdout.count("alive") == 2
        name = f"smoke-{tls}"
        sent = lab.cluster(
            "submit", file, "experiments/smoke.yaml", "--wait", "--name", name, timeout=500
        )
        assert sent.returncode == 0, sent.stdout + sent.stderr
        lab.network.all["one"].run("test", "-s", f"{lab.network.shared}/ledger.db")
    finally:
        down = lab.cluster("down", file)
    assert down.returncode == 0, down.stderr
    assert ray_processes(lab, "one") == ray_processes(lab, "two") == []
    for name in ("one", "two"):
        left = lab.network.all[name].run("sh", "-c", f"ls -R {PROGRAM}/state; true")
        assert "token" not in left
        assert "variables.json" not in left
        assert "node.key" not in left
    assert lab.cluster("down", file).returncode == 0


def test_every_host_that_will_not_do_is_told_before_anything_is_changed(lab):
    two = lab.network.all["two"].address
    three = lab.network.add("three").address  # without an SSH server
    file = lab.declare(workers=f"[{two}, {three}, 10.77.0.99]", python="python3.99")

    up = lab.cluster("up", file)

    assert up.returncode == 2
    assert "Traceback" not in up.stderr
    assert f"{three}: no SSH server answers" in up.stderr
    assert "10.77.0.99: " in up.stderr
    assert "python3.99" in up.stderr
    assert ray_processes(lab, "one") == []


def test_a_key_that_is_refused_is_told(lab):
    other = lab.folder / "other"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(other)], check=True)
    options = lab.folder / "refused_config"
    options.write_text(
        (lab.folder / "ssh_config").read_text().replace(f"{lab.folder}/key\n", f"{other}\n")
    )

    up = lab.cluster("up", lab.declare(ssh_options=options))

    assert up.returncode == 2
    assert "refuses the key" in up.stderr


def test_a_host_whose_key_is_not_known_is_told(lab):
    options = lab.folder / "unknown_config"
    options.write_text(f"IdentityFile {lab.folder}/key\nUserKnownHostsFile {lab.folder}/nobody\n")

    up = lab.cluster("up", lab.declare(ssh_options=options))

    assert up.returncode == 2
    assert "host key is not known" in up.stderr


def test_a_port_that_another_program_has_is_told(lab):
    one = lab.network.all["one"]
    listen = "import socket, time; s = socket.create_server(('0.0.0.0', 10001)); time.sleep(600)"
    other = one.spawn(["python3", "-c", listen], lab.folder / "other.log")
    try:
        time.sleep(1)
        up = lab.cluster("up", lab.declare())
    finally:
        other.kill()

    assert up.returncode == 2
    assert f"{one.address}: port 10001 is taken" in up.stderr
