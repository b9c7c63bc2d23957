"""A model ready to answer.

Adapters are merged into the weights. In float32 that is exact enough; in bfloat16 each weight is
rounded once more. A base that was trained on in 4 bits is made as coarse first, so that what is
asked is what was trained. `jobs/proof.py` proves that all of this is in effect.
"""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch.nn import Embedding, Linear
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

from jobs.answers import EngineError as EngineError
from jobs.prompts import end_of_turn
from jobs.training.models import expect_quantized, quantizable, quantized
from jobs.weights import Weights

Precision = Literal["fp32", "bf16"]
TOKENS_AT_ONCE_CPU = 98_304
TOKENS_AT_ONCE_GPU = 131_072
SEATS_CPU = 144
"""Each step reads all weights once, for few answers as for many. From here on what the answers
remember is most of what a step reads, and more seats gain nothing."""
SEATS_GPU = 512
ADAPTER = "adapter_model.safetensors"


@dataclass(slots=True, kw_only=True)
class Loaded:
    """A model on its device."""

    model: Any
    tokenizer: Any
    device: torch.device
    ends: frozenset[int]
    """Tokens that end an answer."""
    budget: int
    """Prompt and answer tokens that may be in memory at once; the engine halves it where that
    turns out to be too many."""
    seats: int = SEATS_CPU
    """The most answers that are written at once."""

    @property
    def positions(self) -> int | None:
        """Tokens of prompt and answer that the model was made for, where it says so."""
        return getattr(self.model.config, "max_position_embeddings", None)


def load_model(weights: Weights, precision: Precision = "fp32") -> Loaded:
    """Load a model.

    Only safetensors are read and no code that comes with a model is run.

    Args:
        weights: where they are.
        precision: of the weights and the arithmetic, on a CPU and a GPU alike.

    Raises:
        EngineError: the model names no end token, or the adapter is of another model.
        OSError: there is no such model.
    """
    model = load_whole(weights, precision)
    if weights.adapter is not None:
        model = merged(with_adapter(model, weights.adapter))
    return ready(model, weights)


def usual_precision() -> Precision:
    """Of models that no benchmark asks: what this machine's device is made for."""
    return "bf16" if _device().type == "cuda" else "fp32"


def load_whole(weights: Weights, precision: Precision) -> Any:
    """The weights that an adapter would be put on, or that need none, on the device."""
    logging.disable_progress_bar()
    location, revision = weights.source
    device = _device()
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    options: dict[str, Any] = {}
    if weights.quantization is not None:
        options["quantization_config"] = quantized(weights.quantization, dtype)
    with quantizable():
        model = AutoModelForCausalLM.from_pretrained(
            location,
            revision=revision,
            dtype=dtype,
            use_safetensors=True,
            trust_remote_code=False,
            **options,
        )
    if weights.quantization is not None:
        expect_quantized(model, location)
        model = model.dequantize()
    return model.to(device).eval()


def with_adapter(model: Any, folder: Path) -> Any:
    """The same model with an adapter beside its weights.

    Raises:
        EngineError: the folder holds none, or one of another model.
    """
    from peft import PeftModel, get_peft_model_state_dict
    from safetensors import safe_open

    if not (folder / ADAPTER).is_file():
        raise EngineError(f"{folder} holds no {ADAPTER}")
    with warnings.catch_warnings():
        # peft still reads a name that transformers renames in its next major version
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
        warnings.filterwarnings("ignore", "Found missing adapter keys", UserWarning)
        try:
            tuned = PeftModel.from_pretrained(model, str(folder))
        except (ValueError, RuntimeError) as error:
            raise EngineError(f"the adapter {folder} is of another model: {error}") from None
    with safe_open(folder / ADAPTER, framework="pt") as file:
        stored = set(file.keys())
    wanted = set(get_peft_model_state_dict(tuned, save_embedding_layers=False))
    if stored != wanted:
        odd = sorted(stored ^ wanted)
        raise EngineError(
            f"the adapter {folder} is of another model: {len(odd)} tensors are in one of them "
            f"only, such as {odd[0]}"
        )
    return tuned.eval()


def merged(tuned: Any) -> Any:
    """A model with its adapter added into the weights, in place."""
    return tuned.merge_and_unload().eval()


def ready(model: Any, weights: Weights) -> Loaded:
    """A model with the tokenizer of its base and its ends.

    What a full training left has a copy of that tokenizer. The base's own is taken, so that the
    same question is the same tokens for both sides of a comparison whatever became of the copy.

    Raises:
        EngineError: it names no end token.
    """
    location = weights.location
    tokenizer = AutoTokenizer.from_pretrained(
        location, revision=weights.revision, trust_remote_code=False
    )
    on_gpu = model.device.type == "cuda"
    if not on_gpu:
        lay_out(model)
    return Loaded(
        model=model,
        tokenizer=tokenizer,
        device=model.device,
        ends=ends_of(model.generation_config.eos_token_id, tokenizer, location),
        budget=TOKENS_AT_ONCE_GPU if on_gpu else TOKENS_AT_ONCE_CPU,
        seats=SEATS_GPU if on_gpu else SEATS_CPU,
    )


def lay_out(model: Any) -> None:
    """Let a CPU find the weights of linear layers in memory as its products read them.

    A product of some dozens of rows is up to a sixth quicker. A weight that is an embedding too
    stays: there each token's row is read alone.
    """
    embedded = {id(part.weight) for part in model.modules() if isinstance(part, Embedding)}
    for part in model.modules():
        if isinstance(part, Linear) and id(part.weight) not in embedded:
            part.weight.data = part.weight.data.t().contiguous().t()


def ends_of(named: int | list[int] | None, tokenizer: Any, location: str) -> frozenset[int]:
    """Tokens that end an answer: those of a model's generation_config.json, and its tokenizer's.

    Raises:
        EngineError: there is none.
    """
    ends = set(named if isinstance(named, list) else [named]) | {
        tokenizer.eos_token_id,
        end_of_turn(tokenizer),
    }
    if not ends - {None}:
        raise EngineError(
            f"{location} names no end token, so every answer would run to max_new_tokens; "
            "name one as eos_token in its tokenizer_config.json"
        )
    return frozenset(end for end in ends if end is not None)


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
