"""The tests of one problem, put to one candidate. Runs in the judge's own sandbox.

Tests are prepared once for each problem and used for every completion of it. Names that the
candidate defines stand in the tests for a `StandIn`; everything else they use (helpers of the
prompt, imports, set-up, builtins) runs here, out of the candidate's reach.
"""

import ast
import builtins
import copy
import marshal
import random
import traceback
from dataclasses import dataclass
from types import CodeType
from typing import Any

from eval_sandbox import codec, plus
from eval_sandbox.channel import MAX_FRAME
from eval_sandbox.comparison import render, same
from eval_sandbox.conversation import MAX_REPLIES, Conversation, Over, OverError, StandIn
from eval_sandbox.foresight import REPLY, Call, foresee
from eval_sandbox.verdict import Finding, Outcome

PASSED = Finding(Outcome.PASSED)
_LINE = 160


@dataclass(frozen=True, slots=True)
class Script:
    """Assertions."""

    code: CodeType
    lines: tuple[str, ...]

    def put(self, conversation: Conversation, names: dict[str, Any]) -> Finding:
        """Run them."""
        exec(self.code, names)
        return PASSED


@dataclass(frozen=True, slots=True)
class Comparison:
    """A call that was sent ahead, and what it must return."""

    number: int
    """Of the call, from 0."""
    expected: Any

    def put(self, conversation: Conversation, names: dict[str, Any]) -> Finding:
        """Compare."""
        result = conversation.reply(self.number)
        if same(self.expected, result):
            return PASSED
        shown = f"returned {render(result)}, expected {render(self.expected)}"
        return Finding(Outcome.FAILED, f"call {self.number + 1} {shown}")


@dataclass(frozen=True, slots=True)
class Agreement:
    """A call that was sent ahead, and what the reference returned for the same input."""

    number: int
    name: str
    place: int
    args: tuple[Any, ...]
    expected: Any
    rule: str
    tolerance: float
    digested: bool
    """Results are too large to send: both are SHA-256 of them, and must be of equal types too."""

    def put(self, conversation: Conversation, names: dict[str, Any]) -> Finding:
        """Compare by evalplus's rules."""
        result = conversation.reply(self.number)
        if self.digested:
            shown = "returned something else than was expected, both too large to show"
            return PASSED if result == self.expected else Finding(Outcome.FAILED, shown)
        if plus.agrees(self.rule, self.tolerance, self.args, self.expected, result):
            return PASSED
        shown = f"returned {render(result)}, expected {render(self.expected)}"
        return Finding(Outcome.FAILED, f"{self.name} input {self.place + 1} {shown}")


@dataclass(frozen=True, slots=True)
class Prepared:
    """A problem whose tests are ready to be put."""

    prelude: CodeType
    """What the tests find besides the candidate; nothing where they use nothing of it."""
    defined: frozenset[str]
    """Names that only the candidate defines."""
    steps: tuple[Script | Comparison | Agreement, ...]
    calls: tuple[Call, ...]
    """Those known ahead."""
    ahead: bytes
    """The same, as the frame that follows the program."""


class BrokenReferenceError(Exception):
    """The published reference does not do what its own benchmark needs: our input is wrong."""


def ready(problem: dict[str, Any]) -> Prepared | Finding:
    """`prepare`, or what is wrong with the problem: our input's fault, and no candidate's."""
    try:
        return prepare(problem)
    except BrokenReferenceError as error:
        detail = f"the reference fails: {error}"
    except (Exception, SystemExit) as error:  # whatever the problem's own code raises
        detail = f"the tests cannot be prepared: {type(error).__name__}: {_text(error)}"
    return Finding(Outcome.SANDBOX_ERROR, detail)


