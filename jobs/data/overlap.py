"""Words that a text shares with the texts of problems: whole texts and n-grams, found in one pass.

Words are lower-cased runs of letters, digits and underscores. Chinese and Japanese put no spaces
between words: there every character is a word of its own. A text is looked up five words at a
time; only where these five stand in some problem's text is anything compared.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

WORD = re.compile(r"\w+")
_UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
"""Kana and Han characters: the blocks of Unicode 15.1 that have them."""
_WORD_OR_CHARACTER = re.compile(rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+")
_GATE = 5
"""Words of the first look. Every n-gram and text that is looked for has more."""

SHORTEST_WHOLE = 7
"""Fewest words of a text that is looked for whole, where it is shorter than the n-gram."""
SHORTEST_SUBSTRING = 7
"""Fewest words of a text that is looked for as a substring."""
_COMMON_WORDS, _COMMON_PROBLEMS = 4, 5
"""So many words in a row that so many problems of a benchmark have are its manner of speaking:
`function to find the`, `for i in range`."""
_LEAST_TELLING = 0.5
"""Share of an n-gram's words that must be outside of such manners, and have two letters or be a
Chinese or Japanese character."""


Owner = tuple[str, str]
"""Benchmark and problem."""


@dataclass(frozen=True, slots=True)
class Text:
    """What a problem says, or what solves it."""

    owner: Owner
    words: str
    """As published."""
    part: str
    """Looked for as a substring; empty for none."""


@dataclass(frozen=True, slots=True)
class Shared:
    """What a row has in common with a problem."""

    method: str
    owner: Owner
    evidence: str


@dataclass(frozen=True, slots=True)
class _Table:
    """Runs of one length that some problem has."""

    length: int
    methods: tuple[str, ...]
    owners: Mapping[int, tuple[Owner, ...]]
    """Hash of the numbers of the words -> problems."""


@dataclass(frozen=True, slots=True)
class Overlap:
    """The words of many problems, ready to be compared with rows. Picklable.

    Words are numbered and runs of numbers hashed by Python's hash of tuples of integers, which is
    the same in every process of a 64-bit interpreter (that of texts is not).
    """

    numbers: Mapping[str, int]
    """From 1; 0 stands for every word that no problem has."""
    gate: frozenset[int]
    tables: tuple[_Table, ...]
    needles: Mapping[int, tuple[tuple[Owner, str], ...]]
    """Hash of five inner words of a text -> the problems that have it, with the text."""

    @classmethod
    def of(cls, texts: Sequence[Text], sizes: Mapping[str, int], *, substrings: bool) -> Self:
        """Ready to find what rows share with `texts`.

        Args:
            texts: of all problems.
            sizes: method -> words of its n-grams.
            substrings: whether whole texts are looked for as well.
        """
        numbers: dict[str, int] = {}
        for text in texts:
            for word in words_of(text.words):
                numbers.setdefault(word, len(numbers) + 1)
        listed = _documents(texts, numbers)
        tables = [_Table(size, (method,), _grams(listed, size)) for method, size in sizes.items()]
        tables += _wholes(listed, sizes)
        needles = _needles(texts, numbers) if substrings else {}
        gate = _first_looks(listed, min([*sizes.values(), SHORTEST_WHOLE])) if tables else set()
        return cls(numbers, frozenset(gate | needles.keys()), tuple(tables), needles)

    def find(self, text: str) -> list[Shared]:
        """All that a text shares; the first evidence for each method and problem."""
        folded = text.lower()
        words = _split(folded)
        numbers = [self.numbers.get(word, 0) for word in words]
        looks = list(map(hash, zip(*(numbers[n:] for n in range(_GATE)), strict=False)))
        if self.gate.isdisjoint(looks):
            return []
        found: dict[tuple[str, Owner], Shared] = {}
        plain = ""
        for place, look in enumerate(looks):
            if look not in self.gate:
                continue
            for shared in self._runs(numbers, words, place):
                found.setdefault((shared.method, shared.owner), shared)
            for owner, needle in self.needles.get(look, ()):
                plain = plain or one_spaced(folded)
                if needle in plain:
                    shared = Shared("substring", owner, needle)
                    found.setdefault(("substring", owner), shared)
        return list(found.values())

    def _runs(self, numbers: list[int], words: list[str], place: int) -> Iterator[Shared]:
        for table in self.tables:
            end = place + table.length
            for owner in table.owners.get(hash(tuple(numbers[place:end])), ()):
                evidence = " ".join(words[place:end])
                for method in table.methods:
                    yield Shared(method, owner, evidence)


_LETTERS = re.compile(rf"[^\W\d_]{{2}}|[{_UNSPACED}]")


def words_of(text: str) -> list[str]:
    """Lower-cased words."""
    return _split(text.lower())


def _split(text: str) -> list[str]:
    return (WORD if text.isascii() else _WORD_OR_CHARACTER).findall(text)


def one_spaced(text: str) -> str:
    """With one space for every run of white space, so that line ends do not matter."""
    return " ".join(text.split())


@dataclass(frozen=True, slots=True)
class _Document:
    """The words of one text as numbers."""

    owner: Owner
    words: tuple[int, ...]
    telling: tuple[bool, ...]
    """Which of them say something of this problem."""


def _documents(texts: Sequence[Text], numbers: Mapping[str, int]) -> list[_Document]:
    lettered = {number for word, number in numbers.items() if _LETTERS.search(word)}
    numbered = [(t.owner, tuple(numbers[word] for word in words_of(t.words))) for t in texts]
    common = _common(numbered)
    documents = []
    for owner, words in numbered:
        telling = [word in lettered for word in words]
        for place, run in enumerate(_runs_of(words, _COMMON_WORDS)):
            if (owner[0], run) in common:
                telling[place : place + _COMMON_WORDS] = [False] * _COMMON_WORDS
        documents.append(_Document(owner, words, tuple(telling)))
    return documents


def _common(numbered: Sequence[tuple[Owner, tuple[int, ...]]]) -> set[tuple[str, tuple[int, ...]]]:
    having: dict[tuple[str, tuple[int, ...]], set[str]] = defaultdict(set)
    for (benchmark, task_id), words in numbered:
        for run in _runs_of(words, _COMMON_WORDS):
            having[benchmark, run].add(task_id)
    return {run for run, problems in having.items() if len(problems) >= _COMMON_PROBLEMS}


def _runs_of(words: Sequence[int], length: int) -> Iterator[tuple[int, ...]]:
    return zip(*(words[n:] for n in range(length)), strict=False)


def _grams(documents: Sequence[_Document], size: int) -> dict[int, tuple[Owner, ...]]:
    """N-grams that tell something, and that one problem of a benchmark has and no other of it."""
    having: dict[int, set[Owner]] = defaultdict(set)
    telling: set[int] = set()
    for document in documents:
        for place, gram in enumerate(_runs_of(document.words, size)):
            having[hash(gram)].add(document.owner)
            if sum(document.telling[place : place + size]) >= _LEAST_TELLING * size:
                telling.add(hash(gram))
    alone = {}
    for gram_hash in telling:
        benchmarks = [benchmark for benchmark, _ in having[gram_hash]]
        kept = sorted(of for of in having[gram_hash] if benchmarks.count(of[0]) == 1)
        if kept:
            alone[gram_hash] = tuple(kept)
    return alone


def _wholes(documents: Sequence[_Document], sizes: Mapping[str, int]) -> Iterator[_Table]:
    """Texts that are too short for an n-gram of some method."""
    for length in range(SHORTEST_WHOLE, max(sizes.values(), default=0)):
        having: dict[int, set[Owner]] = defaultdict(set)
        for document in documents:
            if len(document.words) == length:
                having[hash(document.words)].add(document.owner)
        methods = tuple(method for method, size in sizes.items() if size > length)
        if having and methods:
            yield _Table(length, methods, {key: tuple(sorted(of)) for key, of in having.items()})


def _first_looks(documents: Sequence[_Document], shortest: int) -> set[int]:
    """The first five words of everything that the tables have, and of little else."""
    return {
        hash(tuple(document.words[place : place + _GATE]))
        for document in documents
        for place in range(len(document.words) - shortest + 1)
    }


def _needles(
    texts: Sequence[Text], numbers: Mapping[str, int]
) -> dict[int, tuple[tuple[Owner, str], ...]]:
    """Each text under five words from its inside: its first and last may stand inside others."""
    having: dict[int, list[tuple[Owner, str]]] = defaultdict(list)
    for text in texts:
        words = words_of(text.part)
        if len(words) >= SHORTEST_SUBSTRING:
            inner = tuple(numbers[word] for word in words[1 : 1 + _GATE])
            having[hash(inner)].append((text.owner, one_spaced(text.part.lower())))
    return {key: tuple(listed) for key, listed in having.items()}
