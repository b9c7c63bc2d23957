"""The try-it box against a real HTTP server that streams."""

import threading
import time

import pytest
import streamlit as st
from streaming_server import MODELS, WORDS, Server
from streamlit.testing.v1 import AppTest

from leaderboard import serving
from leaderboard.serving import Model, Part, Question, Streams
from leaderboard.try_page import status


@pytest.fixture
def server(monkeypatch):
    running = Server()
    thread = threading.Thread(target=running.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setenv("CODELADDER_SERVE_URL", f"http://127.0.0.1:{running.server_port}/")
    st.cache_resource.clear()
    yield running
    st.cache_resource.clear()
    running.shutdown()
    running.server_close()
    thread.join()


def try_script():
    from leaderboard import try_page

    try_page.show()


def page():
    app = AppTest.from_function(try_script, default_timeout=60).run()
    assert not app.exception, app.exception
    return app


def ask(names=("ba5e",), opening=""):
    question = Question(prompt="p", stop=[], max_tokens=9, temperature=0.0, opening=opening)
    return Streams([Model(name, MODELS.get(name, name)) for name in names], question)


def wait(condition, seconds=15):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_both_models_answer_side_by_side(server):
    app = page()
    app.button[0].click().run()

    assert not app.exception
    expected = "def sum_even_squares(numbers):\n    return n + 1"
    assert [block.value.strip() for block in app.code] == [expected, expected]
    assert sorted(body["model"] for body in server.asked) == ["70ned", "ba5e"]
    told = [caption.value for caption in app.caption]
    assert all("5 tokens" in line and "first token after" in line for line in told)


def test_what_is_asked_is_in_openais_form(server):
    app = page()
    app.slider(key="t").set_value(0.7)
    app.slider(key="max").set_value(64)
    app.button[0].click().run()

    asked = server.asked[0]
    assert asked.pop("model") in MODELS
    assert asked == {
        "prompt": "### Task: Write a function `sum_even_squares(numbers)` that returns "
        "the sum of the squares of the even numbers in `numbers`.\n"
        "def sum_even_squares(numbers):\n",
        "max_tokens": 64,
        "temperature": 0.7,
        "stop": ["\n\n"],
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def test_the_answers_stay_when_the_page_is_drawn_again(server):
    app = page()
    app.button[0].click().run()
    app.run()

    assert len(app.code) == 2


def test_without_a_server_the_page_says_how_to_start_one(monkeypatch):
    monkeypatch.setenv("CODELADDER_SERVE_URL", "http://127.0.0.1:9")
    st.cache_resource.clear()
    app = page()

    assert app.warning[0].value == "No model server answers at http://127.0.0.1:9."
    assert "python -m jobs serve" in app.markdown[-1].value
    st.cache_resource.clear()


def test_tokens_appear_while_the_answer_grows(server):
    server.first.clear()
    streams = ask()
    wait(lambda: server.asked)
    assert streams.answers[0].text == ""
    assert status(streams.answers[0]).startswith("waiting for the first token")
    server.first.set()
    wait(lambda: not streams.running)

    assert streams.answers[0].text == "".join(WORDS)
    assert streams.answers[0].first_seconds > 0


def test_stop_reaches_the_server_before_the_first_token(server):
    server.first.clear()
    streams = ask()
    wait(lambda: server.asked)
    streams.close()

    assert server.gone.wait(5)
    wait(lambda: not streams.running)
    assert status(streams.answers[0]) == "stopped"


def test_a_busy_server_is_asked_again(server):
    server.busy = 2
    streams = ask()
    wait(lambda: not streams.running)

    assert streams.answers[0].text == "".join(WORDS)
    assert streams.answers[0].note == ""


def test_a_refusal_is_shown_in_the_servers_words(server):
    server.error = "no model ba5e"
    streams = ask()
    wait(lambda: not streams.running)

    assert status(streams.answers[0]) == "the server refuses: no model ba5e"


def test_one_failing_model_leaves_the_others_alone(server, monkeypatch):
    monkeypatch.setattr(serving, "part_of", failing_once(serving.part_of))
    streams = ask(("ba5e", "70ned"))
    wait(lambda: not streams.running)

    assert sorted(bool(answer.note) for answer in streams.answers) == [False, True]


def failing_once(part_of):
    failures = iter([serving.ServerError("out of memory")])

    def first_fails(line):
        for failure in failures:
            raise failure
        return part_of(line)

    return first_fails


LINES = {
    'data: {"choices": [{"text": "a"}]}': Part("a"),
    'data:{"choices": [{"text": "a"}], "usage": null}': Part("a"),
    'data: {"choices": [{"text": ""}]}': Part(),
    'data: {"choices": [], "usage": {"completion_tokens": 9}}': Part("", 9),
    "data: [DONE]": Part(),
    ": comment": Part(),
    "": Part(),
}


@pytest.mark.parametrize(("line", "part"), LINES.items())
def test_a_line_of_the_stream_brings(line, part):
    assert serving.part_of(line) == part


def test_an_error_in_the_stream_is_raised():
    with pytest.raises(serving.ServerError, match="out of memory"):
        serving.part_of('data: {"error": {"message": "out of memory"}}')


def test_the_newest_tuned_model_is_asked_beside_its_base():
    base, other = Model("b", "b"), Model("o", "o")
    old, new = Model("1", "1", "b"), Model("2", "2", "b")

    assert serving.first_pair([base, other, old, new]) == [base, new]
    assert serving.first_pair([base, other]) == [base, other]
    assert serving.first_pair([Model("2", "2", "gone")]) == [Model("2", "2", "gone")]


def test_the_page_shows_its_token(server, monkeypatch):
    monkeypatch.setenv("CODELADDER_SERVE_TOKEN", "sesame")

    assert serving.credentials() == {"Authorization": "Bearer sesame"}
    monkeypatch.delenv("CODELADDER_SERVE_TOKEN")
    assert serving.credentials() == {}


def test_the_answer_continues_the_signature():
    prompt = "Say it.\ndef f(): pass\n### Response:\ndef f(x):\n"

    assert serving.opening_of(prompt, "def f(x):") == "def f(x):\n"
    assert serving.opening_of(prompt, "  ") == serving.opening_of(prompt, "def g():") == ""
