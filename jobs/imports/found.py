"""What readers of other people's files find: answers matched to problems, and what was left out."""

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

from eval_sandbox.benchmarks import problem_id
from eval_sandbox.mistakes import Mistakes
from eval_sandbox.problem import Problem
from jobs.declared import nearest

_DEFINED = re.compile(r"^(?:async )?def (\w+)", re.MULTILINE)
_TRUE = re.compile(r"pass(ed)?|true|yes|success|succeeded|solved|correct|accepted|ac|ok|1")
_FALSE = re.compile(
    r"fail(s|ed|ure)?|false|no|wrong( answer)?|wa|incorrect|unsolved|rejected|error(ed)?|crashed"
    r"|exception|time ?out|timed out|(time|memory|output) limit( exceeded)?|tle|mle|out of memory"
    r"|(runtime|compile|compilation|syntax) error|rte|ce|0"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One answer of somebody else's file, and what its publisher says of it."""

    problem: Problem
    text: str
    whole: bool
    """True: a whole program. False: it continues the problem's prompt."""
    passed: bool | None = None
    """The publisher's verdict; None: there is none."""
    said: str = ""
    """More of that verdict, in the publisher's words."""


class Questions:
    """The problems of a benchmark, found by what other people's files call them."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.all = tuple(problems)
        self._by_id = {problem_id(problem.task_id): problem for problem in problems}
        self._by_text: dict[str, Problem] = {}
        self._by_name: dict[str, list[Problem]] = defaultdict(list)
        for problem in problems:
            for text in filter(None, map(_words, (problem.prompt, problem.instruction))):
                self._by_text.setdefault(text, problem)
            self._by_name[problem.entry_point].append(problem)

    def by_id(self, task_id: str | int) -> Problem | None:
        """The problem of an id in any of its published spellings."""
        return self._by_id.get(problem_id(task_id))

    def by_prompt(self, prompt: str) -> Problem | None:
        """The problem that a prompt asks, though its examples may have been taken out.

        The same words; else a problem whose function the prompt defines, of several the one whose
        text is most alike.
        """
        same = self._by_text.get(_words(prompt))
        if same is not None or not prompt.strip():
            return same
        defined = _DEFINED.findall(prompt)
        named = self._by_name.get(defined[-1], []) if defined else []
        return max(named, key=lambda problem: _alike(problem.prompt, prompt), default=None)

    def near(self, task_id: str | int) -> str:
        """` Did you mean 'x'?`, or nothing where no id is much like it."""
        name = str(task_id)[:200]
        close = nearest(name, [problem.task_id for problem in self.all])
        return close if close.startswith(" Did") else ""


@dataclass(kw_only=True, slots=True)
class Source:
    """One file while it is read: what may be answered in it, and what was wrong or left out."""

    path: Path
    questions: Questions
    mistakes: Mistakes
    plus: bool = False
    """Whether the benchmark's own tests are evalplus's, and not only those it began with."""
    verdicts: Path | None = None
    """Another file, with the publisher's verdicts."""
    fields: Mapping[str, str] = field(default_factory=dict)
    """What we need -> where it stands in a record, as `doc.id`."""
    left_out: Counter[str] = field(default_factory=Counter)
    """Why -> answers."""
    unknown: str = ""
    """The first answer to no problem of ours, with its place, for people."""

    def problem(self, task_id: str | int, line: int | None = None) -> Problem | None:
        """The problem of an id; one that the benchmark lacks is counted."""
        found = self.questions.by_id(task_id)
        if found is None:
            self.lacks(task_id, line)
        return found

    def lacks(self, named: str | int, line: int | None = None, answers: int = 1) -> None:
        """Count answers to a problem, by its id or prompt, that the benchmark's file lacks."""
        self.left_out["to problems that the benchmark's file lacks"] += answers
        if not self.unknown:
            place = f"{self.path}, line {line}" if line else f"{self.path}"
            hint = self.questions.near(named)
            self.unknown = f"{place}: the benchmark has no problem {str(named)[:200]!r}.{hint}"


def truth(value: Any) -> bool | None:
    """What a verdict in somebody else's words says; None: nothing that is known."""
    match value:
        case bool():
            return value
        case int() | float():
            return {0.0: False, 1.0: True}.get(value)
        case str():
            verdict = value.split(":")[0]  # human-eval writes `failed: why`
            word = _words(verdict.lower().replace("_", " ").replace("-", " "))
            return True if _TRUE.fullmatch(word) else False if _FALSE.fullmatch(word) else None
    return None


def _words(text: str) -> str:
    return " ".join(text.split())


def _alike(ours: str, theirs: str) -> float:
    return SequenceMatcher(None, _words(ours)[:4000], _words(theirs)[:4000], False).ratio()
