"""Requests to one OpenAI-compatible server: paced, repeated where that helps, refused clearly."""

import asyncio
import json
import re
from types import TracebackType
from typing import Any, Self

import httpx

from jobs.answers import EngineError
from jobs.remote.pace import Pace, backoff, retry_after
from jobs.remote.server import Server

TRIES = 8
"""Of one request: about three minutes of waiting in all."""
LONGEST_HOLD = 600.0
"""Seconds that we wait where a server asks for it; if for more, the run ends and may be resumed."""
AGAIN = (408, 425, 429)
"""Statuses below 500 after which the same request may succeed."""
PATIENT = 2
"""Failures of one request after which a server that says `Retry-After: 0` is not believed."""
MOST_WORDS = 500
TOO_LONG = re.compile(r"context[ _](length|size|window)", re.IGNORECASE)
"""In a refusal of a prompt that leaves no room for the answer, by OpenAI, vLLM, SGLang and
llama.cpp."""


class TooLongError(EngineError):
    """A prompt and its answer are longer than the model can read: no failure of the server."""


class Client:
    """Talks to a server within one event loop; `async with` opens and closes its connections."""

    def __init__(self, server: Server, tries: int = TRIES) -> None:
        """Prepare to talk; `tries` of each request.

        Raises:
            EngineError: the key cannot be sent.
        """
        self._server = server
        self._tries = tries
        self._pace = Pace(server.per_minute)
        secret = _sendable(server)
        self._http = httpx.AsyncClient(
            headers={"Authorization": f"Bearer {secret}"} if secret else {},
            timeout=httpx.Timeout(server.timeout, connect=min(server.timeout, 15.0)),
            limits=httpx.Limits(max_connections=server.concurrency),
            trust_env=not server.is_loopback,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._http.aclose()

    async def ask(self, route: str, body: dict[str, Any]) -> Any:
        """What a route answers to a POST of `body`, as JSON.

        Raises:
            EngineError: the server refused, in its own words; or it failed each time.
            TooLongError: it refused because the model has no room for so long an answer.
        """
        return self._read(route, await self._answer(route, body))

    async def look(self, route: str) -> Any:
        """What is behind a route, as JSON; None where there is no such route.

        Raises:
            EngineError: see `ask`.
        """
        answer = await self._answer(route, None)
        return None if answer.status_code in (404, 405, 501) else self._read(route, answer)

    async def _answer(self, route: str, body: dict[str, Any] | None) -> httpx.Response:
        failures = 0
        while True:
            await self._pace.turn()
            answer, why = await self._once(route, body)
            if answer is not None and not _is_worth_another(answer.status_code):
                return answer
            failures += 1
            if failures >= self._tries:
                raise EngineError(f"{self._server.url} {why}, {failures} times in a row")
            await self._wait(answer, failures)

    async def _once(
        self, route: str, body: dict[str, Any] | None
    ) -> tuple[httpx.Response | None, str]:
        """A response, if there is one, and what to say of it if it is no answer."""
        address = f"{self._server.url}/{route}"
        try:
            if body is None:
                answer = await self._http.get(address)
            else:
                answer = await self._http.post(address, json=body)
        except httpx.LocalProtocolError:  # its text may be that of a header, and so the key
            return None, "could not be asked (LocalProtocolError)"
        except httpx.TransportError as error:
            return None, f"could not be reached ({type(error).__name__}: {self.shown(str(error))})"
        return answer, f"answers with status {answer.status_code}: {self._words(answer)}"

    async def _wait(self, answer: httpx.Response | None, failures: int) -> None:
        asked = None if answer is None else retry_after(answer.headers.get("Retry-After"))
        if asked is None:
            await asyncio.sleep(backoff(failures))
            return
        if asked > LONGEST_HOLD:
            raise EngineError(
                f"{self._server.url} asks to be left alone for {asked:.0f} s; the same command "
                "goes on from here"
            )
        self._pace.hold(asked)
        if failures > PATIENT:
            await asyncio.sleep(backoff(failures - PATIENT))

    def _read(self, route: str, answer: httpx.Response) -> Any:
        if answer.status_code != 200:
            too_long = answer.status_code in (400, 413) and TOO_LONG.search(answer.text)
            raise (TooLongError if too_long else EngineError)(
                f"{self._server.url}/{route} refused with status {answer.status_code}: "
                f"{self._words(answer)}{self._hint(answer.status_code)}"
            )
        try:
            return answer.json()
        except ValueError:
            raise EngineError(
                f"{self._server.url}/{route} answered with something other than JSON: "
                f"{self.shown(answer.text)}"
            ) from None

    def _hint(self, status: int) -> str:
        if status not in (401, 403):
            return ""
        if not self._server.key:
            return "; name the environment variable that holds its key as `key`"
        return "; is the key right that the environment variable named as `key` holds?"

    def _words(self, answer: httpx.Response) -> str:
        """The server's own reason, as far as it gives one."""
        try:
            said = answer.json()
        except ValueError:
            return self.shown(answer.text)
        message = said
        for name in ("error", "message", "detail"):  # the last is FastAPI's
            message = message.get(name, message) if isinstance(message, dict) else message
        return self.shown(message if isinstance(message, str) else json.dumps(message))

    def shown(self, text: str) -> str:
        """A server's text in one line, cut, without the key where it repeats that."""
        if secret := self._server.secret:
            for written in (secret, json.dumps(secret)[1:-1]):
                text = text.replace(written, "***")
        return " ".join(text.split())[:MOST_WORDS]


def _sendable(server: Server) -> str:
    secret = server.secret
    if not (secret.isascii() and secret.isprintable()):
        raise EngineError(
            f"the environment variable {server.key} holds no key: one is of printable ASCII "
            "characters"
        )
    return secret


def _is_worth_another(status: int) -> bool:
    return status in AGAIN or (status >= 500 and status != 501)
