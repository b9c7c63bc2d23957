"""Answers of several askers to one base and its adapters, written together, token by token.

Each brings its own prompt, way of drawing, seed, stop strings and length. A question that arrives
sits down before the next token; whoever is finished, or whose asker left, has left by then. Here
prompts are not shared, as they are where a benchmark is asked (`jobs.generation.writing`): they
differ.
"""

# S seats, V vocabulary

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache

from jobs.generation.draws import draw
from jobs.generation.seats import Places, SharedHeads, prompt_cache, seated_cache
from jobs.loaded import EngineError, Loaded
from jobs.serving.answering import Answering
from jobs.serving.beside import Beside
from jobs.training.shortage import is_shortage


class Table:
    """The seats of one model in memory. Not for several threads."""

    def __init__(self, loaded: Loaded, beside: Beside, seats: int) -> None:
        """Nobody sits there yet; at most `seats` answers are written at once."""
        self.loaded = loaded
        self.beside = beside
        self.most = seats
        self.budget = loaded.budget
        self.seated: list[Answering | None] = []
        self.config = loaded.model.config.get_text_config(decoder=True)
        self.cache: Cache | None = None

    @property
    def taken(self) -> list[Answering]:
        """The answers that are being written."""
        return [one for one in self.seated if one is not None and not one.over]

    @property
    def adapters(self) -> set[Path]:
        """Those beside the weights that an answer needs."""
        return {one.beside for one in self.taken if one.beside is not None}

    def has_room(self, answering: Answering) -> bool:
        """Whether one more answer fits, in seats and in the model's budget of tokens."""
        taken = self.taken
        needs = [one.row.prompt.need for one in (*taken, answering)]
        return not taken or (len(taken) < self.most and len(needs) * max(needs) <= self.budget)

    def leave(self) -> None:
        """Free the seats of those who need none any more."""
        for one in self.taken:
            if one.left.is_set():
                one.finish()
        self.seated = [one if one and one.wanted else None for one in self.seated]
        self._shrink()

    @torch.inference_mode()
    def sit(self, answering: Answering) -> None:
        """Read a prompt (and what was written already), draw the next token, and take a seat."""
        row = answering.row
        tokens = [*row.prompt.tokens, *row.tokens]
        read = prompt_cache()
        self.beside.for_rows([answering.beside])
        with self._heads():
            logits_1V = self.loaded.model(
                input_ids=torch.tensor([tokens], device=self.loaded.device),
                past_key_values=read,
                use_cache=True,
                logits_to_keep=1,
            ).logits[:, -1]
        self._draw([answering], logits_1V)
        if answering.wanted:
            seat = self._free_seat()
            self.seated[seat] = answering
            assert self.cache is not None, "a seat without memory"
            for layer, layer_read in zip(self.cache.layers, read.layers, strict=True):
                layer.seat(seat, layer_read.keys, layer_read.values)

    @torch.inference_mode()
    def step(self) -> None:
        """Write a token of every answer."""
        self._draw(self.seated, self._scores())

    def clear(self) -> list[Answering]:
        """Have all get up and give back the memory of the seats; returns who sat there.

        They keep what they have written, and may sit down again.
        """
        taken = self.taken
        self.seated, self.cache = [], None
        return taken

    def halve(self, sitting: Answering | None = None) -> None:
        """Take half as many tokens at once from now on: memory did not suffice.

        Nothing changes where it did not suffice for one answer alone.

        Args:
            sitting: who was about to sit down, if anybody.
        """
        needs = [one.row.prompt.need for one in (*self.taken, sitting) if one is not None]
        if len(needs) > 1:
            self.budget = min(self.budget, len(needs) * max(needs)) // 2

    def _scores(self) -> Tensor:
        """Logits [S, V] of the token after the last one of each seat."""
        assert self.cache is not None, "nobody sits"
        device = self.loaded.device
        held = [one.row.held if one else 0 for one in self.seated]
        last = [one.row.tokens[-1] if one else 0 for one in self.seated]
        places = Places(held, device)
        for layer in self.cache.layers:
            layer.places = places
        self.beside.for_rows([one.beside if one else None for one in self.seated])
        with self._heads():
            logits_SV: Tensor = self.loaded.model(
                input_ids=torch.tensor(last, device=device)[:, None],
                attention_mask=places.mask(self.config),
                position_ids=torch.tensor(held, device=device)[:, None],
                past_key_values=self.cache,
                use_cache=True,
                logits_to_keep=1,
            ).logits[:, -1]
        return logits_SV

    def _draw(self, drawing: Sequence[Answering | None], logits_RV: Tensor) -> None:
        """Give each answer its next token: those that are drawn in the same way, at once."""
        ways: dict[Any, list[int]] = {}
        for row, one in enumerate(drawing):
            if one is not None:
                ways.setdefault(one.way, []).append(row)
        for rows in ways.values():
            group = [one for row in rows if (one := drawing[row]) is not None]
            numbers = torch.tensor([one.number for one in group], dtype=torch.float64)
            uniform_G = numbers.to(self.loaded.device)
            drawn = draw(logits_RV[rows], uniform_G, group[0].sampling).tolist()
            for one, token in zip(group, drawn, strict=True):
                one.take(token)

    def _free_seat(self) -> int:
        if self.cache is None:
            self.cache = seated_cache(self.config, 1)
            self.seated = [None]
        if None not in self.seated:
            self._resize(list(range(len(self.seated))), 2 * len(self.seated))
        return self.seated.index(None)

    def _shrink(self) -> None:
        """Give up seats when few are taken: a copy, but every token of a free seat is work too."""
        taken = [seat for seat, one in enumerate(self.seated) if one]
        if not taken:
            if self.seated:  # they finished, nobody had to get up: more may fit by now
                self.budget = min(self.loaded.budget, 2 * self.budget)
            self.seated, self.cache = [], None
        elif 4 * len(taken) <= len(self.seated):
            self._resize(taken, len(self.seated) // 2)

    def _resize(self, kept: Sequence[int], count: int) -> None:
        assert self.cache is not None, "nobody sits"
        for layer in self.cache.layers:
            layer.keep(kept, count)
        free = [None] * (count - len(kept))
        self.seated = [*(self.seated[seat] for seat in kept), *free]

    def _heads(self) -> AbstractContextManager[object]:
        return SharedHeads() if getattr(self.config, "multi_query", False) else nullcontext()


def too_little_memory(error: Exception) -> EngineError | None:
    """What an asker is told where memory does not suffice for one answer; None: it was not that."""
    if not is_shortage(error):
        return None
    return EngineError(f"the model and this answer do not fit into memory: {error}")
