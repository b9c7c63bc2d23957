"""The normal form of functions: the same for copies in other clothes, another for another deed."""

import ast
import copy

import pytest

from eval_sandbox.benchmarks import read_problems
from jobs.data.syntax import Program, functions_of, outline


def forms(source):
    tree = ast.parse(source)
    program = Program(tree)
    return {function.name: program.form(function) for function in functions_of(tree)}


def form(source, name=None):
    """Of the last function, or of one by name."""
    found = forms(source)
    return found[name or list(found)[-1]]


ORIGINAL = """
def count_above(numbers, limit):
    total = 0
    for number in numbers:
        if number > limit:
            total += 1
    return total
"""

SAME = {
    "other names": ORIGINAL.replace("numbers", "xs")
    .replace("number", "x")
    .replace("total", "n")
    .replace("limit", "top")
    .replace("count_above", "f"),
    "a name of a builtin": ORIGINAL.replace("total", "sum").replace("numbers", "list"),
    "a docstring": ORIGINAL.replace("    total = 0", '    """Count."""\n    total = 0'),
    "comments and white space": ORIGINAL.replace("    ", "  ").replace("0", "0   # none yet"),
    "parentheses": ORIGINAL.replace("number > limit", "(number) > (limit)"),
    "annotations": ORIGINAL.replace("(numbers, limit)", "(numbers: list[int], limit: int) -> int"),
    "an annotated variable": ORIGINAL.replace("total = 0", "total: int = 0"),
    "a declared variable": ORIGINAL.replace("    total = 0", "    number: int\n    total = 0"),
    "an import inside": ORIGINAL.replace("    total = 0", "    import math\n    total = 0"),
    "a file around it": f"import os\nLIMIT = 3\n{ORIGINAL}".replace(
        "def count", "def a(): 1\ndef count"
    ),
    "a class around it": "class Tools:\n    def other(self):\n        return 1\n"
    + "\n".join(
        f"    {line}" for line in ORIGINAL.replace("(numbers", "(self, numbers").split("\n")
    ),
    "another function around it": "def outer():\n"
    + "\n".join(f"    {line}" for line in ORIGINAL.split("\n")),
}


@pytest.mark.parametrize("source", SAME.values(), ids=SAME)
def test_a_copy_has_the_same_form_with(source):
    assert form(source) == form(ORIGINAL)


OTHER = {
    "a constant": ORIGINAL.replace("+= 1", "+= 2"),
    "a constant of another type": ORIGINAL.replace("total = 0", "total = 0.0"),
    "an operator": ORIGINAL.replace(">", ">="),
    "the argument that is looked at": ORIGINAL.replace("number > limit", "limit > number"),
    "the order of arguments": ORIGINAL.replace("(numbers, limit)", "(limit, numbers)"),
    "a default": ORIGINAL.replace("limit)", "limit=3)"),
    "what is returned": ORIGINAL.replace("return total", "return number"),
    "where a statement stands": ORIGINAL.replace("    return", "        return"),
    "a builtin": ORIGINAL.replace("in numbers", "in sorted(numbers)"),
    "a global": ORIGINAL.replace("    total = 0", "    global total\n    total = 0"),
}


@pytest.mark.parametrize("source", OTHER.values(), ids=OTHER)
def test_a_function_has_another_form_where_it_differs_by(source):
    assert form(source).digest != form(ORIGINAL).digest


PAIRS = {
    "builtins are kept": ("def f(a): return min(a)", "def f(a): return max(a)"),
    "attributes are kept": ("def f(a): return a.lower()", "def f(a): return a.upper()"),
    "keywords are kept": ("def f(a): g(x=a)", "def f(a): g(y=a)"),
    "modules are kept": (
        "import math\ndef f(a): return math.sin(a)",
        "import cmath as math\ndef f(a): return math.sin(a)",
    ),
    "texts are kept": ("def f(a): return a + 'x'", "def f(a): return a + 'y'"),
    "formatted texts are kept": ("def f(a): return f'{a:x}'", "def f(a): return f'{a:d}'"),
    "what is called of the program counts": (
        "def h(a): return a + 1\ndef f(a): return h(a)",
        "def h(a): return a - 1\ndef f(a): return h(a)",
    ),
    "a call of itself is none of another": (
        "def g(a): return 1\ndef f(a): return f(a - 1)",
        "def g(a): return 1\ndef f(a): return g(a - 1)",
    ),
}


@pytest.mark.parametrize("one, other", PAIRS.values(), ids=PAIRS)
def test_forms_differ_because(one, other):
    assert form(one, "f").digest != form(other, "f").digest


