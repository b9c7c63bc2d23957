"""An adapter added into the weights of its base, one tensor at a time.

The files of the base are copied with the same names, order and types; a tensor that the adapter
changes is computed in float32 and rounded once. So the memory needed is that of the largest tensor,
some times over, however large the model. What cannot be done so is merged by peft, whole.
"""

import json
import struct
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from jobs.declared import UserError
from jobs.hub.cache import INDEX, WHOLE, shards
from jobs.training.settings import Settings

if TYPE_CHECKING:
    from torch import Tensor

# O outputs, I inputs, R rank

ADAPTER = "adapter_model.safetensors"
_PEFT = "base_model.model."
"""What peft puts before the names of a base's layers."""
_PLAIN = {"bias": "none", "lora_bias": False, "fan_in_fan_out": False}
_EMPTY = ("modules_to_save", "rank_pattern", "alpha_pattern", "layer_replication")
_PARTS = ("lora_A.weight", "lora_B.weight", "lora_magnitude_vector")
_DTYPES = {"F32": "float32", "BF16": "bfloat16", "F16": "float16"}


class MergeError(UserError):
    """An adapter that cannot be merged into this base."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Merge:
    """An adapter and the base that it was trained on."""

    base: Path
    """A folder in Hugging Face format."""
    adapter: Path
    """A folder that peft wrote."""
    settings: Settings | None = None
    """Of the training, where it quantized the base. The adapter makes up for the error of that, so
    it is added to the weights as they were then: quantized and expanded again."""

    @property
    def coarse(self) -> bool:
        """Whether the base was quantized in the training."""
        return bool(self.settings and self.settings.adapter and self.settings.adapter.quantization)


@dataclass(frozen=True, slots=True, kw_only=True)
class Low:
    """What an adapter has for one matrix of its base."""

    down: "Tensor"
    """A, [R, I]."""
    up: "Tensor"
    """B, [O, R]."""
    magnitude: "Tensor | None"
    """m of DoRA, [O]."""
    scaling: float

    def merged(self, weight_OI: "Tensor") -> "Tensor":
        """The matrix with the adapter in it, in float32.

        W + s B A (Hu et al. 2021, arXiv:2106.09685, section 4.1); with DoRA each row scaled to the
        length that was trained, m (W + s B A) / |W + s B A| (arXiv:2402.09353, eq. 5).
        """
        import torch

        changed_OI = weight_OI.float() + self.scaling * (self.up.float() @ self.down.float())
        if self.magnitude is None:
            return changed_OI
        length_O: Tensor = torch.linalg.vector_norm(changed_OI, dim=1)
        return (self.magnitude.float() / length_O).unsqueeze(1) * changed_OI


class Merger:
    """Writes the files of a merged model."""

    def __init__(self, merge: Merge) -> None:
        """Read the adapter and find its matrices in the base.

        Raises:
            MergeError: the base lacks files, or a part of one.
        """
        self._merge = merge
        self.files = weight_files(merge.base)
        """Of the base, in order; the merged model has files of the same names."""
        names = {name for file in self.files for name in _whole(file)}
        self._low = _streamable(merge.adapter, names)
        self._names = names

    @property
    def streams(self) -> bool:
        """Whether files can be written one by one; else only `write_whole` does it."""
        return self._low is not None

    @cached_property
    def _coarse(self) -> dict[str, "Callable[[], Tensor]"]:
        return _as_trained(self._merge, self._names) if self._merge.coarse else {}

    def write(self, file: Path, out: Path) -> None:
        """Write the merged form of one file of the base.

        Raises:
            MergeError: bitsandbytes is needed and missing.
        """
        assert self._low is not None
        tensors, start = header(file)
        with file.open("rb") as source, out.open("wb") as target:
            _copy(source, target, start)
            for name, about in sorted(tensors.items(), key=lambda t: t[1]["data_offsets"]):
                begin, end = about["data_offsets"]
                if name in self._low or name in self._coarse:
                    target.write(self._changed(name, about, source.read(end - begin)))
                else:
                    _copy(source, target, end - begin)

    def write_whole(self, folder: Path) -> None:
        """Write the merged model into one file, by peft and with all of it in memory."""
        import torch
        from peft import PeftModel
        from transformers import AutoModelForCausalLM

        if self._merge.coarse:
            model = _loaded_as_trained(self._merge).dequantize()
        else:
            model = AutoModelForCausalLM.from_pretrained(
                self._merge.base, dtype="auto", use_safetensors=True, trust_remote_code=False
            )
        dtype = model.dtype
        with warnings.catch_warnings():
            # peft still asks transformers by an old name whether activations are checkpointed
            warnings.filterwarnings("ignore", ".is_gradient_checkpointing.", FutureWarning)
            tuned = PeftModel.from_pretrained(model.to(torch.float32), self._merge.adapter)
            tuned.merge_and_unload().to(dtype).save_pretrained(folder, max_shard_size="1TB")

    def _changed(self, name: str, about: Mapping[str, Any], content: bytes) -> bytes:
        import torch

        if about["dtype"] not in _DTYPES:
            raise MergeError(
                f"{name} of {self._merge.base} is {about['dtype']}, which has no merge"
            )
        dtype = getattr(torch, _DTYPES[about["dtype"]])
        weight = torch.frombuffer(bytearray(content), dtype=dtype).view(about["shape"])
        if name in self._coarse:
            weight = self._coarse[name]().cpu().view(about["shape"])
        low = self._low[name] if self._low and name in self._low else None
        merged = (low.merged(weight) if low else weight).to(dtype).contiguous()
        return merged.view(torch.uint8).numpy().tobytes()


def weight_files(base: Path) -> list[Path]:
    """The safetensors of a model in a folder, in the order of their names."""
    if (base / WHOLE).is_file():
        return [base / WHOLE]
    if (base / INDEX).is_file():
        return [base / name for name in shards(base / INDEX)]
    raise MergeError(f"{base} holds neither {WHOLE} nor {INDEX}")


def header(file: Path) -> tuple[dict[str, Any], int]:
    """What tensors a safetensors file holds, by name, and at which byte they begin.

    8 bytes of length, then JSON, then the tensors without gaps.
    """
    with file.open("rb") as opened:
        (length,) = struct.unpack("<Q", opened.read(8))
        content = json.loads(opened.read(length))
    content.pop("__metadata__", None)
    return content, 8 + length


def _whole(file: Path) -> dict[str, Any]:
    """The tensors of a file that has all of them."""
    tensors, start = header(file)
    end = start + max((about["data_offsets"][1] for about in tensors.values()), default=0)
    if file.stat().st_size != end:
        raise MergeError(f"{file} has {file.stat().st_size} bytes and should have {end}")
    return tensors


def _streamable(adapter: Path, names: set[str]) -> dict[str, Low] | None:
    """The adapter's matrices by the names of the base's files; None: peft has to do it."""
    from safetensors.torch import load_file

    config = json.loads((adapter / "adapter_config.json").read_text())
    odd = [key for key, value in _PLAIN.items() if config.get(key, value) != value]
    odd += [key for key in _EMPTY if config.get(key)]
    if odd or config.get("peft_type") != "LORA":
        return None
    parts: dict[str, dict[str, Tensor]] = {}
    for key, tensor in load_file(adapter / ADAPTER).items():
        part = next((part for part in _PARTS if key.endswith(f".{part}")), None)
        if part is None:
            return None
        layer = key.removeprefix(_PEFT).removesuffix(f".{part}")
        parts.setdefault(layer, {})[part] = tensor
    rank = config["r"]
    scaling = config["lora_alpha"] / (rank**0.5 if config.get("use_rslora") else rank)
    found = {}
    for layer, tensors in parts.items():
        name = _in_files(f"{layer}.weight", names)
        if name is None:
            return None
        found[name] = Low(
            down=tensors[_PARTS[0]],
            up=tensors[_PARTS[1]],
            magnitude=tensors.get(_PARTS[2]),
            scaling=scaling,
        )
    return found


def _in_files(name: str, names: set[str]) -> str | None:
    """A tensor's name in the files, which may have been written from within the model."""
    inner = name.partition(".")[2]
    return next((one for one in (name, inner) if one in names), None)


def _as_trained(merge: Merge, names: set[str]) -> dict[str, "Callable[[], Tensor]"]:
    """The matrices that were quantized in the training, expanded when asked for."""
    model = _loaded_as_trained(merge)
    from bitsandbytes.functional import dequantize_4bit
    from bitsandbytes.nn import Linear4bit

    found: dict[str, Callable[[], Tensor]] = {}
    for layer, module in model.named_modules():
        name = _in_files(f"{layer}.weight", names)
        if isinstance(module, Linear4bit) and name is not None:
            weight = module.weight
            found[name] = partial(dequantize_4bit, weight.data, weight.quant_state)
    return found


def _loaded_as_trained(merge: Merge) -> Any:
    import torch

    from jobs.training.models import load_base
    from jobs.training.order import TrainingError

    assert merge.settings is not None
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return load_base(str(merge.base), None, merge.settings, device)
    except TrainingError as error:
        raise MergeError(
            f"this adapter was trained on a base of 4 bits and is merged into that only: {error}"
        ) from None


def _copy(source: BinaryIO, target: BinaryIO, length: int) -> None:
    while length:
        content = source.read(min(length, 2**24))
        target.write(content)
        length -= len(content)
