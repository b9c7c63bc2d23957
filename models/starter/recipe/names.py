"""Names of arguments and functions.

An argument is an adjective and a noun, as in `old_prices`. One pair in five is kept for the
benchmark, so that a benchmark problem shares no long run of words with a training row even where
the two share a part.
"""

from hashlib import md5
from random import Random

ADJECTIVES = (
    "old",
    "new",
    "raw",
    "daily",
    "first",
    "last",
    "open",
    "red",
    "local",
    "main",
    "final",
    "spare",
)
NOUNS = {
    "numbers": ("prices", "scores", "ages", "marks", "sizes", "costs", "votes", "steps"),
    "number": ("price", "score", "age", "mark", "size", "cost", "vote", "step"),
    "text": ("title", "line", "phrase", "label", "message", "note", "text", "word"),
    "table": ("stock", "wages", "ranks", "goals", "sales", "bills", "hours", "rates"),
}
VERBS = (
    "find",
    "get",
    "make",
    "pick",
    "build",
    "check",
    "solve",
    "take",
    "show",
    "scan",
    "work",
    "read",
)
SHARES = 5
"""One in so many compositions, and one in so many argument names, is held out."""


def is_held_out(key: str) -> bool:
    """Whether a composition or an argument name belongs to the benchmark alone."""
    return int(md5(key.encode(), usedforsecurity=False).hexdigest(), 16) % SHARES == 0


def argument_names(noun_kind: str, *, held_out: bool) -> tuple[str, ...]:
    """All `adjective_noun` names of one kind, from the benchmark's share or from the training
    share."""
    pairs = (f"{adjective}_{noun}" for adjective in ADJECTIVES for noun in NOUNS[noun_kind])
    return tuple(name for name in pairs if is_held_out(name) is held_out)


ARGUMENT_NAMES = {
    (kind, held_out): argument_names(kind, held_out=held_out)
    for kind in NOUNS
    for held_out in (False, True)
}


def opaque_name(rng: Random, words: tuple[str, ...]) -> str:
    """A function name that says nothing about the function, as in `scan_dash_marks`.

    Pretraining uses only such names: a base model has to read the sentence, and to copy the name.
    """
    parts = [rng.choice(VERBS)] if rng.random() < 0.5 else []
    parts += rng.sample(words, rng.choice((2, 2, 3)) if not parts else rng.choice((1, 2, 2)))
    return "_".join(parts)
