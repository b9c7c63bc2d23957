"""Tests and program in different processes: what crosses, and that it means what it meant in one.

Each test here is run twice, in one process (the oracle) and split, and both must agree.
"""

import os

import pytest

from eval_sandbox import codec
from eval_sandbox.channel import MAX_FRAME, send
from eval_sandbox.contract import Judging, Limits
from eval_sandbox.conversation import Conversation, Over, OverError
from eval_sandbox.judge import Worker
from eval_sandbox.problem import Completion, Problem, Script
from eval_sandbox.verdict import Outcome

JUDGING = Judging(limits=Limits(cpu_seconds=2.0, wall_seconds=20.0))


@pytest.fixture(scope="module")
def worker():
    with Worker() as worker:
        yield worker


def in_one_process(program, test, setup):
    names = {"__name__": "candidate"}
    try:
        exec(program, names)
        exec(setup, names)
        exec(test, names)
    except BaseException:
        return False
    return True


def split(worker, program, test, setup="", prompt="", reference="", trusted=True):
    problem = Problem(
        task_id="p",
        instruction="",
        prompt=prompt,
        entry_point="f",
        tests=(Script(source=test),),
        setup=setup,
        reference=reference,
        trusted=trusted,
    )
    return worker.judge(problem, Completion(task_id="p", text=program, whole=True), JUDGING)


NODE = """
class Node:
    def __init__(self, value):
        self.value, self.left = value, None
    def __iter__(self):
        return iter([self.value])
def depth(node):
    return 0 if node is None else 1 + depth(node.left)
def f(value):
    return Node(value)
"""
CROSSING = {
    "a literal": ("def f(x): return x + 1", "assert f(1) == 2"),
    "a result that is an argument": ("def f(x): return x + 1", "assert f(f(f(1))) == 4"),
    "a loop": ("def f(x): return x * 2", "for x in range(20): assert f(x) == 2 * x"),
    "text, bytes and sets": (
        "def f(*xs): return xs",
        "x = ('é', b'\\xff', {1}, frozenset({2}), 1j)\nassert f(*x) == x",
    ),
    "a huge int": ("def f(x): return x ** 99", "assert f(12345) == 12345 ** 99"),
    "collections": (
        "from collections import *\ndef f(x): return Counter(x), OrderedDict(a=1), deque([1])",
        "from collections import *\n"
        "assert f('aa') == (Counter('aa'), OrderedDict(a=1), deque([1]))",
    ),
    "a Decimal and a date": (
        "import decimal, datetime\n"
        "def f(): return decimal.Decimal('1.5'), datetime.date(2020, 1, 2)",
        "import decimal, datetime\n"
        "assert f() == (decimal.Decimal('1.5'), datetime.date(2020, 1, 2))",
    ),
    "a type as an argument": ("def f(x, kind): return kind(x)", "assert f('12', int) == 12"),
    "a function of the test": ("def f(g, x): return g(g(x))", "assert f(lambda x: x + 3, 1) == 7"),
    "a function of the test that raises": (
        "def f(g):\n    try: return g()\n    except KeyError: return 'caught'",
        "def g(): raise KeyError\nassert f(g) == 'caught'",
    ),
    "a call-back that calls the program": (
        "def f(g, x): return g(x) if x else 0",
        "assert f(lambda x: f(None, 0) + x, 5) == 5",
    ),
    "an argument changed in place": (
        "def f(x): x.sort(); x.append(9)",
        "x = [3, 1]\nf(x)\nassert x == [1, 3, 9]",
    ),
    "a list inside a list changed in place": (
        "def f(x): x[0][0] = 7",
        "row = [1, 2]\nx = [row, [3]]\nf(x)\nassert row == [7, 2] and x[0] is row",
    ),
    "a dict and a set changed in place": (
        "def f(d, s): d['a'] = 1; s.add(2)",
        "d, s = {}, {1}\nf(d, s)\nassert d == {'a': 1} and s == {1, 2}",
    ),
    "an object of the program's class": (NODE, "n = f(3)\nassert n.value == 3 and n.left is None"),
    "an object that is changed and given back": (
        NODE,
        "a, b = Node(1), Node(2)\na.left = b\nassert depth(a) == 2\na.left = None\n"
        "assert depth(a) == 1",
    ),
    "an object compared by identity": (NODE, "a = f(1)\na.left = f(2)\nassert a.left == a.left"),
    "an object that is iterated": (NODE, "assert list(f(4)) == [4]"),
    "what an object holds": (NODE, "assert 4 in f(4) and 5 not in f(4)"),
    "an instance of the program's class": (NODE, "assert isinstance(f(1), Node)"),
    "an exception that is expected": (
        "def f(x): raise ValueError('no')",
        "try:\n    f(1)\n    assert False, 'nothing raised'\nexcept ValueError as e:\n"
        "    assert str(e) == 'no'",
    ),
    "an exception of the program's own class": (
        "class Mine(LookupError): pass\ndef f(x): raise Mine",
        "try: f(1)\nexcept LookupError: pass",
    ),
    "a generator": ("def f(n): yield from range(n)", "assert list(f(3)) == [0, 1, 2]"),
    "a generator compared with a list": ("def f(n): yield 1", "assert f(1) == [1]"),
    "a map, a zip and a view": (
        "def f(d): return map(str, d), zip(d, d), d.keys()",
        "m, z, k = f({1: 2})\nassert list(m) == ['1'] and list(z) == [(1, 1)] and k == {1}",
    ),
    "a named tuple": (
        "from collections import namedtuple\nP = namedtuple('P', 'x y')\ndef f(): return P(1, 2)",
        "assert f() == (1, 2)",
    ),
    "an int subclass": ("class I(int): pass\ndef f(): return I(3)", "assert f() == 3"),
    "a wrong result": ("def f(x): return x", "assert f(1) == 2"),
    "a program that does not load": ("1 / 0", "assert f(1) == 2"),
    "a function that is missing": ("def g(): pass", "assert f(1) == 2"),
    "a wrong number of arguments": ("def f(): return 1", "assert f(1) == 1"),
    "a mutable default": (
        "def f(x, seen=[]):\n    seen.append(x)\n    return len(seen)",
        "assert f(1) == 1\nassert f(1) == 2",
    ),
    "what a call printed": ("def f(x): print(x); return x", "assert f(1) == 1"),
    "a dict that is put in another order": (
        "def f(d): d['a'] = d.pop('a')",
        "d = {'a': 1, 'b': 2}\nf(d)\nassert list(d) == ['b', 'a']",
    ),
    "a list beside an iterator that the program uses up": (
        "def f(xs, more): xs.extend(more)",
        "xs = [1]\nf(xs, iter([1, 2, 3]))\nassert xs == [1, 1, 2, 3]",
    ),
    "an object that is looked at between two calls": (
        "class N:\n    n = 0\ndef f(x):\n    N.n += 1\n    return N()",
        "assert f(1).n == 1\nassert f(2).n == 2",
    ),
    "an answer in the place of another's": (
        "class N: n = 1\ndef f(x): return N()\ndef g(x): return 7",
        "x = f(1)\nassert x.n == 7\nassert g(2) == 1",
    ),
    "one check of two functions, the second wrong": (
        "def double(x): return 2 * x\ndef square(x): return x + 9",
        "def check(g):\n    assert g(2) == 4\ncheck(double)\ncheck(square)",
    ),
    "one check of two functions": (
        "def double(x): return 2 * x\ndef square(x): return x * x",
        "def check(g):\n    assert g(2) == 4\ncheck(double)\ncheck(square)",
    ),
}


