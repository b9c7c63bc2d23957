"""The try-it box against a real HTTP server that streams."""

import json
import re
import threading
import time

import httpx
import pytest
import streamlit as st
from plausible_rows import ASKING, BASE, JUDGING, TUNED, judged, problems, small_ledger
from streaming_server import MODELS, WORDS, Server
from streamlit.testing.v1 import AppTest

from database import open_ledger, write
from database.schema import Contract, Tally
from database.standings import contract_of
from leaderboard import controls, serving, streams, try_turns
from leaderboard.own_cases import OwnProblem
from leaderboard.questions import Question, Settings
from leaderboard.serving import Model
from leaderboard.streams import Answer, Part, Streams, part_of
from leaderboard.try_answers import badge, told


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


def page(**query):
    app = AppTest.from_function(try_script, default_timeout=60)
    for name, value in query.items():
        app.query_params[name] = value
    app.run()
    assert not app.exception, app.exception
    return app


def press(app, label):
    next(button for button in app.button if button.label == label).click().run()
    assert not app.exception, app.exception


def texts(app):
    """The answers on the page."""
    return [block.value for block in app.code if "return n" in block.value]


def captions(app):
    return [caption.value.replace("\\", "") for caption in app.caption]


def asking(**more):
    settings = Settings(temperature=0.0, max_tokens=9, seed=1)
    return Question(**({"prompt": "p", "settings": settings} | more))


def ask(names=("ba5e",)):
    return Streams([Model(name, MODELS.get(name, name)) for name in names], asking())


def wait(condition, seconds=15):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_both_models_answer_side_by_side(server):
    app = page()
    press(app, "Ask")

    expected = "def sum_even_squares(numbers):\n    return n + 1"
    assert [text.strip() for text in texts(app)] == [expected, expected]
    assert sorted(body["model"] for body in server.asked) == ["70ned", "ba5e"]
    told = [line for line in captions(app) if "first token after" in line]
    assert len(told) == 2
    assert all("5 tokens" in line and "tokens/s" in line for line in told)


def test_what_is_asked_is_in_openais_form(server):
    app = page(m=["70ned"])
    app.slider(key="t").set_value(0.7)
    app.slider(key="p").set_value(0.9)
    app.slider(key="max").set_value(64)
    app.number_input(key="seed").set_value(11)
    press(app, "Ask")

    assert server.asked == [
        {
            "model": "70ned",
            "prompt": "### Task: Write a function `sum_even_squares(numbers)` that returns "
            "the sum of the squares of the even numbers in `numbers`.\n"
            "def sum_even_squares(numbers):\n",
            "max_tokens": 64,
            "temperature": 0.7,
            "top_p": 0.9,
            "seed": 11,
            "stop": ["\n\n"],
            "stream": True,
            "stream_options": {"include_usage": True},
        }
    ]
    assert "Temperature 0.7, top-p 0.9, at most 64 tokens, seed 11" in captions(app)


def test_a_text_is_continued_to_the_letter(server):
    app = page(m=["70ned"], form="Text to continue")
    app.text_area(key="ask").set_value("def f(n):\n").run()
    press(app, "Ask")

    (asked,) = server.asked
    assert asked["prompt"] == "def f(n):\n"
    assert "stop" not in asked
    assert [text.strip() for text in texts(app)] == ["def f(n):\n    return n + 1"]


def test_models_that_were_tuned_for_conversations_are_asked_as_such(server, monkeypatch):
    offered = [Model("ba5e", "b", None, True), Model("70ned", "t", "ba5e", True)]
    monkeypatch.setattr(serving, "models", lambda client: offered)
    app = page(m=["70ned"])
    app.text_area(key="ask").set_value("Hello").run()
    press(app, "Ask")

    assert server.asked[0]["messages"] == [{"role": "user", "content": "Hello"}]
    assert len(texts(app)) == 1


def test_the_answers_stay_when_the_page_is_drawn_again(server):
    app = page()
    press(app, "Ask")
    app.run()

    assert len(texts(app)) == 2


def test_an_example_fills_the_form(server):
    app = page()
    app.pills(key="example").set_value("Brackets").run()

    assert "is_balanced" in app.text_area(key="ask").value
    assert app.text_area(key="signature").value == "def is_balanced(text):"
    assert "is_balanced('((') is False" in app.text_area(key="cases").value
    assert app.pills(key="example").value is None


