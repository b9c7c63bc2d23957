"""Loss and gradients in any layout, beside each row alone in the model as it came."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from small_models import KINDS, VOCABULARY, small_model
from transformers import AutoModelForCausalLM, BloomConfig, MambaConfig

from jobs.methods import LoRA
from jobs.training import loss
from jobs.training.order import TrainingError
from jobs.training.packing import Pack, deal, make
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
        part = losses[max(row.prompt_length, 1) - 1 :].sum()
        part.backward()
        total += part.item()
    return total, {name: weight.grad.clone() for name, weight in trained(model).items()}


def summed(trainee, batch):
    return trainee(
        batch.tokens, batch.targets, batch.positions, batch.starts, batch.longest, batch.places
    )


def measured(trainee, batch, settings):
    total = 0.0
    for pack in deal(batch, settings, 1)[0]:
        part = summed(trainee, make(pack, settings, CPU))
        part.backward()
        total += part.item()
    return total, {name: weight.grad for name, weight in trained(trainee.model).items()}


def check(kind, tune, settings=SETTINGS, batch=None, **changes):
    batch = batch or rows()
    told = expected(tune(small_model(kind, **changes)), batch)
    trainee = Trainee(tune(small_model(kind, **changes)), settings)
    total, gradients = measured(trainee, batch, settings)
    count = sum(row.response_length for row in batch)
    assert total / count == pytest.approx(told[0] / count, abs=1e-5)
    assert gradients.keys() == told[1].keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient / count, told[1][name] / count, atol=1e-5, rtol=0)
    return trainee


@pytest.mark.parametrize("packing", [True, False], ids=["packed", "padded"])
@pytest.mark.parametrize("tune", [adapted, lambda model: model], ids=["adapter", "full"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_layout_has_the_loss_and_gradients_of_the_rows_alone(kind, tune, packing):
    check(kind, tune, replace(SETTINGS, packing=packing))


@pytest.mark.parametrize("tune", [adapted, lambda model: model], ids=["adapter", "full"])
@pytest.mark.parametrize("kind", ["falcon", "mistral window", "llama", "gemma2"])
def test_activations_computed_again_have_the_same_gradients(kind, tune):
    trainee = check(kind, tune, replace(SETTINGS, activation_checkpointing=True))

    assert trainee.model.is_activation_checkpointing


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # torch's compiler warns of torch
@pytest.mark.parametrize(
    "kind, packing", [("falcon", True), ("mistral window", True), ("llama", False)]
)
def test_a_compiled_model_has_the_same_gradients(kind, packing):
    torch._dynamo.reset()
    settings = replace(SETTINGS, compile=True, packing=packing, activation_checkpointing=packing)

    check(kind, adapted, settings, rows(LENGTHS[:-1]))


@pytest.mark.parametrize("kind", ["falcon", "falcon new", "mistral window", "llama", "gemma2"])
def test_other_tokens_in_one_row_change_no_bit_of_the_loss_of_another(kind):
    trainee = Trainee(adapted(small_model(kind)), SETTINGS)
    first, last = rows((20,), seed=1)[0], rows((13,), seed=2)[0]

    def loss_of_others(middle):
        silent = replace(middle, prompt_length=len(middle.tokens))
        batch = make(Pack(rows=(first, silent, last)), SETTINGS, CPU)
        with torch.no_grad():
            return summed(trainee, batch)

    losses = [loss_of_others(rows((11,), seed)[0]) for seed in (3, 4, 5)]

    assert torch.equal(losses[0], losses[1])
    assert torch.equal(losses[0], losses[2])


def test_logits_are_computed_in_parts_where_they_are_many(monkeypatch):
    monkeypatch.setitem(loss.LOGITS_AT_ONCE, "cpu", 5 * VOCABULARY)
    sizes = []

    def noted(model):
        head = model.get_output_embeddings()
        head.register_forward_hook(lambda module, inputs, logits: sizes.append(logits.numel()))
        return model

    trainee = Trainee(noted(small_model("llama")), SETTINGS)
    sizes.clear()
    measured(trainee, rows(), SETTINGS)

    assert max(sizes) <= 5 * VOCABULARY
    monkeypatch.undo()
    check("llama", lambda model: model)


def test_there_are_no_logits_where_there_is_no_loss():
    model = small_model("llama")
    trainee = Trainee(model, SETTINGS)
    seen = []
    model.get_output_embeddings().register_forward_hook(
        lambda module, inputs, logits: seen.append(len(inputs[0]))
    )
    batch = rows()

    measured(trainee, batch, SETTINGS)

    assert sum(seen) == sum(row.response_length for row in batch)


def test_a_pack_without_any_loss_has_the_loss_zero():
    trainee = Trainee(small_model("llama"), SETTINGS)
    row = replace(rows((12,))[0], prompt_length=12)

    loss_of_none = summed(trainee, make(Pack(rows=(row,)), SETTINGS, CPU))
    loss_of_none.backward()

    assert loss_of_none.item() == 0


def test_a_model_with_a_state_is_not_packed():
    config = MambaConfig(
        vocab_size=VOCABULARY, hidden_size=16, state_size=4, num_hidden_layers=1, use_mambapy=False
    )
    model = AutoModelForCausalLM.from_config(config)

    with pytest.raises(TrainingError, match=r"state.*packing: false"):
        Trainee(model, SETTINGS)


def test_a_falcon_with_alibi_is_not_packed_but_padded():
    with pytest.raises(TrainingError, match=r"alibi.*packing: false"):
        Trainee(small_model("falcon", alibi=True), SETTINGS)

    check("falcon", lambda model: model, replace(SETTINGS, packing=False), alibi=True)


def test_a_model_that_ignores_where_rows_begin_is_not_packed():
    model = AutoModelForCausalLM.from_config(
        BloomConfig(vocab_size=VOCABULARY, hidden_size=16, n_layer=1, n_head=2)
    )

    with pytest.raises(TrainingError, match=r"BloomForCausalLM.*packing: false"):
        Trainee(model, SETTINGS)


def test_without_a_compiler_it_is_said_what_is_missing(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")

    with pytest.raises(TrainingError, match=r"no-such-compiler.*compile: false"):
        Trainee(small_model("llama"), replace(SETTINGS, compile=True))


def test_a_model_in_training_refuses_to_generate_rather_than_forget_its_masks():
    model = small_model("llama")
    Trainee(model, SETTINGS)

    with pytest.raises(NotImplementedError, match="load it again"):
        model.generate(torch.arange(10)[None], max_new_tokens=3, use_cache=True)


@pytest.mark.gpu
@pytest.mark.parametrize("kind", ["falcon", "falcon new", "mistral window", "llama"])
def test_packed_rows_on_a_gpu_have_the_loss_of_the_rows_alone(kind):
    batch = rows()
    settings = replace(SETTINGS, precision="bf16")
    model = small_model(kind, torch.bfloat16)
    told, _ = expected(adapted(model), batch)
    trainee = Trainee(adapted(small_model(kind, torch.bfloat16)).cuda(), settings)

    with torch.no_grad():
        found = sum(
            summed(trainee, make(pack, settings, torch.device("cuda"))).item()
            for pack in deal(batch, settings, 1)[0]
        )

    assert found == pytest.approx(told, rel=2e-2)
