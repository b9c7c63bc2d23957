"""Values cross the border as data, and nothing of theirs but the data."""

import collections
import json
import math

import pytest

from eval_sandbox import codec
from eval_sandbox.runner import NotDataError, encode

VALUES = [
    None,
    True,
    0,
    -1,
    2**63,
    -(10**5000),
    0.1,
    math.inf,
    -math.inf,
    1e300,
    "",
    'a\n"\\\u2028\ud800\0',
    b"",
    b"\xff\0",
    [],
    [[], [1, [2.5]]],
    (),
    (1,),
    ("a", (None, False)),
    set(),
    {1, 2},
    frozenset({"a"}),
    {},
    {"a": {"b": [1]}},
    {1: "a", (1, 2): "b", None: "c", b"k": True},
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_equal_values_are_the_same(value):
    assert codec.same(codec.tagged(value), codec.parse(encode(value).encode()))


@pytest.mark.parametrize("number", range(len(VALUES)))
def test_different_values_are_not_the_same(number):
    others = [other for place, other in enumerate(VALUES) if place != number]

    same = [o for o in others if codec.same(codec.tagged(VALUES[number]), codec.tagged(o))]

    assert same == [o for o in others if (o, VALUES[number]) in [([], ()), ((), [])]]


def test_nan_equals_nan():
    assert codec.same(codec.tagged(math.nan), codec.tagged(math.nan))


def test_text_has_no_line_break_whatever_it_carries():
    assert "\n" not in encode(["\n\r\u2028", b"\n", {"\n": "\n"}])


class Liar(int):
    def __eq__(self, other):
        return True

    def __int__(self):
        return 99

    __hash__ = int.__hash__


class LyingText(str):
    __slots__ = ()

    def __str__(self):
        return "lie"


DECAYING = {
    "int": (Liar(1), 1),
    "str": (LyingText("true"), "true"),
    "namedtuple": (collections.namedtuple("P", "x y")(1, 2), (1, 2)),
    "OrderedDict": (collections.OrderedDict(a=1), {"a": 1}),
    "bytearray": (bytearray(b"a"), b"a"),
}


@pytest.mark.parametrize("value, base", DECAYING.values(), ids=DECAYING)
def test_a_subclass_decays_to_its_base_type(value, base):
    assert encode(value) == encode(base)


@pytest.mark.parametrize("value", [object(), range(3), iter([]), 1j, len], ids=repr)
def test_what_is_not_data_is_refused(value):
    with pytest.raises(NotDataError, match="a result of type"):
        encode([value])


def test_a_value_that_contains_itself_is_refused():
    endless = []
    endless.append(endless)

    with pytest.raises(NotDataError, match="200 levels"):
        encode(endless)


MALFORMED = {
    "no JSON": b"passed",
    "nesting without end": b"[" * 100_000,
    "a huge int": b"1" * 5000,
    "nothing": b"",
    "bytes that are no text": b"\xff\xfe",
}


@pytest.mark.parametrize("line", MALFORMED.values(), ids=MALFORMED)
def test_malformed_text_is_refused(line):
    with pytest.raises(codec.MalformedError):
        codec.parse(line)


@pytest.mark.parametrize(
    "actual",
    [[], ["l"], [1, 2], ["d", [1]], ["i", "zz"], ["f", None], ["f", 10**400]],
    ids=lambda actual: str(actual)[:20],
)
def test_malformed_values_are_refused(actual):
    with pytest.raises(codec.MalformedError):
        codec.same(codec.tagged({"a": 1}), actual)


@pytest.mark.parametrize("actual", [["x", 1], ["l", "ab"], ["l", None], ["b", []]], ids=str)
def test_unknown_tags_equal_nothing(actual):
    assert not codec.same(codec.tagged([1, 2]), actual)


SHOWN = [None, True, 1, 0.5, "a'b", [1, [2]], (1,), (1, 2), {"a": (1,)}, set(), {3}, frozenset({1})]


@pytest.mark.parametrize("value", SHOWN, ids=repr)
def test_a_value_is_shown_as_python_shows_it(value):
    assert codec.render(codec.tagged(value)) == repr(value)


LONG = {"text": "x" * 10**6, "list": list(range(10**5)), "key": {"k" * 500: 1}, "int": 10**5000}


@pytest.mark.parametrize("value", LONG.values(), ids=LONG)
def test_a_long_value_is_cut(value):
    assert len(codec.render(codec.tagged(value), at_most=40)) <= 40


@pytest.mark.parametrize("value", [["l", 5], ["d", [3]], ["q"], ["b", 3]], ids=json.dumps)
def test_showing_malformed_values_never_raises(value):
    assert codec.render(value)
