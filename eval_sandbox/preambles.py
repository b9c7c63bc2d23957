"""Code that runs before a completion: policy, so each has a name stored with every verdict."""

# Of `math` only the module: `from math import *` would replace the builtin pow.
PREAMBLES: dict[str, str] = {
    "none": "",
    "standard": """\
import collections, functools, heapq, itertools, math, random, re, string, typing
from typing import *
""",
}
