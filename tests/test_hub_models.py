"""Models of the hub, asked of a real server with the hub's own client: looked at, and fetched."""

import json
import random
import socket

import pytest
from small_hub import COMMIT, HEAD, TOKEN, running

from jobs.experiment import ModelSpec
from jobs.hub import download as hub_download
from jobs.hub import models as hub_models
from jobs.hub.cache import partial, place
from jobs.hub.download import DownloadError, download
from jobs.hub.models import look

MISSING = "c3" * 20
NOISE = random.Random(0).randbytes
SHARDS = {f"model-0000{i}-of-00002.safetensors": NOISE(300_000 + 1000 * i) for i in (1, 2)}
CONFIG = {"model_type": "llama", "architectures": ["LlamaForCausalLM"]}
SMALL = {
    "config.json": json.dumps(CONFIG).encode(),
    "generation_config.json": b"{}",
    "tokenizer.json": b'{"version": "1.0"}',
    "tokenizer_config.json": b"{}",
    "README.md": b"---\nlicense: apache-2.0\n---\n",
}
INDEX = {"weight_map": {"a": sorted(SHARDS)[0], "b": sorted(SHARDS)[1]}}
SHARDED = SMALL | SHARDS | {"model.safetensors.index.json": json.dumps(INDEX).encode()}
WHOLE = SMALL | {"model.safetensors": NOISE(200_000)}
UNWANTED = {
    "pytorch_model.bin": b"pickle",
    "consolidated.safetensors": NOISE(1000),
    "original/params.json": b"{}",
    "model.gguf": b"gguf",
    "pytorch_model.bin.index.json": b"{}",
}


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A hub of our own, and nobody waits for it."""
    monkeypatch.setattr(hub_models, "WAITS", (0.0, 0.0))
    monkeypatch.setattr(hub_download, "WAITS", (0.0,) * 5)
    with running(monkeypatch, tmp_path) as server:
        yield server


@pytest.fixture
def unplug(monkeypatch):
    """Nobody listens where the hub was."""
    from huggingface_hub import constants

    def pull():
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            nobody = f"http://127.0.0.1:{listener.getsockname()[1]}"
        monkeypatch.setattr(constants, "ENDPOINT", nobody)

    return pull


def spec(hub="org/model", revision=COMMIT):
    return ModelSpec(hub=hub, revision=revision)


def only(looked):
    (mistake,) = looked.mistakes
    assert not looked.models
    return mistake


def fetch(server, *, say=lambda *_: None, **models):
    looked = look(models or {"m": spec()})
    assert not looked.mistakes
    download(looked.models, say)
    return looked


def content_here(files):
    return {name: place("org/model", COMMIT, name).read_bytes() for name in files}


def test_a_model_of_the_hub_is_fetched_whole_and_nothing_else_of_its_repository(hub):
    hub.add("org/model", SHARDED | UNWANTED)

    fetch(hub)

    assert content_here(SHARDED) == SHARDED
    folder = place("org/model", COMMIT, "config.json").parent
    assert {p.name for p in folder.iterdir()} == set(SHARDED)


def test_transformers_loads_what_was_fetched_without_asking_the_hub(hub, tmp_path, monkeypatch):
    import torch
    from huggingface_hub import constants
    from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

    small = LlamaConfig(
        vocab_size=8, hidden_size=4, intermediate_size=4, num_hidden_layers=1, num_attention_heads=1
    )
    torch.manual_seed(0)
    made = LlamaForCausalLM(small)
    made.save_pretrained(tmp_path / "made")
    files = {p.name: p.read_bytes() for p in (tmp_path / "made").iterdir()}
    hub.add("org/model", files | {"tokenizer.json": b"{}"})
    fetch(hub)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)

    loaded = AutoModelForCausalLM.from_pretrained("org/model", revision=COMMIT)

    assert torch.equal(loaded.lm_head.weight, made.lm_head.weight)


def test_a_model_that_is_here_needs_no_network(hub, unplug):
    hub.add("org/model", SHARDED)
    fetch(hub)
    unplug()

    looked = look({"m": spec()})

    assert looked.mistakes == looked.notes == ()
    assert looked.missing_bytes == 0
    download(looked.models, lambda *_: None)


def test_a_model_that_transformers_itself_fetched_needs_no_network_either(hub):
    from huggingface_hub import hf_hub_download

    hub.add("org/model", WHOLE)
    for name in WHOLE:
        hf_hub_download("org/model", name, revision=COMMIT)
    before = len(hub.asked)

    assert not look({"m": spec()}).mistakes
    assert len(hub.asked) == before


def test_a_cut_connection_goes_on_from_the_byte_it_was_cut_at(hub):
    hub.add("org/model", SHARDED)
    first = sorted(SHARDS)[0]
    hub.cuts[first] = [100_000, 50_000]

    fetch(hub)

    cdn = next(path for path in hub.bytes_paths() if path.endswith(first))
    assert hub.served(cdn) == ["", "bytes=100000-", "bytes=150000-"]
    assert content_here(SHARDED) == SHARDED


def test_of_a_download_that_was_given_up_another_process_fetches_the_rest_only(hub):
    hub.add("org/model", WHOLE)
    hub.cuts["model.safetensors"] = [120_000] + [0] * 6
    with pytest.raises(DownloadError, match="The same command goes on"):
        fetch(hub)
    hub.cuts.clear()
    hub.asked.clear()

    looked = look({"m": spec()})
    assert looked.missing_bytes < sum(map(len, WHOLE.values())) - 119_000
    download(looked.models, lambda *_: None)

    (cdn,) = set(hub.bytes_paths())
    assert hub.served(cdn) == ["bytes=120000-"]
    assert content_here(WHOLE) == WHOLE


def test_a_damaged_part_of_an_earlier_download_is_not_built_upon(hub):
    hub.add("org/model", WHOLE)
    (model,) = look({"m": spec()}).models
    (file,) = (file for file in model.files if file.is_large)
    partial("org/model", file).parent.mkdir(parents=True, exist_ok=True)
    partial("org/model", file).write_bytes(bytes(1000))

    download([model], lambda *_: None)

    assert content_here(WHOLE) == WHOLE


def test_a_server_that_serves_no_ranges_sends_all_of_it_again(hub):
    hub.add("org/model", WHOLE)
    hub.cuts["model.safetensors"] = [100_000]
    hub.no_ranges = True

    fetch(hub)

    assert content_here(WHOLE) == WHOLE


def test_a_network_that_stays_broken_is_given_up_with_what_is_kept(hub):
    hub.add("org/model", WHOLE)
    hub.cuts["model.safetensors"] = [1000] + [0] * 100

    with pytest.raises(DownloadError) as told:
        fetch(hub)

    assert "models.m: org/model/model.safetensors: the hub cannot be reached" in str(told.value)
    (cdn,) = set(hub.bytes_paths())
    assert len(hub.served(cdn)) == 7


def test_bytes_that_the_hub_does_not_list_never_reach_the_cache(hub):
    hub.add("org/model", WHOLE)
    hub.garbled.add("model.safetensors")

    with pytest.raises(DownloadError, match="has not the sha256"):
        fetch(hub)

    looked = look({"m": spec()})
    assert [f.name for f in looked.models[0].missing if f.is_large] == ["model.safetensors"]
    assert not partial("org/model", looked.models[0].missing[-1]).exists()


def test_a_file_that_was_cut_short_on_disk_is_fetched_again(hub):
    hub.add("org/model", WHOLE)
    fetch(hub)
    path = place("org/model", COMMIT, "model.safetensors").resolve()
    path.write_bytes(path.read_bytes()[:1000])

    fetch(hub)

    assert content_here(WHOLE) == WHOLE


def test_progress_is_in_bytes_and_ends_with_all_of_them(hub):
    hub.add("org/model", SHARDED)
    hub.cuts[sorted(SHARDS)[0]] = [100_000]
    told = []

    fetch(hub, say=lambda *more: told.append(more))

    total = sum(map(len, SHARDED.values()))
    assert told[-1] == ("m", total, total)
    assert all(done <= of == total for _, done, of in told)
    assert len(told) > len(SHARDED)


def test_a_hub_that_is_busy_is_asked_again(hub):
    hub.add("org/model", WHOLE)
    hub.busy = 2

    fetch(hub)

    assert content_here(WHOLE) == WHOLE


def test_a_gated_model_without_a_token_names_the_page_where_it_is_accepted(hub):
    hub.add("org/model", WHOLE, gated=True, readers=(TOKEN,))

    said = only(look({"m": spec()}))

    assert f"models.m: org/model is gated: accept its terms at {hub.url}/org/model" in said
    assert "set HF_TOKEN" in said


def test_a_gated_model_whose_token_was_not_let_in_says_that_and_where_to_ask(hub, monkeypatch):
    hub.add("org/model", WHOLE, gated=True, readers=("hf_another",))
    monkeypatch.setenv("HF_TOKEN", TOKEN)

    said = only(look({"m": spec()}))

    assert "the account of HF_TOKEN was not let in" in said
    assert f"{hub.url}/org/model" in said


def test_a_gated_model_is_fetched_with_the_token_of_an_account_that_was_let_in(hub, monkeypatch):
    hub.add("org/model", WHOLE, gated=True, readers=(TOKEN,))
    monkeypatch.setenv("HF_TOKEN", TOKEN)

    fetch(hub)

    assert content_here(WHOLE) == WHOLE


def test_a_token_that_is_not_valid_is_told_from_one_without_rights(hub, monkeypatch):
    hub.add("org/model", WHOLE)
    monkeypatch.setenv("HF_TOKEN", "mistyped")

    assert f"HF_TOKEN is not valid; make one at {hub.url}/settings/tokens" in only(
        look({"m": spec()})
    )


def test_a_commit_that_is_gone_is_told_with_the_commit_that_main_is_at(hub):
    hub.add("org/model", WHOLE, head=HEAD)

    said = only(look({"m": spec(revision=MISSING)}))

    assert f"org/model has no commit {MISSING}" in said
    assert HEAD in said


def test_a_main_that_has_moved_is_noted_and_the_pinned_commit_used(hub):
    hub.add("org/model", WHOLE, head=HEAD)

    looked = look({"m": spec()})

    assert not looked.mistakes
    assert f"has moved to {HEAD[:12]}" in looked.notes[0]
    assert looked.models[0].revision == COMMIT


def test_a_name_that_is_not_on_the_hub_is_told_with_the_nearest_of_its_owner(hub):
    hub.add("org/coder-1.5b", WHOLE)

    assert "Did you mean 'org/coder-1.5b'?" in only(look({"m": spec("org/coder-1.5")}))


CONTENTS = {
    "pickles only": (
        SMALL | {"pytorch_model.bin": b"x"},
        "has no safetensors, only pytorch_model.bin; pickles can run code",
    ),
    "an adapter": ({"adapter_config.json": b"{}"}, "name the base it is for"),
    "code of its own": (
        WHOLE | {"config.json": b'{"model_type": "odd", "auto_map": {"AutoModel": "odd.Odd"}}'},
        "needs code of its own, which is never run",
    ),
    "a type that is nearly known": (
        WHOLE | {"config.json": b'{"model_type": "starcoder"}'},
        "Did you mean 'starcoder2'?",
    ),
    "quantized weights": (
        WHOLE
        | {
            "config.json": json.dumps(
                CONFIG | {"quantization_config": {"quant_method": "gptq"}}
            ).encode()
        },
        "is quantized already (gptq)",
    ),
    "an index that is none": (
        SHARDED | {"model.safetensors.index.json": b"[]"},
        "has a config.json or an index of its weights that cannot be read",
    ),
    "a shard missing": (
        {n: c for n, c in SHARDED.items() if n != sorted(SHARDS)[1]},
        f"lacks {sorted(SHARDS)[1]}, which its index names",
    ),
}


@pytest.mark.parametrize("files, told", CONTENTS.values(), ids=CONTENTS)
def test_a_repository_cannot_be_trained_that_holds(hub, files, told):
    hub.add("org/model", files)

    assert told in only(look({"m": spec()}))


def test_all_that_is_wrong_with_all_models_is_told_at_once(hub):
    hub.add("org/gated", WHOLE, gated=True)
    hub.add("org/good", WHOLE)
    models = {"a": spec("org/none"), "b": spec("org/gated"), "c": spec("org/good")}

    looked = look(models)

    assert [mistake.partition(":")[0] for mistake in looked.mistakes] == ["models.a", "models.b"]
    assert [model.name for model in looked.models] == ["c"]


def test_models_that_do_not_fit_the_disk_together_are_refused(hub, monkeypatch):
    hub.add("org/model", WHOLE)
    free = sum(map(len, WHOLE.values())) * 3 // 2
    hub.add("org/other", WHOLE)
    monkeypatch.setattr(
        hub_models.shutil, "disk_usage", lambda path: type("Usage", (), {"free": free})
    )

    looked = look({"a": spec(), "b": spec("org/other")})

    assert "set HF_HOME to a larger disk" in looked.mistakes[0]


def test_offline_what_is_missing_is_named_and_the_hub_is_not_asked(hub, monkeypatch):
    from huggingface_hub import constants, hf_hub_download

    hub.add("org/model", SHARDED)
    for name in ("config.json", "model.safetensors.index.json", "tokenizer.json"):
        hf_hub_download("org/model", name, revision=COMMIT)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    hub.asked.clear()

    said = only(look({"m": spec()}))

    assert "HF_HUB_OFFLINE is set" in said
    assert ", ".join(sorted(SHARDS)) in said
    assert not hub.asked


def test_without_a_network_each_model_that_is_not_here_is_named(hub, unplug):
    hub.add("org/model", WHOLE)
    fetch(hub)
    unplug()

    looked = look({"here": spec(), "a": spec("org/a"), "b": spec("org/b")})

    assert [model.name for model in looked.models] == ["here"]
    assert len(looked.mistakes) == 2
    assert all("the hub cannot be reached" in mistake for mistake in looked.mistakes)
