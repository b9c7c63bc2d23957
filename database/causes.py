"""Why a publisher's verdict may differ from ours, as far as what is recorded shows it.

A reading of details that are written for people, and for people itself: nothing is counted by it.
"""

import re
from collections.abc import Sequence

OTHER_TESTS = "judged by other tests than the benchmark file's"
OWN_NAME = "its tests define a function of the same name themselves"
"""What an importer found out about the publisher's tests, as a part of the verdict's detail."""

_UNKNOWN_NAME = re.compile(r"NameError: name '(\w+)' is not defined")
_NO_MODULE = re.compile(r"ModuleNotFoundError: No module named '([\w.]+)'")
_NUMBERS = re.compile(r"returned (-?[\d.e+-]+), expected (-?[\d.e+-]+)")
_DEFINED = re.compile(r"^def (\w+)", re.MULTILINE)
_TIMED_OUT = re.compile(r"\btimed?[ _-]?out\b|\btime limit\b", re.IGNORECASE)
_NOT_DEFINED = re.compile(r"NameError: the program defines no '(\w+)'")
_CLOSE = 1e-4
_ENDED = {
    "timed_out": "our time limit",
    "out_of_memory": "our memory limit",
    "output_limit": "our limit on output",
    "crashed": "it crashes here",
}


def why_ours_fails(outcome: str, detail: str, said: str) -> str:
    """Return why an answer that its publisher lets pass may fail here.

    Args:
        outcome: of our verdict.
        detail: of our verdict.
        said: the publisher's words.
    """
    if outcome in _ENDED:
        return _ENDED[outcome]
    if name := _UNKNOWN_NAME.search(detail):
        return f"{name[1]} is not in scope here; a preamble may put it there"
    if module := _NO_MODULE.search(detail):
        return f"the sandbox has no package {module[1]}"
    if lacking := _NOT_DEFINED.search(detail):
        return f"it does not define {lacking[1]}, which our tests call"
    if _nearly(detail):
        return "numbers that are nearly equal: a tolerance there"
    return _about_tests(said) or "our tests find it wrong"


def why_theirs_fails(said: str, lacking: Sequence[str], preamble: str) -> str:
    """Return why an answer that its publisher fails may pass here.

    Args:
        said: the publisher's words.
        lacking: `helpers_left_out` of the answer.
        preamble: of our contract.
    """
    if known := _about_tests(said):
        return known
    if _TIMED_OUT.search(said):
        return "a time limit there"
    if lacking:
        return f"it leaves out the prompt's {', '.join(lacking)}, which our judge has"
    if preamble != "none":
        return f"our preamble ({preamble}) may put a name in scope that was not there"
    return "our tests find nothing wrong"


def helpers_left_out(prompt: str, program: str) -> list[str]:
    """Return functions that a prompt defines before the one it asks for, and a program lacks."""
    defined = set(_DEFINED.findall(program))
    return [name for name in _DEFINED.findall(prompt)[:-1] if name not in defined]


def _about_tests(said: str) -> str:
    return next((known for known in (OTHER_TESTS, OWN_NAME) if known in said), "")


def _nearly(detail: str) -> bool:
    """Whether a result was refused that is a number next to the one expected."""
    found = _NUMBERS.search(detail)
    try:
        ours, wanted = (float(number) for number in found.groups()) if found else (0.0, 1.0)
    except ValueError:
        return False
    return abs(ours - wanted) <= _CLOSE * max(1.0, abs(wanted))
