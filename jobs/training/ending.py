"""How workers end a training that another attempt would not mend: all of them, with one reason."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from jobs.training.fence import SupersededError
from jobs.training.order import TrainingError, TrainOrder
from jobs.training.settings import Settings, Spread
from jobs.training.shortage import is_shortage

if TYPE_CHECKING:
    from jobs.training.peers import Peers

REASON = "reason"
"""Among the checkpoints of a training that is not done: what a worker said that ended alone."""
LONGEST = 300
"""Characters of what torch said."""


@contextmanager
def as_one(order: TrainOrder, mates: "Peers") -> Iterator[None]:
    """End all workers where one ends for good, a shortage of memory included.

    Mostly all of them end alike. Where one ends alone, others may be waiting for it in a
    collective; so its process fails, and with it whoever started them ends all. When they are
    started again, `left_by` has the reason for all of them.

    Raises:
        TrainingError: on all workers; of a shortage of memory it names what would help.
        RuntimeError: this worker has ended alone.
    """
    try:
        yield
    except SupersededError:  # the reason would be read by those who go on
        raise
    except TrainingError as error:
        _leave(order, mates, error)
        raise
    except (MemoryError, RuntimeError) as error:
        if not is_shortage(error):
            raise
        shortage = TrainingError(_sentence(order, mates.rank, error))
        _leave(order, mates, shortage)
        raise shortage from None


def _leave(order: TrainOrder, mates: "Peers", error: TrainingError) -> None:
    """Return where all workers end; else leave the reason behind, and fail."""
    if mates.all_end():
        return
    order.attempts.mkdir(parents=True, exist_ok=True)
    (order.attempts / REASON).write_text(str(error))
    raise RuntimeError(str(error)) from None


def left_by(order: TrainOrder) -> str | None:
    """Why a worker of an earlier start of the same attempt ended alone; None: none did."""
    path = order.attempts / REASON
    return path.read_text() if path.exists() else None


def forget(order: TrainOrder) -> None:
    """A new attempt begins, which may go better."""
    (order.attempts / REASON).unlink(missing_ok=True)


def remedies(settings: Settings, spread: Spread) -> list[str]:
    """What makes a training need less memory, as it would stand in an experiment."""
    longest = settings.max_length
    if settings.micro_batch_tokens > longest:
        found = [f"a smaller micro_batch_tokens (now {settings.micro_batch_tokens})"]
    else:  # a longer row goes through alone
        found = [f"a smaller max_length (now {longest})"]
    if not settings.activation_checkpointing:
        found.append("activation_checkpointing: true")
    if settings.adapter is None:
        found.append("kind: lora")
    elif settings.adapter.quantization is None:
        found.append("kind: qlora")
    if spread.stage != 3:
        found.append("parallelism with strategy: zero3 over more workers")
    elif spread.offload != "parameters":
        found.append("parallelism with offload: parameters")
    return found


def _sentence(order: TrainOrder, rank: int, error: Exception) -> str:
    said = " ".join(str(error).split())[:LONGEST] or type(error).__name__
    return (
        f"run {order.run_id}: worker {rank} on {socket.gethostname()} ran out of memory, and would "
        f"again ({said}). What helps: {'; '.join(remedies(order.settings, order.spread))}. "
        "`python -m jobs plan` estimates what each needs"
    )
