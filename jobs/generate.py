"""One run asks one model one benchmark: a file of answers that is complete once it exists."""

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from jobs.experiment import Asking
from jobs.home import written
from jobs.prompts import Question
from jobs.weights import Weights

SECONDS_BETWEEN_MESSAGES = 0.5


class Mailbox(Protocol):
    """Where progress goes; a Ray queue, or anything with its `put`."""

    def put(self, message: dict[str, Any], /) -> Any:
        """Take one message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AskOrder:
    """All that a worker needs to ask a model; travels between processes."""

    run_id: str
    benchmark: str
    weights: Weights
    """On this cluster's shared disk, or the hub."""
    questions: tuple[Question, ...]
    asking: Asking
    stop: tuple[str, ...]
    seed: int
    out: Path
    """Answers, one JSON object a line."""


def ask(order: AskOrder, mailbox: Mailbox, *, gpus: bool) -> None:
    """Answer an order on the cluster this process is connected to, and wait.

    A worker that dies is replaced, up to three times; answers that exist are not made again.

    Raises:
        EngineError: the model cannot be asked.
    """
    import ray

    remote = ray.remote(generate_run)
    options = {"num_cpus": 1, "num_gpus": 1 if gpus else 0, "max_retries": 3}
    try:
        ray.get(remote.options(**options).remote(order, mailbox))
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None


def generate_run(order: AskOrder, mailbox: Mailbox) -> Path:
    """Answer every question of an order, unless that is done already.

    Writes beside `order.out` and renames, so that a path that exists is complete. Sends
    `{run_id, stage, benchmark, done, of}` at most twice a second, and when all is
    answered (a little before the file exists).

    Raises:
        EngineError: the model cannot be asked.
    """
    from jobs.engine import generate, load_model  # the driver imports this module, but no torch

    if order.out.exists():
        return order.out
    loaded = load_model(order.weights)
    teller = _Teller(order, mailbox)
    answers = generate(
        loaded, order.questions, order.asking, order.stop, order.seed, progress=teller.tell
    )
    with written(order.out) as unfinished, unfinished.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(asdict(answer)) + "\n" for answer in answers)
    return order.out


class _Teller:
    """Progress, at a pace that a mailbox can bear."""

    def __init__(self, order: AskOrder, mailbox: Mailbox) -> None:
        self.order = order
        self.mailbox = mailbox
        self.of = len(order.questions) * order.asking.completions
        self.next = 0.0

    def tell(self, done: int) -> None:
        """Send a message unless one was sent just now; the last is sent in any case."""
        if time.monotonic() < self.next and done < self.of:
            return
        self.next = time.monotonic() + SECONDS_BETWEEN_MESSAGES
        self.mailbox.put(
            {
                "run_id": self.order.run_id,
                "stage": "generate",
                "benchmark": self.order.benchmark,
                "done": done,
                "of": self.of,
            }
        )
