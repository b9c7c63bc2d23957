"""Exercises with unit tests: Exercism's Python track, and interactive-coding-challenges.

Their tests are classes of `unittest` that import the solution by its file's name. Here the solution
was run before, so those imports are taken out, and what is left runs the cases and raises where one
fails: a script as `eval_sandbox` takes it. Tests that need a file which is not there are left out;
such an exercise is a row without tests.
"""

import ast
import re
import sys
from typing import Any

from jobs.data.code import parse
from jobs.data.draft import Draft, Drafts, Form, UnfitError, Values, items, optional, text, value
from jobs.data.origin import Source

_RUN = """
_cases = unittest.TestSuite(
    unittest.defaultTestLoader.loadTestsFromTestCase(_case) for _case in ({classes},)
)
_outcome = unittest.TestResult()
_cases.run(_outcome)
assert _outcome.testsRun, "no test ran"
assert _outcome.wasSuccessful(), (_outcome.failures + _outcome.errors)[0][1][-500:]
"""
_CONTENTS = re.compile(r"^\s*\* \[.*\]\(#.*\)\s*$\n?", re.M)
_TITLE = re.compile(r"^#+ (Problem: |Instructions?( append)?[ \t]*$)", re.M)
_WRITES = re.compile(r"^%%writefile (\S+)\n")
_RUNS = re.compile(r"^%run (?:-i )?(\S+)\s*$", re.M)


def _exercism(values: Values, source: Source) -> Drafts:
    """An exercise of the track: instructions, stub, example and tests, each a `{path: text}`."""
    slug = text(values, "slug")
    stub, example = _texts(values, "stub"), _texts(values, "example")
    parts = (text(values, "instructions"), optional(values, "append"))
    asked = [said for part in parts if (said := _TITLE.sub("", part).strip())]
    if len(stub) != 1 or len(example) != 1:
        raise UnfitError("not_alone", f"{slug} is a solution of {len(example)} files")
    name, started = next(iter(stub.items()))
    answer = next(iter(example.values())).strip() + "\n"
    yield Draft(
        instruction="\n\n".join([*asked, _start_with(started)]),
        response=answer,
        tests=_unittests(_texts(values, "tests"), name.removesuffix(".py")),
        licence=optional(values, "licence"),
        attribution=slug,
    )


def _start_with(stub: str) -> str:
    return f"Complete this code:\n```python\n{stub.strip()}\n```"


def _texts(values: Values, name: str) -> dict[str, str]:
    found = value(values, name)
    if not isinstance(found, dict) or not all(isinstance(part, str) for part in found.values()):
        raise UnfitError("not_text", f"{name} is no object of texts")
    return {path: part for path, part in found.items() if part is not None}


def _unittests(files: dict[str, str], module: str) -> list[str]:
    """One script that raises when a test fails; none where tests need other files."""
    tree = parse(next(iter(files.values()))) if len(files) == 1 else None
    if tree is None:
        return []
    aliases = {
        alias.asname or alias.name
        for node in tree.body
        if isinstance(node, ast.Import)
        for alias in node.names
        if alias.name == module
    }
    kept = [node for node in tree.body if not _imports(node, module) and not _starts_main(node)]
    script = _Unqualified(aliases).visit(ast.Module(body=kept, type_ignores=[]))
    classes = _cases(kept)
    if not classes or not _roots(script) <= sys.stdlib_module_names:
        return []
    return [f"{ast.unparse(script)}\n{_RUN.format(classes=', '.join(classes))}"]


def _cases(body: list[ast.stmt]) -> list[str]:
    """Classes of tests, those that are one by their base in the same file among them."""
    found: list[str] = []
    for node in body:
        if isinstance(node, ast.ClassDef):
            bases = " ".join(map(ast.unparse, node.bases))
            if "TestCase" in bases or set(bases.split()) & set(found):
                found.append(node.name)
    return found


def _roots(tree: ast.Module) -> set[str]:
    """Top-level modules that are imported anywhere in a script."""
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names.append(node.module or ".")
    return {name.split(".")[0] for name in names}


