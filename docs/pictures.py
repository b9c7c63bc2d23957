"""Take the pictures of the site: `python docs/pictures.py docs/pictures [URL]`.

Needs Chromium and the site running over scores of a base and a tuned model; `make leaderboard`
starts it on the default URL.
"""

import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
from playwright.sync_api import Browser, Page, sync_playwright

WIDE, PHONE = 1280, 390
LIMIT = 60_000
"""Milliseconds to wait for a page."""


def main(target: str, url: str = "http://127.0.0.1:8501") -> None:
    """Write every page in light, the first one in dark and as a phone shows it too.

    The try-it page is asked its first question, as it stands there.
    """
    flags = ["--no-sandbox", "--disable-gpu"] if os.geteuid() == 0 else []
    folder = Path(target)
    folder.mkdir(exist_ok=True)
    with sync_playwright() as driver:
        chromium = shutil.which("chromium") or shutil.which("chromium-browser")
        browser = driver.chromium.launch(executable_path=chromium, args=flags)
        for name, page in _pages(url):
            _take(browser, f"{url}/{page}", folder / f"{name}.png")
        _take(browser, f"{url}/try", folder / "try.png", then=_ask)
        _take(browser, url, folder / "board-dark.png", scheme="dark")
        _take(browser, url, folder / "board-phone.png", width=PHONE)
        browser.close()


def _pages(url: str) -> Iterator[tuple[str, str]]:
    """A name and an address for each page, of the tuned model that gained most."""
    scores = [score for score in _told(url, "scores") if score["delta"]]
    best = max(scores, key=lambda score: score["delta"]["value"] or 0)
    pair = {"a": best["run"], "b": best["base"]}
    of = {"benchmark": best["benchmark"], "contract": best["contract"]}
    first = _told(url, "verdicts", run=best["run"], benchmark=best["benchmark"], limit=1)[0]
    yield "board", ""
    yield "compare", f"compare?{urlencode(pair | of)}"
    yield "problems", f"problems?{urlencode(of)}"
    yield "problem", f"problem?{urlencode(of | {'id': first['task_id']})}"
    yield "run", f"run?id={best['run']}"
    yield "training", "training"
    yield "datasets", "datasets"
    yield "jobs", "jobs"
    yield "methods", "methods"


def _told(url: str, what: str, **asked: Any) -> Any:
    answer = httpx.get(f"{url}/api/v1/{what}", params=asked, timeout=60)
    answer.raise_for_status()
    return answer.json()


def _ask(page: Page) -> None:
    """Have both models answer, and run what they wrote with the tests that stand there."""
    page.get_by_role("button", name=re.compile("^Ask")).click()
    page.get_by_text("Done").nth(1).wait_for(timeout=LIMIT)
    page.get_by_role("button", name="Run in the sandbox").click()
    page.get_by_text("Your tests:").nth(1).wait_for(timeout=LIMIT)


def _take(
    browser: Browser,
    url: str,
    path: Path,
    *,
    scheme: str = "light",
    width: int = WIDE,
    then: Callable[[Page], None] = lambda page: None,
) -> None:
    """Write one page, down to about two screens, after something was done on it."""
    context = browser.new_context(
        viewport={"width": width, "height": 1600},
        color_scheme="dark" if scheme == "dark" else "light",
        device_scale_factor=2 if width == PHONE else 1,
    )
    page = context.new_page()
    page.goto(url, timeout=LIMIT)
    main_part = page.get_by_test_id("stMain")
    main_part.get_by_role("heading", level=1).first.wait_for(timeout=LIMIT)
    page.get_by_role("button", name="Copy link").first.wait_for(timeout=LIMIT)
    page.get_by_test_id("stStatusWidget").wait_for(state="detached", timeout=LIMIT)
    then(page)
    page.wait_for_timeout(2_000)
    block = page.get_by_test_id("stMainBlockContainer")
    height = block.evaluate("part => Math.ceil(part.getBoundingClientRect().height)")
    page.screenshot(
        path=path, clip={"x": 0, "y": 0, "width": width, "height": min(1600, height + 10)}
    )
    context.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
