"""How a model is told which rows lie behind each other, and the proof that it keeps them apart."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from jobs.training.attention import SEGMENTS, Segments, attend, block_mask
from jobs.training.order import TrainingError

# T tokens, S segments, C channels

PROBE = 8
"""Tokens of a row that the proof packs, where no window asks for more."""
LARGEST_WINDOW = 256
"""Windows up to here are proven too; longer ones would make the proof slow."""
TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 3e-2, torch.float16: 1e-2}
"""Of hidden states, relative to the largest: what other kernels may round differently."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Isolation:
    """One way to keep rows apart."""

    name: str
    """Of the attention, for the facts of a training."""
    told: Callable[[Segments, Tensor, torch.dtype], Mapping[str, Any]]
    """Arguments of the decoder, from segments, tokens [1, T] and the dtype of its weights."""
    keeps: bool = False
    """Whether the decoder returns the places only that the segments keep."""


def isolate(model: Any, *, quick: bool = True) -> Isolation:
    """Make a causal model keep packed rows apart, and prove that it does.

    Args:
        model: of transformers, without a wrapper. Its attention may be replaced.
        quick: also replace what else is slow where nothing is compiled.

    Raises:
        TrainingError: it keeps a state from token to token, or lets packed rows see each other
            whatever it is told.
    """
    kind = type(model).__name__
    if getattr(model, "_is_stateful", False):
        raise TrainingError(
            f"{kind} carries a state from token to token, which would leak from row to row; "
            "set packing: false"
        )
    if getattr(model.config, "alibi", False):
        raise TrainingError(
            f"{kind} with alibi rounds by the place of a token in the pack; set packing: false"
        )
    if getattr(model.config, "model_type", "") == "falcon":
        ways = [_falcon]
    else:
        ways = [_quick] * quick + [_interface, _positions, _mask]
    if partitioned(model):  # no part of it can run yet, so nothing that needs proof is taken
        return _unproven(model, [way for way in ways if way is not _positions])
    with at_rest(model):
        alone_TC = _probe(model)
        before = model.config._attn_implementation
        refused: Exception | None = None
        for way in ways:
            try:
                isolation = way(model)
                if _apart(model, isolation, alone_TC):
                    return isolation
            except torch.OutOfMemoryError:
                raise
            except (TypeError, ValueError, RuntimeError, AttributeError) as error:
                refused = error  # this model does not take this way; the next may be its own
            model.set_attn_implementation(before)
    raise TrainingError(
        f"{kind} does not keep rows apart that lie behind each other; set packing: false"
    ) from refused


def _unproven(model: Any, ways: Sequence[Callable[[Any], Isolation]]) -> Isolation:
    """The first way that a model takes; a mask, the last of them, is taken by all."""
    for way in ways[:-1]:
        try:
            return way(model)
        except (ValueError, AttributeError):
            continue
    return ways[-1](model)


def _falcon(model: Any) -> Isolation:
    from jobs.training import falcon

    falcon.segment(model.get_decoder())
    return Isolation(name=_kernel(model), told=_segments)


def _quick(model: Any) -> Isolation:
    from jobs.training.quick_blocks import quicken_blocks

    isolation = _interface(model)
    quicken_blocks(model.get_decoder())
    return replace(isolation, keeps=True)


def _interface(model: Any) -> Isolation:
    kinds = set(getattr(model.config, "layer_types", None) or ())
    if not kinds <= {"full_attention", "sliding_attention"}:
        raise ValueError(f"no segments for {kinds}")
    if any(getattr(model.config, name, 0.0) for name in ("attention_dropout", "attn_pdrop")):
        raise ValueError("no segments with dropout")
    _register()
    model.set_attn_implementation(SEGMENTS)
    if model.config._attn_implementation != SEGMENTS:
        raise ValueError("the model does not use the interface for attentions")
    return Isolation(name=_kernel(model), told=_segments)


def _positions(model: Any) -> Isolation:
    return Isolation(name="mask made by the model from positions", told=lambda *_: {})


