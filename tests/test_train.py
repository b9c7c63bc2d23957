"""Training on a real cluster: what was asked for runs, and a death changes no bit of the result."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from cluster.mailbox import Mailbox
from cluster.session import connect
from jobs.data.row import Row, read_rows, write_rows
from jobs.experiment import LoRA, Parallelism
from jobs.prompts import alpaca
from jobs.train import DivergedError, Progress, TrainingError, TrainOrder, learning_rate, train

SINGLE = Parallelism()
DDP = Parallelism(strategy="ddp", workers=2)
ZERO2 = Parallelism(strategy="zero2", workers=2)
METHOD = LoRA(
    kind="lora",
    rank=4,
    steps=6,
    learning_rate=1e-2,
    batch_size=5,
    precision="fp32",
    checkpoint_every=100,
)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A small Mistral with random weights, whose tokens are bytes."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import MistralConfig, MistralForCausalLM, PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({c: i for i, c in enumerate([*letters, "<end>"])}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    folder = tmp_path_factory.mktemp("base")
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>").save_pretrained(folder)
    torch.manual_seed(0)
    config = MistralConfig(
        vocab_size=257,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        eos_token_id=256,
        bos_token_id=None,
    )
    MistralForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rows")
    rows = [
        Row(
            instruction=f"Add {n} to it.",
            response="x" * (n % 7) + f" + {n}",
            source="s",
            place=f"rows.jsonl:{n + 1}",
            licence="MIT",
        )
        for n in range(23)
    ]
    write_rows(rows[:9], folder / "00000.parquet")
    write_rows(rows[9:], folder / "00001.parquet")
    return folder


@pytest.fixture(scope="module")
def mailbox(tmp_path_factory):
    with connect(tmp_path_factory.mktemp("home")):
        yield Mailbox.create()


@pytest.fixture
def order(base, rows, tmp_path):
    return TrainOrder(
        run_id="run",
        location=str(base),
        revision=None,
        rows=rows,
        method=METHOD,
        parallelism=SINGLE,
        seed=0,
        folder=tmp_path / "run",
    )


def steps_of(order):
    lines = (order.checkpoint / "steps.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def losses(order):
    return [step["loss"] for step in steps_of(order)]


def adapter(order):
    from safetensors.torch import load_file

    return load_file(order.checkpoint / "adapter_model.safetensors")


def same_bits(one, other):
    mine, theirs = adapter(one), adapter(other)
    return mine.keys() == theirs.keys() and all(mine[name].equal(theirs[name]) for name in mine)


def plain_torch(order, steps):
    """The same training in the plainest form: every row alone, with all of its logits."""
    import torch
    from peft import LoraConfig, get_peft_model
    from torch.nn.functional import cross_entropy
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from jobs.training.batches import order_of

    tokenizer = AutoTokenizer.from_pretrained(order.location)
    base = AutoModelForCausalLM.from_pretrained(order.location, dtype=torch.float32)
    torch.manual_seed(order.seed)
    model = get_peft_model(
        base, LoraConfig(r=4, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
    )
    trainable = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trainable, weight_decay=0)
    rows = [row for path in sorted(order.rows.iterdir()) for row in read_rows(path)]
    texts = [(alpaca(row.instruction), row.response) for row in rows]
    plan = order_of(len(texts), batch_size=5, seed=order.seed, steps=steps, epochs=None)
    found = []
    for step in range(steps):
        sums, count = [], 0
        for i in plan.batch(step):
            prompt = tokenizer(texts[i][0])["input_ids"]
            whole = tokenizer("".join(texts[i]))["input_ids"] + [256]
            logits = model(input_ids=torch.tensor([whole])).logits[0]
            answer = torch.tensor(whole[len(prompt) :])
            sums.append(cross_entropy(logits[len(prompt) - 1 : -1], answer, reduction="sum"))
            count += len(answer)
        loss = sum(sums) / count
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trainable, 1.0)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(order.method, step, steps)
        optimizer.step()
        optimizer.zero_grad()
        found.append(loss.item())
    return found


QUIET = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated")


@QUIET
def test_one_worker_follows_plain_torch(order, mailbox):
    mailbox.drain()

    facts = train(order, mailbox, gpus=False)

    assert losses(order) == pytest.approx(plain_torch(order, 6), abs=1e-4)
    assert (facts.engine, facts.zero_stage, facts.ranks) == ("PeftModelForCausalLM", None, 1)
    assert (facts.rows, facts.rows_left_out) == (23, 0)
    assert facts.tokens == sum(step["tokens"] for step in steps_of(order))
    deadline = time.monotonic() + 30
    messages: list[Progress] = []
    while len(messages) < 6 and time.monotonic() < deadline:
        messages += mailbox.drain()
    assert [(m.run_id, m.step, m.of, m.loss) for m in messages] == [
        ("run", i + 1, 6, loss) for i, loss in enumerate(losses(order))
    ]


def test_what_is_done_is_not_done_again(order, mailbox):
    order.checkpoint.mkdir(parents=True)
    facts = {
        "engine": "E",
        "zero_stage": None,
        "ranks": 1,
        "tokens": 1,
        "seconds": 1.0,
        "rows": 1,
        "rows_left_out": 0,
        "trainable_parameters": 1,
        "device": "cpu",
        "versions": {},
    }
    (order.checkpoint / "facts.json").write_text(json.dumps(facts))

    assert train(order, mailbox, gpus=False).engine == "E"


@QUIET
def test_two_workers_follow_one(order, mailbox):
    spread = replace(order, parallelism=DDP, folder=order.folder / "ddp")

    facts = train(spread, mailbox, gpus=False)

    assert losses(spread) == pytest.approx(plain_torch(order, 6), abs=1e-4)
    assert (facts.engine, facts.ranks) == ("DistributedDataParallel", 2)


def test_a_form_that_the_model_has_not_ends_the_training_before_it_begins(order, mailbox):
    with pytest.raises(TrainingError, match="no chat template"):
        train(replace(order, form="chat"), mailbox, gpus=False)


@QUIET
def test_what_became_of_long_rows_is_told(order, mailbox):
    method = order.method.model_copy(update={"steps": 1, "max_length": 8})
    order = replace(order, method=method, form="plain")  # 23 texts of 5 to 12 tokens

    facts = train(replace(order, too_long="split"), mailbox, gpus=False)

    lengths = [n % 7 + len(f" + {n}") + 1 for n in range(23)]
    long = sum(length > 8 for length in lengths)
    assert (facts.rows, facts.rows_left_out, facts.rows_cut) == (23 + long, 0, 0)
    assert facts.windows == 2 * long > 0


def test_a_loss_that_is_no_number_names_its_step(order, mailbox):
    wild = order.method.model_copy(update={"learning_rate": 1e30, "warmup": 0.0})

    with pytest.raises(DivergedError, match=r"at step [23] the loss is"):
        train(replace(order, method=wild), mailbox, gpus=False)


@QUIET
@pytest.mark.slow
@pytest.mark.parametrize("strategy, stage", [("zero1", 1), ("zero2", 2), ("zero3", 3)])
def test_zero_is_in_effect_and_follows_one_worker(order, mailbox, strategy, stage):
    parallelism = Parallelism(strategy=strategy, workers=2)
    method = order.method.model_copy(update={"micro_batch_size": 2})
    order = replace(order, method=method, parallelism=parallelism)

    facts = train(order, mailbox, gpus=False)

    assert (facts.engine, facts.zero_stage) == ("DeepSpeedEngine", stage)
    assert losses(order) == pytest.approx(plain_torch(order, 6), abs=1e-4)
    assert all(tensor.abs().sum() > 0 for tensor in adapter(order).values())


LONG = METHOD.model_copy(update={"steps": 40, "checkpoint_every": 8})


def kill_a_worker_after_a_checkpoint(order, seconds=120):
    """SIGKILL the last worker once the first checkpoint is there."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if list((order.folder / "attempts" / "run").glob("checkpoint_*")):
            time.sleep(0.7)
            workers = [
                process
                for process in psutil.Process().children(recursive=True)
                if "RayTrainWorker" in process.name() or "RayTrainWorker" in process.cmdline()[0]
            ]
            workers[-1].kill()
            assert not order.checkpoint.exists()
            return
        time.sleep(0.02)
    raise TimeoutError("no checkpoint appeared")


