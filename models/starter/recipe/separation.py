"""What it means that no benchmark problem can be read off the training text.

Compared are runs of ten words, where a word is a maximal run of letters, digits and underscores:
operators, brackets and line breaks do not count. Shorter runs are shared on purpose, since that is
what makes the problems compositions of known parts.
"""

import re
from collections.abc import Iterable, Iterator

RUN_LENGTH = 10
WORD = re.compile(r"\w+")


def word_runs(text: str) -> Iterator[tuple[str, ...]]:
    """Every run of ten consecutive words of a text; none of a shorter text."""
    words = WORD.findall(text)
    return zip(*(words[offset:] for offset in range(RUN_LENGTH)), strict=False)


def all_word_runs(texts: Iterable[str]) -> set[tuple[str, ...]]:
    """The runs of many texts; a run never spans two of them."""
    return {run for text in texts for run in word_runs(text)}
