"""A model ready to answer, and proof that its adapter does something.

Adapters are merged into the weights. In float32 that is exact enough; in bfloat16 each weight is
rounded once more. Quantized bases are not loaded here.
"""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

from jobs.prompts import end_of_turn

PROBE = "def add(first, second):\n    return"
TOKENS_AT_ONCE_CPU = 48_000
TOKENS_AT_ONCE_GPU = 131_072


class EngineError(Exception):
    """A model cannot be asked; the message says why, and what to change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A model on its device."""

    model: Any
    tokenizer: Any
    device: torch.device
    ends: frozenset[int]
    """Tokens that end an answer."""
    budget: int
    """Prompt and answer tokens, over all rows, that are in memory at once."""

    @property
    def positions(self) -> int | None:
        """Tokens of prompt and answer that the model was made for, where it says so."""
        return getattr(self.model.config, "max_position_embeddings", None)


def load_model(location: str, revision: str | None = None, adapter: Path | None = None) -> Loaded:
    """Load a base model, with or without an adapter: float32 on a CPU, bfloat16 on a GPU.

    Only safetensors are read and no code that comes with a model is run.

    Args:
        location: a folder in Hugging Face format, or a name on the hub.
        revision: a commit of the hub; without meaning for a folder.
        adapter: a folder that peft wrote.

    Raises:
        EngineError: the model names no end token, or the adapter changes nothing.
        OSError: there is no such model.
    """
    logging.disable_progress_bar()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    on_gpu = device.type == "cuda"
    tokenizer = AutoTokenizer.from_pretrained(
        location, revision=revision or None, trust_remote_code=False
    )
    model = AutoModelForCausalLM.from_pretrained(
        location,
        revision=revision or None,
        dtype=torch.bfloat16 if on_gpu else torch.float32,
        use_safetensors=True,
        trust_remote_code=False,
    ).to(device)
    model.eval()
    ends = _ends(model, tokenizer, location)
    if adapter is not None:
        model = _adapted(model, tokenizer, adapter)
    budget = TOKENS_AT_ONCE_GPU if on_gpu else TOKENS_AT_ONCE_CPU
    return Loaded(model=model, tokenizer=tokenizer, device=device, ends=ends, budget=budget)


def _ends(model: Any, tokenizer: Any, location: str) -> frozenset[int]:
    named = model.generation_config.eos_token_id
    ends = set(named if isinstance(named, list) else [named]) | {
        tokenizer.eos_token_id,
        end_of_turn(tokenizer),
    }
    if not ends - {None}:
        raise EngineError(
            f"{location} names no end token, so every answer would run to max_new_tokens; "
            "name one as eos_token in its tokenizer_config.json"
        )
    return frozenset(ends - {None})


@torch.inference_mode()
def _adapted(model: Any, tokenizer: Any, adapter: Path) -> Any:
    from peft import PeftModel

    if not (adapter / "adapter_model.safetensors").is_file():
        raise EngineError(f"{adapter} holds no adapter_model.safetensors")
    before = _probe(model, tokenizer)
    with warnings.catch_warnings():
        # peft still reads a name that transformers renames in its next major version
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
        merged = PeftModel.from_pretrained(model, str(adapter)).merge_and_unload()
    merged.eval()
    if torch.equal(before, _probe(merged, tokenizer)):
        raise EngineError(
            f"the adapter {adapter} was loaded but changes nothing: it was not trained, or it "
            "names layers that this base does not have"
        )
    return merged


def _probe(model: Any, tokenizer: Any) -> Tensor:
    asked = torch.tensor([tokenizer(PROBE)["input_ids"]], device=model.device)
    logits: Tensor = model(input_ids=asked, use_cache=False).logits
    return logits.clone()
