"""`python -m jobs.training ORDER.json`: repeat one training without Ray, alone or under torchrun.

    python -m jobs.training runs/.../order.json
    torchrun --nproc-per-node 2 -m jobs.training runs/.../order.json

Prints one line a step. What is done is not done again; what was begun goes on.
"""

import argparse
import os
import shutil
import socket
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from jobs.training.order import TrainingError, TrainOrder, from_json
from jobs.training.steps import Progress


class Printer:
    """Tells of steps on the standard output."""

    def put(self, *messages: Progress) -> None:
        """One line each."""
        for message in messages:
            step = message.step
            aside = "" if step.held_out_loss is None else f"  held out {step.held_out_loss:.4f}"
            print(
                f"step {step.step}/{message.of}  loss {step.loss:.4f}{aside}  "
                f"rate {step.learning_rate:.3g}  norm {step.gradient_norm:.3g}  "
                f"{step.tokens / step.seconds:.0f} tokens/s",
                flush=True,
            )


def main(arguments: Sequence[str]) -> int:
    """Carry out an order.

    Returns:
        0 when it is done, 2 when the order or what it names has to be put right.
    """
    parser = argparse.ArgumentParser(prog="python -m jobs.training", description=__doc__)
    parser.add_argument("order", type=Path, help="order.json, as `python -m jobs run` leaves it")
    parser.add_argument("--folder", type=Path, help="where the weights go, instead of the order's")
    given = parser.parse_args(arguments)
    try:
        order = _read(given.order)
        if given.folder:
            order = replace(order, folder=given.folder.absolute())
        _carry_out(order)
    except TrainingError as error:
        print(error, file=sys.stderr)
        return 2
    if int(os.environ.get("RANK", 0)) == 0:
        print(f"done: {order.checkpoint}")
    return 0


def _read(path: Path) -> TrainOrder:
    try:
        return from_json(path.read_text())
    except OSError as error:
        raise TrainingError(f"{path} cannot be read: {error.strerror}") from None


def _carry_out(order: TrainOrder) -> None:
    from torch import distributed

    from jobs.training import ending
    from jobs.training.worker import train_worker

    if os.environ.get("RANK", "0") == "0" == os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"):
        ending.forget(order)
    if order.spread.stage is not None and "WORLD_SIZE" not in os.environ:
        os.environ.update(_only_rank())
    try:
        train_worker(order, Printer())
        shutil.rmtree(order.attempts, ignore_errors=True)
    finally:
        if distributed.is_initialized():
            distributed.destroy_process_group()


def _only_rank() -> dict[str, str]:
    """What torchrun would say to one worker; DeepSpeed asks even where it is alone."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return {
        "RANK": "0",
        "LOCAL_RANK": "0",
        "WORLD_SIZE": "1",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
