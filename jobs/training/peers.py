"""The workers of one training, and what they tell each other."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count
from typing import TypeVar

import torch
from torch import distributed

from cluster.gang import COLLECTIVE_TIMEOUT_SECONDS, HopelessError

PATIENCE_SECONDS = 6 * 3600.0
"""How long workers wait where one may have to load, download or write a whole model. Nobody waits
so long for a dead one: whoever started them ends them all then."""
ENDING_SECONDS = 10.0
"""In which others come to an end too, where they fail for the same reason."""
LONGEST_PAUSE = 0.1
"""Seconds between two looks for those who are waited for."""

Found = TypeVar("Found")


@dataclass(frozen=True, slots=True)
class Peers:
    """This worker among the others. All must call the same, in the same order."""

    rank: int = 0
    ranks: int = 1
    _meetings: Iterator[int] = field(
        init=False, repr=False, compare=False, default_factory=lambda: count()
    )

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

        It may take one worker much longer than others, such as the first to write a model.

        Raises:
            HopelessError: what the first worker that failed raised.
            TimeoutError: a worker did not come for `PATIENCE_SECONDS`.
        """
        failure: HopelessError | None = None
        try:
            found = work()
        except HopelessError as error:
            failure = error
        self._meet()
        for told in self.told(failure):
            if told is not None:
                raise told
        return found

    def all_end(self) -> bool:
        """Whether all workers come to the end at which this one is, within `ENDING_SECONDS`."""
        try:
            return self._come("end", ENDING_SECONDS)
        except distributed.DistError:  # the first of them has ended, and the store was with it
            return True

    def _meet(self) -> None:
        """Wait until all are here. Not in a collective, which gives up after some minutes."""
        if not self._come(str(next(self._meetings)), PATIENCE_SECONDS):
            raise TimeoutError(f"worker {self.rank} has waited for {PATIENCE_SECONDS:.0f} s")

    def _come(self, meeting: str, seconds: float) -> bool:
        """Whether all come to a meeting in time."""
        if self.ranks == 1:
            return True
        store = distributed.distributed_c10d._get_default_store()
        deadline, pause = time.monotonic() + seconds, 0.001
        names = [f"codeladder/{meeting}/{rank}" for rank in range(self.ranks)]
        store.set(names[self.rank], "here")
        while not store.check(names):
            if time.monotonic() > deadline:
                return False
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
        return True


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
