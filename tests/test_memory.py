"""Estimates of memory against what torch holds: every tensor that a training makes is counted."""

import subprocess
import sys
import weakref
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from small_decoders import configured, transformers_config
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import AutoModelForCausalLM

from jobs.fit import memory
from jobs.fit.activations import LIKE_LLAMA
from jobs.fit.memory import GIB, MASTER, training_memory
from jobs.fit.shapes import shape_from, usual_shape
from jobs.methods import DoRA, Full, LoRA, QLoRA
from jobs.training import loss, models, optimizers, packing, zero
from jobs.training.arithmetic import bf16_pays
from jobs.training.quick_blocks import ALIKE
from jobs.training.rows import Row
from jobs.training.settings import ALONE, Spread
from jobs.training.trainee import Trainee

ROOT = Path(__file__).parent.parent
ROWS, LENGTH = 4, 64
WITHIN = 0.05
"""Of what is kept and of the peak; with checkpointing, the peak has three times as much."""


@pytest.fixture(autouse=True)
def processor_with_bf16(monkeypatch):
    """Whatever this one is, bf16 weights shall stay what they are."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": True})
    bf16_pays.cache_clear()
    yield
    bf16_pays.cache_clear()


class Alive(TorchDispatchMode):
    """Counts the bytes of storages that torch's operators make, for as long as they live."""

    def __init__(self, known):
        super().__init__()
        self._known = {tensor.untyped_storage()._cdata for tensor in known}
        self._sizes = {}
        self.now = self.peak = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, torch.Tensor):
                self._add(tensor.untyped_storage())
        return out

    def _add(self, storage):
        key = storage._cdata
        if key not in self._known and key not in self._sizes:
            self._sizes[key] = storage.nbytes()
            self.now += storage.nbytes()
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._gone, key)

    def _gone(self, key):
        self.now -= self._sizes.pop(key)


class Measured:
    """A training's step of two micro batches, full of response tokens, measured on a CPU."""

    def __init__(self, config, method, rows=ROWS, length=LENGTH, device="cpu"):
        self.settings = method.settings()
        self.shape = shape_from(config)
        self.tokens = rows * length
        self.device = torch.device(device)
        trained = self.settings.adapter is None
        halved = not trained and self.settings.precision == "bf16"
        base = AutoModelForCausalLM.from_config(
            transformers_config(config), dtype=torch.bfloat16 if halved else torch.float32
        ).to(self.device)
        self.trainee = Trainee(models.tuned(base, self.settings, 0), self.settings).train()
        self.trainee.to(self.device)
        self.optimizer = optimizers.adamw(self.trainee.model, self.settings)
        optimizers.set_rate(self.optimizer, 1e-3)
        self.cast = trained and self.settings.precision == "bf16"
        tokens = np.arange(3, 3 + length, dtype=np.int32)
        self.batch = packing.make(
            packing.Pack(rows=(Row(tokens=tokens, prompt_length=1),) * rows),
            self.settings,
            self.device,
        )

    def loss(self):
        b = self.batch
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.cast):
            return self.trainee(b.tokens, b.targets, b.positions, b.starts, b.longest, b.places)

    def step(self):
        self.optimizer.step()
        self.optimizer.zero_grad()

    @property
    def weights(self):
        return sum(p.numel() * p.element_size() for p in self.trainee.parameters())

    @property
    def gradients(self):
        return sum(p.grad.nbytes for p in self.trainee.parameters() if p.grad is not None)

    @property
    def moments(self):
        states = self.optimizer.state.values()
        return sum(v.nbytes for state in states for v in state.values() if v.ndim)

    def known(self):
        b = self.batch
        told = [b.tokens, b.targets, b.positions, b.starts, b.places]
        tensors = [one for one in told if one is not None]
        return [*self.trainee.parameters(), *self.trainee.buffers(), *tensors]

    def run(self):
        """Bytes kept between forward and backward pass, and at the height of a step."""
        alive = Alive(self.known())
        with alive:
            self.loss().backward()
            self.step()
            self.loss().backward()
            before = alive.now
            alive.peak = alive.now
            loss = self.loss()
            kept = alive.now - before
            loss.backward()
        return kept, alive.peak + self.weights

    def estimate(self):
        needed = training_memory(self.shape, self.settings, ALONE, gpu=True)
        return replace(needed, overhead=0)  # nothing here is a GPU's


