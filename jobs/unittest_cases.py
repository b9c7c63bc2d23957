"""Exercises that come as `unittest` files, as problems: Exercism's Python track, and notebooks.

`exercism-python` takes JSON lines of `{slug, instructions, append, stub, tests, example}`, the
last three as `{file: text}`: a folder of github.com/exercism/python, exercises/practice. Names
that a test imports from the exercise's module are what the program has to define.

`interactive-coding` takes JSON lines of `{dir, test_path, test, notebooks}` as
github.com/donnemartin/interactive-coding-challenges has them: the test's `main()` makes the
solution's classes itself, and the solution notebook has problem, constraints and reference.

Tests stay in the judge, and objects of the program's classes with the program: tests that compute
with such objects, or use its constants and exceptions, cannot be put. They are left out by name.
"""

import ast
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from eval_sandbox.mistakes import InputError
from jobs.custom_form import Converted, LeftOut, json_lines, record

_RUN = re.compile(r"^%?run\s+(?:-i\s+)?(\S+)[^\n]*$", re.M)
_WRITTEN = re.compile(r"\A%%writefile\s+(\S+)[^\n]*\n")
_FUTURE = re.compile(r"^from __future__ import [^\n]*\n", re.M)
_LINK_LIST = re.compile(r"^\* \[[^\]]*\]\(#[^)]*\)[ ]*\n?", re.M)
_WANTED_SECTIONS = ("constraints", "test cases")


def convert_exercism_python(path: Path) -> Converted:
    """Every exercise of Exercism's Python track.

    Raises:
        InputError: a row lacks what an exercise has.
    """
    records: list[dict[str, Any]] = []
    left_out: list[LeftOut] = []
    for row in json_lines(path):
        slug = _field(path, row, "slug", str)
        stubs, tests = _field(path, row, "stub", dict), _field(path, row, "tests", dict)
        own = {name: text for name, text in tests.items() if name.endswith("_test.py")}
        example = "\n\n".join(_field(path, row, "example", dict).values())
        stub = "\n\n".join(text.strip() for text in stubs.values())
        readable = all(map(_is_python, (stub, example, *own.values())))
        reason = _hindrance(slug, own, tests, example) if readable else _UNREADABLE
        if reason:
            left_out.append(LeftOut(slug, reason))
            continue
        (test,) = own.values()
        asked = f"{row.get('instructions', '')}\n{row.get('append', '')}".strip()
        records.append(
            record(
                f"exercism-python/{slug}",
                f"{asked}\n\nWrite a Python module that begins like this:\n\n{stub}",
                [_script(test, slug.replace("-", "_"))],
                entry_point=_first_defined(stub),
                reference=example,
                family=slug,
            )
        )
    return Converted(records=tuple(records), left_out=tuple(left_out))


def _is_python(source: Any) -> bool:
    try:
        ast.parse(source)
    except (SyntaxError, ValueError, TypeError):
        return False
    return True


def _field(path: Path, row: Mapping[str, Any], name: str, kind: type) -> Any:
    value = row.get(name)
    if not isinstance(value, kind):
        wanted = "a text" if kind is str else "an object of file names and texts"
        raise InputError(f"{path}: {row.get('slug', row.get('dir'))}: {name!r} has to be {wanted}")
    return value


def _hindrance(slug: str, own: Mapping[str, str], tests: Mapping[str, str], reference: str) -> str:
    """Why the tests cannot be one script; empty where they can."""
    if len(own) != 1 or len(tests) != 1:
        return "with tests in several files"
    module = slug.replace("-", "_")
    tree = ast.parse(next(iter(own.values())))
    imported: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import) and any(alias.name == module for alias in node.names):
            return "that use the program as a module"
        if isinstance(node, ast.ImportFrom) and node.module == "unittest":
            return "that replace what the program imports"
        if isinstance(node, ast.ImportFrom) and node.module == module:
            imported |= {alias.name for alias in node.names}
            if node not in tree.body or "*" in imported:
                return "that use the program as a module"
    program = ast.parse(reference)
    callable_there = {n.name for n in program.body if isinstance(n, _Callable) and not _raises(n)}
    if not imported <= callable_there:
        return "that use the program's constants or exceptions"
    if slug in _SEEN_TO_CLASH:
        return _COMPUTES
    return _clash(program, next(iter(own.values())))


