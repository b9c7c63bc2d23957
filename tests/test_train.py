"""Training on a real cluster: what was asked for runs, and a death changes no bit of the result."""

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
import pytest
import small_training
from small_training import (
    FULL,
    LORA,
    changed,
    losses,
    same_bits,
    steps_of,
    weights_of,
)

from cluster.mailbox import Mailbox
from cluster.session import connect
from jobs.train import train
from jobs.training.checkpoints import newest
from jobs.training.order import TrainingError, from_json, to_json
from jobs.training.settings import Spread
from jobs.training.steps import Facts, Progress
from jobs.training.watch import DivergedError
from jobs.training.worker import train_worker

base, rows, order = small_training.base, small_training.rows, small_training.order
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated")

SPREADS = {
    "single": Spread(strategy="single", ranks=1),
    "ddp": Spread(strategy="ddp", ranks=2),
    "zero1": Spread(strategy="zero1", ranks=2),
    "zero2": Spread(strategy="zero2", ranks=2),
    "zero3": Spread(strategy="zero3", ranks=2),
}
METHODS = {"lora": LORA, "full": FULL}
ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def mailbox(tmp_path_factory):
    with connect(tmp_path_factory.mktemp("home")):
        yield Mailbox.create()


def alone(order):
    """The same training in this process, which test_alone.py holds against plain torch."""

    class Deaf:
        def put(self, *messages):
            pass

    order = replace(order, spread=SPREADS["single"], folder=order.folder.parent / "alone")
    train_worker(order, Deaf())
    return order


def heard(mailbox, count):
    """That many messages, or those that come within 30 s."""
    deadline = time.monotonic() + 30
    messages: list[Progress] = []
    while len(messages) < count and time.monotonic() < deadline:
        messages += mailbox.drain()
    return messages


def test_two_workers_follow_one_and_tell_of_it(order, mailbox):
    spread = replace(order, spread=SPREADS["ddp"])
    mailbox.drain()

    facts = train(spread, mailbox, gpus=False)

    assert losses(spread) == pytest.approx(losses(alone(order)), abs=1e-5)
    assert (facts.engine, facts.zero_stage, facts.ranks) == ("DistributedDataParallel", None, 2)
    assert facts.tokens == sum(step["tokens"] for step in steps_of(spread))
    assert 0 < facts.memory_gib < 16
    assert [(m.run_id, m.of, m.step.step, m.step.loss) for m in heard(mailbox, 6)] == [
        ("run", 6, i + 1, loss) for i, loss in enumerate(losses(spread))
    ]
    assert from_json((spread.folder / "order.json").read_text()) == spread
    assert not spread.attempts.exists()


def test_what_is_done_is_not_done_again(order, mailbox):
    order.checkpoint.mkdir(parents=True)
    given = dict.fromkeys(Facts.__dataclass_fields__) | {"engine": "E"}
    (order.checkpoint / "facts.json").write_text(json.dumps(given))

    assert train(order, mailbox, gpus=False).engine == "E"


def test_what_went_wrong_in_a_worker_is_raised_here(order, mailbox):
    wild = changed(order, learning_rate=1e30, warmup=0.0)
    mailbox.drain()

    with pytest.raises(DivergedError, match=r"run run: at step [23] .*Rows .*s rows.jsonl:") as at:
        train(wild, mailbox, gpus=False)

    told = [message.step.step for message in heard(mailbox, at.value.trouble.step - 1)]
    assert told == list(range(1, at.value.trouble.step))


@dataclass
class Exhausted:
    """Who is told, and takes the worker's memory, in torch's words; each time leaves a mark."""

    marks: Path

    def put(self, *messages):
        import torch

        with self.marks.open("a") as file:
            file.write("x")
        raise torch.OutOfMemoryError("CUDA out of memory.")


@pytest.fixture
def by_value(mailbox):
    """Workers know nothing of this module."""
    from ray import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    yield
    cloudpickle.unregister_pickle_by_value(sys.modules[__name__])


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["single", "ddp"])
def test_a_worker_without_memory_is_not_tried_again(order, by_value, tmp_path, strategy):
    order = changed(replace(order, spread=SPREADS[strategy]), checkpoint_every=1)

    with pytest.raises(TrainingError, match=r"ran out of memory.*micro_batch_tokens"):
        train(order, Exhausted(tmp_path / "marks"), gpus=False)

    assert (tmp_path / "marks").read_text() == "x"


