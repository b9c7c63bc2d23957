"""What it brings to write answers together: `make bench-serve`, in about two minutes.

A server of its own (`python -m jobs serve`, one process, a starter model and two adapters of it) is
asked over HTTP, by turns: one question alone, eight at once, eight at once that go to the base and
both adapters. Each round compares its own three, the median of the rounds is told. Tokens are those
that the server counts. Answers are drawn so freely that nearly all have the same length; they come
in one piece, for a client that reads streams works as hard as this server's small model. Only the
time to the first token is taken from streams.

The last lines are `figure serve_batched_vs_one X ratio` (tokens per second of eight at once over
those of one), `figure serve_mixed_vs_base X ratio` (of three models at once over those of one, both
eight at once) and `figure serve_first_token_ms X ms` (warm, one question alone, its prompt 40
tokens).
"""

import argparse
import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import httpx
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from database.schema import Checkpoint, Run
from database.session import open_ledger
from database.writing import write

ROOT = Path(__file__).resolve().parent.parent
STARTER = ROOT / "models" / "starter" / "falcon"
PROMPT = '    """Return the sum of the squares of the numbers above zero."""\n'
AT_ONCE = 8
TOKENS = 150


@dataclass(frozen=True, slots=True)
class Round:
    """What was measured beside each other."""

    one: float
    """Tokens per second of one question after the other."""
    eight: float
    """Of eight at once, to the base."""
    mixed: float
    """Of eight at once, to the base and two adapters."""
    first: float
    """Seconds to the first token of one question alone."""


def main() -> int:
    """Measure, print a table, and the figures."""
    asked = _parser().parse_args()
    with tempfile.TemporaryDirectory() as folder, _server(Path(folder), asked.model) as client:
        models = ["base", "first", "second"]
        for model in models:
            _ask(client, model, 0)  # loads it
        rounds = [_round(client, models, number) for number in range(asked.rounds)]
    print(f"{'round':<8}{'one':>10}{'eight':>10}{'mixed':>10}   tokens/s")
    for number, found in enumerate(rounds, start=1):
        print(f"{number:<8}{found.one:>10.0f}{found.eight:>10.0f}{found.mixed:>10.0f}")
    print(f"figure serve_batched_vs_one {median(r.eight / r.one for r in rounds):.2f} ratio")
    print(f"figure serve_mixed_vs_base {median(r.mixed / r.eight for r in rounds):.2f} ratio")
    print(f"figure serve_first_token_ms {1000 * median(r.first for r in rounds):.1f} ms")
    return 0


def _round(client: httpx.Client, models: Sequence[str], number: int) -> Round:
    seeds = range(AT_ONCE * number, AT_ONCE * (number + 1))
    return Round(
        one=_speed(client, [("base", seed) for seed in seeds[:2]], at_once=1),
        eight=_speed(client, [("base", seed) for seed in seeds], AT_ONCE),
        mixed=_speed(client, [(models[seed % len(models)], seed) for seed in seeds], AT_ONCE),
        first=median(_first_token(client, seed) for seed in seeds[:5]),
    )


def _speed(client: httpx.Client, questions: Sequence[tuple[str, int]], at_once: int) -> float:
    """Tokens per second of all answers."""
    began = time.monotonic()
    with ThreadPoolExecutor(at_once) as askers:
        tokens = sum(askers.map(lambda one: _ask(client, *one), questions))
    return tokens / (time.monotonic() - began)


def _ask(client: httpx.Client, model: str, seed: int) -> int:
    """Tokens of an answer."""
    reply = client.post("/v1/completions", json=_body(model, seed)).raise_for_status()
    return int(reply.json()["usage"]["completion_tokens"])


def _first_token(client: httpx.Client, seed: int) -> float:
    """Seconds to the first token; the rest is not waited for."""
    began = time.monotonic()
    asked = _body("base", seed) | {"stream": True}
    with client.stream("POST", "/v1/completions", json=asked) as reply:
        next(line for line in reply.iter_lines() if line.startswith("data:"))
        return time.monotonic() - began


def _body(model: str, seed: int) -> dict[str, str | int | float]:
    return {
        "model": model,
        "prompt": PROMPT,
        "max_tokens": TOKENS,
        "temperature": 2.0,
        "seed": seed,
    }


@contextlib.contextmanager
def _server(folder: Path, model: Path) -> Iterator[httpx.Client]:
    """A client of a server with a base and two adapters; it ends with the block."""
    # One thread for the model, so that the askers have a core of their own.
    environment = os.environ | {"CODELADDER_HOME": str(folder), "OMP_NUM_THREADS": "1"}
    environment.pop("RAY_ADDRESS", None)
    environment.pop("CODELADDER_DATABASE_URL", None)
    _fill(folder, model)
    port = _free_port()
    command = [sys.executable, "-m", "jobs", "serve", "--port", str(port)]
    server = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        server.stdout.readline()  # it says that it listens
        with httpx.Client(
            base_url=f"http://127.0.0.1:{port}", timeout=300, trust_env=False
        ) as client:
            yield client
    finally:
        server.terminate()
        server.wait()


def _fill(folder: Path, model: Path) -> None:
    ledger = open_ledger(f"sqlite:///{folder / 'ledger.db'}")
    run = {"model": "m", "state": "done", "provenance": {"model": {"location": str(model)}}}
    rows: list[Run | Checkpoint] = [Run(id="0" * 12, label="base", kind="base", **run)]
    for seed, label in ((1, "first"), (2, "second")):
        name = str(seed) * 12
        rows.append(Run(id=name, label=label, kind="tuned", base_run="0" * 12, **run))
        path = _adapter(folder / label, model, seed)
        rows.append(Checkpoint(run=name, path=str(path), kind="adapter", sha256="0" * 64, steps=1))
    write(ledger, rows)
    ledger.dispose()


def _adapter(folder: Path, model: Path, seed: int) -> Path:
    """Random weights: what they say does not matter here, what they cost does."""
    torch.manual_seed(seed)
    base = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    settings = LoraConfig(r=16, target_modules="all-linear", task_type="CAUSAL_LM")
    get_peft_model(base, settings).save_pretrained(folder)
    return folder


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--model", type=Path, default=STARTER, help="a folder with weights")
    parser.add_argument("--rounds", type=int, default=7)
    return parser


if __name__ == "__main__":
    sys.exit(main())
