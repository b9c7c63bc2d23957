"""Which calls of a test can be sent ahead: only those that it will surely make, with literals."""

import pytest

from eval_sandbox.foresight import REPLY, foresee

CALLS = {
    "an assert": ("assert f([1, 2]) == 3", [("f", ([1, 2],), {})], True),
    "two, in the order of the text": (
        "assert f(1) == 1\nassert f(-2) == 2",
        [("f", (1,), {}), ("f", (-2,), {})],
        True,
    ),
    "named arguments": ("assert f(1, k=(2,)) == 3", [("f", (1,), {"k": (2,)})], True),
    "a call within calls of builtins": ("assert set(f('a')) == {1}", [("f", ("a",), {})], True),
    "both sides of a comparison": (
        "assert f(1) == g(2)",
        [("f", (1,), {}), ("g", (2,), {})],
        True,
    ),
    "an assignment": ("x = f(1)\nassert x == 1", [("f", (1,), {})], True),
    "HumanEval's form": (
        "METADATA = {}\ndef check(candidate):\n    assert candidate(1) == 1\ncheck(f)",
        [("f", (1,), {})],
        True,
    ),
    "HumanEval's form with the function's own name beside": (
        "def check(candidate):\n    assert candidate(1) == f(2)\ncheck(f)",
        [("f", (1,), {}), ("f", (2,), {})],
        True,
    ),
    "one check of two functions": (
        "def check(candidate):\n    assert candidate(1) == 1\ncheck(f)\ncheck(g)",
        [("f", (1,), {}), ("g", (1,), {})],
        True,
    ),
    "a message that needs a call": ("assert f(1) == 1, f(2)", [("f", (1,), {})], False),
    "a check that stays unused": (
        "def check(candidate):\n    assert candidate(1) == f(2)\nassert f(1) == 1",
        [("f", (1,), {})],
        False,
    ),
    "an argument that depends on a result": ("assert f(f(1)) == 1", [], False),
    "what follows such a call": ("assert f(f(1)) == 1\nassert f(2) == 2", [], False),
    "a variable": ("x = 1\nassert f(x) == 1", [], False),
    "what may not be reached": ("assert f(1) == 1 and f(2) == 2", [], False),
    "the second link of a chain": ("assert f(1) < 2 < f(3)", [], False),
    "a loop": ("for x in [1]: assert f(x)", [], False),
    "what comes before a loop": (
        "assert f(1) == 1\nfor x in [1]: assert f(x)",
        [("f", (1,), {})],
        False,
    ),
    "a condition": ("if True: assert f(1)", [], False),
    "an exception that is expected": ("try: f(1)\nexcept ValueError: pass", [], False),
    "the function as a value": ("assert list(map(f, [1])) == [1]", [], False),
    "a lambda": ("g = lambda: f(1)\nassert g() == 1", [], False),
    "a check that returns early": (
        "def check(candidate):\n    return\n    assert candidate(1)\ncheck(f)",
        [],
        False,
    ),
    "a helper that calls it": ("def g(): return f(1)\nassert g() == 1", [], False),
}


@pytest.mark.parametrize("source, calls, complete", CALLS.values(), ids=CALLS)
def test_foresees(source, calls, complete):
    foreseen = foresee(source, frozenset("fg"), 0, "<test>")

    assert list(foreseen.calls) == calls
    assert foreseen.complete is complete


@pytest.mark.parametrize("source", [source for source, *_ in CALLS.values()])
def test_a_test_makes_the_calls_that_were_foreseen_first_and_in_that_order(source):
    def function(*args, **kwargs):
        made.append((args, kwargs))
        return Anything()

    class Anything(int):
        def __eq__(self, other):
            return True

        __hash__ = int.__hash__

        def __iter__(self):
            return iter([1])

    def run(code, **names):
        try:
            exec(code, names)
        except (AssertionError, TypeError):
            return

    made = []
    run(source, f=function, g=function)
    plainly, made = made, []
    foreseen = foresee(source, frozenset("fg"), 0, "<test>")
    answer = [lambda a=a, k=k: function(*a, **k) for _, a, k in foreseen.calls]
    run(foreseen.code, f=function, g=function, **{REPLY: lambda number: answer[number]()})

    assert made[: len(plainly)] == plainly


def test_a_set_among_the_arguments_is_made_as_the_test_would_make_it():
    foreseen = foresee("assert f({12, 13, 14, 15, 16}) == 1", frozenset("f"), 0, "<test>")
    ((_, code, _),) = foreseen.calls

    assert [list(value) for value in eval(code)] == [list({12, 13, 14, 15, 16})]


def test_calls_are_numbered_on_from_those_of_the_tests_before():
    foreseen = foresee("assert f(1) == 1", frozenset("f"), 5, "<test>")
    asked = []

    exec(foreseen.code, {REPLY: lambda number: asked.append(number) or 1})

    assert asked == [5]
