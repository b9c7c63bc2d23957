"""JSON lines of any shape, by a mapping: what we need -> where it stands in a record.

`task_id=doc.id` goes into objects by name and into lists by number. Two published shapes are such
mappings: LDB's (github.com/FloridSleeves/LLMDebugger), which comes with the tests it was judged
by, and CodeT's (github.com/microsoft/CodeT), which has the prompt, its examples taken out, in
place of an id, and a list of answers.
"""

import ast
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from database.causes import OTHER_TESTS, OWN_NAME
from eval_sandbox.problem import Problem, Script
from eval_sandbox.records import Fields, stream_records
from jobs.declared import UserError, nearest
from jobs.imports.found import Found, Source, truth

WANTED = ("task_id", "prompt", "completion", "solution", "passed", "said", "tests")
LDB = {"task_id": "task_id", "solution": "solution", "passed": "is_solved", "tests": "test"}
CODET = {"prompt": "prompt", "completion": "samples"}
_LONGEST_TESTS = 100_000
_MISSING = object()


def parse_fields(text: str) -> dict[str, str]:
    """`task_id=doc.id,solution=code` as a mapping.

    Raises:
        UserError: an unknown name, nothing to tell problems by, or not exactly one kind of answer.
    """
    pairs = [part.partition("=") for part in text.split(",") if part.strip()]
    mapping = {name.strip(): place.strip() for name, _, place in pairs}
    for name, place in mapping.items():
        if name not in WANTED:
            raise UserError(f"--fields: there is no {name!r}.{nearest(name, WANTED)}")
        if not place:
            raise UserError(f"--fields: {name} has no place; write {name}=FIELD or {name}=A.B")
    if not {"task_id", "prompt"} & mapping.keys():
        raise UserError("--fields: name 'task_id', or 'prompt' where the records have no ids")
    if len({"completion", "solution"} & mapping.keys()) != 1:
        raise UserError(
            "--fields: name 'completion' (it continues the prompt) or 'solution' (a whole program)"
        )
    return mapping


def read(source: Source) -> Iterator[Found]:
    """The answers of a file; where the answer is a list, all that are in it.

    Raises:
        InputError: the file cannot be read.
    """
    whole = "solution" in source.fields
    wanted = source.fields["solution" if whole else "completion"]
    for record in stream_records(source.path, source.mistakes):
        fields = Fields(record, source.mistakes)
        answers = at(fields.values, wanted)
        texts = answers if isinstance(answers, list) else [answers]
        if not all(isinstance(text, str) for text in texts):
            near = nearest(wanted, fields.values) if answers is _MISSING else ""
            fields.wrong(f"{wanted!r} is no text and no list of texts.{near}")
            continue
        problem = _problem(source, fields, len(texts))
        if problem is None:
            continue
        for place, text in enumerate(texts):
            found = Found(problem=problem, text=text, whole=whole)
            yield _claimed(found, source, fields, place)


def read_ldb(source: Source) -> Iterator[Found]:
    """LDB's `solution` with `is_solved`; the verdict says where other tests than ours were used."""
    source.fields = LDB
    return read(source)


def read_codet(source: Source) -> Iterator[Found]:
    """CodeT's `samples`, which continue a `prompt`."""
    source.fields = CODET
    return read(source)


def at(record: Any, place: str) -> Any:
    """The value at `a.b.0` of a record; `_MISSING` where there is none."""
    if isinstance(record, dict) and place in record:
        return record[place]
    for part in place.split("."):
        if isinstance(record, dict) and part in record:
            record = record[part]
        elif isinstance(record, list) and part.isdecimal() and int(part) < len(record):
            record = record[int(part)]
        else:
            return _MISSING
    return record


def _problem(source: Source, fields: Fields, answers: int) -> Problem | None:
    name = "task_id" if "task_id" in source.fields else "prompt"
    value = at(fields.values, source.fields[name])
    if not isinstance(value, str | int) or isinstance(value, bool):
        near = nearest(source.fields[name], fields.values) if value is _MISSING else ""
        fields.wrong(f"{source.fields[name]!r} names no problem.{near}")
        return None
    if name == "prompt":
        found = source.questions.by_prompt(str(value))
    else:
        found = source.questions.by_id(value)
    if found is None:
        source.lacks(value, fields.line, answers)
    return found


def _claimed(found: Found, source: Source, fields: Fields, place: int) -> Found:
    """The answer with what its record says of it."""
    claims, said = _said(source, fields, "passed"), _said(source, fields, "said")
    passed = claims[place] if isinstance(claims, list) and place < len(claims) else claims
    words = [said] if isinstance(said, str) else []
    tests = _said(source, fields, "tests")
    if isinstance(tests, str):
        words += _about_tests(found.problem, tests)
    return replace(found, passed=truth(passed), said="; ".join(words))


def _said(source: Source, fields: Fields, name: str) -> Any:
    return at(fields.values, source.fields[name]) if name in source.fields else None


def _about_tests(problem: Problem, theirs: str) -> Iterator[str]:
    """How the tests of a record differ from the benchmark's."""
    scripts = [test.source for test in problem.tests if isinstance(test, Script)]
    ours, others = _asserts("\n".join(scripts)), _asserts(theirs)
    if ours and others and ours != others:
        yield OTHER_TESTS
    if f"def {problem.entry_point}(" in theirs:
        yield OWN_NAME


def _asserts(source: str) -> frozenset[str]:
    """The assertions of a program, whatever their lay-out; empty where it cannot be parsed."""
    if len(source) > _LONGEST_TESTS:
        return frozenset()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what somebody else wrote
            nodes = list(ast.walk(ast.parse(source)))
        return frozenset(ast.unparse(node.test) for node in nodes if isinstance(node, ast.Assert))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return frozenset()


def spec_of(fields: Mapping[str, str]) -> dict[str, str]:
    """What of a mapping shapes the answers: verdicts and tests do not."""
    return {name: place for name, place in fields.items() if name in WANTED[:4]}
