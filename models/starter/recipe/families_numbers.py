"""Families about numbers and tables: arithmetic, predicates, loops, recursion, dictionaries."""

from collections.abc import Mapping

from models.starter.recipe import arguments
from models.starter.recipe.grammar import Family, Part

SMALL = (2, 3, 4, 5, 6, 7, 8, 9)
DIVISORS = (3, 4, 5, 6)


def terms(place: str) -> tuple[Part, ...]:
    """What arithmetic can be done to the argument at `place`."""
    it = f"${place}"
    return (
        Part("self", it, (it,), word=""),
        Part("double", f"{it} * 2", (f"twice {it}", f"the double of {it}")),
        Part("square", f"{it} * {it}", (f"the square of {it}", f"{it} squared")),
        Part("plus", f"({it} + $k)", (f"{it} plus $k", f"{it} increased by $k"), SMALL),
        Part("minus", f"({it} - $k)", (f"{it} minus $k", f"{it} decreased by $k"), SMALL),
        Part("size", f"abs({it})", (f"the absolute value of {it}", f"the size of {it}")),
        Part("half", f"({it} // 2)", (f"half of {it}", f"the half of {it}")),
    )


ARITHMETIC = Family(
    name="arithmetic",
    slots={
        "left": terms("0"),
        "right": terms("1"),
        "combine": (
            Part("sum", "$left + $right", ("the sum of $left and $right", "$left added to $right")),
            Part("gap", "$left - $right", ("the difference of $left and $right",)),
            Part("product", "$left * $right", ("the product of $left and $right",)),
            Part(
                "max",
                "max($left, $right)",
                ("the larger of $left and $right", "the maximum of $left and $right"),
            ),
            Part(
                "min",
                "min($left, $right)",
                ("the smaller of $left and $right", "the minimum of $left and $right"),
            ),
            Part("distance", "abs($left - $right)", ("the distance between $left and $right",)),
        ),
    },
    sentences=("$combine",),
    body="return $combine",
    arguments=arguments.two_numbers,
    nouns=("number", "number"),
)


CLAIMS = (
    Part("even", "$0 % 2 == 0", ("even",)),
    Part("odd", "$0 % 2 == 1", ("odd",)),
    Part("positive", "$0 > 0", ("positive", "above zero")),
    Part("negative", "$0 < 0", ("negative", "below zero")),
    Part("above", "$0 > $k", ("above $k", "greater than $k"), (2, 3, 4, 5)),
    Part("below", "$0 < $k", ("below $k", "less than $k"), (6, 7, 8, 9)),
    Part("multiple", "$0 % $k == 0", ("a multiple of $k", "divisible by $k"), DIVISORS),
    Part("digit", "abs($0) % 10 < $k", ("of a last digit below $k",), (4, 5, 6)),
    Part("size", "abs($0) < $k", ("of a size below $k",), SMALL),
)


OPPOSITES = (
    {"even", "odd"},
    {"positive", "negative"},
    {"positive", "above"},
    {"negative", "below"},
)


def says_two_things(parts: Mapping[str, Part]) -> bool:
    """Whether two claims are different and neither decides the other."""
    keys = {parts["first"].key, parts["second"].key}
    return len(keys) == 2 and keys not in OPPOSITES


PREDICATE = Family(
    name="predicate",
    slots={
        "first": CLAIMS,
        "second": CLAIMS,
        "combine": (
            Part(
                "and", "$first and $second", ("both $first and $second", "$first and also $second")
            ),
            Part("or", "$first or $second", ("$first or $second", "$first or else $second")),
            Part(
                "not",
                "$first and not $second",
                ("$first but not $second", "$first and not $second"),
            ),
            Part("one", "($first) != ($second)", ("exactly one of $first and $second",)),
        ),
    },
    sentences=("whether $0 is $combine", "True if $0 is $combine, else False"),
    body="return $combine",
    arguments=arguments.any_number,
    nouns=("number",),
    prefer=says_two_things,
)

