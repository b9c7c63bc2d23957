"""Test cases in other people's shapes, as problems: one door for benchmarks, filters and try-it.

`eval_sandbox` reads what benchmarks publish and the custom form; these forms are converted to the
custom form first, so that all of them are judged alike.
"""

import logging
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path

from eval_sandbox.benchmarks import BENCHMARKS, read_problems
from eval_sandbox.mistakes import InputError
from eval_sandbox.problem import Problem
from jobs import can_ai_code, contests, exercism_cases, livecodebench, unittest_cases
from jobs.custom_form import Converted, LeftOut
from jobs.declared import nearest

__all__ = ["FORMS", "Converted", "LeftOut", "convert", "read_cases", "within"]

LOGGER = logging.getLogger(__name__)
FORMS: dict[str, Callable[[Path], Converted]] = {
    "exercism": exercism_cases.convert,
    "exercism-python": unittest_cases.convert_exercism_python,
    "interactive-coding": unittest_cases.convert_interactive_coding,
    "can-ai-code": can_ai_code.convert,
    "livecodebench": livecodebench.convert,
    "apps": contests.convert_apps,
    "code-contests": contests.convert_code_contests,
}
"""Form -> what converts it; beside these stand the forms of `eval_sandbox.benchmarks`."""
CONVERTERS_VERSION = 1
"""Raised by hand whenever the same file becomes other problems."""


def convert(form: str, path: Path) -> Converted:
    """The problems of a file in the custom form, and the cases that it cannot say.

    Args:
        form: one of `FORMS`.
        path: the file, plain or as .gz; `exercism` and `can-ai-code` also as a .zip of many.

    Raises:
        InputError: the file is not in that form.
    """
    return FORMS[form](path)


def read_cases(form: str, path: Path, split: str = "") -> tuple[Problem, ...]:
    """The problems of a file in any form that a recipe may name; what is left out is logged.

    Raises:
        InputError: there is no such form; or all that is wrong with the file.
    """
    if form in BENCHMARKS:
        return read_problems(form, path, split)
    if form not in FORMS:
        raise InputError(f"there is no form {form!r}.{nearest(form, (*BENCHMARKS, *FORMS))}")
    if split:
        raise InputError(f"{form} has no splits, so there is no {split!r}; leave it out")
    converted = convert(form, path)
    problems = converted.problems(path)
    if converted.left_out:
        LOGGER.warning("%s: %d problems. %s", path.name, len(problems), converted.told())
    return problems


def within(
    problems: Sequence[Problem], since: date | None, until: date | None
) -> tuple[Problem, ...]:
    """The problems that were published in a window, both days included.

    Those without a date are left out where a day is named, and nothing is where none is.
    """
    if since is None and until is None:
        return tuple(problems)
    first, last = since or date.min, until or date.max
    return tuple(p for p in problems if p.released is not None and first <= p.released <= last)
