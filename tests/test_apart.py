"""A cluster whose nodes share no folder: what is done reaches them, and comes back, by a store.

Nodes are machines of `namespaces`; the driver's folder of work is on a disk that only its own
machine has. The store is a server of S3's protocol on the head.
"""

import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from namespaces import NETWORK, ROOT, missing
from ray_nodes import Size, ray_nodes
from stores import KEYS

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(missing()), reason=missing())]

PORT = 5000
STEPS, EVERY = 24, 4
FILE = f"""
description: A training of two workers, answers and verdicts, on nodes without a shared folder
models:
  starter-falcon: {{path: models/starter/falcon, parallelism: {{strategy: ddp, workers: 2}}}}
datasets: [smoke]
methods:
  lora-r8: {{kind: lora, rank: 8, alpha: 16, learning_rate: 4.0e-3, steps: {STEPS}, batch_size: 8,
            max_length: 256, precision: fp32, checkpoint_every: {EVERY}}}
benchmarks:
  starter: {{problems: 4, completions: 2, temperature: 0.2, max_new_tokens: 32, report: [1]}}
baseline: false
"""
PATIENCE = 400.0
BUCKET = "import s3fs; s3fs.S3FileSystem().mkdir('apart')"


class Apart:
    """The cluster, and experiments whose driver has a disk of its own."""

    def __init__(self, nodes, tmp_path):
        self.nodes = nodes
        self.file = tmp_path / "apart.yaml"
        self.file.write_text(FILE)
        self.disk = tmp_path / "drivers-disk"
        self.disk.mkdir()
        nodes.head.run("mount", "-t", "tmpfs", "tmpfs", str(self.disk))
        self.seen = Path(f"/proc/{nodes.head.init.pid}/root") / self.disk.relative_to("/")

    def begin(self, name, store):
        environment = {
            "RAY_ADDRESS": self.nodes.address,
            "CODELADDER_HOME": str(self.disk / name),
            "CODELADDER_STORE": f"s3://apart/{store}",
            "CODELADDER_DATABASE_URL": f"sqlite:///{self.ledger(name)}",
            "PYTHONPATH": str(ROOT),
        }
        command = [sys.executable, "-m", "jobs", "run", str(self.file)]
        return self.nodes.head.spawn(command, self.disk.parent / f"{name}.out", environment)

    def ledger(self, name):
        return self.disk.parent / f"{name}.db"

    def end(self, name, driver):
        status = driver.wait(PATIENCE)
        assert status == 0, (self.disk.parent / f"{name}.out").read_text()[-5000:]

    def run_folder(self, name):
        (found,) = (path.parent for path in (self.seen / name).glob("*/log.txt"))
        return found

    def left(self, name):
        weights = {
            path.name: path.read_bytes()
            for path in (self.run_folder(name) / "checkpoint").glob("*.safetensors")
        }
        with sqlite3.connect(self.ledger(name)) as ledger:
            answers = ledger.execute(
                "select task_id, position, text, outcome from completions "
                "join verdicts on completion = id order by 1, 2"
            ).fetchall()
        return weights, answers


@pytest.fixture(scope="module")
def apart(tmp_path_factory):
    folder = Path("/tmp/apart")  # sockets' paths must stay short
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    given = KEYS | {
        "AWS_ENDPOINT_URL": f"http://{NETWORK}.1:{PORT}",
        "CODELADDER_HOME": str(folder / "nodes-disk"),
    }
    before = dict(os.environ)
    os.environ |= given
    try:
        with ray_nodes(folder / "net", {"head": Size(0), "w1": Size(2)}) as nodes:
            server = [sys.executable, "-m", "moto.server", "-H", nodes.head.address]
            nodes.head.spawn([*server, "-p", str(PORT)], folder / "store.log")
            _until_there(nodes)
            yield Apart(nodes, folder)
    finally:
        os.environ.clear()
        os.environ.update(before)
        shutil.rmtree(folder, ignore_errors=True)


def _until_there(nodes):
    deadline = time.monotonic() + 60
    while True:
        try:
            nodes.head.run(sys.executable, "-c", BUCKET)
            return
        except (AssertionError, subprocess.TimeoutExpired):
            assert time.monotonic() < deadline
            time.sleep(0.5)


@pytest.fixture(scope="module")
def undisturbed(apart):
    apart.end("first", apart.begin("first", "a"))
    return apart.left("first")


def test_a_node_that_sees_nothing_of_the_driver_trains_proves_and_answers(apart, undisturbed):
    weights, answers = undisturbed
    on_node = Path("/tmp/apart/nodes-disk")

    assert len(weights) == 1 and len(answers) == 8
    assert (apart.run_folder("first") / "proof.json").exists()
    run = apart.run_folder("first").name
    assert (on_node / run / "checkpoint").is_dir()
    assert not (on_node / "ledger.db").exists()


def test_a_node_that_is_lost_with_its_disk_costs_one_interval_of_steps(apart, undisturbed):
    node = apart.nodes.network.all["w1"]
    shutil.rmtree("/tmp/apart/nodes-disk")  # it has what the first driver had done
    driver = apart.begin("second", "b")
    log = _log(apart, "second", "step 11 of")
    node.lose_power()
    shutil.rmtree("/tmp/apart/nodes-disk")
    apart.nodes.come_back(node)
    apart.end("second", driver)

    assert apart.left("second") == undisturbed
    before, _, after = log.read_text().partition("all start again, from step ")
    told = [int(step) for step in re.findall(r" step (\d+) of", before)]
    assert max(told) - int(after.split()[0]) <= EVERY
    facts = json.loads((apart.run_folder("second") / "checkpoint" / "facts.json").read_text())
    assert facts["resumed"] == 1


def _log(apart, name, text):
    deadline = time.monotonic() + PATIENCE
    while True:
        for path in (apart.seen / name).glob("*/log.txt"):
            if text in path.read_text():
                return path
        assert time.monotonic() < deadline, (apart.disk.parent / f"{name}.out").read_text()[-3000:]
        time.sleep(0.1)
