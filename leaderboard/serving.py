"""Talking to the model server, `python -m jobs serve`: what is on offer, prompts, tests, votes.

Answers stream in `leaderboard.streams`.
"""

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

import httpx
import streamlit as st

from leaderboard.own_cases import OwnProblem
from leaderboard.questions import Question, Settings, opening_of

DEFAULT_URL = "http://127.0.0.1:8377"
CONNECT_SECONDS = 3.0
ANSWER_SECONDS = 10.0
"""The longest wait for what the server says without a model."""
JUDGE_SECONDS = 180.0
"""The longest wait for a verdict: a program's own limit, behind others that are judged."""


class ServerError(Exception):
    """The model server cannot be used; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Model:
    """A model that the server offers: `id` is the run's."""

    id: str
    label: str
    base: str | None = None
    """Id of the base it was tuned from; None: it is one."""
    chat: bool = False
    """Whether it was tuned to answer messages of a conversation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What became of an answer under a person's own tests."""

    outcome: str
    """A name of `eval_sandbox.verdict.Outcome`."""
    detail: str = ""
    cpu_seconds: float = 0.0
    wall_seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Again:
    """A fresh verdict on a stored answer, and the program that was judged for it."""

    verdict: Verdict
    program: str
    """Its start, where it is very long."""
    characters: int
    """Of the whole program."""


def server_url() -> str:
    """Return the model server's address, without a slash at the end."""
    return (os.environ.get("CODELADDER_SERVE_URL") or DEFAULT_URL).rstrip("/")


def credentials() -> dict[str, str]:
    """Return the headers that let this page in: `CODELADDER_SERVE_TOKEN`, where it is set."""
    token = os.environ.get("CODELADDER_SERVE_TOKEN")
    return {"Authorization": f"Bearer {token}"} if token else {}


def client() -> httpx.Client:
    """Return one pooled client for all sessions: a new connection costs time."""
    return _client(server_url())


@st.cache_resource(max_entries=2, show_spinner=False, on_release=lambda client: client.close())
def _client(url: str) -> httpx.Client:
    timeout = httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS)
    return httpx.Client(base_url=url, timeout=timeout, headers=credentials())


def first_pair(offered: Sequence[Model]) -> list[Model]:
    """Return the newest tuned model behind its base; where there is none, the first two."""
    of_id = {model.id: model for model in offered}
    for model in reversed(offered):
        if model.base in of_id:
            return [of_id[model.base], model]
    return list(offered[:2])


def models(client: httpx.Client) -> list[Model]:
    """Return the models on offer, in the server's order.

    Raises:
        ServerError: the server is not there or does not answer as it should.
    """
    told = _json(client, "GET", "/v1/models")
    with as_known():
        return _told_apart([_model(entry) for entry in told.get("data") or []])


def _told_apart(found: Sequence[Model]) -> list[Model]:
    """With the id behind each label that several share: a list of choices knows labels only."""
    shared = Counter(model.label for model in found)
    return [
        replace(model, label=f"{model.label} ({model.id})") if shared[model.label] > 1 else model
        for model in found
    ]


def _model(entry: Mapping[str, Any]) -> Model:
    return Model(
        str(entry["id"]),
        str(entry.get("label") or entry["id"]),
        entry.get("base"),
        entry.get("prompt") == "chat",
    )


def ask_for_prompt(
    client: httpx.Client, instruction: str, signature: str, settings: Settings
) -> Question:
    """Let the server word the prompt as in training, so that the template is in one place.

    Raises:
        ServerError: as `models`.
    """
    asked = {"instruction": instruction, "input": "", "signature": signature}
    worded = _json(client, "POST", "/v1/prompts", asked)
    with as_known():
        return Question(
            prompt=worded["prompt"],
            stop=tuple(worded.get("stop") or ()),
            settings=settings,
            instruction=instruction,
            signature=signature,
            opening=opening_of(worded["prompt"], signature),
        )


def judge(client: httpx.Client, opening: str, text: str, tests: OwnProblem) -> Verdict:
    """Let the server put tests to an answer.

    Args:
        client: of the server.
        opening: what the answer continues; may be empty.
        text: a model's.
        tests: with the function that they call, where calls are among them.

    Raises:
        ServerError: as `models`, or the tests are wrong.
    """
    continues = opening.rstrip().endswith(":")  # else there is no body to continue with
    asked = {
        "completion": text if continues else opening + text,
        "signature": opening if continues else "",
        "entry_point": tests.entry_point,
        "tests": list(tests.tests),
    }
    told = _json(client, "POST", "/judge", asked, JUDGE_SECONDS)
    with as_known():
        return _verdict(told)


def judge_again(client: httpx.Client, completion: str, judging: str) -> Again:
    """Let the server judge a stored answer once more, under one judging contract.

    Raises:
        ServerError: as `models`, or it cannot be judged again under that contract.
    """
    path = f"/completions/{quote(completion, safe='')}/judge?judging={quote(judging, safe='')}"
    told = _json(client, "POST", path, seconds=JUDGE_SECONDS)
    with as_known():
        return Again(
            verdict=_verdict(told),
            program=str(told["program"]),
            characters=int(told["characters"]),
        )


def _verdict(told: Mapping[str, Any]) -> Verdict:
    return Verdict(
        outcome=str(told["outcome"]),
        detail=str(told["detail"]),
        cpu_seconds=float(told["cpu_seconds"]),
        wall_seconds=float(told["wall_seconds"]),
    )


def vote(client: httpx.Client, ballot: Mapping[str, Any]) -> str:
    """Store a vote; return the choice that is stored, the first one made.

    Raises:
        ServerError: as `models`, or the vote is refused.
    """
    told = _json(client, "POST", "/votes", dict(ballot))
    with as_known():
        return str(told["choice"])


@contextmanager
def as_known() -> Iterator[None]:
    """Say that the server is another one, or of another version, where an answer of it is odd.

    Raises:
        ServerError: what is read inside lacks a part, or has another form.
    """
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError):
        raise ServerError(
            f"{server_url()} answers in a form that this page does not know"
        ) from None


def reason(answer: Any) -> str:
    """Return the reason in an error of OpenAI's form, or of FastAPI's."""
    error = answer.get("error", answer.get("detail")) if isinstance(answer, dict) else answer
    return str(error.get("message", error)) if isinstance(error, dict) else str(error)


def failure_of(error: Exception) -> str:
    """Return what a failed request means, in words."""
    match error:
        case httpx.ConnectError() | httpx.ConnectTimeout():
            return f"no model server answers at {server_url()}"
        case httpx.TimeoutException():
            return "the server took too long; ask again"
        case httpx.HTTPError():
            return "the connection to the server was lost"
        case _:
            return str(error)


def _json(
    client: httpx.Client,
    method: str,
    path: str,
    body: dict[str, Any] | None = None,
    seconds: float = ANSWER_SECONDS,
) -> dict[str, Any]:
    timeout = httpx.Timeout(seconds, connect=CONNECT_SECONDS)
    try:
        response = client.request(method, path, json=body, timeout=timeout)
    except httpx.HTTPError as error:
        raise ServerError(failure_of(error)) from None
    if response.is_error:
        raise ServerError(_refused(response))
    try:
        found: Any = response.json()
    except ValueError:
        raise ServerError(f"{server_url()} is no model server: it answers no JSON") from None
    with as_known():
        return {**found}


def _refused(response: httpx.Response) -> str:
    if response.status_code == 429:
        return "the server is busy; ask again in a moment"
    try:
        return f"the server refuses: {reason(response.json())}"
    except ValueError:
        return f"the server answers {response.status_code}"
