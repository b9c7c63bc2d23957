"""Models of 7 billion parameters asked on one GPU: `make bench-generate-gpu`.

Needs what the project needs, with torch for CUDA, and a GPU, but no network. Code Llama 7B,
Mistral 7B and Falcon 7B are made on the GPU from their shapes, with random weights in bfloat16, and
asked for ten answers to each of some prompts of random tokens, as long as HumanEval's, by

- ours: `jobs.engine.written`, so many answers at once as `--seats` says;
- returned: transformers' `generate` with `num_return_sequences=10`, as many rows at once.

No token ends an answer, so both write the same number of tokens. A small call comes first, which is
not measured. `tokens/s` are tokens written by wall-clock time, reading the prompts in it. `of the
bandwidth` is what one token of every seat must read, the weights once and the keys and values of
each seat, by what the GPU moves in a copy of large tensors: 1 would be a decoding that only reads.

The last lines are `figure NAME VALUE UNIT`, for ours where it is fastest. Without a GPU it says so
and ends well; `--tiny` runs all of it on models of toy size anywhere.
"""

import argparse
import gc
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from train_gpu_work import SHAPES
from transformers import AutoModelForCausalLM, PretrainedConfig
from transformers.utils.logging import disable_progress_bar, set_verbosity_error

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from jobs.generation.draws import Sampling
from jobs.generation.rows import Prompt, Row
from jobs.generation.stops import Stops
from jobs.generation.writing import Writing
from jobs.loaded import Loaded

EACH = 10
SEED = 0
SAMPLING = Sampling(temperature=0.8, seed=SEED)


class Unspoken:
    """A tokenizer for tokens that nobody reads."""

    def decode(self, tokens: Sequence[int], *, skip_special_tokens: bool) -> str:
        """Nothing."""
        return ""


@dataclass(frozen=True, kw_only=True)
class Work:
    """What a model is asked."""

    model: Any
    device: torch.device
    prompts: list[list[int]]
    room: int
    """Tokens of an answer."""

    @property
    def tokens(self) -> int:
        """Written by all answers."""
        return len(self.prompts) * EACH * self.room

    @property
    def held(self) -> float:
        """Tokens that a seat holds, in the mean over prompts and time."""
        return sum(map(len, self.prompts)) / len(self.prompts) + self.room / 2


def main() -> int:
    """Measure, print, and return an exit status."""
    options = _options()
    disable_progress_bar()
    set_verbosity_error()
    if not torch.cuda.is_available() and not options.tiny:
        print("generate_gpu: there is no CUDA GPU here, so nothing was measured")
        return 0
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    bandwidth = copied(device)
    name = torch.cuda.get_device_name() if device.type == "cuda" else "a CPU"
    print(f"{name}; torch {torch.__version__}; a copy reads and writes {bandwidth / 1e9:.4g} GB/s")
    print(f"\n{'model':9}{'at once':>8}  {'':12}{'tokens/s':>10}{'of the bandwidth':>18}")
    figures: list[str] = []
    for family in options.families.split(","):
        shape = _toy(SHAPES[family]) if options.tiny else SHAPES[family]
        work = _work(shape, device, tiny=options.tiny)
        rates: dict[int, list[float]] = {}
        for seats in [int(one) for one in options.seats.split(",")]:
            rates[seats] = [_measured(way, family, seats, work, bandwidth) for way in WAYS]
        figures += _figures(family, rates)
        del work
        gc.collect()
    if options.tiny:
        print("note: these are toy models: the figures say no more than that it runs")
    print("\n".join(figures))
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--families", default="llama,mistral,falcon", help="with commas between")
    parser.add_argument("--seats", default="80,160", help="answers at once, with commas between")
    parser.add_argument("--tiny", action="store_true", help="toy models, on a CPU where need be")
    return parser.parse_args()


def copied(device: torch.device) -> float:
    """Bytes a second that a copy of a large tensor reads and writes."""
    one = torch.zeros(2**28 if device.type == "cuda" else 2**22, device=device)
    other = torch.empty_like(one)
    other.copy_(one)
    seconds = _timed(lambda: [other.copy_(one) for _ in range(10)], device)
    return 20 * one.numel() * one.element_size() / seconds