@pytest.mark.parametrize("trusted", [True, False], ids=["published", "a user's own"])
@pytest.mark.parametrize("program, test", CROSSING.values(), ids=CROSSING)
def test_split_and_in_one_process_agree_on(program, test, trusted, worker):
    verdict = split(worker, program, test, trusted=trusted)

    expected = Outcome.PASSED if in_one_process(program, test, "") else Outcome.FAILED
    assert verdict.outcome is expected, verdict


def test_a_prompts_helper_is_the_judges_own(worker):
    prompt = "def helper(x): return x + 1\ndef f(x):\n"
    test = "def check(candidate):\n    assert helper(candidate(1)) == 3\ncheck(f)"
    cheat = "def helper(x): return 3\ndef f(x): return 0"

    assert split(worker, "def f(x): return 2", test, prompt=prompt).outcome is Outcome.PASSED
    assert split(worker, cheat, test, prompt=prompt).outcome is Outcome.FAILED


def test_a_name_that_the_reference_defines_is_the_programs_even_if_it_is_a_builtin(worker):
    reference = "def sum(a, b): return a * b"
    program, test = "def sum(a, b): return a * b", "assert sum(2, 3) == 6"

    assert split(worker, program, test, reference=reference).outcome is Outcome.PASSED


def test_a_builtin_that_the_program_replaces_stays_the_judges_own(worker):
    program = "def f(x): return [0]\ndef sorted(x): return [1]\nsum = len = sorted"

    assert split(worker, program, "assert sorted(f(0)) == [1]").outcome is Outcome.FAILED


