"""Cross-entropy at the tokens that have a loss, without ever holding all logits."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.utils.checkpoint import checkpoint

# N tokens with a loss, C channels, V vocabulary

LOGITS_AT_ONCE = {"cpu": 2**24, "cuda": 2**28}
"""Numbers; more are computed in parts, each again in the backward pass."""


def summed(
    head: Callable[[Tensor], Tensor], hidden_NC: Tensor, targets_N: Tensor, vocabulary: int
) -> Tensor:
    """Sum of cross-entropies, float32.

    Args:
        head: hidden states [n, C] to logits [n, V].
        hidden_NC: of the tokens with a loss.
        targets_N: int64, the tokens that follow them.
        vocabulary: V.
    """
    at_once = max(1, LOGITS_AT_ONCE.get(hidden_NC.device.type, 2**24) // vocabulary)
    if len(targets_N) <= at_once:
        return whole(head, hidden_NC, targets_N)
    parts = zip(torch.split(hidden_NC, at_once), torch.split(targets_N, at_once), strict=True)
    losses: list[Any] = [
        checkpoint(whole, head, hidden_nC, targets_n, use_reentrant=False)
        for hidden_nC, targets_n in parts
    ]
    return torch.stack(losses).sum()


def whole(head: Callable[[Tensor], Tensor], hidden_NC: Tensor, targets_N: Tensor) -> Tensor:
    """The same with all logits at once. ZeRO-3 needs it: every call of the head is a collective,
    and workers have different numbers of parts."""
    return cross_entropy(head(hidden_NC).float(), targets_N, reduction="sum")
