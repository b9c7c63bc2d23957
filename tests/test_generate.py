"""Asking on a real cluster: the same answers from any number of workers, whoever is killed."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast
from transformers.utils import logging

from cluster.session import connect
from jobs.answers import Answer, Answered, Cost, EngineError, read_answers, read_cost
from jobs.experiment import Asking
from jobs.generate import AskOrder, ask
from jobs.parts import TOKENS_A_PART, KeptParts, cut
from jobs.prompts import Question
from jobs.stages import fair_share
from jobs.weights import Weights

ROOT = Path(__file__).parent.parent
ASKING = Asking(completions=2, temperature=0.9, max_new_tokens=4000)
"""The model has room for a hundred; parts are cut as if all were used."""
QUESTIONS = tuple(
    Question(f"problem {number}", f"def f{number}(" + "a, " * (number % 7) + "b):", whole=False)
    for number in range(48)
)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A random model of printable characters."""
    logging.disable_progress_bar()
    letters = [chr(code) for code in range(32, 127)] + ["\n"]
    core = Tokenizer(models.BPE(vocab={"<end>": 0} | dict(zip(letters, range(1, 99), strict=False)),
                                merges=[]))  # fmt: skip
    core.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    core.decoder = decoders.Fuse()
    folder = tmp_path_factory.mktemp("model")
    PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<end>").save_pretrained(folder)
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=97,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=128,
        eos_token_id=0,
        bos_token_id=0,
        initializer_range=0.3,
    )
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A cluster of two processors whose processes carry its home in their environment."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CODELADDER_HOME", str(home))
        with connect(home):
            from cluster.mailbox import Mailbox

            yield home, Mailbox.create()


@pytest.fixture
def order(model, tmp_path):
    return AskOrder(
        run_id="0123456789ab",
        benchmark="tiny",
        weights=Weights(location=str(model)),
        questions=QUESTIONS,
        asking=ASKING,
        stop=("\n",),
        seed=3,
        out=tmp_path / "completions" / "tiny.jsonl",
    )


@pytest.fixture(scope="module")
def undisturbed(model, cluster, tmp_path_factory):
    """What one worker alone answers, as bytes."""
    out = tmp_path_factory.mktemp("undisturbed") / "tiny.jsonl"
    order = AskOrder(
        run_id="0123456789ab",
        benchmark="tiny",
        weights=Weights(location=str(model)),
        questions=QUESTIONS,
        asking=ASKING,
        stop=("\n",),
        seed=3,
        out=out,
    )
    ask(order, cluster[1], gpus=False, workers=1)
    return out


def test_a_part_is_cut_by_the_questions_and_never_too_large():
    parts = cut(QUESTIONS, ASKING)

    assert len(parts) == 4  # 96 answers of 4000 tokens and a little in parts of 100000
    assert sorted(q.task_id for part in parts for q in part.questions) == sorted(
        q.task_id for q in QUESTIONS
    )
    assert all(len(part.questions) * 2 * 4000 <= TOKENS_A_PART for part in parts)
    lengths = [len(q.text) for part in parts for q in part.questions]
    assert lengths == sorted(lengths, reverse=True)
    assert cut(list(reversed(QUESTIONS)), ASKING) != parts  # the order of equals is the file's


def test_a_question_larger_than_a_part_is_asked_alone():
    parts = cut(QUESTIONS[:2], Asking(completions=100, temperature=1, max_new_tokens=2000))

    assert [len(part.questions) for part in parts] == [1, 1]


def test_a_run_takes_its_share_of_the_gpus_and_at_least_one():
    assert [fair_share(8, runs, 26) for runs in (1, 2, 3, 8, 20)] == [8, 4, 2, 1, 1]
    assert fair_share(8, 1, 3) == 3
    assert fair_share(8, 1, 0) == 1


def test_one_worker_and_two_write_the_same_file_in_the_order_of_the_questions(
    cluster, order, undisturbed
):
    ask(order, cluster[1], gpus=False, workers=2)

    assert order.out.read_bytes() == undisturbed.read_bytes()
    answers = read_answers(order.out)
    assert [(a.task_id, a.position) for a in answers] == [
        (question.task_id, position) for question in QUESTIONS for position in range(2)
    ]
    assert sorted(path.name for path in order.out.parent.iterdir()) == [
        "tiny.cost.json",
        "tiny.jsonl",
    ]


def test_the_cost_counts_each_prompt_once_and_every_token_drawn(undisturbed):
    cost, answers = read_cost(undisturbed), read_answers(undisturbed)

    assert cost.device == "cpu"
    assert cost.prompt_tokens == sum(len(q.text) for q in QUESTIONS)  # a token is a character
    assert cost.tokens == sum(answer.tokens for answer in answers)
    assert cost.seconds > 0


def test_the_parts_of_a_killed_worker_are_asked_again_and_those_that_were_done_are_not(
    cluster, order, undisturbed
):
    home, mailbox = cluster
    mailbox.drain()
    done, before = set(), []

    def kill_one():
        """Called whenever a part was kept, so that nothing goes on meanwhile."""
        if not done and (parts := list(order.out.with_suffix(".parts").glob("*.json"))):
            done.update(path.stem for path in parts)
            os.kill(workers_of(home)[0], signal.SIGKILL)
            before.extend(mailbox.drain())
        return False

    ask(order, mailbox, gpus=False, workers=2, unwanted=kill_one)

    assert before
    assert order.out.read_bytes() == undisturbed.read_bytes()
    again = [message["done"] for message in mailbox.drain() if message["part"] in done]
    assert set(again) <= {24}  # nothing but that they are whole


