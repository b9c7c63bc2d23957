"""What the attacks are made of: their form, the tests that judge them, and pieces of programs.

Every program that is judged by calls or asserts is asked for `f` with `f(x) == x + 1`, and every
wrong one returns something else.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from textwrap import dedent, indent

from eval_sandbox.contract import Limits
from eval_sandbox.problem import Call, Dialogue, Script, Test, Trials
from eval_sandbox.verdict import Outcome

QUICK = Limits(cpu_seconds=1.0, wall_seconds=10.0, memory_mib=512)
SHORT = Limits(cpu_seconds=0.5, wall_seconds=1.0, memory_mib=512)
"""For programs that never come to an end."""

CALLS: tuple[Test, ...] = tuple(Call(args=(x,), kwargs={}, expected=x + 1) for x in (1, 41))
ASSERTS: tuple[Test, ...] = (Script(source="assert f(1) == 2"), Script(source="assert f(41) == 42"))
CHECK: tuple[Test, ...] = (
    Script(
        source="def check(candidate):\n    assert candidate(1) == 2\n"
        "    assert candidate(41) == 42\n    assert True\n\ncheck(f)"
    ),
)
"""As HumanEval has it."""
LOOP: tuple[Test, ...] = (Script(source="for x in (1, 41):\n    assert f(x) == x + 1"),)
"""No call of it can be read off the source."""
INPUTS: tuple[Test, ...] = (Trials(name="base", inputs=((1,), (41,))),)
REFERENCE = "def f(x): return x + 1"
DIALOGUE: tuple[Test, ...] = (Dialogue(stdin="1\n", stdout="2\n"),)

SECRET = "ANSWER:8172"
"""What no program can compute: one that returns it has found the expectation."""
FIND_SECRET = "re.compile('answer:'.upper() + '[0-9]{4}')"
"""In a program that imports re: a pattern that is not itself what it looks for."""

MARKER = "@MARKER@"
"""In a program: replaced by a random word that no process of the host may carry afterwards."""
NAME_ITSELF = f"ctypes.CDLL(None).prctl(15, b'{MARKER}', 0, 0, 0)"
"""In a program that imports ctypes: names the calling thread so."""
CANARY = "@CANARY@"
"""In a program: replaced by the path of a file of the host that must stay as it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attack:
    """One program and the outcomes that show it was withstood."""

    program: str
    tests: tuple[Test, ...] = CALLS
    outcomes: tuple[Outcome, ...] = (Outcome.FAILED,)
    limits: Limits = QUICK
    before: str = ""
    """A program judged just before, by which another candidate prepares the attack."""
    trusted: bool = True
    """Whether the tests are judged as a published benchmark's, not as a stranger's."""
    reference: str = ""
    """What `Trials` compare with."""


@dataclass(frozen=True, slots=True)
class Form:
    """One way in which a program can be tested."""

    name: str
    tests: tuple[Test, ...]
    trusted: bool = True
    reference: str = ""


FORMS = (
    Form("calls", CALLS),
    Form("a check function", CHECK),
    Form("asserts in a loop", LOOP),
    Form("a stranger's asserts", ASSERTS, trusted=False),
    Form("inputs", INPUTS, reference=REFERENCE),
)


def _secret_forms() -> tuple[Form, ...]:
    assertion = f"assert f(1) == {SECRET!r}"
    check = f"def check(candidate):\n    assert candidate(1) == {SECRET!r}\n\ncheck(f)"
    return (
        Form("calls", (Call(args=(1,), kwargs={}, expected=SECRET),)),
        Form("a check function", (Script(source=check),)),
        Form("asserts in a loop", (Script(source=f"for x in (1,):\n    {assertion}"),)),
        Form("a stranger's asserts", (Script(source=assertion),), trusted=False),
        Form("inputs", INPUTS, reference=f"def f(x): return {SECRET!r}"),
    )


SECRET_FORMS = _secret_forms()


def in_forms(forms: tuple[Form, ...], attacks: Mapping[str, Attack]) -> dict[str, Attack]:
    """Each attack once in each form."""
    return {
        f"{name}, judged by {form.name}": replace(
            attack, tests=form.tests, trusted=form.trusted, reference=form.reference
        )
        for name, attack in attacks.items()
        for form in forms
    }


def python(text: str) -> str:
    """A program as it stands in this source, without its indentation."""
    return dedent(text).strip("\n")


def reach(lines: str) -> str:
    """A program that is right only if none of `lines` raises."""
    body = indent(python(lines), " " * 8)
    return (
        f"def f(x):\n    try:\n{body}\n"
        "    except BaseException as refused:\n        return repr(refused)\n    return x + 1"
    )
