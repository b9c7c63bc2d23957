"""Many clients at once, and clients that leave: nobody fails, and no place is lost."""

import asyncio
import contextlib
import time

import httpx
import pytest
from model_server import PATIENCE, STARTER, served

from database.schema import Run
from database.session import open_ledger
from database.writing import write
from jobs.serving.engine import ModelEngine

MODEL = "a" * 12
PROMPT = "def largest(a, b, c):\n    "
CLIENTS, LEAVING, SEEDS = 50, 20, 5


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """A server with fewer places than clients, its model in memory."""
    home = tmp_path_factory.mktemp("home")
    ledger = open_ledger(f"sqlite:///{home / 'ledger.db'}")
    where = {"model": {"location": str(STARTER / "falcon")}}
    write(
        ledger,
        [Run(id=MODEL, label="falcon", kind="base", state="done", model="m", provenance=where)],
    )
    with (
        contextlib.closing(ModelEngine()) as engine,
        served(home, ledger, engine, most=24) as address,
    ):
        httpx.post(f"{address}/v1/completions", json=body(1), timeout=60, trust_env=False)
        yield address
    ledger.dispose()


def body(tokens, **more):
    asked = {"model": MODEL, "prompt": PROMPT, "max_tokens": tokens, "temperature": 1.0}
    return asked | more


def client(address):
    limits = httpx.Limits(max_connections=None)
    return httpx.AsyncClient(base_url=address, timeout=60, trust_env=False, limits=limits)


def pending(address):
    return httpx.get(f"{address}/health", trust_env=False).json()["pending"]


def test_fifty_clients_at_once_are_answered_or_told_to_come_back(address):
    statuses = []

    async def ask(asker, seed):
        while True:
            reply = await asker.post("/v1/completions", json=body(12, seed=seed))
            statuses.append(reply.status_code)
            if reply.status_code != 429:
                return seed, reply.json()["choices"][0]["text"]
            assert int(reply.headers["retry-after"]) > 0
            await asyncio.sleep(0.2)

    async def all_ask():
        async with client(address) as asker:
            return await asyncio.gather(*[ask(asker, seed % SEEDS) for seed in range(CLIENTS)])

    texts = asyncio.run(all_ask())

    assert set(statuses) == {200, 429}
    assert statuses.count(200) == CLIENTS
    assert len(set(texts)) == SEEDS  # one text a seed, whoever was answered beside whom
    assert pending(address) == 0


@pytest.mark.parametrize("lines", [1, 8], ids=["before the first token", "in the middle"])
def test_clients_that_leave_lose_no_place(address, lines):
    async def leave(asker):
        asked = body(1500, temperature=1.5, stream=True)
        async with asker.stream("POST", "/v1/completions", json=asked) as reply:
            assert reply.status_code == 200
            read = reply.aiter_lines()
            for _ in range(lines):
                await anext(read)

    async def all_leave():
        async with client(address) as asker:
            await asyncio.gather(*[leave(asker) for _ in range(LEAVING)])

    asyncio.run(all_leave())
    left = time.monotonic()
    while pending(address) and time.monotonic() < left + PATIENCE:
        time.sleep(0.02)

    assert pending(address) == 0
    with httpx.Client(base_url=address, timeout=60, trust_env=False) as another:
        asked = time.monotonic()
        answer = another.post("/v1/completions", json=body(4))
        took = time.monotonic() - asked
    assert answer.status_code == 200
    assert took < 5  # nobody's 1500 tokens are before it
