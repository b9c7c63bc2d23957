"""Visits to the page of the board in headless Chromium, timed inside the page."""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

HOOK = """
window.drawn = []; window.lastInput = 0;
const fillText = CanvasRenderingContext2D.prototype.fillText;
CanvasRenderingContext2D.prototype.fillText = function (text, ...place) {
  window.drawn.push([performance.now(), text]);
  return fillText.call(this, text, ...place);
};
for (const kind of ['input', 'keydown'])
  window.addEventListener(kind, () => { window.lastInput = performance.now(); }, true);
"""
"""Notes what is drawn on a canvas, as the grid of the page is, and when; and the last key."""
DRAWN = """([word, since]) => {
  const found = window.drawn.find(([at, text]) => at > since && text.includes(word));
  return found ? found[0] : 0;
}"""
"""Milliseconds since the navigation when a word was drawn first, after some moment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Visits:
    """What several visits took, in seconds, and what one carried, in bytes."""

    first: float
    """Of a server that has shown nothing before."""
    paints: tuple[float, ...]
    filters: tuple[float, ...]
    data: int
    assets: int
    """Streamlit's own files, as they travel; a browser keeps them."""


@dataclass(slots=True)
class _Carried:
    data: int = 0
    requests: list[Any] = field(default_factory=list)

    def frame(self, payload: str | bytes) -> None:
        self.data += len(payload)

    def sizes(self) -> tuple[int, int]:
        """Bytes of the page's own data, and of Streamlit's files."""
        data, assets = self.data, 0
        for request in self.requests:
            sizes = request.sizes()
            carried = sizes["responseBodySize"] + sizes["responseHeadersSize"]
            if "/static/" in request.url or request.url.rstrip("/").count("/") == 2:
                assets += carried
            else:
                data += carried
        return data, assets


def visits(url: str, models: Sequence[str], times: int) -> Visits | None:
    """Visit the page so many times, and search in it; None where there is no browser.

    Args:
        url: of the page.
        models: names of two models that are in the table.
        times: of each.
    """
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        print("playwright is not installed; the page is not measured")
        return None
    chromium = shutil.which("chromium")
    if chromium is None:
        print("Chromium is not installed; the page is not measured")
        return None
    with sync_playwright() as driver:
        flags = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = driver.chromium.launch(executable_path=chromium, args=flags)
        first, *_ = _paint(browser, url)
        painted = [_paint(browser, url) for _ in range(times)]
        filters = _searched(browser, url, models, times)
        browser.close()
    carried = painted[-1][1]
    return Visits(
        first=first,
        paints=tuple(seconds for seconds, _ in painted),
        filters=tuple(filters),
        data=carried[0],
        assets=carried[1],
    )


@contextmanager
def _tab(browser: Any) -> Iterator[Any]:
    """A tab of a profile that has seen nothing."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.add_init_script(HOOK)
    page = context.new_page()
    page.set_default_timeout(120_000)
    yield page
    context.close()


def _paint(browser: Any, url: str) -> tuple[float, tuple[int, int]]:
    """Seconds from the navigation to the ranked table, and the bytes when all has come."""
    carried = _Carried()
    with _tab(browser) as page:
        page.on("websocket", lambda socket: socket.on("framereceived", lambda f: carried.frame(f)))
        page.on("requestfinished", lambda request: carried.requests.append(request))
        page.goto(url, wait_until="commit")
        seconds = _drawn(page, "base", 0) / 1000
        page.wait_for_timeout(1500)
        return seconds, carried.sizes()


def _searched(browser: Any, url: str, models: Sequence[str], times: int) -> list[float]:
    """Seconds from the Enter after a model's name until a row of it is drawn.

    Two models in turn, so that no row of the one is there while the other is searched.
    """
    with _tab(browser) as page:
        page.goto(url)
        _drawn(page, "base", 0)
        search = page.get_by_role("searchbox", name="Search")
        taken = []
        for turn in range(1 + times):
            page.wait_for_timeout(1500)
            search.fill(models[turn % 2])
            search.press("Enter")
            since = page.evaluate("() => window.lastInput")
            taken.append((_drawn(page, models[turn % 2], since) - since) / 1000)
        return taken[1:]


def _drawn(page: Any, word: str, since: float) -> float:
    return float(page.wait_for_function(DRAWN, arg=[word, since]).json_value())
