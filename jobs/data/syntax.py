"""Functions by what they do, not by how they are written: one form for all renamed copies.

Two functions have the same normal form exactly if they differ in nothing but layout, comments,
docstrings, annotations, imports, and the names of arguments, variables, functions and classes that
the program itself defines. Names of modules, builtins, attributes and keywords stay, and so do
constants and the order of everything. What it calls of the program's own functions belongs to a
function's form, so that a wrapper is not taken for another.

What is not found: other operators for the same thing, statements in another order, a method's
`self.field` in the place of a variable. For these there is execution.
"""

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b

Def = ast.FunctionDef | ast.AsyncFunctionDef

_UNWRITTEN = frozenset(
    {"ctx", "returns", "annotation", "type_comment", "type_params", "kind", "type_ignores"}
)
_METHODS = frozenset({"staticmethod", "classmethod"})
_SELF = frozenset({"self", "cls"})


@dataclass(frozen=True, slots=True)
class Function:
    """A function of a program, at its top level, in a class or inside of another function."""

    name: str
    """`add`, or `Solution.add` for a method of a class at the top level."""
    node: Def
    owner: ast.ClassDef | None
    """The class whose method it is."""

    @property
    def arguments(self) -> list[ast.arg]:
        """Its positional arguments without the `self` of a method."""
        every = [*self.node.args.posonlyargs, *self.node.args.args]
        return every[1:] if self.owner and every and every[0].arg in _SELF else every

    @property
    def takes(self) -> tuple[int, int]:
        """Fewest and most positional arguments of a call; 255 where there is `*args`."""
        most = len(self.arguments)
        fewest = max(most - len(self.node.args.defaults), 0)
        return fewest, 255 if self.node.args.vararg else most


@dataclass(frozen=True, slots=True)
class Form:
    """The normal form of a function."""

    digest: int
    """64 bits."""
    nodes: int
    """Nodes of the syntax tree that are in it, those of called functions included."""


def functions_of(tree: ast.Module) -> list[Function]:
    """Every function of a program, in its order; statements are looked into, expressions not.

    A lambda that gets a name at the top level is a function as well: `double = lambda n: 2 * n`.
    """
    return list(_functions(tree.body, None, ""))


def _functions(body: list[ast.stmt], owner: ast.ClassDef | None, path: str) -> Iterator[Function]:
    for statement in body:
        if isinstance(statement, Def):
            name = path + statement.name
            yield Function(name, statement, owner)
            yield from _functions(statement.body, None, f"{name}.")
        elif isinstance(statement, ast.ClassDef):
            yield from _functions(statement.body, statement, f"{path}{statement.name}.")
        elif isinstance(statement, ast.If | ast.Try | ast.With):
            yield from _functions(statement.body, owner, path)
        elif not path and (named := _named_lambda(statement)):
            yield Function(named.name, named, None)


def _named_lambda(statement: ast.stmt) -> ast.FunctionDef | None:
    """The definition that `name = lambda ...` is short for."""
    match statement:
        case ast.Assign(targets=[ast.Name(id=name)], value=ast.Lambda() as value):
            pass
        case ast.AnnAssign(target=ast.Name(id=name), value=ast.Lambda() as value):
            pass
        case _:
            return None
    body = ast.copy_location(ast.Return(value.body), value)
    node = ast.FunctionDef(name=name, args=value.args, body=[body], decorator_list=[])
    return ast.copy_location(node, statement)


def outline(function: Function) -> tuple[int | str, ...]:
    """Number of arguments and kinds of statements: equal where forms are, and quick to tell."""
    said: list[int | str] = [len(function.arguments)]
    for statement in _written(function.node.body):
        looked_at = (
            getattr(statement, "value", None)
            or getattr(statement, "test", None)
            or getattr(statement, "iter", None)
        )
        kind = type(statement).__name__
        said += ("Assign" if kind == "AnnAssign" else kind, type(looked_at).__name__)
    return tuple(said)


class Program:
    """A syntax tree with what its names stand for; made once for all functions of a program."""

    def __init__(self, tree: ast.Module) -> None:
        top = [node if isinstance(node, Def) else _named_lambda(node) for node in tree.body]
        self._functions = {node.name: node for node in top if node}
        self._bound = frozenset(_bound_at_top(tree.body))
        self._imported = dict(_imported(tree))

    def form(self, function: Function) -> Form:
        """The normal form of one of its functions."""
        siblings = dict(self._functions)
        if function.owner:
            siblings |= {n.name: n for n in function.owner.body if isinstance(n, Def)}
        return _Writer(siblings, self._bound, self._imported).form(function.node)


