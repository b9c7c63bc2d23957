"""Bases in memory, shared by the models that were tuned from them: no base is read twice.

An adapter is merged into the weights that it covers, as `jobs.loaded.load_model` does, so a model
answers as if it had been loaded alone, to the last bit. What is covered is copied before, to the
host, and copied back when the adapter comes off: subtracting it again would leave rounding behind.
"""

import json
from collections import OrderedDict
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from jobs.loaded import Loaded, Precision, load_model, merged, with_adapter
from jobs.weights import Weights

_REPLACING = ("modules_to_save", "trainable_token_indices")
"""In an adapter's own words: what it holds beyond additions to layers. Such a one is not shared."""


class Bases:
    """Models in memory, one for each base; the base not asked for longest makes room.

    Not for several threads: a base carries one adapter at a time.
    """

    def __init__(self, kept: int = 1) -> None:
        """Keep at most `kept` bases, or models of their own weights, in memory."""
        self._kept = kept
        self._held: OrderedDict[tuple[Any, ...], Base] = OrderedDict()

    def holds(self, weights: Weights, precision: Precision = "fp32") -> bool:
        """Whether `take` reads no base from a disk for these weights."""
        return base_key(weights, precision) in self._held

    def take(self, weights: Weights, precision: Precision = "fp32") -> Loaded:
        """The model of these weights, loaded where its base is not there yet.

        What was taken before of the same base turns into this model.

        Raises:
            EngineError: the model names no end token, or the adapter is of another model.
            OSError: there is no such model.
        """
        if not shared(weights):
            return load_model(weights, precision)
        key = base_key(weights, precision)
        if key not in self._held:
            while len(self._held) >= self._kept:
                self._held.popitem(last=False)
            self._held[key] = Base(load_model(without_adapter(weights), precision))
        self._held.move_to_end(key)
        try:
            self._held[key].wear(weights.adapter)
        except BaseException:
            del self._held[key]  # half of an adapter may be on it
            raise
        return self._held[key].loaded


def base_key(weights: Weights, precision: Precision) -> tuple[Any, ...]:
    """What models share a base by."""
    own = () if shared(weights) else (weights.adapter,)
    return weights.source, weights.quantization, precision, *own


def shared(weights: Weights) -> bool:
    """Whether a model is had from its base in memory: its adapter, if any, only adds to layers."""
    return weights.adapter is None or _adds(weights.adapter)


def without_adapter(weights: Weights) -> Weights:
    """What an adapter is put on; weights without one as they are."""
    return replace(weights, tuned=None) if weights.adapter else weights


@dataclass(slots=True)
class Base:
    """A model, the adapter that is on it, and what that adapter covers."""

    loaded: Loaded
    adapter: Path | None = None
    covered: dict[str, Tensor] = field(default_factory=dict)

    @torch.no_grad()
    def wear(self, adapter: Path | None) -> None:
        """Put an adapter on instead of the one that is on; None: as the base came."""
        if adapter == self.adapter:
            return
        model = self.loaded.model
        for name, weight in self.covered.items():
            model.get_parameter(name).copy_(weight)
        self.covered, self.adapter = {}, None
        if adapter is not None:
            tuned = with_adapter(model, adapter)
            self.covered = _covered(model)
            self.loaded.model = merged(tuned)
            self.adapter = adapter


def _covered(model: Any) -> dict[str, Tensor]:
    """Copies of the weights that an adapter is put on, by their names without it."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    return {
        f"{name}.{own}": weight.detach().to("cpu", copy=True)
        for name, module in model.named_modules()
        if isinstance(module, BaseTunerLayer)
        for own, weight in module.get_base_layer().named_parameters(recurse=False)
    }


def _adds(adapter: Path) -> bool:
    """Whether an adapter only adds to layers; a folder that holds none is found out later."""
    path = adapter / "adapter_config.json"
    settings = json.loads(path.read_text()) if path.is_file() else {}
    return not any(settings.get(name) for name in _REPLACING)
