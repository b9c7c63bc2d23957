"""Talking to the model server, `python -m jobs serve`, in the OpenAI wire format.

Answers stream on one background thread that runs an event loop, because a task there can be
cancelled while it waits for its first token; a blocking read could not be.
"""

import asyncio
import json
import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from leaderboard.own_cases import OwnProblem

DEFAULT_URL = "http://127.0.0.1:8377"
CONNECT_SECONDS = 3.0
ANSWER_SECONDS = 10.0
"""The longest wait for what the server says without a model."""
TOKEN_SECONDS = 300.0
"""The longest wait for the next token; loading a model comes before the first."""
STOP_SECONDS = 2.0
"""The longest that Stop waits for the cancelled answers to say so."""
JUDGE_SECONDS = 180.0
"""The longest wait for a verdict: a program's own limit, behind others that are judged."""
BUSY_SECONDS = 120.0
"""How long a busy server is asked again."""


class ServerError(Exception):
    """The model server cannot be used; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Model:
    """A model that the server offers: `id` is the run's."""

    id: str
    label: str
    base: str | None = None
    """Id of the base it was tuned from; None: it is one."""


@dataclass(frozen=True, slots=True)
class Part:
    """What one line of a stream brings."""

    text: str = ""
    tokens: int | None = None
    """Tokens of the whole answer, in the line that counts them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What every model is asked."""

    prompt: str
    stop: list[str]
    max_tokens: int
    temperature: float
    opening: str = ""
    """The part of the prompt that the answers continue, shown before them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What became of an answer under a person's own tests."""

    outcome: str
    """A name of `eval_sandbox.verdict.Outcome`; empty where nothing was judged."""
    detail: str = ""
    cpu_seconds: float = 0.0
    wall_seconds: float = 0.0


@dataclass(slots=True)
class Answer:
    """One model's answer as it grows; written by the stream, read by the page."""

    model: Model
    opening: str = ""
    text: str = ""
    tokens: int = 0
    started: float = field(default_factory=time.monotonic)
    first_at: float | None = None
    ended: float | None = None
    note: str = ""
    """What it waits for, or how it ended; empty: it ended well."""

    @property
    def first_seconds(self) -> float | None:
        """Seconds from asking to the first token."""
        return None if self.first_at is None else self.first_at - self.started

    @property
    def tokens_per_second(self) -> float | None:
        """Tokens after the first, per second; None before there are two."""
        if self.first_at is None or self.tokens < 2:
            return None
        return (self.tokens - 1) / max(1e-6, (self.ended or time.monotonic()) - self.first_at)


def server_url() -> str:
    """Return the model server's address, without a slash at the end."""
    return (os.environ.get("CODELADDER_SERVE_URL") or DEFAULT_URL).rstrip("/")


def credentials() -> dict[str, str]:
    """Return the headers that let this page in: `CODELADDER_SERVE_TOKEN`, where it is set."""
    token = os.environ.get("CODELADDER_SERVE_TOKEN")
    return {"Authorization": f"Bearer {token}"} if token else {}


def first_pair(offered: Sequence[Model]) -> list[Model]:
    """Return the newest tuned model behind its base; where there is none, the first two."""
    of_id = {model.id: model for model in offered}
    for model in reversed(offered):
        if model.base in of_id:
            return [of_id[model.base], model]
    return list(offered[:2])


def models(client: httpx.Client) -> list[Model]:
    """Return the models on offer, in the server's order.

    Raises:
        ServerError: the server is not there or does not answer as it should.
    """
    found = _json(client, "GET", "/v1/models").get("data", [])
    return [
        Model(entry["id"], entry.get("label") or entry["id"], entry.get("base")) for entry in found
    ]


def ask_for_prompt(
    client: httpx.Client, instruction: str, signature: str, *, max_tokens: int, temperature: float
) -> Question:
    """Let the server word the prompt as in training, so that the template is in one place.

    Raises:
        ServerError: as `models`.
    """
    asked = {"instruction": instruction, "input": "", "signature": signature}
    worded = _json(client, "POST", "/v1/prompts", asked)
    return Question(
        prompt=worded["prompt"],
        stop=worded.get("stop") or [],
        max_tokens=max_tokens,
        temperature=temperature,
        opening=opening_of(worded["prompt"], signature),
    )


def judge(client: httpx.Client, answer: Answer, tests: OwnProblem) -> Verdict:
    """Let the server put tests to an answer.

    Args:
        client: of the server.
        answer: a model's; it may continue a signature.
        tests: with the function that they call, where calls are among them.

    Raises:
        ServerError: as `models`, or the tests are wrong.
    """
    continues = answer.opening.rstrip().endswith(":")  # else there is no body to continue with
    asked = {
        "completion": answer.text if continues else answer.opening + answer.text,
        "signature": answer.opening if continues else "",
        "entry_point": tests.entry_point,
        "tests": list(tests.tests),
    }
    return Verdict(**_json(client, "POST", "/judge", asked, JUDGE_SECONDS))


