"""The engine on a cluster: what may be asked for, and a real one, from no replica to one."""

import asyncio
import time

import pytest
from model_server import servable, wait_until

from jobs.declared import UserError
from jobs.engine import EngineError, generate, load_model
from jobs.experiment import Asking
from jobs.prompts import Question
from jobs.serving.engine import Room
from jobs.serving.order import Order
from jobs.serving.replicas import Scale, on_cluster
from jobs.serving.telling import LOADING_MODEL, STARTING, WAITING, WRITING

PROMPT = "def largest(a, b, c):\n    "
GREEDY = Asking(max_new_tokens=24)
LONG = Asking(max_new_tokens=1500, temperature=3.0)


def test_a_scale_is_two_numbers_or_one_for_both():
    assert Scale.read("0:4") == Scale(least=0, most=4)
    assert Scale.read("2") == Scale(least=2, most=2)


@pytest.mark.parametrize("text", ["0", "3:2", "-1:2", "many", "1:2:3", ":"])
def test_another_scale_is_refused_with_the_form_that_is_wanted(text):
    with pytest.raises(UserError, match="say MIN:MAX, such as 0:4"):
        Scale.read(text)


def order(text=PROMPT, asking=GREEDY):
    return Order(model=servable("base"), text=text, asking=asking, stop=(), seed=0)


async def told(replicas, asked):
    said = [said async for said in replicas.answer(asked)]
    text = "".join(piece.text for piece in said if not isinstance(piece, str))
    return [word for word in said if isinstance(word, str)], text


async def leave(replicas):
    """Ask for a long answer, and go after some of it."""
    pieces = replicas.answer(order(asking=LONG))
    async for said in pieces:
        if not isinstance(said, str) and said.tokens > 5:
            break
    await pieces.aclose()


async def refused(replicas):
    try:
        await told(replicas, order("x = 1\n" * 2000))
    except EngineError as error:
        return str(error)
    return None


async def shared(replicas):
    """Long answers left by their askers, more than there are seats, and a short one behind them."""
    await asyncio.gather(*[leave(replicas) for _ in range(6)])
    asked = time.monotonic()
    await told(replicas, order())
    return time.monotonic() - asked


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")
def test_a_cluster_answers_from_no_replica_to_one_and_back(tmp_path, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    model = servable("base")
    question = Question("asked", PROMPT, whole=True)
    (expected,) = generate(load_model(model.weights), [question], GREEDY, (), 0)

    with on_cluster(tmp_path, Room(seats=4, idle=5), Scale(least=0, most=1)) as replicas:
        assert replicas.state(model) == "waiting"
        first, text = asyncio.run(told(replicas, order()))
        again, same = asyncio.run(told(replicas, order()))
        assert first == [WAITING, STARTING, LOADING_MODEL, WRITING]
        assert again == [WAITING, WRITING]
        assert text == same == expected.text
        assert replicas.state(model) == "loaded"

        assert "the model ends at 2048" in asyncio.run(refused(replicas))
        assert asyncio.run(shared(replicas)) < 10

        wait_until(lambda: replicas.state(model) == "waiting", seconds=90)
        assert asyncio.run(told(replicas, order()))[1] == expected.text
