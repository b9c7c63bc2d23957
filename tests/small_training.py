"""A training of seconds: an untrained Mistral whose tokens are bytes, and 23 rows."""

import json
from dataclasses import replace

import pytest

from jobs.data.row import Row, write_rows
from jobs.methods import Full, LoRA
from jobs.training.order import TrainOrder
from jobs.training.settings import ALONE

LORA = LoRA(
    kind="lora",
    rank=4,
    steps=6,
    learning_rate=1e-2,
    batch_size=5,
    precision="fp32",
    checkpoint_every=100,
)
FULL = Full(
    kind="full",
    steps=6,
    learning_rate=1e-3,
    batch_size=5,
    precision="fp32",
    checkpoint_every=100,
)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A module has these three fixtures that names them, `base = small_training.base`."""
    return write_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("rows"))


@pytest.fixture
def order(base, rows, tmp_path):
    return order_of(base, rows, tmp_path / "run")


def write_base(folder):
    """A folder that `from_pretrained` takes."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import MistralConfig, MistralForCausalLM, PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({c: i for i, c in enumerate([*letters, "<end>"])}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
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


def write_dataset(folder):
    """Two files of rows, as a prepared dataset has them."""
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


def order_of(base, rows, folder, method=LORA, spread=ALONE):
    """To train that base on those rows."""
    return TrainOrder(
        run_id="run",
        location=str(base),
        revision=None,
        rows=rows,
        settings=method.settings(),
        spread=spread,
        seed=0,
        folder=folder,
    )


def changed(order, **settings):
    """The same order with other settings."""
    return replace(order, settings=replace(order.settings, **settings))


def steps_of(order):
    lines = (order.checkpoint / "steps.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def losses(order):
    return [step["loss"] for step in steps_of(order)]


def weights_of(order):
    from safetensors.torch import load_file

    found = {}
    for path in sorted(order.checkpoint.glob("*.safetensors")):
        found |= load_file(path)
    assert found
    return found


def same_bits(one, other):
    mine, theirs = weights_of(one), weights_of(other)
    return mine.keys() == theirs.keys() and all(mine[name].equal(theirs[name]) for name in mine)
