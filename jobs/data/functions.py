"""Functions with docstrings as questions and answers, out of files of Python.

The docstring is what a person wrote to say what the function does, so it asks; the signature is
asked too, for names that nobody told cannot be guessed. The answer is the function as it was
written, comments and all, without the docstring, which would teach a model to repeat the question,
and with the imports it needs. Only functions that stand alone become rows: at the top level, and
using nothing else of their module or package (the seeds of StarCoder2-Instruct, Wei et al. 2024,
were type-checked for the same purpose).
"""

import ast
import builtins
import symtable
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any

from jobs.data.code import parse
from jobs.data.draft import Draft, Drafts, Form, UnfitError, Values, optional, text
from jobs.data.origin import Source
from jobs.data.terms import permits

_BUILTINS = frozenset(dir(builtins)) | {"__name__", "__file__"}
_REPOSITORY = ("max_stars_repo_name", "repository_name")
_PATH = ("max_stars_repo_path", "path")
_LICENCES = ("max_stars_repo_licenses", "licenses")
"""Columns of The Stack (v1.1 on, dedup) and of The Stack smol, which has those of v1.0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """A function that stands alone."""

    line: int
    signature: str
    """`name(a, b=1) -> int`."""
    docstring: str
    code: str
    """Its imports, and itself without the docstring."""


def functions(source: str, path: str = "") -> Iterator[Function | UnfitError]:
    """The documented functions at the top level of a file, in its order.

    Tests and functions without a docstring are no rows, and not counted. Those that need more than
    builtins and imports from outside their own package are refused as `not_alone`.

    Raises:
        UnfitError: `syntax`: this Python cannot read the file.
    """
    source = source.replace("\r\n", "\n").replace("\r", "\n")
    tree = parse(source)
    if tree is None:
        raise UnfitError("syntax", f"{path or 'the file'} is not Python 3")
    imports = _imports(tree, _own(path))
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("test"):
            docstring = ast.get_docstring(node)
            if docstring and len(node.body) > 1:
                yield _function_or_why_not(node, docstring, source, imports)


def _function_or_why_not(
    node: ast.FunctionDef, docstring: str, source: str, imports: Mapping[str, str]
) -> Function | UnfitError:
    """The parser lets through what a compiler refuses: a name of two parameters, a long sum."""
    try:
        return _function(node, docstring, source, imports)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        found = f"{node.name}: {type(error).__name__}: {error}"
        return UnfitError("syntax", found, str(node.lineno))


def _function(
    node: ast.FunctionDef, docstring: str, source: str, imports: Mapping[str, str]
) -> Function | UnfitError:
    written = _without_docstring(node, source)
    needed = _free_names(written) - {node.name}
    missing = sorted(needed - imports.keys() - _BUILTINS)
    if missing:
        return UnfitError("not_alone", f"{node.name} needs {', '.join(missing)}", str(node.lineno))
    heads = sorted({imports[name] for name in needed if name in imports})
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    return Function(
        line=node.lineno,
        signature=f"{node.name}({ast.unparse(node.args)}){returns}",
        docstring=docstring.strip(),
        code="\n".join([*heads, "\n", written]) if heads else written,
    )


def _without_docstring(node: ast.FunctionDef, source: str) -> str:
    """The function's own lines but for those of its docstring."""
    lines = source.split("\n")  # as `ast` counts them; `splitlines` knows more ends of lines
    first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)]) - 1
    text, after = node.body[0], node.body[1]
    alone = text.lineno > node.lineno and after.lineno > (text.end_lineno or 0)
    if not alone or lines[text.lineno - 1][: text.col_offset].strip():
        bare = ast.parse(ast.unparse(node)).body[0]
        assert isinstance(bare, ast.FunctionDef)
        del bare.body[0]
        return ast.unparse(bare) + "\n"
    kept = lines[first : text.lineno - 1] + lines[text.end_lineno or 0 : node.end_lineno]
    return "\n".join(kept).rstrip() + "\n"


def _free_names(code: str) -> set[str]:
    """Names that the code of a module reads and does not bind."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        top = symtable.symtable(code, "<function>", "exec")
    bound = {name.get_name() for name in top.get_symbols() if name.is_assigned()}
    free: set[str] = set()
    tables = [top]
    while tables:
        table = tables.pop()
        tables += table.get_children()
        for name in table.get_symbols():
            if name.is_referenced() and (table is top or name.is_global()):
                free.add(name.get_name())
    return free - bound


def _imports(tree: ast.Module, own: frozenset[str]) -> dict[str, str]:
    """Name -> the import that binds it, for imports from outside the file's own package."""
    found: dict[str, str] = {}
    for node in tree.body:
        if isinstance(node, ast.Import):
            for alias in node.names:
                root = alias.name.split(".")[0]
                if root not in own:
                    found[alias.asname or root] = ast.unparse(ast.Import(names=[alias]))
        elif isinstance(node, ast.ImportFrom) and _from_outside(node, own):
            for alias in node.names:
                line = ast.ImportFrom(module=node.module, names=[alias], level=0)
                found[alias.asname or alias.name] = ast.unparse(line)
    found.pop("*", None)
    return found


def _from_outside(node: ast.ImportFrom, own: frozenset[str]) -> bool:
    root = (node.module or "").split(".")[0]
    return not node.level and root not in own | {"__future__"}


def _own(path: str) -> frozenset[str]:
    """Names under which a file's own package could be imported: folders above it, and itself."""
    place = PurePosixPath(path)
    return frozenset({*place.parts[:-1], place.stem})


def rows_of(source: str, path: str, unit: str, *, licence: str, attribution: str) -> Drafts:
    """The rows of one file of Python: its functions, or the file itself without a question."""
    stamped = Draft(
        instruction="", response=source, asked=False, licence=licence, attribution=attribution
    )
    if unit == "file":
        yield stamped
        return
    for function in functions(source, path):
        if isinstance(function, UnfitError):
            yield function
            continue
        yield replace(
            stamped,
            instruction=f"Write a Python function `{function.signature}`.\n\n{function.docstring}",
            response=function.code,
            within=str(function.line),
            asked=True,
        )


def _stack(values: Values, source: Source) -> Drafts:
    """The Stack: the licences and the repository of each file go with its rows."""
    found: Any = next((values[name] for name in _LICENCES if values.get(name)), [])
    names = sorted({str(name) for name in (found if isinstance(found, list) else [found])})
    licence = " AND ".join(names)
    if not permits(licence, source.allowed):
        raise UnfitError("licence", licence or "none is given")
    repository, path = (_first(values, columns) for columns in (_REPOSITORY, _PATH))
    yield from rows_of(
        text(values, "content"),
        path,
        source.unit,
        licence=licence,
        attribution=f"https://github.com/{repository}: {path}" if repository else "",
    )


def _first(values: Values, columns: tuple[str, ...]) -> str:
    return next((found for name in columns if (found := optional(values, name))), "")


def _checkout(values: Values, source: Source) -> Drafts:
    """A file of a checkout: `path`, `text`, `licence`."""
    yield from rows_of(
        text(values, "text"),
        text(values, "path"),
        source.unit,
        licence=text(values, "licence"),
        attribution=text(values, "path"),
    )


STACK = Form(
    columns=lambda source: ("content",),
    drafts=_stack,
    also=(*_LICENCES, *_REPOSITORY, *_PATH),
)
FUNCTIONS = Form(columns=lambda source: ("path", "text", "licence"), drafts=_checkout)