EQUAL_PAIRS = {
    "aliases of modules": (
        "import numpy as np\ndef f(a): return np.sum(a)",
        "import numpy\ndef f(a): return numpy.sum(a)",
    ),
    "names from modules": (
        "from math import gcd\ndef f(a, b): return gcd(a, b)",
        "import math as m\ndef f(a, b): return m.gcd(a, b)",
    ),
    "helpers by other names": (
        "def h(a): return a + 1\ndef f(a): return h(a)",
        "def other(x): return x + 1\ndef f(y): return other(y)",
    ),
    "constants of the module by other names": (
        "SIZE = 3\ndef f(a): return a * SIZE",
        "N = 3\ndef f(a): return a * N",
    ),
    "a method that calls itself": (
        "def f(n): return n and f(n - 1)",
        "class S:\n    def f(self, n): return n and self.f(n - 1)",
    ),
    "functions inside by other names": (
        "def f(a):\n    def g(b): return b + 1\n    return g(a)",
        "def f(x):\n    def h(y): return y + 1\n    return h(x)",
    ),
    "comprehensions": ("def f(a): return [b for b in a]", "def f(x): return [y for y in x]"),
    "lambdas": ("def f(a): return map(lambda b: -b, a)", "def f(x): return map(lambda y: -y, x)"),
    "caught errors": (
        "def f(a):\n    try: a()\n    except KeyError as e: return e",
        "def f(x):\n    try: x()\n    except KeyError as z: return z",
    ),
    "patterns": (
        "def f(a):\n    match a:\n        case [b, *c]: return b, c",
        "def f(x):\n    match x:\n        case [y, *z]: return y, z",
    ),
}


@pytest.mark.parametrize("one, other", EQUAL_PAIRS.values(), ids=EQUAL_PAIRS)
def test_forms_are_equal_across(one, other):
    def last(source):
        return form(source, next(n for n in forms(source) if n in ("f", "S.f")))

    assert last(one).digest == last(other).digest


def test_equal_forms_have_equal_outlines():
    sources = [ORIGINAL, *SAME.values()]

    outlines = {outline(functions_of(ast.parse(source))[-1]) for source in sources}

    assert len(outlines) == 1


def test_functions_are_found_in_classes_functions_and_branches():
    source = (
        "def a():\n    def b(): pass\nclass C:\n    def d(self): pass\n"
        "    class E:\n        def f(self): pass\nif True:\n    def g(): pass\n"
    )

    assert [function.name for function in functions_of(ast.parse(source))] == [
        *("a", "a.b", "C.d", "C.E.f", "g")
    ]


def test_a_named_lambda_is_the_function_it_is_short_for():
    short = forms("half = lambda n: n // 2\nf = lambda a, b=1: half(a) * b")
    long = forms("def half(n): return n // 2\ndef f(a, b=1): return half(a) * b")

    assert short == long


def test_a_lambda_inside_of_a_function_is_none_of_the_program():
    source = "def f(a):\n    key = lambda b: b[0]\n    return sorted(a, key=key)"

    assert list(forms(source)) == ["f"]


TAKES = {
    "def f(): pass": (0, 0),
    "def f(a, b=1): pass": (1, 2),
    "def f(a, *rest): pass": (1, 255),
    "def f(a, /, b, *, c=1): pass": (2, 2),
    "class C:\n    def f(self, a): pass": (1, 1),
    "class C:\n    @staticmethod\n    def f(a, b): pass": (2, 2),
}


@pytest.mark.parametrize("source, takes", TAKES.items(), ids=TAKES)
def test_positional_arguments_of(source, takes):
    assert functions_of(ast.parse(source))[-1].takes == takes


class Renamed(ast.NodeTransformer):
    """Every variable by another name: all that is stored or an argument, but `self`."""

    def __init__(self, tree):
        self.bound = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and stored(n)}
        self.bound |= {n.arg for n in ast.walk(tree) if isinstance(n, ast.arg)} - {"self"}

    def visit_Name(self, node):
        return ast.Name(f"{node.id}_2" if node.id in self.bound else node.id, node.ctx)

    def visit_arg(self, node):
        return ast.arg(f"{node.arg}_2" if node.arg in self.bound else node.arg, node.annotation)

    def visit_Global(self, node):
        return ast.Global([f"{name}_2" if name in self.bound else name for name in node.names])


def top_level(found):
    return {name: form for name, form in found.items() if "." not in name}


def stored(name):
    return isinstance(name.ctx, ast.Store)


@pytest.mark.filterwarnings("ignore:invalid escape:DeprecationWarning")  # in MBPP's references
@pytest.mark.parametrize(
    "name, file", [("humaneval", "HumanEval.jsonl.gz"), ("mbpp", "mbpp.jsonl")]
)
def test_renaming_all_variables_of_a_published_reference_keeps_its_forms(published, name, file):
    changed = []
    for problem in read_problems(name, published / "bench" / file):
        tree = ast.parse(problem.reference)
        renamed = ast.unparse(ast.fix_missing_locations(Renamed(tree).visit(copy.deepcopy(tree))))
        if top_level(forms(renamed)) != top_level(forms(problem.reference)):
            changed.append(problem.task_id)

    assert changed == []
