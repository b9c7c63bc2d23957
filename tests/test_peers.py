"""Two workers of a training: what ends one of them ends both, within seconds, with the reason."""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import small_training
from safetensors.torch import load_file, save_file
from small_training import changed

from cluster.gang import COLLECTIVE_TIMEOUT_SECONDS
from jobs.training.files import fingerprint
from jobs.training.models import ModelError
from jobs.training.order import to_json
from jobs.training.settings import Spread

base, rows, order = small_training.base, small_training.rows, small_training.order

ROOT = Path(__file__).parent.parent
SECONDS = 300
"""In which both end, on a busy machine too; in a collective one would wait twice as long."""


def two(command, folder):
    """Run a command as two workers, as torchrun starts them: their statuses, and what they say."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    ranks = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", *command, str(folder / f"rank-{rank}.json")],
            cwd=ROOT,
            env=os.environ
            | shared
            | {"RANK": str(rank), "LOCAL_RANK": str(rank), "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in (0, 1)
    ]
    try:
        said = [rank.communicate(timeout=SECONDS)[0] for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
            rank.wait()
    return [rank.returncode for rank in ranks], said


@pytest.fixture
def orders(order, tmp_path):
    """Write both workers' orders, which differ in where the base is."""

    def write(*bases, strategy="zero3", **settings):
        spread = Spread(strategy=strategy, ranks=2)
        for rank, base in enumerate(bases):
            own = changed(replace(order, location=str(base), spread=spread), **settings)
            (tmp_path / f"rank-{rank}.json").write_text(to_json(own))
        return replace(order, spread=spread)

    return write


@pytest.fixture
def other(base, tmp_path):
    """A copy of the base, as another node has it."""
    return Path(shutil.copytree(base, tmp_path / "other"))


def cut(path):
    path.write_bytes(path.read_bytes()[:-100])


def narrow(path):
    """Lose a column of one matrix."""
    tensors = load_file(path)
    name = next(name for name, one in tensors.items() if one.ndim == 2)
    save_file(tensors | {name: tensors[name][:, :-1].contiguous()}, path)


DAMAGES = {
    "gone": (Path.unlink, "worker 1 on .* cannot be loaded: model.safetensors is not there"),
    "cut off": (cut, "worker 1 on .* model.safetensors is damaged"),
    "another": (narrow, "worker 1 on .* would load another model than the first worker on .*"),
}


@pytest.mark.slow
@pytest.mark.parametrize("damage, said", DAMAGES.values(), ids=DAMAGES)
def test_a_base_that_is_damaged_on_one_node_ends_both_workers(base, other, orders, damage, said):
    damage(other / "model.safetensors")
    order = orders(base, other)

    statuses, told = two(["-m", "jobs.training"], order.folder.parent)

    assert statuses == [2, 2]
    assert told[0] == told[1]
    assert re.search(said, told[0].replace("\n", " "))


def test_a_fingerprint_is_of_tensors_and_configuration(base, other):
    whole = fingerprint(str(base), None)

    assert fingerprint(str(other), None) == whole
    narrow(other / "model.safetensors")
    assert fingerprint(str(other), None) != whole
    cut(other / "model.safetensors")
    with pytest.raises(ModelError, match=r"other cannot be loaded: model\.safetensors is damaged"):
        fingerprint(str(other), None)


WITHOUT_MEMORY = """
import os, sys
from pathlib import Path
import torch
from jobs.training.__main__ import Printer
from jobs.training.order import TrainingError, from_json
from jobs.training.worker import train_worker

class Exhausted(Printer):
    def put(self, *messages):
        raise torch.OutOfMemoryError("CUDA out of memory.")

try:
    train_worker(from_json(Path(sys.argv[1]).read_text()), Exhausted())
except TrainingError as error:
    sys.exit(str(error))
"""


@pytest.mark.slow
def test_workers_that_are_started_again_after_one_had_no_memory_end_with_its_reason(base, orders):
    order = orders(base, base, strategy="ddp", checkpoint_every=1)
    command = ["-c", WITHOUT_MEMORY]

    first, _ = two(command, order.folder.parent)
    second, told = two(command, order.folder.parent)

    assert first[0] == 1
    assert second == [1, 1]
    assert told[0] == told[1]
    assert "worker 0 on" in told[0] and "ran out of memory" in told[0]
    assert "Traceback" not in told[0]


UNREADABLE = """
import errno, os, sys
from pathlib import Path
from transformers import AutoModelForCausalLM
from jobs.training.__main__ import Printer
from jobs.training.order import TrainingError, from_json
from jobs.training.worker import train_worker

def fail(*_, **__):
    raise OSError(errno.EIO, "Input/output error")

if os.environ["RANK"] == "1":
    AutoModelForCausalLM.from_pretrained = fail
try:
    train_worker(from_json(Path(sys.argv[1]).read_text()), Printer())
except TrainingError as error:
    sys.exit(str(error))
"""


@pytest.mark.slow
def test_a_disk_that_fails_one_worker_while_weights_are_spread_ends_both_at_once(base, orders):
    order = orders(base, base)
    command = ["-c", UNREADABLE]
    began = time.monotonic()

    first, _ = two(command, order.folder.parent)
    taken = time.monotonic() - began
    second, told = two(command, order.folder.parent)

    assert all(first)
    assert taken < COLLECTIVE_TIMEOUT_SECONDS / 4
    assert second == [1, 1]
    assert told[0] == told[1]
    assert "Input/output error" in told[0]
    assert "Traceback" not in told[0]


PATIENT = """
import os, sys, time
from datetime import timedelta
from torch import distributed
from jobs.training.peers import Peers

rank = int(os.environ["RANK"])
distributed.init_process_group("gloo")
distributed.distributed_c10d._set_pg_timeout(timedelta(seconds=2))  # once both are there
peers = Peers(rank, 2)
print(peers.together(lambda: time.sleep(5 * (rank == 0)) or "written"))
distributed.destroy_process_group()
"""


def test_one_worker_may_take_longer_than_a_collective_waits(tmp_path):
    began = time.monotonic()

    statuses, told = two(["-c", PATIENT], tmp_path)

    assert statuses == [0, 0]
    assert told == ["written\n", "written\n"]
    assert time.monotonic() - began > 5
