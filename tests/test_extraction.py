"""Which program a chat answer stands for, whatever stands around it."""

import textwrap
import time

import pytest

from eval_sandbox.extraction import EXTRACTIONS, assemble
from eval_sandbox.problem import Completion, Problem

PROMPT = '''\
from typing import List
import math

HALF = 0.5

def helper(x):
    return x * 2

def f(xs: List[int]) -> int:
    """ Sum of the doubled.
    >>> f([1])
    2
    """
'''
SIGNATURE = "def f(xs):\n"


def chat(text, prompt="", entry_point="f", whole=True):
    problem = Problem(task_id="p", instruction="", prompt=prompt, entry_point=entry_point, tests=())
    completion = Completion(task_id="p", text=textwrap.dedent(text), whole=whole)
    return assemble(problem, completion, "chat")


def run(program, *args):
    """What `f` of a program returns."""
    names = {"__name__": "answer"}
    exec(compile(program, "<answer>", "exec", dont_inherit=True), names)
    return names["f"](*args)


@pytest.mark.parametrize("whole, program", [(True, "x = 1"), (False, "def f(xs):\nx = 1")])
@pytest.mark.parametrize("extract", ["none", "fenced"])
def test_a_text_without_fences_is_taken_as_it_is(extract, whole, program):
    problem = Problem(task_id="p", instruction="", prompt=SIGNATURE, entry_point="f", tests=())
    completion = Completion(task_id="p", text="x = 1", whole=whole)

    assert assemble(problem, completion, extract) == program


def test_an_extraction_that_is_not_there_is_our_mistake():
    problem = Problem(task_id="p", instruction="", prompt="", entry_point="f", tests=())

    with pytest.raises(KeyError):
        assemble(problem, Completion(task_id="p", text=""), "chats")


FENCED = {
    "a fence for python": """\
        Sure! Here is it:
        ```python
        def f(xs):
            return sum(xs)
        ```
        It adds them up.
        """,
    "a fence for py": """\
        ```py
        def f(xs):
            return sum(xs)
        ```
        """,
    "a fence that names nothing": """\
        ```
        def f(xs):
            return sum(xs)
        ```
        """,
    "a fence of tildes": """\
        ~~~ Python
        def f(xs):
            return sum(xs)
        ~~~
        """,
    "a fence in braces": """\
        ```{.python}
        def f(xs):
            return sum(xs)
        ```
        """,
    "a fence inside of a list": """\
        1. First:
           ```python
           def f(xs):
               return sum(xs)
           ```
        2. Then:
        """,
    "a fence that never closes": """\
        ```python
        def f(xs):
            return sum(xs)
        """,
    "a fence that is cut off in the middle of its tests": """\
        ```python
        def f(xs):
            return sum(xs)

        def test_f():
            assert f([1,
        """,
    "a fence that closes behind code": """\
        ```python
        def f(xs):
            return sum(xs)```
        Done.
        """,
    "prose inside of the fence": """\
        ```python
        Here is the function:
        def f(xs):
            return sum(xs)
        I hope this helps!
        ```
        """,
    "an example in a fence after it": """\
        ```python
        def f(xs):
            return sum(xs)
        ```
        For example:
        ```python
        print(undefined)
        ```
        """,
    "another language first": """\
        ```bash
        pip install f
        ```
        ```python
        def f(xs):
            return sum(xs)
        ```
        """,
    "the output after it": """\
        ```python
        def f(xs):
            return sum(xs)
        ```
        ```
        >>> f([1])
        ```
        """,
    "a first attempt before it": """\
        ```python
        def f(xs):
            return 0
        ```
        That is wrong. Better:
        ```python
        def f(xs):
            return sum(xs)
        ```
        """,
    "a later attempt that is cut off": """\
        ```python
        def f(xs):
            return sum(xs)
        ```
        Or shorter:
        ```python
        def f(xs):
            return (
        """,
    "a name that is bound to a lambda": """\
        ```python
        f = lambda xs: sum(xs)
        ```
        """,
    "lines that end as on Windows": "```python\r\ndef f(xs):\r\n    return sum(xs)\r\n```\r\n",
    "thoughts before it": """\
        <think>
        ```python
        def f(xs):
            return 0
        ```
        No.
        </think>
        ```python
        def f(xs):
            return sum(xs)
        ```
        """,
    "helpers before and after it": """\
        A helper:
        ```python
        def add(a, b):
            return a + b
        ```
        The function:
        ```python
        def f(xs):
            total = START
            for x in xs:
                total = add(total, x)
            return total
        ```
        with
        ```python
        START = 0
        ```
        """,
    "a helper of its helper": """\
        ```python
        def one(a, b):
            return two(a, b)
        ```
        ```python
        def two(a, b):
            return a + b
        ```
        ```python
        def f(xs):
            total = 0
            for x in xs:
                total = one(total, x)
            return total
        ```
        """,
    "an example with a name of its variables": """\
        ```python
        def f(xs):
            total = sum(xs)
            return total
        ```
        ```python
        total = undefined(xs)
        ```
        """,
    "code without a fence, and an example in one": """\
        def f(xs):
            return sum(xs)

        Use it so:
        ```python
        print(f([1]))
        ```
        """,
    "a future import": """\
        ```python
        from __future__ import annotations
        def f(xs: Undefined):
            return sum(xs)
        ```
        """,
    "doubtful escapes": """\
        ```python
        def f(xs):
            "\\d"
            return sum(xs)
        ```
        """,
}


