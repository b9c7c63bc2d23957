"""evalplus: samples as JSON lines, and beside them `..._eval_results.json` with its verdicts.

Read from github.com/evalplus/evalplus 0.3.1, evaluate.py: `eval` has for each problem a list in
the order of the samples, of `{solution, base_status, plus_status, base_fail_tests,
plus_fail_tests}`. The status "plus" is of the added tests alone; who says "plus" of a model
counts base AND plus.
"""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from eval_sandbox.mistakes import InputError
from eval_sandbox.records import read_document
from jobs.imports import human_eval
from jobs.imports.found import Found, Source

_PASS = "pass"
_ENDINGS = (".jsonl.gz", ".jsonl", ".json.gz", ".json", ".gz")

Results = Mapping[str, Sequence[Any]]
"""Id of a problem, in evalplus's spelling -> what it says of each answer."""


def read(source: Source) -> Iterator[Found]:
    """Samples with their verdicts; or the results alone, whose `solution` is the sample.

    Raises:
        InputError: a file cannot be read, or the results are of another form.
    """
    if holds_results(source.path):
        for task_id, said in results(source.path).items():
            yield from _of_results(source, task_id, said)
        return
    beside = source.verdicts or verdicts_beside(source.path)
    claims = _by_problem(source, results(beside)) if beside else {}
    seen: dict[str, int] = defaultdict(int)
    for found in human_eval.read(source):
        task_id = found.problem.task_id
        said = claims.get(task_id, [])[seen[task_id] :][:1]
        seen[task_id] += 1
        yield _judged(found, said[0], source) if said else found


def verdicts_beside(samples: Path) -> Path | None:
    """The results that evalplus writes beside a file of samples, by name."""
    stem = samples.name
    for ending in _ENDINGS:
        stem = stem.removesuffix(ending)
    names = [f"{stem}{joint}eval_results.json{packed}" for joint in "_." for packed in ("", ".gz")]
    return next((p for name in names if (p := samples.parent / name).is_file()), None)


def holds_results(path: Path) -> bool:
    """Whether a file is named as results are: to read it in vain would take its whole size."""
    return "eval_results" in path.name


def results(path: Path) -> Results:
    """What `_eval_results.json` says of each answer.

    Raises:
        InputError: it is no such file.
    """
    document = read_document(path)
    found = document.get("eval") if isinstance(document, dict) else None
    if not isinstance(found, dict) or not all(isinstance(v, list) for v in found.values()):
        raise InputError(
            f"{path}: the results of evalplus are expected, an object with 'eval' that has a list "
            "for each problem (older versions wrote another form: evaluate once more)"
        )
    return found


def _by_problem(source: Source, said: Results) -> dict[str, Sequence[Any]]:
    known = {task_id: source.questions.by_id(task_id) for task_id in said}
    return {problem.task_id: said[task_id] for task_id, problem in known.items() if problem}


def _of_results(source: Source, task_id: str, said: Sequence[Any]) -> Iterator[Found]:
    problem = source.questions.by_id(task_id)
    if problem is None:
        source.lacks(task_id, answers=len(said))
        return
    for one in said:
        if not isinstance(one, dict) or not isinstance(one.get("solution"), str):
            source.mistakes.add(None, f"{task_id}: a text 'solution' is expected in each result")
            continue
        yield _judged(Found(problem=problem, text=one["solution"], whole=True), one, source)


def _judged(found: Found, said: Any, source: Source) -> Found:
    """The answer with evalplus's verdict, unless that is on another answer."""
    if not isinstance(said, dict) or not str(said.get("solution", "")).rstrip().endswith(
        found.text.rstrip()
    ):
        source.left_out["verdicts, as they are on other answers"] += 1
        return found
    base, plus = said.get("base_status"), said.get("plus_status")
    wanted = (base, plus) if source.plus else (base,)
    if not all(isinstance(status, str) for status in wanted):
        return found
    passed = all(status == _PASS for status in wanted)
    return replace(found, passed=passed, said=_words(said, source.plus))


def _words(said: Mapping[str, Any], plus: bool) -> str:
    parts = [f"base {said.get('base_status')}"]
    if plus:
        parts.append(f"plus {said.get('plus_status')}")
    for name in ("base", "plus") if plus else ("base",):
        tests = said.get(f"{name}_fail_tests")
        if said.get(f"{name}_status") != _PASS and isinstance(tests, list) and tests:
            parts.append(f"on {json.dumps(tests[0])[:120]}")
            break
    return ", ".join(parts)
