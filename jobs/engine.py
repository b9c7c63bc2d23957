"""Ask a model: the same questions and seed give the same text.

What is promised: in float32, on one kind of device with one version of torch and the same number of
threads, the same list of questions gives identical text, whoever runs it. The random numbers of an
answer depend on seed, problem and position alone. What is not: another list of questions (or a
batch halved for want of memory) pads differently, which changes the last bits of a score, and now
and then a token whose rival was as likely.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch

from jobs.answers import Answer, Finish
from jobs.decoding import (
    Decoding,
    Prompt,
    PromptTooLongError,
    Row,
    Sampling,
    Stops,
    answer_text,
    read_prompt,
)
from jobs.experiment import Asking
from jobs.loaded import EngineError, Loaded, load_model
from jobs.prompts import Question

__all__ = ["Answer", "EngineError", "Loaded", "Piece", "generate", "load_model", "stream"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """One more token of an answer that is being written."""

    text: str
    """What is now certain and was not before; often empty."""
    prompt_tokens: int
    tokens: int
    """Tokens drawn so far."""
    finish: Finish | None = None
    """Set on the last piece."""


def generate(
    loaded: Loaded,
    questions: Sequence[Question],
    asking: Asking,
    stop: Sequence[str],
    seed: int,
    progress: Callable[[int], None] = lambda done: None,
) -> Iterator[Answer]:
    """Every answer, in the order of the questions and of the positions within each.

    Prompts of like length are read together, each once for all its answers; answers that are
    finished leave their batch. A batch that does not fit into memory is tried again in halves. A
    question that the model has no room for is answered with nothing (`finish` is `length`).

    Args:
        loaded: see `load_model`.
        questions: each `task_id` once.
        asking: how many answers, drawn how.
        stop: an answer ends before the first of these strings, and of those that questions name.
        seed: of the draws; greedy answers do not depend on it.
        progress: is told how many answers are finished, whenever one is.

    Raises:
        EngineError: a prompt is empty, or one answer alone does not fit into memory.
    """
    prompts = [prompt for q in questions if (prompt := _fitting(loaded, q, asking)) is not None]
    rows = [Row(prompt, position) for prompt in prompts for position in range(asking.completions)]
    unanswered = len(questions) * asking.completions - len(rows)
    sampling = Sampling(temperature=asking.temperature, top_p=asking.top_p, seed=seed)
    stops = Stops(loaded, _all_stops(stop, questions))
    done: dict[tuple[str, int], Row] = {}
    for batch in batches(rows, loaded.budget):
        for row in _answered(loaded, batch, sampling, stops):
            done[row.prompt.task_id, row.position] = row
            progress(unanswered + len(done))
    fitting = {prompt.task_id for prompt in prompts}
    for question in questions:
        for position in range(asking.completions):
            if question.task_id in fitting:
                yield _answer(question, done.pop((question.task_id, position)))
            else:
                yield _silence(question, position)


def stream(
    loaded: Loaded, question: Question, asking: Asking, stop: Sequence[str], seed: int
) -> Iterator[Piece]:
    """One answer, a piece for each token; the pieces joined are the answer's text.

    What may turn out to begin a stop string is held back until that is known. Closing the iterator
    ends the work.
    """
    row = Row(read_prompt(loaded, question, asking.max_new_tokens), 0)
    sampling = Sampling(temperature=asking.temperature, top_p=asking.top_p, seed=seed)
    stop = _all_stops(stop, [question])
    decoding = Decoding(loaded, [row], sampling, Stops(loaded, stop))
    told = 0
    while row.finish is None:
        decoding.step()
        text = row.text if row.finish else _settled(answer_text(loaded.tokenizer, row), stop)
        yield Piece(
            text=text[told:],
            prompt_tokens=len(row.prompt.tokens),
            tokens=len(row.tokens),
            finish=row.finish,
        )
        told = max(told, len(text))


def batches(rows: Sequence[Row], budget: int) -> Iterator[list[Row]]:
    """Rows of like length together, no batch above `budget` tokens unless it is a single row."""
    batch: list[Row] = []
    for row in sorted(rows, key=lambda row: len(row.prompt.tokens)):
        longest = len(row.prompt.tokens) + row.prompt.room
        if batch and (len(batch) + 1) * longest > budget:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


def _answered(
    loaded: Loaded, rows: Sequence[Row], sampling: Sampling, stops: Stops
) -> Iterator[Row]:
    """The rows of one batch as they finish, the batch halved for as long as it does not fit."""
    try:
        yield from _written(loaded, rows, sampling, stops)
        return
    except RuntimeError as error:
        if not _out_of_memory(error):
            raise
        if len(rows) == 1:
            raise EngineError(
                f"problem {rows[0].prompt.task_id}: the model and one answer do not fit into "
                f"memory: {error}"
            ) from None
    if loaded.device.type == "cuda":
        torch.cuda.empty_cache()
    unfinished = [Row(row.prompt, row.position) for row in rows if row.finish is None]
    half = (len(unfinished) + 1) // 2
    for part in (unfinished[:half], unfinished[half:]):
        if part:
            yield from _answered(loaded, part, sampling, stops)


def _written(
    loaded: Loaded, rows: Sequence[Row], sampling: Sampling, stops: Stops
) -> Iterator[Row]:
    """The rows of one batch; a function of its own, so that memory is free before the halves."""
    decoding = Decoding(loaded, rows, sampling, stops)
    while decoding.rows:
        yield from decoding.step()


def _out_of_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "allocate memory" in str(error)


def _settled(text: str, stop: Sequence[str]) -> str:
    """The part of a growing text that no further token can change or take back."""
    settled = text.rstrip("\ufffd")
    begun = [
        size for string in stop for size in range(1, len(string)) if settled.endswith(string[:size])
    ]
    return settled[: len(settled) - max(begun, default=0)]


def _all_stops(stop: Sequence[str], questions: Sequence[Question]) -> tuple[str, ...]:
    named = dict.fromkeys(question.stop for question in questions if question.stop)
    return (*stop, *named)


def _fitting(loaded: Loaded, question: Question, asking: Asking) -> Prompt | None:
    try:
        return read_prompt(loaded, question, asking.max_new_tokens)
    except PromptTooLongError:
        return None


def _silence(question: Question, position: int) -> Answer:
    """What a model says to a question that it has no room for."""
    return Answer(
        task_id=question.task_id,
        position=position,
        text="",
        whole=question.whole,
        tokens=0,
        finish="length",
    )


def _answer(question: Question, row: Row) -> Answer:
    assert row.finish is not None, f"{row.prompt.task_id}: answer {row.position} is not finished"
    return Answer(
        task_id=question.task_id,
        position=row.position,
        text=row.text,
        whole=question.whole,
        tokens=len(row.tokens),
        finish=row.finish,
    )
