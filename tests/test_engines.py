"""Engines on two real workers: what was asked for is there, exact, and goes on where it was."""

import json
import os
import re
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
from free_ports import free_port
from safetensors.torch import load_file
from torch.nn.functional import cross_entropy
from two_ranks import METHODS, RATE, STEPS, VOCABULARY, Case, adapter, forget, rows, settings

from jobs.training import engines, models, optimizers
from jobs.training.arithmetic import bf16_pays
from jobs.training.settings import ALONE, Spread
from jobs.training.trainee import Trainee

ROOT = Path(__file__).parents[1]
QUICK = {
    "ddp lora": ("ddp", "lora", "none"),
    "zero2 full": ("zero2", "full", "none"),
    "zero3 lora": ("zero3", "lora", "none"),
}
REST = {
    "ddp full": ("ddp", "full", "none"),
    "zero1 lora": ("zero1", "lora", "none"),
    "zero1 full": ("zero1", "full", "none"),
    "zero2 lora": ("zero2", "lora", "none"),
    "zero3 full": ("zero3", "full", "none"),
    "zero3 dora": ("zero3", "dora", "none"),
    "zero3 checkpointed full": ("zero3", "checkpointed full", "none"),
    "zero1 full, optimizer offloaded": ("zero1", "full", "optimizer"),
    "zero2 lora, optimizer offloaded": ("zero2", "lora", "optimizer"),
    "zero3 lora, weights offloaded": ("zero3", "lora", "parameters"),
    "zero3 full, weights offloaded": ("zero3", "full", "parameters"),
}
QUANTIZED = {
    "ddp qlora": ("ddp", "qlora", "none"),
    "zero2 qlora": ("zero2", "qlora", "none"),
    "zero3 qlora": ("zero3", "qlora", "none"),
}
CASES = [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in REST)]
ALL = QUICK | REST


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A Llama of one layer whose larger matrices ZeRO-3 does not think too small to spread."""
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("base")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=64,
        intermediate_size=4096,  # 4 bits of them too
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=True,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return str(folder)


class Pairs:
    """What two workers found, each group of cases run once."""

    def __init__(self, base, folder):
        self._base, self._folder, self._found = base, folder, {}

    def of(self, name):
        """What rank 0 and rank 1 say of a case, and the weights that rank 0 has."""
        for cases in (QUICK, REST, QUANTIZED):
            if name in cases and name not in self._found:
                self._found |= self._run(cases)
        return self._found[name]

    def _run(self, cases):
        return run_pair(self._base, cases, self._folder.mktemp("pair"))


def run_pair(base, cases, folder, **more):
    """What rank 0 and rank 1 say of each case, and the weights that rank 0 has."""
    order = folder / "order.json"
    named = [(name, *case) for name, case in cases.items()]
    order.write_text(json.dumps({"base": base, "cases": named} | more))
    workers = [start(order, rank, port) for port in [free_port()] for rank in (0, 1)]
    try:
        for worker in workers:
            said = worker.communicate(timeout=600)[0]
            assert worker.returncode == 0, said[-3000:]
    finally:
        for worker in workers:
            worker.kill()
    ranks = [json.loads((folder / f"rank-{rank}.json").read_text()) for rank in (0, 1)]
    weights = load_file(folder / "rank-0.safetensors")
    assert not load_file(folder / "rank-1.safetensors")
    return {name: (*(rank[name] for rank in ranks), under(f"{name}/", weights)) for name in cases}


def under(prefix, weights):
    return {n.removeprefix(prefix): one for n, one in weights.items() if n.startswith(prefix)}


def filed(name):
    """The name in a file of peft's of one of its parameters."""
    return name.replace(".default", "").replace("magnitude_vector.weight", "magnitude_vector")


