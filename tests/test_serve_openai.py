"""OpenAI's own client, unchanged, against the real server and a real model."""

import contextlib
import threading

import openai
import pytest
from model_server import PATIENCE, STARTER, adapter, served
from test_serve import Scripted

from database.schema import Checkpoint, Run
from database.session import open_ledger
from database.writing import write
from jobs.engine import generate, load_model
from jobs.experiment import Asking
from jobs.prompts import Question, alpaca
from jobs.serving.engine import ModelEngine
from jobs.weights import Weights

pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated")
BASE, TUNED = "a" * 12, "b" * 12
PROMPT = "def largest(a, b, c):\n    "
CHAT = [{"role": "user", "content": "Write a function that adds two numbers."}]
TOKEN = "a secret"


@pytest.fixture(scope="module")
def ledger(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ledger")
    run = {"model": "falcon", "provenance": {"model": {"location": str(STARTER / "falcon")}}}
    checkpoint = {"kind": "adapter", "sha256": "0" * 64, "steps": 1}
    engine = open_ledger(f"sqlite:///{folder / 'ledger.db'}")
    write(
        engine,
        [
            Run(id=BASE, label="falcon base", kind="base", state="done", **run),
            Run(id=TUNED, label="falcon tuned", base_run=BASE, state="done", kind="tuned", **run),
            Checkpoint(run=TUNED, path=str(adapter(folder / "adapter", 0)), **checkpoint),
        ],
    )
    yield engine
    engine.dispose()


def connected(address, **settings):
    named = {"api_key": TOKEN, "max_retries": 0, "timeout": PATIENCE} | settings
    return openai.OpenAI(base_url=f"{address}/v1", **named)


@pytest.fixture(scope="module")
def client(ledger, tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    with (
        contextlib.closing(ModelEngine()) as engine,
        served(home, ledger, engine, token=TOKEN) as address,
        connected(address) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def alone():
    """What the benchmark's engine answers to the two questions."""
    asking = Asking(max_new_tokens=24)
    questions = [Question("p", PROMPT, whole=True)]
    questions.append(Question("c", alpaca(CHAT[0]["content"]), whole=True))
    found = generate(
        load_model(Weights(location=str(STARTER / "falcon"))), questions, asking, (), 0
    )
    return {answer.task_id: answer for answer in found}


def test_models_are_listed_and_one_is_found_by_its_label(client):
    assert [model.id for model in client.models.list()] == [BASE, TUNED]

    found = client.models.retrieve("falcon tuned")

    assert (found.id, found.base, found.prompt) == (TUNED, BASE, "alpaca")


def test_a_completion_is_the_engines_answer_and_its_tokens_are_counted(client, alone):
    answer = client.completions.create(model=BASE, prompt=PROMPT, max_tokens=24, temperature=0)

    assert answer.choices[0].text == alone["p"].text
    assert answer.usage.completion_tokens == alone["p"].tokens
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + alone["p"].tokens


def test_a_chat_streams_the_same_text_and_counts_at_the_end(client, alone):
    asked = {"model": BASE, "messages": CHAT, "max_completion_tokens": 24, "temperature": 0}
    chunks = list(
        client.chat.completions.create(
            **asked, stop=["\n### "], stream=True, stream_options={"include_usage": True}
        )
    )

    *parts, counted = chunks
    assert "".join(part.choices[0].delta.content or "" for part in parts) == alone["c"].text
    assert parts[0].choices[0].delta.role == "assistant"
    assert parts[-1].choices[0].finish_reason in ("stop", "length")
    assert counted.choices == []
    assert counted.usage.completion_tokens == alone["c"].tokens


def test_an_answer_ends_before_a_stop_string(client):
    asked = {"model": TUNED, "messages": CHAT, "max_tokens": 200, "seed": 1}

    whole = client.chat.completions.create(**asked, stop=["\n"]).choices[0]

    assert "\n" not in whole.message.content
    assert whole.finish_reason == "stop"


def test_a_signature_begins_the_answer_and_is_no_part_of_it(client):
    prompt = alpaca(CHAT[0]["content"]) + "def add(a, b):"
    asked = {"model": BASE, "max_tokens": 16, "temperature": 0}

    begun = client.chat.completions.create(
        **asked, messages=CHAT, extra_body={"signature": "def add(a, b):\n"}
    )
    same = client.completions.create(**asked, prompt=prompt, stop=["\ndef ", "\nclass "])

    assert begun.choices[0].message.content == same.choices[0].text


@pytest.mark.parametrize(
    "wrong",
    [
        {"n": 2},
        {"logprobs": True},
        {"tools": [{"type": "function", "function": {"name": "f"}}]},
        {"response_format": {"type": "json_object"}},
        {"presence_penalty": 0.5},
        {"max_tokens": 5_000},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
def test_what_is_not_done_is_refused_with_the_name_of_the_field(client, wrong):
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=BASE, messages=CHAT, **wrong)

    assert caught.value.param == next(iter(wrong))


def test_fields_that_nobody_knows_and_nulls_are_let_pass(client):
    client.completions.create(
        model=BASE,
        prompt=PROMPT,
        max_tokens=1,
        user="me",
        temperature=None,
        n=1,
        extra_body={"min_p": 0.1},
    )


def test_an_unknown_model_and_an_unknown_route_are_not_found(client):
    with pytest.raises(openai.NotFoundError) as caught:
        client.completions.create(model="falcon tunde", prompt=PROMPT)
    assert caught.value.code == "model_not_found"

    with pytest.raises(openai.NotFoundError):
        client.embeddings.create(model=BASE, input="x")


def test_a_wrong_token_is_an_authentication_error(client):
    with (
        client.with_options(api_key="wrong") as stranger,
        pytest.raises(openai.PermissionDeniedError) as caught,
    ):
        stranger.models.list()

    assert caught.value.code == "invalid_api_key"


def test_a_full_queue_is_a_rate_limit_error_that_the_client_waits_out(ledger, tmp_path):
    slow = Scripted(words=("word ",) * 3, go=threading.Event())
    asked = {"model": BASE, "prompt": PROMPT}
    with served(tmp_path, ledger, slow, most=1) as address, connected(address) as client:
        stream = client.completions.create(**asked, stream=True)
        next(stream)

        with pytest.raises(openai.RateLimitError) as caught:
            client.completions.create(**asked)
        assert int(caught.value.response.headers["retry-after"]) > 0
        stream.close()