@pytest.mark.parametrize("prompt", ["", SIGNATURE, PROMPT], ids=["none", "signature", "code"])
@pytest.mark.parametrize("text", FENCED.values(), ids=FENCED)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::SyntaxWarning")
def test_the_program_is_found_in_an_answer_with(text, prompt):
    assert run(chat(text, prompt), [1, 2, 3]) == 6


UNFENCED = {
    "prose around it": """\
        Sure, this adds them up.

        import math
        from typing import List

        def f(xs: List[int]) -> int:
            '''Adds
        them.
            '''
            return sum(xs)

        This works, because sum adds.
        """,
    "words that parse as Python": """\
        Sure

        def f(xs):
            return sum(xs)

        Done
        """,
    "an example in prose": """\
        def f(xs):
            return sum(xs)

        Example:
        total = f(undefined)
        """,
    "a heading after it": """\
        def f(xs):
            return sum(xs)
        ## Explanation
        It adds.
        """,
    "decorators, and brackets that close at the margin": """\
        Here:
        import functools

        @functools.wraps(sum)
        @functools.lru_cache(
            maxsize=None
        )
        def add(a, b):
            return a + b

        def f(xs):
            return add(
                sum(xs), 0
        )
        Good luck!
        """,
    "branches at the margin": """\
        So:
        if True:
            def f(xs):
                return sum(xs)
        else:
            f = None
        There.
        """,
    "a helper somewhere else": """\
        def add(a, b):
            return a + b

        is used by this one:

        def f(xs):
            total = 0
            for x in xs:
                total = add(total, x)
            return total
        """,
    "nothing but code": """\
        def f(xs):
            return sum(xs)
        [print(x) for x in ()]
        f([1])
        """,
}


@pytest.mark.parametrize("prompt", ["", SIGNATURE, PROMPT], ids=["none", "signature", "code"])
@pytest.mark.parametrize("text", UNFENCED.values(), ids=UNFENCED)
def test_the_program_is_found_without_fences_beside(text, prompt):
    assert run(chat(text, prompt), [1, 2, 3]) == 6


@pytest.mark.parametrize("prompt", ["", SIGNATURE, PROMPT], ids=["none", "signature", "code"])
def test_the_program_is_found_where_all_of_it_is_indented(prompt):
    problem = Problem(task_id="p", instruction="", prompt=prompt, entry_point="f", tests=())
    text = "    def f(xs):\n        return sum(xs)\n"

    program = assemble(problem, Completion(task_id="p", text=text, whole=True), "chat")

    assert run(program, [1, 2, 3]) == 6


BODIES = {
    "a body": "    return sum(xs)\n",
    "a body that begins on a new line": "\n    return sum(xs)\n",
    "a body and prose": "    return sum(xs)\n\nThis adds them up.\n",
    "a body, a helper and prose": (
        "    return add(xs)\n\ndef add(xs):\n    return sum(xs)\n\nThis adds them up.\n"
    ),
    "a body and a fence that closes what the prompt opened": "    return sum(xs)\n```\nDone it.\n",
    "a body that is cut off in another function": (
        "    return sum(xs)\n\ndef main():\n    print(f([1, "
    ),
    "a body in a fence": "Here:\n```python\n    return sum(xs)\n```\n",
    "a body in a fence without indentation": (
        "```python\ntotal = 0\nfor x in xs:\n    total += x\nreturn total\n```"
    ),
    "a body whose first line lost its indentation": (
        "```python\ntotal = 0\n    for x in xs:\n        total += x\n    return total\n```"
    ),
    "a body without fence and indentation": "return sum(xs)",
    "a body with a function of its own": (
        "    def add(a):\n        return sum(a)\n    return add(xs)\n"
    ),
}


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("prompt", [SIGNATURE, PROMPT], ids=["signature", "code"])
@pytest.mark.parametrize("text", BODIES.values(), ids=BODIES)
def test_the_prompt_is_continued_by(text, prompt, whole):
    problem = Problem(task_id="p", instruction="", prompt=prompt, entry_point="f", tests=())
    completion = Completion(task_id="p", text=text, whole=whole)

    assert run(assemble(problem, completion, "chat"), [1, 2, 3]) == 6


