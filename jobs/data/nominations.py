"""Which problems the code of a row may solve: only these pairs are run in the sandbox.

A function and a problem make a pair where the function takes as many arguments as the problem's
and, besides,

- `name`: both have the same name, but for case and underscores;
- `ngram8`: row and problem share eight words in a row;
- `arity`: they share rare words; of these problems the best few of each benchmark.
"""

import ast
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import log, sqrt
from typing import Literal

from eval_sandbox.problem import Call, Problem, Trials
from jobs.data.code import parse
from jobs.data.problem_texts import entry_of, question_of
from jobs.data.syntax import Function

By = Literal["name", "ngram8", "arity"]

_PART = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
_RARE = 0.1
"""A word is rare that at most this share of a benchmark's problems has."""
_LEAST_COSINE = 0.15
"""Below, row and problem share next to nothing, and most rows would be paired with something."""
_ANSWERED = 0.5
"""What a word counts that only the response has, beside one of the question: code has many."""
_NAME, _NGRAM = 2.0, 1.0
"""Strengths above all that shared words can reach."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Nomination:
    """A function of a row that may solve a problem."""

    benchmark: str
    task_id: str
    function: str
    """`add`, or `Solution.add` for a method."""
    by: By
    strength: float
    """Pairs are run from the strongest down: above 2 by name, above 1 by 8-gram; the rest is the
    cosine of row and problem over rare words."""


@dataclass(frozen=True, slots=True)
class _Candidate:
    """What is known of a problem."""

    benchmark: str
    task_id: str
    name: str
    fewest: int
    most: int
    name_words: frozenset[str]

    def fits(self, function: Function) -> bool:
        fewest, most = function.takes
        return fewest <= self.most and self.fewest <= most


@dataclass(frozen=True, slots=True)
class _Vocabulary:
    """The rare words of one benchmark's problems."""

    weights: Mapping[str, float]
    """Inverse document frequency, log((N + 1) / n): that of Sparck Jones 1972, with one text more,
    so that the words of a benchmark of one problem count."""
    unknown: float
    """Weight of a word that no problem has."""
    having: Mapping[str, tuple[tuple[int, float], ...]]
    """Word -> (problem, weight over the length of the problem's vector)."""

    def cosines(self, words: Mapping[str, float]) -> dict[int, float]:
        """Problem -> cosine with a text whose words count so much, where it is above the least."""
        reached: dict[int, float] = defaultdict(float)
        square = 0.0
        for word, factor in words.items():
            weight = factor * self.weights.get(word, self.unknown)
            square += weight * weight
            for place, share in self.having.get(word, ()):
                reached[place] += weight * share
        length = sqrt(square)
        least = _LEAST_COSINE * length
        return {place: value / length for place, value in reached.items() if value > least}


class Nominator:
    """Finds problems for functions. Picklable."""

    def __init__(self, benchmarks: Mapping[str, Sequence[Problem]]) -> None:
        self._candidates: list[_Candidate] = []
        self._vocabularies: list[_Vocabulary] = []
        self._by_name: dict[str, list[int]] = defaultdict(list)
        self._by_id: dict[tuple[str, str], int] = {}
        for benchmark, problems in benchmarks.items():
            first = len(self._candidates)
            texts = [set(_stems(f"{question_of(p)} {p.entry_point}")) for p in problems]
            self._vocabularies.append(_vocabulary(texts, first))
            self._candidates += [_candidate(benchmark, problem) for problem in problems]
        for place, candidate in enumerate(self._candidates):
            self._by_name[_plain(candidate.name)].append(place)
            self._by_id[candidate.benchmark, candidate.task_id] = place

    def nominate(
        self,
        asked: str,
        answered: str,
        functions: Sequence[Function],
        shared: Iterable[tuple[str, str]],
        *,
        by: Iterable[By],
        arity_pairs: int,
    ) -> list[Nomination]:
        """Pairs of one row, strongest first; each function and problem once.

        Args:
            asked: instruction and input of the row.
            answered: its response.
            functions: those of its code.
            shared: (benchmark, task_id) of problems that the row shares eight words with.
            by: ways that are used.
            arity_pairs: most pairs of a benchmark that rest on rare words alone.
        """
        functions = [function for function in functions if _reachable(function)]
        if not functions:
            return []
        functions = _helpers_first(functions)
        best: dict[tuple[int, str], Nomination] = {}
        cosines = self._cosines(asked, answered)
        ways = {
            "name": self._named(functions, cosines),
            "ngram8": self._sharing(functions, shared, cosines),
            "arity": self._worded(functions, cosines, arity_pairs),
        }
        for way in by:
            for place, function, strength in ways[way]:
                known = best.get((place, function.name))
                if known is None or known.strength < strength:
                    best[place, function.name] = self._nomination(place, function, way, strength)
        return sorted(best.values(), key=_strongest_first)

    def _cosines(self, asked: str, answered: str) -> list[dict[int, float]]:
        words = dict.fromkeys(_stems(answered), _ANSWERED) | dict.fromkeys(_stems(asked), 1.0)
        return [vocabulary.cosines(words) for vocabulary in self._vocabularies]

    def _nomination(self, place: int, function: Function, by: By, strength: float) -> Nomination:
        candidate = self._candidates[place]
        return Nomination(
            benchmark=candidate.benchmark,
            task_id=candidate.task_id,
            function=function.name,
            by=by,
            strength=round(strength, 6),
        )

    def _named(
        self, functions: Sequence[Function], cosines: Sequence[Mapping[int, float]]
    ) -> Iterator[tuple[int, Function, float]]:
        for function in functions:
            for place in self._by_name.get(_plain(function.node.name), ()):
                if self._candidates[place].fits(function):
                    yield place, function, _NAME + _of(cosines, place)

    def _sharing(
        self,
        functions: Sequence[Function],
        shared: Iterable[tuple[str, str]],
        cosines: Sequence[Mapping[int, float]],
    ) -> Iterator[tuple[int, Function, float]]:
        for owner in shared:
            place = self._by_id[owner]
            fitting = [f for f in functions if self._candidates[place].fits(f)]
            if fitting:
                yield place, self._likeliest(place, fitting), _NGRAM + _of(cosines, place)

    def _worded(
        self,
        functions: Sequence[Function],
        cosines: Sequence[Mapping[int, float]],
        pairs: int,
    ) -> Iterator[tuple[int, Function, float]]:
        for reached in cosines:
            left = pairs
            for place in sorted(reached, key=lambda place: (-reached[place], place)):
                if not left:
                    break
                fitting = [f for f in functions if self._candidates[place].fits(f)]
                if fitting:
                    left -= 1
                    yield place, self._likeliest(place, fitting), min(reached[place], 1.0)

    def _likeliest(self, place: int, fitting: Sequence[Function]) -> Function:
        """The function whose name shares most words with the problem; the last of equals."""
        words = self._candidates[place].name_words
        return max(
            enumerate(fitting),
            key=lambda numbered: (len(words & set(_stems(numbered[1].node.name))), numbered[0]),
        )[1]


