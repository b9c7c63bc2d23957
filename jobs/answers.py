"""What a model answered: the type, and the file that holds it. Needs no torch."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Finish = Literal["end", "stop", "length", "imported"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One completion of a model."""

    task_id: str
    position: int
    """Which of the problem's completions, from 0."""
    text: str
    """Ends before the first stop string."""
    whole: bool
    """True: a whole program. False: it continues the problem's prompt."""
    tokens: int
    """Tokens drawn, those of a stop string and the end token included; 0 where not known."""
    finish: Finish
    """`end`: the model ended it; `stop`: a stop string; `length`: no room was left; `imported`: it
    was made elsewhere."""


def read_answers(path: Path) -> list[Answer]:
    """The answers of a file that `generate_run` wrote, in its order."""
    return [Answer(**json.loads(line)) for line in path.read_text().splitlines()]
