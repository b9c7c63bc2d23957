"""From a model's answer to a program: where its code is, and what of the prompt belongs to it.

How a program is found is policy: it changes verdicts, so each way has a name that is stored with
every verdict. Nothing of an answer runs here; it is parsed, within bounds of time.
"""

import ast
import builtins
import re
import textwrap
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import takewhile

from eval_sandbox.problem import Completion, Problem

_LONGEST_ANSWER = 100_000
"""Characters of an answer that `chat` looks at; a program of that length is none of a model's."""
_MOST_PARSED = 1_000_000
"""Characters parsed for one answer: about a second."""
_MOST_PARSES = 5_000
_INDENT = "    "

_FIRST_FENCE = re.compile(
    r"^[ \t]*```[ \t]*(?:python|py)[^\n]*\n(.*?)(?:^[ \t]*```|\Z)", re.S | re.M | re.I
)
_PYTHON = ("python", "py", "python3", "py3")
_CONTINUES = re.compile(r"[)\]}]|(?:else|elif|except|finally)\b")
_DECORATES = re.compile(r"@[A-Za-z_]")
_TRIPLE = re.compile(r"'''|\"\"\"")
_BUILTINS = frozenset(dir(builtins))

_parsing = threading.Lock()


def assemble(problem: Problem, completion: Completion, extract: str) -> str:
    """The program that a completion stands for.

    Args:
        problem: what was asked.
        completion: the answer.
        extract: a name of `EXTRACTIONS`.

    Raises:
        KeyError: when there is no such extraction.
    """
    return EXTRACTIONS[extract](problem, completion)


def is_python(text: str) -> bool:
    """Whether a text is a program with something in it."""
    return _Parser().parse(text) is not None


def _as_it_is(problem: Problem, completion: Completion) -> str:
    """The text, after the problem's prompt where it continues that."""
    return completion.text if completion.whole else problem.prompt + completion.text


def _first_fence(problem: Problem, completion: Completion) -> str:
    """The same with what stands in the first ```python fence, where there is one.

    A fence that never closes (an answer cut off by its length limit) reaches to the end.
    """
    found = _FIRST_FENCE.search(completion.text)
    text = found.group(1) if found else completion.text
    return text if completion.whole else problem.prompt + text


def _chat(problem: Problem, completion: Completion) -> str:
    """The program in an answer that talks about it.

    In this order: a body that continues the prompt at once; the last fenced block that defines
    the entry point; code outside the fences that does; a body of the prompt's function, fenced or
    the whole answer; the longest block; the text as it is. To a block that defines the entry
    point come other blocks that define what it uses, and what the prompt defines besides.
    """
    answer = _Answer(problem, completion.text)
    found = answer.continued() or answer.defining() or answer.body() or answer.longest()
    return _as_it_is(problem, completion) if found is None else found


EXTRACTIONS: dict[str, Callable[[Problem, Completion], str]] = {
    "none": _as_it_is,
    "fenced": _first_fence,
    "chat": _chat,
}


@dataclass(frozen=True)
class _Block:
    """A piece of an answer that may be code."""

    text: str
    tree: ast.Module | None
    """None where it is no Python by itself."""
    tagged: bool = False
    """Whether a fence says that it is Python."""

    @cached_property
    def defines(self) -> frozenset[str]:
        """Names that it binds at its top level."""
        return frozenset(_bound(self.tree.body)) if self.tree else frozenset()

    @cached_property
    def lacks(self) -> frozenset[str]:
        """Names that it uses and neither it nor Python defines."""
        return _free(self.tree) if self.tree else frozenset()


