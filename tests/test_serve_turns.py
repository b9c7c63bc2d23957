"""More bases than places in memory: a real engine serves each in its turn, and none starves."""

import asyncio
import contextlib
import shutil
import time

import pytest
from model_server import STARTER, servable

from jobs.experiment import Asking
from jobs.serving.engine import ModelEngine, Room
from jobs.serving.order import Order

PROMPT = "def largest(a, b, c):\n    "
LONG = Asking(max_new_tokens=300, temperature=1.5)
SHORT = Asking(max_new_tokens=4)
PATIENCE = 60


@pytest.fixture
def models(tmp_path):
    """Five bases; copies, for what counts is that each has weights of its own."""
    for name in "abcde":
        shutil.copytree(STARTER / "falcon", tmp_path / name)
    return {name: servable(name, tmp_path / name) for name in "abcde"}


async def asked(engine, model, asking=SHORT):
    order = Order(model=model, text=PROMPT, asking=asking, stop=(), seed=0)
    said = [part async for part in engine.answer(order)]
    return time.monotonic(), [part for part in said if not isinstance(part, str)]


async def until(true):
    while not true():
        await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def kept_busy(engine, models):
    """Each model has two askers at all times, so that it is never idle; yields what they got."""
    got = {model.id: 0 for model in models}

    async def go_on(model):
        while True:
            _, pieces = await asked(engine, model, LONG)
            assert pieces[-1].finish
            got[model.id] += 1

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(go_on(model)) for model in models for _ in range(2)]
        await until(lambda: all(engine.state(model) == "loaded" for model in models))
        yield got
        for task in tasks:
            task.cancel()


def test_a_fifth_base_is_served_beside_four_that_are_never_idle(models):
    async def ask(engine):
        *four, fifth = models.values()
        async with asyncio.timeout(PATIENCE), kept_busy(engine, four) as got:
            _, pieces = await asked(engine, fifth)
            before = dict(got)
            await until(lambda: all(got[name] > before[name] for name in got))  # nor do the others
            return pieces

    with contextlib.closing(ModelEngine(Room(bases=4, turn=0.2))) as engine:
        pieces = asyncio.run(ask(engine))

    assert pieces[-1].finish is not None


def test_bases_that_wait_for_a_place_get_it_in_the_order_in_which_they_came(models):
    async def ask(engine):
        busy, *others = models.values()
        async with asyncio.timeout(PATIENCE), kept_busy(engine, [busy]):
            waiting = []
            for model in others:
                waiting.append(asyncio.create_task(asked(engine, model)))
                await until(lambda: len(engine._line) >= len(waiting))
            return [at for at, _ in await asyncio.gather(*waiting)]

    with contextlib.closing(ModelEngine(Room(bases=1, turn=2.0))) as engine:
        times = asyncio.run(ask(engine))

    assert times == sorted(times)


def test_a_busy_base_answers_what_was_asked_before_and_has_its_turn(models):
    async def ask(engine):
        busy, other = models["a"], models["b"]
        async with asyncio.timeout(PATIENCE):
            first = asyncio.create_task(asked(engine, busy, LONG))
            await until(lambda: engine.state(busy) == "loaded")
            before = asyncio.create_task(asked(engine, busy))
            await asyncio.sleep(0.05)
            newcomer = asyncio.create_task(asked(engine, other))
            await asyncio.sleep(0.05)
            after = asyncio.create_task(asked(engine, busy))
            ended = await asyncio.gather(first, before, newcomer, after)
        return [at for at, _ in ended]

    ended = []
    for turn in (0.0, PATIENCE):
        with contextlib.closing(ModelEngine(Room(bases=1, seats=1, turn=turn))) as engine:
            times = asyncio.run(ask(engine))
        ended.append(sorted(range(4), key=times.__getitem__))

    first, before, newcomer, after = range(4)
    assert ended == [[first, before, newcomer, after], [first, before, after, newcomer]]


def test_an_asker_who_leaves_the_line_holds_nobody_up(models):
    async def ask(engine):
        busy, leaver, other = (models[name] for name in "abc")
        async with asyncio.timeout(PATIENCE), kept_busy(engine, [busy]):
            leaving = asyncio.create_task(asked(engine, leaver))
            await until(lambda: engine._line)
            leaving.cancel()
            return (await asked(engine, other))[1]

    with contextlib.closing(ModelEngine(Room(bases=1, turn=0.2))) as engine:
        assert asyncio.run(ask(engine))[-1].finish is not None
