"""Where an answer ends: at an end token, before a stop string, or where no room is left."""

from collections.abc import Sequence
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
        return row.finish is not None

    def cut(self, row: Row) -> str | None:
        """The answer before the first stop string, or None when there is none yet.

        Called after every token; a text that holds several is cut at the earliest.
        """
        if row.tokens[-1] not in self.enders:
            return None
        tail = self.tokenizer.decode(row.tokens[-self.window :], skip_special_tokens=True)
        if not any(string in tail for string in self.strings):
            return None
        text = answer_text(self.tokenizer, row)
        found = [at for string in self.strings if (at := text.find(string)) >= 0]
        return text[: min(found)] if found else None


@lru_cache(maxsize=16)
def _enders(tokenizer: Any, strings: tuple[str, ...]) -> frozenset[int]:
    """Tokens whose text begins with the end of a stop string or holds one whole.

    Kept between questions: it reads the whole vocabulary, which may hold 150 000 tokens.
    """
    pieces = tokenizer.batch_decode([[token] for token in range(len(tokenizer))])
    tails = tuple({string[at:] for string in strings for at in range(len(string))})
    return frozenset(
        token
        for token, piece in enumerate(pieces)
        if piece.startswith(tails)
        or "\ufffd" in piece
        or any(string in piece for string in strings)
    )