def ours(work: Work, seats: int) -> None:
    """Our engine."""
    loaded = Loaded(
        model=work.model,
        tokenizer=Unspoken(),
        device=work.device,
        ends=frozenset(),
        budget=2**30,
        seats=seats,
    )
    prompts = [Prompt(str(n), tuple(tokens), work.room) for n, tokens in enumerate(work.prompts)]
    rows = [Row(prompt, position) for prompt in prompts for position in range(EACH)]
    for _ in Writing(loaded, rows, seats, SAMPLING, Stops(loaded, ())).rest():
        pass


def returned(work: Work, seats: int) -> None:
    """transformers, prompts of like length side by side."""
    order = sorted(work.prompts, key=len)
    at_once = max(1, seats // EACH)
    torch.manual_seed(SEED)
    for at in range(0, len(order), at_once):
        prompts = order[at : at + at_once]
        longest = max(map(len, prompts))
        tokens = torch.tensor([[0] * (longest - len(p)) + p for p in prompts], device=work.device)
        mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts])
        with torch.inference_mode():
            work.model.generate(
                input_ids=tokens,
                attention_mask=mask.to(work.device),
                do_sample=True,
                temperature=SAMPLING.temperature,
                top_k=0,
                max_new_tokens=work.room,
                min_new_tokens=work.room,
                num_return_sequences=EACH,
                pad_token_id=0,
            )


Way = Callable[[Work, int], None]
WAYS: tuple[Way, ...] = (ours, returned)


def _figures(family: str, rates: dict[int, list[float]]) -> list[str]:
    """Lines that other tools read."""
    mine, theirs = max(rates.values())
    lines = [f"figure generate_gpu_tokens_per_second_{family} {mine:.0f} tokens/s"]
    if theirs:
        lines.append(f"figure generate_gpu_vs_transformers_{family} {mine / theirs:.3f} ratio")
    return lines


def _measured(way: Way, family: str, seats: int, work: Work, bandwidth: float) -> float:
    """Tokens a second, printed; 0 where it does not fit."""
    name = way.__name__
    try:
        rate = work.tokens / _timed(lambda: way(work, seats), work.device)
    except torch.OutOfMemoryError:
        print(f"{family:9}{seats:>8}  {name:12}{'does not fit':>28}")
        return 0.0
    # A copy reads a byte for each that it writes, and counts both; decoding reads nearly alone.
    share = rate / seats * _read_by_a_step(work, seats) / bandwidth
    print(f"{family:9}{seats:>8}  {name:12}{rate:>10.0f}{100 * share:>16.1f} %", flush=True)
    return rate


def _read_by_a_step(work: Work, seats: int) -> float:
    """Bytes that writing one token of every seat cannot do without."""
    weights = sum(one.numel() * one.element_size() for one in work.model.parameters())
    config = work.model.config
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    if getattr(config, "multi_query", False):
        heads = 1
    size = config.hidden_size // config.num_attention_heads
    a_token = 2 * config.num_hidden_layers * heads * size * 2
    return float(weights + seats * work.held * a_token)


def _timed(run: Callable[[], object], device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
    started = time.monotonic()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.monotonic() - started


def _work(shape: PretrainedConfig, device: torch.device, *, tiny: bool) -> Work:
    """A model, warm, and its prompts."""
    torch.manual_seed(SEED)
    with device:
        model = AutoModelForCausalLM.from_config(
            shape, dtype=torch.bfloat16, attn_implementation="sdpa"
        ).eval()
    model.generation_config.eos_token_id = None
    random = np.random.default_rng(SEED)
    lengths = np.clip(random.lognormal(4.89, 0.49, 4 if tiny else 32), 38, 453).astype(int)
    prompts = [random.integers(2, shape.vocab_size, length).tolist() for length in lengths.tolist()]
    work = Work(model=model, device=device, prompts=prompts, room=4 if tiny else 128)
    for way in WAYS:
        way(Work(model=model, device=device, prompts=prompts[:1], room=4), EACH)
    return work


def _toy(shape: PretrainedConfig) -> PretrainedConfig:
    """The same in small."""
    small = {"vocab_size": 512, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    small |= {"num_key_value_heads": 1, "intermediate_size": 128, "ffn_hidden_size": 256}
    given = {name: small.get(name, value) for name, value in shape.to_dict().items()}
    return type(shape)(**{name: given[name] for name in given if name != "head_dim"})


if __name__ == "__main__":
    sys.exit(main())
