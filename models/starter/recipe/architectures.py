"""Configurations of the three models: 4 layers of width 128, tied embeddings, rotary positions.

Plain attention is asked for where there is a choice: on short sequences and one thread its backward
pass is a third faster. The choice is not saved with the model.
"""

from collections.abc import Callable

import torch
from transformers import (
    FalconConfig,
    FalconForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
)

from models.starter.recipe.tokenizer import VOCABULARY

WIDTH = 128
LAYERS = 4
HEADS = 4
INNER = 384
POSITIONS = 2_048
END_ID = 0
PAD_ID = 1


def falcon() -> FalconForCausalLM:
    """One key and value head for all queries, attention and feed-forward side by side."""
    config = FalconConfig(
        vocab_size=VOCABULARY,
        hidden_size=WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        multi_query=True,
        parallel_attn=True,
        alibi=False,
        bias=False,
        max_position_embeddings=POSITIONS,
        tie_word_embeddings=True,
        bos_token_id=END_ID,
        eos_token_id=END_ID,
        pad_token_id=PAD_ID,
    )
    return FalconForCausalLM(config)


def mistral() -> MistralForCausalLM:
    """Four query heads share two key and value heads."""
    config = MistralConfig(
        vocab_size=VOCABULARY,
        hidden_size=WIDTH,
        intermediate_size=INNER,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=HEADS // 2,
        max_position_embeddings=POSITIONS,
        attn_implementation="eager",
        sliding_window=None,
        tie_word_embeddings=True,
        bos_token_id=END_ID,
        eos_token_id=END_ID,
        pad_token_id=PAD_ID,
    )
    return MistralForCausalLM(config)


def llama() -> LlamaForCausalLM:
    """The architecture of Code Llama: as many key and value heads as query heads."""
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=WIDTH,
        intermediate_size=INNER,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        max_position_embeddings=POSITIONS,
        attn_implementation="eager",
        tie_word_embeddings=True,
        bos_token_id=END_ID,
        eos_token_id=END_ID,
        pad_token_id=PAD_ID,
    )
    return LlamaForCausalLM(config)


ARCHITECTURES: dict[str, Callable[[], PreTrainedModel]] = {
    "falcon": falcon,
    "mistral": mistral,
    "llama": llama,
}


def new_model(name: str, seed: int) -> PreTrainedModel:
    """A freshly initialised model in float32; the same weights for the same seed."""
    torch.manual_seed(seed)
    return ARCHITECTURES[name]()
