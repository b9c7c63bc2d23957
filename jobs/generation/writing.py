"""Many answers written at once, token by token; whoever is finished leaves its seat to the next.

Each prompt is read once, alone, whatever its number of answers, so what is remembered of it does
not depend on its neighbours. Then its answers take seats. A step writes one token of every seat,
idle ones too: the shapes of all products stay the same, and with them the order of their sums.
"""

# S seats, V vocabulary

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor
from transformers.cache_utils import Cache

from jobs.generation.draws import Numbers, Sampling, draw
from jobs.generation.rows import Row
from jobs.generation.seats import BLOCK, Places, SharedHeads, prompt_cache, rounded, seated_cache
from jobs.generation.sharing import SharedPrompts, may_share
from jobs.generation.stops import Stops
from jobs.loaded import Loaded

SPARSE = 2
"""Where giving up seats is a copy, they are when only one in so many is taken."""


class Writing:
    """Answers on their way. `turn` is called until `over`."""

    def __init__(
        self, loaded: Loaded, rows: Sequence[Row], seats: int, sampling: Sampling, stops: Stops
    ) -> None:
        """Nothing is read yet.

        Args:
            loaded: the model.
            rows: those of one prompt stand together.
            seats: how many are written at once.
            sampling: how tokens are drawn.
            stops: where answers end.
        """
        self.loaded = loaded
        self.sampling = sampling
        self.stops = stops
        self.numbers = Numbers(sampling.seed)
        self.config = loaded.model.config.get_text_config(decoder=True)
        self.waiting = deque(rows)
        self.begun: deque[Row] = deque()
        self.read: Cache | None = None
        self.seated: list[Row | None] = [None] * seats
        self.prompts: list[Cache | None] = [None] * seats
        self.cache = seated_cache(self.config, seats)
        shared = bool(rows) and may_share(loaded)
        self.shared = SharedPrompts(len(self.cache.layers)) if shared else None

    @property
    def over(self) -> bool:
        """Whether every row is finished."""
        return not (self.waiting or self.begun or any(self.seated))

    def rest(self) -> Iterator[Row]:
        """The rows as they finish."""
        while not self.over:
            yield from self.turn()

    @torch.inference_mode()
    def turn(self) -> list[Row]:
        """Read a prompt where there is a seat for an answer to it, else write a token everywhere.

        Returns:
            The rows that this finished.
        """
        self._sit()
        if self.waiting and None in self.seated:
            return self._begin()
        return self._step()

    def _sit(self) -> None:
        """Give free seats to those who have begun."""
        while self.begun and None in self.seated:
            seat = self.seated.index(None)
            self.seated[seat] = self.begun.popleft()
            assert self.read is not None, "begun without a prompt"
            self.prompts[seat] = self.read
            if self.shared:
                continue
            for layer, read in zip(self.cache.layers, self.read.layers, strict=True):
                layer.seat(seat, read.keys, read.values)

    def _begin(self) -> list[Row]:
        """Read the next prompt, and draw the first token of each of its answers."""
        prompt = self.waiting[0].prompt
        rows = []
        while self.waiting and self.waiting[0].prompt is prompt:
            rows.append(self.waiting.popleft())
        self.read = prompt_cache()
        tokens_1T = torch.tensor([prompt.tokens], device=self.loaded.device)
        with self._heads():
            logits_1V = self.loaded.model(
                input_ids=tokens_1T, past_key_values=self.read, use_cache=True, logits_to_keep=1
            ).logits[:, -1]
        finished = self._take(rows, logits_1V.expand(len(rows), -1))
        self.begun.extend(row for row in rows if row.finish is None)
        return finished

    def _step(self) -> list[Row]:
        self._close_up()
        rows = self.seated
        finished = self._take(rows, self._scores(rows))
        for seat, row in enumerate(rows):
            if row and row.finish is not None:
                self.seated[seat] = self.prompts[seat] = None
        if finished and self.shared:
            self._move_up()
        return finished

    def _move_up(self) -> None:
        """Fill seats that became free from behind, the longest answer first.

        So answers of like length share a block, and the short ones are not read as wide as the
        longest. Moving one is a copy of what a step reads of it.
        """
        for free in range(len(self.seated)):
            if self.seated[free] is not None:
                continue
            behind = range((free // BLOCK + 1) * BLOCK, len(self.seated))
            longest = max(behind, key=self._length, default=free)
            if not self._length(longest):
                break
            for layer in self.cache.layers:
                layer.move(free, longest, self._length(longest))
            self.seated[free], self.prompts[free] = self.seated[longest], self.prompts[longest]
            self.seated[longest] = self.prompts[longest] = None

    def _length(self, seat: int) -> int:
        """Tokens of the answer in a seat; 0: it is free."""
        row = self.seated[seat]
        return len(row.tokens) if row else 0

    def _scores(self, rows: Sequence[Row | None]) -> Tensor:
        """Logits [S, V] of the token after the last one of each seat."""
        device = self.loaded.device
        places_S = torch.tensor([row.held if row else 0 for row in rows], device=device)
        mask: Tensor | dict[str, Tensor]
        if self.shared:
            places = Places([len(row.tokens) - 1 if row else 0 for row in rows], device)
            mask = places.own_mask(self.loaded.model.dtype)
            self.shared.look_at(self.prompts, places.widths)
        else:
            places = Places([row.held if row else 0 for row in rows], device)
            mask = places.mask(self.config)
        for layer in self.cache.layers:
            layer.places = places
        tokens_S = torch.tensor([row.tokens[-1] if row else 0 for row in rows], device=device)
        with self.shared or self._heads():
            logits_SV: Tensor = self.loaded.model(
                input_ids=tokens_S[:, None],
                attention_mask=mask,
                position_ids=places_S[:, None],
                past_key_values=self.cache,
                use_cache=True,
                logits_to_keep=1,
            ).logits[:, -1]
        if self.shared:
            self.shared.all_served()
        return logits_SV

    def _take(self, rows: Sequence[Row | None], logits_RV: Tensor) -> list[Row]:
        """Draw a token of each row; returns the rows that this finished."""
        greedy = self.sampling.temperature == 0
        numbers = [0.0 if greedy or not row else self.numbers.next(row) for row in rows]
        uniform_R = torch.tensor(numbers, dtype=torch.float64).to(self.loaded.device)
        drawn = draw(logits_RV, uniform_R, self.sampling).tolist()
        finished = [
            row
            for row, token in zip(rows, drawn, strict=True)
            if row and self.stops.take(row, token)
        ]
        for row in finished:
            self.numbers.forget(row)
        return finished

    def _close_up(self) -> None:
        """Give up seats when nobody waits for them.

        Where answers move up those behind the last one, which costs nothing; else once most are
        free.
        """
        taken = [seat for seat, row in enumerate(self.seated) if row]
        count = rounded(len(taken))
        kept: Sequence[int] = range(count) if self.shared else taken
        most = len(self.seated) - 1 if self.shared else len(self.seated) // SPARSE
        if self.waiting or self.begun or count > most:
            return
        for layer in self.cache.layers:
            layer.keep(kept, count)
        free = [None] * (count - len(kept))
        self.seated = [*(self.seated[seat] for seat in kept), *free]
        self.prompts = [*(self.prompts[seat] for seat in kept), *free]

    def _heads(self) -> AbstractContextManager[object]:
        return SharedHeads() if getattr(self.config, "multi_query", False) else nullcontext()