def prepare(problem: dict[str, Any]) -> Prepared:
    """Make the tests of a problem ready.

    Args:
        problem: as `judge.described` gives it.

    Raises:
        BrokenReferenceError: the reference of a problem with `Trials` fails.
    """
    prelude = _prelude(problem)
    defined = _defined(problem, prelude)
    calls: list[Call] = []
    steps: list[Script | Comparison | Agreement] = []
    complete = not _loaded(problem["setup"]) & defined
    functions: set[str] = set()
    for number, (kind, *content) in enumerate(problem["tests"]):
        if kind == "script":
            label = f"<test {number}>"
            # Once the tests talk, a call sent ahead would come too early; and a function of an
            # earlier test may talk.
            complete = complete and not _loaded(content[0]) & functions
            functions |= _functions(content[0])
            names = defined if complete else frozenset()
            foreseen = foresee(content[0], names, len(calls), label)
            calls += foreseen.calls
            complete = complete and foreseen.complete
            steps.append(Script(foreseen.code, tuple(content[0].split("\n"))))
        elif kind == "call":
            args, kwargs, expected = content
            steps.append(Comparison(len(calls), expected))
            calls.append((problem["entry_point"], args, kwargs))
        else:
            steps += _agreements(problem, content, calls)
    digested = tuple(s.number for s in steps if isinstance(s, Agreement) and s.digested)
    ahead = marshal.dumps((calls, complete and bool(calls), digested))
    scripts = [test[1] for test in problem["tests"] if test[0] == "script"]
    needed = problem["setup"] or any(_loaded(script) & _binds(prelude) for script in scripts)
    code = compile(prelude if needed else "", "<prelude>", "exec", dont_inherit=True)
    return Prepared(code, defined, tuple(steps), tuple(calls), ahead)


def _agreements(problem: dict[str, Any], content: list[Any], calls: list[Call]) -> list[Agreement]:
    name, inputs, rule, tolerance = content
    expected = _expected(problem, name, inputs)
    tolerances = plus.tolerances(tolerance, [value for value, _ in expected])
    found = []
    for place, (args, (value, digested), near) in enumerate(
        zip(inputs, expected, tolerances, strict=True)
    ):
        found.append(Agreement(len(calls), name, place, args, value, rule, near, digested))
        calls.append((problem["entry_point"], args, {}))
    return found


def _expected(
    problem: dict[str, Any], name: str, inputs: list[tuple[Any, ...]]
) -> list[tuple[Any, bool]]:
    """What the reference returns for each input, and whether that is only its digest."""
    reference = _reference(problem)
    found: list[tuple[Any, bool]] = []
    for place, args in enumerate(inputs):
        try:
            value = reference(*copy.deepcopy(args))
        except Exception as error:
            raise BrokenReferenceError(f"{name} input {place + 1}: {error!r}") from error
        try:
            codec.encode(value, MAX_FRAME)
            found.append((value, False))
        except codec.NotDataError:
            found.append((value, False))
        except codec.TooLargeError:
            found.append((codec.digest(value), True))
    return found


def _reference(problem: dict[str, Any]) -> Any:
    names: dict[str, Any] = {"__name__": "reference"}
    exec(compile(problem["reference"], "<reference>", "exec", dont_inherit=True), names)
    return names[problem["entry_point"]]


def _defined(problem: dict[str, Any], prelude: str) -> frozenset[str]:
    """The names in tests and set-up that stand for something of the candidate's.

    The function asked for; what nobody else defines; and where no prompt says which function is
    asked for, all that the reference defines at its top level, even where it is the name of a
    builtin. A prompt's helpers and a module that the reference imports stay here, or a program
    could redefine what its tests rely on.
    """
    scripts = [test[1] for test in problem["tests"] if test[0] == "script"]
    used = set().union(*map(_loaded, scripts), _loaded(problem["setup"]))
    made = set().union(*map(_binds, (*scripts, prelude)), vars(builtins))
    theirs = used - made
    if problem["prompt"] or not problem["reference"]:
        theirs |= {problem["entry_point"]} - {""}
    else:  # MBPP: the name of the entry point is guessed from the tests there
        theirs |= used & _top_level(problem["reference"])
    return frozenset(theirs)


def _prelude(problem: dict[str, Any]) -> str:
    """What the tests find besides the candidate."""
    parts = (problem["preamble"], _helpers(problem["prompt"]), _imports(problem), problem["setup"])
    return "\n".join(parts)


def _helpers(prompt: str) -> str:
    """A prompt as Python: a signature alone still wants a body."""
    for text in (prompt, f"{prompt}    pass"):
        try:
            ast.parse(text)
        except SyntaxError:
            continue
        return text
    return ""


def _imports(problem: dict[str, Any]) -> str:
    """The reference's imports, which published tests may use without importing it themselves."""
    if problem["prompt"]:
        return ""
    body = ast.parse(problem["reference"]).body
    return "\n".join(ast.unparse(s) for s in body if isinstance(s, (ast.Import, ast.ImportFrom)))


