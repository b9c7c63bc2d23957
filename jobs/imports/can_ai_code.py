"""can-ai-code: interviews and evaluations as .ndjson, an answer a line.

Read from github.com/the-crypt-keeper/can-ai-code, results-v1/eval_*.ndjson: `name` of the
question, `language`, `answer`; after its evaluate.py also `code` (what it found in the answer),
`status` (PASS or FAIL), `passed` of `total` checks.
"""

from collections.abc import Iterator

from eval_sandbox.records import Fields, stream_records
from jobs.imports.found import Found, Source, truth


def read(source: Source) -> Iterator[Found]:
    """The answers in Python, as the publisher judged them: `code` where it is there.

    Raises:
        InputError: the file cannot be read.
    """
    for record in stream_records(source.path, source.mistakes):
        fields = Fields(record, source.mistakes)
        if fields.text("language", "python") != "python":
            source.left_out["in other languages than Python"] += 1
            continue
        name, text = fields.text("name"), fields.text("code", "") or fields.text("answer")
        problem = source.problem(name, fields.line) if name else None
        if problem is not None:
            yield Found(
                problem=problem,
                text=text,
                whole=True,
                passed=truth(fields.values.get("status")),
                said=_checks(fields),
            )


def _checks(fields: Fields) -> str:
    passed, total = fields.values.get("passed"), fields.values.get("total")
    if isinstance(passed, int) and isinstance(total, int):
        return f"{passed} of {total} checks"
    return ""