def start(order, rank, port, **more):
    """A worker as torchrun starts it."""
    told = {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(ROOT),
    }
    return subprocess.Popen(
        [sys.executable, str(ROOT / "tests" / "two_ranks.py"), str(order)],
        env=os.environ | told | more,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.fixture(scope="module")
def pairs(base, tmp_path_factory):
    return Pairs(base, tmp_path_factory)


@pytest.fixture(scope="module")
def plain(base):
    """Losses, gradient norms and final weights of plain torch, each row by itself, by method."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    def train(method):
        model = AutoModelForCausalLM.from_pretrained(base)
        if method != "full":
            config = LoraConfig(
                r=4, lora_alpha=8, target_modules="all-linear", use_dora=method == "dora"
            )
            torch.manual_seed(0)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)
                model = get_peft_model(model, config)
        named = {name: one for name, one in model.named_parameters() if one.requires_grad}
        faster = [one for name, one in named.items() if "lora_B" in name]
        short = [one for one in named.values() if one.ndim == 1]
        others = [one for n, one in named.items() if "lora_B" not in n and one.ndim > 1]
        optimizer = torch.optim.AdamW(
            [
                {"params": faster, "lr": 4 * RATE, "weight_decay": 0.1},
                {"params": short, "lr": RATE, "weight_decay": 0.0},
                {"params": others, "lr": RATE, "weight_decay": 0.1},
            ],
            foreach=False,
        )
        found = []
        for step in STEPS:
            batch = [rows()[row] for packs in step for pack in packs for row in pack]
            total = sum(len(row.tokens) - row.prompt_length for row in batch)
            losses = []
            for row in batch:
                tokens = torch.from_numpy(row.tokens).long()
                logits = model(input_ids=tokens[None]).logits[0]
                answer = slice(row.prompt_length, None)
                before = slice(row.prompt_length - 1, -1)
                part = cross_entropy(logits[before], tokens[answer], reduction="sum") / total
                part.backward()
                losses.append(part.item())
            norm = torch.nn.utils.clip_grad_norm_(list(named.values()), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            found.append((sum(losses), norm.item()))
        return found, {filed(name): one.detach() for name, one in named.items()}

    known = {}

    def of(method):
        method = method.rpartition(" ")[2]
        if method not in known:
            known[method] = train(method)
        return known[method]

    return of


@pytest.fixture
def forgetful():
    """A process that Accelerate thinks new, before and after."""
    forget()
    yield
    forget()


def expect_plain(found, weights, plain):
    steps, final = plain
    assert [loss for loss, _ in found] == pytest.approx([loss for loss, _ in steps], abs=1e-5)
    assert [norm for _, norm in found] == pytest.approx([norm for _, norm in steps], rel=1e-4)
    assert weights.keys() == final.keys()
    for name, tensor in final.items():
        # An element whose gradient is rounding error may be moved either way, by the rate.
        assert (weights[name] - tensor).abs().mean() < 1e-5, name


@pytest.mark.parametrize("name", CASES)
def test_the_engine_and_the_stage_are_those_that_were_asked_for(name, pairs):
    strategy = ALL[name][0]

    for rank in pairs.of(name)[:2]:
        if strategy == "ddp":
            assert (rank["engine"], rank["stage"]) == ("DistributedDataParallel", None)
        else:
            assert (rank["engine"], rank["stage"]) == ("DeepSpeedEngine", int(strategy[-1]))
        assert rank["sharded"] == strategy.startswith("zero")


@pytest.mark.parametrize("name", CASES)
def test_two_workers_learn_what_plain_torch_learns_from_each_row_by_itself(name, pairs, plain):
    first, second, weights = pairs.of(name)

    expect_plain(first["steps"], weights, plain(ALL[name][1]))
    assert first["steps"] == second["steps"]


@pytest.mark.parametrize("name", CASES)
def test_a_resumed_engine_goes_on_bit_for_bit(name, pairs):
    first, second, _ = pairs.of(name)

    assert first["resumed"] == first["steps"][2:]
    assert second["resumed"] == second["steps"][2:]
    assert first["same bits"]


@pytest.mark.parametrize("name", CASES)
def test_zero_spreads_the_optimizer_and_stage_3_the_weights_frozen_ones_too(name, pairs):
    strategy = ALL[name][0]
    first, second, weights = pairs.of(name)
    trained = sum(one.numel() for one in weights.values())

    kept = first["state"] + second["state"]
    if strategy.startswith("zero"):  # two moments of every number, once in all
        assert 2 * trained <= kept < 2.02 * trained
    else:
        assert kept >= 4 * trained
    mine, everything = first["held"]
    if strategy == "zero3":  # small tensors stay whole
        assert mine < 0.6 * everything
    else:
        assert mine == everything


SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "intermediate_size": 4096,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
BOTH = {"lora": ("zero3", "lora", "none"), "full": ("zero3", "full", "none")}


def expect_alone(base, found):
    """Two workers under ZeRO-3 lose what one worker loses, which is held against plain torch."""
    for method, (first, second, _) in found.items():
        alone, _ = Case(base, method, ALONE).run(0)
        assert [loss for loss, _ in first["steps"]] == pytest.approx(
            [loss for loss, _ in alone["steps"]], abs=1e-5
        )
        assert first["steps"] == second["steps"]


@pytest.mark.slow
def test_workers_whose_losses_have_unlike_numbers_of_parts_stay_in_step(tmp_path, forgetful):
    """Each call of an output layer that is spread is a collective."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    wide = 2048  # with 64 channels, more than ZeRO-3 leaves whole
    config = LlamaConfig(**SIZES | {"vocab_size": wide, "intermediate_size": 128})
    LlamaForCausalLM(config).save_pretrained(tmp_path)

    found = run_pair(str(tmp_path), BOTH, tmp_path, logits_at_once=4 * wide)

    expect_alone(str(tmp_path), found)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["Starcoder2", "Qwen3"])
