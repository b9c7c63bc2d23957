"""Checkpoints: whole or not there, whoever dies; what is torn or foreign is never believed."""

import json
import logging
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from jobs.training.checkpoints import Checkpoints, newest
from jobs.training.order import TrainingError
from jobs.training.peers import Peers
from jobs.training.settings import Spread
from jobs.training.steps import Step
from jobs.training.whole import publish

ROOT = Path(__file__).parent.parent
SINGLE = Spread(strategy="single", ranks=1)


@pytest.fixture
def checkpoints(tmp_path):
    found = Checkpoints(
        folder=tmp_path / "attempts", identity={"seed": 0}, spread=SINGLE, peers=Peers()
    )
    found.open()
    return found


def steps(count):
    return [
        Step(step=i + 1, loss=1 / 3 + i, learning_rate=0.1, gradient_norm=1, tokens=5, seconds=1)
        for i in range(count)
    ]


def tensors(step):
    return {"a": torch.full((3, 2), step / 7), "b.step": torch.tensor(float(step))}


def save(checkpoints, step, best=None):
    checkpoints.save(steps(step), tensors(step), tensors(step + 0.5), best)


def same(found, expected):
    return found.keys() == expected.keys() and all(found[n].equal(expected[n]) for n in found)


def is_of(found, step):
    return (
        list(found.steps) == steps(step)
        and same(found.weights, tensors(step))
        and same(found.optimizer, tensors(step + 0.5))
    )


def names(checkpoints):
    return sorted(path.name for path in checkpoints.folder.iterdir() if path.is_dir())


def test_what_was_saved_is_found_to_the_bit(checkpoints):
    assert checkpoints.latest() is None

    save(checkpoints, 5)

    assert is_of(checkpoints.latest(), 5)
    assert newest(checkpoints.folder) == 5


def test_the_two_newest_are_kept(checkpoints):
    for step in (4, 8, 12):
        save(checkpoints, step)

    assert names(checkpoints) == ["step-00000008", "step-00000012"]


def test_the_best_is_kept_as_long_as_a_kept_one_names_it(checkpoints):
    save(checkpoints, 4, best=4)
    save(checkpoints, 8, best=4)
    save(checkpoints, 12, best=4)
    assert names(checkpoints) == ["step-00000004", "step-00000008", "step-00000012"]
    assert same(checkpoints.weights(4), tensors(4))

    save(checkpoints, 16, best=16)
    assert names(checkpoints) == ["step-00000004", "step-00000012", "step-00000016"]

    save(checkpoints, 20, best=16)
    assert names(checkpoints) == ["step-00000016", "step-00000020"]


@pytest.mark.parametrize(
    "file", ["weights.safetensors", "rank-0.safetensors", "steps.jsonl", "manifest.json"]
)
@pytest.mark.parametrize("how", ["cut", "changed", "gone"])
def test_a_torn_one_is_swept_and_the_one_before_is_used(checkpoints, file, how):
    save(checkpoints, 4)
    save(checkpoints, 8)
    path = checkpoints.folder / "step-00000008" / file
    content = path.read_bytes()
    if how == "gone":
        path.unlink()
    else:
        half = len(content) // 2
        path.write_bytes(content[:half] + (b"" if how == "cut" else b"\0" + content[half + 1 :]))

    assert is_of(checkpoints.latest(), 4)
    assert names(checkpoints)[0] == "step-00000004"
    assert newest(checkpoints.folder) == 4


def test_damaged_best_weights_are_not_passed_off_as_the_best(checkpoints):
    save(checkpoints, 4, best=4)
    (checkpoints.folder / "step-00000004" / "weights.safetensors").write_bytes(b"no")

    with pytest.raises(TrainingError, match="whose weights were the best, is damaged"):
        checkpoints.weights(4)


def test_one_of_another_training_is_swept(checkpoints):
    save(checkpoints, 4)

    assert replace(checkpoints, identity={"seed": 1}).latest() is None
    assert names(checkpoints) == [] or "draft" in names(checkpoints)[0]


def test_what_was_begun_only_is_swept_at_a_start(checkpoints):
    save(checkpoints, 4)
    draft = checkpoints.folder / "step-00000008.draft-12345678"
    draft.mkdir()
    (draft / "weights.safetensors").write_bytes(b"half of it")

    checkpoints.open()

    assert names(checkpoints) == ["step-00000004"]
    assert is_of(checkpoints.latest(), 4)


@pytest.mark.parametrize("now", [Spread(strategy="ddp", ranks=8), SINGLE])
@pytest.mark.parametrize("before", [Spread(strategy="ddp", ranks=2), SINGLE])
def test_a_whole_optimizer_fits_any_number_of_workers(checkpoints, before, now):
    save(replace(checkpoints, spread=before), 4)

    assert is_of(replace(checkpoints, spread=now).latest(), 4)


ZERO2 = Spread(strategy="zero2", ranks=1)


@pytest.mark.parametrize(
    "before, now, said",
    [
        (ZERO2, replace(ZERO2, ranks=4), "in parts for 1 workers under zero2, and this is 4"),
        (ZERO2, replace(ZERO2, strategy="zero3"), "and this is 1 under zero3"),
        (ZERO2, SINGLE, "and this is 1 under single"),
        (SINGLE, ZERO2, "for 1 workers under single"),
    ],
)
def test_parts_of_an_optimizer_for_others_are_passed_over_and_left(
    checkpoints, caplog, before, now, said
):
    earlier = replace(checkpoints, spread=before)
    save(earlier, 8)

    with caplog.at_level(logging.WARNING):
        later = replace(checkpoints, spread=now)
        assert later.latest() is None
    assert said in caplog.text
    save(later, 4)

    assert is_of(earlier.latest(), 8)
    assert is_of(later.latest(), 4)


