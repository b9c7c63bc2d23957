"""Answers of several askers to one base and its adapters, written together by a real engine."""

import asyncio
import contextlib
import functools
import shutil
import time

import pytest
import torch
from model_server import STARTER, adapter, servable, wait_until
from safetensors.torch import load_file, save_file

from jobs import bases as bases_of_jobs
from jobs.engine import EngineError, generate, load_model
from jobs.experiment import Asking
from jobs.prompts import Question, alpaca, chat_question
from jobs.serving import resident
from jobs.serving.engine import ModelEngine, Room
from jobs.serving.order import Order
from jobs.serving.table import Table
from jobs.serving.telling import LOADING_ADAPTER, LOADING_MODEL, WAITING, WRITING

pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated")
PROMPTS = (
    alpaca("Write a function that adds two numbers."),
    alpaca("Return the largest of three numbers.") + "def largest(a, b, c):",
    "def count_words(text):\n    ",
)
GREEDY = Asking(max_new_tokens=32)
LONG = Asking(max_new_tokens=1500, temperature=3.0)
"""So hot that the starter model does not end by itself, which takes seconds on any processor."""
FORTY = Asking(max_new_tokens=40, temperature=3.0)


@pytest.fixture(scope="module")
def adapters(tmp_path_factory):
    folder = tmp_path_factory.mktemp("adapters")
    return {
        "one": adapter(folder / "one", 0),
        "other": adapter(folder / "other", 1, r=8, target_modules=["query_key_value"]),
        "dora": adapter(folder / "dora", 2, use_dora=True),
        "head": adapter(folder / "head", 3, modules_to_save=["ln_f"]),
    }


@pytest.fixture
def engine():
    with contextlib.closing(ModelEngine()) as engine:
        yield engine


def order(model, text=PROMPTS[0], asking=GREEDY, **more):
    return Order(model=model, text=text, asking=asking, **{"stop": (), "seed": 0} | more)


async def told(engine, asked):
    """What came before the answer, and the answer's pieces."""
    said = [said async for said in engine.answer(asked)]
    pieces = [piece for piece in said if not isinstance(piece, str)]
    return [word for word in said if isinstance(word, str)], pieces


async def answered(engine, asked):
    return "".join(piece.text for piece in (await told(engine, asked))[1])


def together(engine, orders):
    async def ask():
        return await asyncio.gather(*[answered(engine, one) for one in orders])

    return asyncio.run(ask())


def alone(model, text, asking=GREEDY, stop=(), seed=0):
    question = Question("asked", text, whole=True)
    (answer,) = generate(loaded(model.weights), [question], asking, stop, seed)
    return answer.text


@functools.cache
def loaded(weights):
    return load_model(weights)


def bases(engine):
    return list(engine._held.values())


def held(engine):
    """The seats of the only base in memory."""
    return bases(engine)[0]._table


async def until(true):
    while not true():
        await asyncio.sleep(0.01)


@pytest.fixture
def steps(monkeypatch):
    """How many answers each step of a model wrote a token of."""
    counted = []
    step = Table.step

    def counting(table):
        counted.append(len(table.taken))
        step(table)

    monkeypatch.setattr(Table, "step", counting)
    return counted


def test_models_of_every_kind_answer_at_once_what_each_answers_alone(engine, adapters):
    models = [servable("base"), *(servable(name, tuned=adapters[name]) for name in adapters)]
    orders = [order(model, text) for text in PROMPTS for model in models]

    texts = together(engine, orders)

    assert texts == [alone(one.model, one.text) for one in orders]
    assert len(set(texts[: len(models)])) > 3


def test_a_base_and_its_adapters_are_in_one_batch(engine, adapters, steps):
    models = [
        servable("base"),
        *(servable(name, tuned=adapters[name]) for name in ("one", "other")),
    ]
    together(engine, [order(model) for model in models])  # so that all are there
    steps.clear()

    together(engine, [order(model) for model in models * 3])

    assert max(steps) > len(models)
    assert len(steps) < 3 * GREEDY.max_new_tokens


def test_another_architecture_does_too(engine, tmp_path):
    tuned = servable("tuned", "mistral", adapter(tmp_path / "adapter", 0, "mistral"))
    models = (servable("base", "mistral"), tuned)
    orders = [order(model, text) for text in PROMPTS for model in models]

    assert together(engine, orders) == [alone(one.model, one.text) for one in orders]


def test_each_answer_brings_its_own_drawing_seed_stops_and_length(engine):
    model = servable("base")
    asked = [
        (Asking(max_new_tokens=40, temperature=1.2, top_p=0.9), ("return",), 1),
        (Asking(max_new_tokens=40, temperature=1.2, top_p=0.9), (), 2),
        (Asking(max_new_tokens=3), (), 0),
        (Asking(max_new_tokens=40, temperature=0.5, top_k=5), (" (", "n:"), 3),
        (Asking(max_new_tokens=40), ("\n",), 0),
    ]

    texts = together(engine, [order(model, PROMPTS[2], a, stop=s, seed=n) for a, s, n in asked])

    assert texts == [alone(model, PROMPTS[2], a, s, n) for a, s, n in asked]


