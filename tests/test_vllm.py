"""How vLLM is started, waited for and asked; a script stands in for it, since it needs a GPU."""

import json
import os
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from jobs.answers import EngineError
from jobs.experiment import Asking
from jobs.generate import AskOrder
from jobs.parts import Part
from jobs.prompts import Question
from jobs.vllm import VllmActor, VllmServer, command, program, takes_adapter
from jobs.weights import Weights

ROOT = Path(__file__).parent.parent
FALCON = ROOT / "models" / "starter" / "falcon"
STAND_IN = """
import json, os, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
told = dict(zip(sys.argv, sys.argv[1:]))
print("loading", sys.argv[2], flush=True)
if os.environ.get("STAND_IN") == "fails":
    sys.exit("CUDA error: no device")
first = not os.path.exists(os.environ["STAND_IN_LOG"])
log = open(os.environ["STAND_IN_LOG"], "a")
log.write(json.dumps({"argv": sys.argv[1:], "pid": os.getpid()}) + "\\n"); log.flush()

class Handler(BaseHTTPRequestHandler):
    def log_message(self, *args): pass
    def do_GET(self): self.say({"version": "0.32.0"} if self.path == "/version" else {})
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.headers.get("Authorization") != "Bearer " + os.environ["VLLM_API_KEY"]:
            return self.say({"error": "no"}, 401)
        if os.environ.get("STAND_IN") == "dies" and first and body["prompt"] != "def f():":
            os._exit(1)
        log.write(json.dumps(body) + "\\n"); log.flush()
        choice = {"text": "answer to " + body["prompt"], "finish_reason": "stop", "stop_reason": 1}
        self.say({"choices": [choice], "usage": {"prompt_tokens": 3, "completion_tokens": 2}})
    def say(self, body, status=200):
        written = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(written)))
        self.end_headers()
        self.wfile.write(written)

ThreadingHTTPServer(("127.0.0.1", int(told["--port"])), Handler).serve_forever()
"""


@pytest.fixture
def vllm(tmp_path, monkeypatch):
    """A program called vllm, first on the path; returns what it was told, one line each."""
    folder = tmp_path / "bin"
    folder.mkdir()
    path = folder / "vllm"
    path.write_text(f"#!{sys.executable}\n{STAND_IN}")
    path.chmod(0o755)
    log = tmp_path / "told.jsonl"
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv("STAND_IN_LOG", str(log))
    monkeypatch.setenv("VLLM_API_KEY", "a key")
    monkeypatch.delenv("CODELADDER_VLLM", raising=False)
    return lambda: [json.loads(line) for line in log.read_text().splitlines()]


@pytest.fixture
def adapter(tmp_path):
    """A function that writes what takes_adapter and command read of an adapter."""

    def write(**says):
        folder = tmp_path / "adapter"
        folder.mkdir(exist_ok=True)
        (folder / "adapter_config.json").write_text(json.dumps({"r": 16, **says}))
        return Weights(location="org/base", revision="0" * 40, tuned=folder)

    return write


def test_a_base_of_the_hub_is_served_at_its_commit_from_safetensors_on_loopback():
    line = command("vllm", Weights(location="org/base", revision="0" * 40), "bf16", 8123)

    assert line == [
        *("vllm", "serve", "org/base", "--host", "127.0.0.1", "--port", "8123"),
        *("--served-model-name", "base", "--dtype", "bfloat16"),
        *("--load-format", "safetensors", "--seed", "0", "--generation-config", "vllm"),
        *("--revision", "0" * 40, "--tokenizer-revision", "0" * 40),
    ]


def test_what_a_full_training_left_is_read_with_the_tokenizer_of_its_base():
    base = Weights(location="org/base", revision="0" * 40)
    line = command("vllm", replace(base, tuned=Path("/runs/full"), kind="full"), "bf16", 8123)

    assert line[2] == "/runs/full"
    assert line[-4:] == ["--tokenizer", "org/base", "--tokenizer-revision", "0" * 40]


def test_an_adapter_is_served_beside_its_base_with_room_for_its_rank(adapter):
    weights = adapter(r=24)

    line = command("vllm", weights, "fp32", 8123)

    assert line[2] == "org/base"
    assert line[-5:] == [
        *("--enable-lora", "--max-lora-rank", "32"),
        *("--lora-modules", f"tuned={weights.tuned}"),
    ]
    assert "float32" in line


