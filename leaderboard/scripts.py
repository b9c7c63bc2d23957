"""Streamlit's scripts and styles, sent smaller and sooner than Streamlit sends them.

Streamlit leaves their compression to a proxy, because it would compress them anew for everybody;
here each is compressed once in the life of the server. And a browser learns only from a page's
first rows that it needs the script that draws tables; here the answer that brings the document
names it, so that both come at the same time.
"""

import re
from collections.abc import Iterable
from functools import cache, partial
from gzip import compress
from pathlib import Path

import streamlit
from anyio.to_thread import run_sync
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

FOLDER = Path(streamlit.__file__).with_name("static") / "static"
KINDS = {".js": "text/javascript", ".css": "text/css"}
DRAWING = (
    "DataFrame", "Selectbox", "TextInput", "ButtonGroup", "Multiselect", "Checkbox",
    "ArrowVegaLiteChart", "embed",
)  # fmt: skip
"""Scripts of what stands on the first page down to its table."""
LARGE = 10_000
"""Bytes of a script from which on it is worth a place in the header, which proxies keep short."""
IMPORTED = re.compile(r'(?:from|import)"\./([\w.-]+\.js)"')
HEADERS = {
    "content-encoding": "gzip",
    "vary": "accept-encoding",
    # As Streamlit says it: a hash of the contents is in the name, so nobody need ask again.
    "cache-control": "public, immutable, max-age=31536000",
}


class Scripts:
    """ASGI middleware around the pages."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.compressed: dict[Path, bytes] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request for a script or style; pass on others."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        file = _files().get(scope["path"].rpartition("/static/")[2])
        if file and scope["method"] == "GET" and _takes_gzip(scope):
            if file not in self.compressed:
                self.compressed[file] = await run_sync(_compressed, file)
            body = self.compressed[file]
            answer = Response(body, headers=HEADERS, media_type=KINDS[file.suffix])
            await answer(scope, receive, send)
        else:
            await self.app(scope, receive, partial(_send, send))


async def _send(send: Send, message: Message) -> None:
    if message["type"] == "http.response.start":
        headers = MutableHeaders(raw=message["headers"])
        if headers.get("content-type", "").startswith("text/html"):
            headers.append("link", _named_soon())
    await send(message)


def _takes_gzip(scope: Scope) -> bool:
    return "gzip" in Headers(scope=scope).get("accept-encoding", "")


@cache
def _files() -> dict[str, Path]:
    """All scripts and styles, by their path below `/static/`."""
    found = (path for path in FOLDER.rglob("*") if path.suffix in KINDS)
    return {path.relative_to(FOLDER).as_posix(): path for path in found}


def _compressed(file: Path) -> bytes:
    return compress(file.read_bytes(), 6)


@cache
def _named_soon() -> str:
    """The header that has a browser fetch what draws the first page."""
    soon = _needed(DRAWING) - _needed(("index",))  # which the document names
    large = sorted(name for name in soon if _files()[name].stat().st_size >= LARGE)
    return ", ".join(f"<./static/{name}>; rel=modulepreload; fetchpriority=low" for name in large)


def _needed(scripts: Iterable[str]) -> set[str]:
    """These scripts and all that they import, by their paths."""
    known = _files()
    needed: set[str] = set()
    waiting = {f"js/{path.name}" for path in (FOLDER / "js").iterdir() if _title(path) in scripts}
    while waiting:
        name = waiting.pop()
        needed.add(name)
        imported = {f"js/{one}" for one in IMPORTED.findall(known[name].read_text())}
        waiting |= (imported & known.keys()) - needed
    return needed


def _title(file: Path) -> str:
    return file.name.split(".")[0]
