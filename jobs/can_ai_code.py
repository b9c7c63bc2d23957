"""can-ai-code's interviews as problems: YAML files of questions with checks.

Read from github.com/the-crypt-keeper/can-ai-code, junior-v2/*.yaml and senior/*.yaml, and from its
prepare.py and evaluate.py: a question is `{Signature, Input, Output, Fact?, Checks}`, a check is
`{assert, eq | eq-any, weight?}`, where `f.call(...)` calls the answer, and `f.name`, `f.args` are
its name and arguments. A key that starts with a dot is only there to be referred to.

A problem passes when all of its checks do: weights, and the part of a list that is right, are the
original's finer scores and are not kept.
"""

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from eval_sandbox.mistakes import InputError
from jobs.custom_form import Converted, LeftOut, record, texts_in

_SIGNATURE = re.compile(r"\s*([A-Za-z_]\w*)\s*\((.*)\)\s*", re.S)
_ABOUT_NAME = re.compile(r"f\.name")
_ABOUT_COUNT = re.compile(r"len\(f\.args\)")
_ABOUT_ARGUMENT = re.compile(r"f\.args\[(\d+)\]\.name")


def convert(path: Path) -> Converted:
    """The questions of one YAML file, or of all that are in an archive.

    Raises:
        InputError: the file is no YAML, or a question lacks what it needs.
    """
    records: list[dict[str, Any]] = []
    left_out: list[LeftOut] = []
    for name, text in sorted(texts_in(path).items()):
        if path.name == name or name.endswith((".yaml", ".yml")):
            for title, question in _questions(f"{path}: {name}", text):
                records += _problem(title, question, PurePosixPath(name).stem, left_out)
    return Converted(records=tuple(records), left_out=tuple(left_out))


def _questions(place: str, text: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    try:
        content = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError) as error:
        raise InputError(f"{place}: not readable as YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise InputError(f"{place}: questions by name are expected")
    for title, question in content.items():
        if str(title).startswith("."):
            continue
        said = question if isinstance(question, dict) else {}
        lacking = [k for k, kind in _NEEDED.items() if not isinstance(said.get(k) or None, kind)]
        if lacking:
            raise InputError(
                f"{place}: {title}: no {' and no '.join(lacking)}; a question of can-ai-code has "
                "Signature, Input, Output and Checks"
            )
        if not _SIGNATURE.fullmatch(question["Signature"]):
            raise InputError(
                f"{place}: {title}: Signature is {question['Signature']!r}; expected is one like "
                "'gcd(a, b)'"
            )
        yield str(title), question


_NEEDED = {"Signature": str, "Input": str, "Output": str, "Checks": dict}


@dataclass(frozen=True, slots=True)
class _Check:
    name: str
    source: str
    wanted: tuple[Any, ...]
    """Any of these is right."""
    alternatives: bool
    """Whether they came as `eq-any`."""

    @property
    def test(self) -> str:
        """What is asserted, without white space around it."""
        return self.source.strip()


def _problem(
    title: str, question: Mapping[str, Any], family: str, left_out: list[LeftOut]
) -> Iterator[dict[str, Any]]:
    found = _SIGNATURE.fullmatch(question["Signature"])
    assert found  # _questions lets no other through
    function, parameters = found[1], found[2]
    tests: list[Any] = []
    about: list[_Check] = []
    for check in _checks(title, question["Checks"], left_out):
        test = _test(function, check)
        if test is not None:
            tests.append(test)
        elif any(p.fullmatch(check.test) for p in (_ABOUT_NAME, _ABOUT_COUNT, _ABOUT_ARGUMENT)):
            about.append(check)
        else:
            left_out.append(LeftOut(f"{title}: {check.name}", "about more than calls"))
    if not tests:
        left_out += [LeftOut(f"{title}: {c.name}", "without one that calls") for c in about]
        return
    named = _by_name(about, tests)
    left_out += [
        LeftOut(f"{title}: {check.name}", "about names of arguments that no call shows")
        for check in about
        if _ABOUT_ARGUMENT.fullmatch(check.test) and named is None
    ]
    yield record(
        title,
        _instruction(question),
        [*tests, *([named] if named else [])],
        signature=f"def {function}({parameters}):",
        entry_point=function,
        family=family,
    )


def _checks(title: str, checks: Any, left_out: list[LeftOut]) -> Iterator[_Check]:
    for name, check in checks.items():
        known = isinstance(check, dict) and isinstance(check.get("assert"), str)
        if known and "eq" in check:
            yield _Check(str(name), check["assert"], (check["eq"],), alternatives=False)
        elif known and isinstance(check.get("eq-any"), list):
            yield _Check(str(name), check["assert"], tuple(check["eq-any"]), alternatives=True)
        else:
            left_out.append(LeftOut(f"{title}: {name}", "of a form that is not known"))


def _test(function: str, check: _Check) -> Any:
    """A check as a test of the custom form; None where it is about something else than calls."""
    try:
        tree = ast.parse(check.test, mode="eval").body
    except SyntaxError:
        return None
    args = _literal_call(tree)
    if args is not None and not check.alternatives:
        return {"args": args, "kwargs": {}, "expected": check.wanted[0]}
    renamed = _Renamed(function)
    expression = ast.unparse(renamed.visit(tree))
    if not renamed.calls or renamed.others:
        return None
    wanted = f"in {list(check.wanted)!r}" if check.alternatives else f"== {check.wanted[0]!r}"
    return f"assert ({expression}) {wanted}"


def _literal_call(tree: ast.expr) -> list[Any] | None:
    """The arguments of `f.call(1, [2])`; None where it is something else."""
    match tree:
        case ast.Call(func=ast.Attribute(value=ast.Name(id="f"), attr="call"), keywords=[]):
            try:
                return [ast.literal_eval(argument) for argument in tree.args]
            except ValueError:
                return None
    return None


class _Renamed(ast.NodeTransformer):
    """`f.call` becomes the function's own name."""

    def __init__(self, function: str) -> None:
        self.function = function
        self.calls = 0
        self.others = 0

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        """Replace it, or look further."""
        if isinstance(node.value, ast.Name) and node.value.id == "f" and node.attr == "call":
            self.calls += 1
            return ast.Name(self.function, ast.Load())
        return self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> ast.AST:
        """Count uses of `f` that are no call."""
        self.others += node.id == "f"
        return node


def _by_name(about: Sequence[_Check], tests: Sequence[Any]) -> dict[str, Any] | None:
    """A call by the names of its arguments: `f.args[0].name == 'a'` in the only way it shows."""
    names: dict[int, str] = {}
    for check in about:
        if found := _ABOUT_ARGUMENT.fullmatch(check.test):
            names[int(found[1])] = str(check.wanted[0])
    calls = (test for test in tests if isinstance(test, dict) and test["args"])
    for call in calls if names else ():
        if sorted(names) == list(range(len(call["args"]))):
            kwargs = {names[place]: value for place, value in enumerate(call["args"])}
            return {"args": [], "kwargs": kwargs, "expected": call["expected"]}
    return None


def _instruction(question: Mapping[str, Any]) -> str:
    """The question in the words of the original's templates."""
    wanted = " ".join((question["Signature"].strip(), question["Input"].strip()))
    asked = f"Write a Python function {wanted} that returns {question['Output'].strip()}"
    fact = question.get("Fact")
    return f"{asked}\n\n{fact.strip()}" if isinstance(fact, str) else asked
