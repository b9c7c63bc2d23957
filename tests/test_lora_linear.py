"""LoRA layers that compute as their base does, beside peft's own."""

import copy
import warnings

import pytest
import torch
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict
from peft.tuners.lora.layer import Linear
from small_models import small_model

from jobs.training.lora_linear import LoraLinear, quicken


def tuned(kind="falcon biased", dtype=torch.float32, **options):
    settings = {"r": 4, "lora_alpha": 8, "target_modules": "all-linear", "task_type": "CAUSAL_LM"}
    with warnings.catch_warnings():
        # peft asks transformers by an old name whether activations are checkpointed.
        warnings.filterwarnings("ignore", ".is_gradient_checkpointing.", FutureWarning)
        model = get_peft_model(small_model(kind, dtype), LoraConfig(**(settings | options)))
    torch.manual_seed(1)
    for name, weight in model.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(weight, std=0.2)
    return model


def layer_of(model):
    return next(module for module in model.modules() if isinstance(module, Linear))


def outcome(layer, x, dtype=torch.float32):
    """Output, gradient of the input, and those of A and B."""
    x = x.to(dtype).requires_grad_()
    y = layer(x)
    weights = torch.randn(y.shape, generator=torch.Generator().manual_seed(2))
    (y.float() * weights).sum().backward()
    trained = [one for one in layer.parameters() if one.requires_grad]
    return [y.detach(), x.grad, *(one.grad for one in trained)]


@pytest.mark.parametrize("kind", ["llama", "qwen2", "falcon biased"])
def test_in_float32_it_is_pefts_layer(kind):
    theirs = tuned(kind)
    ours = copy.deepcopy(theirs)
    assert quicken(ours) == sum(type(module) is Linear for module in theirs.modules()) > 0
    x = torch.randn(2, 5, layer_of(theirs).in_features)

    for mine, expected in zip(
        outcome(layer_of(ours), x), outcome(layer_of(theirs), x), strict=True
    ):
        torch.testing.assert_close(mine, expected, atol=1e-5, rtol=1e-5)


def test_in_bfloat16_it_is_as_near_the_truth_as_autocast():
    exact = tuned("llama")
    coarse = copy.deepcopy(exact)
    for name, weight in coarse.named_parameters():
        if "lora_" not in name:
            weight.data = weight.data.bfloat16()
            exact.get_parameter(name).data = weight.data.float()
    ours, autocast = coarse, copy.deepcopy(coarse)
    quicken(ours)
    x = torch.randn(2, 64, layer_of(exact).in_features).bfloat16()
    truth = outcome(layer_of(exact), x.float())

    mine = outcome(layer_of(ours), x, torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        theirs = outcome(layer_of(autocast), x, torch.bfloat16)

    assert mine[0].dtype == torch.bfloat16
    assert mine[2].dtype == mine[3].dtype == torch.float32
    for one, other, true in zip(mine, theirs, truth, strict=True):
        assert (one.float() - true).norm() <= 1.5 * (other.float() - true).norm()


def test_gradients_add_up_over_micro_batches():
    layer = layer_of(model := tuned())
    quicken(model)
    x = torch.randn(6, layer.in_features)
    layer(x).square().sum().backward()
    whole = [one.grad.clone() for one in layer.parameters() if one.requires_grad]
    layer.zero_grad()

    for part in x.split(2):
        layer(part).square().sum().backward()

    parts = [one.grad for one in layer.parameters() if one.requires_grad]
    torch.testing.assert_close(parts, whole)


def test_no_gradient_is_computed_for_inputs_and_bases_that_need_none():
    layer = layer_of(model := tuned())
    quicken(model)

    layer(x := torch.randn(3, layer.in_features)).sum().backward()

    assert x.grad is None
    assert layer.base_layer.weight.grad is None


@pytest.mark.parametrize("options", [{"use_dora": True}, {"lora_bias": True}])
def test_layers_that_do_something_else_stay_as_they_are(options):
    assert quicken(tuned(**options)) == 0


def test_dropout_is_pefts():
    theirs = tuned(lora_dropout=0.5)
    ours = copy.deepcopy(theirs)
    quicken(ours)
    x = torch.randn(2, 5, layer_of(theirs).in_features)

    results = []
    for model in (ours, theirs):
        torch.manual_seed(3)
        results.append(outcome(layer_of(model), x))

    assert isinstance(layer_of(ours), LoraLinear)
    torch.testing.assert_close(*results)


def test_an_adapter_is_saved_merged_and_switched_off_as_before():
    theirs = tuned("llama")
    ours = copy.deepcopy(theirs)
    quicken(ours)
    tokens = torch.arange(12)[None]

    saved, expected = map(get_peft_model_state_dict, (ours, theirs))
    assert saved.keys() == expected.keys()
    for model in (ours, theirs):
        model.eval()
    with torch.no_grad(), ours.disable_adapter(), theirs.disable_adapter():
        assert torch.equal(ours(tokens).logits, theirs(tokens).logits)
    with torch.no_grad():
        torch.testing.assert_close(
            ours.merge_and_unload()(tokens).logits, theirs.merge_and_unload()(tokens).logits
        )
