"""Configurations of small decoders, one or more of each family."""

from transformers import AutoConfig

SMALL = {"hidden_size": 128, "num_hidden_layers": 3, "num_attention_heads": 4, "vocab_size": 512}
ENDS = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
DECODERS = {
    "llama": {"model_type": "llama", "intermediate_size": 320},
    "llama with biases, tied": {
        "model_type": "llama",
        "intermediate_size": 320,
        "attention_bias": True,
        "mlp_bias": True,
        "tie_word_embeddings": True,
    },
    "mistral": {"model_type": "mistral", "intermediate_size": 320, "num_key_value_heads": 2},
    "qwen2": {"model_type": "qwen2", "intermediate_size": 320, "num_key_value_heads": 2},
    "qwen3": {"model_type": "qwen3", "intermediate_size": 320, "num_key_value_heads": 2},
    "granite": {"model_type": "granite", "intermediate_size": 320, "num_key_value_heads": 2},
    "starcoder2": {"model_type": "starcoder2", "intermediate_size": 320, "num_key_value_heads": 2},
    "gemma": {"model_type": "gemma", "intermediate_size": 320, "num_key_value_heads": 1},
    "gemma2": {"model_type": "gemma2", "intermediate_size": 320, "num_key_value_heads": 2},
    "gemma3": {"model_type": "gemma3_text", "intermediate_size": 320, "num_key_value_heads": 2},
    "smollm3": {"model_type": "smollm3", "intermediate_size": 320, "num_key_value_heads": 2},
    "falcon": {"model_type": "falcon"},
    "falcon of the new kind": {
        "model_type": "falcon",
        "new_decoder_architecture": True,
        "num_kv_heads": 2,
    },
    "falcon in sequence": {
        "model_type": "falcon",
        "parallel_attn": False,
        "multi_query": False,
        "bias": True,
    },
}


def configured(name, **changed):
    return SMALL | DECODERS[name] | changed


def transformers_config(config):
    rest = {key: value for key, value in config.items() if key != "model_type"}
    return AutoConfig.for_model(config["model_type"], **ENDS, **rest)
