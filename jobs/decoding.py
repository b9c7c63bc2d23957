"""One batch of answers, token by token: its cache, its draws, its ends."""

# B rows (one answer each), P prompts, T tokens, V vocabulary

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

from jobs.answers import Finish
from jobs.loaded import EngineError, Loaded
from jobs.prompts import Question
from jobs.tokens import asked_tokens

CONTEXT = 4
"""Prompt tokens decoded before an answer: some tokenizers drop the space of a text's first word."""
CROWDED = 0.8
"""Finished rows leave the batch when less than this share of it still writes: leaving is a copy."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """A question as tokens, and the most that may follow it."""

    task_id: str
    tokens: tuple[int, ...]
    room: int


@dataclass(slots=True)
class Row:
    """One answer as it grows."""

    prompt: Prompt
    position: int
    """Which of the prompt's answers, from 0."""
    tokens: list[int] = field(default_factory=list)
    text: str = ""
    """Filled when the answer is finished."""
    finish: Finish | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How tokens are drawn."""

    temperature: float
    top_p: float
    seed: int


class PromptTooLongError(EngineError):
    """A question leaves a model no room to answer: a limit of the model, not a failure of ours."""


def read_prompt(loaded: Loaded, question: Question, max_new_tokens: int) -> Prompt:
    """Tokens of a question, the ones that training has for the same text.

    Raises:
        EngineError: the question is empty.
        PromptTooLongError: it leaves no room for an answer.
    """
    task_id = question.task_id
    (found,) = asked_tokens(loaded.tokenizer, [question.text], templated=question.templated)
    tokens = tuple(found)
    positions = loaded.positions
    room = max_new_tokens if positions is None else min(max_new_tokens, positions - len(tokens))
    if not tokens:
        raise EngineError(f"problem {task_id}: the prompt is empty")
    if room < 1:
        raise PromptTooLongError(
            f"problem {task_id}: its prompt has {len(tokens)} tokens, and the model ends at "
            f"{positions}"
        )
    return Prompt(task_id, tokens, room)


def uniform_numbers(seed: int, row: Row) -> np.ndarray[Any, np.dtype[np.float64]]:
    """The number in [0, 1) behind each token of an answer.

    A counter-based generator (Philox) keyed by seed, problem and position, so that an answer's
    numbers do not depend on what else is in the batch.
    """
    named = json.dumps([seed, row.prompt.task_id, row.position]).encode()
    key = int.from_bytes(hashlib.sha256(named).digest()[:16], "big")
    return np.random.Generator(np.random.Philox(key=key)).random(row.prompt.room)


def draw(logits_BV: Tensor, uniform_B: Tensor, temperature: float, top_p: float) -> Tensor:
    """The next token of each row, by inverting the distribution function; greedy at temperature 0.

    Args:
        logits_BV: any float type, reduced in float32.
        uniform_B: float64 in [0, 1); not looked at when greedy.
        temperature: divides the logits.
        top_p: tokens are drawn from the smallest set, most likely first, that holds this mass.

    Returns:
        int64 token ids, one a row.
    """
    if temperature == 0:
        return logits_BV.argmax(dim=-1)
    chances_BV = torch.softmax(logits_BV.float() / temperature, dim=-1)
    if top_p < 1:
        chances_BV = _nucleus(chances_BV, top_p)
    below_BV = chances_BV.cumsum(dim=-1, dtype=torch.float64)
    aims_B1 = uniform_B[:, None] * below_BV[:, -1:]
    found_B = torch.searchsorted(below_BV, aims_B1, right=True)[:, 0]
    return found_B.clamp(max=logits_BV.shape[-1] - 1)


def _nucleus(chances_BV: Tensor, top_p: float) -> Tensor:
    ranked_BV, order_BV = chances_BV.sort(dim=-1, descending=True, stable=True)
    before_BV = ranked_BV.cumsum(dim=-1) - ranked_BV
    ranked_BV = ranked_BV.masked_fill(before_BV >= top_p, 0)
    return torch.zeros_like(chances_BV).scatter(-1, order_BV, ranked_BV)


class Stops:
    """Looks for stop strings where one can have been completed, and nowhere else."""

    def __init__(self, loaded: Loaded, strings: Sequence[str]) -> None:
        """Find the tokens that may complete one of the strings: a small part of the vocabulary."""
        self.tokenizer = loaded.tokenizer
        self.strings = tuple(strings)
        self.window = 4 * max(map(len, strings), default=0) + CONTEXT
        self.enders = _enders(loaded.tokenizer, self.strings) if strings else frozenset()

    def cut(self, row: Row) -> str | None:
        """The answer before the first stop string, or None when there is none yet.

        Called after every token; a text that holds several is cut at the earliest.
        """
        if row.tokens[-1] not in self.enders:
            return None
        tail = self.tokenizer.decode(row.tokens[-self.window :], skip_special_tokens=True)
        if not any(string in tail for string in self.strings):
            return None
        text = answer_text(self.tokenizer, row)
        found = [at for string in self.strings if (at := text.find(string)) >= 0]
        return text[: min(found)] if found else None


@lru_cache(maxsize=16)
def _enders(tokenizer: Any, strings: tuple[str, ...]) -> frozenset[int]:
    """Tokens whose text begins with the end of a stop string or holds one whole.

    Kept between questions: it reads the whole vocabulary, which may hold 150 000 tokens.
    """
    pieces = tokenizer.batch_decode([[token] for token in range(len(tokenizer))])
    tails = tuple({string[at:] for string in strings for at in range(len(string))})
    return frozenset(
        token
        for token, piece in enumerate(pieces)
        if piece.startswith(tails)
        or "\ufffd" in piece
        or any(string in piece for string in strings)
    )


def answer_text(tokenizer: Any, row: Row) -> str:
    """What a row's tokens say after its prompt, special tokens left out."""
    context = list(row.prompt.tokens[-CONTEXT:])
    before = tokenizer.decode(context, skip_special_tokens=True)
    whole: str = tokenizer.decode(context + row.tokens, skip_special_tokens=True)
    return whole[len(before) :]


