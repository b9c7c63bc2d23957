"""A model as an engine wraps it: micro batches in, the sum of their losses out."""

import os
import shutil
from typing import Any

import torch
from torch import Tensor, nn

from jobs.training import loss
from jobs.training.arithmetic import bf16_pays
from jobs.training.attention import Segments
from jobs.training.isolation import Isolation, at_rest, isolate, partitioned, row
from jobs.training.lora_linear import quicken
from jobs.training.order import TrainingError
from jobs.training.packing import NO_LOSS
from jobs.training.settings import Settings

# B rows beside each other, T tokens, S segments, N tokens with a loss, C channels, V vocabulary


class Trainee(nn.Module):
    """A causal model with its loss; the model is changed in place."""

    model: Any
    """Of transformers, or peft's around it."""
    attention: str
    """How rows are kept apart."""

    def __init__(self, model: Any, settings: Settings) -> None:
        """Install attention, LoRA layers, checkpointing and compilation.

        Args:
            model: on any device, its weights whole.
            settings: `packing`, `activation_checkpointing` and `compile` are looked at.

        Raises:
            TrainingError: rows cannot be packed for this model, or nothing can be compiled here.
        """
        super().__init__()
        self.model = model
        base = self._base
        if not (bf16_pays() or partitioned(base) or getattr(base, "is_quantized", False)):
            base.float()
        base.config.use_cache = False  # a cache makes transformers forget about packed rows
        self._isolation: Isolation | None = (
            isolate(base, quick=not settings.compile) if settings.packing else None
        )
        self.attention = self._isolation.name if self._isolation else "rows side by side"
        self._scale = _scale_of_head(base)
        quicken(model)
        if settings.activation_checkpointing:
            _checkpoint_activations(base)
        if settings.compile:
            _compile_blocks(base)

    def forward(
        self,
        tokens: Tensor,
        targets: Tensor,
        positions: Tensor,
        starts: Tensor | None,
        longest: int,
        places: Tensor | None = None,
    ) -> Tensor:
        """Sum of cross-entropies over the tokens with a loss, in nats, float32.

        See `jobs.training.packing.MicroBatch` for the arguments; without `places` they are looked
        for, which a GPU has to be waited for.
        """
        if places is None:
            places = (targets.flatten() != NO_LOSS).nonzero().flatten()
        base = self._base
        isolation = self._isolation if starts is not None else None
        kept = places if isolation is not None and isolation.keeps and self._scale else None
        told: dict[str, Any] = {"input_ids": tokens, "position_ids": positions, "use_cache": False}
        if starts is not None and isolation is not None:
            dtype = base.get_input_embeddings().weight.dtype
            told |= isolation.told(Segments(starts, longest, kept), tokens, dtype)
        targets_N = targets.flatten()[places]
        if self._scale is None:
            return _through_model(base, told, places, targets_N)
        hidden = base.get_decoder()(**told).last_hidden_state.flatten(0, 1)
        hidden_NC = hidden[places] if kept is None else hidden
        head = base.get_output_embeddings()
        if hasattr(head.weight, "ds_id"):  # gathered by all workers at once, so once for each
            return loss.whole(self._logits, hidden_NC, targets_N)
        return loss.summed(self._logits, hidden_NC, targets_N, base.config.vocab_size)

    def _logits(self, hidden_NC: Tensor) -> Tensor:
        logits_NV: Tensor = self._base.get_output_embeddings()(hidden_NC)
        return logits_NV if self._scale in (1, None) else logits_NV.float() * self._scale

    @property
    def _base(self) -> Any:
        """The model without peft's wrapper, whose layers are in it all the same."""
        return self.model.get_base_model() if hasattr(self.model, "peft_config") else self.model


def _through_model(base: Any, told: dict[str, Any], places: Tensor, targets_N: Tensor) -> Tensor:
    """For models that do more to logits than their output layer does; all at once."""
    columns, rows = told["input_ids"].shape[1], len(told["input_ids"])
    kept, column_N = (places % columns).unique(return_inverse=True)
    logits = base(**told, logits_to_keep=kept).logits
    row_N = places // columns if rows > 1 else torch.zeros_like(places)
    return nn.functional.cross_entropy(logits[row_N, column_N].float(), targets_N, reduction="sum")


def _scale_of_head(base: Any) -> float | None:
    """What the model multiplies the output layer's logits by; None: it does something else."""
    if partitioned(base):
        capped = getattr(base.config, "final_logit_softcapping", None)
        return None if capped or _scales(base.config) else 1.0
    tokens = row(base, 8, 3)[None]
    with at_rest(base):
        told = {"input_ids": tokens, "use_cache": False}
        own = base(**told).logits.float()
        bare = base.get_output_embeddings()(base.get_decoder()(**told).last_hidden_state).float()
    tolerance = 2e-2 * float(own.abs().max())
    for scale in (1.0, *_scales(base.config)):
        if float((bare * scale - own).abs().max()) <= tolerance:
            return scale
    return None


def _scales(config: Any) -> list[float]:
    """By the names that Granite and Cohere have for them."""
    divided, multiplied = (getattr(config, n, None) for n in ("logits_scaling", "logit_scale"))
    return ([1 / divided] if divided else []) + ([multiplied] if multiplied else [])


def _checkpoint_activations(base: Any) -> None:
    base.activation_checkpointing_enable({"use_reentrant": False})
    base.disable_input_require_grads()  # only the reentrant kind needs them


def _compile_blocks(base: Any) -> None:
    from transformers.modeling_layers import GradientCheckpointingLayer

    compiler = os.environ.get("CXX", "g++")
    if next(base.parameters()).device.type == "cpu" and shutil.which(compiler) is None:
        raise TrainingError(
            f"compile needs a C++ compiler, and there is no {compiler}; install one, or set "
            "compile: false"
        )
    for block in base.modules():
        if isinstance(block, GradientCheckpointingLayer):
            block.compile()
