"""Families about text: words, single characters, numbers and pairs written into a line."""

from models.starter.recipe import arguments
from models.starter.recipe.grammar import Family, Part

SMALL = (2, 3, 4, 5, 6, 7, 8, 9)
LETTERS = ("a", "e", "o", "r", "t")

STRING = Family(
    name="string",
    slots={
        "filter": (
            Part(
                "long",
                "len(w) > $k",
                ("longer than $k letters", "with more than $k letters"),
                (3, 4, 5),
            ),
            Part(
                "short",
                "len(w) < $k",
                ("shorter than $k letters", "with fewer than $k letters"),
                (4, 5, 6),
            ),
            Part("with", '"$k" in w', ("with an $k in them", "that contain an $k"), LETTERS),
            Part("without", '"$k" not in w', ("without an $k", "that have no $k"), LETTERS),
            Part("starting", 'w[0] == "$k"', ("starting with $k", "that start with $k"), LETTERS),
            Part("ending", 'w[-1] == "$k"', ("ending in $k", "that end in $k"), LETTERS),
            Part("mirrored", "w == w[::-1]", ("that are palindromes", "equal to their reverse")),
            Part("even", "len(w) % 2 == 0", ("of even length", "with an even number of letters")),
        ),
        "map": (
            Part("self", "w", ("the words",), word="words"),
            Part("upper", "w.upper()", ("the words in capitals", "the upper-case words")),
            Part("reversed", "w[::-1]", ("the reversed words",)),
            Part(
                "initial", "w[0]", ("the first letters of the words", "the initials of the words")
            ),
            Part("final", "w[-1]", ("the last letters of the words",)),
            Part("doubled", "w * 2", ("the words written twice", "the doubled words")),
            Part("capital", "w.capitalize()", ("the capitalized words",)),
            Part("tail", "w[1:]", ("the words without their first letter",)),
        ),
        "join": (
            Part(
                "spaces",
                '" ".join($each)',
                ("joined by spaces", "with spaces between"),
                word="join",
            ),
            Part(
                "dashes",
                '"-".join($each)',
                ("joined by dashes", "with dashes between"),
                word="dash",
            ),
            Part(
                "commas",
                '",".join($each)',
                ("joined by commas", "with commas between"),
                word="comma",
            ),
            Part(
                "nothing",
                '"".join($each)',
                ("joined without spaces", "with nothing between"),
                word="glue",
            ),
            Part("list", "[$each]", ("as a list", "in a list")),
            Part("sorted", "sorted($each)", ("as a sorted list", "sorted in a list")),
        ),
    },
    sentences=("$map of $0 $filter, $join", "$map in $0 $filter, $join"),
    body="return $join",
    clauses={"each": "$map for w in $0.split() if $filter"},
    arguments=arguments.sentence,
    nouns=("text",),
)

CHARACTERS = Family(
    name="characters",
    slots={
        "test": (
            Part("vowels", 'c in "aeiou"', ("vowels", "small vowels")),
            Part("digits", "c.isdigit()", ("digits",)),
            Part("capitals", "c.isupper()", ("capitals", "upper-case letters")),
            Part("small", "c.islower()", ("small letters", "lower-case letters")),
            Part("letters", "c.isalpha()", ("letters",)),
            Part("spaces", "c.isspace()", ("spaces", "blanks")),
            Part("signs", "not c.isalnum()", ("signs", "characters other than letters and digits")),
            Part("one", 'c == "$k"', ("characters $k", "letters $k"), LETTERS, word="same"),
        ),
        "view": (
            Part("whole", "$0", ("$0",), word=""),
            Part(
                "tail", "$0[1:]", ("$0 without its first character", "$0 after the first character")
            ),
            Part(
                "front", "$0[:-1]", ("$0 without its last character", "$0 up to its last character")
            ),
            Part("alternate", "$0[::2]", ("every second character of $0",)),
            Part("backwards", "$0[::-1]", ("$0 read backwards", "the reverse of $0")),
        ),
        "result": (
            Part(
                "count",
                "sum(1 for c in $view if $test)",
                ("the number of $test in $view", "how many $test are in $view"),
            ),
            Part(
                "keep",
                '"".join(c for c in $view if $test)',
                ("only the $test of $view", "just the $test of $view"),
            ),
            Part(
                "drop",
                '"".join("" if $test else c for c in $view)',
                ("a copy without $test of $view",),
            ),
            Part(
                "hide",
                '"".join("*" if $test else c for c in $view)',
                ("a copy with stars for $test of $view",),
            ),
            Part(
                "double",
                '"".join(c * 2 if $test else c for c in $view)',
                ("a copy with doubled $test of $view",),
            ),
            Part(
                "places",
                "[i for i, c in enumerate($view) if $test]",
                ("the indices of $test in $view",),
            ),
            Part(
                "distinct",
                "len({c for c in $view if $test})",
                ("the number of different $test in $view",),
            ),
            Part(
                "sorted",
                "sorted(c for c in $view if $test)",
                ("a sorted list of the $test in $view",),
            ),
        ),
    },
    sentences=("$result",),
    body="return $result",
    arguments=arguments.characters,
    nouns=("text",),
)

