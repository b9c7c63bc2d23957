"""Questions to begin with, each with tests of its own."""

from leaderboard.own_cases import OwnProblem

EXAMPLES = {
    "Even squares": OwnProblem(
        instruction="Write a function `sum_even_squares(numbers)` that returns the sum of the "
        "squares of the even numbers in `numbers`.",
        signature="def sum_even_squares(numbers):",
        tests=("sum_even_squares([1, 2, 4]) == 20", "sum_even_squares([]) == 0"),
    ),
    "Two numbers": OwnProblem(
        instruction="Write a function `two_sum(numbers, target)` that returns the positions of the "
        "two numbers that add up to `target`, the smaller position first, or None where there are "
        "no such two.",
        signature="def two_sum(numbers, target):",
        tests=(
            "list(two_sum([2, 7, 11, 15], 9)) == [0, 1]",
            "list(two_sum([3, 3], 6)) == [0, 1]",
            "two_sum([1, 2], 9) is None",
        ),
    ),
    "Read CSV": OwnProblem(
        instruction="Write a function `parse_csv(text)` that returns the rows of a text of comma "
        "separated values as dictionaries; the first line has the names.",
        signature="def parse_csv(text):",
        tests=(
            "parse_csv('a,b\\n1,2\\n3,4') == [{'a': '1', 'b': '2'}, {'a': '3', 'b': '4'}]",
            "parse_csv('a,b') == []",
        ),
    ),
    "Brackets": OwnProblem(
        instruction="Write a function `is_balanced(text)` that tells whether every bracket in "
        "`text`, round, square or curly, is closed by its own kind and in the right order.",
        signature="def is_balanced(text):",
        tests=(
            "is_balanced('a(b[c]{d})') is True",
            "is_balanced('(]') is False",
            "is_balanced('((') is False",
        ),
    ),
    "Roman numbers": OwnProblem(
        instruction="Write a function `roman(number)` that returns a whole number from 1 to 3999 "
        "in Roman numerals.",
        signature="def roman(number):",
        tests=("roman(4) == 'IV'", "roman(1994) == 'MCMXCIV'", "roman(3999) == 'MMMCMXCIX'"),
    ),
}