class _Answer:
    """The text of an answer, taken apart."""

    def __init__(self, problem: Problem, text: str) -> None:
        self._problem = problem
        self._parser = _Parser()
        said = text.rpartition("</think>")[2].removeprefix("\ufeff")  # after its reasoning
        lines = said[:_LONGEST_ANSWER].replace("\r\n", "\n").split("\n")
        self._before, fenced, self._outside = _split_at_fences(lines)
        self._fenced = [block for piece in fenced for block in self._blocks(piece)]

    def continued(self) -> str | None:
        """Prompt and answer, where the answer goes on inside the function."""
        first = next((line for line in self._before if line.strip()), "")
        if not self._problem.prompt or first[:1] not in (" ", "\t"):
            return None
        text = "\n".join(self._before)
        shifted = textwrap.dedent(text)
        block = _Block(shifted, self._parser.parse(shifted))
        if self._problem.defined in block.defines:
            return self._completed(block, ())
        for body in (text, self._body_and_statements()):
            if self._parser.parse(self._problem.prompt + body) is not None:
                return self._problem.prompt + body
        return None

    def defining(self) -> str | None:
        """A program that defines the entry point itself."""
        name = self._problem.defined
        for blocks in (self._fenced, self._spans) if name else ():
            chosen = next((block for block in reversed(blocks) if name in block.defines), None)
            if chosen is not None:
                return self._completed(chosen, _helpers(chosen, blocks))
        return None

    def body(self) -> str | None:
        """Prompt and the first text that can be the body of its function."""
        prompt = self._problem.prompt
        texts = [block.text for block in self._fenced] or ["\n".join(self._outside)]
        for text in texts if prompt else ():
            for body in _indented(text):
                if self._parser.parse(prompt + body) is not None:
                    return prompt + body
        return None

    def longest(self) -> str | None:
        """The longest block of code: a program that is judged by what it prints, say."""
        blocks = self._fenced or self._spans
        return max(blocks, key=_likeliness).text if blocks else None

    @cached_property
    def _spans(self) -> list[_Block]:
        lines = textwrap.dedent("\n".join(self._outside)).split("\n")
        return list(_spans(self._parser, lines))

    def _blocks(self, piece: "_Fenced") -> Iterator[_Block]:
        """A fenced piece as one block; where it is no Python, also the spans of it that are."""
        if piece.tag and piece.tag not in _PYTHON:
            return
        text = "\n".join(piece.lines) + "\n"
        block = _Block(text, self._parser.parse(text), bool(piece.tag))
        yield block
        if block.tree is None:
            yield from _spans(self._parser, piece.lines)

    def _body_and_statements(self) -> str:
        """Indented lines at the start and the statements that follow them without a break."""
        body = list(takewhile(lambda line: line[:1] in ("", " ", "\t"), self._before))
        chunks = ("\n".join(chunk) for chunk in _chunks(self._before[len(body) :]))
        statements = takewhile(lambda t: not t.strip() or _is_code(self._parser.parse(t)), chunks)
        return "\n".join([*body, *statements]) + "\n"

    def _completed(self, block: _Block, helpers: Sequence[_Block]) -> str:
        """A whole program, with helpers and what the prompt defines, so far as it does not."""
        own = block.defines.union(*(helper.defines for helper in helpers))
        before = [*self._of_prompt(own), *(helper.text for helper in helpers)]
        return _after_future_imports(block, before) if before else block.text

    def _of_prompt(self, own: frozenset[str]) -> Iterator[str]:
        """Imports, helpers and constants of the prompt, but for those that are `own`."""
        prompt = self._problem.prompt
        tree = self._parser.parse(prompt) or self._parser.parse(f"{prompt}{_INDENT}pass\n")
        for statement in tree.body if tree else ():
            names = set(_bound([statement])) - {self._problem.defined}
            if names - own:
                yield ast.unparse(statement)


@dataclass(frozen=True)
class _Fenced:
    """The lines between two fences, and the language that the first one names."""

    tag: str
    lines: list[str]


class _Parser:
    """Parses within a budget of time; what is beyond it counts as no Python."""

    def __init__(self) -> None:
        self._characters, self._parses = _MOST_PARSED, _MOST_PARSES

    def parse(self, text: str) -> ast.Module | None:
        """The tree of a text with something in it; None where it is no program."""
        self._characters -= len(text)
        self._parses -= 1
        if self._characters < 0 or self._parses < 0 or not text.strip():
            return None
        # Warnings of doubtful escapes are for nobody here, and the filters are the process's own.
        with _parsing, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                tree = ast.parse(text)
            except (SyntaxError, ValueError, RecursionError, MemoryError):
                return None
        return None if _returns(tree) else tree


def _split_at_fences(lines: list[str]) -> tuple[list[str], list[_Fenced], list[str]]:
    """Lines before the first fence, pieces between fences, and all lines outside of them.

    The last piece may lack its closing fence: the answer was cut off there.
    """
    outside: list[str] = []
    fenced: list[_Fenced] = []
    before: list[str] | None = None
    opened = margin = ""
    for line in lines:
        marks, tag = _fence(line)
        if opened and marks.startswith(opened) and not tag:
            opened = ""
        elif opened and line.rstrip().endswith(opened):
            fenced[-1].lines.append(line.rstrip().removesuffix(opened))
            opened = ""
        elif opened:
            fenced[-1].lines.append(line.removeprefix(margin))
        elif marks:
            before = list(outside) if before is None else before
            opened, margin = marks, line[: len(line) - len(line.lstrip(" \t"))]
            fenced.append(_Fenced(tag, []))
        else:
            outside.append(line)
    return outside if before is None else before, fenced, outside


def _fence(line: str) -> tuple[str, str]:
    """The marks of a line that is a fence, and the language after them."""
    text = line.strip()
    mark = text[:1]
    rest = text.lstrip(mark)
    marks = len(text) - len(rest)
    if mark not in ("`", "~") or marks < 3 or mark in rest:
        return "", ""
    return mark * marks, rest.strip(" \t{}.").partition(" ")[0].lower()


