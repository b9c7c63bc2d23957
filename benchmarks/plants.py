"""Contaminations made from problems: exact copies, near copies, and the same in other words.

Every planted program is run against its problem's tests first; one that fails is not planted.
"""

import ast
import copy
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from eval_sandbox.problem import Problem
from jobs.data.code import parse
from jobs.data.contamination import FEWEST_NODES
from jobs.data.execution import definitions
from jobs.data.nominations import Nomination
from jobs.data.problem_texts import description_of, entry_of, question_of
from jobs.data.row import Row
from jobs.data.syntax import Program

KINDS = ("exact", "reformatted", "renamed", "embedded", "paraphrased", "rewritten")

_REQUESTS = (
    "Complete the code.",
    "What would a clean implementation look like?",
    "Here is a snippet from my project.",
    "Show an example in Python.",
)
_COMMENTS = ("# see the notes", "# nothing special here", "# TODO: profile", "# straightforward")
_NAMES = (
    *("alpha", "bravo", "carrot", "delta", "ember", "fjord", "gamma", "hazel", "indigo", "jasper"),
    *("krill", "lotus", "mango", "nectar", "onyx", "pearl", "quartz", "raven", "sable", "topaz"),
    *("umber", "violet", "willow", "xenon", "yarrow", "zinnia", "acorn", "birch", "cedar", "daisy"),
)
_REWORDED = (
    (r"\bwrite an? (?:python )?function (?:to|that|which)\b", "please implement a routine able to"),
    (r"\bwrite an? (?:python )?function\b", "please implement a routine"),
    (r"\b(?:the )?given (list|array|tuple)s?\b", r"an incoming \1"),
    (r"\bgiven\b", "supplied"),
    (r"\breturns?\b", "hand back"),
    (r"\bcheck (?:whether|if)\b", "decide if"),
    (r"\bchecks? if\b", "decide whether"),
    (r"\bfind\b", "determine"),
    (r"\belements?\b", "entries"),
    (r"\bmaximum\b", "largest"),
    (r"\bminimum\b", "smallest"),
    (r"\bremove\b", "strip out"),
    (r"\bconvert\b", "turn"),
    (r"\bcalculate\b", "work out"),
    (r"\bsum of\b", "total over"),
    (r"\bcount the number of\b", "tell how many there are of the"),
    (r"\bnumber of\b", "amount of"),
    (r"\blists?\b", "sequence"),
    (r"\bstrings?\b", "text"),
    (r"\bnumbers?\b", "value"),
    (r"\btuples?\b", "record"),
    (r"\barrays?\b", "series"),
    (r"\bintegers?\b", "whole value"),
    (r"\band\b", "as well as"),
    (r"\bis\b", "happens to be"),
    (r"\bare\b", "happen to be"),
    (r"\bwith\b", "having"),
    (r"\bthe\b", "each"),
    (r"\bof an?\b", "belonging to some"),
    (r"\bin an?\b", "within some"),
    (r"\bfrom\b", "out of"),
    (r"\bby using\b", "with the help of"),
    (r"\busing\b", "with"),
)


@dataclass(frozen=True, slots=True)
class Plant:
    """A row made from a problem."""

    kind: str
    benchmark: str
    problem: Problem
    row: Row
    function: str
    """What solves the problem in the row's code."""

    @property
    def nomination(self) -> Nomination:
        """The pair that shows that the planted program passes."""
        return Nomination(
            benchmark=self.benchmark,
            task_id=self.problem.task_id,
            function=self.function,
            by="name",
            strength=1.0,
        )


