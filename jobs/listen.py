"""Messages of remote workers become progress bars and live rows of the ledger."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from database import schema
from jobs.pipeline import Work
from jobs.progress import Board
from jobs.record import Recorder

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


def _receive(
    messages: list[dict[str, Any]], recorder: Recorder, board: Board, labels: dict[str, str]
) -> None:
    recorder.steps(_step(m) for m in messages if m["stage"] == "train")
    for message in messages:
        label = labels[message["run_id"]]
        if message["stage"] == "train":
            note = f"loss {message['loss']:.3f}"
            board.update(f"{label}: training", "steps", message["step"], message["of"], note)
        else:
            label = f"{label}: generating {message['benchmark']}"
            board.update(label, "answers", message["done"], message["of"])


def _step(message: dict[str, Any]) -> schema.Step:
    names = ("step", "loss", "learning_rate", "gradient_norm", "tokens", "seconds")
    return schema.Step(run=message["run_id"], **{name: message[name] for name in names})
