"""A question with its tests, and one answer to it."""

from dataclasses import dataclass, field
from datetime import date
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """Call the entry point; the result is compared outside the candidate's process."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    expected: Any
    """A JSON value; tuples and lists compare equal, bool and int do not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialogue:
    """Run the whole program on `stdin`; what it printed is compared outside."""

    stdin: str
    stdout: str
    compare: str = "lines"
    """How that is compared: a name of `printed.RULES`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """Python source that raises when the program before it is wrong (HumanEval, MBPP, asserts)."""

    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Trials:
    """Call the entry point on each input; each result must agree with the reference's own."""

    name: str
    """What the inputs are called where they fail: `base` or `plus`."""
    inputs: tuple[tuple[Any, ...], ...]
    """Positional arguments, one tuple a call."""
    rule: str = "equal"
    """How results are compared: a name of `plus.RULES`."""
    tolerance: float = 0.0
    """Absolute tolerance of floats, as the benchmark's file gives it."""


Test = Call | Dialogue | Script | Trials


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One question of a benchmark, as its authors published it."""

    task_id: str
    instruction: str
    """The question in words; for HumanEval the prompt itself."""
    prompt: str
    """Code that a completion continues: HumanEval's prompt, a custom signature; empty for MBPP."""
    entry_point: str
    """The function that the tests call; empty where the program is judged by its output. `C.m` is
    the method `m` of a new object of the program's class `C`, or its function `m` where it has no
    such class."""
    tests: tuple[Test, ...]
    setup: str = ""
    """Code run before the tests (MBPP's `test_setup_code`)."""
    reference: str = ""
    """A whole program that passes; empty where none was published."""
    family: str = ""
    """Problems of one family share a source."""
    released: date | None = None
    """When it was published, where the file says so."""
    trusted: bool = True
    """Whether the code of the tests is a published benchmark's; a user's own is judged apart."""
    extra: dict[str, str] = field(default_factory=dict)
    """Published fields that only prompts use (MBPP's visible tests, say)."""

    @property
    def defined(self) -> str:
        """The function or class that a program has to define; empty where it only prints."""
        return self.entry_point.partition(".")[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """One answer of a model to one problem."""

    task_id: str
    text: str
    whole: bool = False
    """True: a whole program (`solution`). False: it continues the problem's prompt."""