def test_an_earlier_question_is_opened_and_asked_again(server):
    app = page(m=["70ned"])
    press(app, "Ask")
    app.text_area(key="ask").set_value("Another").run()
    press(app, "Ask")
    first = app.session_state["turns"][0]
    app.button(key=f"turn-{first.id}").click().run()

    assert app.session_state["turn"] == first.id
    press(app, "Ask again")
    one, other, again = server.asked
    assert again["prompt"] == one["prompt"] != other["prompt"]
    assert again["seed"] != one["seed"]
    listed = [button.label for button in app.button if "turn-" in (button.key or "")]
    assert [label[:7] for label in listed] == ["Another", "Write a"]


def test_the_visit_is_downloaded_with_answers_settings_and_verdicts(server):
    app = page(m=["70ned"], t="0.5", seed="3")
    press(app, "Ask")
    press(app, "Run in the sandbox")
    (record,) = json.loads(try_turns.as_json(app.session_state["turns"]))

    (answer,) = record["answers"]
    assert (answer["run"], answer["tokens"], answer["ended"]) == ("70ned", 5, "done")
    assert answer["text"].endswith("".join(WORDS))
    assert answer["verdict"]["outcome"] == "passed"
    assert (record["settings"]["seed"], record["settings"]["temperature"]) == (3, 0.5)
    assert record["test_cases"].startswith("sum_even_squares")


def test_the_file_of_the_visit_is_written_where_there_is_no_session(server, monkeypatch):
    """As Streamlit does when a browser asks for it: on a thread of its own."""
    writers, written = {}, []
    monkeypatch.setattr(
        st, "download_button", lambda label, data, *_, **__: writers.update({label: data})
    )
    app = page(m=["70ned"])
    press(app, "Ask")
    write_file = writers["Download the questions and answers"]
    thread = threading.Thread(target=lambda: written.append(write_file()))
    thread.start()
    thread.join()

    (record,) = json.loads(written[0])
    assert record["answers"][0]["run"] == "70ned"


def test_without_a_server_the_page_says_how_to_start_one(monkeypatch):
    monkeypatch.setenv("CODELADDER_SERVE_URL", "http://127.0.0.1:9")
    st.cache_resource.clear()
    app = page()

    said = re.sub(r"[\\\u2060]", "", app.warning[0].value)
    assert said == "No model server answers at http://127.0.0.1:9."
    assert any("python -m jobs serve" in block.value for block in app.markdown)
    st.cache_resource.clear()


def test_two_models_of_one_name_are_told_apart_and_can_both_be_chosen(server, monkeypatch):
    monkeypatch.setitem(MODELS, "70ned", MODELS["ba5e"])
    app = page(m=["ba5e", "70ned"])
    press(app, "Ask")

    options = app.multiselect(key="choice-m").options
    assert options == ["falcon as it came (ba5e)", "falcon as it came (70ned)"]
    assert sorted(body["model"] for body in server.asked) == ["70ned", "ba5e"]


ODD = [[], "x", {"data": [{}]}, {"data": "x"}, {"data": [[]]}, {"outcome": "passed"}]


@pytest.mark.parametrize("body", ODD)
def test_an_answer_in_another_form_is_said_without_a_traceback(body):
    def odd(request):
        return httpx.Response(200, json=body)

    with httpx.Client(base_url="http://x", transport=httpx.MockTransport(odd)) as client:
        for ask_server in (
            lambda: serving.judge(client, "", "x", OwnProblem(tests=("f()",))),
            lambda: serving.judge_again(client, "x", "y"),
            lambda: serving.ask_for_prompt(client, "x", "", asking().settings),
            lambda: serving.vote(client, {}),
            lambda: controls.stop(client, "x", ""),
        ):
            with pytest.raises(serving.ServerError, match="in a form"):
                ask_server()
        if body != {"outcome": "passed"}:
            for ask_server in (serving.models, controls.state):
                with pytest.raises(serving.ServerError, match="in a form"):
                    ask_server(client)


