"""From rows of tokens to batches, in an order that only the seed and the data decide.

Rows are padded on the right and attention is causal, so no real token ever sees padding, no mask is
needed, and rows cannot leak into each other, whatever the architecture.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import ceil

import torch
from torch import Tensor

from jobs.training.rows import Row

# B batch, T tokens

NO_LOSS = -100


@dataclass(frozen=True, slots=True)
class Order:
    """Which rows each optimizer step takes: whole epochs, one after the other, each shuffled."""

    rows: int
    batch_size: int
    seed: int
    total: int
    """Rows over the whole training, repeats counted."""

    @property
    def steps(self) -> int:
        """Optimizer steps of the whole training."""
        return ceil(self.total / self.batch_size)

    def batch(self, step: int) -> list[int]:
        """Indices of the rows of a step, counted from 0; the last batch may be smaller."""
        start = step * self.batch_size
        places = range(start, min(start + self.batch_size, self.total))
        return [_shuffled(self.rows, self.seed, at // self.rows)[at % self.rows] for at in places]


def order_of(
    rows: int, *, batch_size: int, seed: int, steps: int | None, epochs: float | None
) -> Order:
    """The order for a number of steps or of epochs; exactly one is given."""
    total = steps * batch_size if steps else max(1, round((epochs or 0) * rows))
    return Order(rows=rows, batch_size=batch_size, seed=seed, total=total)


def share(batch: Sequence[Row], rank: int, ranks: int) -> list[Row]:
    """One worker's part of a batch, longest first; shares differ by at most one row."""
    return sorted(batch, key=lambda row: -len(row.tokens))[rank::ranks]


def micro_batches(rows: Sequence[Row], size: int, count: int) -> Iterator[Sequence[Row]]:
    """Cut a share into exactly `count` parts of at most `size` rows; the last may be empty."""
    return (rows[i * size : (i + 1) * size] for i in range(count))


def collate(rows: Sequence[Row], device: torch.device) -> tuple[Tensor, Tensor]:
    """Tokens and targets, both int64 [B, T], padded on the right to the longest row.

    The target at a place is the *next* token where that belongs to a response, else `NO_LOSS`.
    """
    longest = max(len(row.tokens) for row in rows)
    tokens_BT = torch.zeros(len(rows), longest, dtype=torch.int64)
    targets_BT = torch.full((len(rows), longest), NO_LOSS)
    for i, row in enumerate(rows):
        whole = torch.from_numpy(row.tokens)
        tokens_BT[i, : len(whole)] = whole
        first = max(row.prompt_length, 1)  # nothing predicts the first token of a text
        targets_BT[i, first - 1 : len(whole) - 1] = whole[first:]
    return tokens_BT.to(device), targets_BT.to(device)


@lru_cache(maxsize=2)
def _shuffled(rows: int, seed: int, epoch: int) -> list[int]:
    indices = list(range(rows))
    random.Random(f"{seed} {epoch}").shuffle(indices)
    return indices
