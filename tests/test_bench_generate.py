"""The benchmarks of asking run in small, and their figures follow from what they measured."""

import json

import pytest
from printed_figures import BENCHMARKS, figures_of, printed_by


@pytest.fixture
def bench(monkeypatch):
    """The script as a module, beside its neighbours."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import generate

    return generate


def measured(bench, **rates):
    return {
        system: bench.Measured(rates=rates[system.name], prompts=1, answers=10, drawn=100)
        for system in bench.systems()
        if system.name in rates
    }


def test_ratios_are_taken_within_each_round_and_the_best_of_transformers_counts(bench, capsys):
    results = measured(
        bench, codeladder=[30.0, 20.0, 60.0], one=[2.0, 2.0, 2.0], batched=[10.0, 10.0, 30.0],
        returned=[15.0, 16.0, 20.0], continuous=[1.0, 1.0, 1.0],
    )  # fmt: skip

    assert bench._print_figures(results) == 0
    assert figures_of(capsys.readouterr().out) == {
        "generate_vs_one_by_one": "15.000",
        "generate_vs_best_transformers": "2.000",
    }


def test_without_ours_or_a_single_answer_at_a_time_there_are_no_figures(bench, capsys):
    assert bench._print_figures(measured(bench, one=[2.0], returned=[9.0])) == 1
    assert bench._print_figures(measured(bench, codeladder=[2.0], returned=[9.0])) == 1
    assert not figures_of(capsys.readouterr().out)


def test_prompts_without_the_published_file_are_as_long_as_its_own(bench, monkeypatch, tmp_path):
    monkeypatch.setenv("CODELADDER_DATA", str(tmp_path))
    notes = []

    lengths = bench.write_prompts(tmp_path / "prompts.json", 164, notes)

    assert [
        len(tokens) for tokens in json.loads((tmp_path / "prompts.json").read_text())
    ] == lengths
    assert 140 < sum(lengths) / len(lengths) < 160
    assert 38 <= min(lengths) < 60
    assert 300 < max(lengths) <= 453
    assert "lognormal" in notes[0]


@pytest.mark.slow
def test_every_way_to_ask_answers_every_prompt_and_greedy_answers_agree():
    done = printed_by(BENCHMARKS / "generate.py", "--tiny", "--rounds", "1")

    assert done.returncode == 0, done.stdout + done.stderr
    assert "those of generate: 4 of 4" in done.stdout
    wanted = {"generate_vs_one_by_one", "generate_vs_best_transformers"}
    assert figures_of(done.stdout).keys() == wanted


@pytest.mark.slow
def test_a_gpu_is_measured_or_said_to_be_missing():
    script = BENCHMARKS / "generate_gpu.py"

    toy = printed_by(script, "--tiny", "--families", "llama", "--seats", "20")

    assert toy.returncode == 0, toy.stderr
    assert float(figures_of(toy.stdout)["generate_gpu_tokens_per_second_llama"]) > 0
