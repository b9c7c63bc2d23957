"""When a result agrees with the reference's by evalplus's rules, whatever is in it."""

import copy
import math
import time
from collections import OrderedDict, deque
from decimal import Decimal

import pytest

from eval_sandbox.benchmarks import read_problems
from eval_sandbox.plus import RULES, agrees, tolerances

NAN, INF = math.nan, math.inf

EQUAL = {
    "the same int": (0, 3, 3),
    "an equal float for an int": (0, 3, 3.0),
    "a float within 1e-6 where the file gives no tolerance": (0, 1.0, 1.0 + 5e-7),
    "a float within 1e-7 of a large one": (0, 1e9, 1e9 + 50),
    "floats in a list": (0, [0.1 + 0.2, 2.0], [0.3, 2.0]),
    "floats in a tuple": (0, (0.5, 1.5), (0.5, 1.5 + 1e-7)),
    "an int within the file's tolerance and a share of it": (1e-4, 10**9, 10**9 + 50),
    "nested rows within the file's tolerance": (1e-4, [[1.0], [2.0]], [[1.00005], [2.0]]),
    "a list in the place of an inner tuple, within the tolerance": (1e-4, [(1.0,)], [[1.00001]]),
    "complex numbers within the tolerance": (1e-4, 1 + 1j, 1.00001 + 1j),
    "infinity": (0, INF, INF),
    "a list of infinity": (1e-4, [INF, 1.0], [INF, 1.00001]),
    "equal texts": (0, "abc", "abc"),
    "an ordered dict for a dict": (0, {"a": 1}, OrderedDict(a=1)),
}


@pytest.mark.parametrize("tolerance, expected, result", EQUAL.values(), ids=EQUAL)
def test_equal_is(tolerance, expected, result):
    assert agrees("equal", tolerance, (), expected, result)


UNEQUAL = {
    "another int": (0, 3, 4),
    "a list for a tuple": (0, (1, 2), [1, 2]),
    "a list for a tuple of floats": (0, (1.0, 2.0), [1.0, 2.0]),
    "a near int where a float is expected": (0, 1.0000001, 1),
    "a near float where an int is expected": (1e-4, 1, 1.00001),
    "a float that is too far": (0, 1.0, 1.00001),
    "a list of floats and ints that is only near": (0, [1.5, 1], [1.5000001, 1]),
    "an empty list for floats": (0, [1.0], []),
    "one row for many equal ones": (1e-4, [[1.0, 2.0], [1.0, 2.0]], [1.0, 2.0]),
    "one number for many equal ones": (1e-4, [1.0, 1.0], 1.00001),
    "rows of different lengths that are only near": (
        1e-4,
        [[1.0], [1.0, 2.0]],
        [[1.00001], [1, 2]],
    ),
    "nan": (0, NAN, float("nan")),
    "minus infinity": (0, INF, -INF),
    "infinity for a number": (1e-4, 1.0, INF),
    "nothing": (1e-4, 1.0, None),
    "a text that says the number": (1e-4, 1.0, "1.0"),
    "a huge int that is only near": (1e-4, 10**30, 10**30 + 1),
    "a dict of near floats": (1e-4, {"a": 1.0}, {"a": 1.00001}),
    "a decimal that is only near": (1e-4, [1.0], [Decimal("1.00001")]),
    "an iterator over the right values": (0, [1, 2], iter([1, 2])),
    "a deque of the right values": (0, [1, 2], deque([1, 2])),
}


@pytest.mark.parametrize("tolerance, expected, result", UNEQUAL.values(), ids=UNEQUAL)
def test_not_equal_is(tolerance, expected, result):
    assert not agrees("equal", tolerance, (), expected, result)


