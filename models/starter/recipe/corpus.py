"""What the base models are pretrained on: plain commented functions, and some of the standard
library.

Held-out compositions and the argument names of the benchmark never occur, and neither does the form
of an instruction with its response: that is left to be learnt by tuning.
"""

import sysconfig
from pathlib import Path
from random import Random

from models.starter.recipe import SEED
from models.starter.recipe.families import FAMILIES, WORDS
from models.starter.recipe.grammar import Composition, Function, compositions, write
from models.starter.recipe.names import ARGUMENT_NAMES, NOUNS, opaque_name

FUNCTIONS = 32_000
LIBRARY_SHARE = 0.06
"""Share of the characters of the corpus that come from the standard library."""
COPYING_SHARE = 0.15
"""Exercises in copying per function."""
KINDS = tuple(NOUNS)
NEUTRAL = ("found", "names", "items")
LISTED = (
    "bisect calendar cmd colorsys configparser copy csv dataclasses difflib fnmatch fractions "
    "functools getopt glob graphlib heapq html/parser imaplib json/decoder json/encoder keyword "
    "linecache mailbox numbers operator pprint queue random reprlib sched shelve shlex shutil "
    "statistics string tabnanny textwrap timeit tokenize trace types uuid wave weakref zipapp "
    "zipfile argparse ast cgitb codecs collections/__init__ contextlib"
)
MODULES = LISTED.split()
PIECE = 1_200
"""Characters of one piece of library source."""


def documented(function: Function, rng: Random) -> str:
    """A function with its meaning as a comment above it or as a docstring."""
    meaning = f"Return {function.meaning}."
    if rng.random() < 0.6:
        return f"# {meaning}\n{function.code}\n"
    return f'{function.signature}\n    """{meaning}"""\n{function.body}\n'


def passage(function: Function, rng: Random) -> str:
    """A documented function, three times in four with its name repeated before or after it.

    Repetition teaches a model to copy names; without it tuning learns what to compute but not what
    to call it.
    """
    text = documented(function, rng)
    habit = rng.random()
    if habit < 0.25:
        return text
    if habit < 0.5:
        return f"# {function.signature}\n{text}"
    if habit < 0.75:
        return f"{text}\nprint({function.call})\n"
    return f"{text}\nresult = {function.call}\n"


def copying(rng: Random) -> str:
    """Names and constants that occur again in the same order: practice in looking back."""
    names = [opaque_name(rng, WORDS) for _ in range(rng.randint(2, 3))]
    names += [rng.choice(ARGUMENT_NAMES[kind, False]) for kind in rng.sample(KINDS, 3)]
    names += [rng.choice("aeortbc"), str(rng.randint(2, 9))]
    rng.shuffle(names)
    line = ", ".join(names)
    return f"# {line}\n{rng.choice(NEUTRAL)} = [{line}]\nprint({line})\n"


def functions(seed: int = SEED) -> list[str]:
    """The composed part of the corpus: families in turn, compositions of the training share at
    random."""
    rng = Random(f"corpus {seed}")
    shares: list[tuple[Composition, ...]] = [
        compositions(family, held_out=False) for family in FAMILIES
    ]
    texts = []
    for number in range(FUNCTIONS):
        composition = rng.choice(shares[number % len(shares)])
        texts.append(passage(write(composition, rng, name=opaque_name(rng, WORDS)), rng))
        if rng.random() < COPYING_SHARE:
            texts.append(copying(rng))
    return texts


def library(characters: int, seed: int = SEED) -> list[str]:
    """Pieces of standard library source of the running interpreter, `characters` in all, as far as
    there are."""
    folder = Path(sysconfig.get_path("stdlib"))
    paths = (folder / f"{module}.py" for module in MODULES)
    sources = [
        path.read_text(encoding="utf-8", errors="replace") for path in paths if path.exists()
    ]
    pieces = [source[at : at + PIECE] for source in sources for at in range(0, len(source), PIECE)]
    Random(f"library {seed}").shuffle(pieces)
    return pieces[: characters // PIECE]


def corpus(seed: int = SEED) -> list[str]:
    """All texts in the order of training. The library part depends on the version of the
    interpreter."""
    composed = functions(seed)
    characters = sum(map(len, composed))
    texts = composed + library(round(characters * LIBRARY_SHARE / (1 - LIBRARY_SHARE)), seed)
    Random(f"order {seed}").shuffle(texts)
    return texts
