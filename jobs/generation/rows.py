"""One answer as it grows, and the prompt that it follows."""

from dataclasses import dataclass, field
from typing import Any

from jobs.answers import Finish
from jobs.loaded import EngineError, Loaded
from jobs.prompts import Question
from jobs.tokens import asked_tokens

CONTEXT = 4
"""Prompt tokens decoded before an answer: some tokenizers drop the space of a text's first word."""


class PromptTooLongError(EngineError):
    """A question leaves a model no room to answer: a limit of the model, not a failure of ours."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """A question as tokens, and the most that may follow it."""

    task_id: str
    tokens: tuple[int, ...]
    room: int

    @property
    def need(self) -> int:
        """The most tokens that it and one answer fill."""
        return len(self.tokens) + self.room


@dataclass(slots=True)
class Row:
    """One answer as it grows."""

    prompt: Prompt
    position: int
    """Which of the prompt's answers, from 0."""
    tokens: list[int] = field(default_factory=list)
    text: str = ""
    """Filled when the answer is finished."""
    finish: Finish | None = None

    @property
    def held(self) -> int:
        """Tokens whose keys and values a model holds: all but the last one drawn."""
        return len(self.prompt.tokens) + len(self.tokens) - 1


def read_prompt(loaded: Loaded, question: Question, max_new_tokens: int) -> Prompt:
    """Tokens of a question, the ones that training has for the same text.

    Raises:
        EngineError: the question is empty.
        PromptTooLongError: it leaves no room for an answer.
    """
    task_id = question.task_id
    (found,) = asked_tokens(loaded.tokenizer, [question.text], templated=question.templated)
    tokens = tuple(found)
    positions = loaded.positions
    room = max_new_tokens if positions is None else min(max_new_tokens, positions - len(tokens))
    if not tokens:
        raise EngineError(f"problem {task_id}: the prompt is empty")
    if room < 1:
        raise PromptTooLongError(
            f"problem {task_id}: its prompt has {len(tokens)} tokens, and the model ends at "
            f"{positions}"
        )
    return Prompt(task_id, tokens, room)


def answer_text(tokenizer: Any, row: Row) -> str:
    """What a row's tokens say after its prompt, special tokens left out."""
    context = list(row.prompt.tokens[-CONTEXT:])
    before = tokenizer.decode(context, skip_special_tokens=True)
    whole: str = tokenizer.decode(context + row.tokens, skip_special_tokens=True)
    return whole[len(before) :]
