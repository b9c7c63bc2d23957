"""LoRA adapters: put on a base, saved, loaded, and proven to do something."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cluster.gang import HopelessError

if TYPE_CHECKING:
    from torch import Tensor

    from jobs.experiment import LoRA

WEIGHTS = "adapter_model.safetensors"


class AdapterError(HopelessError):
    """An adapter does not fit the base it was put on."""


def load_base(location: str, revision: str | None, precision: str) -> Any:
    """The base model as it came, its weights in bfloat16 or float32.

    Args:
        location: a folder in Hugging Face format, or a repository on the hub.
        revision: a commit; None for a folder.
        precision: `bf16` or `fp32`.
    """
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    return AutoModelForCausalLM.from_pretrained(
        location,
        revision=revision or "main",
        dtype=torch.bfloat16 if precision == "bf16" else torch.float32,
        attn_implementation="sdpa",
        use_safetensors=True,
        trust_remote_code=False,
    )


def adapted(base: Any, method: "LoRA", seed: int) -> Any:
    """A base with fresh adapters in float32, all else frozen. The seed decides their weights.

    Raises:
        AdapterError: `targets` names no layer of this model.
    """
    import torch
    from peft import LoraConfig

    torch.manual_seed(seed)
    targets = method.targets if isinstance(method.targets, str) else list(method.targets)
    config = LoraConfig(
        r=method.rank,
        lora_alpha=method.alpha,
        lora_dropout=method.dropout,
        target_modules=targets,
        task_type="CAUSAL_LM",
    )
    try:
        return _with_adapters(base, config)
    except ValueError as error:
        linear = {
            name.rpartition(".")[2]
            for name, module in base.named_modules()
            if isinstance(module, torch.nn.Linear)
        }
        raise AdapterError(
            f"targets {method.targets!r}: {error} Linear layers here: {', '.join(sorted(linear))}"
        ) from error


def weights_of(model: Any) -> dict[str, "Tensor"]:
    """The adapter's tensors under the names they have in a file, copied to the host."""
    from peft import get_peft_model_state_dict

    found = get_peft_model_state_dict(model, save_embedding_layers=False)
    return {name: tensor.detach().cpu().clone().contiguous() for name, tensor in found.items()}


def save(model: Any, weights: Mapping[str, "Tensor"], folder: Path) -> None:
    """Write an adapter in peft's format: its configuration and safetensors."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    model.peft_config["default"].save_pretrained(str(folder))
    save_file(dict(weights), folder / WEIGHTS, metadata={"format": "pt"})


def restore(model: Any, folder: Path) -> None:
    """Give a model that has adapters the weights of a saved one.

    Raises:
        AdapterError: a tensor is missing or has another shape.
    """
    from peft import set_peft_model_state_dict
    from safetensors.torch import load_file

    weights = load_file(folder / WEIGHTS)
    if set(weights) != set(weights_of(model)):
        raise AdapterError(f"{folder} holds an adapter for another model")
    try:
        set_peft_model_state_dict(model, weights)
    except RuntimeError as error:
        raise AdapterError(f"{folder} holds an adapter for another model: {error}") from error


def attach(model: Any, folder: Path) -> Any:
    """A base with a saved adapter on it, for inference.

    Raises:
        AdapterError: the adapter was made for a model with other layers.
    """
    from peft import LoraConfig

    config = LoraConfig.from_pretrained(str(folder))
    try:
        tuned = _with_adapters(model, config)
    except ValueError as error:
        raise AdapterError(f"{folder} does not fit {type(model).__name__}: {error}") from error
    restore(tuned, folder)
    return tuned.eval()


def assert_changes_logits(tuned: Any, prompt: Sequence[int]) -> float:
    """Check that an adapter does something, and say how much.

    An adapter whose layers were not found, or that was loaded as zeros, leaves a model that scores
    exactly like its base: the quietest of all failures.

    Args:
        tuned: what `attach` returned.
        prompt: token ids of any text.

    Returns:
        The largest difference that the adapter makes to a logit of the next token.

    Raises:
        AdapterError: it makes none, or the logits are not finite.
    """
    import torch

    tokens = torch.tensor([list(prompt)], device=tuned.device)
    with torch.inference_mode():
        with tuned.disable_adapter():
            before = tuned(input_ids=tokens, use_cache=False).logits[0, -1].float()
        after = tuned(input_ids=tokens, use_cache=False).logits[0, -1].float()
    difference = float((after - before).abs().max())
    if not torch.isfinite(after).all() or difference == 0:
        raise AdapterError(f"the adapter changes logits by {difference}; it is not in effect")
    return difference


def _with_adapters(model: Any, config: Any) -> Any:
    from peft import get_peft_model

    with warnings.catch_warnings():
        # peft still asks transformers by the old name whether activations are checkpointed.
        warnings.filterwarnings("ignore", ".is_gradient_checkpointing.", FutureWarning)
        return get_peft_model(model, config)
