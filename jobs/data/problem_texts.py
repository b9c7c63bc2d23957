"""What a problem says and what solves it, without the code around it: what rows are compared with.

Decontamination compares the question itself and the solution itself; a signature, imports and a
docstring that repeats the question are common to too much code.
"""

import ast
import re

from eval_sandbox.problem import Problem, Script
from jobs.data.code import parse
from jobs.data.syntax import Function, functions_of

_EXAMPLES = re.compile(
    r"^\s*(?:>>>|(?:for\s+)?(?:example|e\.g)s?\b|\w+\(.*\)\s*(?:==|=>|->|➞))", re.I
)


def question_of(problem: Problem) -> str:
    """The question in words: a docstring without its signature, or the instruction as it is."""
    tree = parse(problem.instruction)
    functions = functions_of(tree) if tree else []
    named = [f for f in functions if f.node.name == problem.entry_point] or functions
    asked = ast.get_docstring(named[-1].node, clean=False) if named else None
    return (asked or problem.instruction).strip()


def description_of(question: str) -> str:
    """A question up to its first example; all of it where it begins with one."""
    lines = question.split("\n")
    first = next((n for n, line in enumerate(lines) if n and _EXAMPLES.match(line)), len(lines))
    return "\n".join(lines[:first]).strip()


def solution_of(problem: Problem) -> str:
    """The reference without the problem's prompt and without a docstring before it."""
    text = problem.reference
    if problem.prompt and text.startswith(problem.prompt):
        return text.removeprefix(problem.prompt)
    tree = parse(text)
    match tree.body if tree else []:
        case [ast.Expr(value=ast.Constant(value=str()), end_lineno=int(end)), *_]:
            return "".join(text.splitlines(keepends=True)[end:])
    return text


def entry_of(problem: Problem, tree: ast.Module) -> Function | None:
    """The function of a reference that the tests call.

    MBPP has no field for it: where its label is no function of the reference (MBPP/912 asserts
    `int(lobb_num(5, 3)) == 35`), the last one that a test names.
    """
    top = [function for function in functions_of(tree) if "." not in function.name]
    named = [function for function in top if function.name == problem.entry_point]
    tested = " ".join(test.source for test in problem.tests if isinstance(test, Script))
    tested_words = set(re.findall(r"\w+", tested))
    found = named or [function for function in top if function.name in tested_words]
    return found[-1] if found else None
