"""What the measured ways of asking a model have in common: prompts, the model, and the commands.

A driver is told `{"executions": N, "first": F, "every": E, "greedy": false}`, writes N answers to
each of the prompts F, F + E, F + 2 E and so on, in any order, and answers with `passed` (answers),
`drawn` (their tokens, the end tokens in them) and, where asked to be greedy, `tokens`: those of
each answer, in the order of the prompts. Greedy, it writes one answer to each.
"""

import argparse
import json
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from training import base
from transformers.utils.logging import disable_progress_bar, set_verbosity_error

Prompts = Sequence[list[int]]
Write = Callable[[Prompts, int, bool], list[list[int]]]
"""Prompts, answers to each, and whether greedy; the tokens of every answer, those to one prompt
together."""
TEMPERATURE = 0.8
ENDS = tuple(range(1, 65))
"""End tokens. Random weights draw nearly all tokens alike: one in 64 ends an answer."""
SEED = 0


def options(description: str | None) -> argparse.Namespace:
    """What every driver is told; sets up one thread and silence."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--channel", type=int, required=True, help="descriptor of the socket")
    parser.add_argument("--prompts", type=Path, required=True)
    parser.add_argument("--width", type=int, default=512, help="of the hidden states")
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--room", type=int, default=96, help="most tokens of an answer")
    parser.add_argument("--batch", type=int, default=80, help="answers at once")
    parser.add_argument("--way", default="", help="of transformers")
    torch.set_num_threads(1)
    disable_progress_bar()
    set_verbosity_error()
    return parser.parse_args()


def model(told: argparse.Namespace) -> Any:
    """The same model with random weights in float32 for every driver."""
    made = base("llama", told.width, told.layers).eval()
    made.generation_config.eos_token_id = list(ENDS)
    made.generation_config.pad_token_id = 0
    return made


def serve(told: argparse.Namespace, write: Write) -> None:
    """Answer until the other end hangs up."""
    prompts = json.loads(told.prompts.read_text())
    with socket.socket(fileno=told.channel) as connection:
        connection.set_inheritable(False)
        with connection.makefile("rw", encoding="utf-8") as lines:
            while line := lines.readline():
                command = json.loads(line)
                greedy = command["greedy"]
                chosen = prompts[command["first"] :: command["every"]]
                each = 1 if greedy else command["executions"]
                written = write(chosen, each, greedy)
                answer = {
                    "passed": len(written),
                    "drawn": sum(map(len, written)),
                    "tokens": written if greedy else [],
                }
                lines.write(json.dumps(answer) + "\n")
                lines.flush()


def ended(tokens: Sequence[int]) -> list[int]:
    """An answer up to its first end token, which padding may follow."""
    for place, token in enumerate(tokens):
        if token in ENDS:
            return list(tokens[: place + 1])
    return list(tokens)
