"""Code that runs before a completion, and how the program is found in a model's answer.

Both are policy: they change verdicts, so each has a name that is stored with every verdict.
"""

import re
from collections.abc import Callable

# Of `math` only the module: `from math import *` would replace the builtin pow.
PREAMBLES: dict[str, str] = {
    "none": "",
    "standard": """\
import collections, functools, heapq, itertools, math, random, re, string, typing
from typing import *
""",
}

_FENCE = re.compile(
    r"^[ \t]*```[ \t]*(?:python|py)[^\n]*\n(.*?)(?:^[ \t]*```|\Z)", re.S | re.M | re.I
)


def _as_it_is(text: str) -> str:
    return text


def _first_fence(text: str) -> str:
    """What stands in the first ```python fence; the whole text where there is none.

    A fence that never closes (an answer cut off by its length limit) reaches to the end.
    """
    found = _FENCE.search(text)
    return found.group(1) if found else text


EXTRACTIONS: dict[str, Callable[[str], str]] = {"none": _as_it_is, "fenced": _first_fence}