def plants(benchmark: str, problem: Problem, other: str, draw: random.Random) -> Iterator[Plant]:
    """One of each kind, where the problem's reference has the function that the tests call.

    Args:
        benchmark: its name.
        problem: whose question and solution are planted.
        other: a solution by somebody else, for `rewritten`; empty where there is none.
        draw: what is left to chance.

    Kinds without the question are not made of references with fewer than `FEWEST_NODES` nodes:
    `return a + b` is nobody's.
    """
    tree = ast.parse(problem.reference)
    entry = entry_of(problem, tree)
    if entry is None:
        return
    asked = question_of(problem)
    long_enough = Program(tree).form(entry).nodes >= FEWEST_NODES

    def planted(kind: str, instruction: str, code: str, function: str) -> Plant:
        place = f"{kind}:{problem.task_id}"
        row = Row(
            instruction=instruction, response=code, source="planted", place=place, licence="MIT"
        )
        return Plant(kind, benchmark, problem, row, function)

    yield planted("exact", asked, problem.reference, entry.name)
    renamed, name = _renamed(tree, entry.name, draw)
    if long_enough:
        request = draw.choice(_REQUESTS)
        yield planted("reformatted", request, _reformatted(tree, draw), entry.name)
        yield planted("renamed", request, _reformatted(renamed, draw), name)
        yield planted("embedded", request, *_embedded(renamed, name, draw))
    question = reworded(description_of(asked))
    restructured = _Restructured().visit(copy.deepcopy(renamed))
    yield planted("paraphrased", question, _unparsed(restructured), name)
    written = parse(definitions(other))
    theirs = entry_of(problem, written) if written else None
    if written and theirs:
        code, name = _renamed(written, theirs.name, draw)
        yield planted("rewritten", question, _unparsed(code), name)


def _unparsed(tree: ast.Module) -> str:
    return ast.unparse(ast.fix_missing_locations(tree)) + "\n"


def reworded(question: str) -> str:
    """A question in other words, by rules."""
    for pattern, other in _REWORDED:
        question = re.sub(pattern, other, question, flags=re.IGNORECASE)
    return " ".join(question.split())


def _reformatted(tree: ast.Module, draw: random.Random) -> str:
    """Other white space, other comments, no docstrings."""
    lines = ast.unparse(_without_docstrings(tree)).replace("    ", "  ").split("\n")
    commented = (
        f"{line}  {draw.choice(_COMMENTS)}"
        if draw.random() < 0.3 and line.strip() and "'''" not in line and '"""' not in line
        else line
        for line in lines
    )
    return "\n".join(commented) + "\n"


def _embedded(tree: ast.Module, name: str, draw: random.Random) -> tuple[str, str]:
    """A copy as a method among others of a class, or in a file with other functions."""
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    alone = len(functions) == 1 and not _mentions(functions[0], name)
    if alone and len(tree.body) == 1 and draw.random() < 0.5:
        method = copy.deepcopy(functions[0])
        method.args.args.insert(0, ast.arg(arg="self"))
        other = "def describe(self):\n    return type(self).__name__"
        body = [*ast.parse(other).body, *_without_docstrings(ast.Module([method], [])).body]
        made = ast.ClassDef("Toolbox", bases=[], keywords=[], body=body, decorator_list=[])
        return ast.unparse(ast.fix_missing_locations(ast.Module([made], []))), f"Toolbox.{name}"
    around = "import sys\n\ndef show(thing):\n    print(thing, file=sys.stderr)\n\n"
    after = "\n\nclass Settings:\n    verbose = False\n"
    return around + ast.unparse(_without_docstrings(tree)) + after, name


def _mentions(function: ast.FunctionDef, name: str) -> bool:
    return any(isinstance(node, ast.Name) and node.id == name for node in ast.walk(function))


def _without_docstrings(tree: ast.Module) -> ast.Module:
    tree = copy.deepcopy(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node):
            node.body = node.body[1:] or [ast.Pass()]
    return tree


def _renamed(tree: ast.Module, entry: str, draw: random.Random) -> tuple[ast.Module, str]:
    """With other names for all that it defines, and no docstrings."""
    tree = _without_docstrings(tree)
    bound: dict[str, None] = {}
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.arg(arg=name):
                bound.setdefault(name)
            case ast.Name(id=name, ctx=ast.Store()):
                bound.setdefault(name)
    fresh = [f"{a}_{b}" for a in _NAMES for b in _NAMES[:5]]
    draw.shuffle(fresh)
    names = dict(zip(bound, fresh, strict=False))
    return _Renamed(names).visit(tree), names[entry]


