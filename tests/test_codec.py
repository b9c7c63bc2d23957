"""What crosses between candidate and judge: Python's own equality and types are the oracle."""

import datetime
import math
import subprocess
import sys
import textwrap
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eval_sandbox import codec
from eval_sandbox.codec import MalformedError, NotDataError, TooLargeError, decode, encode

ROOT = Path(__file__).parent.parent
MIB = 1 << 20

DATA = {
    "nothing": None,
    "an int": -3,
    "the largest small int": 2**63 - 1,
    "an int beyond it": 2**63,
    "a huge negative int": -(7**999),
    "a bool": True,
    "a float": 0.1,
    "infinity": -math.inf,
    "a complex": 1 - 2j,
    "text with a NUL, a surrogate and an emoji": "\0\ud800😀",
    "bytes": b"\0\xff",
    "a bytearray": bytearray(b"ab"),
    "many ints": list(range(100)),
    "many ints, one of them huge": [*range(9), 2**70],
    "many floats": (0.5,) * 9,
    "many texts": ["a", "", "bcd", "e"] * 9,
    "many texts, one of them not ASCII": ("a", "é", "c", "d"),
    "ints and bools": [1, True, 0, False, 1],
    "lists in lists": [[[]], [[1, "a"]], (2, [3])],
    "a set": {1, "a", (2, 3)},
    "a frozenset": frozenset({1}),
    "a dict": {"b": [1], 2: None, (1, 2): {}},
    "an OrderedDict": OrderedDict(b=1, a=2),
    "a Counter": Counter("aab"),
    "a defaultdict": defaultdict(list, {1: [2]}),
    "a deque": deque([1, 2]),
    "a range": range(5, 2**70, 3),
    "an ellipsis": ...,
    "a Decimal": Decimal("1.50"),
    "a Fraction": Fraction(-3, 7),
    "a date": datetime.date(2024, 2, 29),
    "a time": datetime.time(1, 2, 3, 4),
    "a datetime": datetime.datetime(2024, 2, 29, 1, 2, 3, 4),
    "a timedelta": datetime.timedelta(-1, 2, 3),
    "a type": int,
    "an exception type": KeyError,
    "a builtin function": len,
}


@pytest.mark.parametrize("value", DATA.values(), ids=DATA)
def test_a_value_arrives_equal_and_of_its_type(value):
    arrived = decode(encode(value, MIB))

    assert arrived == value
    assert type(arrived) is type(value)


def test_not_a_number_and_minus_zero_keep_their_sign():
    assert math.isnan(decode(encode(math.nan, MIB)))
    assert math.copysign(1, decode(encode(-0.0, MIB))) == -1


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.complex_numbers(allow_nan=False)
    | st.text(st.characters(codec="utf-8") | st.just("\udfff"))
    | st.binary(),
    lambda inner: (
        st.lists(inner)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text() | st.integers(), inner)
        | st.sets(st.integers() | st.text())
        | st.frozensets(st.floats(allow_nan=False))
        | st.lists(st.integers(), min_size=4)
        | st.lists(st.floats(allow_nan=False), min_size=4)
    ),
    max_leaves=30,
)


@given(PLAIN)
@settings(max_examples=400)
def test_any_plain_value_arrives_equal(value):
    arrived = decode(encode(value, MIB))

    assert arrived == value
    assert repr(arrived) == repr(value) or isinstance(value, (set, frozenset, dict, list, tuple))


@given(PLAIN, st.data())
@settings(max_examples=400)
def test_damaged_bytes_are_refused_or_are_another_value(value, data):
    content = bytearray(encode(value, MIB))
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(content)))
    for damaged in (bytes(content), bytes(content[:cut])):
        try:
            decode(damaged)
        except MalformedError:
            continue


@given(st.binary(max_size=200))
@settings(max_examples=2000)
def test_any_bytes_end_in_a_value_or_a_refusal(content):
    try:
        decode(content)
    except MalformedError:
        return


class EqualsAll(int):
    def __eq__(self, other):
        return True

    __hash__ = int.__hash__


class Liar(list):
    def __iter__(self):
        return iter([1])

    def __len__(self):
        return 1

    def __getitem__(self, place):
        return [1]


Point = namedtuple("Point", "x y")

DECAYS = {
    "an int that equals everything": (EqualsAll(3), 3),
    "a list that lies about its items": (Liar([2, 3]), [2, 3]),
    "a named tuple": (Point(1, 2), (1, 2)),
    "a str subclass": (type("S", (str,), {"__str__": lambda self: "no"})("yes"), "yes"),
    "a dict subclass": (type("D", (dict,), {"items": lambda self: []})(a=1), {"a": 1}),
    "a float subclass": (type("F", (float,), {})(0.5), 0.5),
    "a set subclass": (type("S", (set,), {"__iter__": lambda self: iter([9])})({1}), {1}),
    "a deque subclass": (type("Q", (deque,), {})([1]), deque([1])),
}


