"""Messages of remote workers become progress bars and live rows of the ledger."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from jobs.progress import Board
from jobs.record import Recorder
from jobs.stages import Work
from jobs.training.steps import Progress

if TYPE_CHECKING:
    from cluster.mailbox import Mailbox

POLL_SECONDS = 0.5


@contextmanager
def listening(
    mailbox: "Mailbox", recorder: Recorder, board: Board, works: Sequence[Work]
) -> Iterator[None]:
    """Read the mailbox in the background until the block ends."""
    listener = Listener(recorder, board, {work.run.id: work.run.label for work in works})
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
        thread.join()


@dataclass
class Listener:
    """Understands messages; remembers the last held-out loss of each training, and how far each
    part of a generation is."""

    recorder: Recorder
    board: Board
    labels: dict[str, str]
    """Of the runs, by id."""
    held_out: dict[str, str] = field(default_factory=dict)
    answers: dict[str, dict[str, int]] = field(default_factory=dict)
    """By label of a generation and name of a part; a part that is asked again begins at 0."""

    def receive(self, messages: Sequence[Any]) -> None:
        """Record and show what trainings and generations tell."""
        steps = [message for message in messages if isinstance(message, Progress)]
        self.recorder.steps(steps)
        for told in steps:
            label = f"{self.labels.get(told.run_id, told.run_id)}: training"
            self.board.update(label, "steps", told.step.step, told.of, self._note(told))
        for told in messages:
            if not isinstance(told, Progress):
                label = f"{self.labels[told['run_id']]}: generating {told['benchmark']}"
                parts = self.answers.setdefault(label, {})
                parts[told["part"]] = told["done"]
                self.board.update(label, "answers", sum(parts.values()), told["of"])

    def _note(self, told: Progress) -> str:
        step = told.step
        if step.held_out_loss is not None:
            self.held_out[told.run_id] = f", held-out {step.held_out_loss:.3f} at {step.step}"
        return f"loss {step.loss:.3f}{self.held_out.get(told.run_id, '')}"
