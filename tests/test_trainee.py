"""A step's loss and gradients, whatever the layout, beside each row alone in the model as it came."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from small_models import KINDS, VOCABULARY, small_model

from jobs.methods import LoRA
from jobs.training.order import TrainingError
from jobs.training.packing import deal, make
from jobs.training.rows import Row
from jobs.training.trainee import Trainee

CPU = torch.device("cpu")
SETTINGS = LoRA(
    kind="lora", steps=1, batch_size=9, micro_batch_tokens=48, precision="fp32"
).settings()
LENGTHS = (31, 23, 17, 12, 9, 5, 3, 2, 60)


def rows(lengths=LENGTHS, seed=0):
    numbers = np.random.default_rng(seed)
    return [
        Row(numbers.integers(2, VOCABULARY, length, dtype=np.int32), length // 3)
        for length in lengths
    ]


def adapted(model):
    """With adapters that do something already."""
    config = LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM")
    with warnings.catch_warnings():
        # peft asks transformers by an old name whether activations are checkpointed.
        warnings.filterwarnings("ignore", ".is_gradient_checkpointing.", FutureWarning)
        warnings.filterwarnings("ignore", "fan_in_fan_out", UserWarning)  # of GPT-2
        tuned = get_peft_model(model, config)
    torch.manual_seed(1)
    for name, weight in tuned.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.1)
    return tuned


def trained(model):
    return {name: weight for name, weight in model.named_parameters() if weight.requires_grad}


def expected(model, batch):
    """Sum of losses and its gradients: each row alone, all its logits, no code of ours."""
    total = 0.0
    for row in batch:
        tokens = torch.from_numpy(row.tokens).long()
        logits = model(input_ids=tokens[None], use_cache=False).logits[0, :-1].float()
        losses = torch.nn.functional.cross_entropy(logits, tokens[1:], reduction="none")
        loss = losses[max(row.prompt_length, 1) - 1 :].sum()
        loss.backward()
        total += loss.item()
    return total, {name: weight.grad.clone() for name, weight in trained(model).items()}


def measured(trainee, batch, settings):
    total = 0.0
    for pack in deal(batch, settings, 1)[0]:
        micro = make(pack, settings, CPU)
        loss = trainee(
            micro.tokens, micro.targets, micro.positions, micro.starts, micro.longest, micro.places
        )
        loss.backward()
        total += loss.item()
    return total, {name: weight.grad for name, weight in trained(trainee.model).items()}


def check(kind, tune, settings=SETTINGS, batch=None, **changes):
    batch = batch or rows()
    told = expected(tune(small_model(kind, **changes)), batch)
    trainee = Trainee(tune(small_model(kind, **changes)), settings)
    loss, gradients = measured(trainee, batch, settings)
    count = sum(row.response_length for row in batch)
    assert loss / count == pytest.approx(told[0] / count, abs=1e-5)
    assert gradients.keys() == told[1].keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient / count, told[1][name] / count, atol=1e-5, rtol=0)
    return trainee


@pytest.mark.parametrize("packing", [True, False], ids=["packed", "padded"])
@pytest.mark.parametrize("tune", [adapted, lambda model: model], ids=["adapter", "full"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_layout_has_the_loss_and_gradients_of_the_rows_alone(kind, tune, packing):
    check(kind, tune, replace(SETTINGS, packing=packing))
