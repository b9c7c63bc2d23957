"""When a result is the expected one, and how both are shown."""

import math

import pytest

from eval_sandbox.comparison import render, same

VALUES = [
    *(None, True, 0, -1, 2**63, -(10**50), 0.1, math.inf, -math.inf, 1e300, "", "a", b"", b"\xff"),
    *([], [[], [1, [2.5]]], (1,), ("a", (None, False)), set(), {1, 2}, frozenset({"a"}), {}),
    *({"a": {"b": [1]}}, {1: "a", (1, 2): "b", None: "c", b"k": True}),
]


@pytest.mark.parametrize("number", range(len(VALUES)))
def test_a_value_is_the_same_as_itself_and_as_no_other(number):
    assert [place for place, other in enumerate(VALUES) if same(VALUES[number], other)] == [number]


PAIRS = {
    "a list and a tuple": ([1, [2]], (1, (2,)), True),
    "a set and a frozenset": ({1}, frozenset({1}), True),
    "nan and nan": (math.nan, math.nan, True),
    "floats a rounding apart": (0.3, 0.1 + 0.2, True),
    "floats a millionth apart": (0.3, 0.3000003, False),
    "floats around zero": (0.0, 1e-13, True),
    "an int and the same float": (3, 3.0, True),
    "an int and a float too large for one": (10**400, 1.0, False),
    "True and 1": (1, True, False),
    "members 1 and True": ({1}, {True}, False),
    "keys 1 and 1.0": ({1: 2}, {1.0: 2}, False),
    "dicts in another order": ({"a": 1, "b": 2}, {"b": 2, "a": 1}, True),
    "dicts of which one has more": ({"a": 1}, {"a": 1, "b": 2}, False),
}


@pytest.mark.parametrize("expected, actual, equal", PAIRS.values(), ids=PAIRS)
def test_sameness_of(expected, actual, equal):
    assert same(expected, actual) is equal
    assert same(actual, expected) is equal


SHOWN = {
    "a list": ([1, (2,), "a"], "[1, (2,), 'a']"),
    "a dict": ({"a": {1}}, "{'a': {1}}"),
    "no set": (set(), "set()"),
    "a frozenset": (frozenset({1}), "frozenset({1})"),
    "long text": ("x" * 1000, "'" + "x" * 78 + "…"),
    "a huge int": (1 << 100_000, "an int of 100001 bits"),
}


@pytest.mark.parametrize("value, text", SHOWN.values(), ids=SHOWN)
def test_a_value_is_shown_as_python_would(value, text):
    assert render(value) == text


def test_a_long_list_is_cut_without_being_shown_whole():
    assert render([["x" * 10**6] * 1000] * 1000).endswith("…")
    assert len(render(list(range(10**6)))) == 80