def _reachable(function: Function) -> bool:
    """Whether a program can call it: at the top level, or a method of a class there."""
    return function.name.count(".") == (function.owner is not None)


def _helpers_first(functions: Sequence[Function]) -> list[Function]:
    """Functions that others call before those that none does: the answer calls what it needs."""
    if len(functions) < 2:
        return list(functions)
    called = {
        part.id
        for function in functions
        for part in ast.walk(function.node)
        if isinstance(part, ast.Name) and part.id != function.node.name
    }
    return sorted(functions, key=lambda function: function.node.name not in called)


def _of(cosines: Sequence[Mapping[int, float]], place: int) -> float:
    return min(max((reached.get(place, 0.0) for reached in cosines), default=0.0), 0.999)


def _strongest_first(nomination: Nomination) -> tuple[float, str, str, str]:
    return -nomination.strength, nomination.benchmark, nomination.task_id, nomination.function


def _candidate(benchmark: str, problem: Problem) -> _Candidate:
    fewest, most = _arity(problem)
    return _Candidate(
        benchmark=benchmark,
        task_id=problem.task_id,
        name=problem.entry_point,
        fewest=fewest,
        most=most,
        name_words=frozenset(_stems(f"{question_of(problem)} {problem.entry_point}")),
    )


def _arity(problem: Problem) -> tuple[int, int]:
    """Fewest and most arguments that calls of the problem's function can have."""
    for source in (problem.reference, problem.prompt):
        tree = parse(source)
        entry = entry_of(problem, tree) if tree else None
        if entry:
            return entry.takes
    numbers = [
        *(len(t.args) + len(t.kwargs) for t in problem.tests if isinstance(t, Call)),
        *(len(args) for t in problem.tests if isinstance(t, Trials) for args in t.inputs),
    ]
    return (min(numbers), max(numbers)) if numbers else (0, 255)


def _vocabulary(texts: Sequence[set[str]], first: int) -> _Vocabulary:
    frequency = Counter(word for words in texts for word in words)
    most = max(_RARE * len(texts), 1)
    weights = {word: log((len(texts) + 1) / n) for word, n in frequency.items()}
    having: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for place, words in enumerate(texts, start=first):
        rare = sorted(word for word in words if frequency[word] <= most)
        length = sqrt(sum(weights[word] ** 2 for word in rare)) or 1.0
        for word in rare:
            having[word].append((place, weights[word] / length))
    known = {word: weight for word, weight in weights.items() if frequency[word] <= most}
    common = dict.fromkeys((word for word in weights if frequency[word] > most), 0.0)
    unknown = log(len(texts) + 1) if texts else 0.0
    return _Vocabulary(
        known | common, unknown, {word: tuple(places) for word, places in having.items()}
    )


def _plain(name: str) -> str:
    return name.replace("_", "").lower()


def _stems(text: str) -> Iterator[str]:
    """Parts of words and of identifiers, lower-cased, without the s of a plural."""
    for part in set(_PART.findall(text)):
        if len(part) > 2:
            word = part.lower()
            yield word.removesuffix("s") if len(word) > 3 and not word.endswith("ss") else word
