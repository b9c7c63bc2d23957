"""What happens in which step: learning rates, and which rows are learnt or only measured.

All of it follows from settings, seed and data, so a training that goes on after a kill does what it
would have done, whatever the workers.
"""

import random
from dataclasses import dataclass
from functools import lru_cache
from math import ceil, cos, pi
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from jobs.training.rows import Row
from jobs.training.settings import Settings


def learning_rate(settings: Settings, step: int, steps: int) -> float:
    """The rate of a step.

    It rises in a line over the first `warmup` of the steps, reaching its height with the last of
    them. Then `constant` stays, `linear` falls in a line and `cosine` in half a wave (Loshchilov
    and Hutter 2017, arXiv:1608.03983, without restarts); `wsd` stays, and falls in a line over the
    last `decay` of the steps (Hu et al. 2024, arXiv:2404.06395). All that fall would reach 0 one
    step after the last.

    Args:
        settings: `learning_rate`, `schedule`, `warmup` and `decay`.
        step: counted from 0.
        steps: of the whole training.
    """
    rising = ceil(settings.warmup * steps)
    if step < rising:
        return settings.learning_rate * (step + 1) / rising
    done = (step - rising) / max(1, steps - rising)
    match settings.schedule:
        case "constant":
            factor = 1.0
        case "linear":
            factor = 1 - done
        case "cosine":
            factor = (1 + cos(pi * done)) / 2
        case "wsd":
            falling = min(ceil(settings.decay * steps), steps - rising)
            factor = min(1.0, (steps - step) / max(1, falling))
    return settings.learning_rate * factor


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


class Many(Protocol):
    """Rows, each made when it is looked at."""

    def __len__(self) -> int: ...

    def __getitem__(self, place: int, /) -> Row: ...


@dataclass(frozen=True, slots=True)
class Some:
    """Some of many rows, in their order."""

    rows: Many
    numbers: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, place: int) -> Row:
        return self.rows[int(self.numbers[place])]


def split(rows: Many, share: float) -> tuple[Some, Some]:
    """Set rows aside to measure with.

    Texts are taken by a hash of their place in the dataset. So windows of one text stay together,
    and every seed and every method measures with the same texts (but for those too long for it).

    Args:
        rows: all of them.
        share: of the texts, [0, 1); where it is not 0, at least one text is set aside, and at least
            one is left.

    Returns:
        What is trained on, and what is set aside.

    Raises:
        ValueError: there is only one text, and a share of it is to be set aside.
    """
    everything = np.arange(len(rows))
    if not share:
        return Some(rows, everything), Some(rows, everything[:0])
    origins = np.array([rows[i].origin for i in range(len(rows))], dtype=np.uint64)
    texts = np.unique(origins)
    if len(texts) < 2:
        raise ValueError("there is only one row, so none can be held out")
    count = min(max(1, round(share * len(texts))), len(texts) - 1)
    chosen = texts[np.argsort(_hash(texts))[:count]]
    aside = np.isin(origins, chosen)
    return Some(rows, everything[~aside]), Some(rows, everything[aside])


def _hash(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64 (Steele, Lea and Flood 2014): well mixed, and a bijection, so no two are equal."""
    mixed = (numbers + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    found: NDArray[np.uint64] = mixed ^ (mixed >> np.uint64(31))
    return found


@lru_cache(maxsize=2)
def _shuffled(rows: int, seed: int, epoch: int) -> list[int]:
    indices = list(range(rows))
    random.Random(f"{seed} {epoch}").shuffle(indices)
    return indices
