"""The text of an answer as it grows: what is certain is told, the rest is held back."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from jobs.generation.rows import CONTEXT, Row, answer_text

BROKEN = "\ufffd"
"""What a tokenizer says for the first bytes of a letter."""


@dataclass(slots=True)
class Growing:
    """One answer's text and where it ends, found token by token.

    The stop strings of an answer are its asker's own, so nothing is looked up for them in the
    vocabulary, as `jobs.generation.stops` does for the thousands of answers of a benchmark: the few
    last tokens are decoded after every token instead. An answer ends at the same place in both.
    """

    tokenizer: Any
    ends: frozenset[int]
    """Tokens that end an answer."""
    row: Row
    stop: Sequence[str]
    text: str = ""
    """Decoded so far."""
    told: int = 0
    """Letters of it that were given out."""
    _decoded: int = field(default=0)
    """Tokens that `text` holds."""
    _before: int = field(default=0)
    """Of those, the ones that stood there before the last letters came."""

    def take(self, token: int) -> str:
        """Give the row its next token, and `finish` and `text` where that is the last.

        Returns:
            The text that no further token can change or take back and that was not given out yet.
        """
        row = self.row
        row.tokens.append(token)
        if token in self.ends:
            row.finish = "end"
        elif len(row.tokens) >= row.prompt.room:
            row.finish = "length"
        self._decode()
        if row.finish is not None:
            self.text = answer_text(self.tokenizer, row)
        if (at := self._first_stop()) is not None:
            row.finish, self.text = "stop", self.text[:at]
        return self._give()

    def end(self) -> str:
        """Finish the answer before its end, as one that has no room left."""
        self.row.finish = "length"
        return self._give()

    def _decode(self) -> None:
        prompt = self.row.prompt.tokens[-CONTEXT:]
        tokens = [*prompt, *self.row.tokens]
        start = self._before + (len(prompt) if self._before else 0)
        before = self._said(tokens[start : len(prompt) + self._decoded])
        whole = self._said(tokens[start:])
        if len(whole) > len(before) and not whole.endswith(BROKEN):
            self.text += whole[len(before) :]
            self._before, self._decoded = self._decoded, len(self.row.tokens)

    def _said(self, tokens: Sequence[int]) -> str:
        said: str = self.tokenizer.decode(tokens, skip_special_tokens=True)
        return said

    def _first_stop(self) -> int | None:
        """Where the first stop string begins; what was given out holds none."""
        found = [at for string in self.stop if (at := self.text.find(string, self.told)) >= 0]
        return min(found, default=None)

    def _give(self) -> str:
        if self.row.finish is not None:
            self.row.text = self.text
        certain = len(self.text) if self.row.finish is not None else self._certain()
        given = self.text[self.told : certain]
        self.told = max(self.told, certain)
        return given

    def _certain(self) -> int:
        """Letters before what may turn out to begin a stop string."""
        begun = [
            size
            for string in self.stop
            for size in range(1, len(string))
            if self.text.endswith(string[:size])
        ]
        return len(self.text) - max(begun, default=0)
