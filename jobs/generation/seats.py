"""The memory of answers that are written at once: seats side by side, each as long as its answer.

A seat holds its prompt and its answer, or its answer alone where prompts are shared (`sharing`).
The first token stands in column 0, whatever is written beside it, and every row of tokens is as
wide as the longest needs, rounded up. So the sums behind a score are taken in the same
order for the same answer, and an answer can take a seat while the others are half written.
"""

# S seats, C columns (tokens a seat has room for now), H heads of keys and values, D their size

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode
from transformers.cache_utils import (
    Cache,
    DynamicCache,
    DynamicLayer,
    get_layer_types_and_kwargs,
)

from jobs.loaded import EngineError

GRAIN = 16
"""Widths are multiples of it: the floats that a CPU adds at once."""
SPARE = 64
"""Columns, at least, that memory grows by: growing is a copy."""
BLOCK = 16
"""Seats that are read together, as far as the longest of them goes."""
SEEN_WHOLE, SEEN_NEAR = "full_attention", "sliding_attention"


class Places:
    """Where the next token of every seat goes; the same in all layers of a model."""

    def __init__(self, held: Sequence[int], device: torch.device) -> None:
        """Take the tokens that each seat holds so far."""
        self.held_S = torch.tensor(held, device=device)
        blocks = [held[start : start + BLOCK] for start in range(0, len(held), BLOCK)]
        self.widths = [rounded(max(block) + 2) for block in blocks]  # one column that nobody sees
        """Of each block of seats, the last one perhaps smaller."""
        self.width = max(self.widths)
        self._index: dict[int, Tensor] = {}

    def index(self, columns: int) -> Tensor:
        """Of each seat's next token in memory of [S, C], flat, seat after seat."""
        if columns not in self._index:
            seats_S = torch.arange(len(self.held_S), device=self.held_S.device)
            self._index[columns] = seats_S * columns + self.held_S
        return self._index[columns]

    def own_mask(self, dtype: torch.dtype) -> Tensor:
        """[S, 1, 1, width], 0 where the next token of a seat sees its answer, else -infinity."""
        columns_C = torch.arange(self.width, device=self.held_S.device)
        mask_SC = torch.zeros(len(self.held_S), self.width, dtype=dtype, device=self.held_S.device)
        mask_SC.masked_fill_(columns_C > self.held_S[:, None], -torch.inf)
        return mask_SC[:, None, None]

    def mask(self, config: Any) -> Tensor | dict[str, Tensor]:
        """Which columns the next token of every seat sees, in a form that models take.

        [S, width] where no window of the model is narrower than that: models make masks of their
        own form of it. Else [S, 1, 1, width], one for all layers or one for each of their types.
        """
        columns_C = torch.arange(self.width, device=self.held_S.device)
        seen_SC = columns_C <= self.held_S[:, None]
        types, kinds = get_layer_types_and_kwargs(config)
        windows = {kind["sliding_window"] for kind in kinds if "sliding_window" in kind}
        if all(self.width <= window for window in windows):
            return seen_SC.long()
        near_SC = seen_SC & (columns_C > self.held_S[:, None] - min(windows))
        masks = {SEEN_WHOLE: seen_SC[:, None, None], SEEN_NEAR: near_SC[:, None, None]}
        return masks[types[0]] if len(set(types)) == 1 else masks


