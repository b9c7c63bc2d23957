"""How the rows of a step fall to workers and micro batches, and what these are as tensors.

A layout never changes what is learnt: the loss of a step is the sum over the response tokens of all
its rows, whatever lies beside what.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil

import torch
from torch import Tensor

from jobs.training.rows import Row
from jobs.training.settings import Settings

# B rows beside each other, T tokens, S segments, N tokens with a loss

NO_LOSS = -100


@dataclass(frozen=True, slots=True, kw_only=True)
class Pack:
    """Rows that go through the model together."""

    rows: tuple[Row, ...]
    counts: bool = True
    """False: a repeat that only keeps workers in step, its loss is multiplied by 0."""

    @property
    def tokens(self) -> int:
        """Of its rows, padding not counted."""
        return sum(len(row.tokens) for row in self.rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class MicroBatch:
    """A pack as tensors on a device. Packed, B is 1 and rows lie behind each other."""

    tokens: Tensor
    """int64 [B, T]."""
    targets: Tensor
    """int64 [B, T]: the next token where it belongs to a response, else `NO_LOSS`."""
    positions: Tensor
    """int64 [B, T]: counted from 0 in every row; 0 where packed padding is."""
    starts: Tensor | None
    """int32 [S + 1]: where each segment starts, and where the last ends; None: padded. Segments are
    the rows, one of padding where there is any, and empty ones where the shape must not change."""
    longest: int
    """Tokens of the longest segment; T where the shape must not change."""
    places: Tensor
    """int64 [N]: where in the flattened tokens there is a loss, ascending."""
    counts: bool
    """See `Pack`."""
    computed: int
    """Tokens that go through the model, padding counted: B * T."""


def deal(rows: Sequence[Row], settings: Settings, ranks: int) -> list[list[Pack]]:
    """Deal the rows of one optimizer step to workers, and pack them.

    Packed, no pack has more than `micro_batch_tokens` tokens, but for a longer row, which goes
    alone. Side by side, the same holds of rows times the longest of them, so rows of like length
    come together. Work is spread evenly, and the same rows are always dealt the same way.

    Args:
        rows: at least one.
        settings: `packing` and `micro_batch_tokens` are looked at.
        ranks: workers, at least 1.

    Returns:
        For each rank its packs, equally many for all of them; where one has less to do, repeats of
        the shortest row that do not count.
    """
    longest_first = sorted(rows, key=lambda row: -len(row.tokens))
    room = settings.micro_batch_tokens
    packs = (
        _balanced(longest_first, room, ranks)
        if settings.packing
        else list(_side_by_side(longest_first, room, ranks))
    )
    shortest = longest_first[-1]
    repeats = -len(packs) % ranks
    packs += [Pack(rows=(shortest,), counts=False)] * repeats
    return _evenly(packs, settings, ranks)


def make(pack: Pack, settings: Settings, device: torch.device) -> MicroBatch:
    """A pack as tensors.

    Args:
        pack: one that `deal` made.
        settings: the same as `deal` got.
        device: where the tensors shall be.
    """
    if settings.packing:
        return _behind_each_other(pack, settings, device)
    longest = max(len(row.tokens) for row in pack.rows)
    tokens_BT = torch.zeros(len(pack.rows), longest, dtype=torch.int64)
    targets_BT = torch.full((len(pack.rows), longest), NO_LOSS)
    for number, row in enumerate(pack.rows):
        _fill(row, tokens_BT[number], targets_BT[number])
    positions_BT = torch.arange(longest).expand(len(pack.rows), longest)
    return _moved(tokens_BT, targets_BT, positions_BT, None, longest, pack.counts, device)


def _behind_each_other(pack: Pack, settings: Settings, device: torch.device) -> MicroBatch:
    lengths = [len(row.tokens) for row in pack.rows]
    total = sum(lengths)
    if settings.compile:  # a compiled block is compiled again for every new shape
        padded = ceil(total / settings.micro_batch_tokens) * settings.micro_batch_tokens
        lengths += [padded - total] + [0] * (settings.batch_size - len(pack.rows))
        total = padded
    starts_S = torch.tensor([0, *lengths]).cumsum(0)
    tokens_T = torch.zeros(total, dtype=torch.int64)
    targets_T = torch.full((total,), NO_LOSS)
    positions_T = torch.zeros(total, dtype=torch.int64)  # in padding too: a model may know few
    for row, start in zip(pack.rows, starts_S.tolist(), strict=False):
        end = start + len(row.tokens)
        _fill(row, tokens_T[start:end], targets_T[start:end])
        positions_T[start:end] = torch.arange(end - start)
    longest = total if settings.compile else max(lengths)
    return _moved(
        tokens_T[None],
        targets_T[None],
        positions_T[None],
        starts_S.to(torch.int32),
        longest,
        pack.counts,
        device,
    )


def _fill(row: Row, tokens_T: Tensor, targets_T: Tensor) -> None:
    length = len(row.tokens)
    tokens_T[:length] = torch.from_numpy(row.tokens)
    first = max(row.prompt_length, 1)  # nothing predicts the first token of a text
    targets_T[first - 1 : length - 1] = tokens_T[first:length]


def _moved(
    tokens_BT: Tensor,
    targets_BT: Tensor,
    positions_BT: Tensor,
    starts_S: Tensor | None,
    longest: int,
    counts: bool,
    device: torch.device,
) -> MicroBatch:
    """Found on the host, so that no place with a loss is waited for on a GPU."""
    places_N = (targets_BT.flatten() != NO_LOSS).nonzero().flatten()
    return MicroBatch(
        tokens=tokens_BT.to(device),
        targets=targets_BT.to(device),
        positions=positions_BT.to(device),
        starts=None if starts_S is None else starts_S.to(device),
        longest=longest,
        places=places_N.to(device),
        counts=counts,
        computed=tokens_BT.numel(),
    )


def _balanced(longest_first: Sequence[Row], room: int, ranks: int) -> list[Pack]:
    """As few packs as best fit needs, rounded up to whole rounds, and about equally full.

    Equal packs need rows to go where there is most room. Where that ends in a row without room,
    the packs stay as best fit made them.
    """
    fewest = _best_fit(longest_first, room)
    count = min(ceil(len(fewest) / ranks) * ranks, len(longest_first))
    packs: list[list[Row]] = [[] for _ in range(count)]
    loads = [0] * count
    for row in longest_first:
        place = loads.index(min(loads))
        if loads[place] and loads[place] + len(row.tokens) > room:
            return [Pack(rows=tuple(rows)) for rows in fewest]
        packs[place].append(row)
        loads[place] += len(row.tokens)
    return [Pack(rows=tuple(rows)) for rows in packs]


def _best_fit(longest_first: Sequence[Row], room: int) -> list[list[Row]]:
    """Best-fit decreasing (Johnson 1973): each row goes where it leaves the least room."""
    packs: list[list[Row]] = []
    left: list[int] = []
    for row in longest_first:
        length = len(row.tokens)
        fitting = [place for place, free in enumerate(left) if free >= length]
        if fitting:
            place = min(fitting, key=left.__getitem__)
            packs[place].append(row)
            left[place] -= length
        else:
            packs.append([row])
            left.append(room - length)
    return packs


def _side_by_side(longest_first: Sequence[Row], room: int, ranks: int) -> Iterator[Pack]:
    """Rows of like length; more and smaller packs, where ranks would have nothing to do."""
    groups = list(_like_length(longest_first, room))
    while len(groups) % ranks and any(len(group) > 1 for group in groups):
        largest = max(groups, key=lambda group: (len(group) > 1, _computed(group)))
        place = groups.index(largest)
        half = ceil(len(largest) / 2)
        groups[place : place + 1] = [largest[:half], largest[half:]]
    return (Pack(rows=tuple(group)) for group in groups)


def _like_length(longest_first: Sequence[Row], room: int) -> Iterator[Sequence[Row]]:
    start = 0
    while start < len(longest_first):
        end = start + max(1, room // len(longest_first[start].tokens))
        yield longest_first[start:end]
        start = end


def _computed(rows: Sequence[Row]) -> int:
    return len(rows) * max(len(row.tokens) for row in rows)


def _evenly(packs: Sequence[Pack], settings: Settings, ranks: int) -> list[list[Pack]]:
    """Equally many packs for each rank: the largest left to the rank with the least so far."""

    def work(pack: Pack) -> int:
        return pack.tokens if settings.packing else _computed(pack.rows)

    dealt: list[list[Pack]] = [[] for _ in range(ranks)]
    each = len(packs) // ranks
    for pack in sorted(packs, key=lambda pack: (not pack.counts, -work(pack))):
        open_ranks = [rank for rank in range(ranks) if len(dealt[rank]) < each]
        least = min(open_ranks, key=lambda rank: sum(map(work, dealt[rank])))
        dealt[least].append(pack)
    return dealt
