"""What a plan says of memory, what `auto` chooses, and what is refused before anything starts."""

import io
import stat
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from cluster.gpus import Hardware, Node, of_this_machine, together
from jobs.__main__ import main
from jobs.declared import UserError
from jobs.fit.memory import GIB, training_memory
from jobs.fit.shapes import usual_shape
from jobs.fit.spreading import decide, lacks, refuse
from jobs.hub.cache import place
from jobs.loading import load
from jobs.methods import LoRA
from jobs.plan import need, show_plan
from jobs.training.settings import ALONE, Spread

ROOT = Path(__file__).parent.parent
REVISION = "a" * 40
NODE = Hardware(gpus=8, gpus_per_node=8, gpu_gib=80.0, cpus=64, host_gib=1000.0)
ONE = replace(NODE, gpus=1, gpus_per_node=1)
NO_GPU = Hardware(gpus=0, gpus_per_node=0, gpu_gib=None, cpus=2, host_gib=23.0)


@pytest.fixture
def experiment(tmp_path):
    """Write an experiment of one model of the hub; returns its path."""

    def write(method=None, parallelism=None, parameters=7, **keys):
        model = {
            "hub": "some/model",
            "revision": REVISION,
            "parameters": parameters,
            "parallelism": parallelism or {"strategy": "auto"},
        }
        content = {
            "models": {"big": model},
            "datasets": ["smoke"],
            "methods": {"tuned": {"kind": "lora", "steps": 10, "max_length": 512} | (method or {})},
            "benchmarks": {"starter": {"problems": 4}},
            "baseline": False,
        }
        path = tmp_path / "mine.yaml"
        path.write_text(yaml.safe_dump(content | keys))
        return path

    return write


