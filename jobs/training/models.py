"""Models that are trained: loaded, made trainable, and written as others read them."""

import json
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.training.order import TrainingError
from jobs.training.settings import Adapter, Quantization, Settings

if TYPE_CHECKING:
    import torch
    from torch import Tensor

ADAPTER = "adapter_model.safetensors"
SHARD = "5GB"
"""Largest file of a whole model."""


class ModelError(TrainingError):
    """A model that cannot be loaded or tuned as asked, or weights of another one."""


def load_base(
    location: str, revision: str | None, settings: Settings, device: "torch.device | None" = None
) -> Any:
    """The base model as it came, for training.

    Frozen weights are bfloat16 or float32, as `settings.precision` says, or of 4 bits. Weights
    that are all trained are float32: an update is mostly smaller than bfloat16 can add.

    Args:
        location: a folder in Hugging Face format, or a repository on the hub.
        revision: a commit; None for a folder.
        settings: of the training.
        device: where the weights go, one tensor at a time; None: to the host.

    Raises:
        ModelError: there is no such model, it brings code of its own, lacks weights, or
            bitsandbytes is needed and missing.
    """
    from transformers import AutoModelForCausalLM
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    try:
        with quantizable():
            model, found = AutoModelForCausalLM.from_pretrained(
                location,
                revision=revision or "main",
                use_safetensors=True,
                trust_remote_code=False,
                output_loading_info=True,
                **_form(settings, device),
            )
    except (OSError, ValueError) as error:
        raise ModelError(f"{location}: {error}") from error
    _expect_whole(location, found)
    model.config.use_cache = False
    if settings.adapter is not None and settings.adapter.quantization is not None:
        expect_quantized(model, location)
    _keep_quantized(model)
    return model


def quantized(quantization: Quantization, dtype: "torch.dtype") -> Any:
    """How 4-bit weights are loaded: in blocks, their scales quantized again (arXiv:2305.14314).

    Args:
        quantization: `nf4` or `fp4`.
        dtype: of the arithmetic; weights are expanded to it.

    Raises:
        ModelError: bitsandbytes is not installed.
    """
    from transformers import BitsAndBytesConfig

    if find_spec("bitsandbytes") is None:
        raise ModelError(f"weights in {quantization} need bitsandbytes: pip install bitsandbytes")
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=quantization,
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )


@contextmanager
def quantizable() -> Iterator[None]:
    """Models loaded within have torch's own linear layers: transformers passes over others when it
    quantizes, without a word, and Falcon's, which compute the same, are others."""
    import torch
    from transformers.models.falcon import modeling_falcon

    own = modeling_falcon.FalconLinear
    modeling_falcon.FalconLinear = torch.nn.Linear
    try:
        yield
    finally:
        modeling_falcon.FalconLinear = own


def expect_quantized(model: Any, location: str) -> None:
    """Check that a model that was loaded in 4 bits has layers of 4 bits.

    Raises:
        ModelError: it has none.
    """
    if not any(type(module).__name__ == "Linear4bit" for module in model.modules()):
        raise ModelError(f"{location}: none of its layers was quantized; it cannot be tuned so")


def tuned(base: Any, settings: Settings, seed: int) -> Any:
    """A base, made trainable: with fresh adapters in float32 and all else frozen, or as a whole.

    The seed decides the adapters' weights.

    Raises:
        ModelError: `targets` names no layer of this model.
    """
    import torch

    if settings.adapter is None:
        return base.float().requires_grad_(True)
    torch.manual_seed(seed)
    try:
        return _with_adapters(base, _peft_config(settings.adapter))
    except ValueError as error:
        linear = {
            name.rpartition(".")[2]
            for name, module in base.named_modules()
            if isinstance(module, torch.nn.Linear)
        }
        raise ModelError(
            f"targets {settings.adapter.targets!r}: {error} "
            f"Linear layers here: {', '.join(sorted(linear))}"
        ) from error


def trained(model: Any) -> Iterator[tuple[str, Any]]:
    """What is trained, each tensor once, however many layers share it, under its own name."""
    return ((name, one) for name, one in model.named_parameters() if one.requires_grad)


def file_names(model: Any, weights: Mapping[str, "Tensor"]) -> dict[str, "Tensor"]:
    """Trained tensors under the names that they have in a file, from their own."""
    if not hasattr(model, "peft_config"):
        return dict(weights)
    from peft import get_peft_model_state_dict

    found: dict[str, Tensor] = get_peft_model_state_dict(
        model, state_dict=dict(weights), save_embedding_layers=False
    )
    return found


def save(model: Any, weights: Mapping[str, "Tensor"], folder: Path, tokenizer: Any = None) -> None:
    """Write what was trained as others read it.

    An adapter in peft's format: its configuration and float32. A whole model in Hugging Face's: its
    configuration, how it generates, its tokenizer, and bfloat16 in files of at most 5 GB.

    Args:
        model: a model that `tuned` made; its own weights are not looked at.
        weights: what an engine's `weights` returned.
        folder: made where it is not there.
        tokenizer: written beside a whole model.
    """
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    if hasattr(model, "peft_config"):
        model.peft_config["default"].save_pretrained(str(folder))
        save_file(dict(weights), folder / ADAPTER, metadata={"format": "pt"})
    else:
        _save_whole(model, weights, folder)
        if tokenizer is not None:
            tokenizer.save_pretrained(str(folder))


