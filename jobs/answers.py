"""What a model answered, and what that cost: the types, and the files that hold them. No torch."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from jobs.home import written

Finish = Literal["end", "stop", "length", "imported"]


class EngineError(Exception):
    """A model cannot be asked; the message says why, and what to change."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What answers cost."""

    device: str
    """`cpu`, the name of the GPU, or the address of the server that was asked."""
    seconds: float
    """Summed over workers, from the model being there to the last answer; of a server the wall
    clock."""
    prompt_tokens: int
    """Read; those of a prompt count once for all its completions."""
    tokens: int
    """Drawn, over all completions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """Answers, and what they cost together."""

    answers: tuple[Answer, ...]
    cost: Cost


def silence(task_id: str, position: int, *, whole: bool) -> Answer:
    """What a model says to a question that it has no room for."""
    return Answer(
        task_id=task_id, position=position, text="", whole=whole, tokens=0, finish="length"
    )


def read_answers(path: Path) -> list[Answer]:
    """The answers of a file that `write_answers` wrote, in its order."""
    return [Answer(**json.loads(line)) for line in path.read_text().splitlines()]


def read_cost(path: Path) -> Cost | None:
    """What the answers of a file cost; None where an older version wrote it."""
    try:
        return Cost(**json.loads(cost_path(path).read_text()))
    except FileNotFoundError:
        return None


def write_answers(path: Path, answers: Sequence[Answer], cost: Cost) -> None:
    """Write answers, one JSON object a line, and their cost beside them.

    Both are renamed into place, the answers last: a file of answers that exists is complete.
    """
    with written(cost_path(path)) as unfinished:
        unfinished.write_text(json.dumps(asdict(cost)))
    with written(path, first=True) as unfinished, unfinished.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(asdict(answer)) + "\n" for answer in answers)


def summed(costs: Sequence[Cost]) -> Cost:
    """The cost of several parts together; their devices are all named."""
    return Cost(
        device=", ".join(sorted({cost.device for cost in costs})),
        seconds=sum(cost.seconds for cost in costs),
        prompt_tokens=sum(cost.prompt_tokens for cost in costs),
        tokens=sum(cost.tokens for cost in costs),
    )


def cost_path(path: Path) -> Path:
    """Where what the answers of a file cost lies."""
    return path.with_suffix(".cost.json")
