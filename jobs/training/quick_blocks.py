"""Blocks like Llama's with fewer passes over memory.

Between its matrix products a block of transformers reads and writes its activations some forty
times, which on a CPU takes 40 % of the time of the products. A compiler would fuse those; where
nothing is compiled, rotations and norms are written here with a gradient of their own.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import rms_norm

from jobs.training.attention import Segments, attend

# T tokens, H heads, D size of a head, C channels

ALIKE = ("Llama", "Mistral", "Qwen2", "Granite")
"""Families whose attention and norm differ in nothing that matters here."""


def quicken_blocks(decoder: Any) -> None:
    """Exchange the forward passes of a decoder's attentions and norms, and of its last block.

    Without segments an attention does what it did before. The decoder returns only the hidden
    states that the segments keep.

    Raises:
        ValueError: the decoder is of another family.
    """
    family = type(decoder).__name__.removesuffix("Model")
    if family not in ALIKE:
        raise ValueError(f"{family} is not like Llama")
    for module in decoder.modules():
        if type(module).__name__ == f"{family}Attention":
            module.__class__ = type("QuickAttention", (_Attention, type(module)), {})
        elif type(module).__name__ == f"{family}RMSNorm":
            module.__class__ = type("QuickNorm", (_Norm, type(module)), {})
    last = decoder.layers[-1]
    last.__class__ = type("QuickLastBlock", (_LastBlock, type(last)), {})


class Rotation(torch.autograd.Function):
    """Rotary position embedding (Su et al. 2021, arXiv:2104.09864), halves of a head as pairs."""

    @staticmethod
    def forward(ctx: Any, x_THD: Tensor, cos_TD: Tensor, sin_TD: Tensor) -> Tensor:
        """[1, T, H, D], and [1, T, D] whose halves are equal, to [1, T, H, D]."""
        ctx.save_for_backward(cos_TD, sin_TD)
        return _rotated(x_THD, cos_TD, sin_TD, 1)

    @staticmethod
    def backward(ctx: Any, gradient_THD: Tensor) -> tuple[Tensor, None, None]:
        """Backwards it is the rotation by the negative angle."""
        cos_TD, sin_TD = ctx.saved_tensors
        return _rotated(gradient_THD, cos_TD, sin_TD, -1), None, None


class Norm(torch.autograd.Function):
    """Root mean square norm (Zhang and Sennrich 2019, arXiv:1910.07467), in float32 inside."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight_C: Tensor, epsilon: float) -> Tensor:
        """[..., C] to [..., C]."""
        length = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)
        scale = length.square_().div_(x.shape[-1]).add_(epsilon).rsqrt_()
        ctx.save_for_backward(x, weight_C, scale)
        found: Tensor = (x * scale).to(x.dtype) * weight_C
        return found

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor | None, None]:
        """With y = w x s and s = (mean x^2 + e)^(-1/2): dx = s (g w) - x s^3 mean(g w x)."""
        x, weight_C, scale = ctx.saved_tensors
        by_weight = None
        if ctx.needs_input_grad[1]:
            by_weight = (gradient * (x * scale)).flatten(0, -2).sum(0).to(weight_C.dtype)
        weighted = gradient * weight_C
        along = (weighted * x).sum(-1, keepdim=True, dtype=torch.float32)
        along.mul_(scale**3).div_(-x.shape[-1])
        by_x = (weighted * scale).addcmul_(x.to(scale.dtype), along)
        return by_x.to(x.dtype), by_weight, None


_rotate: Callable[..., Any] = Rotation.apply
_norm: Callable[..., Any] = Norm.apply


class _Attention:
    """Before the attention of a family, among its classes."""

    def forward(
        self: Any,
        hidden_states: Tensor,
        position_embeddings: tuple[Tensor, Tensor],
        attention_mask: Tensor | None = None,
        *args: Any,
        segments: Segments | None = None,
        kept: Tensor | None = None,
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor | None]:
        if segments is None:
            found: tuple[Tensor, Tensor | None] = super().forward(  # type: ignore[misc]
                hidden_states, position_embeddings, attention_mask, *args, **kwargs
            )
            return found
        query, key, value = (
            project(hidden_states).unflatten(-1, (-1, self.head_dim))
            for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        attended = attend(
            _rotate(query, *position_embeddings).transpose(1, 2),
            _rotate(key, *position_embeddings).transpose(1, 2),
            value.transpose(1, 2),
            segments,
            scale=self.scaling,
            window=getattr(self, "sliding_window", getattr(self.config, "sliding_window", None)),
        )
        if kept is not None:
            attended = attended[:, kept]
        return self.o_proj(attended.flatten(2)), None


class _LastBlock:
    """Before the block of a family, among its classes.

    What a token without a loss needs of the last block is its key and its value.
    """

    def forward(
        self: Any,
        hidden_states: Tensor,
        *args: Any,
        segments: Segments | None = None,
        **kwargs: Any,
    ) -> Tensor:
        if segments is None or segments.kept is None:
            found: Tensor = super().forward(  # type: ignore[misc]
                hidden_states, *args, segments=segments, **kwargs
            )
            return found
        scale = getattr(self, "residual_multiplier", 1.0)  # of Granite
        attended, _ = self.self_attn(
            self.input_layernorm(hidden_states), segments=segments, kept=segments.kept, **kwargs
        )
        hidden: Tensor = hidden_states[:, segments.kept] + attended * scale
        update: Tensor = self.mlp(self.post_attention_layernorm(hidden))
        return hidden + update * scale


class _Norm:
    """Before the norm of a family, among its classes."""

    def forward(self: Any, hidden_states: Tensor) -> Tensor:
        if hidden_states.device.type == "cuda":  # torch has a kernel for it there
            return rms_norm(hidden_states, self.weight.shape, self.weight, self.variance_epsilon)
        found: Tensor = _norm(hidden_states, self.weight, self.variance_epsilon)
        return found


def _rotated(x_THD: Tensor, cos_TD: Tensor, sin_TD: Tensor, sign: int) -> Tensor:
    half = x_THD.shape[-1] // 2
    sin = sin_TD[:, :, None, :half]
    found = x_THD * cos_TD[:, :, None]
    found[..., :half].addcmul_(x_THD[..., half:], sin, value=-sign)
    found[..., half:].addcmul_(x_THD[..., :half], sin, value=sign)
    return found