def test_a_whole_function_finds_the_imports_and_helpers_of_the_prompt():
    text = """\
        ```python
        def f(xs: List[int]) -> int:
            return math.floor(sum(helper(x) for x in xs) * HALF)
        ```
        """

    assert run(chat(text, PROMPT), [1, 2, 3]) == 6


def test_helpers_of_its_own_go_before_those_of_the_prompt():
    text = """\
        ```python
        def helper(x):
            return x
        def f(xs):
            return sum(map(helper, xs))
        ```
        """

    program = chat(text, PROMPT)

    assert run(program, [1, 2, 3]) == 6
    assert program.count("def helper") == 1


def test_a_prompt_that_is_repeated_is_not_there_twice():
    program = chat(f"```python\n{PROMPT}    return sum(xs)\n```", PROMPT)

    assert program == f"{PROMPT}    return sum(xs)\n"


def test_several_functions_of_one_block_are_kept():
    text = "```python\ndef g(): pass\ndef f(xs): pass\ndef h(): pass\n```"

    assert chat(text) == "def g(): pass\ndef f(xs): pass\ndef h(): pass\n"


def test_a_program_without_entry_point_is_the_longest_block_that_says_it_is_python():
    text = """\
        ```python
        print(input())
        ```
        For the input
        ```
        5 numbers in one very long line of text
        ```
        """

    assert chat(text, entry_point="") == "print(input())\n"


def test_what_is_no_answer_stays_as_it_is():
    assert chat("I cannot do that.\n") == "I cannot do that.\n"
    assert chat("", SIGNATURE, whole=False) == SIGNATURE


def test_every_extraction_takes_every_text():
    for extract in EXTRACTIONS:
        for text in ("", "\0", "\ud800", "```", "```python", "\ufeffdef f(): pass", "'''"):
            problem = Problem(task_id="p", instruction="", prompt="", entry_point="f", tests=())
            completion = Completion(task_id="p", text=text, whole=True)

            assert isinstance(assemble(problem, completion, extract), str)


N = 200_000
HOSTILE = {
    "a fence that is none": "```" + " " * N + "`",
    "fences": "```\n" * (N // 4),
    "blocks that are no Python": "```python\nx = (\n```\n" * (N // 20),
    "blocks that lack each other": "".join(
        f"```\ndef a{n}(): return a{n + 1}()\n```\n" for n in range(N // 40)
    )
    + "```\ndef f(): return a0()\n```",
    "statements": "x = 1\n" * (N // 6),
    "words": "word\n" * (N // 5),
    "functions": "def f(): pass\n" * (N // 14),
    "functions in prose": "def f(): pass\nand then\n" * (N // 23),
    "indentation": "".join(" " * n + "if x:\n" for n in range(600)),
    "spaces": " " * N,
    "empty lines": "\n" * N,
    "quotes": "'''\n" * (N // 4),
    "decorators": "@a\n" * (N // 3),
    "brackets": "(" * N,
    "dicts": "{1:" * N,
    "signs": "-" * N + "1",
    "sums": "1" + "+1" * (N // 2),
    "attributes": "a" + ".a" * (N // 2),
    "branches": "if x: pass\n" + "elif x: pass\n" * (N // 13),
    "comments": "#\n" * (N // 2),
    "continued lines": "\\\n" * (N // 2),
    "thoughts": "</think>\n" * (N // 9),
}


@pytest.mark.parametrize("extract", EXTRACTIONS)
@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_no_time_is_lost_on_an_answer_of_many(text, extract):
    problem = Problem(task_id="p", instruction="", prompt=PROMPT, entry_point="f", tests=())
    began = time.process_time()

    assemble(problem, Completion(task_id="p", text=text, whole=True), extract)

    assert time.process_time() - began < 4.0
