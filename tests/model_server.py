"""The model server in a thread of a test, and models for it made from the starter ones."""

import contextlib
import socket
import threading
import time
from pathlib import Path

import torch
import uvicorn
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM
from transformers.utils import logging

from jobs.desk import Desk
from jobs.serve import make_app
from jobs.shelf import Servable
from jobs.weights import Weights

STARTER = Path(__file__).parent.parent / "models" / "starter"
PATIENCE = 20


@contextlib.contextmanager
def served(home, ledger, answerer, *, token="", local=True, most=8, judge_desk=None):
    """The address of a server on a free port."""
    desk = Desk(answerer, most=most)
    app = make_app(home, ledger, desk, token=token, local=local, judge_desk=judge_desk)
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    wait_until(lambda: server.started)
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(PATIENCE)
        listening.close()


def wait_until(true, seconds=PATIENCE):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if true():
            return
        time.sleep(0.02)
    raise AssertionError(f"not within {seconds} s")


def adapter(folder, seed, base="falcon", **settings):
    """An adapter of a starter model with random weights in both of its halves."""
    logging.disable_progress_bar()
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_pretrained(STARTER / base, dtype=torch.float32)
    wanted = {"r": 4, "lora_alpha": 8, "target_modules": "all-linear"} | settings
    tuned = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **wanted))
    for name, weight in tuned.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.3)
    tuned.save_pretrained(folder)
    return folder


def servable(name, base="falcon", tuned=None, form="alpaca"):
    """A model as the ledger would name it."""
    weights = Weights(location=str(STARTER / base), tuned=tuned)
    return Servable(id=name, label=name, base=None, created=0, weights=weights, form=form)
