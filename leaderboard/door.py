"""The door of the site: it looks at every request and socket before anything else does.

A local site is asked from this machine, and the Host header has to be a name of it, because a web
page could point a name of its own at 127.0.0.1. Where a proxy says who signed in, only the proxy is
let in: anybody else could write the same header. The JSON API wants a token, or somebody whom the
proxy signed in.
"""

import secrets

from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from leaderboard.access import Access, is_loopback

API = "/api/"
HEALTH = "/health"
OPEN = (HEALTH, "/_stcore/health")
"""Paths that say whether the site lives, and nothing else: Streamlit has one of its own."""


class Door:
    """ASGI middleware around the pages and the API."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self.app = app
        self.access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        refused = self._refusal(HTTPConnection(scope))
        if refused is None:
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            await refused(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008})

    def _refusal(self, asked: HTTPConnection) -> JSONResponse | None:
        access, path = self.access, asked.scope["path"]  # the path of `url` may be from Host
        if access.local and access.sign_in == "none" and (refused := _unless_local(asked)):
            return refused
        if path in OPEN:
            return None
        shows_token = access.token and _shows(asked, access.token)
        if path.startswith(API) and access.sign_in != "none" and shows_token:
            return None
        if access.sign_in == "header":
            return self._unless_proxied(asked)
        if path.startswith(API) and (access.sign_in == "oidc" or access.token):
            return None if shows_token else self._untold(asked)
        return None

    def _unless_proxied(self, asked: HTTPConnection) -> JSONResponse | None:
        where = _peer(asked)
        if where not in self.access.proxies:
            return _refused(403, f"{where} is not the proxy that signs people in")
        if not asked.headers.get(self.access.user_header):
            return _refused(401, f"the proxy named nobody in {self.access.user_header}")
        return None

    def _untold(self, asked: HTTPConnection) -> JSONResponse:
        """No token, or a wrong one: 401 and 403, as Ray's doors have them."""
        if not self.access.token:
            return _refused(
                401, "the API takes a bearer token, and CODELADDER_BOARD_TOKEN is not set"
            )
        needed = "a bearer token is needed: the one in CODELADDER_BOARD_TOKEN"
        if "authorization" in asked.headers:
            return _refused(403, f"the token is wrong; {needed}")
        return _refused(401, needed)


def _unless_local(asked: HTTPConnection) -> JSONResponse | None:
    host = asked.headers.get("host", "")
    if not is_loopback(_without_port(host).removeprefix("[").removesuffix("]")):
        return _refused(403, f"this site is local, and {host!r} is no name of this machine")
    if not is_loopback(_peer(asked)):
        return _refused(403, f"this site is local, and {_peer(asked)} is another machine")
    return None


def _peer(asked: HTTPConnection) -> str:
    """Who is at the other end of the socket, as long as no header is believed on it."""
    return asked.client.host if asked.client else ""


def _shows(asked: HTTPConnection, token: str) -> bool:
    given = asked.headers.get("authorization", "").removeprefix("Bearer ")
    return secrets.compare_digest(given.encode(), token.encode())


def _refused(status: int, why: str) -> JSONResponse:
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else None
    return JSONResponse({"detail": why}, status, headers)


def _without_port(host: str) -> str:
    return host.rsplit(":", 1)[0] if host.rpartition(":")[2].isdigit() else host
