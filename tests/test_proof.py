"""A training that did not take is found out before a benchmark is asked; one that did is not."""

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers.models.auto import AutoModelForCausalLM

from jobs.data.row import Row, write_rows
from jobs.proof import ProofError, ProofOrder, prove_here, read_proof
from jobs.weights import Weights

FALCON = Path(__file__).parent.parent / "models" / "starter" / "falcon"
WEIGHTS = "adapter_model.safetensors"
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated")


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rows")
    said = [
        Row(
            instruction=f"Return {n}.",
            response=f"def answer():\n    return {n}\n",
            source="s",
            place=f"rows.jsonl:{n}",
            licence="MIT",
        )
        for n in range(1, 8)
    ]
    write_rows(said, folder / "00000.parquet")
    return folder


def taught(rows, ends=True):
    """The starter Falcon's adapter after some plain steps of torch on those rows."""
    from transformers import AutoTokenizer

    from jobs.data.row import read_rows
    from jobs.prompts import alpaca

    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(FALCON)
    model = get_peft_model(
        AutoModelForCausalLM.from_pretrained(FALCON, dtype=torch.float32),
        LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM"),
    )
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=4e-3)
    end = tokenizer.eos_token_id if ends else tokenizer("\n")["input_ids"][0]
    for _ in range(12):
        for row in read_rows(rows / "00000.parquet")[:3]:
            text = tokenizer(alpaca(row.instruction) + row.response)["input_ids"] + [end] * 2
            tokens = torch.tensor([text])
            model(input_ids=tokens, labels=tokens).loss.backward()
            optimizer.step()
            optimizer.zero_grad()
    return model.eval()


@pytest.fixture(scope="module")
def adapter(rows, tmp_path_factory):
    folder = tmp_path_factory.mktemp("adapter")
    taught(rows).save_pretrained(folder)
    return folder


@pytest.fixture
def order(rows, adapter, tmp_path):
    def of(tuned=adapter, kind="adapter"):
        return ProofOrder(
            weights=Weights(location=str(FALCON), tuned=tuned, kind=kind),
            rows=rows,
            form="alpaca",
            too_long="drop",
            max_length=256,
            out=tmp_path / "proof.json",
        )

    return of


def changed(adapter, folder, change):
    """A copy of an adapter, each of its B matrices changed."""
    folder.mkdir()
    (folder / "adapter_config.json").write_text((adapter / "adapter_config.json").read_text())
    tensors = load_file(adapter / WEIGHTS)
    save_file(
        {name: change(t) if "lora_B" in name else t for name, t in tensors.items()},
        folder / WEIGHTS,
        metadata={"format": "pt"},
    )
    return folder


def test_an_adapter_that_took_is_proven(order):
    wanted = order()

    prove_here(wanted)

    proof = read_proof(wanted.out)
    assert proof.rows == 5
    assert proof.changed > 1
    assert proof.lost_in_merging < 1e-3
    assert proof.ended == 5


needs_4_bits = pytest.mark.skipif(
    not find_spec("bitsandbytes"), reason="bitsandbytes is not installed"
)


def of_4_bits(wanted):
    return replace(wanted, weights=replace(wanted.weights, quantization="nf4"))


@needs_4_bits
def test_an_adapter_of_a_base_of_4_bits_is_proven_on_that_base(order):
    wanted = of_4_bits(order())

    prove_here(wanted)

    assert read_proof(wanted.out).changed > 1


@needs_4_bits
def test_what_4_bits_change_is_not_taken_for_what_was_learnt(order, adapter, tmp_path):
    wanted = of_4_bits(order(changed(adapter, tmp_path / "nothing", torch.zeros_like)))

    with pytest.raises(ProofError, match="changes no logit"):
        prove_here(wanted)


def test_whole_weights_that_took_are_proven(order, rows, tmp_path):
    from transformers import AutoTokenizer

    folder = tmp_path / "whole"
    taught(rows).merge_and_unload().save_pretrained(folder)
    AutoTokenizer.from_pretrained(FALCON).save_pretrained(folder)
    wanted = order(folder, "full")

    prove_here(wanted)

    assert read_proof(wanted.out).changed > 1
    assert read_proof(wanted.out).lost_in_merging is None


def test_an_adapter_of_zeros_is_found_out(order, adapter, tmp_path):
    zeros = changed(adapter, tmp_path / "zeros", torch.zeros_like)

    with pytest.raises(ProofError, match="changes no logit"):
        prove_here(order(zeros))


def test_an_adapter_with_a_loss_that_ran_away_is_found_out(order, adapter, tmp_path):
    broken = changed(adapter, tmp_path / "nan", lambda t: torch.full_like(t, float("nan")))

    with pytest.raises(ProofError, match="not finite"):
        prove_here(order(broken))


def test_a_model_that_never_ends_is_found_out(order, rows, tmp_path):
    taught(rows, ends=False).save_pretrained(tmp_path / "endless")

    with pytest.raises(ProofError, match="ends none of 5 answers"):
        prove_here(order(tmp_path / "endless"))


def test_an_adapter_that_merging_loses_is_found_out(order, adapter, tmp_path, monkeypatch):
    """peft itself is broken here: its merging adds nothing."""
    from peft.tuners.lora import Linear

    monkeypatch.setattr(Linear, "get_delta_weight", lambda self, name: torch.zeros(1))

    with pytest.raises(ProofError, match="merging the adapter changes a logit"):
        prove_here(order())


def test_nothing_is_left_behind_by_a_proof_that_failed(order, adapter, tmp_path):
    zeros = changed(adapter, tmp_path / "zeros", torch.zeros_like)
    wanted = order(zeros)

    with pytest.raises(ProofError):
        prove_here(wanted)

    assert not wanted.out.exists()
