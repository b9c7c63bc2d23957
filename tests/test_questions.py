"""The code that the page offers asks the very question of the page."""

import shutil
import subprocess
import threading

import pytest
from streaming_server import WORDS, Server

from leaderboard.questions import Question, Settings, as_curl, as_python, opening_of, seed

NASTY = "It's \"quoted\" $HOME `id` \\n\nJSON\nüñí\n'''"
FORMS = {
    "a prompt": Question(
        prompt=NASTY, stop=("\n\n", "'"), settings=Settings(temperature=0.3, top_p=0.9, seed=5)
    ),
    "a message": Question(form="chat", prompt=NASTY, settings=Settings(seed=0)),
}


@pytest.fixture
def server():
    running = Server()
    thread = threading.Thread(target=running.serve_forever, daemon=True)
    thread.start()
    yield running
    running.shutdown()
    running.server_close()
    thread.join()


@pytest.mark.parametrize("question", FORMS.values(), ids=FORMS)
def test_the_shell_command_asks_the_question(server, question, monkeypatch):
    if not shutil.which("curl"):
        pytest.skip("curl is not installed")
    code = as_curl(question, "70ned", f"http://someone:secret@127.0.0.1:{server.server_port}")
    monkeypatch.setenv("CODELADDER_SERVE_TOKEN", "sesame")
    done = subprocess.run(["bash", "-c", code], capture_output=True, timeout=60, text=True)

    assert done.returncode == 0, done.stderr
    assert "secret" not in code
    assert "sesame" not in code
    assert server.asked == [question.body("70ned") | {"stream": True}]
    assert "[DONE]" in done.stdout


@pytest.mark.parametrize("question", FORMS.values(), ids=FORMS)
def test_the_program_asks_the_question(server, question, monkeypatch, capsys):
    pytest.importorskip("openai")
    monkeypatch.setenv("CODELADDER_SERVE_TOKEN", "sesame")
    exec(as_python(question, "70ned", f"http://127.0.0.1:{server.server_port}"), {})

    assert server.asked == [question.body("70ned") | {"stream": True}]
    assert capsys.readouterr().out == "".join(WORDS)


def test_a_chosen_seed_is_kept_and_others_differ():
    assert seed(7) == 7
    assert len({seed(None) for _ in range(20)}) > 10


def test_the_answer_continues_the_signature():
    prompt = "Say it.\ndef f(): pass\n### Response:\ndef f(x):\n"

    assert opening_of(prompt, "def f(x):") == "def f(x):\n"
    assert opening_of(prompt, "  ") == opening_of(prompt, "def g():") == ""
