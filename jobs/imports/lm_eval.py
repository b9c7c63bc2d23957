"""lm-evaluation-harness: `samples_TASK_*.jsonl`, a problem a line.

Read from github.com/EleutherAI/lm-evaluation-harness: `doc` is the benchmark's own row, `resps`
what the model wrote (a list for each request), `filtered_resps` what was judged, `filter` the name
of the filter; metrics stand beside them under their names.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from eval_sandbox.problem import Problem
from eval_sandbox.records import Fields, stream_records
from jobs.imports.found import Found, Source

_METRICS = ("pass@1", "pass_at_1", "pass_at_k")
_DEEPEST = 4


def read(source: Source) -> Iterator[Found]:
    """The answers that were judged; of a file with several filters those of the first.

    Raises:
        InputError: the file cannot be read.
    """
    wanted = None
    for record in stream_records(source.path, source.mistakes):
        fields = Fields(record, source.mistakes)
        filtered = fields.values.get("filter", "")
        wanted = filtered if wanted is None else wanted
        texts = _texts(fields.values.get("filtered_resps")) or _texts(fields.values.get("resps"))
        if not texts:
            fields.wrong("'filtered_resps' and 'resps' hold no text")
        elif filtered != wanted:
            source.left_out["of other filters"] += len(texts)
        else:
            yield from _answers(source, fields, texts)


def _answers(source: Source, fields: Fields, texts: list[str]) -> Iterator[Found]:
    doc = fields.values.get("doc")
    problem = _problem(source, doc if isinstance(doc, dict) else {}, fields, len(texts))
    if problem is None:
        return
    passed = _verdict(fields.values)
    for text in texts:
        yield Found(problem=problem, text=text, whole=_whole(problem, doc, text), passed=passed)


def _problem(
    source: Source, doc: Mapping[str, Any], fields: Fields, answers: int
) -> Problem | None:
    task_id, prompt = doc.get("task_id"), doc.get("prompt")
    if isinstance(task_id, str | int):
        found, named = source.questions.by_id(task_id), task_id
    elif isinstance(prompt, str):
        found, named = source.questions.by_prompt(prompt), prompt
    else:
        fields.wrong("'doc' has neither 'task_id' nor 'prompt', so its problem is not known")
        return None
    if found is None:
        source.lacks(named, fields.line, answers)
    return found


def _whole(problem: Problem, doc: Any, text: str) -> bool:
    """Whether a text has the prompt in front: filters of HumanEval put it there."""
    prompts = [problem.prompt, doc.get("prompt") if isinstance(doc, dict) else None]
    return any(isinstance(p, str) and text.startswith(p) for p in prompts)


def _verdict(values: Mapping[str, Any]) -> bool | None:
    """All passed or none; a share between them says nothing of a single answer."""
    for name in _METRICS:
        value = values.get(name)
        if isinstance(value, int | float):
            return {0.0: False, 1.0: True}.get(value)
    return None


def _texts(value: Any, depth: int = 0) -> list[str]:
    if isinstance(value, str):
        return [value]
    if not isinstance(value, list) or depth == _DEEPEST:
        return []
    return [text for part in value for text in _texts(part, depth + 1)]
