"""Code that runs before a completion: policy, so each has a name stored with every verdict."""

# Of `math` only the module: `from math import *` would replace the builtin pow.
PREAMBLES: dict[str, str] = {
    "none": "",
    "standard": """\
import collections, functools, heapq, itertools, math, random, re, string, typing
from typing import *
""",
    "contest": """\
import bisect, collections, copy, datetime, functools, heapq, io, itertools, json, math, operator
import random, re, statistics, string, sys, typing
from string import *
from re import *
from datetime import *
from collections import *
from heapq import *
from bisect import *
from copy import *
from math import *
from random import *
from statistics import *
from itertools import *
from functools import *
from operator import *
from io import *
from sys import *
from json import *
from typing import *
from builtins import *
import bisect, copy, datetime, random, string
sys.setrecursionlimit(50_000)
""",
}
# `contest` gives a program the names that LiveCodeBench's import_string gives it
# (lcb_runner/evaluation/testing_util.py): names of one module replace those of an earlier one there
# as here, the builtins come back last.
