"""Several answers to one question, streamed at once on a thread of their own.

An event loop runs there, because a task can be cancelled while it waits for its first token; a
blocking read could not be. Answers go on while a page is drawn again; they end when they are
stopped, or when no page has looked at them for `LEASE_SECONDS`: the visitor left.
"""

import asyncio
import json
import re
import ssl
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal

import httpx

from leaderboard.questions import Question
from leaderboard.serving import (
    CONNECT_SECONDS,
    Model,
    ServerError,
    as_known,
    credentials,
    failure_of,
    reason,
    server_url,
)

TOKEN_SECONDS = 300.0
"""The longest wait for the next token; loading a model comes before the first."""
STOP_SECONDS = 2.0
"""The longest that Stop waits for the cancelled answers to say so."""
BUSY_SECONDS = 300.0
"""How long a busy server is asked again."""
LONGEST_PAUSE = 30.0
LEASE_SECONDS = 15.0
"""Longer than a busy server takes to list its models, which drawing the page waits for."""
LOOKS_EVERY_SECONDS = 0.05

State = Literal[
    "Asking",
    "Queued",
    "Starting",
    "Loading adapter",
    "Loading model",
    "Answering",
    "Busy",
    "Done",
    "Stopped",
    "Failed",
]
TOLD: dict[str, State] = {
    "waiting": "Queued",
    "queued": "Queued",
    "starting": "Starting",
    "loading adapter": "Loading adapter",
    "loading the adapter": "Loading adapter",
    "loading": "Loading model",
    "writing": "Answering",
    "answering": "Answering",
}
"""By the first words of a comment in the stream."""


@dataclass(frozen=True, slots=True)
class Part:
    """What one line of a stream brings."""

    text: str = ""
    tokens: int | None = None
    """Tokens of the whole answer, in the line that counts them."""
    state: State | None = None
    ahead: int | None = None
    """Questions that come before this one, where the server says so."""


@dataclass(slots=True)
class Answer:
    """One model's answer as it grows; written by the stream, read by the page."""

    model: Model
    opening: str = ""
    text: str = ""
    tokens: int = 0
    state: State = "Asking"
    ahead: int | None = None
    again_at: float | None = None
    """When a busy server is asked again."""
    started: float = field(default_factory=time.monotonic)
    first_at: float | None = None
    ended: float | None = None
    note: str = ""
    """What the server says of being busy, or why it failed."""

    @property
    def elapsed(self) -> float:
        """Seconds since it was asked, until it ended."""
        return (self.ended or time.monotonic()) - self.started

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

    def take(self, part: Part) -> None:
        """Grow; until the server counts its tokens, a part with text is one."""
        if part.state is not None and self.first_at is None:
            self.state, self.ahead = part.state, part.ahead
        if part.text:
            self.state = "Answering"
            self.first_at = self.first_at or time.monotonic()
            self.tokens += 1
            self.text += part.text
        if part.tokens is not None:
            self.tokens = part.tokens

    def end(self, state: State, note: str = "") -> None:
        """Note how it ended, once."""
        if self.ended is None:
            self.ended, self.state, self.note = time.monotonic(), state, note


def part_of(line: str) -> Part:
    """Return what one line of a stream brings; other comments and the end bring nothing.

    Raises:
        ServerError: the line says that the server failed.
    """
    if line.startswith(":"):
        return _told(line[1:].strip())
    if not line.startswith("data:") or line == "data: [DONE]":
        return Part()
    with as_known():
        event = json.loads(line.removeprefix("data:"))
        if "error" in event:
            raise ServerError(reason(event))
        choice = (event.get("choices") or [{}])[0]
        text = choice.get("text") or (choice.get("delta") or {}).get("content") or ""
        return Part(text, (event.get("usage") or {}).get("completion_tokens"))


def _told(comment: str) -> Part:
    low = comment.lower()
    for words, state in TOLD.items():
        if low.startswith(words):
            number = re.search(r"\d+", low) if state == "Queued" else None
            return Part(state=state, ahead=int(number[0]) if number else None)
    return Part()


class Streams:
    """The answers of several models to one question, on their way."""

    def __init__(self, models: Sequence[Model], question: Question) -> None:
        """Begin to ask."""
        self.answers = [Answer(model, question.opening) for model in models]
        self._question = question
        self._stop = threading.Event()
        self._looked = time.monotonic()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def running(self) -> bool:
        """True until every answer has ended."""
        return any(answer.ended is None for answer in self.answers)

    def look(self) -> None:
        """Say that somebody still waits for the answers."""
        self._looked = time.monotonic()

    def close(self) -> None:
        """Cancel what still runs, the server's work with it; returns when that is done."""
        self._stop.set()
        self._thread.join(STOP_SECONDS)
        for answer in self.answers:
            answer.end("Stopped")

    def _wanted(self) -> bool:
        left = time.monotonic() - self._looked > LEASE_SECONDS
        return self.running and not self._stop.is_set() and not left

    def _run(self) -> None:
        try:
            asyncio.run(self._stream_all())
        finally:
            for answer in self.answers:
                answer.end("Failed", "the connection to the server was lost")

    async def _stream_all(self) -> None:
        timeout = httpx.Timeout(TOKEN_SECONDS, connect=CONNECT_SECONDS)
        async with httpx.AsyncClient(
            base_url=server_url(), timeout=timeout, headers=credentials(), verify=_trusted()
        ) as client:
            tasks = [asyncio.create_task(self._answer(client, one)) for one in self.answers]
            while self._wanted():
                await asyncio.wait(tasks, timeout=LOOKS_EVERY_SECONDS)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _answer(self, client: httpx.AsyncClient, answer: Answer) -> None:
        try:
            while not await self._attempt(client, answer):
                pass
            answer.end("Done")
        except (ServerError, httpx.HTTPError) as error:
            answer.end("Failed", failure_of(error))
        except asyncio.CancelledError:
            answer.end("Stopped")
            raise

    async def _attempt(self, client: httpx.AsyncClient, answer: Answer) -> bool:
        """Stream the answer; False: the server is busy, and the wait it asked for is over."""
        streamed: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}}
        asked = self._question.body(answer.model.id) | streamed
        async with client.stream("POST", self._question.path, json=asked) as response:
            if response.status_code in (429, 503):
                await response.aread()
                return await _wait_for_turn(response, answer)
            if response.is_error:
                await response.aread()
                raise ServerError(f"the server refuses: {_reason_in(response)}")
            async for line in response.aiter_lines():
                answer.take(part_of(line))
        return True


@lru_cache(maxsize=1)
def _trusted() -> ssl.SSLContext:
    """The certificates trusted; reading them anew would cost each first token 0.1 s."""
    return httpx.create_ssl_context()


async def _wait_for_turn(response: httpx.Response, answer: Answer) -> bool:
    if answer.elapsed > BUSY_SECONDS:
        raise ServerError("the server is still busy; ask again later")
    after = response.headers.get("retry-after", "")
    seconds = min(LONGEST_PAUSE, float(after)) if after.isdigit() else 2.0
    answer.state, answer.note = "Busy", _reason_in(response).removesuffix("; try again soon")
    answer.again_at = time.monotonic() + seconds
    await asyncio.sleep(seconds)
    answer.state, answer.note, answer.again_at = "Asking", "", None
    return False


def _reason_in(response: httpx.Response) -> str:
    try:
        return reason(response.json())
    except ValueError:
        return f"it answers {response.status_code}"
