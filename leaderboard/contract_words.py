"""What a contract says, in words. Every function is pure."""

from collections.abc import Mapping
from typing import Any

from database.comparability import Contents
from leaderboard.words import count, plain

ASKING = {
    "prompt": "Prompt",
    "stop": "An answer ends before",
    "completions": "Answers to each problem",
    "temperature": "Temperature (0: the likeliest token)",
    "top_p": "Tokens are drawn from this mass",
    "top_k": "Tokens are drawn from the likeliest (0: all)",
    "max_new_tokens": "Tokens of an answer at most",
    "precision": "Precision",
    "engine": "What writes the answers",
    "engine_version": "Its version",
    "problems": "Only the first problems",
    "since": "Only problems from this day on",
    "until": "Only problems up to this day",
    "benchmark": "Kind of problems",
    "split": "Split",
    "converted": "Version of the converter of the problems",
    "made": "Where answers were made",
    "sha256": "The benchmark's file, how its sha256 begins",
}
JUDGING = {
    "extract": "How the program is found in an answer",
    "preamble": "Code put before every program",
    "interpreter": "Python",
    "isolation": "Isolation",
    "judge_version": "Version of the judge",
    "benchmark": "Kind of problems",
    "split": "Split",
    "sha256": "The benchmark's file, how its sha256 begins",
}
LIMITS = {
    "cpu_seconds": "CPU seconds at least, for all tests of an answer",
    "cpu_factor": "CPU time: times that of the problem's reference",
    "wall_seconds": "Seconds by the clock at least",
    "memory_mib": "Memory, MiB",
    "processes": "Processes and threads at once",
    "file_mib": "Files, MiB",
    "output_kib": "Output, KiB",
    "test_seconds": "CPU seconds more for each further test",
}
LONGEST, DIGITS = 300, 12
"""Characters of a value and of a hash in a table; the whole stands below it."""


def sampling(asking: Mapping[str, Any]) -> str:
    """Return `5 answers each, temperature 0.2, prompt alpaca`: as far as the contract says it."""
    said = []
    if number := asking.get("completions"):
        said.append(f"{count(int(number), 'answer')} each")
    if asking.get("temperature") is not None:
        warm = float(asking["temperature"])
        said.append(f"temperature {warm:g}" if warm else "greedy (temperature 0)")
    if prompt := prompt_name(asking.get("prompt")):
        said.append(f"prompt {prompt}")
    if asking.get("made"):
        said.append(f"made {asking['made']}")
    return ", ".join(said)


def judged(judging: Mapping[str, Any]) -> str:
    """Return `judge version 3, Python 3.11`: as far as the contract says it."""
    named = {"judge_version": "judge version", "interpreter": "Python"}
    return ", ".join(f"{word} {judging[key]}" for key, word in named.items() if judging.get(key))


def prompt_name(prompt: object) -> str:
    """Return `alpaca version 2`; contracts of an older version name the form alone."""
    if isinstance(prompt, Mapping):
        version = prompt.get("version")
        return f"{prompt.get('name', '?')}{f' version {version}' if version else ''}"
    return str(prompt) if prompt else ""


def asking_rows(contents: Contents) -> list[dict[str, str]]:
    """Return how models were asked, a row for each part of it; cells are Markdown."""
    return _rows(contents.asking, ASKING)


def judging_rows(contents: Contents) -> list[dict[str, str]]:
    """Return how answers were judged, limits last; cells are Markdown."""
    rest = {name: value for name, value in contents.judging.items() if name != "limits"}
    limits = contents.judging.get("limits")
    return _rows(rest, JUDGING) + (_rows(limits, LIMITS) if isinstance(limits, Mapping) else [])


def _rows(content: Mapping[str, Any], names: Mapping[str, str]) -> list[dict[str, str]]:
    order = [*(key for key in names if key in content), *(k for k in content if k not in names)]
    return [
        {"What": plain(names.get(key, key.replace("_", " "))), "Value": _value(key, content[key])}
        for key in order
        if content[key] is not None
    ]


def _value(key: str, value: object) -> str:
    if key == "prompt":
        text = prompt_name(value)
    elif key == "sha256":
        text = f"{value}"[:DIGITS]
    elif isinstance(value, list):
        text = ", ".join(repr(part) if isinstance(part, str) else str(part) for part in value)
    else:
        text = str(value)
    text = text or "none"
    return plain(text if len(text) <= LONGEST else f"{text[:LONGEST]}...")