class _Unqualified(ast.NodeTransformer):
    """`module.name` becomes `name`."""

    def __init__(self, modules: set[str]) -> None:
        self.modules = modules

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        if isinstance(node.value, ast.Name) and node.value.id in self.modules:
            return ast.copy_location(ast.Name(id=node.attr, ctx=node.ctx), node)
        return self.generic_visit(node)


def _imports(node: ast.stmt, module: str) -> bool:
    if isinstance(node, ast.ImportFrom):
        return node.module == module
    return isinstance(node, ast.Import) and any(alias.name == module for alias in node.names)


def _starts_main(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and "__name__" in ast.unparse(node.test)


def _challenge(values: Values, source: Source) -> Drafts:
    """A challenge of donnemartin/interactive-coding-challenges: a solution notebook, a test."""
    folder = text(values, "dir")
    notebooks = value(values, "notebooks")
    if not isinstance(notebooks, dict) or len(notebooks) != 1:
        raise UnfitError("not_alone", f"{folder} has no single solution notebook")
    cells = _cells(notebooks, folder)
    answer = _solution(cells, folder)
    yield Draft(
        instruction=_question(cells),
        response=answer,
        tests=_main(text(values, "test")),
        attribution=folder,
    )


def _cells(notebooks: dict[str, Any], folder: str) -> list[Any]:
    """The cells of the one notebook, each an object with a source."""
    found = items({"notebook": next(iter(notebooks.values()))}, "notebook.cells")
    for cell in found:
        told = cell.get("source", "") if isinstance(cell, dict) else None
        if not all(isinstance(line, str) for line in (told if isinstance(told, list) else [told])):
            raise UnfitError("not_text", f"a cell of {folder} is {cell!r}"[:120])
    return found


def _question(cells: list[Any]) -> str:
    """The problem, its constraints and its examples; the algorithm would give the answer away."""
    parts = [_source(cell) for cell in cells if cell.get("cell_type") == "markdown"]
    wanted = ("## Problem", "## Constraints", "## Test Cases")
    said = [_CONTENTS.sub("", part).strip() for part in parts if part.startswith(wanted)]
    if not said:
        raise UnfitError("missing_field", "a cell that begins with '## Problem'")
    return _TITLE.sub("", "\n\n".join(said))


def _solution(cells: list[Any], folder: str) -> str:
    """The code of the notebook before its unit test; files of its own are code of its own."""
    code: list[str] = []
    own: set[str] = set()
    for cell in cells:
        told = _source(cell)
        if cell.get("cell_type") == "markdown" and told.startswith("## Unit Test"):
            break
        if cell.get("cell_type") != "code":
            continue
        if (run := _RUNS.match(told)) and run[1] not in own:
            raise UnfitError("not_alone", f"{folder} runs {run[1]}")
        if written := _WRITES.match(told):
            own.add(written[1])
        code.append(_WRITES.sub("", _RUNS.sub("", told)).strip())
    answer = "\n\n\n".join(part for part in code if part)
    if answer and parse(answer) is None:
        raise UnfitError("syntax", f"{folder} is not Python 3")
    return answer + "\n" if answer else ""


def _main(test: str) -> list[str]:
    """The test file, with its `main` run whatever the name of the module is."""
    tree = parse(test)
    if tree is None:
        return []
    kept = [node for node in tree.body if not _starts_main(node)]
    if not any(isinstance(node, ast.FunctionDef) and node.name == "main" for node in kept):
        return []
    return [f"{ast.unparse(ast.Module(body=kept, type_ignores=[]))}\n\nmain()\n"]


def _source(cell: Any) -> str:
    source = cell.get("source", "")
    return source if isinstance(source, str) else "".join(source)


EXERCISM = Form(
    columns=lambda source: ("slug", "instructions", "stub", "tests", "example"),
    drafts=_exercism,
    also=("append", "licence"),
)
INTERACTIVE_CODING = Form(columns=lambda source: ("dir", "test", "notebooks"), drafts=_challenge)
