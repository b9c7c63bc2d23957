"""Last stage: the rows that are left, as often as their sources weigh, in shards to train on."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from jobs.data.mixture import repeats
from jobs.data.origin import Source
from jobs.data.row import SHARD_ROWS, read_rows, write_rows
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
    licences: Counter[str] = field(default_factory=Counter)
    """Licence -> distinct rows."""


def shares(shards: Sequence[Shard], refused: Numbers, sources: Mapping[str, Source]) -> list[Share]:
    """How often every row is written, as limits and weights say; 0 for rows that are refused.

    Duplicates are looked for among the rows that this leaves, so that no row is left out for one
    that a limit has left out.

    Args:
        shards: sifted, in order.
        refused: numbers of rows that are not in the mixture whatever its weights; ascending.
        sources: limits and weights, by name.
    """
    left = {shard.number: _left(shard, refused) for shard in shards}
    times: dict[int, NDArray[np.int64]] = {}
    for name, source in sources.items():
        own = [shard for shard in shards if shard.source == name]
        if not own:
            continue
        often = repeats(np.concatenate([left[shard.number] for shard in own]), source)
        ends = np.cumsum([len(left[shard.number]) for shard in own])
        for shard, mine in zip(own, np.split(often, ends[:-1]), strict=True):
            times[shard.number] = mine
    return [Share(shard, _spread(shard, left, times)) for shard in shards]


def without(shares: Sequence[Share], left_out: Numbers) -> list[Share]:
    """The same, with rows that others stand for left out."""
    return [
        replace(share, times=np.where(_among(share.shard, left_out), 0, share.times))
        for share in shares
    ]


def absent(shares: Sequence[Share]) -> Numbers:
    """Numbers of the rows that are not written."""
    none = np.empty(0, dtype=np.int64)
    return np.concatenate([none, *(_numbers(s.shard)[s.times == 0] for s in shares)])


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
    blended.licences.update(row.licence for row, _ in chosen)
    return share.shard.source, blended


def together(parts: Iterable[tuple[str, Blended]]) -> dict[str, Blended]:
    """What was written, source by source."""
    sources: dict[str, Blended] = {}
    for name, part in parts:
        whole = sources.setdefault(name, Blended())
        whole.distinct += part.distinct
        whole.written += part.written
        whole.licences.update(part.licences)
    return sources


def _numbers(shard: Shard) -> Numbers:
    return np.arange(shard.rows, dtype=np.int64) + shard.first_number


def _left(shard: Shard, refused: Numbers) -> Numbers:
    return _numbers(shard)[~_among(shard, refused)]


def _among(shard: Shard, numbers: Numbers) -> NDArray[np.bool_]:
    """Which rows of a shard are among some numbers, given ascending; bool [S]."""
    first, last = np.searchsorted(numbers, (shard.first_number, shard.first_number + SHARD_ROWS))
    among_S = np.zeros(shard.rows, dtype=np.bool_)
    among_S[numbers[first:last] - shard.first_number] = True
    return among_S


def _spread(
    shard: Shard, left: Mapping[int, NDArray[np.int64]], times: Mapping[int, NDArray[np.int64]]
) -> NDArray[np.int64]:
    spread_S = np.zeros(shard.rows, dtype=np.int64)
    spread_S[left[shard.number] - shard.first_number] = times[shard.number]
    return spread_S