def test_text_is_told_once_it_is_certain_and_ends_before_a_stop_string(engine):
    model = servable("base")
    asking = Asking(max_new_tokens=40, temperature=1.5)
    stops = ("e", "def ", "\n\n", "ab", "return len")
    orders = [order(model, asking=asking, stop=(stop,), seed=s) for s in range(2) for stop in stops]

    texts = together(engine, orders)

    assert texts == [alone(model, one.text, asking, one.stop, one.seed) for one in orders]
    assert not [one for one, text in zip(orders, texts, strict=True) if one.stop[0] in text]


def test_a_question_that_arrives_later_is_answered_while_another_is_written(engine):
    model = servable("base")

    async def ask():
        first = asyncio.create_task(answered(engine, order(model, asking=LONG)))
        await until(lambda: engine.state(model) == "loaded" and held(engine).taken)
        await answered(engine, order(model, PROMPTS[1], Asking(max_new_tokens=8)))
        still = not first.done()
        first.cancel()
        return still

    assert asyncio.run(ask())


def test_an_asker_who_leaves_frees_the_seat_before_the_next_token(engine, steps):
    async def ask():
        pieces = engine.answer(order(servable("base"), asking=LONG))
        async for said in pieces:
            if not isinstance(said, str):
                break
        await pieces.aclose()

    asyncio.run(ask())
    left = len(steps)
    time.sleep(0.5)

    assert len(steps) <= left + 1


def test_an_asker_who_leaves_before_the_model_is_there_has_nothing_loaded_nor_written(
    engine, steps
):
    room_taken = order(servable("base"), asking=LONG)
    engine.room = Room(bases=1)

    async def ask():
        first = asyncio.create_task(answered(engine, room_taken))
        await asyncio.sleep(0.3)
        second = asyncio.create_task(answered(engine, order(servable("m", "mistral"))))
        await asyncio.sleep(0.3)
        second.cancel()
        first.cancel()

    asyncio.run(ask())
    wait_until(lambda: "mistral" not in str(list(engine._held)))

    assert engine.state(servable("m", "mistral")) == "waiting"


def test_the_asker_hears_what_is_waited_for(engine, adapters):
    tuned = servable("tuned", tuned=adapters["one"])

    async def ask():
        return [(await told(engine, order(model)))[0] for model in (tuned, tuned, servable("b"))]

    first, second, third = asyncio.run(ask())

    assert first == [WAITING, LOADING_MODEL, LOADING_ADAPTER, WRITING]
    assert second == third == [WAITING, WRITING]
    assert engine.state(tuned) == engine.state(servable("b")) == "loaded"
    assert engine.state(servable("other", tuned=adapters["other"])) == "waiting"


def test_the_asker_hears_how_many_are_before(engine):
    engine.room = Room(seats=1)
    model = servable("base")

    async def waiting(count):
        await until(lambda: held(engine).taken and len(bases(engine)[0].waiting) == count)

    async def ask():
        await told(engine, order(model))
        first = asyncio.create_task(answered(engine, order(model, asking=LONG)))
        await waiting(0)
        second = asyncio.create_task(answered(engine, order(model)))
        await waiting(1)
        third = asyncio.create_task(told(engine, order(model)))
        await waiting(2)
        first.cancel()
        await second
        return (await third)[0]

    assert asyncio.run(ask()) == [WAITING, "waiting, 1 ahead", WRITING]


def test_the_adapter_not_asked_for_longest_makes_room(engine, adapters):
    engine.room = Room(adapters=1)
    models = [servable(name, tuned=adapters[name]) for name in ("one", "other")]

    together(engine, [order(models[0])])
    together(engine, [order(models[1])])

    assert [engine.state(model) for model in models] == ["waiting", "loaded"]


def test_a_model_that_nobody_asks_is_let_go_and_loaded_again():
    model = servable("base")
    with contextlib.closing(ModelEngine(Room(idle=0.3))) as engine:
        first = together(engine, [order(model)])
        wait_until(lambda: engine.state(model) == "waiting")
        assert together(engine, [order(model)]) == first


def test_a_wrong_adapter_fails_alone(engine, adapters, tmp_path):
    odd = tmp_path / "odd"
    shutil.copytree(adapters["one"], odd)
    weights = load_file(odd / "adapter_model.safetensors")
    save_file(dict(list(weights.items())[2:]), odd / "adapter_model.safetensors")

    async def ask():
        orders = [order(servable("odd", tuned=odd)), order(servable("base"))]
        return await asyncio.gather(
            *[answered(engine, one) for one in orders], return_exceptions=True
        )

    for _ in range(2):  # and leaves nothing behind that peft would warn of
        failed, text = asyncio.run(ask())

        assert isinstance(failed, EngineError)
        assert text == alone(servable("base"), PROMPTS[0])


def test_a_prompt_longer_than_the_model_fails_alone(engine):
    async def ask():
        return await answered(engine, order(servable("base"), "x = 1\n" * 2000))

    with pytest.raises(EngineError, match="the model ends at 2048"):
        asyncio.run(ask())


