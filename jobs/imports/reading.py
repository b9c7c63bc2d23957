"""From files to answers: the format is told, and all that is wrong is said at once."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from eval_sandbox.mistakes import InputError, Mistakes
from eval_sandbox.problem import Problem
from jobs.declared import UserError
from jobs.imports.formats import AUTO, FORMATS, Reader, guess
from jobs.imports.found import Found, Questions, Source

_PLUS = ("humanevalplus", "mbppplus")
_WITH_VERDICTS = "evalplus"
"""The format whose verdicts may stand in a file of their own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Import:
    """What a user asks to import."""

    files: tuple[Path, ...]
    """Read one after another, as one file."""
    name: str
    """Of whoever made the answers."""
    benchmark: str = ""
    """A recipe's name; empty for a training."""
    format: str = AUTO
    verdicts: Path | None = None
    """A file with the publisher's verdicts, where it is not found by name."""
    fields: Mapping[str, str] = field(default_factory=dict)
    """Of the format `fields`: what we need -> where it stands."""
    published: Mapping[str, float] = field(default_factory=dict)
    """Scores that the publisher gives: `pass@1` -> a fraction."""
    source: str = ""
    """Where these were published: an address, or words."""
    preamble: str | None = None
    extract: str | None = None
    """How to judge, in place of what the benchmark's recipe says."""
    partial: bool = False
    """Whether some problems may have no answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What the files of an import hold."""

    found: Sequence[Found]
    left_out: Mapping[str, int]
    """Why -> answers."""
    unknown: str
    """The first answer to a problem that the benchmark lacks, with its place; empty: none."""


def format_of(order: Import) -> str:
    """The format of an import: the one that was named, or the one that its first file is in.

    Raises:
        UserError: there is no such format, or none is known that the file is in.
    """
    if order.format != AUTO and order.format not in FORMATS:
        known = ", ".join((AUTO, *FORMATS))
        raise UserError(f"there is no format {order.format!r}; known: {known}")
    if order.verdicts and (order.fields or order.format not in (AUTO, _WITH_VERDICTS)):
        form = "fields" if order.fields else order.format
        raise UserError(f"--verdicts is for --format {_WITH_VERDICTS}, not for {form}")
    if (order.format == "fields" or order.format == AUTO) and order.fields:
        return "fields"
    if order.format == "fields":
        raise UserError("--format fields needs --fields task_id=...,solution=...")
    if order.fields:
        raise UserError(f"--fields is for --format fields, not for {order.format}")
    if order.format != AUTO:
        return order.format
    if order.verdicts:
        return _WITH_VERDICTS
    try:
        return guess(order.files[0])
    except InputError as error:
        raise UserError(str(error)) from None


def read_answers(order: Import, form: str, problems: Sequence[Problem], benchmark: str) -> Answers:
    """All answers of the files to problems of the benchmark.

    Args:
        order: the import.
        form: its format, by name.
        problems: of the benchmark.
        benchmark: the form that it is published in.

    Raises:
        UserError: every mistake of the first file that has any, or no answer to any problem.
    """
    reader = FORMATS[form].read
    if reader is None:
        raise UserError(f"{order.files[0]}: a training's curve; leave out --benchmark")
    questions = Questions(problems)
    found: list[Found] = []
    left_out: Counter[str] = Counter()
    unknown = ""
    for path in order.files:
        source = Source(
            path=path,
            questions=questions,
            mistakes=Mistakes(path),
            plus=benchmark in _PLUS,
            verdicts=order.verdicts,
            fields=order.fields,
            left_out=left_out,
        )
        found += _read(source, reader)
        unknown = unknown or source.unknown
    if not found:
        raise UserError(unknown or f"{order.files[0]}: no answer is in it")
    return Answers(found=found, left_out=left_out, unknown=unknown)


def _read(source: Source, reader: Reader) -> list[Found]:
    try:
        found = list(reader(source))
        source.mistakes.raise_if_any()
    except InputError as error:
        raise UserError(str(error)) from None
    return found
