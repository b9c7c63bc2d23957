"""vLLM as the engine: one `vllm serve` for each worker, asked over HTTP on its own machine.

It is a program of its own in an environment of its own, because it wants an older transformers than
we do. Adapters are handed to it as they are; where it cannot take one, the merged weights are. Its
answers are not promised to repeat to the letter. Nothing here has been measured on a GPU yet.
"""

import contextlib
import ctypes
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from jobs.answers import Answered, EngineError, read_answers, read_cost
from jobs.parts import KeptParts, Part
from jobs.prompts import every_stop
from jobs.reading import Reading, reading_of
from jobs.remote.asking import ServedOrder, ServedQuestion, ask_server
from jobs.remote.server import Server
from jobs.weights import Weights

if TYPE_CHECKING:
    from jobs.generate import AskOrder, Mailbox
    from jobs.loaded import Precision

PROGRAM = "CODELADDER_VLLM"
"""Environment variable: where `vllm` is, if not on the path."""
KEY = "VLLM_API_KEY"
"""Environment variable that vLLM reads its own key from; we make one for each server."""
PATIENCE_SECONDS = 1200.0
"""For it to load a model and to compile it."""
LIMITS: dict[str, Any] = {"concurrency": 256, "timeout": 3600.0}
"""Of what is asked at once: vLLM batches what has arrived, and lets the rest wait."""
TRIES = 3
"""Of a request to a server on this machine: one that is gone does not come back by itself."""
SECONDS_TO_END = 20.0
SECONDS_TO_GO = 5.0
BASE, TUNED = "base", "tuned"
RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""That `--max-lora-rank` takes."""
WITHOUT_ADAPTERS = frozenset({"falcon"})
"""Types of models to which vLLM can add no adapter, as far as we know."""
DTYPES = {"fp32": "float32", "bf16": "bfloat16"}
LAST_LINES = 15


def program() -> str:
    """The `vllm` of this machine.

    Raises:
        EngineError: there is none.
    """
    named = os.environ.get(PROGRAM, "")
    found = shutil.which(named or "vllm")
    if found is None:
        where = (
            f"{PROGRAM} names {named}, which is no program" if named else "it is not on the path"
        )
        raise EngineError(
            f"no vllm on this machine: {where}. Install it in an environment of its own (python -m "
            f"venv vllm && vllm/bin/pip install vllm==0.32.0) and set {PROGRAM} to its bin/vllm"
        )
    return found


def command(vllm: str, weights: Weights, precision: str, port: int) -> list[str]:
    """How a server of these weights is started, at loopback.

    Args:
        vllm: the program.
        weights: a base, whole weights, or a base with an adapter that vLLM can take.
        precision: `fp32` or `bf16`.
        port: a free one.
    """
    location, revision = weights.source
    line = [vllm, "serve", location, "--host", "127.0.0.1", "--port", str(port)]
    line += ["--served-model-name", BASE, "--dtype", DTYPES[precision]]
    line += ["--load-format", "safetensors", "--seed", "0"]
    # A max_new_tokens in generation_config.json would cap every answer; its ends we send ourselves.
    line += ["--generation-config", "vllm"]
    if revision:
        line += ["--revision", revision]
    if location != weights.location:  # a copy of the tokenizer is there, but the base's own is read
        line += ["--tokenizer", weights.location]
    if weights.revision:
        line += ["--tokenizer-revision", weights.revision]
    if weights.adapter is not None:
        rank = json.loads((weights.adapter / "adapter_config.json").read_text())["r"]
        most = min(known for known in RANKS if known >= rank)
        line += ["--enable-lora", "--max-lora-rank", str(most)]
        line += ["--lora-modules", f"{TUNED}={weights.adapter}"]
    return line


def takes_adapter(weights: Weights, kind: str) -> bool:
    """Whether vLLM can add the adapter itself.

    Not to a model of every type, not DoRA's, none above its largest rank, and none whose base was
    quantized in training: that one belongs to weights as coarse.

    Args:
        weights: with an adapter.
        kind: the base's `model_type`.
    """
    assert weights.adapter is not None
    adapter = json.loads((weights.adapter / "adapter_config.json").read_text())
    plain = not adapter.get("use_dora") and adapter["r"] <= RANKS[-1]
    return plain and weights.quantization is None and kind not in WITHOUT_ADAPTERS


class VllmServer:
    """A running `vllm serve`; it ends with `close`, or with the process that started it."""

    def __init__(
        self, line: Sequence[str], port: int, log: Path, patience: float = PATIENCE_SECONDS
    ) -> None:
        """Start it and wait until it answers.

        Args:
            line: see `command`.
            port: the one it is told.
            log: what it writes.
            patience: seconds to wait.

        Raises:
            EngineError: it ended before it answered, or it did not answer in time; with the last
                lines that it wrote.
        """
        self.url = f"http://127.0.0.1:{port}"
        self._log = log
        with log.open("wb") as written:
            self._process = subprocess.Popen(
                line,
                stdin=subprocess.DEVNULL,
                stdout=written,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_end_with_parent(),
            )
        try:
            self._wait(patience)
        except BaseException:
            self.close()
            raise

    @property
    def version(self) -> str:
        """Of the vLLM that answers; empty where it does not say."""
        try:
            said = httpx.get(f"{self.url}/version", timeout=5, trust_env=False).json()
        except (httpx.TransportError, ValueError):
            return ""
        return str(said.get("version", "")) if isinstance(said, dict) else ""

    def has_ended(self) -> bool:
        """Whether it is gone; one that is about to go, as after a failure inside, is waited for."""
        try:
            self._process.wait(timeout=SECONDS_TO_GO)
        except subprocess.TimeoutExpired:
            return False
        return True

    def close(self) -> None:
        """End it, and all that it started."""
        for how in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
                os.killpg(self._process.pid, how)
                self._process.wait(timeout=SECONDS_TO_END)
        self._process.wait()

    def _wait(self, patience: float) -> None:
        deadline = time.monotonic() + patience
        while not self._answers():
            if (status := self._process.poll()) is not None:
                why = f"ended with status {status} before it answered"
            elif time.monotonic() > deadline:
                why = f"did not answer within {patience:.0f} s"
            else:
                time.sleep(0.2)
                continue
            raise EngineError(f"vllm {why}{self._said()}")

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/health", timeout=5, trust_env=False).status_code == 200
        except httpx.TransportError:
            return False

    def _said(self) -> str:
        lines = self._log.read_text(errors="replace").strip().splitlines()[-LAST_LINES:]
        return "; its last lines:\n" + "\n".join(lines) if lines else ", and wrote nothing"


class VllmActor:
    """Answers parts with a `vllm serve` of its own, started when the first part comes."""

    def __init__(self, order: "AskOrder", mailbox: "Mailbox", of: int) -> None:
        """Start nothing yet: what fails here would look like a worker that died."""
        self._order = order
        self._mailbox = mailbox
        self._of = of
        self._running: tuple[Server, VllmServer] | None = None
        self._reading: Reading | None = None
        self._folder = KeptParts(order.out).folder / "vllm"
        """Goes with the parts, whoever dies."""

    def work(self, item: Part) -> Answered:
        """The answers to a part.

        A vLLM that ended while it was asked is started once more, and asked for the rest.

        Raises:
            EngineError: there is no vLLM here, or it cannot be asked.
        """
        try:
            return self._answered(item)
        except EngineError:
            if self._running is None or not self._running[1].has_ended():
                raise
        self.close()
        return self._answered(item)

    def _answered(self, item: Part) -> Answered:
        from jobs.generate import Teller

        server, running = self._running = self._running or self._start()
        self._reading = self._reading or reading_of(self._weights)
        order = served_part(self._order, item, server, self._reading, self._folder)
        teller = Teller(self._order, self._mailbox, item.name, self._of)
        ask_server(order, lambda done, of: teller.tell(done))
        cost = read_cost(order.out)
        assert cost is not None
        return Answered(
            answers=tuple(read_answers(order.out)),
            cost=replace(cost, device=_device_words(running.version)),
        )

    @property
    def _weights(self) -> Weights:
        return self._order.storage.weights_here(self._order.weights)

    def close(self) -> None:
        """End the server, if it runs; a cluster that ends this actor ends it too."""
        if self._running is not None:
            self._running[1].close()
        self._running = None

    def _start(self) -> tuple[Server, VllmServer]:
        vllm = program()
        self._folder.mkdir(parents=True, exist_ok=True)
        os.environ[KEY] = secrets.token_hex(16)
        weights, precision = self._weights, self._order.asking.precision
        if weights.adapter is not None and not takes_adapter(weights, _kind(weights)):
            weights = _merged(weights, precision, self._folder / f"merged-{os.getpid()}")
        port = _free_port()
        line = command(vllm, weights, precision, port)
        running = VllmServer(line, port, self._folder / f"{os.getpid()}.log")
        model = TUNED if weights.adapter else BASE
        return Server(url=f"{running.url}/v1", model=model, key=KEY, **LIMITS), running


def served_part(
    order: "AskOrder", part: Part, server: Server, reading: Reading, folder: Path
) -> ServedOrder:
    """A part as vLLM is asked it; raise `VLLM_ASKING_VERSION` when that changes.

    The text is ours, chat templates included; and all is said that vLLM would else take from the
    model's generation_config.json.
    """
    drawn: dict[str, Any] = {
        "top_k": order.asking.top_k or -1,
        "min_p": 0.0,
        "repetition_penalty": 1.0,
    }
    drawn |= {"stop_token_ids": sorted(reading.ends)}
    questions = tuple(
        ServedQuestion(
            task_id=question.task_id,
            whole=question.whole,
            route="completions",
            body={"prompt": question.text, "add_special_tokens": not question.templated} | drawn,
            room=reading.room(question),
        )
        for question in part.questions
    )
    stop = every_stop(order.stop, part.questions)
    return ServedOrder(
        server=server,
        questions=questions,
        asking=order.asking.model_copy(update={"top_k": 0}),
        stop=stop,
        seed=order.seed,
        out=folder / f"{part.name}.jsonl",
        most_stops=len(stop),
        tries=TRIES,
    )


def _merged(weights: Weights, precision: "Precision", folder: Path) -> Weights:
    """The same as whole weights, in a folder."""
    import torch

    from jobs.loaded import load_model

    loaded = load_model(weights, precision)
    loaded.model.save_pretrained(folder)
    loaded.tokenizer.save_pretrained(folder)
    del loaded
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return Weights(location=str(folder))


def _device_words(version: str) -> str:
    """The name of this node's GPUs, and the vLLM that used them; without GPUs `cpu`."""
    try:
        told = subprocess.run(
            ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        told = ""
    if not told.strip():
        return "cpu"
    return told.splitlines()[0].strip() + (f" (vLLM {version})" if version else "")


def _kind(weights: Weights) -> str:
    """The `model_type` of a base."""
    from transformers import AutoConfig

    location, revision = weights.source
    config = AutoConfig.from_pretrained(location, revision=revision, trust_remote_code=False)
    return str(config.model_type)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def _end_with_parent() -> Any:
    """What a child calls to get SIGTERM when its parent dies (prctl(2), PR_SET_PDEATHSIG)."""
    libc = ctypes.CDLL(None)
    return lambda: libc.prctl(1, signal.SIGTERM)
