"""Problems of programming contests, published with solutions and tests."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

from jobs.data.code import parse
from jobs.data.draft import (
    Draft,
    Drafts,
    Form,
    UnfitError,
    Values,
    items,
    optional,
    text,
    texts,
    value,
)
from jobs.data.origin import Source

_PYTHON_3 = 3
"""`PYTHON3` of `solutions.language`, as the card of deepmind/code_contests numbers them."""
_TEST_SETS = ("public_tests", "private_tests", "generated_tests")
_PROGRAM = "Write a Python program that reads from standard input and prints to standard output."


def _leetcode(values: Values, source: Source) -> Drafts:
    """LeetCodeDataset (arXiv:2504.14655).

    The published `query` has a prompt of its own around description and starter code; ours is put
    around them where the model is trained. `completion` is the code that LeetCode accepted.
    """
    asked = text(values, "problem_description").strip()
    starter = text(values, "starter_code").strip("\n")
    check, called = text(values, "test"), text(values, "entry_point")
    yield Draft(
        instruction=f"{asked}\n\nComplete this code:\n```python\n{starter}\n```",
        response=text(values, "completion").strip("\n") + "\n",
        preamble=text(values, "prompt"),
        tests=[f"{check.rstrip()}\n\ncheck({called})\n"],
    )


def _code_contests(values: Values, source: Source) -> Drafts:
    """CodeContests (Li et al. 2022): the first solutions that Python 3 can read."""
    _require_rating(values, source)
    if optional(values, "input_file") or optional(values, "output_file"):
        raise UnfitError("files", f"reads or writes a file: {optional(values, 'input_file')}")
    asked = f"{text(values, 'description').strip()}\n\n{_PROGRAM}"
    tests = _tests(values, source)
    found = list(islice(_programs(values), source.solutions))
    if not found:
        raise UnfitError("no_python", "none of its solutions is Python 3")
    for number, program in enumerate(found, 1):
        within = str(number) if len(found) > 1 else ""
        yield Draft(instruction=asked, response=program, tests=tests, within=within)


def _require_rating(values: Values, source: Source) -> None:
    if source.rating is None:
        return
    lowest, highest = source.rating
    rating = value(values, "cf_rating")
    if not isinstance(rating, int | float):
        raise UnfitError("not_a_number", f"cf_rating is {rating!r}"[:80])
    if not lowest <= rating <= highest:
        raise UnfitError("rating", f"{rating}; 0 is unrated")


def _programs(values: Values) -> Iterator[str]:
    """Distinct solutions in their order; some that are marked Python 3 are Python 2."""
    languages = items(values, "solutions.language")
    programs = texts(values, "solutions.solution")
    seen: set[str] = set()
    for language, program in zip(languages, programs, strict=False):
        tidy = program.replace("\r\n", "\n").strip() + "\n"
        if language == _PYTHON_3 and tidy not in seen and parse(tidy) is not None:
            seen.add(tidy)
            yield tidy


def _tests(values: Values, source: Source) -> list[Any]:
    """The first tests that fit: a quarter of the bytes of a row, and `source.tests` of them."""
    chosen: list[Any] = []
    left = source.largest // 4
    for name in _TEST_SETS:
        given, expected = texts(values, f"{name}.input"), texts(values, f"{name}.output")
        for stdin, stdout in zip(given, expected, strict=False):
            size = sum(len(text.encode(errors="surrogatepass")) for text in (stdin, stdout))
            if len(chosen) < source.tests and size <= left:
                chosen.append({"stdin": stdin, "stdout": stdout})
                left -= size
    return chosen


LEETCODE = Form(
    columns=lambda source: (
        "problem_description",
        "starter_code",
        "prompt",
        "completion",
        "entry_point",
        "test",
    ),
    drafts=_leetcode,
)
CODE_CONTESTS = Form(
    columns=lambda source: ("description", "solutions", *_TEST_SETS, "cf_rating"),
    drafts=_code_contests,
    also=("input_file", "output_file"),
)
