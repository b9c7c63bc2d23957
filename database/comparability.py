"""Why two scores do not compare, in words. Every function is pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

NOTHING = "none"
LONGEST = 40
"""Characters of a value that a sentence carries."""
WORDS = {
    "prompt": "another prompt form",
    "stop": "other stop strings",
    "sha256": "another file of the benchmark",
    "benchmark": "another kind of problems",
    "split": "another split of the benchmark",
    "problems": "another number of problems",
    "since": "problems from another day on",
    "until": "problems up to another day",
    "converted": "problems made by another version of the converter",
    "completions": "another number of completions",
    "temperature": "another temperature",
    "top_p": "another top-p",
    "top_k": "another top-k",
    "max_new_tokens": "another limit of tokens",
    "precision": "another precision",
    "extract": "another extraction",
    "preamble": "another preamble",
    "limits": "other limits",
    "interpreter": "another Python",
    "isolation": "another isolation",
    "judge_version": "another version of the judge",
}
"""By the keys of contracts; a key that is not here is said as it is."""
UNSAID = frozenset({"sha256", "stop", "limits"})
"""Keys whose values say little in a sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What both parts of a contract say."""

    asking: Mapping[str, Any]
    judging: Mapping[str, Any]


def what_differs(ours: Contents, theirs: Contents) -> list[str]:
    """What two contracts differ in, each in words: ours / theirs; empty: nothing.

    What both parts tell, the benchmark's file for one, is said once.
    """
    asked = {f"asked with {said}": key for key, said in _apart(ours.asking, theirs.asking)}
    judged = {
        f"judged with {said}": key
        for key, said in _apart(ours.judging, theirs.judging)
        if key not in asked.values()
    }
    return [*asked, *judged]


def unjudged(ours: tuple[int, int], theirs: tuple[int, int]) -> str:
    """Which side has problems without a verdict; empty: neither has.

    Args:
        ours: problems judged and asked.
        theirs: the same of the base.
    """
    sides = (("of this run", ours), ("of its base", theirs))
    said = [
        f"{judged} of {asked} problems {whose} judged"
        for whose, (judged, asked) in sides
        if judged != asked
    ]
    return " and ".join(said)


def _apart(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The keys in which two parts differ, in our order first, with what is said of each."""
    for key in [*ours, *(key for key in theirs if key not in ours)]:
        mine, other = ours.get(key), theirs.get(key)
        if mine == other:
            continue
        said = WORDS.get(key, f"another {key.replace('_', ' ')}")
        if key not in UNSAID:
            said += f": {_sides(_value(mine), _value(other))}"
        yield key, said


def _sides(mine: str, other: str) -> str:
    return f"{mine} / {other}" if mine != other else f"{mine}, in other words"


def _value(value: Any) -> str:
    """A value in a sentence; of a prompt contract, which is long, its name and version."""
    if value in (None, "", [], {}):
        return NOTHING
    text = str(value)
    if isinstance(value, Mapping) and "name" in value:
        text = f"{value['name']} version {value.get('version', '?')}"
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."