class InPlaceLayer(DynamicLayer):  # type: ignore[misc]  # transformers has no types
    """Keys and values of one layer, written in place into room taken once.

    The stock layer copies all it holds at every token, which costs more than the model where the
    model is small. Sliding windows keep all their keys too: the mask hides the old ones.
    """

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room = room
        self.length = 0

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Take the type and the device of the first keys, and no room yet."""
        super().lazy_initialization(key_states, value_states)
        self.keys = key_states[:, :, :0]
        self.values = value_states[:, :, :0]

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Append keys and values (B, heads, T, size); return all so far, as views."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        start, self.length = self.length, self.length + key_states.shape[2]
        if self.keys.shape[2] < self.length:
            size = self.length if start == 0 else max(self.length, self.room)
            self.keys = _moved(self.keys, start, size)
            self.values = _moved(self.values, start, size)
        self.keys[:, :, start : self.length] = key_states
        self.values[:, :, start : self.length] = value_states
        return self.keys[:, :, : self.length], self.values[:, :, : self.length]

    def get_seq_length(self) -> int:
        """Tokens held."""
        return self.length

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep these rows, in this order; one may be named more than once."""
        self.keys = _moved(self.keys, self.length, self.room, indices)
        self.values = _moved(self.values, self.length, self.room, indices)


def _moved(held: Tensor, length: int, room: int, rows: Tensor | None = None) -> Tensor:
    batch, heads, _, size = held.shape
    moved = held.new_empty(batch if rows is None else len(rows), heads, room, size)
    kept = held[:, :, :length]
    moved[:, :, :length] = kept if rows is None else kept[rows]
    return moved


def new_cache(config: Any, room: int) -> Cache:
    """A cache for `room` tokens a row; layers of other kinds stay transformers' own."""
    cache = DynamicCache(config=config)
    plain = (DynamicLayer, DynamicSlidingWindowLayer)
    cache.layers = [InPlaceLayer(room) if type(layer) in plain else layer for layer in cache.layers]
    return cache


class SharedHeads(TorchFunctionMode):
    """Attention whose queries share one key head (multi-query), without copying it to each of them.

    torch leaves its fast kernel when the numbers of heads differ; a model that relies on it to
    repeat the head pays several times the attention itself. A single query per head is folded into
    the length instead, and longer ones get a view.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Serve `scaled_dot_product_attention`, and pass on everything else."""
        kwargs = kwargs or {}
        if func is not scaled_dot_product_attention or len(args) != 3:
            return func(*args, **kwargs)
        query, key, value = args
        heads = query.shape[1]
        if key.shape[1] != 1 or heads == 1:
            return func(*args, **kwargs)
        if query.shape[2] == 1 and _one_for_all_heads(kwargs.get("attn_mask")):
            return func(query.transpose(1, 2), key, value, **kwargs).transpose(1, 2)
        spread = (-1, heads, -1, -1)
        return func(query, key.expand(spread), value.expand(spread), **kwargs)