_UNREADABLE = "whose code this Python cannot read"
_Callable = ast.FunctionDef | ast.ClassDef
_COMPUTES = "that compute with the program's objects"
_ORDERS = r"[^-=]>|<"
_OPERATIONS = {
    "__len__": r"\blen\(|\b(?:while|if|not) \w+:",
    "__str__": r"\bstr\(",
    "__lt__": _ORDERS,
    "__gt__": _ORDERS,
    "__le__": _ORDERS,
    "__ge__": _ORDERS,
}
"""Method -> what in a test's text calls it; other methods may be called by any line."""
_SEEN_TO_CLASH = ("binary-search-tree", "react")
"""Exercises whose own solutions do not pass here, for no reason that is seen in their classes: the
truth of an object, and the identity of a function that is given to the program."""
_HARMLESS = {"__init__", "__repr__", "__iter__", "__next__", "__call__", "__new__", "__hash__"}


def _raises(node: ast.AST) -> bool:
    """Whether it is a class of exceptions, by the names of its bases."""
    bases = map(ast.unparse, node.bases) if isinstance(node, ast.ClassDef) else ()
    return any(base.endswith(("Error", "Exception")) for base in bases)


def _clash(program: ast.Module, test: str) -> str:
    """Why tests cannot be put to a program that is like the reference; empty where they can."""
    for node in ast.walk(program):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names]
            modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else names
            if not {name.partition(".")[0] for name in modules} <= sys.stdlib_module_names:
                return "that need a package beyond the standard library"
        if isinstance(node, ast.ClassDef) and (
            any("dataclass" in ast.unparse(one) for one in node.decorator_list)
            or any(_operates(member, test) for member in node.body)
        ):
            return _COMPUTES
    return ""


def _operates(member: ast.stmt, test: str) -> bool:
    """Whether a method is called by an operator that the test may use."""
    if not isinstance(member, ast.FunctionDef) or not re.fullmatch("__.*__", member.name):
        return False
    pattern = _OPERATIONS.get(member.name, "")
    return member.name not in _HARMLESS and bool(re.search(pattern, test))


def _script(test: str, module: str) -> str:
    """A test file that runs its test cases, with the program's names in scope for its imports."""
    tree = ast.parse(test)
    lines = test.splitlines()
    aliases = []
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module == module:
            for number in range(node.lineno - 1, node.end_lineno or node.lineno):
                lines[number] = ""
            aliases += [f"{a.asname} = {a.name}" for a in node.names if a.asname]
    cases = [
        node.name
        for node in tree.body
        if isinstance(node, ast.ClassDef) and any("TestCase" in ast.unparse(b) for b in node.bases)
    ]
    # debug() lets the first failure out as it is; run() would keep it in a result.
    # No builtin is called: a program may define `map` or `filter` itself.
    ending = (
        f"for _cases in [{', '.join(cases)}]:\n"
        "    for _case in unittest.defaultTestLoader.loadTestsFromTestCase(_cases):\n"
        "        try:\n            _case.debug()\n"
        "        except unittest.SkipTest:\n            pass"
    )
    return "\n".join([*aliases, *lines, ending])


def _first_defined(source: str) -> str:
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            return node.name
    return ""


def convert_interactive_coding(path: Path) -> Converted:
    """Every challenge of a collection of notebooks.

    Raises:
        InputError: a row lacks what a challenge has.
    """
    rows = json_lines(path)
    shared = {
        (_field(path, row, "dir", str), name): text
        for row in rows
        for cell in _cells(path, row, "code")
        for name, text in _written(cell)
    }
    records: list[dict[str, Any]] = []
    left_out: list[LeftOut] = []
    for row in rows:
        made, reason = _challenge(path, row, shared)
        if made is None:
            left_out.append(LeftOut(row["dir"], reason))
        else:
            records.append(made)
    return Converted(records=tuple(records), left_out=tuple(left_out))