def _functions(source: str) -> set[str]:
    return {n.name for n in ast.walk(ast.parse(source)) if isinstance(n, ast.FunctionDef)}


def _loaded(source: str) -> set[str]:
    return {n.id for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Name)}


def _binds(source: str) -> set[str]:
    """Every name that a source binds anywhere."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Name(name, ast.Store()) | ast.arg(name) | ast.ExceptHandler(name=str(name)):
                found.add(name)
            case ast.FunctionDef(name) | ast.ClassDef(name) | ast.AsyncFunctionDef(name):
                found.add(name)
            case ast.alias(name, asname):
                found.add((asname or name).partition(".")[0])
    return found


def _top_level(source: str) -> set[str]:
    """The functions, classes and variables that a program defines for others."""
    found: set[str] = set()
    for statement in ast.parse(source).body:
        match statement:
            case ast.FunctionDef(name) | ast.ClassDef(name) | ast.AsyncFunctionDef(name):
                found.add(name)
            case ast.Assign() | ast.AnnAssign():
                found |= _binds(ast.unparse(statement))
    return found


def examine(prepared: Prepared, conversation: Conversation, order: bytes) -> Finding | None:
    """Send the program and put every test, in order, until one is not passed.

    Args:
        prepared: the tests.
        conversation: with a candidate that was sent nothing yet.
        order: preamble and program, as the content of a frame.

    Returns:
        What the tests say; None where the candidate was gone before they could say it, and the
        report on its end has to.
    """
    random.seed(0)
    names: dict[str, Any] = {"__name__": "tests", REPLY: conversation.reply}
    step: Script | Comparison | Agreement | None = None
    try:
        conversation.start(order, prepared.ahead, prepared.calls)
        stand_ins = {name: StandIn(conversation, name) for name in prepared.defined}
        names.update(stand_ins)  # set-up may use them
        exec(prepared.prelude, names)
        names.update(stand_ins)  # the prompt's own stub took the place of one
        for step in prepared.steps:
            finding = step.put(conversation, names)
            if finding.outcome is not Outcome.PASSED:
                return finding
        conversation.hear_from_it()
    except OverError:
        return _over(conversation)
    except BaseException as raised:
        return _over(conversation) if conversation.over else _raised(raised, step, conversation)
    finally:
        # What was returned hangs on these, and these on each other; the next check wants the room.
        names.clear()
        conversation.forget()
    return _over(conversation) if conversation.over else PASSED


def _over(conversation: Conversation) -> Finding | None:
    match conversation.over:
        case Over.BROKEN | None:
            return Finding(Outcome.FAILED, str(conversation.raised))
        case Over.MEMORY:
            return Finding(Outcome.OUT_OF_MEMORY, str(conversation.raised))
        case Over.MALFORMED:
            return Finding(Outcome.FAILED, "wrote something to the descriptor of its replies")
        case Over.TOO_LARGE:
            return Finding(Outcome.OUTPUT_LIMIT, f"returned more than {MAX_FRAME >> 20} MiB")
        case Over.TOO_MUCH:
            detail = f"returned more than {MAX_REPLIES >> 20} MiB in all"
            return Finding(Outcome.OUTPUT_LIMIT, detail)
    return None


def _raised(raised: BaseException, step: Any, conversation: Conversation) -> Finding:
    source = conversation.raised
    if source is not None and source.exception is raised:
        memory = isinstance(raised, MemoryError)
        return Finding(Outcome.OUT_OF_MEMORY if memory else Outcome.FAILED, str(source))
    kind = type(raised).__name__
    message = f": {text}" if (text := _text(raised)) else ""
    line = _test_line(raised, step)
    returned = f"; returned {render(conversation.returned)}" if line else ""
    return Finding(Outcome.FAILED, f"{kind}{message}{line}{returned}")


def _text(raised: BaseException) -> str:
    try:
        return str(raised)[:200]
    except Exception:  # the test's message holds what was returned, a huge int perhaps
        return "something too large to show"


def _test_line(raised: BaseException, step: Any) -> str:
    if not isinstance(step, Script):
        return ""
    for frame in reversed(traceback.extract_tb(raised.__traceback__, limit=-20)):
        if frame.filename.startswith("<test ") and frame.lineno:
            return f" (test: {step.lines[frame.lineno - 1].strip()[:_LINE]})"
    return ""
