"""Answers of a server as they come: none is asked for twice, whenever we were killed."""

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from jobs.answers import Answer, Answered, Cost
from jobs.home import written


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """One answer, and what it cost."""

    answer: Answer
    prompt_tokens: int
    """That the server counted."""
    seconds: float
    """Since the answer before it, or since asking began or went on."""


class KeptAnswers:
    """The answers so far, in a file beside the one that they become."""

    def __init__(self, out: Path) -> None:
        """Read those that are there; a last line that was cut off is not."""
        self._out = out
        self._path = _folder(out) / "answers.jsonl"
        self.found = {(kept.answer.task_id, kept.answer.position): kept for kept in self._read()}
        with written(self._path) as unfinished:
            unfinished.write_text("".join(map(_line, self.found.values())))
        self._file: IO[str] = self._path.open("a", encoding="utf-8")

    def __enter__(self) -> "KeptAnswers":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, kept: Kept) -> None:
        """Keep one more."""
        self.found[kept.answer.task_id, kept.answer.position] = kept
        self._file.write(_line(kept))
        self._file.flush()

    def together(self, order: Sequence[tuple[str, int]], device: str) -> Answered:
        """All of them in an order, each task and position once, and their cost."""
        kept = [self.found[key] for key in order]
        cost = Cost(
            device=device,
            seconds=sum(one.seconds for one in kept),
            prompt_tokens=sum(one.prompt_tokens for one in kept if one.answer.position == 0),
            tokens=sum(one.answer.tokens for one in kept),
        )
        return Answered(answers=tuple(one.answer for one in kept), cost=cost)

    def remove(self) -> None:
        """Take the file away, and what else is in its folder."""
        remove_kept(self._out)

    def _read(self) -> Iterator[Kept]:
        if not self._path.exists():
            return
        for line in self._path.read_text(encoding="utf-8").splitlines():
            try:
                stored = json.loads(line)
            except ValueError:
                return
            yield Kept(**stored | {"answer": Answer(**stored["answer"])})


def remove_kept(out: Path) -> None:
    """Take away what was kept beside a file of answers, if anything is."""
    shutil.rmtree(_folder(out), ignore_errors=True)


def _folder(out: Path) -> Path:
    return out.with_suffix(".parts")


def _line(kept: Kept) -> str:
    return json.dumps(asdict(kept)) + "\n"
