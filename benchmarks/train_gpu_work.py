"""The trainings of `train_gpu.py`, each from random weights to tokens a second.

Imports torch, transformers, peft and our package of training, which needs nothing else.
"""

import gc
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from torch.nn.utils.rnn import pad_sequence
from transformers import (
    AutoModelForCausalLM,
    FalconConfig,
    LlamaConfig,
    MistralConfig,
    PretrainedConfig,
)

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from jobs.training import engines, models
from jobs.training.loop import Loop, Training
from jobs.training.packing import NO_LOSS
from jobs.training.peers import Peers
from jobs.training.rows import Row
from jobs.training.settings import ALONE, Adapter, Settings
from jobs.training.steps import Progress
from jobs.training.trainee import Trainee

SHAPES: dict[str, PretrainedConfig] = {
    "llama": LlamaConfig(  # codellama/CodeLlama-7b-hf
        vocab_size=32016,
        hidden_size=4096,
        intermediate_size=11008,
        num_hidden_layers=32,
        num_attention_heads=32,
        max_position_embeddings=16384,
        rope_parameters={"rope_type": "default", "rope_theta": 1e6},
    ),
    "mistral": MistralConfig(  # mistralai/Mistral-7B-v0.1
        vocab_size=32000,
        hidden_size=4096,
        intermediate_size=14336,
        num_hidden_layers=32,
        num_attention_heads=32,
        num_key_value_heads=8,
        max_position_embeddings=32768,
        sliding_window=4096,
    ),
    "falcon": FalconConfig(  # tiiuae/falcon-7b
        vocab_size=65024,
        hidden_size=4544,
        num_hidden_layers=32,
        num_attention_heads=71,
        multi_query=True,
        parallel_attn=True,
        bias=False,
        alibi=False,
        max_position_embeddings=16384,
    ),
}
MEAN_TOKENS, MOST_TOKENS = 161, 760
"""Of a row; lengths are lognormal."""
PACKS = 2
"""That a step takes, about."""
WARM, MEASURED = 2, 3
"""Steps."""
PADDED_ROWS = 8
"""That the plain loop puts side by side."""
SEED = 0


