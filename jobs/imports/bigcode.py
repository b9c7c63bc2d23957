"""bigcode-evaluation-harness: `generations.json`, a list of answers for each problem by position.

Read from github.com/bigcode-project/bigcode-evaluation-harness: each answer has the prompt in
front of it already, so it is a whole program; problems stand in the order of the benchmark's file.
"""

from collections.abc import Iterator
from typing import Any

from eval_sandbox.mistakes import InputError
from eval_sandbox.records import read_document
from jobs.imports.found import Found, Source


def read(source: Source) -> Iterator[Found]:
    """The answers of a file; problems at its end may have none.

    Raises:
        InputError: it is no list of lists of texts, or has more of them than there are problems.
    """
    lists = read_document(source.path)
    _check(source, lists)
    for problem, answers in zip(source.questions.all, lists, strict=False):
        for text in answers:
            yield Found(problem=problem, text=text, whole=True)


def _check(source: Source, lists: Any) -> None:
    if not isinstance(lists, list):
        raise InputError(f"{source.path}: a JSON list with a list of answers for each problem")
    problems = len(source.questions.all)
    if len(lists) > problems:
        raise InputError(
            f"{source.path}: answers to {len(lists)} problems, but the benchmark has {problems}; "
            "they go by position, so which is which cannot be told"
        )
    for place, answers in enumerate(lists):
        if not isinstance(answers, list) or not all(isinstance(text, str) for text in answers):
            source.mistakes.add(None, f"[{place}]: a list of texts is expected")
    source.mistakes.raise_if_any()