def _challenge(
    path: Path, row: Mapping[str, Any], shared: Mapping[tuple[str, str], str]
) -> tuple[dict[str, Any] | None, str]:
    folder, test = row["dir"], _field(path, row, "test", str)
    code: list[str] = []
    given: list[str] = []
    for cell in _cells(path, row, "code"):
        for name in _RUN.findall(cell):
            text = _lent(folder, name, shared)
            if text is None:
                return None, "that need a file which is not there"
            given += [text] if text else []
        if name := next((name for name, _ in _written(cell)), ""):
            cell = "" if PurePosixPath(name).name.startswith("test") else _WRITTEN.sub("", cell)
        code.append(_RUN.sub("", cell))
    solution = _FUTURE.sub("", "\n\n".join(filter(str.strip, code)))
    lent = _FUTURE.sub("", "\n\n".join(given))
    whole = f"{lent}\n\n{solution}".strip()
    if not all(map(_is_python, (solution, whole, test))):
        return None, _UNREADABLE
    if reason := _clash(ast.parse(whole), test):
        return None, reason
    made = record(
        f"interactive-coding/{folder}",
        _asked(list(_cells(path, row, "markdown")), ast.parse(solution), lent),
        [_main(test)],
        entry_point=_first_defined(solution),
        reference=whole,
    )
    return made, ""


def _cells(path: Path, row: Mapping[str, Any], kind: str) -> Iterator[str]:
    for notebook in _field(path, row, "notebooks", dict).values():
        for cell in notebook.get("cells", ()) if isinstance(notebook, dict) else ():
            if cell.get("cell_type") == kind:
                source = cell.get("source", "")
                yield source if isinstance(source, str) else "".join(source)


def _written(cell: str) -> Iterator[tuple[str, str]]:
    """The file that a cell writes."""
    if found := _WRITTEN.match(cell):
        yield found[1], cell[found.end() :]


def _lent(folder: str, name: str, shared: Mapping[tuple[str, str], str]) -> str | None:
    """The text of a file that a notebook runs; "" for its own, None where it is not there."""
    if PurePosixPath(name).name.startswith("test"):
        return ""
    parts: list[str] = []
    for part in PurePosixPath(folder, name).parts:
        parts = parts[:-1] if part == ".." else [*parts, part]
    where = "/".join(parts[:-1])
    return "" if where == folder else shared.get((where, parts[-1]))


def _main(test: str) -> str:
    # An alternate solution, which only the authors' notebook has, is tried last; a class without
    # it raises AttributeError there, which upstream does not expect.
    allowed = test.replace("except NameError:", "except (NameError, AttributeError):")
    return f"{allowed.rstrip()}\n\nmain()"


def _asked(cells: list[str], solution: ast.Module, given: str) -> str:
    """Problem, constraints and cases in the notebook's words, and what has to be defined."""
    words = []
    for cell in cells:
        title, _, body = cell.partition("\n")
        heading = title.lstrip("# ").strip()
        if heading.lower().startswith("problem:"):
            words.append(f"{heading[8:].strip()}\n{_LINK_LIST.sub('', body)}".strip())
        elif heading.lower() in _WANTED_SECTIONS:
            words.append(f"{heading}:\n{body.strip()}")
    words.append("Write a Python program that defines:\n\n" + "\n".join(_outline(solution)))
    if given:
        words.append(f"It has to begin with this code:\n\n{given.strip()}")
    return "\n\n".join(words)


def _outline(solution: ast.Module) -> Iterator[str]:
    """Classes with their public methods, and functions, as signatures."""
    for node in solution.body:
        if isinstance(node, ast.FunctionDef):
            yield f"def {node.name}({ast.unparse(node.args)})"
        elif isinstance(node, ast.ClassDef):
            bases = ", ".join(map(ast.unparse, node.bases))
            yield f"class {node.name}({bases})" if bases else f"class {node.name}"
            for method in node.body:
                public = isinstance(method, ast.FunctionDef) and not re.match("_(?!_)", method.name)
                if isinstance(method, ast.FunctionDef) and public:
                    yield f"    def {method.name}({ast.unparse(method.args)})"