def test_a_module_that_the_reference_imports_is_the_judges_own(worker):
    reference = "import math\ndef f(x): return x"
    cheat = "class math:\n    isclose = lambda *a, **k: True\ndef f(x): return 0"

    verdict = split(worker, cheat, "assert math.isclose(f(1), 1)", reference=reference)

    assert verdict.outcome is Outcome.FAILED


def test_set_up_may_use_the_programs_classes(worker):
    verdict = split(
        worker, NODE, "assert depth(root) == 2", setup="root = Node(1)\nroot.left = f(2)"
    )

    assert verdict.outcome is Outcome.PASSED


def test_the_truth_of_an_object_of_its_own_class_is_not_believed(worker):
    assert split(worker, NODE, "assert f(1)").outcome is Outcome.FAILED


def test_random_numbers_are_the_same_in_every_run(worker):
    program = "import random\ndef f(): return random.random()"
    details = {split(worker, program, "assert f() < 0").detail for _ in range(3)}

    assert len(details) == 1


def test_the_order_of_a_set_of_texts_is_the_same_in_every_sandbox():
    program = "def f(): return list({'a', 'b', 'c', 'd', 'e', 'f', 'g'})"
    details = set()
    for _ in range(3):
        with Worker() as worker:
            details.add(split(worker, program, "assert f() < []").detail)

    assert len(details) == 1


def test_a_wrong_answer_is_found_before_a_later_call_hangs(worker):
    program = "import time\ndef f(x):\n    while x == 2: time.sleep(1)\n    return 0"

    verdict = split(worker, program, "assert f(1) == 1\nassert f(2) == 2")

    assert verdict.outcome is Outcome.FAILED
    assert verdict.wall_seconds < JUDGING.limits.wall_seconds


def test_a_test_that_swallows_everything_does_not_pass_a_program_that_is_gone(worker):
    test = "try: f(1)\nexcept BaseException: pass"

    assert split(worker, "import os\ndef f(x): os._exit(0)", test).outcome is Outcome.FAILED


def test_a_users_own_tests_cannot_reach_the_next_check(worker):
    nasty = (
        "import builtins, os\nbuiltins.len = None\nfor fd in range(64):\n"
        "    try: os.write(fd, b'x')\n    except OSError: pass\nos._exit(0)"
    )

    assert split(worker, "def f(x): return x", nasty, trusted=False).outcome is Outcome.FAILED
    after = split(worker, "def f(x): return x", "assert len([f(1)]) == 1", trusted=False)
    assert after.outcome is Outcome.PASSED


def test_numpy_is_there_for_a_problem_that_imports_it(worker):
    test = "import numpy as np\nassert np.allclose(f(2), [2.0, 4.0]) and f(3)[0] == 3"
    program = "import numpy as np\ndef f(x): return [np.float64(x), np.int64(2 * x)]"

    assert split(worker, program, test).outcome is Outcome.PASSED
    assert split(worker, program, "assert f(3)[0] == 3").outcome is Outcome.FAILED


def test_an_object_cannot_have_numpy_read_memory_of_the_judge(worker):
    test = "import numpy as np\nassert np.asarray(f(1)).shape == (3,)"
    program = (
        "class Spy:\n    __array_interface__ = {'shape': (3,), 'typestr': '|u1',"
        " 'data': (4096, True), 'version': 3}\ndef f(x): return Spy()"
    )

    assert split(worker, program, test).outcome is Outcome.FAILED


@pytest.mark.parametrize("known", [(), (("f", (1,), {}),)], ids=["none ahead", "one ahead"])
def test_what_a_candidate_said_before_it_was_gone_is_heard(known):
    calls, to_candidate = os.pipe()
    from_candidate, replies = os.pipe()
    send(replies, codec.encode(("broken", "MemoryError", "", 0), MAX_FRAME))
    for end in (calls, replies):
        os.close(end)
    conversation = Conversation(to_candidate, from_candidate, None)

    with pytest.raises(OverError):
        conversation.start(b"a program", b"its calls", known)
        conversation.reply(0) if known else conversation.ask("call", "f", (1,), {})

    assert conversation.over is Over.MEMORY
    for end in (to_candidate, from_candidate):
        os.close(end)


@pytest.mark.parametrize("trusted", [True, False], ids=["trusted", "a user's own"])
@pytest.mark.parametrize("test", ["assert True", "assert f", "if not f:\n    assert f(1) == 1"])
@pytest.mark.parametrize(
    "program", ["def f(:", "raise ValueError", "import sys; sys.exit()", "def f(x): return 2"]
)
def test_a_program_that_does_not_load_fails_where_no_test_asks_it_anything(
    worker, program, test, trusted
):
    verdict = split(worker, program, test, trusted=trusted)

    assert (verdict.outcome is Outcome.PASSED) == in_one_process(program, test, "")
