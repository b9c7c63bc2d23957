"""The benchmarks of trainings run in small, and their claims follow from what they measured."""

import json

import pytest
from printed_figures import BENCHMARKS, ROOT, figures_of, printed_by

PEERS = ROOT / ".venv-peers"
BARE = """
import runpy, sys
from importlib.machinery import PathFinder

class Bare(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        missing = {"pydantic", "pyarrow", "ray", "sqlalchemy", "datasets", "deepspeed", "pandas"}
        found = name.partition(".")[0] not in missing
        return PathFinder.find_spec(name, path, target) if found else None

sys.meta_path[sys.meta_path.index(PathFinder)] = Bare
script = sys.argv[1]
sys.path.insert(0, script.rpartition("/")[0])
sys.argv = sys.argv[1:]
runpy.run_path(script, run_name="__main__")
"""
"""Runs a script as on a machine that has torch, transformers and peft, and nothing else of ours."""


def test_a_machine_with_torch_transformers_and_peft_alone_can_measure_a_gpu():
    script = BENCHMARKS / "train_gpu.py"

    done = printed_by("-c", BARE, script, "--tiny", "--eager", "--families", "llama")

    assert done.returncode == 0, done.stderr
    assert "nothing is predicted" not in done.stdout
    figures = figures_of(done.stdout)
    assert float(figures["train_gpu_mfu_llama"]) > 0
    assert float(figures["train_gpu_vs_plain_llama"]) > 0


@pytest.mark.slow
def test_without_a_gpu_nothing_is_measured_and_nothing_fails():
    done = printed_by(BENCHMARKS / "train_gpu.py")

    assert done.returncode == 0, done.stderr
    assert "there is no CUDA GPU here" in done.stdout
    assert not figures_of(done.stdout)


@pytest.mark.slow
def test_our_training_trl_and_transformers_take_the_same_steps():
    if not any(PEERS.glob("lib/python*/site-packages/trl")):
        pytest.skip(f"trl is not installed: {PEERS} is made by `make bench-train`")

    done = printed_by(
        *(BENCHMARKS / "train.py", "--tiny", "--families", "llama", "--rounds", "2", "--once"),
        *("--precision", "fp32"),
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "loss, llama, fp32: 3 steps" in done.stdout
    wanted = {"train_vs_trl_default", "train_vs_trl_packed", "train_vs_transformers"}
    assert figures_of(done.stdout).keys() == wanted | {"train_memory_vs_trl"}


@pytest.mark.slow
def test_ray_and_torchrun_carry_out_the_same_order():
    script = BENCHMARKS / "ray_overhead.py"

    done = printed_by(script, "--rounds", "1", "--steps", "3", "--width", "64")

    assert done.returncode == 0, done.stderr
    settings = {"one_worker", "two_workers", "two_workers_one_core"}
    assert figures_of(done.stdout).keys() == {f"ray_overhead_{name}" for name in settings}


@pytest.fixture
def bench(monkeypatch):
    """The script as a module, beside its neighbours."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import train

    return train


def measured(bench, **rates):
    """Results of llama in fp32, all with one curve."""
    made = bench.trainers("llama", "fp32")
    return {
        trainer: bench.Measured(
            rates=rates[trainer.name], losses=[7.0, 6.5], before_mib=100, peak_mib=300
        )
        for trainer in made
        if trainer.name in rates
    }


def test_a_ratio_is_taken_within_each_round(bench, capsys):
    results = measured(
        bench,
        codeladder=[300.0, 100.0, 900.0],
        trl_default=[100.0, 50.0, 100.0],
        trl_packed=[300.0, 100.0, 450.0],
        transformers=[150.0, 100.0, 900.0],
    )

    status = bench._print_figures(results, "fp32")

    assert status == 0
    figures = figures_of(capsys.readouterr().out)
    assert figures == {
        "train_vs_trl_default": "3.000",
        "train_vs_trl_packed": "1.000",
        "train_vs_transformers": "1.000",
        "train_memory_vs_trl": "1.000",
    }


def test_a_peer_that_is_missing_has_no_figure_and_ends_badly(bench, capsys):
    results = measured(bench, codeladder=[300.0], trl_packed=[100.0])

    assert bench._print_figures(results, "fp32") == 1
    assert figures_of(capsys.readouterr().out) == {"train_vs_trl_packed": "3.000"}


@pytest.mark.parametrize("apart, agree", [(0.9e-4, True), (1.1e-4, False)])
def test_curves_agree_within_the_tolerance(bench, capsys, apart, agree):
    results = measured(bench, codeladder=[1.0], transformers=[1.0])
    ours = next(trainer for trainer in results if trainer.name == "codeladder")
    results[ours].losses[1] += apart

    assert bench._print_curves(results) is agree
    assert ("DIFFER" in capsys.readouterr().out) is not agree


def test_every_system_gets_each_row_once_in_the_order_of_ours(bench, tmp_path):
    path = tmp_path / "rows.json"

    lengths = bench.write_rows(path, bench.FULL)

    rows = json.loads(path.read_text())
    assert [len(tokens) for tokens in rows["tokens"]] == lengths
    assert sorted(rows["order"]) == list(range(len(lengths)))
    assert rows["order"] != sorted(rows["order"])
    assert len(lengths) >= 96
    assert 150 < sum(lengths) / len(lengths) < 170
    assert max(lengths) > 500
    assert all(0 < prompt < length for prompt, length in zip(rows["prompts"], lengths, strict=True))
