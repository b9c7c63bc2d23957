"""Who may come in, decided before anything of a request is read."""

import contextlib
import ipaddress
import secrets
from urllib.parse import urlsplit

from fastapi import Request
from fastapi.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from jobs.judge_desk import TooLargeError
from jobs.wire import error

TOKEN = "CODELADDER_SERVE_TOKEN"
MOST_BYTES = 4 << 20
"""Of a request's body."""
SAFE = ("GET", "HEAD", "OPTIONS")
"""Methods that change nothing, nor have anything run."""


class Door:
    """Lets in who may come in, before anything is read.

    On loopback the Host header has to be a name of this machine: a web page could otherwise point a
    name of its own at 127.0.0.1 and use the models from a visitor's browser. Nor may a page of
    another site have anything done by a form: browsers say where a request is from.
    """

    def __init__(self, app: ASGIApp, token: str, local: bool) -> None:
        self.app = app
        self.token = token
        self.local = local

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
        elif refusal := self._refusal(Request(scope)):
            await refusal(scope, receive, send)
        else:
            await self.app(scope, _limited(receive), send)

    def _refusal(self, request: Request) -> Response | None:
        length = request.headers.get("content-length", "")
        if length.isdigit() and int(length) > MOST_BYTES:
            message = f"a body of at most {MOST_BYTES >> 20} MiB is taken"
            refused = error(message, "invalid_request_error")
            return JSONResponse(refused, 413, {"Connection": "close"})
        host = request.headers.get("host", "")
        name = _without_port(host).removeprefix("[").removesuffix("]")
        if self.local and not is_loopback(name):
            message = f"this server is local, and {host!r} is no name of this machine"
            return JSONResponse(error(message, "invalid_request_error"), 403)
        if request.method not in SAFE and _from_elsewhere(request):
            message = "a page of another site asks for this, and may not"
            return JSONResponse(error(message, "invalid_request_error"), 403)
        if not self.token or request.scope["path"] == "/health":
            return None
        shown = request.headers.get("authorization", "")
        if secrets.compare_digest(shown.removeprefix("Bearer ").encode(), self.token.encode()):
            return None
        needed = f"a bearer token is needed: the one in {TOKEN}"
        message = f"the token is wrong; {needed}" if shown else needed
        refused = error(message, "authentication_error", code="invalid_api_key")
        if shown:  # 401 and 403 as Ray's doors have them
            return JSONResponse(refused, 403)
        return JSONResponse(refused, 401, {"WWW-Authenticate": "Bearer"})


def _from_elsewhere(request: Request) -> bool:
    """Whether a browser says that a page of another site sends this."""
    if request.headers.get("sec-fetch-site") in ("cross-site", "same-site"):
        return True
    origin = request.headers.get("origin")
    return origin is not None and urlsplit(origin).netloc != request.headers.get("host")


def _limited(receive: Receive) -> Receive:
    """The same, for a body that does not say how long it is."""
    read = 0

    async def limited() -> Message:
        nonlocal read
        message = await receive()
        read += len(message.get("body", b""))
        if read > MOST_BYTES:
            raise TooLargeError(f"a body of at most {MOST_BYTES >> 20} MiB is taken")
        return message

    return limited


def is_loopback(host: str) -> bool:
    """Whether an address to listen at is reached from this machine alone."""
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


def _without_port(host: str) -> str:
    return host.rsplit(":", 1)[0] if host.rpartition(":")[2].isdigit() else host
