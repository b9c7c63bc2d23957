"""The three starter models load from disk, are small, and are what their cards say."""

import json
from hashlib import sha256
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer

from models.starter.recipe import SEED
from models.starter.recipe.architectures import ARCHITECTURES
from models.starter.recipe.corpus import functions
from models.starter.recipe.pretrain import first_losses
from models.starter.recipe.problems import BENCHMARK_PATH
from models.starter.recipe.tokenizer import VOCABULARY

ROOT = Path(__file__).parents[1]
STARTER = ROOT / "models" / "starter"
MEGABYTE = 1_000_000
CLASSES = {
    "falcon": "FalconForCausalLM",
    "mistral": "MistralForCausalLM",
    "llama": "LlamaForCausalLM",
}

each_model = pytest.mark.parametrize("name", ARCHITECTURES)


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(STARTER / "falcon")


@each_model
def test_loads_from_its_folder_and_predicts(name):
    model = AutoModelForCausalLM.from_pretrained(STARTER / name, use_safetensors=True)
    tokenizer = AutoTokenizer.from_pretrained(STARTER / name)

    with torch.no_grad():
        logits = model(**tokenizer("def f(x):", return_tensors="pt")).logits

    assert type(model).__name__ == CLASSES[name]
    assert logits.shape[-1] == VOCABULARY == len(tokenizer)
    assert torch.isfinite(logits).all()
    assert model.config.max_position_embeddings >= 2048
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id
    assert model.generation_config.pad_token_id == tokenizer.pad_token_id


@each_model
def test_weights_are_bfloat16_and_nothing_is_pickled(name):
    with safe_open(STARTER / name / "model.safetensors", framework="pt") as weights:
        assert {weights.get_tensor(key).dtype for key in weights.keys()} == {torch.bfloat16}  # noqa: SIM118
    suffixes = {path.suffix for path in (STARTER / name).iterdir()}
    assert suffixes == {".safetensors", ".json", ".md"}


def test_sizes_stay_within_the_limits():
    sizes = [
        sum(path.stat().st_size for path in (STARTER / name).iterdir()) for name in ARCHITECTURES
    ]
    assert max(sizes) <= 4.5 * MEGABYTE
    assert sum(sizes) <= 12 * MEGABYTE


@pytest.mark.parametrize("file", ["tokenizer.json", "tokenizer_config.json"])
def test_models_share_one_tokenizer(file):
    assert len({(STARTER / name / file).read_bytes() for name in ARCHITECTURES}) == 1


def test_end_and_padding_are_different_tokens(tokenizer):
    assert tokenizer.eos_token == "<|end|>"
    assert tokenizer.pad_token == "<|pad|>"
    assert tokenizer.eos_token_id != tokenizer.pad_token_id


def test_a_prompt_may_end_with_a_signature(tokenizer):
    for line in (ROOT / BENCHMARK_PATH).read_text(encoding="utf-8").splitlines():
        problem = json.loads(line)
        prompt = f"{problem['instruction']}\n\n### Response:\n{problem['signature']}"
        body = problem["reference"].removeprefix(problem["signature"])
        together = tokenizer(prompt + body)["input_ids"]
        assert tokenizer(prompt)["input_ids"] + tokenizer(body)["input_ids"] == together
        assert tokenizer.decode(together) == prompt + body


def test_digits_are_tokens_of_their_own(tokenizer):
    assert len(tokenizer("2048")["input_ids"]) == 4


@each_model
def test_card_names_recipe_seed_data_and_the_digest_of_the_weights(name):
    card = (STARTER / name / "README.md").read_text(encoding="utf-8")
    digest = sha256((STARTER / name / "model.safetensors").read_bytes()).hexdigest()

    assert digest in card
    assert f"python -m models.starter.recipe pretrain --model {name}" in card
    assert f"seed {SEED}" in card
    assert "## Data" in card
    assert "license: apache-2.0" in card


@each_model
def test_the_same_seed_begins_with_the_same_losses(name, tokenizer):
    texts = functions()[:400]
    losses = [first_losses(name, tokenizer.backend_tokenizer, texts, 3) for _ in range(2)]

    assert losses[0] == losses[1]
    assert losses[0][-1] < losses[0][0]
    assert first_losses(name, tokenizer.backend_tokenizer, texts, 1, seed=1) != losses[0][:1]
