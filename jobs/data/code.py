"""The program in a response: what filters parse, what is compared, what runs in the sandbox."""

import ast
import re
import warnings

from jobs.data.row import Row

_FENCED = re.compile(r"^[ ]{0,3}```[ \t]*(\w*)[^\n]*\n(.*?)^[ ]{0,3}```[ \t]*$", re.M | re.S)
_PYTHON = {"", "python", "python3", "py"}


def code_of(row: Row) -> str:
    """The Python in a response.

    Its fenced blocks joined where it has any (those that name another language left out), else the
    response itself where it parses as Python with at least one statement that is not a bare name or
    text, else nothing.
    """
    blocks = _FENCED.findall(row.response)
    if blocks:
        return "\n".join(text for language, text in blocks if language.lower() in _PYTHON)
    tree = parse(row.response)
    return row.response if tree is not None and any(map(_does_something, tree.body)) else ""


def parse(source: str) -> ast.Module | None:
    """The syntax tree of a source, or None where this interpreter cannot read it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # invalid escapes in other people's strings
        try:
            return ast.parse(source)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return None


def _does_something(statement: ast.stmt) -> bool:
    return not (
        isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Name | ast.Constant)
    )