def test_a_stream_in_another_form_is_a_failure_told_in_words():
    for line in ("data: 1", "data: []", 'data: {"choices": [1]}', "data: {"):
        with pytest.raises(serving.ServerError, match="in a form"):
            part_of(line)


def test_a_model_of_a_link_that_is_not_on_offer_is_said_and_the_usual_two_are_chosen(server):
    app = page(m=["g0ne"])

    assert "g0ne" in app.warning[0].value
    assert app.multiselect(key="choice-m").value == ["ba5e", "70ned"]


def test_an_empty_question_is_not_asked(server):
    app = page()
    app.text_area(key="ask").set_value("  ").run()
    press(app, "Ask")

    assert app.warning[0].value == "Write a question first\\."
    assert server.asked == []


@pytest.fixture
def stored(home):
    engine = open_ledger()
    write(engine, small_ledger())
    engine.dispose()
    st.cache_resource.clear()
    st.cache_data.clear()


def test_a_problem_by_link_fills_the_form_once(stored, server):
    app = page(problem="humaneval:humaneval/1")

    assert app.text_area(key="ask").value == "Write separate_paren_groups."
    assert app.text_area(key="signature").value == "def separate_paren_groups(xs):"
    app.text_area(key="ask").set_value("Mine").run()
    assert app.text_area(key="ask").value == "Mine"


def test_a_problem_by_link_is_of_the_version_that_its_contract_names(stored, server):
    other = Contract(id="judging00002", kind="judging", content={"sha256": "e" * 64})
    (again, *_) = problems(1)
    again.digest, again.instruction = "e" * 64, "Newer words."
    engine = open_ledger()
    write(engine, [other, again, judged(BASE, [0] * 40, judging=other)[-1]])
    engine.dispose()
    links = (JUDGING.id, "Write has_close_elements."), (other.id, "Newer words.")
    for judging, words in links:
        contract = contract_of(ASKING.id, judging)
        app = page(problem="humaneval:humaneval/0", contract=contract)
        assert app.text_area(key="ask").value == words

    app = page(problem="humaneval:humaneval/0", contract="f" * 12)
    assert "under this contract" in app.warning[0].value


def test_a_problem_that_is_not_there_is_named(stored, server):
    app = page(problem="humaneval:humaneval/99")

    assert "humaneval/99" in app.warning[0].value.replace("\\", "")
    assert "sum_even_squares" in app.text_area(key="ask").value


def test_a_problem_that_the_tuned_model_failed_is_asked_again(stored, server, monkeypatch):
    offered = [Model(BASE, "b"), Model(TUNED, "t", BASE)]
    monkeypatch.setattr(serving, "models", lambda client: offered)
    engine = open_ledger()
    failed = [
        {"run": BASE, "task_id": "humaneval/3", "completions": 2, "passed": 2},
        {"run": TUNED, "task_id": "humaneval/3", "completions": 2, "passed": 0},
    ]
    write(engine, [tally(**row) for row in failed])
    engine.dispose()
    app = page()
    app.button(key="use_failed").click().run()

    assert app.selectbox(key="failed").options == [
        "humaneval humaneval/3: base 2 of 2, tuned 0 of 2"
    ]
    assert app.text_area(key="ask").value == "Write below_zero."


def tally(**row):
    return Tally(benchmark="humaneval", asking=ASKING.id, judging=JUDGING.id, **row)


def test_tokens_appear_while_the_answer_grows(server):
    server.last.clear()
    asked = ask()
    answer = asked.answers[0]
    wait(lambda: answer.tokens == 3)
    assert (answer.text, answer.state) == ("".join(WORDS[:-1]), "Answering")
    server.last.set()
    wait(lambda: not asked.running)

    assert (answer.text, answer.state, answer.tokens) == ("".join(WORDS), "Done", 5)
    assert answer.first_seconds > 0


@pytest.mark.parametrize(
    "comment, state",
    {
        "waiting": "Queued",
        "starting": "Starting",
        "loading the adapter": "Loading adapter",
        "loading the model": "Loading model",
        "writing": "Answering",
    }.items(),
)
def test_what_an_answer_waits_for_is_told(server, comment, state):
    server.first.clear()
    server.comment = comment
    asked = ask()
    answer = asked.answers[0]
    wait(lambda: answer.state == state)

    assert told(answer, hidden=True) == ["No answer yet."]
    assert badge(answer, hidden=False).endswith(f"[{state}]")
    assert told(answer, hidden=False)[0].endswith("so far.")
    asked.close()


