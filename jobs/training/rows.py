"""Rows of tokens, many of them in little memory."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """A prompt and its response, as tokens."""

    tokens: NDArray[np.int32]
    prompt_length: int
    """Tokens without loss at the start; the rest is the response and what ends it."""
    origin: int = 0
    """Its place among the dataset's rows, from 0; windows of one text share it."""

    @property
    def response_length(self) -> int:
        """Tokens with loss. Nothing predicts the first token of a text, so it never is one."""
        return len(self.tokens) - max(self.prompt_length, 1)


@dataclass(frozen=True, slots=True)
class Encoded:
    """A text as tokens, not packed yet."""

    tokens: list[int]
    prompt_length: int
    plain: bool
    """There is no prompt, only what a tokenizer puts at the start of every text."""
    origin: int
    """See `Row`."""


class Rows:
    """Many rows in little memory; a row is a view, made when it is looked at."""

    def __init__(self) -> None:
        """No row yet."""
        self._parts: list[_Part] = []
        self._starts: list[int] = []
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, number: int) -> Row:
        if not 0 <= number < self._length:
            raise IndexError(number)
        place = bisect_right(self._starts, number) - 1
        return self._parts[place].row(number - self._starts[place])

    def __iter__(self) -> Iterator[Row]:
        return (self[number] for number in range(self._length))

    def add(self, found: Sequence[Encoded]) -> None:
        """Pack some more rows."""
        if not found:
            return
        self._parts.append(_Part.of(found))
        self._starts.append(self._length)
        self._length += len(found)


@dataclass(frozen=True, slots=True)
class _Part:
    """Some rows, one behind the other."""

    tokens: NDArray[np.int32]
    ends: NDArray[np.int64]
    prompts: NDArray[np.int32]
    origins: NDArray[np.int32]

    @classmethod
    def of(cls, found: Sequence[Encoded]) -> "_Part":
        ends = np.cumsum([len(one.tokens) for one in found], dtype=np.int64)
        tokens = chain.from_iterable(one.tokens for one in found)
        return cls(
            tokens=np.fromiter(tokens, dtype=np.int32, count=int(ends[-1])),
            ends=ends,
            prompts=np.array([one.prompt_length for one in found], dtype=np.int32),
            origins=np.array([one.origin for one in found], dtype=np.int32),
        )

    def row(self, place: int) -> Row:
        start = int(self.ends[place - 1]) if place else 0
        tokens = self.tokens[start : int(self.ends[place])]
        return Row(tokens, int(self.prompts[place]), int(self.origins[place]))