def test_parts_that_an_earlier_driver_left_are_not_asked_again(cluster, order):
    first, *_ = cut(QUESTIONS, ASKING)
    told = tuple(
        Answer(task_id=q.task_id, position=position, text="as it was", whole=False, tokens=5,
               finish="end")
        for q in first.questions for position in range(2)
    )  # fmt: skip
    cost = Cost(device="other", seconds=1000.0, prompt_tokens=7, tokens=11)
    KeptParts(order.out).keep(first, Answered(answers=told, cost=cost))
    cluster[1].drain()

    ask(order, cluster[1], gpus=False, workers=2)

    told = cluster[1].drain()
    assert told[0]["part"] == "kept"
    assert told[0]["done"] == len(first.questions) * 2
    kept = {answer.task_id for answer in read_answers(order.out) if answer.text == "as it was"}
    assert kept == {question.task_id for question in first.questions}
    whole = read_cost(order.out)
    assert whole.device == "cpu, other"
    assert whole.seconds > 1000
    assert not order.out.with_suffix(".parts").exists()
    assert first.name not in {message["part"] for message in told}


def test_a_folder_that_takes_no_answer_leaves_no_worker_with_its_processor(cluster, order):
    import ray

    folder = KeptParts(order.out).folder
    folder.parent.mkdir(parents=True)
    folder.touch()  # where parts would go
    with pytest.raises(OSError) as failure:
        ask(order, cluster[1], gpus=False, workers=2)

    deadline = time.monotonic() + 20
    while (free := ray.available_resources().get("CPU", 0)) < 2 and time.monotonic() < deadline:
        time.sleep(0.2)
    assert free == 2, failure  # it holds the frames that hold the workers


def test_what_is_answered_is_not_asked_again(order):
    order.out.parent.mkdir()
    order.out.write_text("")

    ask(replace(order, weights=Weights(location="nowhere")), [], gpus=False, workers=2)

    assert order.out.read_text() == ""


def test_parts_beside_finished_answers_are_taken_away(order):
    order.out.parent.mkdir(parents=True, exist_ok=True)
    order.out.write_text("")
    folder = KeptParts(order.out).folder
    folder.mkdir()  # killed between the two

    ask(order, None, gpus=False, workers=1)

    assert not folder.exists()


def test_progress_counts_every_part_and_what_was_there(cluster, order):
    _, mailbox = cluster
    mailbox.drain()

    ask(order, mailbox, gpus=False, workers=2)

    told = mailbox.drain()
    assert {message["of"] for message in told} == {96}
    assert {message["run_id"] for message in told} == {"0123456789ab"}
    most = Counter()
    for message in told:
        most[message["part"]] = max(most[message["part"]], message["done"])
    assert most.pop("kept") == 0
    assert sum(most.values()) == 96


def test_a_model_that_cannot_be_asked_is_an_engine_error_and_leaves_no_file(cluster, order, model):
    unended = json.loads((model / "tokenizer_config.json").read_text())
    folder = order.out.parent.parent / "unended"
    folder.mkdir()
    for path in model.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    unended.pop("eos_token")
    (folder / "tokenizer_config.json").write_text(json.dumps(unended))
    for name in ("config.json", "generation_config.json"):
        path = folder / name
        if path.exists():
            path.write_text(json.dumps(json.loads(path.read_text()) | {"eos_token_id": None}))

    with pytest.raises(EngineError, match="names no end token"):
        ask(
            replace(order, weights=Weights(location=str(folder))),
            cluster[1],
            gpus=False,
            workers=2,
        )

    assert not order.out.exists()


DRIVER = """
import pickle, sys
from pathlib import Path
from cluster.session import connect
with connect(Path(sys.argv[1])):
    from cluster.mailbox import Mailbox
    from jobs.generate import ask
    ask(pickle.loads(Path(sys.argv[2]).read_bytes()), Mailbox.create(), gpus=False, workers=1)
"""


@pytest.mark.slow
def test_a_killed_driver_goes_on_at_the_parts(order, undisturbed, tmp_path):
    import pickle

    given = tmp_path / "order"
    given.write_bytes(pickle.dumps(order))
    home = tmp_path / "driver"
    home.mkdir()
    command = [sys.executable, "-c", DRIVER, str(home), str(given)]
    folder = order.out.with_suffix(".parts")
    environment = os.environ | {"CODELADDER_HOME": str(home)}
    driver = subprocess.Popen(command, cwd=ROOT, env=environment, start_new_session=True)
    eventually(lambda: list(folder.glob("*.json")), 120)
    driver.kill()
    driver.wait()
    done = {path: path.stat().st_mtime_ns for path in folder.glob("*.json")}
    assert not order.out.exists()

    again = subprocess.Popen(command, cwd=ROOT, env=environment)
    while again.poll() is None:
        for path, moment in done.items():
            if path.exists():
                assert path.stat().st_mtime_ns == moment
        time.sleep(0.05)

    assert again.returncode == 0
    assert order.out.read_bytes() == undisturbed.read_bytes()


def workers_of(home):
    """Processes of this cluster that ask a model."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            title = (folder / "cmdline").read_bytes()
            environment = (folder / "environ").read_bytes()
        except OSError:
            continue
        if (
            title.startswith(b"ray::AskActor")
            and f"CODELADDER_HOME={home}\0".encode() in environment
        ):
            found.append(int(folder.name))
    return found


def eventually(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)
