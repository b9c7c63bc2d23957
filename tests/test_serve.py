"""The server as its clients see it: real HTTP on a free port, a ledger, and a scripted model."""

import asyncio
import contextlib
import json
import shutil
import socket
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
import torch
from model_server import PATIENCE, served
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast
from transformers.utils import logging

from database.schema import Checkpoint, Run
from database.session import open_ledger
from database.writing import write
from jobs import serve as serving
from jobs.declared import UserError
from jobs.engine import EngineError, generate, load_model
from jobs.experiment import Asking
from jobs.prompts import Question, alpaca
from jobs.serving.engine import ModelEngine, Room
from jobs.serving.order import Order
from jobs.serving.telling import Piece
from jobs.weights import Weights

BASE = "aaaaaaaaaaaa"
TUNED = "bbbbbbbbbbbb"


@dataclass
class Scripted:
    """Writes the same words to everybody, at the pace the test sets."""

    words: tuple[str, ...] = ("def ", "add", "(a, b):")
    pause: float = 0.0
    asked: list = field(default_factory=list)
    orders: list = field(default_factory=list)
    written: int = 0
    go: threading.Event | None = None
    """What the last word waits for."""
    ended: threading.Event = field(default_factory=threading.Event)

    def state(self, model):
        return "waiting"

    async def answer(self, order):
        self.orders.append(order)
        asked = (order.model.id, order.text, order.asking, order.stop, order.seed)
        self.asked.append(asked)
        if order.text == "too long":
            raise EngineError("no room")
        try:
            for number, word in enumerate(self.words, start=1):
                await asyncio.sleep(self.pause)
                last = number == len(self.words)
                while last and self.go and not self.go.is_set():
                    await asyncio.sleep(0.01)
                self.written = number
                yield Piece(
                    text=word,
                    prompt_tokens=7,
                    tokens=number,
                    finish="end" if last else None,
                )
        finally:
            self.ended.set()

    def close(self):
        pass


@pytest.fixture
def ledger(tmp_path):
    engine = open_ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
    (tmp_path / "adapter").mkdir()
    (tmp_path / "base").mkdir()
    model = {"model": {"location": str(tmp_path / "base"), "revision": None}}
    gone = {"model": {"location": str(tmp_path / "gone")}}
    run = {"model": "m", "provenance": model}
    tuned = run | {"kind": "tuned", "base_run": BASE}
    weights = {"kind": "adapter", "sha256": "0" * 64, "steps": 1}
    write(
        engine,
        [
            Run(id=BASE, label="falcon base", kind="base", state="done", **run),
            Run(id=TUNED, label="falcon tuned", state="done", **tuned),
            Run(id="cccccccccccc", label="half done", state="training", **tuned),
            Run(id="dddddddddddd", label="weights gone", state="done", **tuned),
            Run(id="eeeeeeeeeeee", label="imported", kind="imported", state="done", model="m"),
            Run(
                id="9" * 12,
                label="base gone",
                kind="base",
                state="done",
                model="m",
                provenance=gone,
            ),
            Checkpoint(run=TUNED, path=str(tmp_path / "adapter"), **weights),
            Checkpoint(run="dddddddddddd", path=str(tmp_path / "gone"), **weights),
        ],
    )
    yield engine
    engine.dispose()


@pytest.fixture
def scripted():
    return Scripted()


@pytest.fixture
def client(tmp_path, ledger, scripted):
    with (
        served(tmp_path, ledger, scripted) as address,
        httpx.Client(base_url=address, timeout=PATIENCE, trust_env=False) as client,
    ):
        yield client


def events_of(text):
    """The `data:` lines of a stream, as a client reads them."""
    return [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data:")]


def test_models_are_the_finished_runs_whose_weights_exist(client, ledger):
    listed = client.get("/v1/models").json()

    assert listed["object"] == "list"
    assert [(m["id"], m["label"], m["base"]) for m in listed["data"]] == [
        (BASE, "falcon base", None),
        (TUNED, "falcon tuned", BASE),
    ]
    assert {"object": "model", "owned_by": "codeladder"}.items() <= listed["data"][0].items()
    assert abs(listed["data"][0]["created"] - time.time()) < 600


@pytest.mark.parametrize("settings", [b"{", b"[]", b"\xff"])
def test_a_model_whose_tokenizer_cannot_be_read_takes_no_other_from_the_list(
    client, ledger, tmp_path, settings
):
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "tokenizer_config.json").write_bytes(settings)
    where = {"model": {"location": str(tmp_path / "odd"), "revision": None}}
    odd = Run(id="8" * 12, label="odd", kind="base", state="done", model="m", provenance=where)
    write(ledger, [odd])

    listed = client.get("/v1/models").json()["data"]
    assert [model["id"] for model in listed] == [BASE, TUNED]


