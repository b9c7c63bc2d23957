"""Asking over HTTP: a scripted server that fails as servers do, and our own as a real one."""

import json
import os
import threading
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from cluster.ending import UnwantedError
from database.schema import Run
from database.session import open_ledger
from database.writing import write
from jobs.answers import EngineError, read_answers, read_cost
from jobs.experiment import Asking
from jobs.prompts import Question
from jobs.remote.asking import ServedOrder, ServedQuestion, ask_server, seed_of
from jobs.remote.models import introduced
from jobs.remote.pace import backoff, retry_after
from jobs.remote.server import Server
from jobs.serving.engine import ModelEngine
from jobs.weights import Weights

ROOT = Path(__file__).parent.parent
KEY = "sk-very-secret"
TEXT = "    return n + 1\ndef other():\n"


class Scripted(ThreadingHTTPServer):
    """Answers as an OpenAI-compatible server does, but for what `script` holds, one a request."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.script = []
        self.asked = []
        self.keys = set()
        self.begun = []
        self.together = self.most_together = 0
        self.meeting = None
        """Where requests wait for each other."""
        self.choice = {"text": TEXT, "finish_reason": "stop"}
        self.usage = {"prompt_tokens": 7, "completion_tokens": 5}
        self.models = [{"id": "coder", "owned_by": "somebody", "max_model_len": 4096, "secret": 1}]
        self.lock = threading.Lock()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/v1"

    def handle_error(self, request, address):
        pass  # a client that hangs up is part of the test


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def do_GET(self):
        self.server.keys.add(self.headers.get("Authorization"))
        if self.server.models is None:
            self.answer({"error": "no such route"}, 404)
        else:
            self.answer({"object": "list", "data": self.server.models})

    def do_POST(self):
        server = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with server.lock:
            server.begun.append(time.monotonic())
            server.keys.add(self.headers.get("Authorization"))
            step = server.script.pop(0) if server.script else None
            server.together += 1
            server.most_together = max(server.most_together, server.together)
        if server.meeting:
            server.meeting.wait(20)
            time.sleep(0.05)  # for one more to come that may not
        with server.lock:
            server.together -= 1
        if step == "cut":
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b'{"choices": [')
            self.close_connection = True
        elif step:
            status, said, headers = step
            self.answer(said, status, **headers)
        else:
            server.asked.append((self.path, body))
            self.answer({"choices": [server.choice], "usage": server.usage})

    def answer(self, body, status=200, **headers):
        written = json.dumps(body).encode() if not isinstance(body, bytes) else body
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(written)))
        self.end_headers()
        self.wfile.write(written)


@pytest.fixture
def server():
    scripted = Scripted()
    thread = threading.Thread(target=scripted.serve_forever, args=(0.02,))
    thread.start()
    yield scripted
    scripted.shutdown()
    thread.join()
    scripted.server_close()


@pytest.fixture
def order(server, tmp_path):
    """A function that makes an order of some questions to the scripted server."""

    def make(count=3, asking=None, stop=("\ndef ",), questions=None, **changes):
        return ServedOrder(
            server=Server(url=server.url, model="coder", **changes),
            questions=questions or tuple(completion(number) for number in range(count)),
            asking=asking or Asking(max_new_tokens=64),
            stop=stop,
            seed=1,
            out=tmp_path / "completions" / "tiny.jsonl",
        )

    return make


def completion(number):
    return ServedQuestion(
        task_id=f"p{number}",
        whole=False,
        route="completions",
        body={"prompt": f"def f{number}(n):\n"},
    )


def test_a_completion_is_asked_with_all_that_its_contract_says(server, order):
    asking = Asking(completions=2, temperature=0.5, top_p=0.9, top_k=40, max_new_tokens=64)

    ask_server(order(1, asking))

    assert {path for path, _ in server.asked} == {"/v1/completions"}
    seeds = [body.pop("seed") for _, body in server.asked]
    assert sorted(seeds) == sorted(seed_of(1, "p0", position) for position in range(2))
    assert len(set(seeds)) == 2
    assert all(0 <= seed < 2**31 for seed in seeds)
    assert [body for _, body in server.asked] == 2 * [
        {
            "prompt": "def f0(n):\n",
            "model": "coder",
            "max_tokens": 64,
            "temperature": 0.5,
            "top_p": 0.9,
            "top_k": 40,
            "stop": ["\ndef "],
        }
    ]


def test_what_is_drawn_from_all_tokens_says_nothing_of_top_k_and_no_stop_sends_none(server, order):
    ask_server(order(1, stop=()))

    ((_, body),) = server.asked
    assert "top_k" not in body
    assert "stop" not in body


def test_a_chat_is_asked_as_messages_and_read_as_a_message(server, order):
    messages = [{"role": "user", "content": "Write it."}]
    chat = ServedQuestion(
        task_id="p0", whole=True, route="chat/completions", body={"messages": messages}
    )
    server.choice = {"message": {"role": "assistant", "content": "sure"}, "finish_reason": "stop"}
    chatted = order(questions=(chat,))

    ask_server(chatted)

    ((path, body),) = server.asked
    assert path == "/v1/chat/completions"
    assert body["messages"] == messages
    (answer,) = read_answers(chatted.out)
    assert (answer.text, answer.whole, answer.finish) == ("sure", True, "end")


def test_answers_stand_in_the_order_of_the_questions_and_end_before_a_stop_string(server, order):
    asked = order(3, Asking(completions=2, temperature=1.0))

    ask_server(asked)

    answers = read_answers(asked.out)
    assert [(a.task_id, a.position) for a in answers] == [
        (f"p{number}", position) for number in range(3) for position in range(2)
    ]
    assert {(a.text, a.finish, a.tokens) for a in answers} == {("    return n + 1", "stop", 5)}
    assert [path.name for path in sorted(asked.out.parent.iterdir())] == [
        "tiny.cost.json",
        "tiny.jsonl",
    ]


@pytest.mark.parametrize(
    ("said", "finish"),
    [
        ({"finish_reason": "length"}, "length"),
        ({"finish_reason": "stop"}, "end"),
        ({"finish_reason": "stop", "stop_reason": None}, "end"),
        ({"finish_reason": "stop", "stop_reason": "\ndef "}, "stop"),  # vLLM
        ({"finish_reason": "stop", "stop_reason": 32021}, "end"),
        ({"finish_reason": "stop", "matched_stop": "\ndef "}, "stop"),  # SGLang
        ({"finish_reason": "stop", "matched_stop": 2}, "end"),
    ],
)
def test_why_an_answer_ended_is_told_in_our_words(server, order, said, finish):
    server.choice = {"text": "return n"} | said
    asked = order(1)

    ask_server(asked)

    assert [answer.finish for answer in read_answers(asked.out)] == [finish]


def test_no_more_than_four_stop_strings_are_sent_and_all_are_obeyed(server, order):
    server.choice = {"text": "return n\nassert True", "finish_reason": "stop"}
    asked = order(1, stop=("```", "\nclass", "\ndef", "\n#", "\nif", "\nassert"))

    ask_server(asked)

    assert server.asked[0][1]["stop"] == ["\nclass", "\ndef", "\n#", "\nif"]
    assert [answer.text for answer in read_answers(asked.out)] == ["return n"]


def test_the_cost_counts_a_prompt_once_for_all_its_answers(server, order):
    asked = order(3, Asking(completions=2, temperature=1.0))

    ask_server(asked)

    cost = read_cost(asked.out)
    assert (cost.device, cost.prompt_tokens, cost.tokens) == (server.url, 3 * 7, 6 * 5)
    assert cost.seconds > 0


def test_a_server_that_counts_nothing_is_believed_all_the_same(server, order):
    server.usage = None
    asked = order(1)

    ask_server(asked)

    assert read_answers(asked.out)[0].tokens == 0


BUSY = (429, {"error": {"message": "slow down"}}, {"Retry_After": "0"})


@pytest.mark.parametrize("step", [BUSY, (500, b"oops", {"Retry_After": "0"}), (503, {}, {})])
def test_what_passes_is_asked_again(server, order, step):
    server.script = [step, step] if step[2] else [step]
    asked = order(2)

    ask_server(asked)

    assert len(read_answers(asked.out)) == 2
    assert len(server.asked) == 2


def test_a_connection_that_is_cut_is_asked_again(server, order):
    server.script = ["cut"]
    asked = order(1)

    ask_server(asked)

    assert len(server.begun) == 2
    assert len(read_answers(asked.out)) == 1


def test_asking_that_is_not_wanted_any_more_ends_at_once_and_keeps_what_is_there(server, order):
    server.script = [None, (429, {}, {"Retry_After": "30"})]
    asked, told = order(3, concurrency=1), []
    began = time.monotonic()

    with pytest.raises(UnwantedError):
        ask_server(asked, lambda done, of: told.append(done), lambda: 1 in told)

    assert time.monotonic() - began < 10
    server.script = []
    ask_server(asked)
    assert len(read_answers(asked.out)) == len(server.asked) == 3


def test_retry_after_is_waited_for_by_all(server, order):
    server.script = [(429, {}, {"Retry_After": "1"})]

    ask_server(order(3, concurrency=1))

    assert server.begun[1] - server.begun[0] >= 0.99
    assert len(server.begun) == 4


def test_a_server_that_wants_an_hour_ends_the_run_and_says_so(server, order):
    server.script = [(429, {}, {"Retry_After": "3600"})]

    with pytest.raises(EngineError, match="left alone for 3600 s; the same command goes on"):
        ask_server(order(1))


def test_a_refusal_is_told_in_the_words_of_the_server_and_never_repeated(server, order):
    server.script = [(404, {"error": {"message": "The model `coder` does not exist."}}, {})]
    asked = order(1)

    with pytest.raises(
        EngineError, match=r"completions refused with status 404: The model `coder`"
    ):
        ask_server(asked)

    assert len(server.begun) == 1
    assert not asked.out.exists()


@pytest.mark.parametrize(
    "said",
    [
        {"error": {"message": "no such field"}},  # OpenAI, vLLM
        {"object": "error", "message": "no such field"},
        {"error": "no such field"},
        {"detail": "no such field"},  # FastAPI, and so `transformers serve`
    ],
    ids=str,
)
def test_the_reason_of_a_refusal_is_found_wherever_servers_put_it(server, order, said):
    server.script = [(422, said, {})]

    with pytest.raises(EngineError, match=r"status 422: no such field$"):
        ask_server(order(1))


def test_the_key_goes_to_the_server_and_nowhere_else(server, order, monkeypatch, tmp_path):
    monkeypatch.setenv("TEST_SERVER_KEY", KEY)
    said = {"error": {"message": f"Incorrect API key provided: {KEY}."}}
    server.script = [None, (401, said, {})]
    asked = order(2, key="TEST_SERVER_KEY", concurrency=1)

    with pytest.raises(EngineError) as refused:
        ask_server(asked)

    assert server.keys == {f"Bearer {KEY}"}
    assert "Incorrect API key provided: ***." in str(refused.value)
    assert KEY not in str(refused.value)
    assert KEY not in repr(asked)
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert written
    assert not [path for path in written if KEY in path.read_text()]


@pytest.mark.parametrize("around", ["\n", " ", "\r\n"])
def test_white_space_around_a_key_is_no_part_of_it(server, order, monkeypatch, around):
    monkeypatch.setenv("TEST_SERVER_KEY", KEY + around)

    ask_server(order(1, key="TEST_SERVER_KEY"))

    assert server.keys == {f"Bearer {KEY}"}


@pytest.mark.parametrize("key", ["sk-one\nsk-two", "sk-\u00e9t\u00e9", "sk-\x00"])
def test_a_key_that_cannot_be_sent_is_refused_without_being_shown(server, monkeypatch, key):
    monkeypatch.setattr(os, "environ", {**os.environ, "TEST_SERVER_KEY": key})  # holds no NUL

    _, mistakes = introduced({"mine": Server(url=server.url, model="coder", key="TEST_SERVER_KEY")})

    assert mistakes == [
        "models.mine.server: the environment variable TEST_SERVER_KEY holds no key: one is of "
        "printable ASCII characters"
    ]


def test_a_key_in_an_answer_that_is_no_completion_is_not_shown(server, order, monkeypatch):
    monkeypatch.setenv("TEST_SERVER_KEY", 'sk-"very"-secret')
    server.choice = {"nothing": 'you sent sk-"very"-secret'}

    with pytest.raises(EngineError, match="something other than a completion") as refused:
        ask_server(order(1, key="TEST_SERVER_KEY"))

    assert "very" not in str(refused.value)
    assert "you sent ***" in str(refused.value)


def test_a_server_on_this_machine_is_asked_without_a_proxy(server, order, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)

    ask_server(order(1))

    assert len(server.asked) == 1


VLLM_REFUSES = (
    "This model's maximum context length is 64 tokens. However, you requested 90 tokens (58 in the "
    "messages, 32 in the completion). Please reduce the length of the messages or completion."
)
LLAMA_CPP_REFUSES = "the request exceeds the available context size, try increasing it"


@pytest.mark.parametrize("said", [VLLM_REFUSES, LLAMA_CPP_REFUSES])
def test_a_prompt_that_leaves_less_room_is_asked_for_a_shorter_answer(server, order, said):
    server.script = [(400, {"error": {"message": said}}, {})] * 2
    asked = order(2, concurrency=1)

    ask_server(asked)

    assert [body["max_tokens"] for _, body in server.asked] == [16, 64]
    assert [answer.finish for answer in read_answers(asked.out)] == ["stop", "stop"]


def test_a_prompt_that_leaves_no_room_has_an_empty_answer_and_the_others_their_own(server, order):
    server.script = [(400, {"object": "error", "message": VLLM_REFUSES}, {})] * 7  # 64, 32, ... 1
    asked = order(2, concurrency=1)

    ask_server(asked)

    assert [(a.text, a.tokens, a.finish) for a in read_answers(asked.out)] == [
        ("", 0, "length"),
        ("    return n + 1", 5, "stop"),
    ]


def test_what_was_kept_beside_finished_answers_is_taken_away(order):
    asked = order(1)
    ask_server(asked)
    left = asked.out.with_suffix(".parts")
    left.mkdir()
    (left / "answers.jsonl").write_text("")  # killed between the two

    ask_server(asked)

    assert not left.exists()


def test_what_else_lies_beside_kept_answers_does_not_keep_them(order):
    asked = order(1)
    left = asked.out.with_suffix(".parts")
    left.mkdir(parents=True)
    (left / ".nfs0001").write_text("")

    ask_server(asked)

    assert not left.exists()


def test_an_answer_that_is_no_completion_is_an_error_of_ours(server, order):
    server.choice = {"nothing": 1}

    with pytest.raises(EngineError, match="something other than a completion"):
        ask_server(order(1))


def test_what_was_answered_is_kept_and_a_rerun_asks_only_for_the_rest(server, order):
    server.script = [None, None, (400, {"error": {"message": "no"}}, {})]
    asked = order(5, concurrency=1)
    with pytest.raises(EngineError):
        ask_server(asked)
    kept = asked.out.with_suffix(".parts") / "answers.jsonl"
    kept.write_text(kept.read_text() + '{"answer": {"task_id": "p2", "posi')  # killed while writing

    ask_server(asked)

    prompts = Counter(body["prompt"] for _, body in server.asked)
    assert prompts == {f"def f{number}(n):\n": 1 for number in range(5)}
    assert [answer.task_id for answer in read_answers(asked.out)] == [f"p{n}" for n in range(5)]
    assert not kept.parent.exists()


def test_as_many_requests_are_under_way_as_are_allowed_and_no_more(server, order):
    server.meeting = threading.Barrier(3)

    ask_server(order(12, concurrency=3))

    assert server.most_together == 3


def test_no_more_requests_begin_in_a_minute_than_are_allowed(server, order):
    began = time.monotonic()

    ask_server(order(4, per_minute=600))  # one every tenth of a second

    assert len(server.begun) == 4
    assert server.begun[-1] - began >= 0.3


def test_progress_counts_answers(server, order):
    told = []

    ask_server(order(3, concurrency=1), lambda done, of: told.append((done, of)))

    assert told == [(0, 3), (1, 3), (2, 3), (3, 3)]


def test_a_server_tells_of_its_model_before_anything_starts(server):
    found, mistakes = introduced({"mine": Server(url=server.url, model="coder")})

    assert mistakes == []
    assert found == {
        "mine": {
            "url": server.url,
            "id": "coder",
            "owned_by": "somebody",
            "max_model_len": 4096,
        }
    }


NO_SUCH = (404, {"error": {"message": "The model `codr` does not exist."}}, {})


def test_a_model_that_a_server_has_not_is_a_mistake_with_the_nearest_name(server):
    server.script = [NO_SUCH, NO_SUCH]

    _, mistakes = introduced({"mine": Server(url=server.url, model="codr")})

    assert mistakes == [
        f"models.mine.server.model: {server.url} has no 'codr'. Did you mean 'coder'?"
    ]


@pytest.mark.parametrize("refused", [0, 1], ids=["as text", "in a chat"])
def test_a_model_that_answers_though_it_is_not_listed_is_there(server, refused):
    server.script = [NO_SUCH] * refused

    _, mistakes = introduced({"mine": Server(url=server.url, model="unlisted")})

    assert mistakes == []
    ((route, body),) = server.asked
    assert route == ("/v1/completions", "/v1/chat/completions")[refused]
    assert (body["model"], body["max_tokens"]) == ("unlisted", 1)


def test_a_server_that_lists_nothing_is_taken_at_its_owners_word(server):
    server.models = None

    assert introduced({"mine": Server(url=server.url, model="x")}) == (
        {"mine": {"url": server.url}},
        [],
    )


def test_a_server_that_is_not_there_is_a_mistake(server):
    nobody = f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    server.server_close()

    _, (mistake,) = introduced({"mine": Server(url=nobody, model="coder")})

    assert mistake.startswith(f"models.mine.server: {nobody} could not be reached")


def test_a_key_that_is_not_set_is_a_mistake_and_nobody_is_asked(server, monkeypatch):
    monkeypatch.delenv("TEST_SERVER_KEY", raising=False)

    _, mistakes = introduced({"mine": Server(url=server.url, model="coder", key="TEST_SERVER_KEY")})

    assert mistakes == ["models.mine.server.key: the environment variable that it names is not set"]
    assert not server.keys


def test_our_own_server_answers_over_http_what_our_engine_answers_without_it(tmp_path):
    from test_serve import served

    from jobs import engine

    falcon = str(ROOT / "models" / "starter" / "falcon")
    ledger = open_ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
    where = {"model": {"location": falcon, "revision": None}}
    write(
        ledger,
        [Run(id="f" * 12, label="falcon", kind="base", state="done", model="m", provenance=where)],
    )
    prompts = [f"def add{number}(a, b):\n    return" for number in range(3)]
    asking, stop = Asking(max_new_tokens=12), ("\n\n",)
    own = [Question(f"p{number}", text, whole=False) for number, text in enumerate(prompts)]
    asked = tuple(
        ServedQuestion(task_id=q.task_id, whole=False, route="completions", body={"prompt": q.text})
        for q in own
    )
    with served(tmp_path, ledger, ModelEngine()) as address:
        server = Server(url=f"{address}/v1", model="falcon", concurrency=2)
        order = ServedOrder(
            server=server,
            questions=asked,
            asking=asking,
            stop=stop,
            seed=0,
            out=tmp_path / "a.jsonl",
        )
        ask_server(order)
    ledger.dispose()

    loaded = engine.load_model(Weights(location=falcon))
    expected = list(engine.generate(loaded, own, asking, stop, 0))
    found = read_answers(order.out)
    assert [(a.task_id, a.text, a.tokens) for a in found] == [
        (a.task_id, a.text, a.tokens) for a in expected
    ]
    assert any(answer.text for answer in found)


def test_waits_double_up_to_a_minute_and_are_never_the_same():
    for failures, longest in [(1, 1), (2, 2), (3, 4), (6, 32), (9, 60)]:
        waits = {backoff(failures) for _ in range(50)}
        assert longest / 2 <= min(waits) < max(waits) <= longest


def test_retry_after_is_read_in_both_of_its_forms():
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)

    assert retry_after("2.5") == 2.5
    assert 28 < retry_after(soon) <= 30
    assert retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0
    assert retry_after("soon") is None
    assert retry_after(None) is None
