"""Whether what a program printed is what was expected, by a rule that the problem names.

`lines`: equal line by line, but for white space at the ends of lines and empty lines at the end.
`decimals`: the rule of LiveCodeBench (lcb_runner/evaluation/testing_util.py): white space around
lines does not count, and two lines of numbers are equal where the numbers are, as decimals.
`tokens`: the words are equal one by one, whatever white space is between them, and two numbers of
which one has a fraction are equal within 1e-5 relative or 1e-8 absolute, which is what APPS allows.
"""

import math
from collections.abc import Callable
from decimal import Decimal
from itertools import zip_longest

RELATIVE_TOLERANCE, ABSOLUTE_TOLERANCE = 1e-5, 1e-8
_SHOWN = 80


def mismatch(rule: str, printed: str, expected: str) -> str:
    """The first difference in words; empty where the rule finds none.

    Args:
        rule: a name of `RULES`.
        printed: what the program wrote.
        expected: what it should have written.

    Raises:
        KeyError: there is no such rule.
    """
    return RULES[rule](printed, expected)


def _lines(printed: str, expected: str) -> str:
    found, wanted = _without_ends(printed), _without_ends(expected)
    return _first_line(found, wanted, str.__eq__)


def _without_ends(text: str) -> list[str]:
    return [line.rstrip() for line in text.rstrip().split("\n")]


def _decimals(printed: str, expected: str) -> str:
    found, wanted = _stripped(printed), _stripped(expected)
    return _first_line(found, wanted, _same_decimals)


def _stripped(text: str) -> list[str]:
    return [line.strip() for line in text.strip().split("\n")]


def _first_line(found: list[str], wanted: list[str], same: Callable[[str, str], bool]) -> str:
    for number, (line, right) in enumerate(zip(found, wanted, strict=False), start=1):
        if not same(line, right):
            return f"line {number} is {line[:_SHOWN]!r}, expected {right[:_SHOWN]!r}"
    if len(found) != len(wanted):
        return f"printed {len(found)} lines, expected {len(wanted)}"
    return ""


def _same_decimals(line: str, right: str) -> bool:
    if line == right:
        return True
    try:
        return [Decimal(word) for word in line.split()] == [Decimal(w) for w in right.split()]
    except ArithmeticError:  # a word that is no number, or one that compares with nothing
        return False


def _tokens(printed: str, expected: str) -> str:
    for number, (word, right) in enumerate(zip_longest(printed.split(), expected.split()), start=1):
        if word is None:
            return f"printed {number - 1} words, word {number} should be {right[:_SHOWN]!r}"
        if right is None:
            return f"printed more than the {number - 1} words that were expected"
        if word != right and not _near(word, right):
            return f"word {number} is {word[:_SHOWN]!r}, expected {right[:_SHOWN]!r}"
    return ""


def _near(word: str, right: str) -> bool:
    if not any(mark in word + right for mark in ".eE"):
        return False
    try:
        left_value, right_value = float(word), float(right)
    except ValueError:
        return False
    return math.isfinite(left_value) and math.isclose(
        left_value, right_value, rel_tol=RELATIVE_TOLERANCE, abs_tol=ABSOLUTE_TOLERANCE
    )


RULES: dict[str, Callable[[str, str], str]] = {
    "lines": _lines,
    "decimals": _decimals,
    "tokens": _tokens,
}