@dataclass(frozen=True, kw_only=True)
class Work:
    """One model, and how many tokens go through it at once."""

    shape: PretrainedConfig
    tokens: int
    device: torch.device

    @property
    def rows(self) -> list[Row]:
        """As many as all steps take."""
        random = np.random.default_rng(SEED)
        lengths = random.lognormal(4.72, 0.85, self.batch_size * (WARM + MEASURED))
        most = min(MOST_TOKENS, self.tokens)
        vocabulary = self.shape.vocab_size
        return [
            Row(random.integers(2, vocabulary, length, dtype=np.int32), length // 3)
            for length in np.clip(lengths.astype(int), 8, most).tolist()
        ]

    @property
    def batch_size(self) -> int:
        """Rows of a step."""
        return max(2, PACKS * self.tokens // MEAN_TOKENS)

    def settings(self, adapter: Adapter, *, compile: bool = False) -> Settings:  # noqa: A002
        """Of our method."""
        return Settings(
            adapter=adapter,
            learning_rate=2e-4,
            schedule="constant",
            warmup=0.0,
            decay=0.2,
            epochs=None,
            steps=WARM + MEASURED,
            batch_size=self.batch_size,
            packing=True,
            micro_batch_tokens=self.tokens,
            max_length=self.tokens,
            weight_decay=0.0,
            clip=1.0,
            precision="bf16",
            activation_checkpointing=False,
            compile=compile,
            held_out=0.0,
            evaluate_every=50,
            patience=None,
            checkpoint_every=10**6,
            checkpoint_minutes=10**6,
        )


LORA = Adapter(
    rank=16,
    alpha=32,
    dropout=0.0,
    targets="all-linear",
    rslora=False,
    lora_plus=1.0,
    dora=False,
    quantization=None,
)
QLORA = replace(LORA, quantization="nf4")


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What one training did in the steps after the warm-up."""

    tokens: int
    """Of rows, padding not counted."""
    seconds: float
    warm_seconds: float
    """Of the steps before, compilation in them."""
    bytes: int
    """The most that torch had allocated; 0 without a GPU."""
    checkpointed: bool
    """Whether activations had to be computed again to fit."""


def ours(work: Work, settings: Settings) -> Measured:
    """Our loop, activations kept where they fit."""
    with suppress(torch.OutOfMemoryError):
        return _ours(work, settings)
    # Not in an except clause: the error would keep what did not fit.
    return _ours(work, replace(settings, activation_checkpointing=True))


def plain(work: Work) -> Measured:
    """peft on transformers, rows padded to the longest of 8, activations kept where they fit."""
    with suppress(torch.OutOfMemoryError):
        return _plain(work, checkpointed=False)
    return _plain(work, checkpointed=True)


class _Heard:
    """Nobody is told."""

    def put(self, *messages: Progress) -> None:
        """Take no notice."""


def _ours(work: Work, settings: Settings) -> Measured:
    with _room(work.device), _base(work, settings) as base:
        model = models.tuned(base, settings, SEED)
        engine = engines.prepare(Trainee(model, settings), settings, ALONE)
        training = Training(run_id="measured", settings=settings, seed=SEED, trained=work.rows)
        steps: list[Any] = []
        Loop(training=training, engine=engine, peers=Peers(), teller=_Heard()).run(steps)
        return Measured(
            tokens=sum(step.tokens for step in steps[WARM:]),
            seconds=sum(step.seconds for step in steps[WARM:]),
            warm_seconds=sum(step.seconds for step in steps[:WARM]),
            bytes=_allocated(work.device),
            checkpointed=settings.activation_checkpointing,
        )


def _plain(work: Work, *, checkpointed: bool) -> Measured:
    with _room(work.device):
        lora = LoraConfig(
            r=LORA.rank, lora_alpha=LORA.alpha, target_modules="all-linear", task_type="CAUSAL_LM"
        )
        model = get_peft_model(_random(work), lora)
        if checkpointed:
            model.get_base_model().gradient_checkpointing_enable()
            model.enable_input_require_grads()
        model.train()
        trained = [one for one in model.parameters() if one.requires_grad]
        optimizer = torch.optim.AdamW(trained, lr=2e-4)
        rows, seconds = work.rows, []
        for number in range(WARM + MEASURED):
            batch = rows[number * work.batch_size : (number + 1) * work.batch_size]
            started = time.monotonic()
            _plain_step(model, trained, optimizer, batch, work.device)
            seconds.append(time.monotonic() - started)
        return Measured(
            tokens=sum(len(row.tokens) for row in rows[WARM * work.batch_size :]),
            seconds=sum(seconds[WARM:]),
            warm_seconds=sum(seconds[:WARM]),
            bytes=_allocated(work.device),
            checkpointed=checkpointed,
        )


def _plain_step(
    model: Any, trained: list[Any], optimizer: Any, rows: Sequence[Row], device: torch.device
) -> None:
    parts = [rows[at : at + PADDED_ROWS] for at in range(0, len(rows), PADDED_ROWS)]
    for part in parts:
        tokens = [torch.from_numpy(row.tokens).long() for row in part]
        mask = pad_sequence([torch.ones_like(one) for one in tokens], batch_first=True)
        padded = pad_sequence(tokens, batch_first=True)
        labels = torch.where(mask.bool(), padded, NO_LOSS)
        for place, row in enumerate(part):
            labels[place, : row.prompt_length] = NO_LOSS
        output = model(
            input_ids=padded.to(device),
            attention_mask=mask.to(device),
            labels=labels.to(device),
            use_cache=False,
        )
        (output.loss / len(parts)).backward()
    torch.nn.utils.clip_grad_norm_(trained, 1.0)
    optimizer.step()
    optimizer.zero_grad()
    if device.type == "cuda":
        torch.cuda.synchronize()


@contextmanager
def _base(work: Work, settings: Settings) -> Iterator[Any]:
    """A base with random weights; a quantized one is loaded from a folder, as ours always are."""
    assert settings.adapter is not None
    if settings.adapter.quantization is None:
        yield _random(work)
        return
    with tempfile.TemporaryDirectory() as folder:
        _random(work).save_pretrained(folder)
        gc.collect()
        _forget(work.device)
        yield models.load_base(folder, None, settings, work.device)


def _random(work: Work) -> Any:
    torch.manual_seed(SEED)
    with work.device:
        return AutoModelForCausalLM.from_config(
            work.shape, dtype=torch.bfloat16, attn_implementation="sdpa"
        )


@contextmanager
def _room(device: torch.device) -> Iterator[None]:
    """All of the GPU's memory free before, and again after."""
    _forget(device)
    try:
        yield
    finally:
        gc.collect()
        _forget(device)


def _forget(device: torch.device) -> None:
    if device.type == "cuda":
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def _allocated(device: torch.device) -> int:
    return torch.cuda.max_memory_allocated() if device.type == "cuda" else 0
