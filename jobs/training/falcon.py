"""Falcon with rows behind each other.

Falcon keeps to its own attention code, so transformers' interface for attentions does not reach it.
"""

from typing import Any

from torch import Tensor
from transformers.modeling_outputs import BaseModelOutput
from transformers.models.falcon.modeling_falcon import (
    FalconAttention,
    FalconModel,
    apply_rotary_pos_emb,
)

from jobs.training.attention import Segments, attend

# T tokens, H heads, K heads of keys and values, D size of a head


class SegmentedFalconModel(FalconModel):  # type: ignore[misc]
    """The decoder; segments reach its attention where a mask would."""

    def forward(
        self, input_ids: Tensor, *args: Any, segments: Segments | None = None, **kwargs: Any
    ) -> Any:
        """As the original where there are no segments.

        Args:
            input_ids: int64 [1, T].
            args: see the original.
            segments: they cover all T.
            kwargs: see the original; with segments, only `position_ids` is looked at.
        """
        if segments is None:
            return super().forward(input_ids, *args, **kwargs)
        hidden = self.word_embeddings(input_ids)
        rotation = self.rotary_emb(hidden, position_ids=kwargs["position_ids"])
        for block in self.h:
            hidden = block(
                hidden, alibi=None, attention_mask=segments, position_embeddings=rotation
            )[0]
        return BaseModelOutput(last_hidden_state=self.ln_f(hidden))


class SegmentedFalconAttention(FalconAttention):  # type: ignore[misc]
    """Attention of each segment to itself."""

    def forward(
        self,
        hidden_states: Tensor,
        alibi: Tensor | None,
        attention_mask: Segments | Tensor | None,
        position_embeddings: Any = None,
        **kwargs: Any,
    ) -> tuple[Tensor, None]:
        """As the original where there are no segments in the place of the mask."""
        if not isinstance(attention_mask, Segments):
            found: tuple[Tensor, None] = super().forward(
                hidden_states,
                alibi,
                attention_mask,
                position_embeddings=position_embeddings,
                **kwargs,
            )
            return found
        query, key, value = self._heads(self.query_key_value(hidden_states))
        query, key = apply_rotary_pos_emb(query, key, *position_embeddings)
        attended = attend(query, key, value, attention_mask, scale=self.inv_norm_factor)
        return self.dense(attended.flatten(2)), None

    def _heads(self, fused: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Query [1, H, T, D], key and value [1, K, T, D], none of them repeated."""
        heads, groups = self.num_heads, self.num_kv_heads
        if not self.new_decoder_architecture and self.multi_query:
            groups = 1
        each = heads // groups
        split = fused.view(*fused.shape[:2], groups, each + 2, self.head_dim)
        query, key, value = split[..., :each, :], split[..., each, :], split[..., each + 1, :]
        return query.flatten(2, 3).transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2)


def segment(decoder: Any) -> None:
    """Teach a Falcon decoder to take segments; what it does without them stays as it was."""
    decoder.__class__ = SegmentedFalconModel
    for module in decoder.modules():
        if isinstance(module, FalconAttention):
            module.__class__ = SegmentedFalconAttention
