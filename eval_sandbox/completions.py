"""A user's file of completions, matched to their problems."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from eval_sandbox.benchmarks import problem_id
from eval_sandbox.contract import nearest
from eval_sandbox.mistakes import Mistakes
from eval_sandbox.problem import Completion, Problem
from eval_sandbox.records import Fields, stream_records


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """One completion as it stands in the file."""

    task_id: str | int
    """As the file writes it, so that its owner finds it again."""
    index: int
    """Line number from 0; in a JSON list the position."""
    problem: Problem
    completion: Completion


def stream_completions(path: Path, problems: Sequence[Problem]) -> Iterator[Given]:
    """The completions of a file in its order, any number for each problem, one at a time.

    One object a line: `{"task_id", "completion"}` continues the problem's prompt,
    `{"task_id", "solution"}` is a whole program. Further fields are ignored.

    Args:
        path: .jsonl or .json, either one also as .gz.
        problems: those that may be answered; empty when they could not be read, and then only
            the form of the file is checked.

    Raises:
        InputError: at the end of the file, with every mistake of it (the first 20). Who acts on
            completions before that end calls `count_completions` first.
    """
    by_id = {problem_id(problem.task_id): problem for problem in problems}
    mistakes = Mistakes(path)
    for position, record in enumerate(stream_records(path, mistakes)):
        fields = Fields(record, mistakes)
        task_id = fields.task_id()
        completion = _completion(fields, task_id)
        problem = _problem(fields, task_id, by_id)
        if problem is not None and completion is not None:
            index = position if fields.line is None else fields.line - 1
            as_given = fields.values["task_id"]
            yield Given(task_id=as_given, index=index, problem=problem, completion=completion)
    mistakes.raise_if_any()


def count_completions(path: Path, problems: Sequence[Problem]) -> int:
    """How many completions a file has, once all of it is known to be right.

    Raises:
        InputError: as `stream_completions`.
    """
    return sum(1 for _ in stream_completions(path, problems))


def read_completions(path: Path, problems: Sequence[Problem]) -> list[Given]:
    """All that `stream_completions` gives.

    Raises:
        InputError: as `stream_completions`.
    """
    return list(stream_completions(path, problems))


def _problem(fields: Fields, task_id: str, by_id: Mapping[str, Problem]) -> Problem | None:
    name = problem_id(task_id)
    problem = by_id.get(name)
    if problem is None and task_id and by_id:
        # Among a thousand problems the nearest takes milliseconds to find.
        near = "" if fields.mistakes.enough else by_id[nearest(name, by_id)].task_id
        fields.wrong(
            f"there is no problem {task_id!r} among the {len(by_id)} that were read; "
            f"the nearest is {near!r}"
        )
    return problem


def _completion(fields: Fields, task_id: str) -> Completion | None:
    named = [name for name in ("completion", "solution") if name in fields.values]
    if len(named) == 2:
        fields.wrong("both 'completion' and 'solution' are there; keep the one that is meant")
    elif not named:
        found = ", ".join(map(repr, fields.values)) or "nothing"
        fields.wrong(
            "field 'completion' (continues the prompt) or 'solution' (a whole program) is missing; "
            f"there is {found}"
        )
    else:
        text = fields.text(named[0])
        return Completion(task_id=task_id, text=text, whole=named[0] == "solution")
    return None
