"""What the measured trainings have in common: rows, bases, memory, and steps on command.

A driver of a training is told `{"executions": N}`, takes N optimizer steps, and answers with
`tokens` (prompt and response, padding not counted), `losses` (one a step), `before_mib` (resident
just before its first step of all), `peak_mib` (the most resident while it took these steps) and
`resident_mib` (now).
"""

import argparse
import json
import os
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    FalconConfig,
    LlamaConfig,
    MistralConfig,
    PretrainedConfig,
    TrainerCallback,
    TrainingArguments,
)
from transformers.utils.logging import disable_progress_bar, set_verbosity_error

NO_LOSS = -100
VOCABULARY = 4096
BATCH = 8
"""Rows of an optimizer step: what trl and transformers take where nothing is said."""
LEARNING_RATE = 1e-3
RANK, ALPHA = 16, 32
SEED = 0
_PEERS = Path(__file__).resolve().parents[2] / ".venv-peers"


@dataclass(frozen=True)
class Rows:
    """Rows of tokens, and the order in which a training takes them."""

    tokens: list[list[int]]
    prompts: list[int]
    """Of each row, the tokens at its start that carry no loss."""
    order: list[int]
    """Places of rows, those of all batches one after the other."""

    @classmethod
    def read(cls, path: Path) -> "Rows":
        """What `train_systems.write_rows` wrote."""
        return cls(**json.loads(path.read_text()))

    def examples(self) -> list[dict[str, list[int]]]:
        """Rows with labels, in order, as trl and transformers take them."""
        return [
            {
                "input_ids": self.tokens[at],
                "labels": [NO_LOSS] * self.prompts[at] + self.tokens[at][self.prompts[at] :],
            }
            for at in self.order
        ]


def options(description: str | None) -> argparse.Namespace:
    """What every driver of a training is told; sets up one thread and silence."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--channel", type=int, required=True, help="descriptor of the socket")
    parser.add_argument("--rows", type=Path, required=True)
    parser.add_argument("--base", choices=sorted(_SHAPES), default="llama")
    parser.add_argument("--width", type=int, default=512, help="of the hidden states")
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--precision", choices=["bf16", "fp32"], default="bf16")
    parser.add_argument("--packed", action="store_true")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--tokens", type=int, default=2048, help="of a micro batch of ours")
    torch.set_num_threads(1)
    disable_progress_bar()
    set_verbosity_error()
    return parser.parse_args()


def base(family: str, width: int, layers: int) -> Any:
    """A model with random weights in float32, the same for every driver."""
    torch.manual_seed(SEED)
    shape = _SHAPES[family](width, layers)
    return AutoModelForCausalLM.from_config(shape, attn_implementation="sdpa")


def lora() -> Any:
    """Adapters on all linear layers, in peft's words."""
    from peft import LoraConfig

    return LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules="all-linear", task_type="CAUSAL_LM")


def arguments(kind: Callable[..., TrainingArguments], folder: str, **more: Any) -> Any:
    """Arguments of a trainer: its own defaults, but for what the measurement needs."""
    return kind(
        output_dir=folder,
        num_train_epochs=1,
        learning_rate=LEARNING_RATE,
        seed=SEED,
        train_sampling_strategy="sequential",  # so that all see the same rows in the same batches
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
        **more,
    )


def from_peers(name: str) -> None:
    """Make one package of the peers' environment importable beside ours.

    trl stands on torch, transformers, peft and accelerate. A copy of theirs would be a second
    gigabyte, and of another version something else would be measured than trl. So it runs on ours,
    and only its own folder comes from the peers.
    """
    (place,) = _PEERS.glob(f"lib/python*/site-packages/{name}")
    spec = spec_from_file_location(
        name, place / "__init__.py", submodule_search_locations=[str(place)]
    )
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)


class Commands:
    """The other end of `Driven`: how many steps are wanted, and what became of them."""

    def __init__(self, channel: int) -> None:
        connection = socket.socket(fileno=channel)
        connection.set_inheritable(False)
        self._lines = connection.makefile("rw", encoding="utf-8")
        self._before_mib: float | None = None

    def steps(self) -> int:
        """Wait for the next command; 0 when the other end has hung up."""
        line = self._lines.readline()
        if self._before_mib is None:
            self._before_mib = _memory_mib("VmRSS")
        with suppress(OSError):  # a host that cannot forget a peak shows that of the whole process
            Path("/proc/self/clear_refs").write_text("5")
        return int(json.loads(line)["executions"]) if line else 0

    def answer(self, *, tokens: int, losses: Sequence[float]) -> None:
        """Say that the steps are done."""
        answer = {
            "passed": len(losses),
            "tokens": tokens,
            "losses": list(losses),
            "before_mib": self._before_mib,
            "peak_mib": _memory_mib("VmHWM"),
            "resident_mib": _memory_mib("VmRSS"),
        }
        self._lines.write(json.dumps(answer) + "\n")
        self._lines.flush()


class Paced(TrainerCallback):
    """Lets a trainer of transformers go on only as far as it is told.

    Args:
        channel: descriptor of the socket.
        tokens: real tokens of every step, in order.
    """

    def __init__(self, channel: int, tokens: Sequence[int]) -> None:
        self._commands = Commands(channel)
        self._tokens = tokens
        self._wanted = 0
        self._losses: list[float] = []

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Wait, unless a step is still wanted."""
        if len(self._losses) < self._wanted:
            return
        if self._losses:
            self._answer(state.global_step)
        self._wanted = self._commands.steps()
        if not self._wanted:
            os._exit(0)  # nobody wants what a trainer does after its last step

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        """Note the loss of a step."""
        if "loss" in (logs or {}):
            self._losses.append(logs["loss"])

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Answer for the last steps."""
        self._answer(state.global_step)

    def _answer(self, done: int) -> None:
        count = sum(self._tokens[done - len(self._losses) : done])
        self._commands.answer(tokens=count, losses=self._losses)
        self._losses = []


def tokens_of_steps(lengths: Sequence[int], batch: int) -> list[int]:
    """Real tokens of each step that takes `batch` examples in order."""
    return [sum(lengths[start : start + batch]) for start in range(0, len(lengths), batch)]


def _memory_mib(name: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) / 1024
    raise LookupError(name)


def _llama(width: int, layers: int) -> PretrainedConfig:
    return LlamaConfig(**_usual(width, layers), intermediate_size=2 * width)


def _mistral(width: int, layers: int) -> PretrainedConfig:
    size = 9 * width // 4  # fewer heads of keys and values leave room for wider layers
    return MistralConfig(**_usual(width, layers), intermediate_size=size, num_key_value_heads=2)


def _falcon(width: int, layers: int) -> PretrainedConfig:
    return FalconConfig(**_usual(width, layers), tie_word_embeddings=False)


def _usual(width: int, layers: int) -> dict[str, Any]:
    return {
        "vocab_size": VOCABULARY,
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": max(2, width // 64),
        "bos_token_id": 1,
        "eos_token_id": 1,
        "pad_token_id": 0,
    }


_SHAPES = {"llama": _llama, "mistral": _mistral, "falcon": _falcon}
