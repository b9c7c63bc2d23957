"""Families about lists of numbers: filter and fold, two lists side by side, sorting, two
pointers."""

from models.starter.recipe import arguments
from models.starter.recipe.grammar import Family, Part

SMALL = (2, 3, 4, 5, 6, 7, 8, 9)
DIVISORS = (3, 4, 5, 6)

EVEN = Part("even", "x % 2 == 0", ("the even numbers", "the even values"))
ODD = Part("odd", "x % 2 == 1", ("the odd numbers", "the odd values"))
POSITIVE = Part("positive", "x > 0", ("the positive numbers", "the numbers above zero"))
NEGATIVE = Part("negative", "x < 0", ("the negative numbers", "the numbers below zero"))
ABOVE = Part("above", "x > $k", ("the numbers above $k", "the numbers greater than $k"), SMALL)
BELOW = Part("below", "x < $k", ("the numbers below $k", "the numbers less than $k"), SMALL)
MULTIPLE = Part(
    "multiple", "x % $k == 0", ("the multiples of $k", "the numbers divisible by $k"), DIVISORS
)
NONZERO = Part("nonzero", "x != 0", ("the nonzero numbers", "the numbers other than zero"))
SIZE = Part(
    "near",
    "abs(x) < $k",
    ("the numbers with size below $k", "the numbers of size less than $k"),
    SMALL,
)

LIST = Family(
    name="list",
    slots={
        "filter": (EVEN, ODD, POSITIVE, NEGATIVE, ABOVE, BELOW, MULTIPLE, NONZERO, SIZE),
        "map": (
            Part("self", "x", ("$filter",), word=""),
            Part("square", "x * x", ("the squares of $filter",)),
            Part("double", "x * 2", ("the doubles of $filter", "twice $filter")),
            Part("plus", "x + $k", ("$k plus $filter",), SMALL),
            Part("negated", "-x", ("the negatives of $filter",)),
            Part("size", "abs(x)", ("the absolute values of $filter", "the sizes of $filter")),
            Part("half", "x // 2", ("the halves of $filter rounded down",)),
            Part("cube", "x ** 3", ("the cubes of $filter",)),
        ),
        "fold": (
            Part("sum", "sum($each)", ("the sum of $map", "the total of $map")),
            Part(
                "max",
                "max(($each), default=0)",
                ("the largest of $map or 0", "the maximum of $map or 0"),
            ),
            Part(
                "min",
                "min(($each), default=0)",
                ("the smallest of $map or 0", "the minimum of $map or 0"),
            ),
            Part(
                "sorted",
                "sorted($each)",
                ("the sorted list of $map", "a list of $map in rising order"),
            ),
            Part("list", "[$each]", ("the list of $map", "a list with $map")),
            Part("distinct", "len({$each})", ("the number of different values among $map",)),
        ),
    },
    sentences=("$fold in $0", "$fold from $0"),
    body="return $fold",
    clauses={"each": "$map for x in $0 if $filter"},
    arguments=arguments.one_list,
    nouns=("numbers",),
)

TWO_LISTS = Family(
    name="two lists",
    slots={
        "filter": (
            Part("larger", "a > b", ("where a is larger than b", "with a above b")),
            Part("smaller", "a < b", ("where a is smaller than b", "with a below b")),
            Part("equal", "a == b", ("where a equals b", "with a equal to b")),
            Part("differ", "a != b", ("where a differs from b", "with a other than b")),
            Part("even", "(a + b) % 2 == 0", ("with an even sum", "whose sum is even")),
            Part("big", "a + b > $k", ("with a sum above $k", "whose sum is above $k"), SMALL),
        ),
        "map": (
            Part("sums", "a + b", ("a plus b", "a + b")),
            Part("gaps", "a - b", ("a minus b", "a - b")),
            Part("products", "a * b", ("a times b", "a * b")),
            Part("larger", "max(a, b)", ("max(a, b)", "the larger"), word="tops"),
            Part("lower", "min(a, b)", ("min(a, b)", "the smaller"), word="lows"),
            Part("firsts", "a", ("a",)),
            Part("seconds", "b", ("b",)),
        ),
        "fold": (
            Part("sum", "sum($each)", ("the sum of $map", "the total of $map")),
            Part(
                "max",
                "max(($each), default=0)",
                ("the largest $map or 0", "the maximum of $map or 0"),
            ),
            Part("list", "[$each]", ("the list of $map", "a list with $map")),
            Part("sorted", "sorted($each)", ("the sorted list of $map",)),
            Part(
                "distinct",
                "len({$each})",
                ("the number of different $map", "how many different $map"),
            ),
        ),
    },
    sentences=("$fold for a, b from $0 and $1 $filter", "$fold for pairs from $0 and $1 $filter"),
    body="return $fold",
    clauses={"each": "$map for a, b in zip($0, $1) if $filter"},
    arguments=arguments.two_lists,
    nouns=("numbers", "numbers"),
)

