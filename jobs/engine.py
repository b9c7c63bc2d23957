"""Ask a model: the same question and seed give the same text, whatever is asked beside it.

What is promised: in float32, on one thread of one kind of CPU with one version of torch, which is
how the workers of a cluster without GPUs ask, an answer depends on model, question, position, seed
and the way of drawing; not on the other questions, on how many are written at once, on who writes
them. The random numbers of an answer come from seed, problem and position alone; a prompt is read
alone; what a token's scores are sums of is added in the same order whatever stands beside it (see
`LEAST_ON_CPU`, `jobs/generation/seats.py` and `sharing.py`). What is not: in bfloat16, on several
threads and on a GPU, kernels are chosen by the size of a batch. There the last bits of a score may
differ, and now and then a token whose rival was as likely.
"""

from collections.abc import Callable, Iterator, Sequence

import torch

from jobs.answers import Answer, silence
from jobs.experiment import Asking
from jobs.generation.draws import Sampling
from jobs.generation.rows import Prompt, PromptTooLongError, Row, read_prompt
from jobs.generation.stops import Stops
from jobs.generation.writing import Writing
from jobs.loaded import EngineError, Loaded, load_model
from jobs.prompts import Question, every_stop
from jobs.training.shortage import is_shortage

LEAST_ON_CPU = 16
"""Seats, taken or not: with fewer rows a CPU's library sums a product in another order."""
__all__ = ["Answer", "EngineError", "Loaded", "generate", "load_model"]


def generate(
    loaded: Loaded,
    questions: Sequence[Question],
    asking: Asking,
    stop: Sequence[str],
    seed: int,
    progress: Callable[[int], None] = lambda done: None,
) -> Iterator[Answer]:
    """Every answer, in the order of the questions and of the positions within each.

    A prompt is read once for all its answers; answers that are finished give their place to the
    next. Where memory does not suffice, half as many are written at once from then on. A question
    that the model has no room for is answered with nothing (`finish` is `length`).

    Args:
        loaded: see `load_model`.
        questions: each `task_id` once.
        asking: how many answers, drawn how.
        stop: an answer ends before the first of these strings, and of those that questions name.
        seed: of the draws; greedy answers do not depend on it.
        progress: is told how many answers are finished, whenever one is.

    Raises:
        EngineError: a prompt is empty, or not even the fewest answers fit into memory.
    """
    prompts = [prompt for q in questions if (prompt := _fitting(loaded, q, asking)) is not None]
    rows = [Row(prompt, position) for prompt in prompts for position in range(asking.completions)]
    unanswered = len(questions) * asking.completions - len(rows)
    stops = Stops(loaded, every_stop(stop, questions))
    done: dict[tuple[str, int], Row] = {}
    for row in written(loaded, rows, Sampling.of(asking, seed), stops):
        done[row.prompt.task_id, row.position] = row
        progress(unanswered + len(done))
    fitting = {prompt.task_id for prompt in prompts}
    for question in questions:
        for position in range(asking.completions):
            if question.task_id in fitting:
                yield _answer(question, done.pop((question.task_id, position)))
            else:
                yield silence(question.task_id, position, whole=question.whole)


def written(loaded: Loaded, rows: Sequence[Row], sampling: Sampling, stops: Stops) -> Iterator[Row]:
    """Rows as they finish, those with the longest prompts first.

    The most that are written at once is what fits into the model's budget of tokens. The budget is
    halved when memory runs out, for good, and the rows that were on their way begin again.

    Raises:
        EngineError: not even the fewest answers fit into memory: one, on a CPU 16.
    """
    left = sorted(rows, key=lambda row: row.prompt.need, reverse=True)
    least = LEAST_ON_CPU if loaded.device.type == "cpu" else 1
    while left:
        seats = max(least, min(loaded.budget // left[0].prompt.need, loaded.seats, len(left)))
        full = ""
        try:
            yield from Writing(loaded, left, seats, sampling, stops).rest()
        except (RuntimeError, MemoryError) as error:
            if not is_shortage(error):
                raise
            full = str(error)
        # Here and not above: while an error is handled, it keeps the memory that did not suffice.
        left = [Row(row.prompt, row.position) for row in left if row.finish is None]
        if not left:
            return
        if seats == least:
            answers = "one answer" if seats == 1 else f"{seats} answers"
            raise EngineError(
                f"problem {left[0].prompt.task_id}: the model and {answers} of "
                f"{left[0].prompt.need} tokens do not fit into memory: {full}"
            )
        if loaded.device.type == "cuda":
            torch.cuda.empty_cache()
        loaded.budget = seats // 2 * left[0].prompt.need


def _fitting(loaded: Loaded, question: Question, asking: Asking) -> Prompt | None:
    try:
        return read_prompt(loaded, question, asking.max_new_tokens)
    except PromptTooLongError:
        return None


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
