"""Where an answer ends: at an end token, before a stop string, or where no room is left."""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

from jobs.generation.rows import CONTEXT, Row, answer_text
from jobs.loaded import Loaded


class Stops:
    """Looks for stop strings where one can have been completed, and nowhere else."""

    def __init__(self, loaded: Loaded, strings: Sequence[str]) -> None:
        """Find the tokens that may complete one of the strings: a small part of the vocabulary."""
        self.tokenizer = loaded.tokenizer
        self.ends = loaded.ends
        self.strings = tuple(strings)
        self.window = 4 * max(map(len, strings), default=0) + CONTEXT
        self.enders = _enders(loaded.tokenizer, self.strings) if strings else frozenset()

    def take(self, row: Row, token: int) -> bool:
        """Give a row its next token; whether that finishes it."""
        row.tokens.append(token)
        if token in self.ends:
            row.finish = "end"
        elif (text := self.cut(row)) is not None:
            row.finish, row.text = "stop", text
            return True
        elif len(row.tokens) >= row.prompt.room:
            row.finish = "length"
        if row.finish is not None:
            row.text = answer_text(self.tokenizer, row)
            if (at := self._first(row.text)) is not None:  # one that no single token completed
                row.finish, row.text = "stop", row.text[:at]
        return row.finish is not None

    def cut(self, row: Row) -> str | None:
        """The answer before the first stop string, or None when there is none yet.

        Called after every token; a text that holds several is cut at the earliest.
        """
        if row.tokens[-1] not in self.enders:
            return None
        tail = row.tokens[-self.window :]
        if len(tail) < self.window:  # the space of a first word may be dropped, see `CONTEXT`
            tail = [*row.prompt.tokens[-CONTEXT:], *tail]
        if self._first(self.tokenizer.decode(tail, skip_special_tokens=True)) is None:
            return None
        text = answer_text(self.tokenizer, row)
        at = self._first(text)
        return None if at is None else text[:at]

    def _first(self, text: str) -> int | None:
        """Where the first stop string of a text begins."""
        found = [at for string in self.strings if (at := text.find(string)) >= 0]
        return min(found) if found else None


@lru_cache(maxsize=16)
def _enders(tokenizer: Any, strings: tuple[str, ...]) -> frozenset[int]:
    """Tokens whose text begins with the end of a stop string or holds one whole.

    What a token says alone and behind another one is looked at: sentencepiece drops the space that
    a text begins with. Kept between questions: it reads the whole vocabulary, which may hold
    150 000 tokens.
    """
    tails = tuple({string[at:] for string in strings for at in range(len(string))})
    return frozenset(
        token
        for token, said in enumerate(_said(tokenizer))
        for piece in said
        if piece.startswith(tails)
        or "\ufffd" in piece
        or any(string in piece for string in strings)
    )


def _said(tokenizer: Any) -> Iterator[tuple[str, str]]:
    """The text of each token of a vocabulary: alone, and behind a letter."""
    letter = tokenizer("a", add_special_tokens=False)["input_ids"]
    before = tokenizer.decode(letter)
    tokens = range(len(tokenizer))
    alone = tokenizer.batch_decode([[token] for token in tokens])
    behind = tokenizer.batch_decode([[*letter, token] for token in tokens])
    for piece, longer in zip(alone, behind, strict=True):
        yield piece, longer.removeprefix(before)