def method(kind, **fields):
    common = {"steps": 1, "micro_batch_tokens": ROWS * LENGTH, "max_length": LENGTH}
    return kind(kind=kind.__name__.lower(), **(common | fields))


def test_shapes_and_memory_need_the_standard_library_only():
    code = """
import sys
before = set(sys.modules)
import jobs.fit.memory
loaded = {name.partition(".")[0] for name in set(sys.modules) - before}
print(*sorted(loaded - sys.stdlib_module_names - {"jobs"}))
"""
    command = [sys.executable, "-S", "-c", code]
    asked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)

    assert asked.stdout.split() == []


CASES = {
    "lora": ("llama", LoRA, {}),
    "lora in fp32": ("mistral", LoRA, {"precision": "fp32"}),
    "lora of a falcon": ("falcon", LoRA, {}),
    "lora of some layers": ("llama", LoRA, {"targets": ("q_proj", "v_proj")}),
    "lora with dropout": ("mistral", LoRA, {"dropout": 0.1}),
    "lora of a qwen3": ("qwen3", LoRA, {}),
    "dora": ("llama", DoRA, {}),
    "dora in fp32": ("falcon", DoRA, {"precision": "fp32"}),
    "full": ("mistral", Full, {}),
    "lora without packing": ("llama", LoRA, {"packing": False}),
    "full in fp32": ("llama", Full, {"precision": "fp32"}),
    "full of a falcon": ("falcon", Full, {}),
}


@pytest.mark.parametrize("name, kind, fields", CASES.values(), ids=CASES)
def test_what_a_training_holds_at_its_height_is_estimated(name, kind, fields):
    measured = Measured(configured(name), method(kind, **fields))
    kept, peak = measured.run()
    estimate = measured.estimate()

    log_softmax = 4 * measured.tokens * measured.shape.vocabulary
    copies = estimate.weights - measured.weights
    assert estimate.gradients == measured.gradients
    assert estimate.optimizer == measured.moments
    assert estimate.activations + copies + log_softmax == pytest.approx(kept, rel=WITHIN)
    assert estimate.total == pytest.approx(peak, rel=WITHIN)


@pytest.mark.parametrize("name, kind", [("llama", LoRA), ("falcon", LoRA), ("mistral", Full)])
def test_the_height_of_a_step_with_checkpointing_is_estimated(name, kind):
    deep = configured(name, num_hidden_layers=6)
    measured = Measured(deep, method(kind, activation_checkpointing=True))
    _, peak = measured.run()

    assert measured.estimate().total == pytest.approx(peak, rel=3 * WITHIN)


@pytest.mark.parametrize("kind, fields", [(LoRA, {}), (DoRA, {}), (Full, {})])
@pytest.mark.parametrize("name", ["llama", "mistral", "falcon"])
def test_weights_are_counted_to_the_byte(name, kind, fields):
    measured = Measured(configured(name), method(kind, precision="fp32", **fields))

    assert measured.estimate().weights == measured.weights


@pytest.mark.slow
@pytest.mark.parametrize("name", ["llama", "mistral", "falcon"])
def test_a_block_as_wide_as_one_of_7b_keeps_what_is_estimated(name):
    wide = {"hidden_size": 4096, "num_attention_heads": 32, "num_hidden_layers": 1}
    if name != "falcon":
        wide["intermediate_size"] = 11008 if name == "llama" else 14336
    few = method(LoRA, micro_batch_tokens=128, max_length=32)
    measured = Measured(configured(name, **wide, vocab_size=128), few, 4, 32)
    kept, _ = measured.run()
    estimate = measured.estimate()

    log_softmax = 4 * measured.tokens * measured.shape.vocabulary
    copies = estimate.weights - measured.weights
    assert estimate.activations + copies + log_softmax == pytest.approx(kept, rel=WITHIN)


