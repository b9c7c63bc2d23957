"""Which column of somebody's file is the question and which the answer: a proposal, with reasons.

Names that published datasets use come first, then what the values look like. Nothing here is
certain; `Proposal.sure` says how far to trust it, and a person sees three rows before any training.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, cast

from jobs.data.code import code_in
from jobs.data.formats import FORMS
from jobs.data.origin import FieldMap, FormatName, Source
from jobs.declared import UserError

SAMPLE = 500
"""Records that a proposal is made from."""
MOST = 0.9
"""Share of a column's values that have to be of a kind for the column to be of it."""
FILLED = 0.5
"""Share of the records that have to have something in a column of questions or answers."""

PAIRS = (
    ("instruction", "output"),
    ("instruction", "response"),
    ("instruction", "completion"),
    ("problem", "solution"),
    ("question", "answer"),
    ("question", "response"),
    ("query", "response"),
    ("query", "answer"),
    ("prompt", "completion"),
    ("prompt", "response"),
    ("input", "output"),
)
"""Question and answer as published: Alpaca and Evol-Instruct-Code, self-OSS-instruct, OpenAI's
fine-tuning form, Magicoder's OSS-Instruct, MetaMathQA, xCodeEval and their like."""
QUESTIONS = ("instruction", "question", "query", "prompt", "problem", "problem_description", "task")
ANSWERS = ("output", "response", "completion", "answer", "solution", "code", "canonical_solution")
OTHERS = {
    "input": ("input", "context"),
    "tests": ("tests", "test_list", "test_cases", "unit_tests"),
    "entry_point": ("entry_point", "function_name"),
    "preamble": ("preamble", "imports"),
}
"""Part of a row -> names of its column."""
SHAPES: dict[str, frozenset[str]] = {
    "custom": frozenset({"task_id", "instruction", "tests", "reference"}),
    "mbpp": frozenset({"task_id", "code", "test_list"}),
    "stack": frozenset({"content", "lang"}),
}
_BY_FORMS = ("leetcode", "code-contests", "exercism", "interactive-coding")
_ASKS = re.compile(
    r"\?\s*\Z|\A\W*(?:write|create|implement|given|design|build|complete|convert|develop|explain|"
    r"find|fix|generate|how|make|modify|rewrite|what|why|you are)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """How a file could be read."""

    format: FormatName
    fields: FieldMap | None
    """For format `fields`."""
    sure: str
    """`sure`, `likely` or `a guess`."""
    reasons: tuple[str, ...]

    @property
    def plain(self) -> bool:
        """Whether the rows are code without a question."""
        return self.fields is not None and not (self.fields.instruction or self.fields.messages)


@dataclass(frozen=True, slots=True)
class _Column:
    name: str
    values: Sequence[Any]
    """Those that are there."""
    records: int

    @property
    def text(self) -> float:
        """Share of the records that have text in it."""
        return sum(isinstance(v, str) and bool(v.strip()) for v in self.values) / self.records

    @property
    def is_text(self) -> bool:
        written = sum(isinstance(value, str) for value in self.values)
        return self.text >= FILLED and written >= MOST * len(self.values)

    @property
    def code(self) -> float:
        """Share of its texts that are Python, or have Python in fences."""
        return self._share(lambda value: bool(code_in(value).strip()))

    @property
    def asks(self) -> float:
        """Share of its texts that read like a question or a task."""
        return self._share(lambda value: bool(_ASKS.search(value)))

    @property
    def length(self) -> float:
        return fmean([len(v) for v in self.values if isinstance(v, str)] or [0])

    def _share(self, holds: Callable[[str], bool]) -> float:
        texts = [value for value in self.values if isinstance(value, str) and value.strip()]
        return fmean(map(holds, texts)) if texts else 0.0


def propose(records: Sequence[Mapping[str, Any]], where: str) -> Proposal:
    """How to read records like these.

    Args:
        records: some of the file, at least one.
        where: the file, for messages.

    Raises:
        UserError: no column can be an answer; with all columns and what is in them.
    """
    names = list(dict.fromkeys(name for record in records for name in record))
    columns = {
        name: _Column(name, [r[name] for r in records if r.get(name) is not None], len(records))
        for name in names
    }
    proposal = _by_shape(set(names)) or _by_turns(columns) or _by_name(columns)
    proposal = proposal or _by_content(columns)
    if proposal is None:
        told = "; ".join(f"{name}: {_told(column)}" for name, column in columns.items())
        raise UserError(
            f"{where}: no column looks like an answer ({told}). Rename one to 'response' and, "
            "where there are questions, another to 'instruction'"
        )
    return proposal


def _by_shape(names: set[str]) -> Proposal | None:
    """A published format that has all of its columns here."""
    any_source = Source(file="any.jsonl", licence="LicenseRef-unknown")
    shapes = SHAPES | {name: frozenset(FORMS[name].columns(any_source)) for name in _BY_FORMS}
    for name, wanted in shapes.items():
        if wanted <= names:
            reason = f"it has the columns of the published form {name!r}: {_listed(wanted)}"
            return Proposal(
                format=cast(FormatName, name), fields=None, sure="sure", reasons=(reason,)
            )
    return None


def _by_turns(columns: Mapping[str, _Column]) -> Proposal | None:
    for name, column in columns.items():
        share = sum(map(_is_chat, column.values)) / column.records
        if share >= MOST:
            reason = f"messages <- {name}: {share:.0%} are lists of turns with role and content"
            fields = FieldMap(messages=name)
            return Proposal(format="fields", fields=fields, sure="sure", reasons=(reason,))
    return None


def _is_chat(value: Any) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(turn, dict) for turn in value)
        and any({"role", "content"} <= set(t) or {"from", "value"} <= set(t) for t in value)
    )


def _by_name(columns: Mapping[str, _Column]) -> Proposal | None:
    known = {name.lower(): c for name, c in columns.items() if c.is_text}
    for asks, answers in PAIRS:
        if asks in known and answers in known:
            return _named(columns, known[asks], known[answers], "sure")
    asking = next((known[name] for name in QUESTIONS if name in known), None)
    answering = next((known[name] for name in ANSWERS if name in known), None)
    if asking is not None and answering is not None:
        return _named(columns, asking, answering, "likely")
    return None


def _by_content(columns: Mapping[str, _Column]) -> Proposal | None:
    texts = [column for column in columns.values() if column.is_text]
    coded = [column for column in texts if column.code >= 0.5]
    if not coded:
        return None
    answer = max(coded, key=lambda c: (c.name.lower() in ANSWERS, round(c.code, 1), c.length))
    others = [c for c in texts if c is not answer and c.code < 0.5]
    asking = [c for c in others if c.asks >= 0.2 or c.name.lower() in QUESTIONS]
    if asking:
        best = max(asking, key=lambda c: (c.name.lower() in QUESTIONS, c.asks, c.length))
        return _named(columns, best, answer, "a guess")
    return _named(columns, None, answer, "a guess")


def _named(
    columns: Mapping[str, _Column], asks: _Column | None, answers: _Column, sure: str
) -> Proposal:
    parts = {"response": answers.name} | ({"instruction": asks.name} if asks else {})
    reasons = [f"response <- {answers.name}: {_told(answers)}"]
    if asks is None:
        reasons.insert(0, "no column asks: the rows are plain code, learnt without a question")
    else:
        reasons.insert(0, f"instruction <- {asks.name}: {_told(asks)}")
    for part, names in OTHERS.items() if asks else ():
        column = _first(columns, names, taken=parts.values())
        if column is not None and _fits(part, column):
            parts[part] = column.name
            reasons.append(f"{part} <- {column.name}: {_told(column)}")
    left = [name for name in columns if name not in parts.values()]
    if left:
        reasons.append(f"not used: {_listed(left)}")
    fields = FieldMap(**parts)
    return Proposal(format="fields", fields=fields, sure=sure, reasons=tuple(reasons))


def _first(
    columns: Mapping[str, _Column], names: Iterable[str], taken: Iterable[str]
) -> _Column | None:
    free = {name.lower(): c for name, c in columns.items() if name not in set(taken)}
    return next((free[name] for name in names if name in free), None)


def _fits(part: str, column: _Column) -> bool:
    if part == "tests":
        return bool(column.values) and all(map(_is_tests, column.values))
    return all(isinstance(value, str) for value in column.values)


def _is_tests(value: Any) -> bool:
    """Whether it is a list of tests, or the JSON text of one."""
    if isinstance(value, str) and value:
        try:
            value = json.loads(value)
        except ValueError:
            return False
    return isinstance(value, list) and all(isinstance(test, str | dict) for test in value)


def _told(column: _Column) -> str:
    """What is in a column, in words."""
    if column.text < 0.01:
        kinds = sorted({type(value).__name__ for value in column.values}) or ["nothing"]
        return f"no text but {_listed(kinds)}"
    told = [f"{column.text:.0%} text", f"about {column.length:,.0f} characters"]
    told += [f"{column.code:.0%} Python"] if column.code >= 0.05 else []
    told += [f"{column.asks:.0%} ask for something"] if column.asks >= 0.05 else []
    return ", ".join(told)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))
