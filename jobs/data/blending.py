"""Last stage: the rows that are left, as often as their sources weigh, in shards to train on."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from jobs.data.mixture import repeats
from jobs.data.origin import Source
from jobs.data.row import read_rows, write_rows
from jobs.data.sifting import Shard
from jobs.home import written

# S rows of a shard

Numbers = NDArray[np.int64]
"""Of rows, ascending."""


@dataclass(frozen=True, slots=True)
class Share:
    """A shard and how often each of its rows is written."""

    shard: Shard
    times: NDArray[np.int64]


@dataclass(slots=True)
class Blended:
    """What was written of one source."""

    distinct: int = 0
    written: int = 0
    terms: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(licence, attribution) -> distinct rows."""


def shares(
    shards: Sequence[Shard], left_out: Numbers, sources: Mapping[str, Source]
) -> tuple[list[Share], dict[str, int]]:
    """How often every row is written, and how many rows of each source its limits leave out.

    Args:
        shards: sifted, in order.
        left_out: numbers of rows that are not in the mixture whatever its weights; ascending.
        sources: limits and weights, by name.
    """
    left = {shard.number: _left(shard, left_out) for shard in shards}
    times: dict[int, NDArray[np.int64]] = {}
    limited: dict[str, int] = {}
    for name, source in sources.items():
        own = [shard for shard in shards if shard.source == name]
        if not own:
            continue
        numbers = np.concatenate([left[shard.number] for shard in own])
        often = repeats(numbers, source)
        limited[name] = int((often == 0).sum())
        ends = np.cumsum([len(left[shard.number]) for shard in own])
        for shard, mine in zip(own, np.split(often, ends[:-1]), strict=True):
            times[shard.number] = mine
    return [Share(shard, _spread(shard, left, times)) for shard in shards], limited


def blend(folder: Path, share: Share) -> tuple[str, Blended]:
    """Write the rows of one shard, unless that is done; returns its source and what was written.

    A row that is written more than once stands in a row; training shuffles.
    """
    path = folder / f"{share.shard.number:06d}.parquet"
    chosen = [
        (row, times)
        for row, times in zip(read_rows(share.shard.sifted), share.times.tolist(), strict=True)
        if times
    ]
    if chosen and not path.exists():
        with written(path) as temporary:
            write_rows([row for row, times in chosen for _ in range(times)], temporary)
    blended = Blended(len(chosen), sum(times for _, times in chosen))
    blended.terms.update((row.licence, row.attribution) for row, _ in chosen)
    return share.shard.source, blended


def together(parts: Iterable[tuple[str, Blended]]) -> dict[str, Blended]:
    """What was written, source by source."""
    sources: dict[str, Blended] = {}
    for name, part in parts:
        whole = sources.setdefault(name, Blended())
        whole.distinct += part.distinct
        whole.written += part.written
        whole.terms.update(part.terms)
    return sources


def left_out_numbers(duplicates: Path, refused: Sequence[int]) -> Numbers:
    """Numbers of rows that are duplicates or were refused, ascending."""
    found = pq.read_table(duplicates, columns=["left_out"])["left_out"].to_numpy()
    return np.union1d(found, np.array(refused, dtype=np.int64))


def _left(shard: Shard, left_out: Numbers) -> Numbers:
    numbers = np.arange(shard.rows, dtype=np.int64) + shard.first_number
    return np.setdiff1d(numbers, left_out, assume_unique=True)


def _spread(
    shard: Shard, left: Mapping[int, NDArray[np.int64]], times: Mapping[int, NDArray[np.int64]]
) -> NDArray[np.int64]:
    spread_S = np.zeros(shard.rows, dtype=np.int64)
    spread_S[left[shard.number] - shard.first_number] = times[shard.number]
    return spread_S