SPECIAL = {
    "a set in any order and number": ("set", ((),), (4, 5), [5, 4, 4], True),
    "a set for a tuple": ("set", ((),), (4, 5), {4, 5}, True),
    "a set that lacks a member": ("set", ((),), (4, 5), [4], False),
    "a set with one too many": ("set", ((),), (4, 5), [4, 5, 6], False),
    "a set of nothing": ("set", ((),), (), [], True),
    "a set where there is no collection": ("set", ((),), (4, 5), None, False),
    "a set of what has no hash": ("set", ((),), (4, 5), [[4], [5]], False),
    "a set of near floats in order": ("set", ((),), (0.5, 1.5), (0.5, 1.5 + 1e-9), True),
    "something for something": ("not-none", ("a",), object(), "match", True),
    "nothing for something": ("not-none", ("a",), object(), None, False),
    "nothing for nothing": ("not-none", ("a",), None, None, True),
    "true for something": ("not-none", ("a",), object(), True, True),
    "false for something": ("not-none", ("a",), object(), False, False),
    "false for nothing": ("not-none", ("a",), None, False, True),
    "anything at all": ("anything", (1, 2), True, None, True),
    "zero": ("or-zero", (84,), 140, 0, True),
    "neither zero nor the sum": ("or-zero", (84,), 140, 84, False),
    "a pyramid by its slant height": ("pyramid", (3, 4), 33, 33, True),
    "a pyramid by its height": ("pyramid", (3, 4), 33, 35, True),
    "a pyramid by neither": ("pyramid", (3, 4), 33, 34, False),
    "digits of the difference": ("digits", (23, 56), 6, 6, True),
    "digits one below the other": ("digits", (12345, 9), 12, 14, True),
    "digits of neither": ("digits", (12345, 9), 12, 13, False),
    "digits of a negative number": ("digits", (-5, 5), 1, 10, False),
    "one root": ("root", ([-6.0, 11.0, -6.0, 1.0],), 1.0, 1.0, True),
    "another root": ("root", ([-6.0, 11.0, -6.0, 1.0],), 1.0, 3.0, True),
    "no root": ("root", ([-6.0, 11.0, -6.0, 1.0],), 1.0, 1.5, False),
    "a root that is no number": ("root", ([1.0, 2.0],), -0.5, "x", False),
    "a root that overflows": ("root", ([1.0, 2.0, 3.0],), -0.5, 10**400, False),
}


@pytest.mark.parametrize("rule, args, expected, result, right", SPECIAL.values(), ids=SPECIAL)
def test_a_special_rule_takes(rule, args, expected, result, right):
    assert agrees(rule, 1e-9 if rule == "root" else 0, args, expected, result) is right


def test_a_tolerance_stays_once_a_float_was_expected():
    assert list(tolerances(0, [1, 2.0, [3, 4.5]])) == [0, 1e-6, 1e-6]
    assert list(tolerances(1e-4, [1, 2.0])) == [1e-4, 1e-4]


def test_a_rule_that_is_not_there_is_our_mistake():
    with pytest.raises(KeyError):
        agrees("equals", 0, (), 1, 1)


def nested(depth):
    value = 1.0
    for _ in range(depth):
        value = [value]
    return value


HOSTILE = {
    "nested without end": nested(100_000),
    "a number without end": 1 << 8_000_000,
    "a decimal that cannot be compared": Decimal("sNaN"),
    "a decimal without end": Decimal("1e999999999"),
    "a complex number out of range": complex(1e308, 1e308),
    "a million values": [0.0] * 1_000_000,
    "a million values of one hash": [n * ((1 << 61) - 1) for n in range(1, 1_000_001)],
}
ARGS = {"pyramid": (3, 4), "digits": (12, 345), "root": ([1.0, 2.0],)}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("result", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("expected", [7, 1.0, [1.0, 2.0], nested(20)], ids=str)
def test_no_rule_raises_or_takes_long_for(rule, expected, result):
    began = time.process_time()

    agreed = agrees(rule, 1e-4, ARGS.get(rule, ()), expected, result)

    assert agreed is (rule in ("anything", "not-none"))
    assert time.process_time() - began < 1.0


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:invalid escape sequence")  # in a published reference
@pytest.mark.parametrize(
    "benchmark, name", [("humanevalplus", "HumanEvalPlus"), ("mbppplus", "MbppPlus")]
)
def test_every_reference_agrees_with_itself(published, benchmark, name):
    for problem in read_problems(benchmark, published / "bench" / f"{name}.jsonl.gz"):
        names = {"__name__": "reference"}
        exec(problem.reference, names)
        reference = names[problem.entry_point]
        for trial in problem.tests:
            for args in trial.inputs[:20]:
                expected, result = (reference(*copy.deepcopy(args)) for _ in range(2))
                assert agrees(trial.rule, trial.tolerance, args, expected, result), problem.task_id