def _mask(model: Any) -> Isolation:
    def told(segments: Segments, tokens: Tensor, dtype: torch.dtype) -> Mapping[str, Any]:
        seen = block_mask(segments.starts, tokens.shape[1])
        hidden = torch.zeros(seen.shape, dtype=dtype, device=seen.device)
        return {"attention_mask": hidden.masked_fill(~seen, torch.finfo(dtype).min)}

    return Isolation(name="mask of blocks", told=told)


def _segments(segments: Segments, *_: Any) -> Mapping[str, Any]:
    return {"segments": segments}


def _kernel(model: Any) -> str:
    weight = next(model.parameters())
    if weight.device.type != "cuda":
        return "each segment by itself"
    exact = weight.dtype == torch.float32  # of which the kernel has none
    return "mask of blocks in every layer" if exact else "flash attention, variable lengths"


def _register() -> None:
    from transformers import AttentionInterface

    AttentionInterface.register(SEGMENTS, _attention)


def _attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    segments: Segments | None = None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """What transformers calls in every layer; without segments all T are one.

    Raises:
        NotImplementedError: the model asks for what `attend` does not do.
    """
    asked = [name for name in ("softcap", "s_aux", "position_bias") if kwargs.get(name) is not None]
    if asked or dropout or kwargs.get("is_causal") is False or attention_mask is not None:
        raise NotImplementedError(f"attention with {asked or 'dropout, or a mask'}")
    if segments is None:
        if len(query) > 1 or query.shape[2] != key.shape[2]:
            raise NotImplementedError("a model that was trained; load it again to ask it")
        whole = torch.tensor([0, query.shape[2]], dtype=torch.int32, device=query.device)
        segments = Segments(whole, query.shape[2])
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    return attend(query, key, value, segments, scale=scale, window=sliding_window), None


@contextmanager
def at_rest(model: Any) -> Iterator[None]:
    """Without dropout and gradients."""
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(training)


def _lengths(model: Any) -> tuple[int, int]:
    """Of the two rows that are packed; the second is longer than the window."""
    window = getattr(model.config, "sliding_window", None) or 0
    return PROBE // 2, window + PROBE if window <= LARGEST_WINDOW else PROBE


def row(model: Any, length: int, seed: int) -> Tensor:
    """Any int64 [length], the same for the same seed."""
    device = next(model.parameters()).device
    found: Tensor = (torch.arange(length, device=device) * 7 + seed) % model.config.vocab_size
    return found


def _probe(model: Any) -> Tensor:
    """Hidden states of the second row, alone in the model as it came."""
    row_T = row(model, _lengths(model)[1], 3)
    positions_T = torch.arange(len(row_T), device=row_T.device)
    found: Tensor = (
        model.get_decoder()(input_ids=row_T[None], position_ids=positions_T[None], use_cache=False)
        .last_hidden_state[0]
        .float()
    )
    return found


def _apart(model: Any, isolation: Isolation, alone_TC: Tensor) -> bool:
    """Whether the second row, packed behind two different rows, is what it is alone."""
    first, _ = _lengths(model)
    behind = [_packed(model, isolation, seed)[first:] for seed in (3, 5)]
    tolerance = TOLERANCE.get(next(model.parameters()).dtype, 3e-2) * float(alone_TC.abs().max())
    return all(float((one - alone_TC).abs().max()) <= tolerance for one in behind) and float(
        (behind[0] - behind[1]).abs().max()
    ) <= (tolerance / 10)


def _packed(model: Any, isolation: Isolation, seed: int) -> Tensor:
    first, second = _lengths(model)
    tokens_T = torch.cat([row(model, first, seed), row(model, second, 3)])
    device = tokens_T.device
    positions_T = torch.cat([torch.arange(n, device=device) for n in (first, second)])
    starts_S = torch.tensor([0, first, first + second], dtype=torch.int32, device=device)
    told = isolation.told(
        Segments(starts_S, max(first, second)), tokens_T[None], next(model.parameters()).dtype
    )
    found: Tensor = (
        model.get_decoder()(
            input_ids=tokens_T[None], position_ids=positions_T[None], use_cache=False, **told
        )
        .last_hidden_state[0]
        .float()
    )
    return found


def partitioned(model: Any) -> bool:
    """Whether DeepSpeed has cut the weights already, as ZeRO-3 does."""
    return hasattr(next(model.parameters()), "ds_id")