@pytest.mark.gpu
@pytest.mark.parametrize("name, kind, fields", CASES.values(), ids=CASES)
def test_a_gpu_reports_what_was_estimated(name, kind, fields):
    if not torch.cuda.is_available():
        pytest.skip("no GPU here")
    wide = {"hidden_size": 2048, "num_attention_heads": 16, "num_hidden_layers": 4}
    if name != "falcon":
        wide["intermediate_size"] = 5504
    fields = fields | {"micro_batch_tokens": 4096, "max_length": 1024}
    measured = Measured(configured(name, **wide), method(kind, **fields), 4, 1024, "cuda")
    for _ in range(2):
        measured.loss().backward()
        measured.loss().backward()
        measured.step()

    estimate = training_memory(measured.shape, measured.settings, ALONE, gpu=True)
    real = torch.cuda.max_memory_allocated()
    assert estimate.total - estimate.overhead == pytest.approx(real, rel=0.15)


def test_what_the_training_is_told_is_what_is_estimated():
    assert LIKE_LLAMA - {""} == {name.lower() for name in ALIKE}
    assert memory.LOGITS_AT_ONCE == loss.LOGITS_AT_ONCE
    told = zero.declared(method(LoRA).settings(), Spread(strategy="zero2", ranks=2))
    assert told["zero_optimization"]["reduce_bucket_size"] == memory.BUCKET


def seven_billion(kind, **fields):
    return usual_shape(7e9), method(kind, **fields).settings()


def test_qlora_holds_a_third_of_what_lora_holds_of_the_base():
    shape, lora = seven_billion(LoRA)
    qlora = method(QLoRA).settings()

    held = [training_memory(shape, s, ALONE, gpu=True).weights for s in (lora, qlora)]
    assert 0.25 < held[1] / held[0] < 0.4


def test_zero_takes_a_stage_at_a_time_off_each_worker():
    shape, full = seven_billion(Full)
    needs = [
        training_memory(shape, full, Spread(strategy=strategy, ranks=8), gpu=True)
        for strategy in ("ddp", "zero1", "zero2", "zero3")
    ]

    ddp, zero1, zero2, zero3 = needs
    assert zero1.optimizer * 8 == pytest.approx(ddp.optimizer, rel=0.01)
    assert zero2.gradients < zero1.gradients
    assert zero3.weights < zero2.weights / 2
    assert [n.total for n in needs] == sorted((n.total for n in needs), reverse=True)


def test_what_is_offloaded_is_in_the_memory_of_the_host():
    shape, full = seven_billion(Full)
    plain, optimizer, parameters = (
        training_memory(shape, full, Spread(strategy="zero3", ranks=8, offload=offload), gpu=True)
        for offload in ("none", "optimizer", "parameters")
    )

    assert plain.host == 0
    assert optimizer.optimizer == 0 and optimizer.host == pytest.approx(
        2 * plain.optimizer, rel=0.01
    )
    assert parameters.total < optimizer.total < plain.total
    assert parameters.host - optimizer.host == pytest.approx(MASTER * 7e9 / 8, rel=0.01)


def test_activations_follow_the_tokens_of_a_micro_batch():
    shape, few = seven_billion(LoRA, micro_batch_tokens=1024, max_length=512)
    many = method(LoRA, micro_batch_tokens=4096, max_length=512).settings()
    capped = method(LoRA, micro_batch_tokens=4096, max_length=512, batch_size=2).settings()

    kept = [training_memory(shape, s, ALONE, gpu=True).activations for s in (few, many, capped)]
    assert kept == [kept[0], 4 * kept[0], kept[0]]


def test_processors_are_taken_to_hold_weights_in_float32():
    shape, lora = seven_billion(LoRA)

    on = [training_memory(shape, lora, ALONE, gpu=gpu).weights for gpu in (True, False)]
    assert on[1] / on[0] == pytest.approx(2, rel=0.02)


def test_a_7b_model_needs_what_is_known_of_full_training_in_float32():
    shape, full = seven_billion(Full)
    needed = training_memory(shape, full, ALONE, gpu=True)

    # 16 bytes a parameter: weight, gradient, two moments (arXiv:1910.02054, section 3.1)
    lasting = needed.gradients + needed.optimizer + 4 * shape.parameters
    assert lasting / GIB == pytest.approx(16 * 7e9 / GIB, rel=0.001)
