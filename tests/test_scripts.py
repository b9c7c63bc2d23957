"""How Streamlit's scripts are sent, with a plain app in place of Streamlit's routes."""

import gzip
import re

import pytest
from starlette.applications import Starlette
from starlette.responses import HTMLResponse, PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from leaderboard import scripts

STATIC = scripts.FOLDER
LARGEST = max(STATIC.glob("js/DataFrame.*.js"), key=lambda file: file.stat().st_size)


async def document(request):
    return HTMLResponse("<html></html>")


async def inside(request):
    return PlainTextResponse("inside")


@pytest.fixture
def browser():
    routes = [Route("/", document), Route("/compare", document), Route("/{path:path}", inside)]
    return TestClient(scripts.Scripts(Starlette(routes=routes)))


@pytest.mark.parametrize("below", ["", "/below/a/path"])
def test_a_script_comes_compressed_and_is_to_the_byte_what_streamlit_has(browser, below):
    with browser.stream("GET", f"{below}/static/js/{LARGEST.name}") as answer:
        sent = b"".join(answer.iter_raw())

    assert gzip.decompress(sent) == LARGEST.read_bytes()
    assert len(sent) == int(answer.headers["content-length"]) < LARGEST.stat().st_size / 2
    assert answer.headers["content-type"].startswith("text/javascript")
    assert "immutable" in answer.headers["cache-control"]
    assert answer.headers["vary"] == "accept-encoding"


@pytest.mark.parametrize(
    ("path", "encoding"),
    [
        (f"/static/js/{LARGEST.name}", "identity"),
        ("/static/js/none.js", "gzip"),
        ("/static/js/%2e%2e/%2e%2e/index.html", "gzip"),
        ("/static/media/font.woff2", "gzip"),
        ("/app/static/mine.js", "gzip"),
    ],
)
def test_all_else_is_for_streamlit_to_answer(browser, path, encoding):
    assert browser.get(path, headers={"accept-encoding": encoding}).text == "inside"


def test_every_document_names_the_large_scripts_of_the_first_page_and_nothing_else_does(browser):
    links = browser.get("/compare").headers["link"]
    named = re.findall(r"<\./(static/js/[\w.-]+)>; rel=modulepreload; fetchpriority=low", links)

    assert len(named) == links.count("<")
    assert browser.get("/").headers["link"] == links
    assert all((STATIC.parent / name).is_file() for name in named)
    assert f"static/js/{LARGEST.name}" in named
    assert len(links) < 2_000, "a proxy takes a header of some kilobytes"
    assert "link" not in browser.get("/health").headers


def test_every_script_that_is_named_here_is_one_of_the_streamlit_that_is_installed():
    there = {file.name.split(".")[0] for file in STATIC.glob("js/*.js")}

    assert set(scripts.DRAWING) <= there
