"""Which calls a test will make, read off its source before it runs.

Most tests are a list of `assert candidate([1, 2]) == 3`. Calls whose arguments are literals and
that will surely be made, in the order of the text, can be sent ahead together with the program:
then a check needs no conversation. Each of them becomes `__reply__(n)` in the test's code; the
first statement that is not of this kind, and all after it, stay as they are and talk.

Only literals are sent ahead. An argument that depends on an earlier result could tell the
candidate what that result should have been.
"""

import ast
import copy
from collections.abc import Iterator
from dataclasses import dataclass
from types import CodeType
from typing import Any

REPLY = "__reply__"

Call = tuple[str, tuple[Any, ...] | CodeType, dict[str, Any]]
"""Name, positional and named arguments. Positional ones with a set among them are code that makes
them: the order of a set depends on how it was made, and a literal is made in its own way."""


@dataclass(frozen=True, slots=True)
class Foreseen:
    """A test's code and the calls that it will surely make first."""

    code: CodeType
    calls: tuple[Call, ...]
    complete: bool
    """Whether it makes no other call."""


def foresee(source: str, names: frozenset[str], first: int, label: str) -> Foreseen:
    """Compile a test.

    Args:
        source: Python.
        names: what the candidate defines and the test uses.
        first: number of the first call, where tests before it foresaw some.
        label: file name for tracebacks.

    Raises:
        SyntaxError: the test is not Python.
    """
    tree = ast.parse(source, label)
    walk = _Walk(names, first)
    complete = walk.block(tree.body) and not walk.stopped
    code = compile(ast.fix_missing_locations(tree), label, "exec", dont_inherit=True)
    return Foreseen(code, tuple(walk.calls), complete)


class _StopError(Exception):
    """From here on the test decides at run time."""


class _Walk:
    """Goes through a test as it will be executed, and replaces calls on the way."""

    def __init__(self, names: frozenset[str], first: int) -> None:
        self._names = names
        self._first = first
        self.calls: list[Call] = []
        self.stopped = False

    def block(self, body: list[ast.stmt]) -> bool:
        """Whether every use of the candidate in a list of statements was foreseen."""
        checks: dict[str, ast.FunctionDef] = {}
        called: set[str] = set()
        statements, body[:] = list(body), []
        for place, statement in enumerate(statements):
            if isinstance(statement, ast.FunctionDef) and _is_plain(statement):
                checks[statement.name] = statement
                body.append(statement)
                continue
            if (check := self._called(statement, checks)) is not None:
                called.add(check.name)
                body += self._check(check, statement)
            else:
                body.append(statement)
                self._tried(statement, checks)
            if self.stopped:
                body += statements[place + 1 :]
                return False
        return not any(self._uses(checks[name]) for name in checks.keys() - called)

    def _tried(self, statement: ast.stmt, checks: dict[str, ast.FunctionDef]) -> None:
        try:
            self._statement(statement, checks)
        except _StopError:
            self.stopped = True

    def _statement(self, statement: ast.stmt, checks: dict[str, ast.FunctionDef]) -> None:
        if not self._uses(statement):
            if any(name in checks for name in _names(statement)):
                raise _StopError
        elif isinstance(statement, ast.Assert):
            statement.test = self._expression(statement.test)
            if statement.msg is not None and self._uses(statement.msg):
                raise _StopError
        elif isinstance(statement, (ast.Expr, ast.Assign)):
            statement.value = self._expression(statement.value)
            if any(self._uses(target) for target in getattr(statement, "targets", [])):
                raise _StopError
        else:
            raise _StopError

    def _called(
        self, statement: ast.stmt, checks: dict[str, ast.FunctionDef]
    ) -> ast.FunctionDef | None:
        """The function of `check(candidate)`, HumanEval's form, where this statement is that."""
        match statement:
            case ast.Expr(ast.Call(ast.Name(name), [ast.Name(given)], [])):
                if name in checks and given in self._names:
                    return checks[name]
        return None

    def _check(self, check: ast.FunctionDef, statement: ast.stmt) -> list[ast.stmt]:
        """A copy of the function for this call alone, and the call of that copy.

        The function itself stays as it was: it may be called again, with something else.
        """
        check, statement = copy.deepcopy(check), copy.deepcopy(statement)
        number = self._first + len(self.calls)
        check.name = f"{check.name}__{number}"
        call = statement.value  # type: ignore[attr-defined]
        call.func.id, given = check.name, call.args[0].id
        parameter = check.args.args[0].arg
        inside = _Walk(self._names | {parameter}, number)
        self.stopped = not inside.block(check.body)
        for name, args, kwargs in inside.calls:
            self.calls.append((given if name == parameter else name, args, kwargs))
        return [check, statement]

    def _uses(self, node: ast.AST) -> bool:
        return any(name in self._names for name in _names(node))

    def _expression(self, node: ast.expr) -> ast.expr:
        """`node` with its calls replaced, in the order in which Python evaluates them."""
        if not self._uses(node):
            return node
        match node:
            case ast.Call(ast.Name(name)) if name in self._names:
                return self._reply(node, name)
            case ast.Compare(comparators=[_]) | ast.BinOp() | ast.UnaryOp() | ast.Subscript():
                self._children(node)
            case ast.Call() | ast.Tuple() | ast.List() | ast.Set() | ast.Attribute():
                self._children(node)
            case ast.Starred():
                self._children(node)
            case _:
                raise _StopError
        return node

    def _children(self, node: ast.expr) -> None:
        for field, value in ast.iter_fields(node):
            if isinstance(value, ast.expr):
                setattr(node, field, self._expression(value))
            elif isinstance(value, list):
                for number, child in enumerate(value):
                    if isinstance(child, ast.expr):
                        value[number] = self._expression(child)
                    elif isinstance(child, ast.keyword):
                        child.value = self._expression(child.value)

    def _reply(self, node: ast.Call, name: str) -> ast.expr:
        try:
            args: tuple[Any, ...] | CodeType = tuple(map(ast.literal_eval, node.args))
            kwargs = {str(k.arg): ast.literal_eval(k.value) for k in node.keywords if k.arg}
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            raise _StopError from None
        if len(kwargs) != len(node.keywords):
            raise _StopError
        if any(isinstance(child, ast.Set) for arg in node.args for child in ast.walk(arg)):
            made = ast.Expression(ast.Tuple(node.args, ast.Load()))
            args = compile(ast.fix_missing_locations(made), "<arguments>", "eval")
        number = ast.Constant(self._first + len(self.calls))
        self.calls.append((name, args, kwargs))
        reply = ast.Call(ast.Name(REPLY, ast.Load()), [number], [])
        return ast.copy_location(reply, node)


def _is_plain(function: ast.FunctionDef) -> bool:
    given = function.args
    plain = len(given.args) == 1 and not (given.kwonlyargs or given.vararg or given.kwarg)
    if not plain or function.decorator_list or given.defaults:
        return False
    return not any(
        isinstance(node, (ast.Return, ast.Yield, ast.YieldFrom, ast.Global, ast.Nonlocal))
        for node in ast.walk(function)
    )


def _names(node: ast.AST) -> Iterator[str]:
    for child in ast.walk(node):
        if isinstance(child, ast.Name):
            yield child.id