@pytest.mark.slow
@pytest.mark.parametrize("parallelism", [SINGLE, DDP, ZERO2], ids=["single", "ddp", "zero2"])
def test_a_killed_worker_changes_no_bit(order, mailbox, parallelism):
    from concurrent.futures import ThreadPoolExecutor

    order = replace(order, method=LONG, parallelism=parallelism)
    undisturbed = replace(order, folder=order.folder / "undisturbed")
    train(undisturbed, mailbox, gpus=False)
    mailbox.drain()

    with ThreadPoolExecutor() as pool:
        training = pool.submit(train, order, mailbox, gpus=False)
        kill_a_worker_after_a_checkpoint(order)
        training.result()

    assert losses(order) == losses(undisturbed)
    assert same_bits(order, undisturbed)
    assert not (order.folder / "attempts").exists()


DRIVER = """
import pickle, sys
from pathlib import Path
from cluster.mailbox import Mailbox
from cluster.session import connect
from jobs.train import train
order = pickle.loads(Path(sys.argv[1]).read_bytes())
with connect(Path(sys.argv[2])):
    train(order, Mailbox.create(), gpus=False)
"""


@pytest.mark.slow
@pytest.mark.parametrize("parallelism", [SINGLE, ZERO2], ids=["single", "zero2"])
def test_a_killed_driver_changes_no_bit(order, mailbox, tmp_path, parallelism):
    import pickle

    order = replace(order, method=LONG, parallelism=parallelism)
    undisturbed = replace(order, folder=order.folder / "undisturbed")
    train(undisturbed, mailbox, gpus=False)
    (tmp_path / "order").write_bytes(pickle.dumps(order))
    command = [sys.executable, "-c", DRIVER, str(tmp_path / "order"), str(tmp_path / "home")]
    root = Path(__file__).parent.parent

    with subprocess.Popen(command, cwd=root, start_new_session=True) as driver:
        deadline = time.monotonic() + 120
        while not list((order.folder / "attempts" / "run").glob("checkpoint_*")):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        os.kill(driver.pid, signal.SIGKILL)
    assert not order.checkpoint.exists()
    subprocess.run(command, cwd=root, check=True)

    assert losses(order) == losses(undisturbed)
    assert same_bits(order, undisturbed)
