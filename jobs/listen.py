"""Messages of remote workers become progress bars and live rows of the ledger."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from database import schema
from jobs.pipeline import Work
from jobs.progress import Board
from jobs.record import Recorder
from jobs.train import Progress

if TYPE_CHECKING:
    from cluster.mailbox import Mailbox

POLL_SECONDS = 0.5


@contextmanager
def listening(
    mailbox: "Mailbox", recorder: Recorder, board: Board, works: Sequence[Work]
) -> Iterator[None]:
    """Read the mailbox in the background until the block ends."""
    labels = {work.run.id: work.run.label for work in works}
    ended = threading.Event()

    def listen() -> None:
        while not ended.wait(POLL_SECONDS):
            _receive(mailbox.drain(), recorder, board, labels)

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _receive(messages: list[Any], recorder: Recorder, board: Board, labels: dict[str, str]) -> None:
    steps = [message for message in messages if isinstance(message, Progress)]
    recorder.steps(map(_row, steps))
    for step in steps:
        label = f"{labels[step.run_id]}: training"
        board.update(label, "steps", step.step, step.of, f"loss {step.loss:.3f}")
    for told in messages:
        if not isinstance(told, Progress):
            label = f"{labels[told['run_id']]}: generating {told['benchmark']}"
            board.update(label, "answers", told["done"], told["of"])


def _row(step: Progress) -> schema.Step:
    fields = asdict(step)
    del fields["of"]
    return schema.Step(run=fields.pop("run_id"), **fields)
