"""Slurm itself, a private one of two nodes on this machine: what it takes, and a run through it."""

import json
import subprocess
import sys
import time
from pathlib import Path

import private_slurm
import psutil
import pytest

from cluster.declared import Slurm
from cluster.places import slurm as slurm_place
from cluster.session import running

ROOT = Path(__file__).parent.parent
DECLARED = Slurm(
    place="slurm", nodes=2, cpus=2, gpus=1, time="0:10:00", folder=str(ROOT), home="/tmp/home"
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    if reason := private_slurm.missing():
        pytest.skip(reason)
    with private_slurm.slurm(tmp_path_factory.mktemp("slurm")) as environment:
        yield environment


@pytest.mark.parametrize(
    ("change", "accepted"),
    [
        ({}, True),
        ({"nodes": 9}, False),
        ({"gpus": 3}, False),
        ({"cpus": 64}, False),
        ({"partition": "nowhere"}, False),
        ({"options": ("--no-such-option=1",)}, False),
    ],
)
def test_slurm_itself_takes_the_script_and_refuses_mutants(slurm, change, accepted, tmp_path):
    path = tmp_path / "up.sbatch"
    path.write_text(
        slurm_place.script(DECLARED.model_copy(update=change), "codeladder-x", tmp_path)
    )

    tried = subprocess.run(
        ["sbatch", "--test-only", str(path)], env=slurm, capture_output=True, text=True
    )

    assert (tried.returncode == 0) == accepted, tried.stderr


class Lab:
    """A cluster of one node, because both nodes of this Slurm have the ports of one host."""

    def __init__(self, folder, environment):
        self.home = folder / "home"
        self.environment = environment | {"CODELADDER_HOME": str(self.home)}
        self.file = folder / "lab.yaml"
        self.file.write_text(
            "place: slurm\nnodes: 1\ncpus: 2\ntime: 0:10:00\ninterface: lo\n"
            f"folder: {ROOT}\nhome: {self.home}\n"
        )

    def cluster(self, *words, timeout=120):
        return subprocess.run(
            [sys.executable, "-m", "cluster", *map(str, words)],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    def log(self):
        return "".join(file.read_text() for file in self.home.rglob("*.log"))


def wait_until(condition, lab, seconds=90):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, lab.log()
        time.sleep(0.5)


def raylets(lab):
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if any(word.endswith("raylet/raylet") for word in (process.info["cmdline"] or ())[:1])
        and process.environ().get("CODELADDER_HOME") == str(lab.home)
    ]


def test_an_allocation_that_stands_takes_experiments_until_it_is_cancelled(slurm, tmp_path):
    lab = Lab(tmp_path, slurm)
    lab.home.mkdir()
    dead = {"address": "gone:10000", "dashboard_url": "", "token_path": "", "process": 1}
    # A requeued allocation finds the record of its first head, of which nobody here can tell.
    (lab.home / "cluster.json").write_text(json.dumps(dead | {"host": "gone", "name": "lab"}))

    up = lab.cluster("up", lab.file)
    assert up.returncode == 0, up.stderr
    try:
        assert "is there already" in lab.cluster("up", lab.file).stdout
        wait_until(lambda: running(lab.home)["address"] != dead["address"], lab)
        assert lab.cluster("status", lab.file).returncode == 0
        words = ["submit", lab.file, "experiments/smoke.yaml", "--wait"]
        sent = lab.cluster(*words, timeout=400)
        assert sent.returncode == 0, sent.stdout + sent.stderr + lab.log()
        assert (lab.home / "ledger.db").exists()
    finally:
        down = lab.cluster("down", lab.file)
    assert down.returncode == 0, down.stderr
    wait_until(lambda: not raylets(lab), lab)
    wait_until(lambda: running(lab.home) is None, lab)


def test_an_experiment_brings_its_own_allocation_which_ends_with_it(slurm, tmp_path):
    lab = Lab(tmp_path, slurm)

    words = ["submit", lab.file, "experiments/smoke.yaml", "--wait", "--name", "alone"]
    sent = lab.cluster(*words, timeout=400)

    assert sent.returncode == 0, sent.stdout + sent.stderr + lab.log()
    assert (lab.home / "ledger.db").exists()
    assert raylets(lab) == []
    assert running(lab.home) is None
