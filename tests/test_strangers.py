"""What comes from strangers is data: their recipes, models and benchmarks run no code here.

Each attack would leave a file behind; that there is none is what is looked at.
"""

import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from small_training import LORA

from jobs.__main__ import main
from jobs.data.hub import load
from jobs.data.origin import Source
from jobs.declared import UserError
from jobs.loaded import load_model
from jobs.plain_pickle import RefusedPickleError, text_of_pickle
from jobs.prompts import PromptError, chat_tokenizer
from jobs.recipes import BENCH, BenchmarkRecipe, read_recipe
from jobs.training.models import ModelError, load_base
from jobs.weights import Weights

ROOT = Path(__file__).parent.parent
FALCON = ROOT / "models" / "starter" / "falcon"


@pytest.fixture
def canary(tmp_path):
    """A file that an attack would make."""
    path = tmp_path / "canary"
    yield path
    assert not path.exists(), "a stranger's code has run"


def attack(canary):
    return f"__import__('pathlib').Path({str(canary)!r}).touch()"


TAGS = {
    "a call": "!!python/object/apply:os.system ['touch {}']",
    "an object": "!!python/object/new:os.system ['touch {}']",
    "a name": "!!python/name:os.system",
    "a module": "!!python/module:antigravity",
}


def each_tag():
    """`cluster up` reads each; `jobs plan`, which takes long to start, one, and all when slow."""
    for number, (name, tag) in enumerate(TAGS.items()):
        late = [pytest.mark.slow] if number else []
        yield pytest.param(tag, ["jobs", "plan"], id=f"jobs, {name}", marks=late)
        yield pytest.param(tag, ["cluster", "up", "--dry-run"], id=f"cluster, {name}")


@pytest.mark.parametrize(("tag", "command"), [*each_tag()])
def test_a_tag_of_yaml_makes_no_object(tag, command, canary, tmp_path):
    file = tmp_path / "theirs.yaml"
    file.write_text(f"models: {tag.format(canary)}\n")
    done = subprocess.run(
        [sys.executable, "-m", *command, str(file)], cwd=ROOT, capture_output=True, text=True
    )

    assert done.returncode == 2
    assert "python/" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["../bench/starter", "/etc/passwd", "a/b", "..", ".hidden", ""])
def test_a_name_that_would_leave_its_folder_is_no_name_of_a_recipe(name):
    with pytest.raises(UserError, match="is no name of a recipe"):
        read_recipe(BenchmarkRecipe, BENCH, name)


def test_an_experiment_whose_benchmark_leaves_the_folder_is_refused(tmp_path, capsys):
    file = tmp_path / "theirs.yaml"
    file.write_text(f"models: {{m: {{path: {FALCON}}}}}\nbenchmarks: {{../bench/starter: {{}}}}\n")

    assert main(["plan", str(file)]) == 2
    assert "is no name of a recipe" in capsys.readouterr().err


class Attack:
    def __init__(self, canary):
        self.canary = canary

    def __reduce__(self):
        return (os.system, (f"touch {self.canary}",))


def test_a_pickle_among_published_tests_is_not_loaded(canary):
    with pytest.raises(RefusedPickleError, match="may run code"):
        text_of_pickle(pickle.dumps(Attack(canary)))


@pytest.fixture
def theirs(tmp_path):
    """A model that can be loaded, to be spoilt."""
    return Path(shutil.copytree(FALCON, tmp_path / "theirs"))


def changed(folder, name, **fields):
    path = folder / name
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def test_weights_that_are_a_pickle_are_not_read(canary, theirs):
    (theirs / "model.safetensors").unlink()
    (theirs / "pytorch_model.bin").write_bytes(pickle.dumps(Attack(canary)))

    with pytest.raises(ModelError):
        load_base(str(theirs), None, LORA.settings(), None)
    with pytest.raises(Exception, match="safetensors"):
        load_model(Weights(location=str(theirs)))


@pytest.fixture
def with_code(theirs, canary):
    """A model that brings its own classes, in the way of the hub."""
    (theirs / "theirs.py").write_text(attack(canary))
    classes = {
        "AutoConfig": "theirs.Config",
        "AutoModelForCausalLM": "theirs.Model",
        "AutoTokenizer": ["theirs.Tokenizer", None],
    }
    changed(theirs, "config.json", auto_map=classes, model_type="theirs")
    changed(theirs, "tokenizer_config.json", auto_map=classes, tokenizer_class="Theirs")
    return str(theirs)


def test_the_classes_that_a_model_brings_are_not_run_to_train_it(with_code, canary):
    with pytest.raises(ModelError, match=r"custom code|trust_remote_code|model type"):
        load_base(with_code, None, LORA.settings(), None)


def test_the_classes_that_a_model_brings_are_not_run_to_ask_it(with_code, canary):
    with pytest.raises(Exception, match=r"custom code|trust_remote_code|model type"):
        load_model(Weights(location=with_code))


TEMPLATES = {
    "globals": "{{ cycler.__init__.__globals__.os.system('touch CANARY') }}",
    "subclasses": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "an import": "{{ self.__init__.__globals__['__builtins__']['__import__']('os') }}",
    "a file": "{% include '/etc/passwd' %}",
}


@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES)
def test_a_chat_template_reaches_nothing_of_ours(template, theirs, canary):
    changed(theirs, "tokenizer_config.json", chat_template=template.replace("CANARY", str(canary)))

    with pytest.raises(PromptError):
        chat_tokenizer(str(theirs), None)


def test_a_dataset_that_is_a_script_is_refused(canary, tmp_path):
    folder = tmp_path / "theirs"
    folder.mkdir()
    (folder / "theirs.py").write_text(attack(canary))
    source = Source.model_construct(hub=str(folder), revision="", subset="", split="")

    with pytest.raises(UserError):
        load("theirs", source)
