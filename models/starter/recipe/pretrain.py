"""Pretraining of one starter model on one thread.

The same seed gives the same losses on the same kind of processor and release of PyTorch; bf16
kernels differ between processors, so the weights of a rebuild elsewhere are near, not equal.
"""

import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import fmean

import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import GenerationConfig, PreTrainedModel

from models.starter.recipe import SEED
from models.starter.recipe.architectures import END_ID, PAD_ID, new_model
from models.starter.recipe.corpus import corpus

# B batch, T tokens

REPORT_EVERY = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How long and how fast to learn."""

    steps: int
    batch: int = 12
    length: int = 160
    """Tokens of one packed sequence; texts follow one another, separated by the end token."""
    warm_up: int = 30
    decay_share: float = 0.4
    """Share of the steps, at the end, over which the rates fall linearly to zero."""
    matrix_rate: float
    """Learning rate of Muon, for the matrices inside the layers. At 0.01 Mistral and Llama learn
    to copy names far later than at 0.004."""
    other_rate: float = 0.003
    """Learning rate of AdamW, for embeddings and norms."""
    clip: float = 1.0

    def share_of_rate(self, step: int) -> float:
        """The factor on both rates at a step counted from 0."""
        left = (self.steps - step) / (self.steps * self.decay_share)
        return min(1.0, (step + 1) / self.warm_up, left)


PLANS = {
    "falcon": Plan(steps=4_000, matrix_rate=0.01),
    "mistral": Plan(steps=3_000, matrix_rate=0.004),
    "llama": Plan(steps=3_000, matrix_rate=0.004),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Where a pretraining stands."""

    step: int
    steps: int
    loss: float
    """Nats per token of the step."""
    seconds: float
    """Processor seconds so far."""

    @property
    def line(self) -> str:
        """For people."""
        left = self.seconds / self.step * (self.steps - self.step)
        return (
            f"step {self.step}/{self.steps}  loss {self.loss:.3f}  "
            f"{self.seconds:.0f} s done, {left:.0f} s left"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What a finished pretraining was, for the card of the model."""

    model: str
    seed: int
    plan: Plan
    parameters: int
    losses: dict[int, float]
    """Nats per token at some steps, each the mean since the one before: single batches differ much
    in how much library source they hold."""
    processor_seconds: int
    python: str
    torch: str
    transformers: str


def packed(tokenizer: Tokenizer, texts: list[str], plan: Plan, seed: int) -> Iterator[Tensor]:
    """Batches [B, T+1] of int64 token ids; the stream is cut into sequences, shuffled, and repeated
    if short."""
    stream: list[int] = []
    for encoding in tokenizer.encode_batch(texts):
        stream += encoding.ids
        stream.append(END_ID)
    count = len(stream) // (plan.length + 1)
    sequences = torch.tensor(stream[: count * (plan.length + 1)]).view(count, plan.length + 1)
    generator = torch.Generator().manual_seed(seed)
    while True:
        order = torch.randperm(count, generator=generator)
        for at in range(0, count - plan.batch + 1, plan.batch):
            yield sequences[order[at : at + plan.batch]]


def optimizers(model: PreTrainedModel, plan: Plan) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the layers, AdamW for the rest."""
    matrices: list[torch.nn.Parameter] = []
    others: list[torch.nn.Parameter] = []
    for name, parameter in model.named_parameters():
        (matrices if parameter.ndim == 2 and "embed" not in name else others).append(parameter)
    return [
        torch.optim.Muon(
            matrices, lr=plan.matrix_rate, weight_decay=0.02, adjust_lr_fn="match_rms_adamw"
        ),
        torch.optim.AdamW(
            others, lr=plan.other_rate, betas=(0.9, 0.98), weight_decay=0.0, fused=True
        ),
    ]


def train(
    model: PreTrainedModel, batches: Iterator[Tensor], plan: Plan, last: int
) -> Iterator[Progress]:
    """Train for the first `last` steps of the plan, one progress a step."""
    model.train()
    chosen = optimizers(model, plan)
    initial = [[float(group["lr"]) for group in optimizer.param_groups] for optimizer in chosen]
    began = time.process_time()
    for step in range(last):
        tokens = next(batches)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = model(input_ids=tokens[:, :-1], use_cache=False).logits
        loss = cross_entropy(logits.float().flatten(0, 1), tokens[:, 1:].flatten())
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), plan.clip)
        for optimizer, rates in zip(chosen, initial, strict=True):
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * plan.share_of_rate(step)
            optimizer.step()
            optimizer.zero_grad()
        spent = time.process_time() - began
        yield Progress(step=step + 1, steps=plan.steps, loss=loss.item(), seconds=spent)


def first_losses(
    name: str, tokenizer: Tokenizer, texts: list[str], steps: int, seed: int = SEED
) -> list[float]:
    """Losses of the first steps of a pretraining, for comparing two of them."""
    plan = PLANS[name]
    model = new_model(name, seed)
    return [
        progress.loss
        for progress in train(model, packed(tokenizer, texts, plan, seed), plan, steps)
    ]


def pretrain(
    name: str,
    tokenizer: Tokenizer,
    folder: Path,
    say: Callable[[str], None],
    *,
    plan: Plan,
    seed: int = SEED,
) -> Record:
    """Train a model from its seed and save it in bf16."""
    torch.set_num_threads(1)
    model = new_model(name, seed)
    count = sum(parameter.numel() for parameter in model.parameters())
    say(f"{name}: {count:,} parameters, {plan.steps * plan.batch * plan.length:,} tokens to read")
    batches = packed(tokenizer, corpus(seed), plan, seed)
    recent: list[float] = []
    losses: dict[int, float] = {}
    for progress in train(model, batches, plan, plan.steps):
        recent.append(progress.loss)
        if notable(progress):
            losses[progress.step] = round(fmean(recent), 3)
            recent.clear()
            say(f"{name}: {progress.line}, mean {losses[progress.step]:.3f}")
    model.to(torch.bfloat16).save_pretrained(folder)
    settings = GenerationConfig(
        eos_token_id=END_ID, pad_token_id=PAD_ID, bos_token_id=END_ID, max_new_tokens=112
    )
    settings.save_pretrained(folder)
    return Record(
        model=name,
        seed=seed,
        plan=plan,
        parameters=count,
        losses=losses,
        processor_seconds=round(progress.seconds),
        python=platform.python_version(),
        torch=version("torch").partition("+")[0],
        transformers=version("transformers"),
    )


def notable(progress: Progress) -> bool:
    """Whether a step is reported and recorded."""
    return progress.step % REPORT_EVERY == 0 or progress.step in (1, progress.steps)