def test_stop_reaches_the_server_before_the_first_token(server):
    server.first.clear()
    took = []
    for _ in range(5):  # of which a busy machine may hold up some
        server.asked.clear()
        server.gone.clear()
        asked = ask()
        wait(lambda: server.asked)
        began = time.monotonic()
        asked.close()
        took.append(time.monotonic() - began)

        assert asked.answers[0].state == "Stopped"
        assert server.gone.wait(5)
    assert min(took) < 0.3


def test_stop_in_mid_stream_keeps_the_text(server):
    server.last.clear()
    asked = ask()
    wait(lambda: asked.answers[0].tokens == 3)
    asked.close()

    assert server.gone.wait(5)
    assert (asked.answers[0].text, asked.answers[0].state) == ("".join(WORDS[:-1]), "Stopped")


def test_answers_end_when_nobody_looks_at_them_any_longer(server, monkeypatch):
    server.first.clear()
    asked = ask()
    wait(lambda: server.asked)

    monkeypatch.setattr(streams, "LEASE_SECONDS", 0.2)
    wait(lambda: not asked.running)
    assert server.gone.wait(5)
    assert asked.answers[0].state == "Stopped"


def test_a_busy_server_is_a_friendly_wait_and_is_asked_again(server):
    server.busy = 1
    asked = ask()
    answer = asked.answers[0]
    wait(lambda: answer.state == "Busy")

    assert told(answer, hidden=False)[0].startswith(
        "The server is busy. 8 questions wait already. Asking again in 1 s;"
    )
    assert told(answer, hidden=True) == ["No answer yet."]
    wait(lambda: not asked.running)
    assert (answer.text, answer.state, answer.note) == ("".join(WORDS), "Done", "")


def test_a_refusal_is_shown_in_the_servers_words(server):
    server.error = "no model ba5e"
    asked = ask()
    wait(lambda: not asked.running)

    assert told(asked.answers[0], hidden=False) == ["the server refuses: no model ba5e"]


def test_one_failing_model_leaves_the_others_alone(server, monkeypatch):
    monkeypatch.setattr(streams, "part_of", failing_once(part_of))
    asked = ask(("ba5e", "70ned"))
    wait(lambda: not asked.running)

    assert sorted(answer.state for answer in asked.answers) == ["Done", "Failed"]


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
    'data: {"choices": [{"delta": {"content": "a"}}]}': Part("a"),
    'data: {"choices": [{"delta": {"role": "assistant", "content": null}}]}': Part(),
    'data: {"choices": [{"text": ""}]}': Part(),
    'data: {"choices": [], "usage": {"completion_tokens": 9}}': Part("", 9),
    "data: [DONE]": Part(),
    ": queued, 3 ahead": Part(state="Queued", ahead=3),
    ": comment": Part(),
    "": Part(),
}


@pytest.mark.parametrize(("line", "part"), LINES.items())
def test_a_line_of_the_stream_brings(line, part):
    assert part_of(line) == part


def test_an_error_in_the_stream_is_raised():
    with pytest.raises(serving.ServerError, match="out of memory"):
        part_of('data: {"error": {"message": "out of memory"}}')


def test_an_answer_without_a_token_says_so():
    answer = Answer(Model("1", "1"))
    answer.end("Done")

    assert told(answer, hidden=False) == ["No answer: the model ended at once."]


def test_the_newest_tuned_model_is_asked_beside_its_base():
    base, other = Model("b", "b"), Model("o", "o")
    old, new = Model("1", "1", "b"), Model("2", "2", "b")

    assert serving.first_pair([base, other, old, new]) == [base, new]
    assert serving.first_pair([base, other]) == [base, other]
    assert serving.first_pair([Model("2", "2", "gone")]) == [Model("2", "2", "gone")]


def test_the_page_shows_its_token(monkeypatch):
    monkeypatch.setenv("CODELADDER_SERVE_TOKEN", "sesame")

    assert serving.credentials() == {"Authorization": "Bearer sesame"}
    monkeypatch.delenv("CODELADDER_SERVE_TOKEN")
    assert serving.credentials() == {}
