"""Adapters beside the weights of their base, so that one batch holds answers of several models.

What an adapter adds to a layer is added for the rows that asked for it: `x A B * scale`, as peft
computes it, with the indices of the rows put on the device once a step. peft's own mixed batches
(`adapter_names`) look them up anew in every layer, as lists.
"""

# R rows of an adapter, T tokens, I and O what a layer takes and gives

from collections import OrderedDict
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear

from jobs.loaded import with_adapter

Additions = dict[str, tuple[Tensor, Tensor]]
"""A and B (times the scale) of each layer, by the layer's name in the base."""


class Beside:
    """The adapters of one base; those not asked for longest make room."""

    def __init__(self, model: Any, kept: int) -> None:
        """Keep at most `kept` adapters of a model beside its weights."""
        self._model = model
        self._kept = kept
        self._held: OrderedDict[Path, Additions] = OrderedDict()
        self._groups: list[tuple[Additions, Tensor]] = []
        self._hooked: set[str] = set()

    @property
    def names(self) -> frozenset[Path]:
        """The adapters that are in memory."""
        return frozenset(self._held)

    def put(self, folder: Path, needed: Collection[Path]) -> bool:
        """Have an adapter in memory, others making room unless they are needed.

        Returns:
            Whether it can be put beside the weights: it only adds to the output of linear layers.

        Raises:
            EngineError: the adapter is of another model.
        """
        if folder not in self._held:
            additions = read_additions(self._model, folder)
            if additions is None:
                return False
            idle = [name for name in self._held if name not in needed]
            for name in idle[: max(0, len(self._held) + 1 - self._kept)]:
                del self._held[name]
            self._held[folder] = additions
            self._hook(additions)
        self._held.move_to_end(folder)
        return True

    def for_rows(self, adapters: Sequence[Path | None]) -> None:
        """Name the adapter of each row of the next pass through the model; None: the base's."""
        rows: dict[Path, list[int]] = {}
        for row, adapter in enumerate(adapters):
            if adapter is not None:
                rows.setdefault(adapter, []).append(row)
        device = self._model.device
        self._groups = [
            (self._held[name], torch.tensor(rows[name], device=device)) for name in rows
        ]

    def _hook(self, additions: Additions) -> None:
        for name in additions.keys() - self._hooked:
            self._hooked.add(name)
            self._model.get_submodule(name).register_forward_hook(_Added(self, name))

    def added(self, name: str, taken_RTI: Tensor, given_RTO: Tensor) -> Tensor:
        """What a layer gives, with what the adapters of the rows add to it."""
        for additions, rows_R in self._groups:
            pair = additions.get(name)
            if pair is not None:
                addition = linear(linear(taken_RTI[rows_R], pair[0]), pair[1])
                given_RTO.index_add_(0, rows_R, addition)
        return given_RTO


class _Added:
    """The hook of one layer."""

    def __init__(self, beside: Beside, name: str) -> None:
        self._beside = beside
        self._name = name

    def __call__(self, _: Any, taken: tuple[Tensor, ...], given: Tensor) -> Tensor:
        return self._beside.added(self._name, taken[0], given)


@torch.no_grad()
def read_additions(model: Any, folder: Path) -> Additions | None:
    """What an adapter adds to the layers of a model, which is left as it was.

    peft itself reads it, so that its targets, patterns of ranks and scales mean what they mean
    there.

    Returns:
        None where it does more than that (DoRA, biases, embeddings, layers of its own).

    Raises:
        EngineError: the adapter is of another model.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer

    try:
        tuned = with_adapter(model, folder)
    except Exception:
        _take_off(model)  # what was put on before the mistake was found
        raise
    try:
        layers = {
            name.removeprefix("base_model.model."): layer
            for name, layer in tuned.named_modules()
            if isinstance(layer, BaseTunerLayer)
        }
        if not all(_only_adds(layer) for layer in layers.values()) or _has_more(tuned):
            return None
        return {name: _addition(layer, model.dtype) for name, layer in layers.items()}
    finally:
        tuned.unload()


def _take_off(model: Any) -> None:
    """Put the layers of a model back in the place of what peft put around them."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    for name, layer in tuple(model.named_modules()):
        if isinstance(layer, BaseTunerLayer):
            parent, _, own = name.rpartition(".")
            setattr(model.get_submodule(parent), own, layer.get_base_layer())
    if hasattr(model, "peft_config"):
        del model.peft_config  # by which peft would take the next adapter for a second one


def _only_adds(layer: Any) -> bool:
    """Whether an adapted layer is a linear one with two plain matrices beside it."""
    from peft.tuners.lora import Linear

    return (
        isinstance(layer, Linear)
        and not layer.lora_variant
        and not any(layer.lora_bias.values())
        and not layer.fan_in_fan_out
    )


def _has_more(tuned: Any) -> bool:
    settings = tuned.peft_config["default"]
    return settings.bias != "none" or bool(settings.modules_to_save)


def _addition(layer: Any, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    down, up = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    return down.detach().to(dtype).clone(), (up.detach() * layer.scaling["default"]).to(dtype)