@pytest.mark.slow
@pytest.mark.parametrize("method", ["lora", "full"])
@pytest.mark.parametrize("strategy", ["zero1", "zero2", "zero3"])
def test_zero_is_in_effect_and_follows_one_worker(order, mailbox, strategy, method):
    order = changed(
        replace(order, settings=METHODS[method].settings(), spread=SPREADS[strategy]),
        micro_batch_tokens=256,
    )

    facts = train(order, mailbox, gpus=False)

    assert (facts.engine, facts.zero_stage) == ("DeepSpeedEngine", int(strategy[-1]))
    assert facts.weights == METHODS[method].settings().weights
    one = alone(order)
    assert losses(order) == pytest.approx(losses(one), abs=1e-5)
    mine, other = weights_of(order), weights_of(one)
    # The weights of a whole model are rounded to bfloat16, which may fall either way.
    tolerance = 1e-4 if method == "lora" else 2e-2
    assert all(
        mine[name].float().allclose(other[name].float(), atol=tolerance, rtol=tolerance)
        for name in mine
    )


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["single", "ddp"])
def test_torchrun_repeats_an_order_of_ray(order, mailbox, tmp_path, strategy):
    order = replace(order, spread=SPREADS[strategy])
    train(order, mailbox, gpus=False)
    order_file, again = order.folder / "order.json", tmp_path / "again"
    ranks = str(order.spread.ranks)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
    command += [ranks, "-m", "jobs.training", str(order_file), "--folder", str(again)]

    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)

    repeated = replace(order, folder=again)
    assert losses(repeated) == losses(order)
    assert same_bits(repeated, order)


def long(order, method="lora"):
    """Enough steps to be killed in, with dropout, so that random numbers matter."""
    settings = METHODS[method].settings()
    if settings.adapter:
        settings = replace(settings, adapter=replace(settings.adapter, dropout=0.1))
    return changed(replace(order, settings=settings), steps=40, checkpoint_every=8)


def wait_for_checkpoint(order, seconds=300):
    deadline = time.monotonic() + seconds
    while not newest(order.attempts):
        assert time.monotonic() < deadline, "no checkpoint appeared"
        time.sleep(0.005)


def kill_a_worker(order):
    """SIGKILL the last worker once the first checkpoint is there."""
    wait_for_checkpoint(order)
    workers = [
        process
        for process in psutil.Process().children(recursive=True)
        if "RayTrainWorker" in process.name() or "RayTrainWorker" in process.cmdline()[0]
    ]
    workers[-1].kill()
    assert not order.checkpoint.exists()


@pytest.mark.slow
@pytest.mark.parametrize("method", ["lora", "full"])
@pytest.mark.parametrize("strategy", ["single", "ddp", "zero1", "zero2", "zero3"])
def test_a_killed_worker_changes_no_bit(order, mailbox, strategy, method):
    order = replace(long(order, method), spread=SPREADS[strategy])
    undisturbed = replace(order, folder=order.folder / "undisturbed")
    train(undisturbed, mailbox, gpus=False)

    with ThreadPoolExecutor() as pool:
        training = pool.submit(train, order, mailbox, gpus=False)
        kill_a_worker(order)
        facts = training.result()

    assert facts.resumed == 1
    assert losses(order) == losses(undisturbed)
    assert same_bits(order, undisturbed)
    assert not order.attempts.exists()


DRIVER = """
import sys
from pathlib import Path
from cluster.mailbox import Mailbox
from cluster.session import connect
from jobs.train import train
from jobs.training.order import from_json
order = from_json(Path(sys.argv[1]).read_text())
with connect(Path(sys.argv[2])):
    train(order, Mailbox.create(), gpus=False)
"""


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["single", "zero2"])
def test_a_killed_driver_changes_no_bit(order, mailbox, tmp_path, strategy):
    order = replace(long(order), spread=SPREADS[strategy])
    undisturbed = replace(order, folder=order.folder / "undisturbed")
    train(undisturbed, mailbox, gpus=False)
    (tmp_path / "order").write_text(to_json(order))
    command = [sys.executable, "-c", DRIVER, str(tmp_path / "order"), str(tmp_path / "home")]

    with subprocess.Popen(command, cwd=ROOT, start_new_session=True) as driver:
        wait_for_checkpoint(order)
        os.kill(driver.pid, signal.SIGKILL)
    assert not order.checkpoint.exists()
    subprocess.run(command, cwd=ROOT, check=True)

    assert losses(order) == losses(undisturbed)
    assert same_bits(order, undisturbed)
