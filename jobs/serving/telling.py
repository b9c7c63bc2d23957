"""What is told to whoever asked a model, from taking the question to the last token."""

from dataclasses import dataclass

from jobs.answers import Finish

WAITING = "waiting"
"""Other questions are before this one; how many, `ahead` says."""
STARTING = "starting"
"""A replica of the cluster is being started."""
LOADING_MODEL = "loading the model"
LOADING_ADAPTER = "loading the adapter"
WRITING = "writing"
"""The model is there; its first token comes next."""


def ahead(questions: int) -> str:
    """`WAITING` with the number of questions that sit down before."""
    return f"{WAITING}, {questions} ahead" if questions else WAITING


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """One more token of an answer that is being written. Picklable."""

    text: str
    """What is now certain and was not before; often empty."""
    prompt_tokens: int
    tokens: int
    """Tokens drawn so far."""
    finish: Finish | None = None
    """Set on the last piece."""


Told = Piece | str
"""A part of an answer, or in one of the words above what it is waiting for."""