def test_a_run_that_finishes_appears_without_a_restart(client, ledger):
    model = {"model": {"location": "somewhere"}}
    new = Run(id="f" * 12, label="new", kind="base", state="done", model="m", provenance=model)
    write(ledger, [new])

    assert "f" * 12 in [m["id"] for m in client.get("/v1/models").json()["data"]]


def test_a_completion_has_the_published_form(client, scripted):
    body = {
        "model": BASE,
        "prompt": "x",
        "max_tokens": 9,
        "temperature": 0.3,
        "top_p": 0.9,
        "stop": "\n",
        "seed": 4,
    }
    answer = client.post("/v1/completions", json=body).json()

    assert answer.pop("id").startswith("cmpl-")
    assert isinstance(answer.pop("created"), int)
    assert answer == {
        "object": "text_completion",
        "model": BASE,
        "choices": [
            {"index": 0, "text": "def add(a, b):", "logprobs": None, "finish_reason": "stop"}
        ],
        "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
    }
    asking = Asking(temperature=0.3, top_p=0.9, max_new_tokens=9)
    assert scripted.asked == [(BASE, "x", asking, ("\n",), 4)]


def test_a_chat_asks_the_last_user_message_in_the_alpaca_form(client, scripted):
    messages = [
        {"role": "user", "content": "old"},
        {"role": "assistant", "content": "done"},
        {"role": "user", "content": [{"type": "text", "text": "new"}]},
    ]
    answer = client.post(
        "/v1/chat/completions", json={"model": "falcon tuned", "messages": messages}
    ).json()

    assert answer["object"] == "chat.completion"
    assert answer["choices"][0]["message"] == {"role": "assistant", "content": "def add(a, b):"}
    assert scripted.asked[0][:2] == (TUNED, alpaca("new"))