def _one_for_all_heads(mask: Tensor | None) -> bool:
    return mask is None or mask.shape[1] == 1


class Decoding:
    """A batch of answers on its way. Each prompt is read once, whatever its number of answers.

    Rows of one prompt stand together. `step` is called until `rows` is empty.
    """

    @torch.inference_mode()
    def __init__(
        self, loaded: Loaded, rows: Sequence[Row], sampling: Sampling, stops: Stops
    ) -> None:
        """Read the prompts, padded on the left, and spread them over the rows."""
        self.loaded = loaded
        self.rows = list(rows)
        self.sampling = sampling
        self.stops = stops
        self.step_number = 0
        device = loaded.device
        prompts = list(dict.fromkeys(row.prompt for row in rows))
        longest = max(len(prompt.tokens) for prompt in prompts)
        room = max(row.prompt.room for row in rows)
        self.width = longest
        self.cache = new_cache(loaded.model.config, longest + room)
        mask_PT = torch.zeros(len(prompts), longest + room, dtype=torch.long)
        tokens_PT = torch.full((len(prompts), longest), min(loaded.ends))
        for place, prompt in enumerate(prompts):
            mask_PT[place, longest - len(prompt.tokens) :] = 1
            tokens_PT[place, longest - len(prompt.tokens) :] = torch.tensor(prompt.tokens)
        self.mask_BT = mask_PT.to(device)
        positions_PT = (self.mask_BT[:, :longest].cumsum(-1) - 1).clamp(min=0)
        self.logits_BV = self._forward(tokens_PT.to(device), positions_PT)
        self.places_B = positions_PT[:, -1]
        place_of = {prompt: place for place, prompt in enumerate(prompts)}
        self._select(torch.tensor([place_of[row.prompt] for row in rows], device=device))
        self.uniform_BT = self._uniform(room)

    @torch.inference_mode()
    def step(self) -> list[Row]:
        """Write one token of every row; returns the rows that it finished."""
        tokens_B = draw(
            self.logits_BV,
            self.uniform_BT[:, min(self.step_number, self.uniform_BT.shape[1] - 1)],
            self.sampling.temperature,
            self.sampling.top_p,
        )
        self.step_number += 1
        finished = [
            row
            for row, token in zip(self.rows, tokens_B.tolist(), strict=True)
            if row.finish is None and self._take(row, token)
        ]
        writing = [place for place, row in enumerate(self.rows) if row.finish is None]
        if not writing:
            self.rows = []
            return finished
        if len(writing) <= CROWDED * len(self.rows):
            kept_B = torch.tensor(writing, device=self.loaded.device)
            self.rows = [self.rows[place] for place in writing]
            self._select(kept_B)
            self.uniform_BT, tokens_B = self.uniform_BT[kept_B], tokens_B[kept_B]
        self.width += 1
        self.places_B = self.places_B + 1
        self.logits_BV = self._forward(tokens_B[:, None], self.places_B[:, None])
        return finished

    def _take(self, row: Row, token: int) -> bool:
        row.tokens.append(token)
        if token in self.loaded.ends:
            row.finish = "end"
        elif (text := self.stops.cut(row)) is not None:
            row.finish, row.text = "stop", text
            return True
        elif len(row.tokens) >= row.prompt.room:
            row.finish = "length"
        if row.finish is not None:
            row.text = answer_text(self.loaded.tokenizer, row)
        return row.finish is not None

    def _forward(self, tokens_BT: Tensor, positions_BT: Tensor) -> Tensor:
        with SharedHeads():
            answer = self.loaded.model(
                input_ids=tokens_BT,
                attention_mask=self.mask_BT[:, : self.width],
                position_ids=positions_BT,
                past_key_values=self.cache,
                use_cache=True,
                logits_to_keep=1,
            )
        logits_BV: Tensor = answer.logits[:, -1]
        return logits_BV

    def _select(self, places_B: Tensor) -> None:
        self.cache.batch_select_indices(places_B)
        self.mask_BT = self.mask_BT[places_B]
        self.places_B = self.places_B[places_B]
        self.logits_BV = self.logits_BV[places_B]

    def _uniform(self, room: int) -> Tensor:
        if self.sampling.temperature == 0:
            return torch.zeros(len(self.rows), 1, dtype=torch.float64, device=self.loaded.device)
        numbers_BT = np.zeros((len(self.rows), room))
        for place, row in enumerate(self.rows):
            numbers_BT[place, : row.prompt.room] = uniform_numbers(self.sampling.seed, row)
        return torch.from_numpy(numbers_BT).to(self.loaded.device)
