"""Models that share a base answer as models that were loaded alone, whatever was on it before."""

import shutil
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from jobs.bases import Bases
from jobs.engine import EngineError, generate, load_model
from jobs.experiment import Asking
from jobs.prompts import Question
from jobs.weights import Weights

STARTER = Path(__file__).parent.parent / "models" / "starter"
ADAPTER = "adapter_model.safetensors"
QUESTIONS = [Question(str(n), f"def f{n}(xs):\n    ", whole=False) for n in range(3)]
ASKING = Asking(completions=3, temperature=0.9, max_new_tokens=16)
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated")


@pytest.fixture(scope="module")
def adapters(tmp_path_factory):
    """Two adapters of the starter Falcon, with random weights in both of their halves."""
    made = {}
    for seed, targets in ((0, "all-linear"), (1, ["query_key_value"])):
        torch.manual_seed(seed)
        model = get_peft_model(
            AutoModelForCausalLM.from_pretrained(STARTER / "falcon", dtype=torch.float32),
            LoraConfig(r=4, lora_alpha=8, target_modules=targets, task_type="CAUSAL_LM"),
        )
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(weight, std=0.05)
        made[seed] = tmp_path_factory.mktemp("adapter") / str(seed)
        model.save_pretrained(made[seed])
    return made


def of(adapter=None, base="falcon"):
    return Weights(location=str(STARTER / base), tuned=adapter)


def said(loaded):
    return [answer.text for answer in generate(loaded, QUESTIONS, ASKING, (), seed=1)]


def test_models_of_one_base_answer_as_if_each_was_loaded_alone(adapters):
    alone = {key: said(load_model(of(adapters.get(key)))) for key in (None, 0, 1)}
    bases = Bases()

    shared = [(key, said(bases.take(of(adapters.get(key))))) for key in (0, None, 1, 0, 0, 1, None)]

    assert shared == [(key, alone[key]) for key, _ in shared]
    assert len({tuple(texts) for texts in alone.values()}) == 3


def test_a_base_is_what_it_was_once_an_adapter_is_off(adapters):
    bases = Bases()
    model = bases.take(of()).model
    before = {name: weight.clone() for name, weight in model.state_dict().items()}

    bases.take(of(adapters[0]))
    changed = {
        name for name, weight in model.state_dict().items() if not same(weight, before[name])
    }
    after = bases.take(of()).model

    assert after is model
    assert changed
    assert after.state_dict().keys() == before.keys()
    assert all(same(weight, before[name]) for name, weight in after.state_dict().items())


def same(one, other):
    return torch.equal(one.view(torch.int32), other.view(torch.int32))


def test_an_adapter_that_does_not_fit_leaves_nothing_on_the_base(adapters, tmp_path):
    shutil.copytree(adapters[0], tmp_path / "odd")
    weights = load_file(tmp_path / "odd" / ADAPTER)
    save_file(dict(list(weights.items())[2:]), tmp_path / "odd" / ADAPTER)
    bases = Bases()
    expected = said(bases.take(of()))

    with pytest.raises(EngineError, match="of another model"):
        bases.take(of(tmp_path / "odd"))

    assert said(bases.take(of())) == expected


def test_no_more_bases_are_kept_than_wanted(adapters):
    bases = Bases(kept=1)
    first = bases.take(of())

    bases.take(of(base="mistral"))

    assert bases.take(of()).model is not first.model