def test_the_same_step_can_be_saved_again(checkpoints):
    save(checkpoints, 4)
    checkpoints.save(steps(4), tensors(9), tensors(9), None)

    assert same(checkpoints.latest().weights, tensors(9))


def test_the_one_that_was_there_stays_where_the_new_one_was_swept_meanwhile(checkpoints):
    save(checkpoints, 4)
    there = checkpoints.folder / "step-00000004"

    with pytest.raises(FileNotFoundError):
        publish(there, there.with_name("step-00000004.draft-swept"))

    assert is_of(checkpoints.latest(), 4)
    assert names(checkpoints) == ["step-00000004"]


FULL = """
import resource, signal, sys, torch
from test_checkpoints import *
folder = Path(sys.argv[1])
checkpoints = Checkpoints(folder=folder, identity={"seed": 0}, spread=SINGLE, peers=Peers())
checkpoints.open()
save(checkpoints, 4)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    checkpoints.save(steps(8), {"a": torch.zeros(100_000)}, {}, None)
except TrainingError as error:
    print(error)
assert is_of(checkpoints.latest(), 4)
"""


def run(code, *arguments, **variables):
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"} | variables,
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def test_a_disk_without_room_is_said_and_leaves_what_was_there(tmp_path):
    said = run(FULL, tmp_path / "attempts")

    assert "a checkpoint could not be written to" in said and "File too large" in said
    assert "earlier checkpoints are whole" in said
    left = sorted(path.name for path in (tmp_path / "attempts").iterdir())
    assert left == ["resumed", "step-00000004"]


KILLED = """
import os, random, signal, sys, time
from test_checkpoints import *
torch.set_num_threads(1)
folder = Path(sys.argv[1])
big = torch.arange(300_000.0)
checkpoints = Checkpoints(folder=folder, identity={"seed": 0}, spread=SINGLE, peers=Peers())
at, halves = 0, 0
for kill in range(20):
    child = os.fork()
    if child == 0:
        checkpoints.open()
        while True:
            at += 1
            checkpoints.save(steps(at), {"big": big + at}, {"big": big - at}, None)
    while newest(folder) <= at:
        time.sleep(0.001)
    one, began = newest(folder), time.monotonic()
    while newest(folder) <= one:
        time.sleep(0.001)
    time.sleep(random.Random(kill).uniform(0.0, time.monotonic() - began))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    halves += any(folder.glob("*.draft-*"))
    whole = newest(folder)
    found = checkpoints.latest()
    at = len(found.steps)
    assert at == whole, "one that was there was not whole"
    assert found.weights["big"].equal(big + at) and found.optimizer["big"].equal(big - at)
print(at, halves)
"""


def test_a_kill_at_any_moment_leaves_the_last_checkpoint_whole(tmp_path):
    saved, halves = map(int, run(KILLED, tmp_path / "attempts").split())

    assert saved >= 20
    assert halves >= 3  # so some died while they wrote


PAIR = """
import json, resource, signal, sys
from datetime import timedelta
from test_checkpoints import *
from torch import distributed
rank, case, root = int(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
store = distributed.FileStore(str(root / "store"), 2)
distributed.init_process_group("gloo", store=store, rank=rank, world_size=2)
folder = root / ("attempts" if case == "shared" or rank == 0 else "elsewhere")
checkpoints = Checkpoints(
    folder=folder,
    identity={"seed": 0},
    spread=Spread(strategy="zero2", ranks=2),
    peers=Peers(rank, 2),
)
said = []
try:
    checkpoints.open()
    checkpoints.save(steps(4), tensors(4) if rank == 0 else {}, tensors(10 + rank), None)
    checkpoints.save(steps(8), tensors(8) if rank == 0 else {}, tensors(20 + rank), None)
    if rank == 1:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    part = {"a": torch.zeros(100_000)}
    checkpoints.save(steps(12), tensors(12) if rank == 0 else {}, part, None)
except TrainingError as error:
    said.append(str(error))
if case == "shared":
    if rank == 0:
        (folder / "step-00000008" / "rank-1.safetensors").write_bytes(b"torn")
    checkpoints.peers.told(None)
    found = checkpoints.latest()
    assert same(found.weights, tensors(4)) and same(found.optimizer, tensors(10 + rank))
    said.append(len(found.steps))
Path(root / f"said-{rank}.json").write_text(json.dumps(said))
distributed.destroy_process_group()
"""


def two(case, root):
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    ranks = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", PAIR, str(rank), case, str(root)],
            env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        )
        for rank in (0, 1)
    ]
    assert [rank.wait(120) for rank in ranks] == [0, 0]
    return [json.loads((root / f"said-{rank}.json").read_text()) for rank in (0, 1)]


@pytest.mark.slow
def test_workers_save_their_parts_and_fail_and_fall_back_together(tmp_path):
    first, second = two("shared", tmp_path)

    assert first == second
    assert "could not be written" in first[0] and "File too large" in first[0]
    assert first[1] == 4  # a part of the later one was torn


@pytest.mark.slow
def test_a_folder_that_is_not_shared_is_found_out_before_the_first_step(tmp_path):
    first, second = two("apart", tmp_path)

    assert first == second
    assert "worker 1 on" in first[0] and "does not see" in first[0]
    assert "a disk that all nodes share" in first[0]