def test_an_adapter_that_vllm_cannot_take_is_known(adapter):
    assert takes_adapter(adapter(), "mistral")
    assert not takes_adapter(adapter(), "falcon")
    assert not takes_adapter(adapter(use_dora=True), "mistral")
    assert not takes_adapter(adapter(r=1024), "mistral")
    assert not takes_adapter(replace(adapter(), quantization="nf4"), "mistral")


def test_without_vllm_the_mistake_says_what_to_install(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("CODELADDER_VLLM", raising=False)

    with pytest.raises(EngineError, match=r"pip install vllm==0\.32\.0\) and set CODELADDER_VLLM"):
        program()


def test_the_variable_that_names_vllm_is_obeyed(vllm, monkeypatch, tmp_path):
    assert program() == str(tmp_path / "bin" / "vllm")
    monkeypatch.setenv("CODELADDER_VLLM", "/nowhere/vllm")

    with pytest.raises(EngineError, match="names /nowhere/vllm, which is no program"):
        program()


def started(tmp_path, patience=20.0):
    port = 20000 + os.getpid() % 20000
    line = command("vllm", Weights(location="org/base"), "bf16", port)
    return VllmServer(line, port, tmp_path / "vllm.log", patience)


def test_a_server_is_waited_for_and_ended(vllm, tmp_path):
    server = started(tmp_path)
    (told,) = vllm()
    assert server.version == "0.32.0"

    server.close()
    assert server.has_ended()

    assert told["argv"][:2] == ["serve", "org/base"]
    assert is_gone(told["pid"])


def test_a_server_that_ends_before_it_answers_is_an_error_with_its_last_lines(
    vllm, tmp_path, monkeypatch
):
    monkeypatch.setenv("STAND_IN", "fails")

    with pytest.raises(EngineError, match=r"status 1 before(?s:.)*loading org/base\nCUDA error"):
        started(tmp_path)


def test_a_server_that_does_not_answer_in_time_is_ended(vllm, tmp_path):
    hangs = tmp_path / "bin" / "vllm"
    hangs.write_text('#!/bin/sh\necho loading "$2"\nexec sleep 600\n')  # quicker than a Python
    began = time.monotonic()

    with pytest.raises(EngineError, match="did not answer within 1 s; its last lines"):
        started(tmp_path, patience=1.0)

    assert time.monotonic() - began < 10


def test_a_server_ends_with_the_worker_that_started_it(vllm, tmp_path):
    code = f"""
        import os, sys
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from pathlib import Path
        from test_vllm import started
        started(Path({str(tmp_path)!r}))
        os.kill(os.getpid(), 9)
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], cwd=ROOT, check=False)

    (told,) = vllm()
    assert is_gone(told["pid"])


def order_of(tmp_path, **changes):
    order = AskOrder(
        run_id="0123456789ab",
        benchmark="tiny",
        weights=Weights(location=str(FALCON)),
        questions=(),
        asking=Asking(completions=2, temperature=0.5, max_new_tokens=9, engine="vllm"),
        stop=("\n1", "\n2", "\n3", "\n4", "\n5"),
        seed=3,
        out=tmp_path / "completions" / "tiny.jsonl",
    )
    return replace(order, **changes)


PART = Part(
    name="a" * 12,
    questions=(
        Question("p0", "def f():", whole=False),
        Question("p1", "<s>ask", whole=True, templated=True, stop="<end>"),
    ),
)


def test_a_part_is_answered_by_vllm_in_the_order_of_its_questions(vllm, tmp_path):
    actor = VllmActor(order_of(tmp_path), Told(), 4)

    answered = actor.work(PART)
    actor.close()

    assert [(a.task_id, a.position, a.text, a.whole) for a in answered.answers] == [
        ("p0", 0, "answer to def f():", False),
        ("p0", 1, "answer to def f():", False),
        ("p1", 0, "answer to <s>ask", True),
        ("p1", 1, "answer to <s>ask", True),
    ]
    assert (answered.cost.prompt_tokens, answered.cost.tokens) == (2 * 3, 4 * 2)


def test_vllm_is_told_all_that_it_would_take_from_the_model_itself(vllm, tmp_path):
    actor = VllmActor(order_of(tmp_path), Told(), 4)

    actor.work(PART)
    actor.close()

    _, *bodies = vllm()
    assert {body["model"] for body in bodies} == {"base"}
    assert {body["top_k"] for body in bodies} == {-1}
    assert {body["repetition_penalty"] for body in bodies} == {1.0}
    assert {body["min_p"] for body in bodies} == {0.0}
    assert {tuple(body["stop"]) for body in bodies} == {
        ("\n1", "\n2", "\n3", "\n4", "\n5", "<end>")
    }
    special = {body["prompt"]: body["add_special_tokens"] for body in bodies}
    assert special == {"def f():": True, "<s>ask": False}
    assert len({body["seed"] for body in bodies}) == 4
    ends = json.loads((FALCON / "generation_config.json").read_text())["eos_token_id"]
    assert {tuple(body["stop_token_ids"]) for body in bodies} == {(ends,)}


def test_a_prompt_is_asked_for_as_much_as_the_model_has_room_for(vllm, tmp_path):
    positions = json.loads((FALCON / "config.json").read_text())["max_position_embeddings"]
    tokenizer = AutoTokenizer.from_pretrained(FALCON)
    full = tokenizer.decode([tokenizer("x", add_special_tokens=False)["input_ids"][0]]) * positions
    number = len(tokenizer(full)["input_ids"])
    assert number >= positions, "the tokenizer merges them"
    near = tokenizer.decode(tokenizer(full)["input_ids"][: positions - 4])
    left = positions - len(tokenizer(near)["input_ids"])
    assert 0 < left < 9
    asked = tuple(
        Question(name, text, whole=False)
        for name, text in [("near", near), ("full", full), ("short", "x")]
    )
    asking = Asking(max_new_tokens=9, engine="vllm")
    actor = VllmActor(order_of(tmp_path, asking=asking), Told(), 3)

    answers = actor.work(Part(name="b" * 12, questions=asked)).answers
    actor.close()

    _, *bodies = vllm()
    assert {(body["prompt"], body["max_tokens"]) for body in bodies} == {(near, left), ("x", 9)}
    silent = {a.task_id: (a.text, a.tokens, a.finish) for a in answers}["full"]
    assert silent == ("", 0, "length")


def test_a_vllm_that_ends_while_it_is_asked_is_started_once_more(vllm, tmp_path, monkeypatch):
    monkeypatch.setenv("STAND_IN", "dies")
    actor = VllmActor(order_of(tmp_path), Told(), 4)

    answered = actor.work(PART)
    actor.close()

    assert len(answered.answers) == 4
    starts = [told["argv"] for told in vllm() if "argv" in told]
    assert len(starts) == 2


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated")  # in peft
def test_an_adapter_that_vllm_cannot_take_is_merged_and_served_as_whole_weights(vllm, tmp_path):
    from peft import LoraConfig, get_peft_model
    from safetensors import safe_open
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(FALCON)
    config = LoraConfig(target_modules="all-linear", init_lora_weights=False)
    get_peft_model(base, config).save_pretrained(tmp_path / "tuned")
    weights = Weights(location=str(FALCON), tuned=tmp_path / "tuned")
    actor = VllmActor(order_of(tmp_path, weights=weights), Told(), 4)

    actor.work(PART)
    served, *bodies = vllm()
    actor.close()

    assert "--enable-lora" not in served["argv"]
    assert {body["model"] for body in bodies} == {"base"}
    folder = Path(served["argv"][1])
    assert (folder / "tokenizer.json").is_file()
    with safe_open(folder / "model.safetensors", "pt") as merged:
        names = set(merged.keys())
    with safe_open(FALCON / "model.safetensors", "pt") as plain:
        assert names == set(plain.keys())


class Told(list):
    put = list.append


def is_gone(pid):
    deadline = time.monotonic() + 10
    while Path("/proc", str(pid)).exists() and not is_zombie(pid):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def is_zombie(pid):
    try:
        return ") Z" in Path("/proc", str(pid), "stat").read_text()
    except OSError:
        return True