@dataclass
class _Writer:
    """Writes functions as a list of words; names become numbers in the order of their first use."""

    functions: Mapping[str, Def]
    bound: frozenset[str]
    imported: Mapping[str, str]
    words: list[str] = field(default_factory=list)
    nodes: int = 0
    called: dict[str, None] = field(default_factory=dict)
    """Functions of the program in the order in which they are met."""
    shared: dict[str, str] = field(default_factory=dict)
    local: dict[str, str] = field(default_factory=dict)
    own: frozenset[str] = frozenset()

    def form(self, node: Def) -> Form:
        self.called[node.name] = None
        done = 0
        while done < len(self.called):
            name = list(self.called)[done]
            self._function(node if not done else self.functions[name])
            done += 1
        digest = blake2b("\x1f".join(self.words).encode("utf-8", "replace"), digest_size=8)
        return Form(int.from_bytes(digest.digest(), "big"), self.nodes)

    def _function(self, node: Def) -> None:
        self.own = frozenset(_bound_within(node))
        self.local = {}
        self._def(node)

    def _def(self, node: Def) -> None:
        self.words.append(type(node).__name__)
        decorators = [d for d in node.decorator_list if getattr(d, "id", "") not in _METHODS]
        self._value(decorators)
        self._arguments(node.args)
        self._value(list(_written(node.body)))

    def _arguments(self, arguments: ast.arguments) -> None:
        first = [*arguments.posonlyargs, *arguments.args][:1]
        for name, value in ast.iter_fields(arguments):
            self.words.append(name)
            if name in ("posonlyargs", "args"):
                value = [a for a in value if not (a in first and a.arg in _SELF)]
            self._value(value)

    def _node(self, node: ast.AST) -> None:
        self.nodes += 1
        match node:
            case ast.Name(id=name):
                self.words.append(self._named(name))
            case ast.arg(arg=name):
                self.words.append(self._named(name))
            case ast.Attribute():
                self._attribute(node)
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                self.words.append(self._named(name))
                self._def(node)
            case ast.AnnAssign(target=target, value=value):
                self.words.append("Assign")
                self._value([target])
                self._value(value)
            case ast.Lambda(args=arguments, body=body):
                self.words.append("Lambda")
                self._arguments(arguments)
                self._value(body)
            case _:
                self._any(node)

    def _any(self, node: ast.AST) -> None:
        self.words.append(type(node).__name__)
        renames = not isinstance(node, ast.keyword | ast.Constant)
        for name, value in ast.iter_fields(node):
            if name in _UNWRITTEN:
                continue
            if name in ("body", "orelse", "finalbody") and isinstance(value, list):
                value = list(_written(value))
            if renames and isinstance(value, str):
                self.words.append(self._named(value))
            elif renames and name == "names" and isinstance(value, list):
                self.words += [self._named(part) for part in value if isinstance(part, str)]
            else:
                self._value(value)

    def _attribute(self, node: ast.Attribute) -> None:
        of = node.value
        if isinstance(of, ast.Name) and of.id in _SELF and node.attr in self.functions:
            self.words.append(self._named(node.attr))
        elif isinstance(of, ast.Name) and of.id in self.imported and of.id not in self.own:
            self.words.append(f"{self.imported[of.id]}.{node.attr}")
        else:
            self.words += ("Attribute", node.attr)
            self._value(of)

    def _value(self, value: object) -> None:
        if isinstance(value, ast.AST):
            self._node(value)
        elif isinstance(value, list):
            self.words.append(f"[{len(value)}")
            for part in value:
                self._value(part)
        else:
            self.words.append(repr(value))

    def _named(self, name: str) -> str:
        if name in self.own:
            return self.local.setdefault(name, f"v{len(self.local)}")
        if name in self.functions or name in self.called:
            self.called.setdefault(name)
            return f"f{list(self.called).index(name)}"
        if name in self.imported:
            return self.imported[name]
        if name in self.bound:
            return self.shared.setdefault(name, f"m{len(self.shared)}")
        return name


def _written(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements that do something: no docstrings, no bare annotations, no imports."""
    for statement in body:
        match statement:
            case ast.Expr(value=ast.Constant()) | ast.AnnAssign(value=None):
                continue
            case ast.Import() | ast.ImportFrom():
                continue
        yield statement


def _bound_at_top(body: Iterable[ast.stmt]) -> Iterator[str]:
    for statement in body:
        match statement:
            case ast.ClassDef(name=name):
                yield name
            case ast.Assign(targets=targets):
                yield from (n.id for t in targets for n in ast.walk(t) if isinstance(n, ast.Name))
            case ast.AnnAssign(target=ast.Name(id=name)) | ast.AugAssign(target=ast.Name(id=name)):
                yield name


def _bound_within(node: Def) -> Iterator[str]:
    """Names of arguments, variables and functions that are made inside of a function."""
    outside: set[str] = set()
    names: set[str] = set()
    for part in ast.walk(node):
        match part:
            case ast.Name(id=name, ctx=ast.Store() | ast.Del()) | ast.arg(arg=name):
                names.add(name)
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) if part is not node:
                names.add(name)
            case ast.ClassDef(name=name) | ast.ExceptHandler(name=str(name)):
                names.add(name)
            case ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                names.add(name)
            case ast.Global(names=declared):
                outside.update(declared)
    yield from names - outside


def _imported(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """(name in the program, what it stands for) of every import, wherever it is."""
    for statement in _imports(tree.body):
        if isinstance(statement, ast.Import):
            for alias in statement.names:
                whole = alias.name if alias.asname else alias.name.partition(".")[0]
                yield alias.asname or whole, whole
        else:
            for alias in statement.names:
                yield alias.asname or alias.name, f"{statement.module}.{alias.name}"


def _imports(body: Iterable[ast.stmt]) -> Iterator[ast.Import | ast.ImportFrom]:
    for statement in body:
        if isinstance(statement, ast.Import | ast.ImportFrom):
            yield statement
        for part in ("body", "orelse", "handlers", "finalbody"):
            yield from _imports(getattr(statement, part, ()))