SORTING = Family(
    name="sorting",
    slots={
        "filter": (EVEN, ODD, POSITIVE, ABOVE, NONZERO),
        "key": (
            Part("value", "x", ("value",), word=""),
            Part("size", "abs(x)", ("absolute value", "size")),
            Part("digit", "abs(x) % 10", ("last digit",)),
            Part("rest", "x % $k", ("remainder by $k", "the rest modulo $k"), DIVISORS),
            Part("distance", "abs(x - $k)", ("distance from $k", "distance to $k"), SMALL),
        ),
        "order": (
            Part("rising", "", ("rising", "smallest first"), word=""),
            Part("falling", ", reverse=True", ("falling", "largest first")),
        ),
        "pick": (
            Part("all", "", ("$filter",), word=""),
            Part(
                "first",
                "[:$k]",
                ("the first $k of $filter", "the leading $k of $filter"),
                (1, 2, 3),
            ),
            Part("last", "[-$k:]", ("the last $k of $filter",), (1, 2, 3)),
            Part("alternate", "[::2]", ("every second one of $filter",)),
            Part("rest", "[1:]", ("all but the first of $filter",), word="tail"),
        ),
    },
    sentences=("$pick in $0 sorted by $key, $order", "$pick in $0 ordered by $key, $order"),
    body="$0 = [x for x in $0 if $filter]\nreturn sorted($0, key=lambda x: $key$order)$pick",
    arguments=arguments.one_list,
    nouns=("numbers",),
)

TWO_POINTERS = Family(
    name="two pointers",
    slots={
        "filter": (
            Part("equal", "$0[left] == $0[right]", ("are equal", "are the same")),
            Part("differ", "$0[left] != $0[right]", ("differ", "are different")),
            Part("falling", "$0[left] > $0[right]", ("fall", "have the larger left number")),
            Part("rising", "$0[left] < $0[right]", ("rise", "have the larger right number")),
            Part(
                "even",
                "($0[left] + $0[right]) % 2 == 0",
                ("have an even sum", "add up to an even number"),
            ),
            Part(
                "big",
                "$0[left] + $0[right] > $k",
                ("have a sum above $k", "add up to more than $k"),
                SMALL,
            ),
        ),
        "map": (
            Part("sums", "$0[left] + $0[right]", ("sums",)),
            Part("products", "$0[left] * $0[right]", ("products",)),
            Part("gaps", "$0[left] - $0[right]", ("differences",)),
            Part("lefts", "$0[left]", ("left numbers",)),
            Part("rights", "$0[right]", ("right numbers",)),
            Part("tops", "max($0[left], $0[right])", ("larger numbers",)),
        ),
        "fold": (
            Part("sum", "total += $map", ("the sum of $map", "the total of $map")),
            Part("list", "total.append($map)", ("the list of $map", "a list with $map"), zero="[]"),
            Part(
                "max",
                "total = max(total, $map)",
                ("the largest of $map or 0", "the maximum of $map or 0"),
            ),
            Part("minus", "total -= $map", ("0 minus $map", "zero less $map")),
        ),
    },
    sentences=(
        "$fold for opposite pairs in $0 that $filter",
        "$fold for mirrored pairs of $0 that $filter",
    ),
    body=(
        "left, right = 0, len($0) - 1\ntotal = $zero\nwhile left < right:\n"
        "    if $filter:\n        $fold\n"
        "    left += 1\n    right -= 1\nreturn total"
    ),
    arguments=arguments.mirrored_list,
    nouns=("numbers",),
)

FAMILIES = (LIST, TWO_LISTS, SORTING, TWO_POINTERS)
