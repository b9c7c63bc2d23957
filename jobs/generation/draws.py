"""The next token of each row: which number is behind it, and which token that number means."""

# B rows (one answer each), V vocabulary

import hashlib
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from jobs.experiment import Asking
from jobs.generation.rows import Row


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How tokens are drawn."""

    temperature: float = 0.0
    """0 is greedy."""
    top_k: int = 0
    """0: all of the vocabulary."""
    top_p: float = 1.0
    seed: int = 0

    @classmethod
    def of(cls, asking: Asking, seed: int) -> "Sampling":
        """As a benchmark asks."""
        return cls(
            temperature=asking.temperature, top_k=asking.top_k, top_p=asking.top_p, seed=seed
        )


class Numbers:
    """The number in [0, 1) behind each token of each answer.

    A counter-based generator (Philox) keyed by seed, problem and position, so that an answer's
    numbers do not depend on what else is written beside it.
    """

    def __init__(self, seed: int) -> None:
        """Nothing is drawn yet."""
        self.seed = seed
        self._held: dict[tuple[str, int], np.ndarray[Any, np.dtype[np.float64]]] = {}

    def next(self, row: Row) -> float:
        """The number behind the row's next token."""
        name = (row.prompt.task_id, row.position)
        if name not in self._held:
            self._held[name] = uniform_numbers(self.seed, row)
        return float(self._held[name][len(row.tokens)])

    def forget(self, row: Row) -> None:
        """Let go of an answer that is finished."""
        self._held.pop((row.prompt.task_id, row.position), None)


def uniform_numbers(seed: int, row: Row) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Those of one answer, as many as it may have tokens."""
    named = json.dumps([seed, row.prompt.task_id, row.position]).encode()
    key = int.from_bytes(hashlib.sha256(named).digest()[:16], "big")
    return np.random.Generator(np.random.Philox(key=key)).random(row.prompt.room)


def draw(logits_BV: Tensor, uniform_B: Tensor, sampling: Sampling) -> Tensor:
    """The next token of each row, by inverting the distribution function; greedy at temperature 0.

    The logits are divided by the temperature, all but the `top_k` most likely tokens are left out,
    and of the rest those are kept, most likely first, that hold `top_p` of its mass: the order of
    transformers. A token that is as likely as the last one kept is kept too by `top_k`.

    Args:
        logits_BV: any float type, reduced in float32.
        uniform_B: float64 in [0, 1); not looked at when greedy.
        sampling: its seed is not looked at.

    Returns:
        int64 token ids, one a row.
    """
    if sampling.temperature == 0:
        return logits_BV.argmax(dim=-1)
    scores_BV = logits_BV.float() / sampling.temperature
    if 0 < sampling.top_k < scores_BV.shape[-1]:
        least_B1 = scores_BV.topk(sampling.top_k, dim=-1).values[:, -1:]
        scores_BV = scores_BV.masked_fill(scores_BV < least_B1, -torch.inf)
    chances_BV = torch.softmax(scores_BV, dim=-1)
    if sampling.top_p < 1:
        chances_BV = _nucleus(chances_BV, sampling.top_p)
    below_BV = chances_BV.cumsum(dim=-1, dtype=torch.float64)
    aims_B1 = uniform_B[:, None] * below_BV[:, -1:]
    found_B = torch.searchsorted(below_BV, aims_B1, right=True)[:, 0]
    return found_B.clamp(max=logits_BV.shape[-1] - 1)


def _nucleus(chances_BV: Tensor, top_p: float) -> Tensor:
    ranked_BV, order_BV = chances_BV.sort(dim=-1, descending=True, stable=True)
    before_BV = ranked_BV.cumsum(dim=-1) - ranked_BV
    ranked_BV = ranked_BV.masked_fill(before_BV >= top_p, 0)
    return torch.zeros_like(chances_BV).scatter(-1, order_BV, ranked_BV)