def _spans(parser: _Parser, lines: Iterable[str]) -> Iterator[_Block]:
    """Runs of statements among other lines."""
    run: list[str] = []
    for chunk in _chunks(lines):
        text = "\n".join(chunk) + "\n"
        if _is_code(parser.parse(text)):
            run.append(text)
        elif text.strip():
            yield from _span(parser, run)
            run = []
    yield from _span(parser, run)


def _span(parser: _Parser, run: list[str]) -> Iterator[_Block]:
    text = "".join(run)
    tree = parser.parse(text)
    if tree is not None:
        yield _Block(text, tree)


def _chunks(lines: Iterable[str]) -> Iterator[list[str]]:
    """Lines grouped so that each top-level statement of a program is in one group."""
    chunk: list[str] = []
    quotes = 0
    for line in lines:
        starts = line[:1] not in ("", " ", "\t", "#") and not _CONTINUES.match(line)
        decorated = bool(chunk) and bool(_DECORATES.match(chunk[-1]))
        if starts and not decorated and quotes % 2 == 0:
            yield chunk
            chunk, quotes = [], 0
        chunk.append(line)
        quotes += len(_TRIPLE.findall(line))
    yield chunk


def _is_code(tree: ast.Module | None) -> bool:
    """Whether all of its statements do something: a word of prose is a name, and parses as well."""
    return tree is not None and all(map(_acts, tree.body))


def _acts(statement: ast.stmt) -> bool:
    match statement:
        case ast.Expr(value=ast.Constant(value=str())):
            return True
        case ast.Expr(value=value):
            doing = (ast.Call, ast.Await, ast.comprehension, ast.NamedExpr)
            return any(isinstance(node, doing) for node in ast.walk(value))
        case ast.AnnAssign(value=None) | ast.Break() | ast.Continue() | ast.Pass():
            return False
    return True


def _helpers(chosen: _Block, blocks: Sequence[_Block]) -> list[_Block]:
    """Other blocks, in their order, that define what the chosen one and they themselves lack."""
    others = [block for block in blocks if not block.defines & chosen.defines]
    place_of = {name: place for place, other in enumerate(others) for name in other.defines}
    lacking = set(chosen.lacks)
    places: set[int] = set()
    while lacking:
        place = place_of.get(lacking.pop())
        if place is not None and place not in places:
            places.add(place)
            lacking |= others[place].lacks - chosen.defines
    return [others[place] for place in sorted(places)]


def _after_future_imports(block: _Block, before: Iterable[str]) -> str:
    """The block after other code, but for `from __future__`, which has to come first."""
    last = 0
    for statement in block.tree.body if block.tree else ():
        if isinstance(statement, ast.ImportFrom) and statement.module == "__future__":
            last = statement.end_lineno or 0
    lines = block.text.split("\n")
    return "\n".join([*lines[:last], *before, *lines[last:]])


def _indented(text: str) -> Iterator[str]:
    """A body as it is, with the indentation that its first line may have lost, and with more."""
    yield text
    yield _INDENT + text.lstrip("\n")
    yield textwrap.indent(text, _INDENT)


def _likeliness(block: _Block) -> tuple[bool, bool, int]:
    return block.tree is not None, block.tagged, len(block.text)


def _returns(tree: ast.Module) -> bool:
    """Whether it returns outside of functions, which only a compiler refuses."""
    return any(isinstance(node, ast.Return) for node in _outside_functions(tree.body))


def _bound(body: Iterable[ast.AST]) -> Iterator[str]:
    """Names that statements bind in the scope they stand in."""
    return (name for node in _outside_functions(body) for name in _names_of(node))


def _outside_functions(body: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """All nodes but those inside of functions and classes."""
    waiting = list(body)
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)):
            waiting.extend(ast.iter_child_nodes(node))


def _names_of(node: ast.AST) -> Iterator[str]:
    """The names that one node binds."""
    match node:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            yield name
        case ast.alias(name=name, asname=asname):
            yield asname or name.partition(".")[0]
        case ast.Name(id=name, ctx=ast.Store()) | ast.arg(arg=name):
            yield name
        case ast.ExceptHandler(name=str(name)):
            yield name


def _free(tree: ast.Module) -> frozenset[str]:
    """Names that a program uses and neither binds anywhere nor finds in Python."""
    used: set[str] = set()
    bound: set[str] = set()
    for node in ast.walk(tree):
        bound.update(_names_of(node))
        if isinstance(node, ast.Name):
            used.add(node.id)
    return frozenset(used - bound - _BUILTINS)
