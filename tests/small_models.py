"""Untrained models of a few thousand weights, one of each kind of attention and of output layer."""

import torch
from transformers import AutoModelForCausalLM
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

VOCABULARY = 97

SIZES = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": VOCABULARY,
    "max_position_embeddings": 512,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": None,
}
FALCON = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": VOCABULARY,
    "bos_token_id": 0,
    "eos_token_id": 1,
}
KINDS = {
    "falcon": ("falcon", FALCON),
    "falcon new": ("falcon", FALCON | {"new_decoder_architecture": True, "num_kv_heads": 2}),
    "falcon biased": ("falcon", FALCON | {"bias": True, "parallel_attn": False}),
    "falcon all heads": ("falcon", FALCON | {"multi_query": False}),
    "mistral": ("mistral", SIZES | {"sliding_window": None}),
    "mistral window": ("mistral", SIZES | {"sliding_window": 7}),
    "llama": ("llama", SIZES),
    "qwen2": ("qwen2", SIZES),
    "granite": ("granite", SIZES | {"logits_scaling": 8.0, "attention_multiplier": 0.1}),
    "starcoder2": ("starcoder2", SIZES | {"sliding_window": 7}),
    "gemma2": ("gemma2", SIZES | {"head_dim": 8, "sliding_window": 7}),
    "gpt2": ("gpt2", {"n_embd": 32, "n_layer": 2, "n_head": 4, "vocab_size": VOCABULARY,
                      "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0,
                      "bos_token_id": 0, "eos_token_id": 1}),
}  # fmt: skip


def small_model(kind, dtype=torch.float32, **changes):
    """A model of a kind, always with the same weights."""
    name, sizes = KINDS[kind]
    torch.manual_seed(0)
    config = CONFIG_MAPPING[name](**(sizes | changes))
    return AutoModelForCausalLM.from_config(config, dtype=dtype).train()
