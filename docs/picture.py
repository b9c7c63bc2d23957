"""Take the picture of the leaderboard: `python docs/picture.py docs/board.png [URL]`.

Needs Chromium and the leaderboard running; `make leaderboard` starts it on the default URL.
"""

import os
import shutil
import sys

from playwright.sync_api import sync_playwright

LIMIT = 60_000
"""Milliseconds to wait for the page."""


def main(target: str, url: str = "http://127.0.0.1:8501") -> None:
    """Write the first page, 1280 pixels wide, as far as it goes down, twice as sharp."""
    flags = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as driver:
        chromium = shutil.which("chromium") or shutil.which("chromium-browser")
        browser = driver.chromium.launch(executable_path=chromium, args=flags)
        page = browser.new_page(viewport={"width": 1280, "height": 900}, device_scale_factor=2)
        page.goto(url, timeout=LIMIT)
        page.get_by_role("button", name="Download JSON").wait_for(timeout=LIMIT)
        main_part = page.get_by_test_id("stMainBlockContainer")
        height = main_part.evaluate("part => Math.ceil(part.getBoundingClientRect().height)")
        page.set_viewport_size({"width": 1280, "height": height + 40})
        page.wait_for_timeout(2_000)
        page.screenshot(path=target, clip={"x": 0, "y": 0, "width": 1280, "height": height - 60})
        browser.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
