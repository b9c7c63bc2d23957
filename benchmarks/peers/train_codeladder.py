"""Our training: the loop that `python -m jobs run` carries out, on rows that are tokens already."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from training import ALPHA, BATCH, LEARNING_RATE, RANK, SEED, Commands, Rows, base, options

from jobs.methods import LoRA
from jobs.training import engines, loop, models
from jobs.training.peers import peers
from jobs.training.rows import Row
from jobs.training.settings import ALONE, Settings
from jobs.training.steps import Progress
from jobs.training.trainee import Trainee


class Paced:
    """Lets the loop go on only as far as it is told."""

    def __init__(self, channel: int) -> None:
        self._commands = Commands(channel)
        self._done: list[Progress] = []
        self._wanted = self._steps()

    def put(self, *messages: Progress) -> None:
        """Note what is done, and wait unless a step is still wanted."""
        self._done += messages
        if len(self._done) < self._wanted:
            return
        steps = [one.step for one in self._done]
        losses = [step.loss for step in steps]
        self._commands.answer(tokens=sum(step.tokens for step in steps), losses=losses)
        self._done = []
        self._wanted = self._steps()

    def _steps(self) -> int:
        return self._commands.steps() or os._exit(0)


def main() -> None:
    """Train, on command."""
    told = options(__doc__)
    rows = Rows.read(told.rows)
    method = LoRA(
        kind="lora",
        rank=RANK,
        alpha=ALPHA,
        learning_rate=LEARNING_RATE,
        schedule="linear",
        warmup=0,
        batch_size=BATCH,
        steps=len(rows.order) // BATCH,
        precision=told.precision,
        compile=told.compile,
        micro_batch_tokens=told.tokens,
    )
    trainee = Trainee(_model(told, method.settings()), method.settings())
    training = loop.Training(
        run_id="measured", settings=method.settings(), seed=SEED, trained=_trained(rows)
    )
    loop.MESSAGE_SECONDS = 0  # of each step at once
    loop.Loop(
        training=training,
        engine=engines.prepare(trainee, method.settings(), ALONE),
        peers=peers(),
        teller=Paced(told.channel),
    ).run([])


def _model(told: Any, settings: Settings) -> Any:
    dtype = torch.bfloat16 if settings.precision == "bf16" else torch.float32
    model = base(told.base, told.width, told.layers).to(dtype)
    model.config.use_cache = False
    return models.tuned(model, settings, SEED)


def _trained(rows: Rows) -> Sequence[Row]:
    return [
        Row(np.array(tokens, dtype=np.int32), prompt)
        for tokens, prompt in zip(rows.tokens, rows.prompts, strict=True)
    ]


if __name__ == "__main__":
    main()
