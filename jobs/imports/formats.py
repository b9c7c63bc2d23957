"""The formats by name, and which of them a file is in."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eval_sandbox.mistakes import InputError, Mistakes
from eval_sandbox.records import read_document, stream_records
from jobs.declared import UserError
from jobs.imports import bigcode, can_ai_code, evalplus, fields, human_eval, lm_eval
from jobs.imports.found import Found, Source

AUTO = "auto"
TRAINING = "trainer-state"
"""The one format of a training's curve; the others are of answers."""

Reader = Callable[[Source], Iterator[Found]]


@dataclass(frozen=True, slots=True)
class Format:
    """One way of writing answers."""

    read: Reader | None
    """None: it has no answers."""
    keys: frozenset[str]
    """That a record of it has, and by which it is told from the others."""
    text: str


FORMATS: dict[str, Format] = {
    "completions": Format(
        human_eval.read,
        frozenset({"task_id", "completion"}),
        'JSON lines of {"task_id", "completion"} or {"task_id", "solution"}',
    ),
    "human-eval": Format(
        human_eval.read,
        frozenset({"task_id", "completion", "passed"}),
        "the same with passed and result, as human-eval writes after judging",
    ),
    "evalplus": Format(
        evalplus.read,
        frozenset({"eval", "hash", "date"}),
        "samples with ..._eval_results.json beside them, or that file alone",
    ),
    "bigcode": Format(
        bigcode.read, frozenset(), "generations.json: a list of answers for each problem in order"
    ),
    "can-ai-code": Format(
        can_ai_code.read,
        frozenset({"name", "language", "answer"}),
        "interview_*.ndjson or eval_*.ndjson",
    ),
    "lm-eval": Format(
        lm_eval.read,
        frozenset({"doc_id", "doc", "resps", "filtered_resps"}),
        "samples_TASK_*.jsonl of lm-evaluation-harness",
    ),
    "codet": Format(
        fields.read_codet, frozenset({"prompt", "samples"}), "a prompt, its id unknown, and answers"
    ),
    "ldb": Format(
        fields.read_ldb,
        frozenset({"task_id", "solution", "is_solved"}),
        "LDB's seed.jsonl and results.jsonl",
    ),
    "fields": Format(fields.read, frozenset(), "any JSON lines, by --fields"),
    TRAINING: Format(
        None,
        frozenset({"log_history", "global_step"}),
        "a training's trainer_state.json",
    ),
}
_TOLD_APART = ("lm-eval", "can-ai-code", "codet", "ldb", "human-eval")
"""The surest first: a record with all of a format's keys is in that format."""


def guess(path: Path) -> str:
    """The format of a file, by its first record.

    Raises:
        InputError: the file cannot be read.
        UserError: it is in no known format; the message has the keys that are there.
    """
    if evalplus.holds_results(path):
        return "evalplus"
    first = _first(path)
    if isinstance(first, list):
        return "bigcode"
    keys = frozenset(first) if isinstance(first, dict) else frozenset()
    if "log_history" in keys:
        return TRAINING
    if isinstance(keys and first.get("eval"), dict):
        return "evalplus"
    found = next((name for name in _TOLD_APART if FORMATS[name].keys <= keys), None)
    if found:
        return found
    if {"doc", "filtered_resps"} <= keys or {"doc", "resps"} <= keys:
        return "lm-eval"
    if "task_id" in keys and keys & {"completion", "solution"}:
        return "evalplus" if evalplus.verdicts_beside(path) else "completions"
    raise UserError(_unknown(path, keys))


def _first(path: Path) -> Any:
    """The first line's object; of a file that is one value, that value."""
    try:
        mistakes = Mistakes(path)
        first = next(stream_records(path, mistakes), None)
        mistakes.raise_if_any()
    except InputError:
        return read_document(path)
    return first[1] if first else read_document(path)


def _unknown(path: Path, keys: frozenset[str]) -> str:
    shared = {name: len(form.keys & keys) for name, form in FORMATS.items()}
    near = max(shared, key=lambda name: shared[name])
    seen = ", ".join(repr(key[:60]) for key in sorted(keys)[:20]) or "no object"
    hint = f"; the nearest format is {near!r}, {FORMATS[near].text}" if shared[near] else ""
    return (
        f"{path}: its format is not known. Its first record has {seen}{hint}. Say --format NAME, "
        "or --fields task_id=...,solution=...,passed=..."
    )
