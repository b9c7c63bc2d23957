"""Which answers had a program in them."""

import pytest

from eval_sandbox.extracted import holds_program
from eval_sandbox.problem import Completion, Problem

ASKED = Problem(
    task_id="p",
    instruction="Add one.",
    prompt="def f(x):\n",
    entry_point="f",
    tests=(),
)
WHOLE = {
    "a fence": ("So:\n```python\ndef f(x): return x + 1\n```", True, True),
    "a fence that was cut off": ("```python\ndef f(x):\n    return (x +", True, True),
    "a program alone": ("def f(x):\n    return x + 1\n", True, True),
    "a program that was cut off": ("def f(x):\n    return (x +", False, False),
    "talk": ("I cannot do that, sorry.", False, False),
    "talk around a program": ("Sure:\n\ndef f(x): return x + 1\n\nAs you wish.", False, True),
    "nothing": ("\n", False, False),
}


@pytest.mark.parametrize("text, fenced, chat", WHOLE.values(), ids=WHOLE)
def test_an_answer_that_is(text, fenced, chat):
    answer = Completion(task_id="p", text=text, whole=True)

    assert holds_program(ASKED, answer, "fenced") is fenced
    assert holds_program(ASKED, answer, "chat") is chat
    assert holds_program(ASKED, answer, "none") is None


@pytest.mark.parametrize("extract", ["fenced", "chat"])
@pytest.mark.parametrize("text, holds", [("    return x + 1\n", True), ("    return (x +", False)])
def test_an_answer_that_continues_the_prompt_is_looked_at_behind_it(text, holds, extract):
    answer = Completion(task_id="p", text=text, whole=False)

    assert holds_program(ASKED, answer, extract) is holds
