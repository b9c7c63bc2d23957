"""Models: made trainable by every method, and written so that others read the same."""

import json
import math
import warnings
from importlib.util import find_spec

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from small_models import small_model
from small_tokenizers import STARTER
from transformers import AutoModelForCausalLM, AutoTokenizer
from two_ranks import adapter, settings

from jobs.training import models
from jobs.training.models import ModelError

KINDS = ["falcon", "mistral", "llama", "qwen2", "granite", "starcoder2"]
METHODS = {
    "lora": settings(adapter()),
    "rslora": settings(adapter(rslora=True)),
    "dora": settings(adapter(dora=True)),
    "full": settings(),
}
TOKENS = torch.arange(9)[None]


def weights_of(model):
    return models.file_names(model, {name: one.detach() for name, one in models.trained(model)})


def disturbed(model):
    """Weights as no fresh model has them: both matrices of every adapter are other than 0."""
    torch.manual_seed(1)
    with torch.no_grad():
        for _, parameter in models.trained(model):
            parameter.add_(torch.randn_like(parameter), alpha=0.05)
    return model.eval()


def tuned(kind="llama", method="lora", **changes):
    return disturbed(models.tuned(small_model(kind, **changes), METHODS[method], seed=0))


def rounded(model):
    """Its parameters rounded to bfloat16, and not what it computes positions from."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.bfloat16())
    return model


def logits(model):
    with torch.inference_mode():
        return model(input_ids=TOKENS).logits


@pytest.mark.parametrize("method", ["lora", "rslora", "dora"])
@pytest.mark.parametrize("kind", KINDS)
def test_peft_reads_an_adapter_that_answers_like_the_model_it_was_saved_from(
    kind, method, tmp_path
):
    from peft import PeftModel

    model = tuned(kind, method)
    models.save(model, weights_of(model), tmp_path)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        again = PeftModel.from_pretrained(small_model(kind), str(tmp_path)).eval()

    assert torch.equal(logits(again), logits(model))
    assert not torch.equal(logits(again), logits(small_model(kind).eval()))


@pytest.mark.parametrize("tied", [False, True], ids=["head of its own", "tied head"])
@pytest.mark.parametrize("kind", KINDS)
def test_transformers_reads_a_whole_model_that_answers_like_the_rounded_one(kind, tied, tmp_path):
    model = tuned(kind, "full", tie_word_embeddings=tied)
    models.save(model, weights_of(model), tmp_path)

    again = AutoModelForCausalLM.from_pretrained(tmp_path)

    assert again.dtype == torch.bfloat16
    assert torch.equal(logits(again.float().eval()), logits(rounded(model)))
    assert again.config.use_cache


def test_a_large_model_is_written_in_several_files(tmp_path, monkeypatch):
    monkeypatch.setattr(models, "SHARD", "20KB")
    model = tuned("llama", "full")
    models.save(model, weights_of(model), tmp_path)

    again = AutoModelForCausalLM.from_pretrained(tmp_path)

    files = sorted(tmp_path.glob("model-*.safetensors"))
    assert len(files) > 1 and all(file.stat().st_size < 24_000 for file in files)
    assert torch.equal(logits(again.float().eval()), logits(rounded(model)))


def test_the_tokenizer_and_the_way_to_generate_go_with_a_whole_model(tmp_path):
    model = tuned("llama", "full")
    model.generation_config.temperature = 0.5  # without do_sample, as many models come
    model.generation_config.eos_token_id = [1, 7]
    tokenizer = AutoTokenizer.from_pretrained(STARTER / "llama")
    models.save(model, weights_of(model), tmp_path, tokenizer)

    again = AutoTokenizer.from_pretrained(tmp_path)

    said = json.loads((tmp_path / "generation_config.json").read_text())
    assert (said["temperature"], said["eos_token_id"]) == (0.5, [1, 7])
    assert again("a b")["input_ids"] == tokenizer("a b")["input_ids"]
    assert model.generation_config.temperature == 0.5


@pytest.mark.parametrize("method", METHODS)
def test_a_restored_model_has_every_bit_of_the_one_before(method):
    kept = {name: one.clone() for name, one in weights_of(tuned("falcon", method)).items()}
    again = models.tuned(small_model("falcon"), METHODS[method], seed=5)

    models.restore(again, kept)

    assert all(one.equal(kept[name]) for name, one in weights_of(again).items())


@pytest.mark.parametrize("method", METHODS)
def test_weights_of_another_model_are_refused(method):
    model = tuned("llama", method)
    name, one = next(iter(weights_of(model).items()))
    before = one.clone()
    own = weights_of(model)

    for other in (
        {n: w for n, w in own.items() if n != name},
        own | {"one.too.many": one},
        own | {name: one[:1]},
        weights_of(tuned("llama", method, num_hidden_layers=3)),
        weights_of(tuned("llama", method, intermediate_size=64)),
    ):
        with pytest.raises(ModelError, match="weights of another model"):
            models.restore(model, other)
    assert weights_of(model)[name].equal(before)


@pytest.mark.parametrize("method", ["lora", "rslora", "dora", "full"])
def test_the_seed_decides_fresh_weights(method):
    def fresh(seed):
        return weights_of(models.tuned(small_model("llama"), METHODS[method], seed=seed))

    one, same, other = fresh(1), fresh(1), fresh(2)

    assert all(one[name].equal(same[name]) for name in one)
    alike = all(one[name].equal(other[name]) for name in one)
    assert alike == (method == "full")


def test_an_adapters_output_is_scaled_as_its_paper_says():
    def scaled(**changes):
        model = models.tuned(small_model("llama"), settings(adapter(**changes)), seed=0)
        layer = model.get_submodule("base_model.model.model.layers.0.self_attn.q_proj")
        return layer.scaling["default"]

    assert scaled(rank=4, alpha=8) == 2
    assert scaled(rank=16, alpha=8, rslora=True) == pytest.approx(8 / math.sqrt(16))


def test_a_dora_layer_is_what_its_paper_says(tmp_path):
    # Liu et al. 2024, arXiv:2402.09353, equation 5: W' = m (W0 + s B A) / ||W0 + s B A||, by rows.
    model = tuned("llama", "dora")
    layer = model.get_submodule("base_model.model.model.layers.0.self_attn.q_proj")
    own = dict(layer.named_parameters())
    a, b = own["lora_A.default.weight"], own["lora_B.default.weight"]
    moved = own["base_layer.weight"] + 2 * b @ a
    lengths = own["lora_magnitude_vector.default.weight"]
    weight = lengths[:, None] * moved / moved.norm(dim=1, keepdim=True)
    x = torch.randn(5, moved.shape[1])

    assert torch.allclose(layer(x), x @ weight.T, atol=1e-5)


def test_a_target_that_is_not_there_is_named_beside_those_that_are():
    chosen = settings(adapter(targets=("q_porj",)))

    with pytest.raises(ModelError, match=r"q_porj.*q_proj"):
        models.tuned(small_model("llama"), chosen, seed=0)


@pytest.mark.parametrize("method", ["lora", "dora"])
def test_adapters_are_float32_on_a_bfloat16_base(method):
    model = models.tuned(small_model("llama", torch.bfloat16), METHODS[method], seed=0)

    kinds = {(one.requires_grad, one.dtype) for one in model.parameters()}
    assert kinds == {(True, torch.float32), (False, torch.bfloat16)}


def test_the_configuration_of_an_adapter_names_its_method(tmp_path):
    model = tuned("falcon", "dora")
    models.save(model, weights_of(model), tmp_path)

    said = json.loads((tmp_path / "adapter_config.json").read_text())
    assert (said["r"], said["peft_type"], said["use_dora"]) == (4, "LORA", True)


@pytest.fixture(params=["bf16", "fp32"])
def stored(request, tmp_path):
    """A folder with a model whose file is in one precision."""
    dtype = {"bf16": torch.bfloat16, "fp32": torch.float32}[request.param]
    small_model("mistral", dtype).save_pretrained(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "method, precision, dtype",
    [
        ("lora", "bf16", torch.bfloat16),
        ("lora", "fp32", torch.float32),
        ("full", "bf16", torch.float32),
        ("full", "fp32", torch.float32),
    ],
)
def test_frozen_weights_are_in_the_precision_asked_for_and_trained_ones_in_float32(
    method, precision, dtype, stored
):
    chosen = settings(METHODS[method].adapter, precision=precision)

    base = models.load_base(str(stored), None, chosen)

    assert {one.dtype for one in base.parameters()} == {dtype}
    assert not base.config.use_cache


def test_a_base_that_lacks_weights_is_refused_and_not_filled_with_random_ones(tmp_path):
    small_model("llama").save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    weights = load_file(path)
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, path, metadata={"format": "pt"})

    with pytest.raises(ModelError, match=r"lacks weights.*layers\.1\.mlp\.up_proj"):
        models.load_base(str(tmp_path), None, METHODS["lora"])


def test_a_folder_that_holds_no_model_is_named(tmp_path):
    with pytest.raises(ModelError, match=str(tmp_path)):
        models.load_base(str(tmp_path), None, METHODS["lora"])


def test_a_model_that_brings_code_of_its_own_is_refused(tmp_path):
    small_model("llama").save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    own = {"model_type": "mine", "auto_map": {"AutoModelForCausalLM": "mine.Mine"}}
    path.write_text(json.dumps(json.loads(path.read_text()) | own))
    ran = tmp_path / "ran"
    (tmp_path / "mine.py").write_text(f"open({str(ran)!r}, 'w')\nclass Mine: pass\n")

    with pytest.raises(ModelError):
        models.load_base(str(tmp_path), None, METHODS["lora"])
    assert not ran.exists()


class TestQuantized:
    """Bases of 4 bits a weight, on a CPU."""

    @pytest.fixture(autouse=True)
    def needed(self):
        pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed")

    @pytest.fixture
    def base(self, tmp_path):
        small_model("llama", hidden_size=64, intermediate_size=128).save_pretrained(tmp_path)
        return str(tmp_path)

    @pytest.mark.parametrize("precision", ["bf16", "fp32"])
    @pytest.mark.parametrize("kind", ["nf4", "fp4"])
    def test_training_lowers_the_loss_and_leaves_the_base_as_it_is(self, kind, precision, base):
        chosen = settings(adapter(quantization=kind), precision=precision)
        model = models.tuned(models.load_base(base, None, chosen), chosen, seed=0)
        frozen = [one for one in model.parameters() if one.dtype == torch.uint8]
        before = [one.clone() for one in frozen]
        optimizer = torch.optim.AdamW([one for _, one in models.trained(model)], lr=1e-2)

        losses = []
        for _ in range(8):
            losses.append(model(input_ids=TOKENS, labels=TOKENS).loss)
            losses[-1].backward()
            optimizer.step()
            optimizer.zero_grad()

        assert losses[-1] < 0.8 * losses[0]
        assert len(frozen) == 2 * 7  # every linear layer of two blocks
        assert all(one.equal(was) for one, was in zip(frozen, before, strict=True))
        assert {one.dtype for _, one in models.trained(model)} == {torch.float32}
        assert {type(one).__name__ for one in frozen} == {"Params4bit"}

    @pytest.mark.parametrize("family, linear", [("falcon", 4), ("mistral", 7), ("starcoder2", 6)])
    def test_every_linear_layer_of_a_block_is_quantized(self, family, linear, tmp_path):
        small_model(family, hidden_size=64).save_pretrained(tmp_path)
        chosen = settings(adapter(quantization="nf4"))

        model = models.load_base(str(tmp_path), None, chosen)

        kinds = [type(module).__name__ for module in model.modules()]
        assert kinds.count("Linear4bit") == 2 * linear
        assert model(input_ids=TOKENS).logits.isfinite().all()

    def test_an_adapter_of_it_is_saved_like_any_other(self, base, tmp_path):
        chosen = settings(adapter(quantization="nf4"))
        model = disturbed(models.tuned(models.load_base(base, None, chosen), chosen, seed=0))
        models.save(model, weights_of(model), tmp_path / "adapter")

        with safe_open(tmp_path / "adapter" / models.ADAPTER, framework="pt") as file:
            kinds = {file.get_tensor(name).dtype for name in file.keys()}  # noqa: SIM118
        assert kinds == {torch.float32}

    def test_measuring_between_steps_takes_no_gradient_away(self, base, monkeypatch):
        # As on a CPU for whose bfloat16 bitsandbytes packs weights anew.
        monkeypatch.setattr("bitsandbytes.nn.modules.has_avx512bf16", lambda: True)
        chosen = settings(adapter(quantization="nf4"))
        model = disturbed(models.tuned(models.load_base(base, None, chosen), chosen, seed=0))

        def gradients():
            model.zero_grad()
            model.train()(input_ids=TOKENS, labels=TOKENS).loss.backward()
            return [one.grad.clone() for _, one in models.trained(model)]

        before = gradients()
        logits(model.eval())

        assert all(one.equal(was) for one, was in zip(gradients(), before, strict=True))


def test_a_quantized_base_without_bitsandbytes_says_what_to_install():
    if find_spec("bitsandbytes"):
        pytest.skip("bitsandbytes is installed")

    with pytest.raises(ModelError, match="pip install bitsandbytes"):
        models.quantized("nf4", torch.float32)
