"""Rows behind each other that do not see each other.

Position ids alone keep nothing apart: some models ignore them (Falcon), others build a mask from
them only while no cache is in use. So attention runs on each segment for itself, and what a model
does with it is looked at before the first step.
"""

from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor

# T tokens, H heads, K heads of keys and values, D size of a head

SEGMENTS = "codeladder_segments"
"""Our name among the attentions of transformers."""


class Segments(NamedTuple):
    """Where rows lie in a pack."""

    starts: Tensor
    """int32 [S + 1]: where each starts, and where the last ends."""
    longest: int
    """At least the tokens of the longest."""
    kept: Tensor | None = None
    """int64 [N]: the only places of which the decoder's output is wanted; None: all."""


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    segments: Segments,
    *,
    scale: float,
    window: int | None = None,
) -> Tensor:
    """Causal attention of each segment to itself.

    Args:
        query: [1, H, T, D], rotated already.
        key: [1, K, T, D]; H is a multiple of K.
        value: [1, K, T, D].
        segments: they cover all T.
        scale: what products of query and key are multiplied by.
        window: how many tokens a token sees, itself counted; None: all before it.

    Returns:
        [1, T, H, D].
    """
    query, key = query.to(value.dtype), key.to(value.dtype)  # autocast leaves them in float32
    if query.device.type != "cuda":
        found: Tensor = segmented(query, key, value, segments.starts, scale, window or 0)[0]
        return found
    if value.dtype in (torch.bfloat16, torch.float16) and query.shape[-1] <= 256:
        return _flash(query, key, value, segments, scale, window)
    return _masked(query, key, value, segments, scale, window)


def _flash(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    segments: Segments,
    scale: float,
    window: int | None,
) -> Tensor:
    from torch.nn.attention.varlen import varlen_attn

    found = varlen_attn(
        query[0].transpose(0, 1),
        key[0].transpose(0, 1),
        value[0].transpose(0, 1),
        segments.starts,
        segments.starts,
        segments.longest,
        segments.longest,
        scale=scale,
        window_size=(window - 1 if window else -1, 0),
        enable_gqa=query.shape[1] != key.shape[1],
    )
    assert isinstance(found, Tensor)
    return found[None]


def _masked(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    segments: Segments,
    scale: float,
    window: int | None,
) -> Tensor:
    return torch.nn.functional.scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=block_mask(segments.starts, query.shape[2], window),
        scale=scale,
        enable_gqa=query.shape[1] != key.shape[1],
    ).transpose(1, 2)


def block_mask(starts: Tensor, length: int, window: int | None = None) -> Tensor:
    """Bool [1, 1, length, length]: which token sees which.

    Args:
        starts: see `Segments`.
        length: tokens of the pack.
        window: see `attend`.
    """
    places_T = torch.arange(length, device=starts.device)
    segment_T = torch.searchsorted(starts, places_T.to(starts.dtype), right=True)
    back_TT = places_T[:, None] - places_T[None, :]
    seen_TT = (segment_T[:, None] == segment_T[None, :]) & (back_TT >= 0)
    if window:
        seen_TT &= back_TT < window
    return seen_TT[None, None]


@torch.library.custom_op("codeladder::segmented", mutates_args=())
def segmented(
    query: Tensor, key: Tensor, value: Tensor, starts: Tensor, scale: float, window: int
) -> tuple[Tensor, Tensor]:
    """`attend` on a CPU, one segment after the other; a window of 0 is none.

    It is an operator of its own so that torch.compile need not see the lengths, which differ from
    pack to pack.

    Returns:
        [1, T, H, D], and the logarithms of the sums [1, H, T] that the backward pass needs.
    """
    found, sums = zip(
        *(
            _FORWARD(
                query[:, :, start:end],
                key[:, :, start:end],
                value[:, :, start:end],
                is_causal=True,
                attn_mask=_band(end - start, window, query),
                scale=scale,
            )
            for start, end in _filled(starts)
        ),
        strict=True,
    )
    return torch.cat([one.transpose(1, 2) for one in found], 1), torch.cat(sums, 2)


@segmented.register_fake
def _(
    query: Tensor, key: Tensor, value: Tensor, starts: Tensor, scale: float, window: int
) -> tuple[Tensor, Tensor]:
    _, heads, length, size = query.shape
    return (
        query.new_empty(1, length, heads, size),
        query.new_empty(1, heads, length, dtype=torch.float32),
    )


@torch.library.custom_op("codeladder::segmented_backward", mutates_args=())
def _segmented_backward(
    gradient: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    found: Tensor,
    sums: Tensor,
    starts: Tensor,
    scale: float,
    window: int,
) -> tuple[Tensor, Tensor, Tensor]:
    dtype = query.dtype
    # In float32 whatever the inputs: nearer the truth, and with bfloat16 the kernel takes 2.6 times
    # as long for segments of some hundred tokens, on a CPU with AMX too.
    gradient, query, key, value, found = (
        one.float() for one in (gradient, query, key, value, found)
    )
    parts = [
        _BACKWARD(
            gradient[:, start:end].transpose(1, 2),
            query[:, :, start:end],
            key[:, :, start:end],
            value[:, :, start:end],
            found[:, start:end].transpose(1, 2),
            sums[:, :, start:end],
            0.0,
            True,
            attn_mask=_band(end - start, window, query),
            scale=scale,
        )
        for start, end in _filled(starts)
    ]
    by_query, by_key, by_value = (
        torch.cat([part.transpose(1, 2) for part in one], 1).to(dtype).transpose(1, 2)
        for one in zip(*parts, strict=True)
    )
    return by_query, by_key, by_value


@_segmented_backward.register_fake
def _(
    gradient: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    found: Tensor,
    sums: Tensor,
    starts: Tensor,
    scale: float,
    window: int,
) -> tuple[Tensor, Tensor, Tensor]:
    by_query, by_key, by_value = (
        one.new_empty(one.transpose(1, 2).shape).transpose(1, 2) for one in (query, key, value)
    )
    return by_query, by_key, by_value


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    query, key, value, starts, ctx.scale, ctx.window = inputs
    ctx.save_for_backward(query, key, value, *output, starts)


def _backward(ctx: Any, gradient: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    query, key, value, found, sums, starts = ctx.saved_tensors
    parts = _segmented_backward(
        gradient, query, key, value, found, sums, starts, ctx.scale, ctx.window
    )
    return *parts, None, None, None


segmented.register_autograd(_backward, setup_context=_setup)

_FORWARD = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_BACKWARD = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


def _filled(starts: Tensor) -> list[tuple[int, int]]:
    bounds = starts.tolist()
    return [(start, end) for start, end in pairwise(bounds) if start < end]


def _band(length: int, window: int, like: Tensor) -> Tensor | None:
    """What a window hides; the kernel's own causal rule hides the rest."""
    if not 0 < window < length:
        return None
    hidden = torch.full((length, length), float("-inf"), dtype=like.dtype)
    return hidden.tril(-window)
