"""Adapters: put on, saved, loaded, and proven to be in effect."""

import json

import pytest
import torch
from transformers import FalconConfig, LlamaConfig, MistralConfig
from transformers.models.auto import AutoModelForCausalLM

from jobs import lora
from jobs.experiment import LoRA

SIZE = {"vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
CONFIGS = {
    "falcon": FalconConfig(**SIZE, alibi=False),
    "llama": LlamaConfig(**SIZE, intermediate_size=48),
    "mistral": MistralConfig(**SIZE, intermediate_size=48, num_key_value_heads=2),
}
METHOD = LoRA(kind="lora", steps=1, rank=2)


def base(name, **changes):
    torch.manual_seed(0)
    config = CONFIGS[name].__class__(**{**CONFIGS[name].to_dict(), **changes})
    return AutoModelForCausalLM.from_config(config).eval()


def trained(model):
    """Adapters as no fresh one has them: both of their matrices are other than 0."""
    tuned = lora.adapted(model, METHOD, seed=0)
    torch.manual_seed(1)
    for parameter in tuned.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.1)
    return tuned


@pytest.mark.parametrize("name", CONFIGS)
def test_a_saved_adapter_answers_like_the_model_it_was_saved_from(name, tmp_path):
    tuned = trained(base(name)).eval()
    lora.save(tuned, lora.weights_of(tuned), tmp_path)
    tokens = torch.arange(9)[None]

    again = lora.attach(base(name), tmp_path)

    assert torch.equal(again(input_ids=tokens).logits, tuned(input_ids=tokens).logits)
    assert lora.assert_changes_logits(again, range(9)) > 0


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated")
def test_peft_itself_reads_what_was_saved(tmp_path):
    from peft import PeftModel

    tuned = trained(base("llama")).eval()
    lora.save(tuned, lora.weights_of(tuned), tmp_path)
    tokens = torch.arange(9)[None]

    again = PeftModel.from_pretrained(base("llama"), str(tmp_path)).eval()

    assert torch.equal(again(input_ids=tokens).logits, tuned(input_ids=tokens).logits)


def test_an_adapter_that_does_nothing_is_found_out(tmp_path):
    fresh = lora.adapted(base("llama"), METHOD, seed=0)
    lora.save(fresh, lora.weights_of(fresh), tmp_path)

    with pytest.raises(lora.AdapterError, match="not in effect"):
        lora.assert_changes_logits(lora.attach(base("llama"), tmp_path), range(9))


def test_an_adapter_for_more_layers_is_refused(tmp_path):
    tuned = trained(base("llama", num_hidden_layers=3))
    lora.save(tuned, lora.weights_of(tuned), tmp_path)

    with pytest.raises(lora.AdapterError, match="another model"):
        lora.attach(base("llama"), tmp_path)


def test_an_adapter_for_other_sizes_is_refused(tmp_path):
    tuned = trained(base("llama", intermediate_size=64))
    lora.save(tuned, lora.weights_of(tuned), tmp_path)

    with pytest.raises(lora.AdapterError, match="another model"):
        lora.attach(base("llama"), tmp_path)


def test_a_target_that_is_not_there_is_named_beside_those_that_are():
    method = METHOD.model_copy(update={"targets": ("q_porj",)})

    with pytest.raises(lora.AdapterError, match=r"q_porj.*q_proj"):
        lora.adapted(base("llama"), method, seed=0)


def test_adapters_are_float32_on_a_bfloat16_base():
    tuned = lora.adapted(base("llama").to(torch.bfloat16), METHOD, seed=0)

    kinds = {(p.requires_grad, p.dtype) for p in tuned.parameters()}
    assert kinds == {(True, torch.float32), (False, torch.bfloat16)}


def test_the_configuration_names_its_base_and_rank(tmp_path):
    tuned = trained(base("falcon"))
    lora.save(tuned, lora.weights_of(tuned), tmp_path)

    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert (config["r"], config["peft_type"]) == (2, "LORA")