def test_a_base_with_a_chat_template_is_asked_in_it_and_what_was_tuned_in_alpaca_is_not(
    client, ledger, scripted, tmp_path
):
    (tmp_path / "base" / "chat_template.jinja").write_text("{{ messages }}")
    named = {"model": {"location": str(tmp_path / "base")}}
    tuned = {"model": "m", "kind": "tuned", "state": "done"}
    write(
        ledger,
        [
            Run(id=name, label=form, provenance=named | {"data": {"prompt": form}}, **tuned)
            for name, form in (("1" * 12, "alpaca"), ("2" * 12, "chat"), ("3" * 12, "plain"))
        ]
        + [
            Checkpoint(
                run=name, path=str(tmp_path / "adapter"), kind="adapter", sha256="0" * 64, steps=1
            )
            for name in ("1" * 12, "2" * 12, "3" * 12)
        ],
    )
    messages = [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": "Add."}]

    listed = {m["label"]: m["prompt"] for m in client.get("/v1/models").json()["data"]}
    for model in ("chat", "alpaca"):
        client.post("/v1/chat/completions", json={"model": model, "messages": messages})

    assert (listed["falcon base"], listed["alpaca"]) == ("chat", "alpaca")
    assert (listed["chat"], listed["plain"]) == ("chat", "chat")
    chat, plain = scripted.orders
    assert (chat.text, chat.turns) == ("", (("system", "Be brief."), ("user", "Add.")))
    assert (plain.text, plain.turns) == (alpaca("Add."), ())


@pytest.mark.parametrize("says_its_length", [True, False])
def test_a_body_that_is_too_long_is_refused_before_it_is_read_whole(client, says_its_length):
    body = b"x" * (5 << 20)
    content = body if says_its_length else iter([body])

    reply = client.post("/v1/completions", content=content)

    assert reply.status_code == 413
    assert "at most 4 MiB" in reply.json()["error"]["message"]
    assert client.get("/health").json()["pending"] == 0


def test_a_stream_is_chunks_then_usage_then_done(client):
    body = {"model": BASE, "prompt": "x", "stream": True, "stream_options": {"include_usage": True}}

    reply = client.post("/v1/completions", json=body)

    assert reply.headers["content-type"].startswith("text/event-stream")
    *chunks, counted, done = events_of(reply.text)
    choices = [json.loads(chunk)["choices"][0] for chunk in chunks]
    assert [choice["text"] for choice in choices] == ["def ", "add", "(a, b):"]
    assert [choice["finish_reason"] for choice in choices] == [None, None, "stop"]
    assert json.loads(counted)["choices"] == []
    assert json.loads(counted)["usage"]["total_tokens"] == 10
    assert done == "[DONE]"


def test_a_chat_stream_gives_the_role_once_and_then_deltas(client):
    messages = [{"role": "user", "content": "hi"}]

    reply = client.post(
        "/v1/chat/completions", json={"model": BASE, "messages": messages, "stream": True}
    )

    *chunks, done = events_of(reply.text)
    deltas = [json.loads(chunk)["choices"][0]["delta"] for chunk in chunks]
    assert deltas[0] == {"role": "assistant", "content": "def "}
    assert deltas[1:] == [{"content": "add"}, {"content": "(a, b):"}]
    assert {json.loads(chunk)["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert done == "[DONE]"


def test_an_unknown_model_is_404_with_the_nearest(client):
    reply = client.post("/v1/completions", json={"model": "falcon tunde", "prompt": "x"})

    assert reply.status_code == 404
    error = reply.json()["error"]
    assert (error["code"], error["param"]) == ("model_not_found", "model")
    assert "Did you mean 'falcon tuned'?" in error["message"]


WRONG = {
    "no prompt": ({"model": BASE}, "prompt"),
    "an empty prompt": ({"model": BASE, "prompt": ""}, "prompt"),
    "a negative temperature": ({"model": BASE, "prompt": "x", "temperature": -1}, "temperature"),
    "two answers": ({"model": BASE, "prompt": "x", "n": 2}, "n"),
    "no tokens": ({"model": BASE, "prompt": "x", "max_tokens": 0}, "max_tokens"),
}


@pytest.mark.parametrize("body, field", WRONG.values(), ids=WRONG)
def test_a_wrong_body_is_400_and_names_its_field(client, body, field):
    reply = client.post("/v1/completions", json=body)

    assert (reply.status_code, reply.json()["error"]["param"]) == (400, field)
    assert reply.json()["error"]["type"] == "invalid_request_error"


def test_a_prompt_that_the_model_refuses_is_an_error_in_both_forms(client):
    body = {"model": BASE, "prompt": "too long"}

    whole = client.post("/v1/completions", json=body)
    streamed = client.post("/v1/completions", json=body | {"stream": True})

    assert (whole.status_code, whole.json()["error"]["message"]) == (400, "no room")
    assert json.loads(events_of(streamed.text)[0])["error"]["message"] == "no room"


def test_the_prompts_route_prefills_a_signature_without_its_newline(client):
    asked = {"instruction": "Add.", "input": "two", "signature": "def add(a, b):\n"}

    given = client.post("/v1/prompts", json=asked).json()

    assert given["prompt"] == alpaca("Add.", "two") + "def add(a, b):"
    assert "\ndef " in given["stop"]


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
def test_a_client_that_leaves_stops_its_answer(tmp_path, ledger, stream):
    slow = Scripted(words=("word ",) * 1000, pause=0.02)
    body = {"model": BASE, "prompt": "x", "stream": stream}
    with served(tmp_path, ledger, slow) as address:
        left = httpx.Timeout(PATIENCE, read=2.0) if not stream else PATIENCE
        with (
            contextlib.suppress(httpx.ReadTimeout),
            httpx.Client(base_url=address, timeout=left, trust_env=False) as client,
            client.stream("POST", "/v1/completions", json=body) as reply,
        ):
            next(reply.iter_lines())

        assert slow.ended.wait(PATIENCE)
        assert slow.written < 500


def test_a_full_queue_is_429_and_says_when_to_come_back(tmp_path, ledger):
    slow = Scripted(go=threading.Event())
    body = {"model": BASE, "prompt": "x"}
    replies = []

    def ask(address):
        replies.append(
            httpx.post(f"{address}/v1/completions", json=body, timeout=60, trust_env=False)
        )

    with served(tmp_path, ledger, slow, most=2) as address:
        askers = [threading.Thread(target=ask, args=(address,)) for _ in range(5)]
        for asker in askers:
            asker.start()
        deadline = time.monotonic() + PATIENCE
        while len(replies) < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
        refused = [reply.status_code for reply in replies]
        slow.go.set()
        for asker in askers:
            asker.join()

    assert refused == [429, 429, 429]
    assert sorted(reply.status_code for reply in replies) == [200, 200, 429, 429, 429]
    busy = next(reply for reply in replies if reply.status_code == 429)
    assert int(busy.headers["retry-after"]) > 0
    assert busy.json()["error"]["type"] == "rate_limit_error"


def test_a_token_is_needed_where_one_is_set(tmp_path, ledger, scripted):
    with served(tmp_path, ledger, scripted, token="secret", local=False) as address:
        ask = {"url": f"{address}/v1/models", "trust_env": False}

        assert httpx.get(**ask).status_code == 401
        assert httpx.get(**ask, headers={"Authorization": "Bearer wrong"}).status_code == 403
        assert httpx.get(**ask, headers={"Authorization": "Bearer secret"}).status_code == 200
        assert httpx.get(f"{address}/health", trust_env=False).json()["status"] == "ok"


def test_a_name_that_a_web_page_invented_is_refused_on_loopback(client):
    assert client.get("/v1/models", headers={"Host": "evil.example:8377"}).status_code == 403
    for known in ("localhost:8377", "127.0.0.2:8377", "[::1]"):
        assert client.get("/v1/models", headers={"Host": known}).status_code == 200


FROM_ELSEWHERE = {
    "a form of another site": {"Sec-Fetch-Site": "cross-site"},
    "another port of this machine": {"Sec-Fetch-Site": "same-site"},
    "an old browser": {"Origin": "https://evil.example"},
    "a frame without an origin": {"Origin": "null"},
}


@pytest.mark.parametrize("headers", FROM_ELSEWHERE.values(), ids=FROM_ELSEWHERE)
def test_a_page_of_another_site_has_nothing_run(client, scripted, headers):
    ask = {"model": BASE, "prompt": "x"}
    for path in ("/judge", "/completions/abc/judge", "/v1/completions"):
        assert client.post(path, json=ask, headers=headers).status_code == 403
    assert scripted.asked == []
    assert client.get("/v1/models", headers=headers).status_code == 200


def test_a_page_of_this_very_server_is_answered(client):
    same = {"Sec-Fetch-Site": "same-origin", "Origin": str(client.base_url).rstrip("/")}
    ask = {"model": BASE, "prompt": "x"}

    assert client.post("/v1/completions", json=ask, headers=same).status_code == 200


def test_tests_are_taken_as_json_only(client):
    body = b'{"program": "x = 1", "tests": ["assert x"]}'
    reply = client.post("/judge", content=body, headers={"Content-Type": "text/plain"})

    assert reply.status_code == 400
    assert "application/json" in reply.json()["error"]["message"]


def test_other_machines_need_a_token_before_a_port_is_opened(tmp_path, ledger, monkeypatch):
    monkeypatch.delenv(serving.TOKEN, raising=False)

    with pytest.raises(UserError, match="CODELADDER_SERVE_TOKEN is not set"):
        serving.serve_ledger(tmp_path, ledger, "0.0.0.0", 0)


def test_a_taken_port_is_named_with_the_option_to_change_it(tmp_path, ledger):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        with pytest.raises(UserError, match=rf"port {port} .* taken.* --port"):
            serving.serve_ledger(tmp_path, ledger, "127.0.0.1", port)


@pytest.fixture
def tiny(tmp_path):
    """A random model in the folder that the ledger names as the base."""
    logging.disable_progress_bar()
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    known = {letter: place for place, letter in enumerate(["<end>", *letters])}
    tokenizer = Tokenizer(models.BPE(vocab=known, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>").save_pretrained(
        tmp_path / "base"
    )
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(known),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=128,
        eos_token_id=0,
        bos_token_id=0,
        initializer_range=0.3,
    )
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "base")
    return Path(tmp_path / "base")


def test_a_served_model_says_what_the_engine_says(tmp_path, ledger, tiny):
    body = {"model": BASE, "prompt": "def", "max_tokens": 20, "temperature": 0.7, "seed": 9}
    asking = Asking(temperature=0.7, max_new_tokens=20)
    question = Question("asked", "def", whole=True)
    (expected,) = generate(
        load_model(Weights(location=str(tiny))), [question], asking, ("a",), seed=9
    )

    with served(tmp_path, ledger, ModelEngine()) as address:
        ask = {"url": f"{address}/v1/completions", "trust_env": False, "timeout": PATIENCE}
        whole = httpx.post(json=body | {"stop": ["a"]}, **ask).json()
        streamed = httpx.post(json=body | {"stop": ["a"], "stream": True}, **ask).text
        listed = httpx.get(f"{address}/v1/models", trust_env=False).json()

    chunks = [json.loads(chunk) for chunk in events_of(streamed)[:-1]]
    assert whole["choices"][0]["text"] == expected.text
    assert "".join(chunk["choices"][0]["text"] for chunk in chunks) == expected.text
    assert whole["usage"]["completion_tokens"] == expected.tokens
    assert listed["data"][0]["state"] == "loaded"


def test_the_base_not_asked_for_longest_makes_room(ledger, tiny, tmp_path):
    engine = ModelEngine(Room(bases=2))
    models = [model(name, shutil.copytree(tiny, tmp_path / name)) for name in "abc"]

    async def ask(model):
        order = Order(model=model, text="x", asking=Asking(max_new_tokens=1), stop=(), seed=0)
        return [told async for told in engine.answer(order)]

    for at in (0, 1, 0, 2):
        asyncio.run(ask(models[at]))

    assert [engine.state(one) for one in models] == ["loaded", "waiting", "loaded"]
    engine.close()


def model(name, folder):
    from jobs.shelf import Servable

    return Servable(
        id=name,
        label=name,
        base=None,
        created=0,
        weights=Weights(location=str(folder)),
    )
