"""The page against `python -m jobs serve` as people start it, with two starter models."""

import os
import subprocess
import sys
import urllib.request

import pytest
import streamlit as st
from browsing import ROOT
from free_ports import free_port
from model_server import wait_until
from test_try_page import page, press

from database import open_ledger, write
from database.schema import Run
from database.votes import vote_counts


def answers_at(url):
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=5):
            return True
    except OSError:
        return False


@pytest.fixture
def served(home, monkeypatch, tmp_path):
    """The ledger behind a server that runs in a process of its own."""
    engine = open_ledger()
    rows = []
    for number, name in enumerate(("falcon", "mistral")):
        model = {"model": {"location": str(ROOT / "models" / "starter" / name)}}
        run = {"id": str(number) * 12, "label": name, "kind": "base", "model": name}
        rows.append(Run(state="done", provenance=model, **run))
    write(engine, rows)
    port = free_port()
    command = [sys.executable, "-m", "jobs", "serve", "--port", str(port)]
    with (tmp_path / "serve.log").open("w") as log:
        server = subprocess.Popen(command, cwd=ROOT, env=dict(os.environ), stdout=log, stderr=log)
    monkeypatch.setenv("CODELADDER_SERVE_URL", f"http://127.0.0.1:{port}")
    st.cache_resource.clear()
    try:
        wait_until(lambda: answers_at(f"http://127.0.0.1:{port}"))
        yield engine
    finally:
        server.terminate()
        server.wait(30)
        engine.dispose()
        st.cache_resource.clear()


@pytest.mark.slow
def test_starter_models_answer_are_judged_and_are_voted_on(served):
    app = page(blind="true")
    app.slider(key="max").set_value(32).run()
    press(app, "Ask")
    turn = app.session_state["turns"][0]

    assert [answer.state for answer in turn.answers] == ["Done", "Done"]
    assert all(answer.text and 1 < answer.tokens <= 32 for answer in turn.answers)
    press(app, "Run in the sandbox")
    assert {verdict.outcome for verdict in turn.verdicts} <= {"passed", "failed"}
    press(app, "Tie")
    (count,) = vote_counts(served)
    assert {count.run_a, count.run_b} == {"0" * 12, "1" * 12}
    assert (count.choice, count.votes) == ("tie", 1)
    assert app.table[0].value["Rating"].iloc[0] == "not rated: 29 more votes needed"

    press(app, "Ask again")
    again = app.session_state["turns"][1]
    texts = {answer.model.id: answer.text for answer in turn.answers}
    assert {answer.model.id: answer.text for answer in again.answers} == texts
