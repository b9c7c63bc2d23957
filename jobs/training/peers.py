"""The workers of one training, and what they tell each other."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
from torch import distributed

from cluster.gang import COLLECTIVE_TIMEOUT_SECONDS, HopelessError

Found = TypeVar("Found")


@dataclass(frozen=True, slots=True)
class Peers:
    """This worker among the others. All must call the same, in the same order."""

    rank: int = 0
    ranks: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the one that writes and tells."""
        return self.rank == 0

    def numbers(self, mine: Sequence[float], device: torch.device) -> list[list[float]]:
        """Everybody's numbers, equally many of each, by rank. One collective."""
        if self.ranks == 1:
            return [list(mine)]
        sent = torch.tensor(mine, dtype=torch.float64, device=device)
        received = sent.new_empty(self.ranks * len(mine))
        distributed.all_gather_single(received, sent)
        return received.view(self.ranks, -1).tolist()

    def told(self, mine: Found) -> list[Found]:
        """What everybody says, by rank; nobody goes on before all have said it."""
        if self.ranks == 1:
            return [mine]
        found: list[Found | None] = [None] * self.ranks
        distributed.all_gather_object(found, mine)
        return found  # type: ignore[return-value]

    def together(self, work: Callable[[], Found]) -> Found:
        """Do something that has no collective in it, and fail on all workers where one fails.

        Raises:
            HopelessError: what the first worker that failed raised.
        """
        failure: HopelessError | None = None
        try:
            found = work()
        except HopelessError as error:
            failure = error
        for told in self.told(failure):
            if told is not None:
                raise told
        return found


def peers() -> Peers:
    """Of the process group that whoever started us has made, or is starting us for; or alone."""
    if not distributed.is_initialized() and int(os.environ.get("WORLD_SIZE", 1)) > 1:
        gpus = torch.cuda.is_available()
        if gpus:
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        distributed.init_process_group(
            "nccl" if gpus else "gloo", timeout=timedelta(seconds=COLLECTIVE_TIMEOUT_SECONDS)
        )
    if not distributed.is_initialized():
        return Peers()
    return Peers(distributed.get_rank(), distributed.get_world_size())