LOOP = Family(
    name="loop",
    slots={
        "range": (
            Part(
                "from one",
                "range(1, $0)",
                ("from 1 to $0 without the end", "from 1 up to below $0"),
                word="up",
            ),
            Part(
                "from start", "range($k, $0)", ("from $k up to below $0",), (2, 3, 4), word="start"
            ),
            Part("mirrored", "range(-$0, $0)", ("from minus $0 up to below $0",), word="both"),
        ),
        "filter": (
            Part("even", "i % 2 == 0", ("the even numbers",)),
            Part("odd", "i % 2 == 1", ("the odd numbers",)),
            Part(
                "multiple",
                "i % $k == 0",
                ("the multiples of $k", "the numbers divisible by $k"),
                DIVISORS,
            ),
            Part("other", "i % $k != 0", ("the numbers not divisible by $k",), DIVISORS),
            Part("above", "i > $k", ("the numbers above $k", "the numbers greater than $k"), SMALL),
            Part("below", "i < $k", ("the numbers below $k", "the numbers less than $k"), SMALL),
        ),
        "map": (
            Part("self", "i", ("$filter",), word=""),
            Part("square", "i * i", ("the squares of $filter",)),
            Part("double", "i * 2", ("the doubles of $filter", "twice $filter")),
            Part("plus", "i + $k", ("$k plus $filter",), SMALL),
            Part("cube", "i ** 3", ("the cubes of $filter",)),
        ),
        "fold": (
            Part("sum", "result += $map", ("the sum of $map", "the total of $map")),
            Part("list", "result += [$map]", ("the list of $map", "a list with $map"), zero="[]"),
            Part("minus", "result -= $map", ("0 minus $map", "zero less $map")),
        ),
    },
    sentences=("$fold $range, with a loop", "$fold $range, in a loop"),
    body="result = $zero\nfor i in $range:\n    if $filter:\n        $fold\nreturn result",
    arguments=arguments.limit,
    nouns=("number",),
)

RECURSION = Family(
    name="recursion",
    slots={
        "step": (
            Part("one", "$0 - 1", ("goes down by 1", "decreases by 1"), word="by_one"),
            Part("two", "$0 - 2", ("goes down by 2", "decreases by 2"), word="by_two"),
            Part("three", "$0 - 3", ("goes down by 3", "decreases by 3"), word="by_three"),
            Part("half", "$0 // 2", ("is halved", "is cut in half"), word="halving"),
            Part("digit", "$0 // 10", ("loses its last digit", "is divided by 10"), word="digits"),
        ),
        "map": (
            Part("value", "$0", ("values",)),
            Part("square", "$0 * $0", ("squares",)),
            Part("double", "$0 * 2", ("doubles",)),
            Part("digit", "$0 % 10", ("last digits",)),
            Part("rest", "$0 % $k", ("remainders by $k", "rests modulo $k"), DIVISORS),
            Part("plus", "$0 + $k", ("values plus $k",), SMALL),
        ),
        "fold": (
            Part("sum", "$map + $name($step)", ("the sum of the $map", "the total of the $map")),
            Part(
                "list",
                "[$map] + $name($step)",
                ("the list of the $map", "a list with the $map"),
                zero="[]",
            ),
            Part(
                "backwards", "$name($step) + [$map]", ("the reversed list of the $map",), zero="[]"
            ),
            Part(
                "text",
                "str($map) + $name($step)",
                ("the text of the $map", "a text with the $map"),
                zero='""',
            ),
            Part(
                "max",
                "max($map, $name($step))",
                ("the largest of the $map", "the maximum of the $map"),
            ),
        ),
    },
    sentences=("$fold while $0 $step, recursively", "recursively $fold while $0 $step"),
    body="if $0 <= 0:\n    return $zero\nreturn $fold",
    arguments=arguments.start,
    nouns=("number",),
)

TABLE = Family(
    name="table",
    slots={
        "filter": (
            Part("above", "v > $k", ("above $k", "greater than $k"), SMALL),
            Part("below", "v < $k", ("below $k", "less than $k"), SMALL),
            Part("even", "v % 2 == 0", ("that are even",)),
            Part("odd", "v % 2 == 1", ("that are odd",)),
            Part("positive", "v > 0", ("that are positive", "above zero")),
            Part(
                "starting",
                'k[0] == "$k"',
                ("of keys starting with $k", "whose key starts with $k"),
                ("a", "b", "c"),
            ),
            Part(
                "long",
                "len(k) > $k",
                ("of keys longer than $k", "whose key is longer than $k"),
                (2, 3),
            ),
        ),
        "map": (
            Part("self", "v", ("values",), word=""),
            Part("double", "v * 2", ("doubled values",)),
            Part("square", "v * v", ("squared values", "squares of values")),
            Part("plus", "v + $k", ("values increased by $k", "values plus $k"), SMALL),
            Part("negated", "-v", ("negated values", "negatives of values")),
        ),
        "result": (
            Part(
                "table",
                "{k: $each}",
                ("a dictionary of the $map", "the dictionary of the $map"),
                word="dict",
            ),
            Part("sum", "sum($each)", ("the sum of the $map", "the total of the $map")),
            Part(
                "max",
                "max(($each), default=0)",
                ("the largest of the $map or 0", "the maximum of the $map or 0"),
            ),
            Part("sorted", "sorted($each)", ("the sorted list of the $map",)),
            Part("list", "[$each]", ("the list of the $map", "a list with the $map")),
            Part("distinct", "len({$each})", ("the number of different $map",)),
        ),
    },
    sentences=("$result in $0 $filter", "$result of $0 $filter"),
    body="return $result",
    clauses={"each": "$map for k, v in $0.items() if $filter"},
    arguments=arguments.table,
    nouns=("table",),
)

FAMILIES = (ARITHMETIC, PREDICATE, LOOP, RECURSION, TABLE)