@pytest.mark.parametrize("value, base", DECAYS.values(), ids=DECAYS)
def test_a_subclass_decays_to_its_base_type(value, base):
    arrived = decode(encode(value, MIB))

    assert type(arrived) is type(base)
    assert arrived == base


def test_an_iterator_arrives_as_an_iterator_and_not_as_a_list():
    arrived = decode(encode((n * n for n in range(3)), MIB))

    assert arrived != [0, 1, 4]
    assert list(arrived) == [0, 1, 4]


def test_an_endless_iterator_is_cut_and_says_so():
    arrived = decode(encode((n for n in iter(int, 1)), 8 * MIB))

    assert next(arrived) == 0
    with pytest.raises(codec.CutShortError):
        list(arrived)


def test_views_of_a_dict_compare_like_views():
    value = {"a": 1, "b": 2}

    assert decode(encode(value.keys(), MIB)) == value.keys()
    assert decode(encode(value.items(), MIB)) == value.items()
    assert list(decode(encode(value.values(), MIB))) == [1, 2]


def test_an_object_of_a_class_of_its_own_is_no_data():
    with pytest.raises(NotDataError, match="Thing"):
        encode([type("Thing", (), {})()], MIB)


@pytest.mark.parametrize("value", [print, eval, open, __import__, type("T", (), {}), math])
def test_what_reaches_outside_is_no_data(value):
    with pytest.raises(NotDataError):
        encode(value, MIB)


def test_a_value_inside_itself_is_refused():
    value = []
    value.append(value)

    with pytest.raises(NotDataError, match="nested"):
        encode(value, MIB)


BOMBS = {
    "one long text": "x" * (2 * MIB),
    "a huge int": 1 << (16 * MIB),
    "a list that is repeated in itself": [[["x" * 1000] * 100] * 100] * 100,
    "many bytes": bytes(2 * MIB),
    "many ints": [0] * MIB,
}


@pytest.mark.parametrize("value", BOMBS.values(), ids=BOMBS)
def test_a_value_over_the_limit_is_refused(value):
    with pytest.raises(TooLargeError):
        encode(value, MIB)


MALFORMED = {
    "nothing at all": b"",
    "an unknown tag": b"?",
    "a list of four billion": b"l\xff\xff\xff\xff",
    "an array of four billion": b"Lq\xff\xff\xff\xff",
    "texts longer than there is": b"Ls\x01\x00\x00\x00\x09\x00\x00\x00\x01\x00\x00\x00a",
    "text longer than there is": b"s\x09\x00\x00\x00abc",
    "text that is not UTF-8": b"s\x01\x00\x00\x00\xff",
    "a list in a set": b"S\x01\x00\x00\x00l\x00\x00\x00\x00",
    "a key without a value": b"d\x01\x00\x00\x00N",
    "half an int": b"i\x00",
    "a range of step 0": b"r" + encode(0, MIB) * 3,
    "a Decimal of letters": b"M" + encode("abc", MIB),
    "a Fraction over 0": b"R" + encode((1, 0), MIB),
    "a date in month 13": b"D" + encode(("date", 2024, 13, 1), MIB),
    "a date that is a system call": b"D" + encode(("sys", 1), MIB),
    "a builtin that is not shared": b"Y" + encode("eval", MIB),
    "a handle where data is due": b"H\x00\x00\x00\x00",
    "two values": b"NN",
    "a million lists in each other": b"l\x01\x00\x00\x00" * 1_000_000 + b"N",
    "a million iterators in each other": b"g" * 1_000_000,
    "a million Decimals in each other": b"M" * 1_000_000,
    "a million Fractions in each other": b"R" * 1_000_000,
}


@pytest.mark.parametrize("content", MALFORMED.values(), ids=MALFORMED)
def test_refuses(content):
    with pytest.raises(MalformedError):
        decode(content)


def test_equal_values_have_one_digest_and_others_another():
    values = [list(range(10**6)), [float(n) for n in range(10**6)], ["x"] * 10**6, [], [[]]]
    digests = [codec.digest(value) for value in values]

    assert len(set(digests)) == len(values)
    assert digests == [codec.digest(decode(encode(value, 64 * MIB))) for value in values]


def test_decoding_takes_memory_in_proportion_to_the_bytes():
    """Measured in a process whose address space ends where the promise ends."""
    code = """
        import resource
        from eval_sandbox.codec import decode
        size = 1 << 20
        used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + 100 * size,) * 2)
        empty_set = b"S" + bytes(4)
        for item in (empty_set, b"l" + bytes(4), b"N", b"d" + bytes(4), b"f" + bytes(8)):
            count = size // len(item)
            decode(b"l" + count.to_bytes(4, "little") + item * count)
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], cwd=ROOT, check=True, timeout=60)
