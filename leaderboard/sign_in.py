"""Says on the page that signing in by OpenID Connect failed, and roughly why.

Streamlit sends whoever comes back from the provider to the first page, whether it worked or not,
and keeps the reason for its log. Here the way to that page says what happened.
"""

from functools import partial
from urllib.parse import parse_qs

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

WHY = "sign-in"
"""The name in the URL under which the page finds what happened."""
LOGIN, CALLBACK = "/auth/login", "/oauth2callback"
USER_COOKIE = "_streamlit_user="
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
        """Pass a request on, and add to the answer what happened."""
        if scope["type"] == "http" and scope["path"].endswith((LOGIN, CALLBACK)):
            send = partial(_send, send, scope)
        await self.app(scope, receive, send)


async def _send(send: Send, scope: Scope, message: Message) -> None:
    if message["type"] == "http.response.start":
        headers = MutableHeaders(raw=message["headers"])
        why = _why(scope, message["status"], headers)
        if why:
            message["status"] = 302
            headers["location"] = f"{scope.get('root_path', '')}/?{WHY}={why}"
    await send(message)


def _why(scope: Scope, status: int, headers: MutableHeaders) -> str:
    """What went wrong, of `TOLD`; empty: nothing did."""
    if scope["path"].endswith(LOGIN):
        return "unreachable" if status >= 400 else ""
    asked = parse_qs(scope["query_string"].decode("latin-1"))
    if "error" in asked:
        return "refused"
    cookies = headers.getlist("set-cookie")
    came_in = any(one.startswith(USER_COOKIE) and "Max-Age=0" not in one for one in cookies)
    return "failed" if "code" in asked and not came_in else ""
