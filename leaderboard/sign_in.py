"""Leads back from signing in by OpenID Connect: to the page one was on, or to why it failed.

Streamlit sends whoever comes back from the provider to the first page, whether it worked or not,
and keeps the reason for its log. Here a cookie remembers the page on the way out, and the way to
the first page says what went wrong.
"""

from functools import partial
from urllib.parse import parse_qs, quote, unquote, urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

WHY = "sign-in"
"""The name in the URL under which the page finds what happened."""
LOGIN, CALLBACK = "/auth/login", "/oauth2callback"
USER_COOKIE = "_streamlit_user="
PAGE_COOKIE = "codeladder_page"
PAGE_SECONDS, PAGE_LENGTH = 900, 2_000
"""A page is remembered so long, and not at all where its address has more characters."""
TOLD = {
    "refused": "Your provider did not let you in, or you turned back there.",
    "failed": "Your provider let you in, but did not accept this site. Most often `client_id` or "
    "`client_secret` in `.streamlit/secrets.toml` is wrong; the site's log has the provider's "
    "words.",
    "unreachable": "The provider could not be asked. Most often `server_metadata_url` in "
    "`.streamlit/secrets.toml` is wrong, or the provider is down; the site's log says more.",
}


class SignIn:
    """ASGI middleware around Streamlit's routes for signing in."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and turn the answer to where it should lead."""
        if scope["type"] == "http" and scope["path"].endswith((LOGIN, CALLBACK)):
            send = partial(_send, send, HTTPConnection(scope))
        await self.app(scope, receive, send)


async def _send(send: Send, asked: HTTPConnection, message: Message) -> None:
    if message["type"] == "http.response.start":
        headers = MutableHeaders(raw=message["headers"])
        came_in = _came_in(headers)
        if why := _why(asked, message["status"], came_in):
            message["status"] = 302
            headers["location"] = f"{asked.scope.get('root_path', '')}/?{WHY}={why}"
        elif came_in:
            _lead_back(asked, headers)
        elif asked.scope["path"].endswith(LOGIN):
            _remember(asked, headers)
    await send(message)


def _why(asked: HTTPConnection, status: int, came_in: bool) -> str:
    """What went wrong, of `TOLD`; empty: nothing did."""
    if asked.scope["path"].endswith(LOGIN):
        return "unreachable" if status >= 400 else ""
    query = parse_qs(asked.scope["query_string"].decode("latin-1"))
    if "error" in query:
        return "refused"
    return "failed" if "code" in query and not came_in else ""


def _came_in(headers: MutableHeaders) -> bool:
    """Whether an answer says who somebody is."""
    cookies = headers.getlist("set-cookie")
    return any(one.startswith(USER_COOKIE) and "Max-Age=0" not in one for one in cookies)


def _remember(asked: HTTPConnection, headers: MutableHeaders) -> None:
    """Keep the page that sends somebody to the provider, unless it only says what went wrong."""
    page = urlsplit(asked.headers.get("referer", ""))
    if page.netloc != asked.headers.get("host") or WHY in parse_qs(page.query):
        return
    address = page._replace(scheme="", netloc="", fragment="").geturl()
    if _is_ours(address):
        kept = Response()
        kept.set_cookie(PAGE_COOKIE, quote(address, safe=""), PAGE_SECONDS, httponly=True)
        headers.append("set-cookie", kept.headers["set-cookie"])


def _lead_back(asked: HTTPConnection, headers: MutableHeaders) -> None:
    address = unquote(asked.cookies.get(PAGE_COOKIE, ""))
    if _is_ours(address):
        headers["location"] = quote(address, safe="/?&=%+:,;@!$'()*~")
        gone = Response()
        gone.delete_cookie(PAGE_COOKIE, httponly=True)
        headers.append("set-cookie", gone.headers["set-cookie"])


def _is_ours(address: str) -> bool:
    """Whether a browser takes an address for a page of this site: `//there` is another one."""
    return address[:1] == "/" and address[1:2] not in ("/", "\\") and len(address) <= PAGE_LENGTH