@pytest.fixture
def training(experiment):
    def only(**fields):
        (run,) = load(experiment(**fields), need_files=False).runs()
        return run

    return only


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Give this machine GPUs of so many MiB, as far as nvidia-smi tells."""

    def with_gpus(*mib):
        folder = tmp_path / "bin"
        folder.mkdir()
        tool = folder / "nvidia-smi"
        tool.write_text("#!/bin/sh\n" + "".join(f"echo {size}\n" for size in mib))
        tool.chmod(tool.stat().st_mode | stat.S_IEXEC)
        monkeypatch.setenv("PATH", str(folder), prepend=":")

    return with_gpus


def said_of(path):
    said = io.StringIO()
    show_plan(path, Console(width=200, file=said))
    return said.getvalue()


SPREADS = {
    "one GPU": ({}, ONE, 1, ("single", 1, "none")),
    "copies, where one GPU is enough": ({}, NODE, 1, ("ddp", 8, "none")),
    "one GPU each, where there are trainings for all": ({}, NODE, 8, ("single", 1, "none")),
    "no more workers than allowed": (
        {"parallelism": {"strategy": "auto", "workers": 2}},
        NODE,
        1,
        ("ddp", 2, "none"),
    ),
    "no more workers than rows in a step": (
        {"method": {"batch_size": 4}},
        NODE,
        1,
        ("ddp", 4, "none"),
    ),
    "parts of the optimizer, where copies do not fit": (
        {"method": {"kind": "full", "activation_checkpointing": True}, "parameters": 5},
        NODE,
        1,
        ("zero1", 8, "none"),
    ),
    "parts of the weights": (
        {"method": {"kind": "full", "activation_checkpointing": True}, "parameters": 13},
        NODE,
        1,
        ("zero3", 8, "none"),
    ),
    "the optimizer in the host's memory": (
        {"method": {"kind": "full", "activation_checkpointing": True}, "parameters": 7},
        replace(NODE, gpu_gib=24.0),
        1,
        ("zero3", 8, "optimizer"),
    ),
    "a processor": ({"parameters": 0.002}, NO_GPU, 1, ("single", 1, "none")),
    "what the experiment says": (
        {"parallelism": {"strategy": "zero2", "workers": 3}},
        NODE,
        1,
        ("zero2", 3, "none"),
    ),
    "copies, where nobody knows the memory": (
        {"parameters": 70},
        replace(NODE, gpu_gib=None),
        1,
        ("ddp", 8, "none"),
    ),
}


@pytest.mark.parametrize("fields, hardware, trainings, chosen", SPREADS.values(), ids=SPREADS)
def test_auto_chooses(training, fields, hardware, trainings, chosen):
    spread = decide(training(**fields), hardware, trainings)

    assert (spread.strategy, spread.workers, spread.offload) == chosen


def test_auto_takes_the_first_that_fits_as_memory_shrinks(training):
    run = training(method={"kind": "full", "activation_checkpointing": True}, parameters=7)
    order = ["ddp", "zero1", "zero2", "zero3", "zero3 optimizer", "zero3 parameters"]

    chosen = []
    for gib in range(160, 8, -1):
        spread = decide(run, replace(NODE, gpu_gib=float(gib)))
        offload = "" if spread.offload == "none" else f" {spread.offload}"
        chosen.append(f"{spread.strategy}{offload}")
    assert list(dict.fromkeys(chosen)) == [name for name in order if name in chosen]
    assert chosen[0] == "ddp" and chosen[-1] == "zero3 parameters"


def test_weights_of_4_bits_are_cut_into_parts_where_each_gpu_has_room_for_all_of_them(training):
    method = {"kind": "qlora", "activation_checkpointing": True, "micro_batch_tokens": 512}
    run = training(method={"kind": "qlora"}, parameters=70)
    spread = Spread(strategy="zero3", ranks=8)
    settings = training(method=method, parameters=70).training.method.settings()

    assert decide(run, NODE).strategy == "zero3"
    # While it trains a part is enough, but only whole weights can be made coarse.
    memory = training_memory(usual_shape(70e9), settings, spread, gpu=True)
    assert 70e9 / 2 < memory.loading == memory.total < 40 * GIB
    assert "needs 3" in lacks(usual_shape(70e9), settings, spread, replace(NODE, gpu_gib=24.0))


def test_what_fits_is_not_refused(training):
    assert refuse(training(), NODE) == []


def test_a_training_that_does_not_fit_is_refused_with_what_would_help(training):
    run = training(parallelism={"strategy": "single"}, method={"micro_batch_tokens": 16384})

    (said,) = refuse(run, replace(NODE, gpu_gib=24.0))
    assert "models.big with methods.tuned, single: needs" in said
    assert "on each GPU, but one has 24.0" in said
    assert "activation_checkpointing: true" in said
    assert "micro_batch_tokens: 1024" in said


def test_what_is_said_to_help_helps(training):
    tight = replace(NODE, gpu_gib=24.0)
    single = {"strategy": "single"}
    fields = {"micro_batch_tokens": 16384}
    (said,) = refuse(training(parallelism=single, method=fields), tight)

    for change in ({"activation_checkpointing": True}, {"micro_batch_tokens": 1024}):
        key, value = next(iter(change.items()))
        assert f"{key}: {str(value).lower()}" in said
        assert refuse(training(parallelism=single, method=fields | change), tight) == []


def test_where_one_change_is_not_enough_several_are_named(training):
    run = training(parallelism={"strategy": "single"}, method={"kind": "full"}, parameters=7)

    (said,) = refuse(run, replace(ONE, gpu_gib=16.0, host_gib=32.0))
    assert "it would fit with" in said or "nothing we know helps" in said
    assert " and " in said


def test_a_model_too_large_to_answer_is_refused_though_its_training_would_fit(training):
    run = training(method={"kind": "qlora", "activation_checkpointing": True}, parameters=13)

    (said,) = refuse(run, replace(ONE, gpu_gib=24.0))
    assert "models.big: to answer, it needs" in said


def test_offload_is_refused_where_the_host_has_no_room(training):
    spread = {"strategy": "zero3", "workers": 8, "offload": "optimizer"}
    run = training(method={"kind": "full", "activation_checkpointing": True}, parallelism=spread)

    (said,) = refuse(run, replace(NODE, host_gib=64.0))
    assert "in a node's memory, but it has 64.0" in said


def test_without_a_gpu_the_machine_s_memory_counts(training):
    (said,) = refuse(training(), NO_GPU)

    assert "in memory, but the machine has 23.0" in said


def test_a_model_of_unknown_size_is_not_refused(training):
    assert refuse(training(parameters=0), replace(NODE, gpu_gib=1.0)) == []


def test_a_plan_says_which_gpus_would_do(experiment):
    said = said_of(experiment(method={"activation_checkpointing": True}))

    needed = training_memory(
        usual_shape(7e9),
        LoRA(kind="lora", steps=10, max_length=512, activation_checkpointing=True).settings(),
        ALONE,
        gpu=True,
    )
    assert f"{needed.total / GIB:.1f} GiB" in said
    assert "16 GB" in said and "141 GB" in said
    assert "8 x zero3" in said


def test_a_plan_for_gpus_that_are_here_refuses_what_does_not_fit(experiment, machine, capsys):
    machine(16384, 16384)
    path = experiment(parallelism={"strategy": "ddp", "workers": 2})

    assert main(["plan", str(path)]) == 2
    told = capsys.readouterr()
    assert "methods.tuned, ddp on 2 workers: needs" in told.err
    assert "mine.yaml cannot be run" in told.err


def test_a_plan_for_gpus_that_are_here_shows_what_auto_takes(experiment, machine):
    machine(81559, 81559, 81559)

    assert "3 x ddp" in said_of(experiment())


def test_runs_that_differ_in_their_seed_only_are_refused_once(experiment, machine):
    machine(16384)

    with pytest.raises(UserError) as caught:
        said_of(experiment(seeds=[0, 1, 2]))
    assert str(caught.value).count("methods.tuned") == 1


def test_what_is_whole_in_the_cache_of_the_hub_is_not_downloaded_again(
    experiment, tmp_path, monkeypatch
):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    before = said_of(experiment())
    folder = place("some/model", REVISION, "config.json").parent
    folder.mkdir(parents=True)
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        (folder / name).write_text("{}")

    assert "13.0 GiB to download" in before
    assert "0.0 GiB to download" in said_of(experiment())


def test_epochs_over_rows_of_the_hub_are_said_to_take_longer_than_the_rest(experiment):
    epochs = {"steps": None, "epochs": 1}

    of_hub = said_of(experiment(method=epochs, datasets=["oss-instruct"]))
    assert "answers to judge, at least " in of_hub
    assert "Rows of the hub are not in the time: oss-instruct." in of_hub
    assert "at least" not in said_of(experiment(datasets=["oss-instruct"]))
    assert "at least" not in said_of(experiment(method=epochs))


def test_measuring_all_held_out_rows_often_takes_time(experiment):
    def seconds(**method):
        loaded = load(experiment(method=method, datasets=["starter"]), need_files=False)
        (run,) = loaded.runs()
        return need(run, loaded, NODE, 1).seconds

    rarely = seconds(held_out=0.1, evaluate_every=10)
    often = seconds(held_out=0.1, evaluate_every=1)

    tokens = (ROOT / "datasets" / "train" / "starter.jsonl").stat().st_size / 3
    assert often - rarely == pytest.approx(9 * 0.1 * tokens * 2 * 7e9 / 2e14)
    assert rarely > seconds()


@pytest.mark.parametrize("name", ["paper", "today", "one-gpu"])
def test_the_experiments_for_gpus_load_and_are_planned(name):
    assert "GiB to download" in said_of(ROOT / "experiments" / f"{name}.yaml")


def test_one_gpu_of_16_gb_is_enough_for_the_experiment_that_says_so():
    runs = load(ROOT / "experiments" / "one-gpu.yaml", need_files=False).runs()
    small = replace(ONE, gpu_gib=15.0, host_gib=32.0)

    assert [refuse(run, small) for run in runs] == [[], []]
    assert decide(runs[1], small).strategy == "single"


def test_several_machines_have_the_gpus_of_all_and_the_memory_of_the_smallest():
    nodes = [
        Node(gpus=0, gpu_gib=None, cpus=4, host_gib=8.0),
        Node(gpus=8, gpu_gib=80.0, cpus=64, host_gib=900.0),
        Node(gpus=4, gpu_gib=24.0, cpus=32, host_gib=200.0),
    ]

    assert together(nodes) == Hardware(
        gpus=12, gpus_per_node=8, gpu_gib=24.0, cpus=100, host_gib=200.0
    )


def test_a_machine_without_gpus_has_its_processors_and_memory(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    found = of_this_machine()

    assert (found.gpus, found.gpus_per_node, found.gpu_gib) == (0, 0, None)
    assert found.cpus >= 1
    assert found.host_gib > 0.5
