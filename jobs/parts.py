"""A benchmark in parts: what one worker answers at a time, kept on disk until all are answered.

Which questions are a part follows from the questions and the asking alone, never from the number of
workers, because the engine's batches are those of a part.
"""

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from jobs.answers import Answer, Answered, Cost, summed
from jobs.experiment import Asking, short_hash
from jobs.home import written
from jobs.prompts import Question

TOKENS_A_PART = 100_000
"""Of prompts and answers at their longest: about what one GPU holds at once, so that a part is no
slower than the whole would be, and a worker that dies loses some minutes at most."""
CHARACTERS_PER_TOKEN = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Questions that are answered together."""

    name: str
    """12 hex digits over the questions."""
    questions: tuple[Question, ...]


def cut(questions: Sequence[Question], asking: Asking) -> list[Part]:
    """Questions of like length together, the longest first: the last worker to end began late.

    A part has at most `TOKENS_A_PART` tokens, estimated, unless it is a single question.
    """
    parts: list[list[Question]] = []
    room = 0.0
    for question in sorted(questions, key=lambda question: -len(question.text)):
        tokens = len(question.text) / CHARACTERS_PER_TOKEN + asking.max_new_tokens
        needed = asking.completions * tokens
        if not parts or needed > room:
            parts.append([])
            room = TOKENS_A_PART
        parts[-1].append(question)
        room -= needed
    return [Part(name=_name(part), questions=tuple(part)) for part in parts]


def _name(questions: Sequence[Question]) -> str:
    return short_hash([asdict(question) for question in questions])


class KeptParts:
    """The parts that are answered already, in a folder beside the file that they become."""

    def __init__(self, out: Path) -> None:
        """Look beside a file of answers."""
        self.folder = out.with_suffix(".parts")

    def has(self, part: Part) -> bool:
        """Whether a part is answered."""
        return self._path(part).exists()

    def keep(self, part: Part, answered: Answered) -> None:
        """Keep the answers to a part."""
        with written(self._path(part)) as unfinished:
            unfinished.write_text(json.dumps(asdict(answered)))

    def together(self, parts: Sequence[Part], questions: Sequence[Question]) -> Answered:
        """Every answer, in the order of the questions and of the positions within each."""
        found = [self._read(part) for part in parts]
        answers = {(a.task_id, a.position): a for answered in found for a in answered.answers}
        place = {question.task_id: number for number, question in enumerate(questions)}
        ordered = sorted(answers, key=lambda key: (place[key[0]], key[1]))
        return Answered(
            answers=tuple(answers[key] for key in ordered),
            cost=summed([answered.cost for answered in found]),
        )

    def remove(self) -> None:
        """Take the folder away."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _read(self, part: Part) -> Answered:
        stored = json.loads(self._path(part).read_text())
        answers = tuple(Answer(**answer) for answer in stored["answers"])
        return Answered(answers=answers, cost=Cost(**stored["cost"]))

    def _path(self, part: Part) -> Path:
        return self.folder / f"{part.name}.json"