class _Renamed(ast.NodeTransformer):
    def __init__(self, names: dict[str, str]) -> None:
        self._names = names

    def visit_Name(self, node: ast.Name) -> ast.AST:
        node.id = self._names.get(node.id, node.id)
        return node

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.arg, node.annotation = self._names.get(node.arg, node.arg), None
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.name, node.returns = self._names.get(node.name, node.name), None
        return self.generic_visit(node)

    def visit_Global(self, node: ast.Global) -> ast.AST:
        node.names = [self._names.get(name, name) for name in node.names]
        return node


class _Restructured(ast.NodeTransformer):
    """The same by other statements."""

    _FLIPPED: ClassVar = {ast.Lt: ast.Gt, ast.Gt: ast.Lt, ast.LtE: ast.GtE, ast.GtE: ast.LtE}

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        self.generic_visit(node)
        node.body = _comprehended(node.body)
        copied = []
        for argument in node.args.args:
            name, argument.arg = argument.arg, f"{argument.arg}_in"
            source = ast.Name(argument.arg, ast.Load())
            copied.append(ast.Assign([ast.Name(name, ast.Store())], source, lineno=0))
        node.body = [*copied, *node.body]
        return node

    def visit_Return(self, node: ast.Return) -> list[ast.stmt] | ast.AST:
        self.generic_visit(node)
        if node.value is None or isinstance(node.value, ast.Name | ast.Constant):
            return node
        outcome = ast.Name("outcome", ast.Store())
        return [
            ast.Assign([outcome], node.value, lineno=0),
            ast.Return(ast.Name("outcome", ast.Load())),
        ]

    def visit_AugAssign(self, node: ast.AugAssign) -> ast.AST:
        self.generic_visit(node)
        if not isinstance(node.target, ast.Name):
            return node
        sum_of = ast.BinOp(ast.Name(node.target.id, ast.Load()), node.op, node.value)
        return ast.Assign([node.target], sum_of, lineno=0)

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        self.generic_visit(node)
        flipped = self._FLIPPED.get(type(node.ops[0]))
        if len(node.ops) > 1 or flipped is None:
            return node
        return ast.Compare(node.comparators[0], [flipped()], [node.left])

    def visit_If(self, node: ast.If) -> ast.AST:
        """The branches of an if with else change places."""
        self.generic_visit(node)
        if not node.orelse or isinstance(node.orelse[0], ast.If):
            return node
        return ast.If(ast.UnaryOp(ast.Not(), node.test), node.orelse, node.body)


def _comprehended(body: list[ast.stmt]) -> list[ast.stmt]:
    """`a = []` and a loop that only appends to it become one comprehension."""
    made: list[ast.stmt] = []
    for statement in body:
        match made[-1:], statement:
            case [ast.Assign(targets=[ast.Name(id=name)], value=ast.List(elts=[]))], ast.For(
                target=target, iter=source, orelse=[], body=[inner]
            ) if found := _appended(inner, name):
                value, tests = found
                generator = ast.comprehension(target, source, tests, 0)
                made[-1] = ast.Assign(
                    [ast.Name(name, ast.Store())], ast.ListComp(value, [generator]), lineno=0
                )
            case _:
                made.append(statement)
    return made


def _appended(statement: ast.stmt, name: str) -> tuple[ast.expr, list[ast.expr]] | None:
    match statement:
        case ast.If(test=test, body=[inner], orelse=[]):
            found = _appended(inner, name)
            return (found[0], [test, *found[1]]) if found else None
        case ast.Expr(
            value=ast.Call(
                func=ast.Attribute(value=ast.Name(id=of), attr="append"), args=[value], keywords=[]
            )
        ) if of == name:
            return value, []
    return None
