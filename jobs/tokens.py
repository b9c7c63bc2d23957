"""Rows of text as rows of tokens: what carries loss, how a text ends, what becomes of long ones.

Four bytes a token and twelve a row, counted by shard: 2 million rows of 300 tokens take 2.4 GB.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, groupby, islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jobs.data import row as data
from jobs.data.report import Lengths
from jobs.prompts import PromptForm, Text, TooLong, special_tokens, text_of

CHUNK = 512
"""Rows that are text and lists of numbers at once, before they are packed."""


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """A prompt and its response, as tokens."""

    tokens: NDArray[np.int32]
    prompt_length: int
    """Tokens without loss at the start; the rest is the response and what ends it."""

    @property
    def response_length(self) -> int:
        """Tokens with loss. Nothing predicts the first token of a text, so it never is one."""
        return len(self.tokens) - max(self.prompt_length, 1)


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

    def add(self, found: Sequence["_Found"]) -> None:
        """Pack some more rows."""
        if not found:
            return
        self._parts.append(_Part.of(found))
        self._starts.append(self._length)
        self._length += len(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokenised:
    """Rows ready to be trained on, and what became of those that were too long."""

    rows: Rows
    dropped: int
    """Rows left out."""
    cut: int
    """Rows whose response lost its end."""
    windows: int
    """Rows that are a part of a longer text."""


def tokenise(
    rows: Iterable[data.Row],
    tokenizer: Any,
    longest: int,
    form: PromptForm = "alpaca",
    too_long: TooLong = "drop",
) -> Tokenised:
    """Rows as tokens, in their order, read once and never held as text.

    The tokens of the prompt are those that asking will use, and carry no loss; exactly one
    end-of-text token ends a text, and is learnt. Text is cut into tokens as a whole, so that a
    tokenizer which marks the start of a text does not mark the start of the response. Only where a
    token would straddle the border are the two cut apart, and where a response holds the text of a
    special token (`</s>` in HTML), which then is text like any other.

    Args:
        rows: instruction, input and response.
        tokenizer: of the model that is trained.
        longest: most tokens of a row, what ends it included.
        form: how the text is put together.
        too_long: see `TooLong`.

    Raises:
        ValueError: the tokenizer has no end-of-text token, so a model could not learn to stop.
        jobs.prompts.PromptError: the tokenizer has no chat template, and `form` is `chat`.
    """
    packed = Rows()
    dropped = cut = windows = 0
    for chunk in _chunks(rows):
        kept: list[_Found] = []
        for found in _encoded([text_of(row, form, tokenizer) for row in chunk], tokenizer):
            if len(found.tokens) <= longest:
                kept.append(found)
            elif too_long == "cut" and found.prompt_length < longest:
                kept.append(_Found(found.tokens[:longest], found.prompt_length, found.plain))
                cut += 1
            elif too_long == "split" and found.plain:
                parts = list(_windows(found, longest))
                kept += parts
                windows += len(parts)
            else:
                dropped += 1
        packed.add(kept)
    return Tokenised(rows=packed, dropped=dropped, cut=cut, windows=windows)


def asked_tokens(tokenizer: Any, texts: Sequence[str], *, templated: bool) -> list[list[int]]:
    """Tokens of texts that a model shall go on with.

    Args:
        tokenizer: of the model.
        texts: at least one.
        templated: their special tokens stand in them, and none is added. Otherwise those that the
            tokenizer puts at the start are added, and one that it puts at the end is not, because
            the text is to go on.
    """
    plain = {"return_attention_mask": False, "verbose": False}
    found = tokenizer(list(texts), add_special_tokens=not templated, **plain)["input_ids"]
    if not templated and tokenizer("a", **plain)["input_ids"][-1] == tokenizer.eos_token_id:
        return [tokens[:-1] for tokens in found]
    return list(found)


def lengths(
    rows: Iterable[data.Row],
    form: PromptForm,
    tokenizer: Any,
    edges: Sequence[int],
    *,
    name: str = "",
) -> Lengths:
    """How many tokens rows have in a form, what ends them included, before any is cut or left out.

    Args:
        rows: read once, never held.
        form: how the text is put together.
        tokenizer: of a model.
        edges: rising; a row of fewer tokens than the first is counted in the first bin.
        name: what the tokenizer is called in the report; default: its own name.

    Raises:
        ValueError, jobs.prompts.PromptError: see `tokenise`.
    """
    counts = np.zeros(len(edges), dtype=np.int64)
    longest = total = 0
    for chunk in _chunks(rows):
        texts = [text_of(row, form, tokenizer) for row in chunk]
        sizes = np.array([len(found.tokens) for found in _encoded(texts, tokenizer)])
        bins = np.searchsorted(edges, sizes, side="right") - 1
        counts += np.bincount(bins.clip(min=0), minlength=len(edges))
        longest = max(longest, int(sizes.max()))
        total += int(sizes.sum())
    return Lengths(
        tokenizer=name or tokenizer.name_or_path,
        edges=tuple(edges),
        counts=tuple(counts.tolist()),
        longest=longest,
        total=total,
    )


@dataclass(frozen=True, slots=True)
class _Found:
    """A text as tokens, whatever its length."""

    tokens: list[int]
    prompt_length: int
    plain: bool
    """There is no prompt, only what a tokenizer puts at the start of every text."""


@dataclass(frozen=True, slots=True)
class _Part:
    """Some rows, one behind the other."""

    tokens: NDArray[np.int32]
    ends: NDArray[np.int64]
    prompts: NDArray[np.int32]

    @classmethod
    def of(cls, found: Sequence[_Found]) -> "_Part":
        ends = np.cumsum([len(one.tokens) for one in found], dtype=np.int64)
        tokens = chain.from_iterable(one.tokens for one in found)
        return cls(
            tokens=np.fromiter(tokens, dtype=np.int32, count=int(ends[-1])),
            ends=ends,
            prompts=np.array([one.prompt_length for one in found], dtype=np.int32),
        )

    def row(self, place: int) -> Row:
        start = int(self.ends[place - 1]) if place else 0
        return Row(self.tokens[start : int(self.ends[place])], int(self.prompts[place]))


def _encoded(texts: Sequence[Text], tokenizer: Any) -> Iterator[_Found]:
    """Texts as tokens, whole and ended."""
    if tokenizer.eos_token_id is None:
        raise ValueError("the tokenizer names no end-of-text token (eos_token)")
    special = set(special_tokens(tokenizer).values())
    for templated, alike in groupby(texts, key=lambda text: text.templated):
        group = list(alike)
        prompts = asked_tokens(tokenizer, [text.prompt for text in group], templated=templated)
        joined = [text.prompt + text.response for text in group]
        wholes = asked_tokens(tokenizer, joined, templated=templated)
        end = _ending(group[0].closing, tokenizer)
        for text, prompt, whole in zip(group, prompts, wholes, strict=True):
            response = whole[len(prompt) :]
            if whole[: len(prompt)] != prompt or not special.isdisjoint(response):
                response = _as_text(text.response, tokenizer)
            yield _Found([*prompt, *response, *end], len(prompt), plain=not text.prompt)


def _as_text(response: str, tokenizer: Any) -> list[int]:
    encoded = tokenizer(response, add_special_tokens=False, split_special_tokens=True)
    return list(encoded["input_ids"])


def _ending(closing: str, tokenizer: Any) -> list[int]:
    """What a chat template closes with, and exactly one end-of-text token."""
    end: int = tokenizer.eos_token_id
    tokens = list(tokenizer(closing, add_special_tokens=False)["input_ids"]) if closing else []
    return tokens if tokens[-1:] == [end] else [*tokens, end]


def _windows(found: _Found, longest: int) -> Iterator[_Found]:
    for start in range(0, len(found.tokens) - 1, longest - 1):
        tokens = found.tokens[start : start + longest]
        yield _Found(tokens, found.prompt_length if start == 0 else 1, plain=True)


def _chunks(rows: Iterable[data.Row]) -> Iterator[list[data.Row]]:
    left = iter(rows)
    while chunk := list(islice(left, CHUNK)):
        yield chunk
