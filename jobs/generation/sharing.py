"""Answers to one prompt look at one copy of it: on a CPU, what is read again is in its cache.

The attention of a token is taken in two parts, over the prompt and over the answer so far, which
are joined by their sums of exponentials (`merge_state` of Ye et al. 2025, arXiv:2501.01005,
section 2.2). Each answer is a row of its own in both, so the order of its sums is the same whatever
is written beside it.
"""

# S seats, G seats of one prompt, H heads, Q queries a head (those of a group of heads), D head size

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode
from transformers.cache_utils import Cache, get_layer_types_and_kwargs

from jobs.loaded import EngineError, Loaded

_attend = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
"""The kernel behind `scaled_dot_product_attention` on a CPU, which also tells the sums."""


class SharedPrompts(TorchFunctionMode):
    """While it is entered, each layer's attention is over the seats' prompts too."""

    def __init__(self, layers: int) -> None:
        """Of a model with so many layers."""
        super().__init__()
        self._layers = layers
        self._served = 0
        self._groups: list[tuple[Tensor, Cache]] = []

    def look_at(self, prompts: Sequence[Cache | None]) -> "SharedPrompts":
        """Name the prompt of each seat, None of a free one, for the next token of all."""
        seats: dict[int, list[int]] = {}
        for seat, prompt in enumerate(prompts):
            if prompt is not None:
                seats.setdefault(id(prompt), []).append(seat)
        named = {id(prompt): prompt for prompt in prompts if prompt is not None}
        self._groups = [(torch.tensor(seats[key]), named[key]) for key in seats]
        self._served = 0
        return self

    def all_served(self) -> None:
        """Find out that no layer took another way past this.

        Raises:
            EngineError: one did, so the answers are not the model's.
        """
        if self._served != self._layers:
            raise EngineError(
                f"{self._served} of {self._layers} layers use torch's attention, which this engine "
                "relies on; serve the model with vLLM, and ask it over HTTP"
            )

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Serve `scaled_dot_product_attention`, and pass on everything else."""
        kwargs = kwargs or {}
        if func is not scaled_dot_product_attention:
            return func(*args, **kwargs)
        query, key, value = args
        layer, self._served = self._served, self._served + 1
        if query.shape[1] != key.shape[1]:  # one head of keys for all queries
            turned = query.transpose(1, 2)
            return self._joined(layer, turned, key, value, kwargs).transpose(1, 2)
        return self._joined(layer, query, key, value, kwargs)

    def _joined(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, told: dict[str, Any]
    ) -> Tensor:
        """Attention of [S, H, Q, D] over the answers, in `key` and `value`, and the prompts."""
        scale = told.get("scale")
        own, own_sums = _attend(
            query, key, value, 0.0, False, attn_mask=told["attn_mask"], scale=scale
        )
        read, sums = torch.zeros_like(own), torch.full_like(own_sums, -torch.inf)
        for seats_G, prompt in self._groups:
            spread = (len(seats_G), -1, -1, -1)
            keys, values = prompt.layers[layer].keys, prompt.layers[layer].values
            read[seats_G], sums[seats_G] = _attend(
                query[seats_G], keys.expand(spread), values.expand(spread), 0.0, False, scale=scale
            )
        share = torch.sigmoid(sums - own_sums)[..., None]  # of the prompt, in float32
        joined: Tensor = (own + (read - own) * share).to(query.dtype)
        return joined


def may_share(loaded: Loaded) -> bool:
    """Whether prompts can be shared: on a CPU, by a model that adds nothing to its attention.

    A model with a window cannot, however short its prompts are: one long question must not change
    the order of sums of the others.
    """
    config = loaded.model.config.get_text_config(decoder=True)
    kinds = get_layer_types_and_kwargs(config)[1]
    return (
        loaded.device.type == "cpu"
        and config._attn_implementation == "sdpa"
        and not getattr(config, "alibi", False)
        and not any(kind.get("sliding_window") for kind in kinds)
    )
