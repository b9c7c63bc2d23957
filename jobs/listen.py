"""Messages of remote workers become progress bars and live rows of the ledger."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from jobs.generate import KEPT
from jobs.progress import Board
from jobs.record import Recorder
from jobs.training.steps import Progress

if TYPE_CHECKING:
    from jobs.workplace import Workplace

POLL_SECONDS = 0.5
END_SECONDS = 30.0
"""The longest wait for the last messages: a mailbox may be gone with its cluster."""


@contextmanager
def listening(place: "Workplace", labels: Mapping[str, str]) -> Iterator[None]:
    """Read the mailbox of a workplace in the background until the block ends.

    Args:
        place: where everything is told.
        labels: of the runs, by id.
    """
    mailbox, board = place.mailbox, place.board
    listener = Listener(
        place.recorder, board, labels, log=place.logs.say, counted=place.telemetry.stage
    )
    ended = threading.Event()

    def listen() -> None:
        last = False
        while not last:
            last = ended.wait(POLL_SECONDS)  # and once more after the end
            try:
                listener.receive(mailbox.drain())
            except Exception as error:  # what is shown live is recorded again at the end
                board.say(f"  progress was not recorded: {error}")

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(END_SECONDS)


@dataclass
class Listener:
    """Understands messages; remembers the last held-out loss of each training, and how far each
    part of a generation is."""

    recorder: Recorder
    board: Board
    labels: Mapping[str, str]
    """Of the runs, by id."""
    log: Callable[[str, str], None] = lambda run_id, text: None
    """Takes a line on a run."""
    counted: Callable[..., None] = lambda run_id, name, done, of, *, found: None
    """Takes how many answers of a stage are there, of how many, and how many of them were found."""
    held_out: dict[str, str] = field(default_factory=dict)
    answers: dict[str, dict[str, int]] = field(default_factory=dict)
    """By label of a generation and name of a part; a part that is asked again begins at 0."""

    def receive(self, messages: Sequence[Any]) -> None:
        """Record and show what trainings and generations tell."""
        steps = [message for message in messages if isinstance(message, Progress)]
        self.recorder.steps(steps)
        for told in steps:
            label = f"{self.labels.get(told.run_id, told.run_id)}: training"
            note = self._note(told)
            self.board.update(label, "steps", told.step.step, told.of, note)
            self.log(told.run_id, f"step {told.step.step} of {told.of}: {note}")
        for told in messages:
            if not isinstance(told, Progress):
                name = f"generating {told['benchmark']}"
                label = f"{self.labels[told['run_id']]}: {name}"
                parts = self.answers.setdefault(label, {})
                parts[told["part"]] = told["done"]
                done = sum(parts.values())
                self.board.update(label, "answers", done, told["of"])
                found = parts.get(KEPT, 0)
                self.counted(told["run_id"], name, done, told["of"], found=found)

    def _note(self, told: Progress) -> str:
        step = told.step
        if step.held_out_loss is not None:
            self.held_out[told.run_id] = f", held-out {step.held_out_loss:.3f} at {step.step}"
        return f"loss {step.loss:.3f}{self.held_out.get(told.run_id, '')}"
