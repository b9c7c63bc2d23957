"""Asking a server that is not ours: `transformers serve` on a starter model, killed and all."""

import os
import pickle
import re
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from model_server import STARTER, wait_until

from jobs import engine
from jobs.answers import EngineError, read_answers
from jobs.experiment import Asking
from jobs.prompts import Question, alpaca
from jobs.remote.asking import ServedOrder, ServedQuestion, ask_server
from jobs.remote.models import introduced
from jobs.remote.server import Server
from jobs.weights import Weights

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parent.parent
LLAMA = str(STARTER / "llama")
STOP = (" while", "\ndef ")
QUESTIONS = tuple(
    Question(
        f"p{number}",
        alpaca(f"Write a function that returns the numbers of a list above {number}, doubled.")
        + f"def above_{number}(xs):",  # it looks for stop strings from the prompt's last line on
        whole=False,
    )
    for number in range(24)
)
ASKER = """
import pickle, sys
from jobs.remote.asking import ask_server
ask_server(pickle.load(open(sys.argv[1], "rb")))
"""


class Foreign:
    """`transformers serve` on one port; may be killed and started again."""

    def __init__(self, folder):
        self.folder = folder
        (folder / "hub").mkdir()
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.process = None

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def log(self):
        return self.folder / "server.log"

    def start(self):
        serve = (Path(sys.executable).parent / "transformers", "serve", LLAMA, "--dtype", "float32")
        offline = {"HF_HOME": str(self.folder), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                [*serve, "--host", "127.0.0.1", "--port", str(self.port)],
                env=os.environ | offline,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def is_there(self):
        assert self.process.poll() is None, self.log.read_text()
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def answered(self):
        """Requests for an answer that it carried out."""
        return len(re.findall(r'"POST /v1/completions HTTP/1.1" 200', self.log.read_text()))


@pytest.fixture(scope="module")
def foreign(tmp_path_factory):
    server = Foreign(tmp_path_factory.mktemp("foreign"))
    server.start()
    wait_until(server.is_there, 120)
    yield server
    server.kill()


@pytest.fixture(scope="module")
def ours():
    """What our own engine answers to the same questions."""
    loaded = engine.load_model(Weights(location=LLAMA))
    answers = engine.generate(loaded, QUESTIONS, Asking(max_new_tokens=32), STOP, 0)
    return [(a.task_id, a.position, a.text) for a in answers]


@pytest.fixture
def order(foreign, tmp_path):
    asked = tuple(
        ServedQuestion(task_id=q.task_id, whole=False, route="completions", body={"prompt": q.text})
        for q in QUESTIONS
    )
    return ServedOrder(
        server=Server(url=foreign.url, model=LLAMA, concurrency=2),
        questions=asked,
        asking=Asking(max_new_tokens=32),
        stop=STOP,
        seed=0,
        out=tmp_path / "served.jsonl",
    )


def answered(order):
    return [(a.task_id, a.position, a.text) for a in read_answers(order.out)]


def test_its_greedy_answers_are_those_of_our_own_engine(order, ours):
    ask_server(order)

    assert answered(order) == ours
    assert {a.finish for a in read_answers(order.out)} == {"stop"}


def test_it_answers_though_its_list_of_models_does_not_name_the_one_it_was_started_with(foreign):
    known, mistakes = introduced({"it": Server(url=foreign.url, model=LLAMA)})

    assert mistakes == []
    assert known["it"]["url"] == foreign.url


def test_an_asker_that_is_killed_asks_again_for_nothing_that_came(foreign, order, ours, tmp_path):
    given = tmp_path / "order"
    given.write_bytes(pickle.dumps(order))
    before = foreign.answered()
    asker = subprocess.Popen([sys.executable, "-c", ASKER, str(given)], cwd=ROOT)
    kept = order.out.with_suffix(".parts") / "answers.jsonl"
    wait_until(lambda: kept.exists() and len(kept.read_text().splitlines()) >= 6, 60)
    asker.kill()
    asker.wait()
    assert not order.out.exists()

    ask_server(order)

    assert answered(order) == ours
    again = foreign.answered() - before - len(QUESTIONS)
    assert 0 <= again <= order.server.concurrency


def test_a_server_that_is_killed_and_comes_back_answers_the_rest(foreign, order, ours):
    kept = order.out.with_suffix(".parts") / "answers.jsonl"
    killed = []

    def told(done, of):
        if done == 6 and not killed:
            foreign.kill()
            foreign.start()
            killed.append(len(kept.read_text().splitlines()))

    ask_server(order, told)

    assert killed == [6]
    assert answered(order) == ours


def test_what_it_does_not_take_ends_the_run_in_its_words(order):
    few = replace(order, asking=Asking(max_new_tokens=4, temperature=0.5, top_k=3))

    with pytest.raises(EngineError, match=r"status 422: .*top_k"):
        ask_server(few)
