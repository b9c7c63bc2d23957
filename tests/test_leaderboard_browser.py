"""The app as it is started, in a real browser."""

import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from plausible_rows import TUNED, small_ledger, training, tuned_run
from streaming_server import Server

from database import open_ledger, write

ROOT = Path(__file__).parents[1]
CHROMIUM = shutil.which("chromium")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until_healthy(url, server):
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and server.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}/_stcore/health", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    pytest.fail("the app did not start")


def record(rows):
    engine = open_ledger()
    write(engine, rows)
    engine.dispose()


@pytest.fixture
def models(monkeypatch):
    """A model server that holds its first token back."""
    server = Server()
    server.first.clear()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setenv("CODELADDER_SERVE_URL", f"http://127.0.0.1:{server.server_port}")
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def app(home, models, tmp_path):
    """The address of the running app, with a small ledger behind it."""
    record(small_ledger())
    port = free_port()
    command = ["-m", "streamlit", "run", "leaderboard/app.py", "--server.port", str(port)]
    with (tmp_path / "app.log").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, *command], cwd=ROOT, env=dict(os.environ), stdout=log, stderr=log
        )
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until_healthy(url, server)
        yield url
    finally:
        server.terminate()
        server.wait(30)


@pytest.fixture
def tab(tmp_path):
    """A browser tab; what goes wrong in it fails the test."""
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


def test_from_the_ranked_table_to_the_answers_of_a_run(app, tab):
    tab.goto(f"{app}/?plain=true")
    rows = tab.get_by_role("table").first.get_by_role("row")
    rows.nth(2).wait_for()

    assert re.search(r"1\s+falcon-tiny\s+87.5.%\s+lora on starter", rows.nth(1).inner_text())
    assert "better" in rows.nth(1).inner_text()
    assert "base" in rows.nth(2).inner_text()
    with tab.context.expect_page() as opened:
        rows.nth(1).get_by_role("link", name="falcon-tiny").click()
    run = opened.value
    run.get_by_role("heading", name="Answers").wait_for()

    assert run.url == f"{app}/run?id={TUNED}"
    assert "falcon-tiny, starter, lora, seed 1" in run.get_by_role("heading", level=1).inner_text()
    run.get_by_text("def has_close_elements(xs):").first.wait_for()
    assert run.locator("code b").count() == 0


def test_a_training_is_watched_live_and_is_all_there_after_a_reload(app, tab):
    run, now = "a" * 12, datetime.now(UTC)
    record([tuned_run(run, state="training", label="mine"), *training(run, 20, of=60, at=now)])
    tab.goto(app)
    tab.get_by_role("link", name="Training").click()
    main = tab.get_by_test_id("stMain")

    def drawn(words):
        return main.locator(f'[role="graphics-document"][aria-label*="{words}"]')

    main.get_by_text("step 20 of 60").first.wait_for()
    drawn("Loss over the steps of 1 training").wait_for()

    record(training(run, 40, of=60, at=now + timedelta(seconds=8)))
    main.get_by_text("step 40 of 60").first.wait_for()
    drawn("at step 40").wait_for()
    tab.reload()
    main.get_by_text("step 40 of 60").first.wait_for()
    main.get_by_role("combobox", name="Runs").fill("falcon")
    tab.get_by_role("option", name="falcon-tiny, starter, lora, seed 1").click()
    drawn("Loss over the steps of 2 trainings").wait_for()
    assert TUNED in tab.url
