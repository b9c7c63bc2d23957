"""From rows of text to batches of tokens, in an order that only the seed and the data decide.

Rows are padded on the right and attention is causal, so no real token ever sees padding, no mask is
needed, and rows cannot leak into each other, whatever the architecture.
"""

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import ceil
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

# B batch, T tokens

NO_LOSS = -100


@dataclass(frozen=True, slots=True)
class Row:
    """A prompt and its response, as tokens."""

    tokens: tuple[int, ...]
    prompt_length: int
    """Tokens without loss at the start; the rest is the response and the end-of-text token."""

    @property
    def response_length(self) -> int:
        """Tokens with loss."""
        return len(self.tokens) - self.prompt_length


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


def read_rows(path: Path) -> list[tuple[str, str]]:
    """Prompts and responses from JSON lines."""
    with path.open() as file:
        rows = [json.loads(line) for line in file if line.strip()]
    return [(row["prompt"], row["response"]) for row in rows]


def tokenise(rows: Sequence[tuple[str, str]], tokenizer: Any, longest: int) -> list[Row]:
    """Rows as tokens, those of more than `longest` tokens left out.

    The tokens of the prompt are those that asking will use. Text is cut into tokens as a whole, so
    that a tokenizer which marks the start of a text does not mark the start of the response; only
    where a token would straddle the border are the two cut apart.

    Raises:
        ValueError: the tokenizer has no end-of-text token, so a model could not learn to stop.
    """
    end = tokenizer.eos_token_id
    if end is None:
        raise ValueError("the tokenizer names no end-of-text token (eos_token)")
    if not rows:
        return []
    prompts = tokenizer([prompt for prompt, _ in rows])["input_ids"]
    wholes = tokenizer([prompt + response for prompt, response in rows])["input_ids"]
    found = []
    for (_, response), prompt, whole in zip(rows, prompts, wholes, strict=True):
        if whole[: len(prompt)] != prompt:
            whole = prompt + tokenizer(response, add_special_tokens=False)["input_ids"]
        if whole[-1] != end:
            whole = [*whole, end]
        found.append(Row(tuple(whole), len(prompt)))
    return [row for row in found if len(row.tokens) <= longest]


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
        whole = torch.tensor(row.tokens)
        tokens_BT[i, : len(whole)] = whole
        first = max(row.prompt_length, 1)  # nothing predicts the first token of a text
        targets_BT[i, first - 1 : len(whole) - 1] = whole[first:]
    return tokens_BT.to(device), targets_BT.to(device)


@lru_cache(maxsize=2)
def _shuffled(rows: int, seed: int, epoch: int) -> list[int]:
    indices = list(range(rows))
    random.Random(f"{seed} {epoch}").shuffle(indices)
    return indices
