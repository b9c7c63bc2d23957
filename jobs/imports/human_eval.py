"""`{"task_id", "completion" | "solution"}` a line, as openai/human-eval and evalplus write it.

What human-eval writes after judging (`samples.jsonl_results.jsonl`) has `passed` and `result`
beside them: github.com/openai/human-eval, human_eval/evaluation.py.
"""

from collections.abc import Iterator

from eval_sandbox.records import Fields, stream_records
from jobs.imports.found import Found, Source, truth


def read(source: Source) -> Iterator[Found]:
    """The answers of a file, each with the verdict that stands beside it, if any.

    Raises:
        InputError: the file cannot be read.
    """
    for record in stream_records(source.path, source.mistakes):
        fields = Fields(record, source.mistakes)
        task_id = fields.task_id()
        answer = text_of(fields)
        if not task_id or answer is None:
            continue
        problem = source.problem(task_id, fields.line)
        if problem is not None:
            text, whole = answer
            said = fields.values.get("result")
            yield Found(
                problem=problem,
                text=text,
                whole=whole,
                passed=truth(fields.values.get("passed")),
                said=said if isinstance(said, str) else "",
            )


def text_of(fields: Fields) -> tuple[str, bool] | None:
    """An answer and whether it is a whole program; None where it is missing, which is noted."""
    named = [name for name in ("completion", "solution") if name in fields.values]
    if len(named) == 2:
        fields.wrong("both 'completion' and 'solution' are there; keep the one that is meant")
    elif not named:
        found = ", ".join(map(repr, list(fields.values)[:20])) or "nothing"
        fields.wrong(
            "field 'completion' (continues the prompt) or 'solution' (a whole program) is missing; "
            f"there is {found}"
        )
    elif not isinstance(fields.values[named[0]], str):
        fields.text(named[0])
    else:
        return fields.values[named[0]], named[0] == "solution"
    return None
