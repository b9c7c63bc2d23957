"""The program in a text: what filters parse, what is compared, what runs in the sandbox."""

import ast
import re
import textwrap
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from jobs.data.row import Row

PYTHON = frozenset({"python", "python3", "py", "py3"})
"""What a fence says before Python."""
_FENCE = re.compile(r"(?:^|(?<=\r))([ \t]*)(`{3,}|~{3,})([^`\r\n]*)(?=[\r\n]|\Z)", re.M)
_LANGUAGE = re.compile(r"[ \t{.]*(\w*)")
_LINE_END = re.compile(r"\r\n|\n|\r|\Z")
_START = re.compile(r"(?:^|(?<=\r))(?:(?:async )?def |class |import |from |@)", re.M)
_TRIES = 12
"""Most parts of a text without fences that are given to the parser, which bounds the time."""


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block of Markdown."""

    language: str
    """Lower-cased; empty where the fence says none."""
    start: int
    end: int
    """Where `text` stands, without the fences."""
    text: str
    code: str
    """The text without the indentation of its fence, as in an item of a list."""


def blocks_of(text: str) -> list[Block]:
    """The fenced blocks of a text, in order, in time linear in its length.

    CommonMark 0.31, section 4.5, but that a fence may be indented as much as it likes, and that one
    which names a language inside of a block begins the next: people forget to close the first.
    A block without an end goes on to the end of the text.
    """
    if "```" not in text and "~~~" not in text:
        return []
    found: list[Block] = []
    opened: re.Match[str] | None = None
    for fence in _FENCE.finditer(text):
        if opened is None:
            opened = fence
        elif _ends(opened, fence):
            found.append(_block(text, opened, fence.start()))
            opened = fence if fence[3].strip() else None
    last = _block(text, opened, len(text)) if opened else None
    return [*found, last] if last and last.text.strip() else found


def _ends(opened: re.Match[str], fence: re.Match[str]) -> bool:
    return fence[2].startswith(opened[2]) and len(fence[1]) <= len(opened[1]) + 3


def _block(text: str, opened: re.Match[str], end: int) -> Block:
    line_end = _LINE_END.match(text, opened.end())
    start = line_end.end() if line_end else opened.end()
    language = _LANGUAGE.match(opened[3])
    inside = text[start:end]
    return Block(
        language=language[1].lower() if language else "",
        start=start,
        end=end,
        text=inside,
        code=_dedented(inside, opened[1]),
    )


def _dedented(text: str, indentation: str) -> str:
    """Without so much white space before each line, where the first line has it."""
    if not indentation or not text.lstrip("\r\n").startswith(indentation):
        return text
    return re.sub(rf"^[ \t]{{1,{len(indentation)}}}", "", text, flags=re.M)


def code_of(row: Row) -> str:
    """The Python in a response: `code_in`, but that plain code which parses is all of it."""
    is_program = not row.instruction and parse(row.response) is not None
    return row.response if is_program else code_in(row.response)


def code_in(text: str) -> str:
    """The Python in a text.

    Its fenced blocks joined where it has any: those that say Python, and those that say nothing and
    are no output. Else the text itself where it parses as Python with at least one statement that
    is not a bare name or text. Else its runs of lines that begin with a definition or an import and
    parse. Else nothing; blocks are given even where none of them parses.
    """
    blocks = blocks_of(text)
    if blocks:
        return _fenced(text, blocks)
    tree = parse(text)
    if tree is None:
        return _unfenced(text)
    return text if any(map(_does_something, tree.body)) else ""


def programs_beside(row: Row, code: str) -> list[tuple[str, ast.Module]]:
    """Programs of a row with functions in them, besides `code`, what `code_of` finds; parsed.

    Each block of the response by itself, and what stands in instruction and input.
    """
    texts = [text for text in (row.instruction, row.input) if _may_define(text)]
    if _may_define(row.response.replace(code, "", 1)):  # mostly not: saves a second look
        texts.append(row.response)
    programs = dict.fromkeys(program for text in texts for program in _programs_in(text))
    others = [p for p in programs if _may_define(p) and p.strip() != code.strip()]
    return [read for program in others for read in _readable(program)]


def _programs_in(text: str) -> list[str]:
    """Every block by itself, whatever it says it is, and what stands between blocks."""
    blocks = blocks_of(text)
    if not blocks:
        return [code_in(text)]
    return [block.code for block in blocks] + [_unfenced(_around(text, blocks))]


def _readable(program: str) -> Iterator[tuple[str, ast.Module]]:
    """A program with its tree, as it is or else without its indentation, where one parses."""
    for written in dict.fromkeys((program, textwrap.dedent(program))):
        tree = parse(written)
        if tree is not None:
            yield written, tree
            return


def parse(source: str) -> ast.Module | None:
    """The syntax tree of a source, or None where this interpreter cannot read it."""
    read = _read(source)
    return read if isinstance(read, ast.Module) else None


def _read(source: str) -> ast.Module | int:
    """The syntax tree, or the line of the first mistake; 0 where that is not known."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # invalid escapes in other people's strings
        try:
            return ast.parse(source)
        except SyntaxError as error:
            return error.lineno or 0
        except (ValueError, RecursionError, MemoryError):
            return 0