def test_where_memory_does_not_suffice_fewer_are_written_at_once_and_none_begins_anew(engine):
    model = servable("base")
    together(engine, [order(model)])  # so that the model is there
    sizes = []

    def full(module, given, named):
        sizes.append(len(named["input_ids"]))
        if sizes[-1] > 2:
            raise torch.OutOfMemoryError("out of memory")

    held(engine).loaded.model.register_forward_pre_hook(full, with_kwargs=True)
    orders = [order(model, text) for text in PROMPTS * 2]

    assert together(engine, orders) == [alone(model, one.text) for one in orders]
    assert max(sizes) > 2


def test_where_a_base_does_not_fit_an_idle_one_makes_room(engine, monkeypatch):
    small, large = servable("base"), servable("large", "mistral")
    together(engine, [order(small)])

    def load(weights, precision):
        if engine.state(small) == "loaded":
            raise torch.OutOfMemoryError("out of memory")
        return load_model(weights, precision)

    monkeypatch.setattr(resident, "load_model", load)

    assert together(engine, [order(large)]) == [alone(large, PROMPTS[0])]
    assert engine.state(small) == "waiting"


def test_an_answer_that_takes_too_long_ends_where_it_is(engine):
    async def ask():
        return (await told(engine, order(servable("base"), asking=LONG, seconds=0.3)))[1]

    pieces = asyncio.run(ask())

    assert pieces[-1].finish == "length"
    assert 1 < pieces[-1].tokens < LONG.max_new_tokens


def test_the_time_of_an_answer_begins_with_its_first_token_not_while_it_waits():
    async def ask():
        asked = (order(servable("base"), asking=LONG, seconds=s) for s in (0.6, 0.3))
        return await asyncio.gather(*[told(engine, one) for one in asked])

    with contextlib.closing(ModelEngine(Room(seats=1))) as engine:
        (_, first), (_, second) = asyncio.run(ask())

    assert first[-1].finish == second[-1].finish == "length"
    assert min(first[-1].tokens, second[-1].tokens) > 1


def test_memory_that_did_not_suffice_for_one_answer_is_no_limit_for_the_next(engine, steps):
    model = servable("base")
    together(engine, [order(model)])

    def full(module, given):
        raise torch.OutOfMemoryError("out of memory")

    hook = held(engine).loaded.model.register_forward_pre_hook(full)
    with pytest.raises(EngineError, match="do not fit into memory"):
        together(engine, [order(model)])
    hook.remove()
    together(engine, [order(model, asking=FORTY)] * 3)

    assert max(steps) == 3


def test_once_memory_suffices_again_as_many_are_written_at_once_as_before(engine, steps):
    model = servable("base")
    together(engine, [order(model)])

    def full(module, given, named):
        if len(named["input_ids"]) > 1:
            raise torch.OutOfMemoryError("out of memory")

    hook = held(engine).loaded.model.register_forward_pre_hook(full, with_kwargs=True)
    asked = order(model, asking=FORTY)
    together(engine, [asked] * 3)
    hook.remove()
    for _ in range(2):
        together(engine, [asked])
    steps.clear()
    together(engine, [asked] * 3)

    assert max(steps) == 3


@pytest.mark.parametrize("readable", [True, False])
def test_a_base_that_an_adapter_may_have_spoiled_is_read_anew_or_let_go(
    engine, adapters, monkeypatch, readable
):
    model, dora = servable("base"), servable("dora", tuned=adapters["dora"])
    right = together(engine, [order(model)])

    def fails(*_):
        raise OSError("the disk is gone")

    with monkeypatch.context() as patched:
        patched.setattr(bases_of_jobs, "merged", fails)
        if not readable:
            patched.setattr(resident, "load_model", fails)
        with pytest.raises(OSError, match="the disk is gone"):
            together(engine, [order(dora)])
        wait_until(lambda: engine.state(model) == ("loaded" if readable else "waiting"))

    assert together(engine, [order(model)]) == right
    assert together(engine, [order(dora)]) == [alone(dora, PROMPTS[0])]


def test_a_chat_is_asked_in_the_template_of_the_model_with_all_its_turns(engine, tmp_path):
    shutil.copytree(STARTER / "falcon", tmp_path / "chat")
    template = (
        "{% for m in messages %}<{{ m.role }}>{{ m.content }}\n{% endfor %}"
        "{% if add_generation_prompt %}<assistant>{% endif %}"
    )
    (tmp_path / "chat" / "chat_template.jinja").write_text(template)
    model = servable("chat", tmp_path / "chat")
    turns = (("system", "Be brief."), ("user", "Add."), ("assistant", "a"), ("user", "Again."))

    (text,) = together(engine, [order(model, "", turns=turns)])

    question = chat_question(loaded(model.weights).tokenizer, "asked", turns)
    (expected,) = generate(loaded(model.weights), [question], GREEDY, (), 0)
    assert question.text == "<system>Be brief.\n<user>Add.\n<assistant>a\n<user>Again.\n<assistant>"
    assert text == expected.text