def test_families_whose_packing_zero_3_leaves_unproven_learn_what_one_worker_learns(
    family, tmp_path, forgetful
):
    import transformers

    torch.manual_seed(0)
    own = {"head_dim": 16} if family == "Qwen3" else {}
    config = getattr(transformers, f"{family}Config")(**SIZES | own)
    getattr(transformers, f"{family}ForCausalLM")(config).save_pretrained(tmp_path)

    expect_alone(str(tmp_path), run_pair(str(tmp_path), BOTH, tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize("name", QUANTIZED)
def test_a_quantized_base_trains_on_two_workers_and_goes_on_bit_for_bit(name, pairs):
    pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed")
    first, second, _ = pairs.of(name)

    alike = pairs.of("ddp qlora")[0]["steps"]
    assert [loss for loss, _ in first["steps"]] == pytest.approx([s for s, _ in alike], abs=1e-4)
    assert "torch.uint8" in first["frozen"]
    assert first["resumed"] == first["steps"][2:]
    assert second["resumed"] == second["steps"][2:]
    assert first["same bits"]
    if name.startswith("zero3"):
        assert first["held"][0] < 0.75 * first["held"][1]


@pytest.mark.slow
def test_what_accelerate_leaves_out_without_a_word_stops_the_training(base, tmp_path):
    order = tmp_path / "order.json"
    order.write_text(json.dumps({"base": base, "cases": [("zero2", *QUICK["zero2 full"])]}))
    port = free_port()

    workers = [start(order, rank, port, ACCELERATE_USE_CPU="true") for rank in (0, 1)]
    said = [worker.communicate(timeout=600)[0] for worker in workers]

    found = "asked for zero2 on 2 workers, but Accelerate prepared DistributedDataParallel"
    assert all(found in each for each in said)


@pytest.mark.parametrize("method", ["lora", "full"])
def test_one_worker_learns_what_plain_torch_learns_and_goes_on_bit_for_bit(
    method, base, plain, forgetful, monkeypatch
):
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE"):  # as a gang of one has
        monkeypatch.setenv(name, "1" if name == "WORLD_SIZE" else "0")

    found, weights = Case(base, method, ALONE).run(0)

    assert found["engine"] == "Trainee"
    expect_plain(found["steps"], weights, plain(method))
    assert found["resumed"] == found["steps"][2:]
    assert found["same bits"]


def test_a_worker_that_is_alone_is_not_taken_for_two(base, forgetful):
    case = Case(base, "lora", Spread(strategy="ddp", ranks=2))

    with pytest.raises(engines.StrategyError, match="asked for ddp on 2 workers"):
        case.prepare()


def test_the_state_of_another_training_is_refused(base, forgetful):
    engine, _ = Case(base, "lora", ALONE).prepare()
    Case(base, "lora", ALONE).step(engine, 0, 0)
    state = engine.state()
    name = next(iter(state)).rpartition(".")[0]

    with pytest.raises(optimizers.StateError, match="of other weights, such as part-0"):
        engine.load(state | {"part-0.step": torch.ones(())})
    with pytest.raises(optimizers.StateError, match="and would be"):
        engine.load(state | {f"{name}.exp_avg": torch.ones(3)})


def test_no_weight_decays_that_is_no_matrix_and_b_learns_faster_than_a(base):
    chosen = settings(adapter(dora=True, lora_plus=16.0), weight_decay=0.5)
    model = models.tuned(models.load_base(base, None, chosen), chosen, seed=0)
    optimizer = optimizers.adamw(model, chosen)
    optimizers.set_rate(optimizer, 1e-3)
    names = {one: name for name, one in models.trained(model)}

    found = {
        re.search("lora_[A-Za-z_]+", names[one]).group(): (group["lr"], group["weight_decay"])
        for group in optimizer.param_groups
        for one in group["params"]
    }

    assert found == {
        "lora_A": (1e-3, 0.5),
        "lora_B": (16e-3, 0.5),
        "lora_magnitude_vector": (1e-3, 0.0),
    }


@pytest.mark.parametrize("method", ["lora", "full"])
def test_what_is_trained_is_float32_while_the_arithmetic_is_bfloat16_where_that_pays(
    method, base, forgetful
):
    chosen = settings(METHODS[method].adapter, precision="bf16")
    model = models.tuned(models.load_base(base, None, chosen), chosen, seed=0)
    engine = engines.prepare(Trainee(model, chosen), chosen, ALONE)
    seen = []
    layer = model.get_submodule(
        "base_model.model.model.layers.0.mlp" if method == "lora" else "model.layers.0.mlp"
    )
    layer.register_forward_hook(lambda _, __, out: seen.append(out.dtype))

    Case(base, method, ALONE).step(engine, 0, 0)

    assert seen and set(seen) == {torch.bfloat16 if bf16_pays() else torch.float32}
    assert {one.dtype for one in engine.weights().values()} == {torch.float32}
    assert {one.dtype for _, one in models.trained(model)} == {torch.float32}