class SeatedLayer(DynamicLayer):  # type: ignore[misc]  # transformers has no types
    """Keys and values of one layer, [S, H, C, D], written in place.

    In memory the heads of a token stand together: writing it is one stroke. The stock layer copies
    all it holds at every token, which costs more than the model where the model is small. Layers
    with a window keep all their keys too: the mask hides the old ones.
    """

    def __init__(self, seats: int) -> None:
        """No memory is taken before the first answer is seated."""
        super().__init__()
        self.seats = seats
        self.places: Places | None = None

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Take the type, the device and the heads of the first keys and values, and no room yet."""
        super().lazy_initialization(key_states, value_states)
        self.keys = _room(key_states, self.seats, 0)
        self.values = _room(value_states, self.seats, 0)

    def seat(self, seat: int, keys: Tensor, values: Tensor) -> None:
        """Put what was read of a prompt, [1, H, tokens, D], into a seat."""
        if not self.is_initialized:
            self.lazy_initialization(keys, values)
        length = keys.shape[2]
        self._reach(length)
        self.keys[seat, :, :length] = keys[0]
        self.values[seat, :, :length] = values[0]

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Write one key and value of every seat, [S, H, 1, D]; return all so far, as views."""
        assert self.places is not None, "nobody said where the tokens go"
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        width = self.places.width
        self._reach(width)
        index = self.places.index(self.keys.shape[2])
        _rows(self.keys).index_copy_(0, index, _rows(key_states))
        _rows(self.values).index_copy_(0, index, _rows(value_states))
        return self.keys[:, :, :width], self.values[:, :, :width]

    def move(self, place: int, seat: int, width: int) -> None:
        """Let a seat take another place, with as many columns as are in use."""
        for held in (self.keys, self.values):
            held[place, :, :width] = held[seat, :, :width]

    def keep(self, seats: Sequence[int], count: int) -> None:
        """Keep these seats, in this order, as the first of `count`.

        Those that are the first already stay where they are, and the memory of the others with
        them.
        """
        self.seats = count
        if not self.is_initialized:  # no answer was longer than a token so far
            return
        if seats == range(count):
            self.keys, self.values = self.keys[:count], self.values[:count]
            return
        self.keys = _grown(self.keys[list(seats)], count, self.keys.shape[2])
        self.values = _grown(self.values[list(seats)], count, self.values.shape[2])

    def get_seq_length(self) -> int:
        """Tokens before the next one, of a seat that is full."""
        return self.places.width - 1 if self.places else 0

    def _reach(self, width: int) -> None:
        columns = self.keys.shape[2]
        if columns < width:
            columns = rounded(max(width, columns + max(SPARE, columns // 4)))
            self.keys = _grown(self.keys, self.seats, columns)
            self.values = _grown(self.values, self.seats, columns)


def _grown(held: Tensor, seats: int, columns: int) -> Tensor:
    """The same in larger memory."""
    grown = _room(held, seats, columns)
    grown[: held.shape[0], :, : held.shape[2]] = held
    return grown


def _room(like: Tensor, seats: int, columns: int) -> Tensor:
    """[S, H, C, D] in the layout of `SeatedLayer`; all is zero, since a mask hides no NaN."""
    _, heads, _, size = like.shape
    return like.new_zeros(seats, columns, heads, size).transpose(1, 2)


def _rows(held: Tensor) -> Tensor:
    """[S, H, C, D] as [S * C, H * D]: a row for each token."""
    seats, heads, columns, size = held.shape
    return held.transpose(1, 2).reshape(seats * columns, heads * size)


def rounded(number: int) -> int:
    """Up to a multiple of `GRAIN`."""
    return -(-number // GRAIN) * GRAIN


def seated_cache(config: Any, seats: int) -> Cache:
    """Memory for so many answers.

    Raises:
        EngineError: the model remembers something other than keys and values.
    """
    types, _ = get_layer_types_and_kwargs(config)
    if odd := set(types) - {SEEN_WHOLE, SEEN_NEAR}:
        raise EngineError(
            f"layers of the kind {min(odd)} keep more than keys and values, which this engine "
            "cannot seat; serve the model with vLLM, and ask it over HTTP"
        )
    return Cache(layers=[SeatedLayer(seats) for _ in types])


def prompt_cache() -> Cache:
    """Memory for one prompt, all of its keys and values."""
    return DynamicCache()


class SharedHeads(TorchFunctionMode):
    """Attention whose queries share one key head (multi-query), without copying it to each of them.

    torch leaves its fast kernel when the numbers of heads differ; a model that relies on it to
    repeat the head pays several times the attention itself. A single query per head is folded into
    the length instead, and longer ones get a view.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Serve `scaled_dot_product_attention`, and pass on everything else."""
        kwargs = kwargs or {}
        if func is not scaled_dot_product_attention or len(args) != 3:
            return func(*args, **kwargs)
        query, key, value = args
        heads = query.shape[1]
        if key.shape[1] != 1 or heads == 1:
            return func(*args, **kwargs)
        if query.shape[2] == 1 and _one_for_all_heads(kwargs.get("attn_mask")):
            return func(query.transpose(1, 2), key, value, **kwargs).transpose(1, 2)
        spread = (-1, heads, -1, -1)
        return func(query, key.expand(spread), value.expand(spread), **kwargs)


def _one_for_all_heads(mask: Tensor | None) -> bool:
    return mask is None or mask.shape[1] == 1
