"""Answers to one prompt look at one copy of it: on a CPU, what is read again is in its cache.

The attention of a token is taken in two parts, over the prompt and over the answer so far, which
are joined by their sums of exponentials (`merge_state` of Ye et al. 2025, arXiv:2501.01005,
section 2.2). Over its own answer a seat is a row of its own. Over a prompt the seats that share it
are rows of one product, always `LOT` of them, empty ones too. So the order of the sums of an answer
is the same whatever is written beside it.
"""

# S seats, H heads, Q queries a head (those of a group of heads), D head size,
# L lots of one prompt, R rows of all lots

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode
from transformers.cache_utils import Cache, get_layer_types_and_kwargs

from jobs.generation.seats import BLOCK
from jobs.loaded import EngineError, Loaded

LOT = 16
"""Seats that look at a prompt in one product; with fewer rows sums are taken in another order."""
_attend = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
"""The kernel behind `scaled_dot_product_attention` on a CPU, which also tells the sums."""


class SharedPrompts(TorchFunctionMode):
    """While it is entered, each layer's attention is over the seats' prompts too."""

    def __init__(self, layers: int) -> None:
        """Of a model with so many layers."""
        super().__init__()
        self._layers = layers
        self._served = 0
        self._prompts: list[tuple[int, Cache]] = []
        """Each prompt that is looked at, and by how many lots."""
        self._seats_R = torch.empty(0, dtype=torch.long)
        """The seat of each row, lot after lot; an empty row repeats one."""
        self._rows_S = torch.empty(0, dtype=torch.long)
        """Where each seat's row is."""
        self._widths: list[int] = []

    def look_at(self, prompts: Sequence[Cache | None], widths: Sequence[int]) -> "SharedPrompts":
        """Name the prompt of each seat, for the next token of all.

        Args:
            prompts: of each seat; a free one, None, reads any of them, and nobody reads its row.
            widths: of each block of seats, see `Places`.
        """
        named = {id(prompt): prompt for prompt in prompts if prompt is not None}
        anyone = next(iter(named))
        seats: dict[int, list[int]] = {key: [] for key in named}
        for seat, prompt in enumerate(prompts):
            seats[anyone if prompt is None else id(prompt)].append(seat)
        self._prompts = [(-(-len(seats[key]) // LOT), named[key]) for key in named]
        rows = [seat for key in named for seat in _filled(seats[key])]
        self._seats_R = torch.tensor(rows)
        self._rows_S = torch.tensor([rows.index(seat) for seat in range(len(prompts))])
        self._widths = list(widths)
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
        own, own_sums = self._own(query, key, value, told["attn_mask"], scale)
        read, sums = self._read(layer, query, scale)
        share = torch.sigmoid(sums - own_sums)[..., None]  # of the prompt, in float32
        joined: Tensor = (own + (read - own) * share).to(query.dtype)
        return joined

    def _own(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor, scale: float | None
    ) -> tuple[Tensor, Tensor]:
        """Attention over each seat's own answer, a block of seats at a time."""
        parts = []
        for block, width in enumerate(self._widths):
            seats = slice(block * BLOCK, (block + 1) * BLOCK)
            keys, values = key[seats, :, :width], value[seats, :, :width]
            seen = mask[seats, ..., :width]
            parts.append(
                _attend(query[seats], keys, values, 0.0, False, attn_mask=seen, scale=scale)
            )
        outputs, sums = zip(*parts, strict=True)
        return torch.cat(outputs), torch.cat(sums)

    def _read(self, layer: int, query: Tensor, scale: float | None) -> tuple[Tensor, Tensor]:
        """Attention over the prompts, a lot of seats at a time.

        In memory the heads of a query stand together, as the kernel leaves its output: so a row is
        brought to its lot and back in one stroke.
        """
        _, heads, queries, size = query.shape
        rows = query.transpose(1, 2).index_select(0, self._seats_R)
        lots = rows.view(-1, LOT * queries, heads, size).transpose(1, 2)
        parts, first = [], 0
        for count, prompt in self._prompts:
            held = prompt.layers[layer]
            looking, first = lots[first : first + count], first + count
            keys, values = (of.expand(count, -1, -1, -1) for of in (held.keys, held.values))
            parts.append(_attend(looking, keys, values, 0.0, False, scale=scale))
        outputs, sums = (
            torch.cat([of.transpose(1, 2) for of in part]) for part in zip(*parts, strict=True)
        )
        read = outputs.view(-1, queries, heads, size).index_select(0, self._rows_S)
        read_sums = sums.view(-1, queries, heads).index_select(0, self._rows_S)
        return read.transpose(1, 2), read_sums.transpose(1, 2)


def _filled(seats: list[int]) -> list[int]:
    """As many as fill lots."""
    return seats + seats[:1] * (-len(seats) % LOT)


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
