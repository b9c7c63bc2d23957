"""Merged weights beside what peft makes of them, and beside base and adapter in one model."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    FalconConfig,
    GraniteConfig,
    LlamaConfig,
    MistralConfig,
    Qwen2Config,
    Starcoder2Config,
)

from jobs.exports.merging import Merge, MergeError, Merger, header, weight_files
from jobs.methods import QLoRA

ROOT = Path(__file__).parent.parent
SMALL = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
FAMILIES = {
    "falcon": FalconConfig(
        vocab_size=64,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    ),
    "mistral": MistralConfig(**SMALL),
    "llama": LlamaConfig(**SMALL),
    "qwen2, tied": Qwen2Config(**SMALL, tie_word_embeddings=True),
    "granite": GraniteConfig(**SMALL),
    "starcoder2": Starcoder2Config(**SMALL),
}
METHODS = {
    "lora": {},
    "rslora": {"use_rslora": True},
    "dora": {"use_dora": True},
}
TOKENS = torch.arange(1, 41).view(2, 20)
ROUNDING = {torch.float32: 1e-6, torch.bfloat16: 2**-8}
"""Most that a weight may differ, as a share of the largest: bfloat16 has 8 bits."""

pytestmark = pytest.mark.filterwarnings(
    "ignore:`is_gradient_checkpointing`:FutureWarning",
    "ignore:Found missing adapter keys:UserWarning",
    "ignore:Setting `save_embedding_layers`:UserWarning",
)


@pytest.fixture
def made(tmp_path):
    """Makes a base of several files and an adapter that is not zero; returns both folders."""

    def make(config, dtype=torch.float32, **method):
        torch.manual_seed(0)
        base = AutoModelForCausalLM.from_config(config, dtype=dtype)
        base.save_pretrained(tmp_path / "base", max_shard_size="20KB")
        given = {"r": 4, "lora_alpha": 8, "target_modules": "all-linear"} | method
        lora = LoraConfig(task_type="CAUSAL_LM", init_lora_weights=False, **given)
        tuned = get_peft_model(base, lora)
        for name, parameter in tuned.named_parameters():
            if "magnitude" in name:  # as if trained: away from the length of the base
                parameter.data *= 1.1
        tuned.save_pretrained(tmp_path / "adapter")
        return tmp_path / "base", tmp_path / "adapter"

    return make


@pytest.fixture
def merge(tmp_path):
    """Merges, one file after the other, into a folder that others can load."""

    def do(base, adapter, **more):
        out = tmp_path / "merged"
        out.mkdir(exist_ok=True)
        merger = Merger(Merge(base=base, adapter=adapter, **more))
        assert merger.streams
        for file in merger.files:
            merger.write(file, out / file.name)
        for file in base.glob("*.json"):
            (out / file.name).write_bytes(file.read_bytes())
        return out

    return do


def load(folder, dtype=torch.float32):
    return AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval()


def logits(model):
    with torch.inference_mode():
        return model(input_ids=TOKENS, use_cache=False).logits.float()


def assert_near(found, wanted, share):
    assert (found - wanted).abs().max() <= share * wanted.abs().max()


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
@pytest.mark.parametrize("config", FAMILIES.values(), ids=FAMILIES)
def test_the_merged_model_answers_as_base_and_adapter_do(made, merge, config, method):
    base, adapter = made(config, **method)
    beside = logits(PeftModel.from_pretrained(load(base), adapter).eval())

    merged = logits(load(merge(base, adapter)))

    assert_near(merged, beside, 1e-5)
    assert (merged - logits(load(base))).abs().max() > 0.01 * beside.abs().max()


@pytest.mark.parametrize("dtype", ROUNDING, ids=str)
@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_the_merged_weights_are_those_that_peft_merges_rounded_once(made, merge, method, dtype):
    base, adapter = made(FAMILIES["llama"], dtype, **method)
    wanted = PeftModel.from_pretrained(load(base), adapter).merge_and_unload().state_dict()

    out = merge(base, adapter)

    for file in weight_files(out):
        for name, tensor in load_file(file).items():
            assert tensor.dtype == dtype
            assert_near(tensor.float(), wanted[name], ROUNDING[dtype])


def test_files_keep_the_names_order_and_untouched_bytes_of_the_base(made, merge):
    base, adapter = made(FAMILIES["falcon"], torch.bfloat16, target_modules=["query_key_value"])

    out = merge(base, adapter)

    assert [f.name for f in weight_files(out)] == [f.name for f in weight_files(base)]
    assert len(weight_files(base)) > 2
    for file in weight_files(base):
        assert header(file) == header(out / file.name)
        before, after = load_file(file), load_file(out / file.name)
        for name, tensor in before.items():
            same = torch.equal(tensor, after[name])
            assert same == ("query_key_value" not in name)


def test_weights_named_from_within_the_model_are_found(made, merge):
    from safetensors.torch import save_file

    base, adapter = made(FAMILIES["qwen2, tied"])
    beside = logits(PeftModel.from_pretrained(load(base), adapter).eval())
    inner = {n: t for file in weight_files(base) for n, t in load_file(file).items()}
    for file in base.glob("model*"):
        file.unlink()
    renamed = {name.removeprefix("model."): tensor for name, tensor in inner.items()}
    save_file(renamed, base / "model.safetensors", metadata={"format": "pt"})

    assert_near(logits(load(merge(base, adapter))), beside, 1e-5)


UNUSUAL = {
    "a rank of its own": {"rank_pattern": {"q_proj": 2}},
    "an embedding": {"target_modules": ["q_proj", "embed_tokens"]},
    "a layer trained whole": {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]},
}


@pytest.mark.parametrize("method", UNUSUAL.values(), ids=UNUSUAL)
def test_what_cannot_be_merged_file_by_file_is_merged_whole(made, tmp_path, method):
    base, adapter = made(FAMILIES["llama"], **method)
    beside = logits(PeftModel.from_pretrained(load(base), adapter).eval())
    merger = Merger(Merge(base=base, adapter=adapter))

    assert not merger.streams
    merger.write_whole(tmp_path / "whole")

    assert_near(logits(load(tmp_path / "whole")), beside, 1e-5)


def test_a_base_file_that_was_cut_short_is_told(made, merge):
    base, adapter = made(FAMILIES["llama"])
    file = weight_files(base)[0]
    file.write_bytes(file.read_bytes()[:-10])

    with pytest.raises(MergeError, match="should have"):
        merge(base, adapter)


@pytest.mark.skipif(bool(find_spec("bitsandbytes")), reason="bitsandbytes is installed")
def test_without_bitsandbytes_an_adapter_of_a_4_bit_base_is_not_merged_into_another(made, merge):
    base, adapter = made(FAMILIES["llama"])

    with pytest.raises(MergeError, match="pip install bitsandbytes"):
        merge(base, adapter, settings=QLoRA(kind="qlora", steps=1).settings())


@pytest.mark.skipif(not find_spec("bitsandbytes"), reason="needs bitsandbytes")
@pytest.mark.parametrize("quantization", ["nf4", "fp4"])
@pytest.mark.parametrize("family", ["falcon", "mistral", "llama"])
def test_an_adapter_of_a_4_bit_base_is_merged_into_the_weights_it_was_trained_on(
    made, merge, family, quantization
):
    from jobs.training.models import load_base

    config = type(FAMILIES[family])(**FAMILIES[family].to_dict() | {"hidden_size": 64})
    base, adapter = made(config)
    method = QLoRA(kind="qlora", steps=1, quantization=quantization, precision="fp32")
    settings = method.settings()
    trained = load_base(str(base), None, settings, torch.device("cpu")).eval()
    beside = logits(PeftModel.from_pretrained(trained, adapter).eval())

    merged = logits(load(merge(base, adapter, settings=settings)))

    assert_near(merged, beside, 1e-4)


@pytest.mark.slow
def test_merging_needs_the_memory_of_a_tensor_not_of_the_model(tmp_path):
    """The peak of a process that merges 400 MB in one file, over one that only imports torch."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=64,
        hidden_size=1024,
        intermediate_size=2048,
        num_hidden_layers=18,
        num_attention_heads=8,
    )
    base = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    base.save_pretrained(tmp_path / "base", max_shard_size="5GB")
    lora = LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False)
    get_peft_model(base, lora).save_pretrained(tmp_path / "adapter")
    size = (tmp_path / "base" / "model.safetensors").stat().st_size
    code = (
        "import json, resource, sys, torch, safetensors.torch; from pathlib import Path\n"
        "from jobs.exports.merging import Merge, Merger\n"
        "home, peak = Path(sys.argv[1]), lambda: resource.getrusage(0).ru_maxrss * 1024\n"
        "before = peak()\n"
        "merger = Merger(Merge(base=home / 'base', adapter=home / 'adapter'))\n"
        "merger.write(merger.files[0], home / 'out.safetensors')\n"
        "print(json.dumps(peak() - before))\n"
    )
    environment = os.environ | {"OMP_NUM_THREADS": "1"}

    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )

    assert size > 2.9e8
    assert json.loads(done.stdout) < size / 3


def test_every_family_here_is_a_causal_model_of_transformers():
    for config in FAMILIES.values():
        assert type(AutoConfig.for_model(config.model_type)) is type(config)