NUMBER_FILTERS = (
    Part("even", "int(p) % 2 == 0", ("the even numbers",)),
    Part("odd", "int(p) % 2 == 1", ("the odd numbers",)),
    Part("above", "int(p) > $k", ("the numbers above $k", "the numbers greater than $k"), SMALL),
    Part("below", "int(p) < $k", ("the numbers below $k", "the numbers less than $k"), SMALL),
    Part("negative", "int(p) < 0", ("the negative numbers", "the numbers below zero")),
)

NUMBERS_IN_TEXT = Family(
    name="numbers in text",
    slots={
        "split": (
            Part("commas", '","', ("commas",), separator=(",", ","), word="comma"),
            Part("semicolons", '";"', ("semicolons",), separator=(",", ";"), word="semicolon"),
            Part("bars", '"|"', ("bars", "vertical bars"), separator=(",", "|"), word="bar"),
            Part("colons", '":"', ("colons",), separator=(",", ":"), word="colon"),
        ),
        "filter": NUMBER_FILTERS,
        "map": (
            Part("self", "int(p)", ("$filter",), word=""),
            Part("double", "int(p) * 2", ("the doubles of $filter", "twice $filter")),
            Part("plus", "int(p) + $k", ("$k plus $filter",), SMALL),
            Part("square", "int(p) ** 2", ("the squares of $filter",)),
            Part("negated", "-int(p)", ("the negatives of $filter",)),
        ),
        "fold": (
            Part("sum", "sum($each)", ("the sum of $map", "the total of $map")),
            Part(
                "max",
                "max(($each), default=0)",
                ("the largest of $map or 0", "the maximum of $map or 0"),
            ),
            Part("list", "[$each]", ("the list of $map", "a list with $map")),
            Part("sorted", "sorted($each)", ("the sorted list of $map",)),
        ),
    },
    sentences=("$fold in the text $0 split at $split", "$fold written in $0 between $split"),
    body="return $fold",
    clauses={"each": "$map for p in $0.split($split) if $filter"},
    arguments=arguments.joined_numbers,
    nouns=("text",),
)

PAIRS_IN_TEXT = Family(
    name="pairs in text",
    slots={
        "split": (
            Part("semicolons", '";"', ("semicolons",), separator=(";", ";"), word="semicolon"),
            Part("commas", '","', ("commas",), separator=(";", ","), word="comma"),
            Part("bars", '"|"', ("bars",), separator=(";", "|"), word="bar"),
        ),
        "inner": (
            Part("equals", '"="', ("a=1",), separator=("=", "="), word=""),
            Part("colon", '":"', ("a:1",), separator=("=", ":"), word="colon"),
        ),
        "filter": (
            Part("even", "int(v) % 2 == 0", ("with even numbers", "whose number is even")),
            Part("odd", "int(v) % 2 == 1", ("with odd numbers", "whose number is odd")),
            Part(
                "above", "int(v) > $k", ("with numbers above $k", "whose number is above $k"), SMALL
            ),
            Part(
                "below", "int(v) < $k", ("with numbers below $k", "whose number is below $k"), SMALL
            ),
            Part(
                "long",
                "len(k) > $k",
                ("with names longer than $k", "whose name is longer than $k"),
                (2, 3),
            ),
        ),
        "result": (
            Part(
                "table",
                "{k: int(v) for k, v in $0 if $filter}",
                ("a dictionary", "the dictionary"),
                word="dict",
            ),
            Part("sum", "sum(int(v) for k, v in $0 if $filter)", ("the summed numbers", "the sum")),
            Part("names", "[k for k, v in $0 if $filter]", ("the names", "the listed names")),
            Part(
                "numbers",
                "[int(v) for k, v in $0 if $filter]",
                ("the numbers", "the listed numbers"),
            ),
            Part("sorted", "sorted(k for k, v in $0 if $filter)", ("the sorted names",)),
            Part("count", "sum(1 for k, v in $0 if $filter)", ("the count", "the number")),
        ),
    },
    sentences=(
        "$result of pairs like $inner in $0, split at $split, $filter",
        "$result of pairs like $inner in $0 between $split $filter",
    ),
    body="$0 = [p.split($inner) for p in $0.split($split)]\nreturn $result",
    arguments=arguments.joined_pairs,
    nouns=("text",),
)

FAMILIES = (STRING, CHARACTERS, NUMBERS_IN_TEXT, PAIRS_IN_TEXT)
