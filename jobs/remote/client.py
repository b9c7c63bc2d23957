"""Requests to one OpenAI-compatible server: paced, repeated where that helps, refused clearly."""

import asyncio
import json
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


class Client:
    """Talks to a server within one event loop; `async with` opens and closes its connections."""

    def __init__(self, server: Server, tries: int = TRIES) -> None:
        """Prepare to talk; `tries` of each request."""
        self._server = server
        self._tries = tries
        self._pace = Pace(server.per_minute)
        secret = server.secret
        self._http = httpx.AsyncClient(
            headers={"Authorization": f"Bearer {secret}"} if secret else {},
            timeout=httpx.Timeout(server.timeout, connect=min(server.timeout, 15.0)),
            limits=httpx.Limits(max_connections=server.concurrency),
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
        except httpx.TransportError as error:
            return None, f"could not be reached ({type(error).__name__}: {self._shown(str(error))})"
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
            raise EngineError(
                f"{self._server.url}/{route} refused with status {answer.status_code}: "
                f"{self._words(answer)}{self._hint(answer.status_code)}"
            )
        try:
            return answer.json()
        except ValueError:
            raise EngineError(
                f"{self._server.url}/{route} answered with something other than JSON: "
                f"{self._shown(answer.text)}"
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
            return self._shown(answer.text)
        inner = said.get("error", said) if isinstance(said, dict) else said
        message = inner.get("message", inner) if isinstance(inner, dict) else inner
        return self._shown(message if isinstance(message, str) else json.dumps(message))

    def _shown(self, text: str) -> str:
        """A server's text in one line, cut, without the key where it repeats that."""
        if self._server.secret:
            text = text.replace(self._server.secret, "***")
        return " ".join(text.split())[:MOST_WORDS]


def _is_worth_another(status: int) -> bool:
    return status in AGAIN or (status >= 500 and status != 501)