def opening_of(prompt: str, signature: str) -> str:
    """Return the prompt from its last mention of the signature on; empty without one."""
    at = prompt.rfind(signature.strip()) if signature.strip() else -1
    return prompt[at:] if at >= 0 else ""


def part_of(line: str) -> Part:
    """Return what one line of a stream brings; comments and the end bring nothing.

    Raises:
        ServerError: the line says that the server failed.
    """
    if not line.startswith("data:") or line == "data: [DONE]":
        return Part()
    event = json.loads(line.removeprefix("data:"))
    if "error" in event:
        raise ServerError(_reason(event))
    choices = event.get("choices") or [{}]
    return Part(choices[0].get("text") or "", (event.get("usage") or {}).get("completion_tokens"))


class Streams:
    """Several answers to one question, streamed at once."""

    def __init__(self, models: Sequence[Model], question: Question) -> None:
        self.answers = [Answer(model, question.opening) for model in models]
        self._question = question
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def running(self) -> bool:
        """True until every answer has ended."""
        return any(answer.ended is None for answer in self.answers)

    def close(self) -> None:
        """Cancel what still runs, the server's work with it; returns when that is done."""
        self._stop.set()
        self._thread.join(STOP_SECONDS)

    def _run(self) -> None:
        asyncio.run(self._stream_all())

    async def _stream_all(self) -> None:
        timeout = httpx.Timeout(TOKEN_SECONDS, connect=CONNECT_SECONDS)
        async with httpx.AsyncClient(
            base_url=server_url(), timeout=timeout, headers=credentials()
        ) as client:
            tasks = [asyncio.create_task(self._answer(client, one)) for one in self.answers]
            while self.running and not self._stop.is_set():
                await asyncio.wait(tasks, timeout=0.05)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _answer(self, client: httpx.AsyncClient, answer: Answer) -> None:
        try:
            while not await self._attempt(client, answer):
                pass
            answer.note = ""
        except (ServerError, httpx.HTTPError, ValueError, KeyError) as error:
            answer.note = _said(error)
        except asyncio.CancelledError:
            answer.note = "stopped"
            raise
        finally:
            answer.ended = time.monotonic()

    async def _attempt(self, client: httpx.AsyncClient, answer: Answer) -> bool:
        """Stream the answer; False: the server is busy, and the wait it asked for is over."""
        asked = {
            "model": answer.model.id,
            "prompt": self._question.prompt,
            "max_tokens": self._question.max_tokens,
            "temperature": self._question.temperature,
            "stop": self._question.stop,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        async with client.stream("POST", "/v1/completions", json=asked) as response:
            if response.status_code in (429, 503):
                return await _wait_for_turn(response, answer)
            if response.is_error:
                await response.aread()
                raise ServerError(_refused(response))
            async for line in response.aiter_lines():
                _take(answer, part_of(line))
        return True


def _take(answer: Answer, part: Part) -> None:
    """Grow the answer; until the server counts its tokens, a line with text is one."""
    if part.text:
        answer.first_at = answer.first_at or time.monotonic()
        answer.tokens += 1
        answer.text += part.text
    if part.tokens is not None:
        answer.tokens = part.tokens


async def _wait_for_turn(response: httpx.Response, answer: Answer) -> bool:
    if time.monotonic() - answer.started > BUSY_SECONDS:
        raise ServerError("the server is still busy; ask again later")
    after = response.headers.get("retry-after", "")
    seconds = min(30.0, float(after)) if after.isdigit() else 2.0
    answer.note = f"the server is busy; asking again every {seconds:.0f} s"
    await asyncio.sleep(seconds)
    return False


def _json(
    client: httpx.Client,
    method: str,
    path: str,
    body: dict[str, Any] | None = None,
    seconds: float = ANSWER_SECONDS,
) -> dict[str, Any]:
    timeout = httpx.Timeout(seconds, connect=CONNECT_SECONDS)
    try:
        response = client.request(method, path, json=body, timeout=timeout)
    except httpx.HTTPError as error:
        raise ServerError(_said(error)) from None
    if response.is_error:
        raise ServerError(_refused(response))
    try:
        found: dict[str, Any] = response.json()
    except ValueError:
        raise ServerError(f"{server_url()} is no model server: it answers no JSON") from None
    return found


def _refused(response: httpx.Response) -> str:
    if response.status_code in (429, 503):
        return "the server is busy; ask again in a moment"
    try:
        return f"the server refuses: {_reason(response.json())}"
    except ValueError:
        return f"the server answers {response.status_code}"


def _reason(answer: Any) -> str:
    """Return the reason in an error of OpenAI's form, or of FastAPI's."""
    error = answer.get("error", answer.get("detail")) if isinstance(answer, dict) else answer
    return str(error.get("message", error)) if isinstance(error, dict) else str(error)


def _said(error: Exception) -> str:
    match error:
        case httpx.ConnectError() | httpx.ConnectTimeout():
            return f"no model server answers at {server_url()}"
        case httpx.TimeoutException():
            return "the server took too long; ask again"
        case httpx.HTTPError():
            return "the connection to the server was lost"
        case _:
            return str(error)
