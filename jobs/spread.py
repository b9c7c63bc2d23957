"""How the rows of a step fall to workers and micro batches."""

from dataclasses import dataclass
from math import ceil
from typing import Self

from jobs.experiment import LoRA


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """The same for every step and worker, so that workers meet equally often."""

    ranks: int
    micro_batch_size: int
    micro_batches: int
    """Per worker and step."""

    @classmethod
    def of(cls, method: LoRA, ranks: int) -> Self:
        """Shares as equal as can be; a micro batch is a whole share unless the method says less."""
        share = ceil(method.batch_size / ranks)
        size = min(method.micro_batch_size or share, share)
        return cls(ranks=ranks, micro_batch_size=size, micro_batches=ceil(share / size))
