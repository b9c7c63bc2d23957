"""The app in a real browser: its server, the ledger behind it, a tab."""

import os
import shutil
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest
from free_ports import free_port
from plausible_rows import small_ledger
from streaming_server import Server

from database import open_ledger, write

ROOT = Path(__file__).parents[1]
CHROMIUM = shutil.which("chromium")


def record(rows):
    engine = open_ledger()
    write(engine, rows)
    engine.dispose()


@contextmanager
def started(script, folder, *options, port=None, **environment):
    """The address of what `streamlit run` serves, while it does."""
    port = port or free_port()
    command = [sys.executable, "-m", "streamlit", "run", script, "--server.port", str(port)]
    told = {**os.environ, **environment}
    with (folder / "app.log").open("w") as log:
        server = subprocess.Popen([*command, *options], cwd=ROOT, env=told, stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until_there(f"{url}/_stcore/health", server)
        yield url
    finally:
        server.terminate()
        server.wait(30)


def wait_until_there(url, server):
    """Wait until a process that was started answers at an address."""
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and server.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    pytest.fail(f"nothing answers at {url}")


@contextmanager
def answering():
    """A model server that holds its first token back."""
    server = Server()
    server.first.clear()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def models(monkeypatch):
    """The same, for one test; the app that is started then asks it."""
    with answering() as server:
        monkeypatch.setenv("CODELADDER_SERVE_URL", f"http://127.0.0.1:{server.server_port}")
        yield server


@pytest.fixture
def app(home, models, tmp_path):
    """The address of the running app, with a small ledger behind it."""
    record(small_ledger())
    with started("leaderboard/app.py", tmp_path) as url:
        yield url


@contextmanager
def opened_tab():
    """A tab of a browser of its own."""
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as driver:
        flags = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=flags)
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(60_000)
        yield page
        browser.close()


def wait_until_quiet(tab):
    """Wait until a page is drawn whole; parts of it load their code when they are first shown."""
    tab.get_by_test_id("stMain").get_by_role("heading", level=1).first.wait_for()
    tab.locator('[data-test-script-state="notRunning"]').wait_for()
    tab.get_by_test_id("stSkeleton").first.wait_for(state="detached")
    tab.wait_for_timeout(500)


@pytest.fixture
def tab():
    """A browser tab for one test."""
    with opened_tab() as page:
        yield page