def _fenced(text: str, blocks: Iterable[Block]) -> str:
    said = [block.code for block in blocks if block.language in PYTHON]
    unsaid = [block.code for block in blocks if not block.language]
    if not unsaid:
        return _together(said)
    programs = {code for code in unsaid if _is_program(code)}
    if said or programs:
        kept = [b for b in blocks if b.language in PYTHON or b.code in programs]
        return _together([block.code for block in kept])
    return _unfenced(_around(text, blocks)) or "\n".join(unsaid)


def _together(codes: list[str]) -> str:
    """Joined; without those that do not parse where the others do."""
    whole = "\n".join(codes)
    if len(codes) < 2 or parse(whole) is not None:
        return whole
    return "\n".join(code for code in codes if parse(code) is not None) or whole


def _is_program(code: str) -> bool:
    """Whether a block that says nothing is Python, and no output such as `[1, 2]` or `Yes`."""
    tree = parse(code)
    return tree is not None and any(map(_does_something, tree.body))


def _around(text: str, blocks: Iterable[Block]) -> str:
    """A text without what is in its blocks; the fences stay, at which code ends."""
    place, parts = 0, []
    for block in blocks:
        parts.append(text[place : block.start])
        place = block.end
    return "".join([*parts, text[place:]])


def _unfenced(text: str) -> str:
    """Runs of lines that begin like a program and parse; prose around them is left out."""
    if not _START.search(text):
        return ""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return "\n".join("\n".join(lines[start:end]) for start, end in _runs(lines))


def _runs(lines: list[str]) -> Iterator[tuple[int, int]]:
    """From a line that begins a program up to the first that the parser cannot read after it."""
    done, tries = 0, _TRIES
    for start in (number for number, line in enumerate(lines) if _START.match(line)):
        end = len(lines) if start >= done else start
        while end > start and tries:
            tries -= 1
            read = _read("\n".join(lines[start:end]))
            if isinstance(read, ast.Module):
                done = start + _last_line(read)
                yield start, done
                break
            end = min(end, start + read) - 1


def _last_line(tree: ast.Module) -> int:
    """Of its last statement that does something: a word alone is prose."""
    lines = [statement.end_lineno or 0 for statement in tree.body if _does_something(statement)]
    return lines[-1] if lines else 0


def _may_define(text: str) -> bool:
    return "def " in text or "lambda" in text


def _does_something(statement: ast.stmt) -> bool:
    match statement:
        case ast.Expr(value=ast.Name() | ast.Constant() | ast.Tuple()):
            return False
        case ast.AnnAssign(value=None):  # `Result: 5`
            return False
    return True
