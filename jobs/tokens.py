"""Rows of text as rows of tokens: what carries loss, how a text ends, what becomes of long ones.

Four bytes a token and sixteen a row, counted by shard: 2 million rows of 300 tokens take 2.4 GB.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count, groupby, islice
from typing import Any

import numpy as np

from jobs.data import row as data
from jobs.data.report import Lengths
from jobs.prompts import PromptForm, Text, TooLong, special_tokens, text_of
from jobs.training.rows import Encoded, Rows

CHUNK = 512
"""Rows that are text and lists of numbers at once, before they are packed."""


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
    dropped = cut = windows = read = 0
    for chunk in _chunks(rows):
        kept: list[Encoded] = []
        texts = [text_of(row, form, tokenizer) for row in chunk]
        for found in _encoded(texts, tokenizer, read):
            if len(found.tokens) <= longest:
                kept.append(found)
            elif too_long == "cut" and found.prompt_length < longest:
                kept.append(replace(found, tokens=found.tokens[:longest]))
                cut += 1
            elif too_long == "split" and found.plain:
                parts = list(_windows(found, longest))
                kept += parts
                windows += len(parts)
            else:
                dropped += 1
        packed.add(kept)
        read += len(chunk)
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


def _encoded(texts: Sequence[Text], tokenizer: Any, before: int = 0) -> Iterator[Encoded]:
    """Texts as tokens, whole and ended; `before` texts came before these."""
    if tokenizer.eos_token_id is None:
        raise ValueError("the tokenizer names no end-of-text token (eos_token)")
    special = set(special_tokens(tokenizer).values())
    origin = count(before)
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
            tokens = [*prompt, *response, *end]
            yield Encoded(tokens, len(prompt), plain=not text.prompt, origin=next(origin))


def _as_text(response: str, tokenizer: Any) -> list[int]:
    encoded = tokenizer(response, add_special_tokens=False, split_special_tokens=True)
    return list(encoded["input_ids"])


def _ending(closing: str, tokenizer: Any) -> list[int]:
    """What a chat template closes with, and exactly one end-of-text token."""
    end: int = tokenizer.eos_token_id
    tokens = list(tokenizer(closing, add_special_tokens=False)["input_ids"]) if closing else []
    return tokens if tokens[-1:] == [end] else [*tokens, end]


def _windows(found: Encoded, longest: int) -> Iterator[Encoded]:
    for start in range(0, len(found.tokens) - 1, longest - 1):
        tokens = found.tokens[start : start + longest]
        prompt_length = found.prompt_length if start == 0 else 1
        yield replace(found, tokens=tokens, prompt_length=prompt_length)


def _chunks(rows: Iterable[data.Row]) -> Iterator[list[data.Row]]:
    left = iter(rows)
    while chunk := list(islice(left, CHUNK)):
        yield chunk