def read(folder: Path) -> dict[str, "Tensor"]:
    """The weights of an adapter that `save` wrote."""
    from safetensors.torch import load_file

    found: dict[str, Tensor] = load_file(folder / ADAPTER)
    return found


def restore(model: Any, weights: Mapping[str, "Tensor"]) -> None:
    """Give a model that `tuned` made the weights that an engine's `weights` returned.

    It takes them before an engine is prepared around it: ZeRO copies what it finds.

    Raises:
        ModelError: a tensor is missing, is one too many, or has another shape.
    """
    import torch

    own = file_names(model, dict(trained(model)))
    if set(own) != set(weights):
        other = sorted(set(own) ^ set(weights))
        raise ModelError(f"these are weights of another model, which differ in {other[0]}")
    for name, parameter in own.items():
        shape, found = list(shape_of(parameter)), list(weights[name].shape)
        if shape != found:
            raise ModelError(
                f"these are weights of another model: {name} is {found}, and would be {shape}"
            )
    for name, parameter in own.items():
        with whole([parameter], changed=True), torch.no_grad():
            parameter.copy_(weights[name])


def whole(parameters: Iterable[Any], *, changed: bool = False) -> Any:
    """A context in which tensors are whole on every worker, where ZeRO-3 has spread them.

    Args:
        parameters: the tensors.
        changed: they are written within; what rank 0 writes stays.
    """
    spread = [one for one in parameters if hasattr(one, "ds_id")]
    if not spread:
        return nullcontext()
    import deepspeed

    return deepspeed.zero.GatheredParameters(spread, modifier_rank=0 if changed else None)


def _keep_quantized(model: Any) -> None:
    """Else bitsandbytes packs weights anew when a model is measured on some CPUs, and those have no
    gradient any more."""
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


def shape_of(parameter: Any) -> Any:
    """Of the whole tensor, where ZeRO-3 leaves an empty one."""
    return getattr(parameter, "ds_shape", parameter.shape)


def _form(settings: Settings, device: "torch.device | None") -> dict[str, Any]:
    """In what form, and where, the weights are loaded."""
    import torch

    dtype = torch.bfloat16 if settings.precision == "bf16" else torch.float32
    if settings.adapter is None:
        dtype = torch.float32
    form: dict[str, Any] = {"dtype": dtype}
    if settings.adapter is not None and settings.adapter.quantization is not None:
        form["quantization_config"] = quantized(settings.adapter.quantization, dtype)
        form["device_map"] = {"": device or torch.device("cpu")}
    elif device is not None and device.type != "cpu":
        form["device_map"] = {"": device}
    return form


def _expect_whole(location: str, found: Mapping[str, Any]) -> None:
    """Transformers fills what a file lacks with random numbers, and only warns."""
    lacking = sorted(found["missing_keys"]) + sorted(str(one) for one in found["mismatched_keys"])
    if lacking:
        raise ModelError(f"{location} lacks weights of its own architecture, such as {lacking[0]}")


def _peft_config(adapter: Adapter) -> Any:
    from peft import LoraConfig

    targets = adapter.targets if isinstance(adapter.targets, str) else list(adapter.targets)
    return LoraConfig(
        r=adapter.rank,
        lora_alpha=adapter.alpha,
        lora_dropout=adapter.dropout,
        target_modules=targets,
        use_rslora=adapter.rslora,
        use_dora=adapter.dora,
        task_type="CAUSAL_LM",
    )


def _with_adapters(model: Any, config: Any) -> Any:
    from peft import get_peft_model

    with warnings.catch_warnings():
        # peft still asks transformers by the old name whether activations are checkpointed.
        warnings.filterwarnings("ignore", ".is_gradient_checkpointing.", FutureWarning)
        return get_peft_model(model, config)


def _save_whole(model: Any, weights: Mapping[str, "Tensor"], folder: Path) -> None:
    import torch
    from transformers import GenerationConfig

    rounded = {name: tensor.to(torch.bfloat16) for name, tensor in weights.items()}
    generation, cache = model.generation_config, model.config.use_cache
    # Transformers refuses to write some of the files that it reads, such as a temperature without
    # do_sample, which is common.
    model.generation_config, model.config.use_cache = GenerationConfig(), True
    try:
        model.save_pretrained(str(folder), state_dict=rounded, max_shard_size=SHARD)
    finally:
        model.generation_config, model.config.use_cache = generation, cache
    (folder / "generation_config.json").write_text(generation.to_json_string())
    path = folder / "config.json"
    config = json.loads(path.read_text()) | {"dtype": "bfloat16"}
    path.write_text(json.dumps(config, indent=2) + "\n")
