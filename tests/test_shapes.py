"""Shapes of models against what transformers makes of the same configuration."""

from pathlib import Path

import pytest
import torch
from small_decoders import DECODERS, configured, transformers_config
from transformers import AutoModelForCausalLM

from jobs.fit.shapes import read_shape, shape_from, shape_of, usual_shape

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("name", DECODERS)
def test_parameters_are_counted_as_transformers_counts_them(name):
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(transformers_config(configured(name)))

    assert shape_from(configured(name)).parameters == model.num_parameters()


@pytest.mark.parametrize("name", ["llama", "starcoder2", "falcon of the new kind"])
def test_layers_have_the_names_and_sizes_that_transformers_gives_them(name):
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(transformers_config(configured(name)))

    found = {
        name.rpartition(".")[2]: (module.in_features, module.out_features)
        for name, module in model.get_decoder().named_modules()
        if isinstance(module, torch.nn.Linear)
    }
    assert {x.name: (x.inputs, x.outputs) for x in shape_from(configured(name)).linears} == found


@pytest.mark.parametrize("parameters", [5e8, 1.5e9, 7e9, 7e10])
def test_the_usual_shape_has_as_many_parameters_as_were_asked_for(parameters):
    assert usual_shape(parameters).parameters == pytest.approx(parameters, rel=0.01)


def test_the_starter_models_have_the_parameters_that_their_files_hold():
    for name in ("falcon", "llama", "mistral"):
        folder = ROOT / "models" / "starter" / name
        model = AutoModelForCausalLM.from_pretrained(folder)
        assert read_shape(folder).parameters == model.num_parameters()


def test_a_model_of_the_hub_is_looked_for_among_those_downloaded(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    revision = "a" * 40
    folder = tmp_path / "models--some--model" / "snapshots" / revision
    folder.mkdir(parents=True)
    (folder / "config.json").write_text((ROOT / "models/starter/llama/config.json").read_text())

    assert shape_of("some/model", revision, 7e9).family == "llama"
    assert shape_of("some/other", revision, 7e9).family == ""
    assert shape_of("some/other", revision, 0) is None
