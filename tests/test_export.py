"""Weights of a recorded run written for others: read back by peft, transformers and the hub."""

import json
import re
import shutil
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard, snapshot_download
from peft import AutoPeftModelForCausalLM, LoraConfig, PeftModel, get_peft_model
from plausible_reports import plausible_report
from small_hub import COMMIT, TOKEN, running, sha256
from test_cards import facts, step
from transformers import AutoModelForCausalLM, AutoTokenizer

from database.session import open_ledger
from eval_sandbox.verdict import Outcome, Verdict
from jobs.__main__ import main
from jobs.answers import Answer
from jobs.experiment import short_hash
from jobs.loading import load
from jobs.record import Recorder
from jobs.training.steps import write_steps

ROOT = Path(__file__).parent.parent
BASE = ROOT / "models" / "starter" / "llama"
ASKED = torch.arange(1, 31).view(1, 30)

pytestmark = pytest.mark.filterwarnings(
    "ignore:`is_gradient_checkpointing`:FutureWarning",
    "ignore:.is_gradient_checkpointing.:FutureWarning",
    "ignore:Found missing adapter keys:UserWarning",
    "ignore:Use 'content=:DeprecationWarning",  # the hub's client, where it uploads without xet
)


@pytest.fixture
def hub(monkeypatch, tmp_path):
    with running(monkeypatch, tmp_path) as server:
        server.add("org/llama", {p.name: p.read_bytes() for p in BASE.iterdir()})
        yield server


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """What a training of rank 4, and one of all weights, leaves: the first is not zero."""
    folder = tmp_path_factory.mktemp("trained")
    torch.manual_seed(0)
    base = AutoModelForCausalLM.from_pretrained(BASE, dtype=torch.float32)
    given = LoraConfig(
        r=4, target_modules="all-linear", task_type="CAUSAL_LM", init_lora_weights=False
    )
    get_peft_model(base, given).save_pretrained(folder / "lora")
    shutil.copytree(BASE, folder / "full")
    for kind, weights in (("lora", "adapter"), ("full", "full")):
        told = json.dumps(asdict(facts(weights=weights)))
        (folder / kind / "facts.json").write_text(told)
        write_steps([step(1), step(2)], folder / kind / "steps.jsonl")
    return folder


METHODS = {"lora": "{kind: lora, rank: 4, steps: 2}", "full": "{kind: full, steps: 2}"}


@pytest.fixture
def recorded(tmp_path, home, trained):
    """Records a base and a run tuned from it, both scored, as `jobs run` does; returns the run."""

    def record(model=f"{{path: {BASE}}}", kind="lora", seeds="[0]"):
        file = tmp_path / "tried.yaml"
        file.write_text(
            f"models: {{tiny: {model}}}\ndatasets: [smoke]\nmethods: {{m: {METHODS[kind]}}}\n"
            f"benchmarks: {{starter: {{problems: 4}}}}\nseeds: {seeds}\n"
        )
        experiment = load(file)
        base, *tuned = experiment.runs()
        run = tuned[0]
        recorder = Recorder(open_ledger(), experiment)
        recorder.begin([base, *tuned])
        digest = run.training.dataset.digest
        recorder.prepared(plausible_report(dataset="smoke", digest=digest))
        checkpoint = home / run.id / "checkpoint"
        shutil.copytree(trained / kind, checkpoint)
        recorder.trained(run, checkpoint)
        for one, passed in ((base, 1), (run, 3)):
            answers, verdicts = judged(experiment.benchmarks[0], passed)
            recorder.judged(one, experiment.benchmarks[0], answers, verdicts)
            recorder.done(one)
        return run

    return record


def judged(benchmark, passed):
    answers = [
        Answer(task_id=p.task_id, position=0, text="", whole=False, tokens=1, finish="end")
        for p in benchmark.problems
    ]
    outcomes = [Outcome.PASSED if n < passed else Outcome.FAILED for n in range(len(answers))]
    return answers, [Verdict(outcome=o, cpu_seconds=0.1, wall_seconds=0.1) for o in outcomes]


def logits(model):
    with torch.inference_mode():
        return model.eval()(input_ids=ASKED, use_cache=False).logits.float()


def with_adapter(checkpoint):
    base = AutoModelForCausalLM.from_pretrained(BASE, dtype=torch.float32)
    return PeftModel.from_pretrained(base, checkpoint)


def export(*arguments):
    return main(["export", *map(str, arguments)])


def inodes(folder):
    return {p.name: (p.stat().st_ino, p.stat().st_mtime_ns) for p in folder.iterdir()}


def test_an_exported_adapter_is_loaded_by_peft_with_its_tokenizer(recorded, tmp_path, home):
    run = recorded()

    assert export(run.id, "--to", tmp_path / "out") == 0

    out = tmp_path / "out"
    base = AutoModelForCausalLM.from_pretrained(BASE, dtype=torch.float32)
    found = logits(PeftModel.from_pretrained(base, out))
    assert torch.equal(found, logits(with_adapter(home / run.id / "checkpoint")))
    assert AutoTokenizer.from_pretrained(out)("def f") == AutoTokenizer.from_pretrained(BASE)(
        "def f"
    )


def test_a_run_is_found_by_its_label_too(recorded, tmp_path):
    run = recorded()

    assert export(run.label, "--to", tmp_path / "out") == 0
    assert json.loads((tmp_path / "out" / "provenance.json").read_text())["run"] == run.id


def test_an_adapter_of_a_base_of_the_hub_names_its_repository_and_commit(recorded, tmp_path, hub):
    run = recorded(f"{{hub: org/llama, revision: {COMMIT}}}")

    assert export(run.id, "--to", tmp_path / "out") == 0

    config = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert (config["base_model_name_or_path"], config["revision"]) == ("org/llama", COMMIT)
    assert not [path for path in hub.bytes_paths() if "model.safetensors" in path]
    found = AutoPeftModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float32)
    assert torch.equal(logits(found), logits(with_adapter(tmp_path / "out")))


@pytest.mark.parametrize("where", ["a folder", "the hub"])
def test_merged_weights_are_loaded_by_transformers_alone(recorded, tmp_path, home, hub, where):
    model = f"{{hub: org/llama, revision: {COMMIT}}}" if where == "the hub" else f"{{path: {BASE}}}"
    run = recorded(model)

    assert export(run.id, "--merged", "--to", tmp_path / "out") == 0

    out = tmp_path / "out"
    assert not list(out.glob("adapter*"))
    merged = AutoModelForCausalLM.from_pretrained(out, dtype=torch.float32)
    beside = logits(with_adapter(home / run.id / "checkpoint"))
    assert (logits(merged) - beside).abs().max() <= 0.02 * beside.abs().max()
    assert AutoTokenizer.from_pretrained(out).eos_token is not None
    assert ModelCard.load(out / "README.md").data.library_name == "transformers"


def test_all_weights_of_a_full_training_are_exported(recorded, tmp_path):
    run = recorded(kind="full")

    assert export(run.id, "--merged", "--to", tmp_path / "out") == 0

    found = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float32)
    base = AutoModelForCausalLM.from_pretrained(BASE, dtype=torch.float32)
    assert torch.equal(logits(found), logits(base))
    card = (tmp_path / "out" / "README.md").read_text()
    assert "all weights tuned" in card


def test_what_goes_along_with_an_adapter_is_tokenizer_licence_and_what_is_known_of_it(
    recorded, tmp_path, hub
):
    files = hub.repositories["org/llama"].files
    files |= {"LICENSE": b"terms", "trainer_state.json": b"{}", "chat_template.jinja": b"{{ x }}"}
    run = recorded(f"{{hub: org/llama, revision: {COMMIT}}}")

    export(run.id, "--to", tmp_path / "out")

    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "adapter_model.safetensors", "adapter_config.json", "tokenizer.json",
        "tokenizer_config.json", "chat_template.jinja", "LICENSE", "README.md", "provenance.json",
        "facts.json", "steps.jsonl",
    }  # fmt: skip


def test_a_base_that_names_code_of_its_own_is_merged_without_that_name(recorded, tmp_path, hub):
    files = hub.repositories["org/llama"].files
    config = json.loads(files["config.json"]) | {"auto_map": {"AutoModelForCausalLM": "x.X"}}
    files["config.json"] = json.dumps(config).encode()
    run = recorded(f"{{hub: org/llama, revision: {COMMIT}}}")

    export(run.id, "--merged", "--to", tmp_path / "out")

    merged = json.loads((tmp_path / "out" / "config.json").read_text())
    assert merged == {name: value for name, value in config.items() if name != "auto_map"}


def test_the_card_tells_the_scores_and_the_folder_where_it_came_from(recorded, tmp_path):
    run = recorded()

    export(run.id, "--to", tmp_path / "out")

    card = (tmp_path / "out" / "README.md").read_text()
    provenance = json.loads((tmp_path / "out" / "provenance.json").read_text())
    (contract,) = provenance["contracts"]
    assert re.search(rf"\| starter \| pass@1 \| 75.0 \| .* \| 4 \| 1 \| {contract} \|", card)
    assert "+50.0 points" in card
    assert short_hash(provenance["spec"]) == run.id
    assert provenance["contracts"][contract]["judging"]["benchmark"] == "custom"
    weights = tmp_path / "out" / "adapter_model.safetensors"
    assert provenance["files"][weights.name]["sha256"] == sha256(weights.read_bytes())
    assert len((tmp_path / "out" / "steps.jsonl").read_text().splitlines()) == 2


def test_nothing_that_is_exported_names_a_path_or_a_host_of_this_machine(recorded, tmp_path):
    import socket

    run = recorded()
    export(run.id, "--to", tmp_path / "out")

    for file in (tmp_path / "out").iterdir():
        content = file.read_bytes()
        for private in (str(tmp_path), str(ROOT), socket.gethostname()):
            assert private.encode() not in content, file.name


@pytest.mark.parametrize("how", [(), ("--merged",)], ids=["adapter", "merged"])
def test_repeating_an_export_makes_no_file_again(recorded, tmp_path, capsys, how):
    run = recorded()
    export(run.id, *how, "--to", tmp_path / "out")
    before = inodes(tmp_path / "out")
    before.pop("provenance.json")

    export(run.id, *how, "--to", tmp_path / "out")

    after = inodes(tmp_path / "out")
    after.pop("provenance.json")
    assert after == before
    assert "0 files made" in capsys.readouterr().out


def test_a_file_that_was_changed_is_made_again_and_only_that(recorded, tmp_path):
    run = recorded()
    export(run.id, "--merged", "--to", tmp_path / "out")
    whole = (tmp_path / "out" / "model.safetensors").read_bytes()
    (tmp_path / "out" / "model.safetensors").write_bytes(whole[:-1] + b"x")
    before = inodes(tmp_path / "out")

    export(run.id, "--merged", "--to", tmp_path / "out")

    after = inodes(tmp_path / "out")
    changed = {name for name in after if after[name] != before[name]}
    assert changed == {"model.safetensors", "provenance.json"}
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == whole


def test_an_export_that_was_killed_is_not_there_yet_and_goes_on(recorded, tmp_path, monkeypatch):
    from jobs.exports import export as module

    run = recorded()
    monkeypatch.setattr(module, "model_card", lambda *_: "\ud800")  # no file can hold it
    assert export(run.id, "--merged", "--to", tmp_path / "out") == 70
    monkeypatch.undo()
    monkeypatch.setenv("CODELADDER_HOME", str(tmp_path / "home"))
    assert not (tmp_path / "out").exists()

    export(run.id, "--merged", "--to", tmp_path / "out")

    assert AutoModelForCausalLM.from_pretrained(tmp_path / "out").num_parameters() > 0
    assert sorted(p.name for p in tmp_path.glob(".*")) == []


def test_changed_weights_are_not_published_under_the_scores_of_others(recorded, tmp_path, capsys):
    run = recorded()
    weights = tmp_path / "home" / run.id / "checkpoint" / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")

    assert export(run.id, "--to", tmp_path / "out") == 2
    assert "not those that were recorded" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_folder_of_other_files_is_left_alone(recorded, tmp_path, capsys):
    run = recorded()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")

    assert export(run.id, "--to", tmp_path / "out") == 2
    assert "holds other files" in capsys.readouterr().err
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["mine.txt"]


def test_a_folder_of_another_run_is_left_alone(recorded, tmp_path, capsys):
    run = recorded()
    export(run.id, "--to", tmp_path / "out")
    before = inodes(tmp_path / "out")
    other = recorded(kind="full")

    assert export(other.id, "--to", tmp_path / "out") == 2
    assert f"out holds {run.label}; name an empty folder" in capsys.readouterr().err
    assert inodes(tmp_path / "out") == before
    assert export(run.id, "--to", tmp_path / "out", "--merged") == 0


def test_mistakes_name_the_nearest_run_and_what_a_base_is(recorded, capsys):
    run = recorded(seeds="[0, 1]")

    assert export("tiny smoke m seed 3") == 2
    assert "Did you mean 'tiny smoke m seed" in capsys.readouterr().err
    assert export("tiny base") == 2
    assert "a base as it came" in capsys.readouterr().err
    assert export("tiny smoke m seed 1") == 2
    assert "has no weights yet; it is waiting" in capsys.readouterr().err
    assert export(run.id, "--hub", "name-alone") == 2
    assert "OWNER/NAME" in capsys.readouterr().err


def test_strict_licences_of_the_data_are_told_and_refuse_nothing(recorded, tmp_path, capsys):
    run = recorded()

    assert export(run.id, "--to", tmp_path / "out") == 0
    said = capsys.readouterr().out
    assert "Careful: the licence of the data, CC-BY-NC-4.0, forbids commercial use" in said


def test_uploading_without_a_token_says_where_to_get_one_before_anything_is_made(
    recorded, tmp_path, hub, capsys
):
    run = recorded()

    assert export(run.id, "--to", tmp_path / "out", "--hub", "me/new") == 2
    assert "set HF_TOKEN" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.fixture
def token(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)


def test_an_upload_is_private_and_holds_the_files_of_the_folder(recorded, tmp_path, hub, token):
    run = recorded()

    assert export(run.id, "--to", tmp_path / "out", "--hub", "me/new") == 0

    made = hub.repositories["me/new"]
    assert made.private
    assert made.files == {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()}
    assert made.summaries == [f"Codeladder run {run.id}"]


def test_what_was_uploaded_is_loaded_from_the_hub(recorded, tmp_path, hub, token):
    run = recorded(f"{{hub: org/llama, revision: {COMMIT}}}")
    export(run.id, "--to", tmp_path / "out", "--hub", "me/new", "--public")
    made = hub.repositories["me/new"]
    assert not made.private

    there = snapshot_download("me/new")
    found = AutoPeftModelForCausalLM.from_pretrained(there, dtype=torch.float32)
    assert torch.equal(logits(found), logits(with_adapter(tmp_path / "out")))


def test_uploading_again_sends_no_weights_and_commits_nothing(recorded, tmp_path, hub, token):
    run = recorded()
    asked = run.id, "--to", tmp_path / "out", "--hub", "me/new"
    export(*asked)
    hub.asked.clear()

    assert export(*asked) == 0
    assert not [path for method, path, _ in hub.asked if method == "PUT"]
    assert len(hub.repositories["me/new"].summaries) == 1


def test_an_interrupted_upload_sends_only_what_the_hub_lacks(
    recorded, tmp_path, hub, token, capsys
):
    run = recorded(kind="full")
    shard = home_file(tmp_path, run, "model.safetensors")
    (shard.parent / "more.safetensors").write_bytes(b"more weights")
    reseal(run)
    hub.objects.clear()
    hub.refused_uploads.add(sha256(b"more weights"))
    asked = run.id, "--to", tmp_path / "out", "--hub", "me/new"

    assert export(*asked) == 2
    assert "the same command goes on" in capsys.readouterr().err
    assert hub.repositories["me/new"].files == {}
    sent = [path for method, path, _ in hub.asked if method == "PUT"]
    assert f"/upload/{sha256(shard.read_bytes())}" in sent
    hub.refused_uploads.clear()
    hub.asked.clear()

    assert export(*asked) == 0
    sent = [path for method, path, _ in hub.asked if method == "PUT"]
    assert sent == [f"/upload/{sha256(b'more weights')}"]
    assert "more.safetensors" in hub.repositories["me/new"].files


def home_file(tmp_path, run, name):
    return tmp_path / "home" / run.id / "checkpoint" / name


def reseal(run):
    """Record the weights as they are now."""
    from sqlalchemy import update
    from sqlalchemy.orm import Session

    from database.schema import Checkpoint
    from jobs.record import weights_digest

    with Session(open_ledger()) as session:
        path = session.get(Checkpoint, run.id).path
        digest = weights_digest(Path(path))
        session.execute(update(Checkpoint).where(Checkpoint.run == run.id).values(sha256=digest))
        session.commit()


REFUSED = {
    "is not valid": ("mistyped", True, "HF_TOKEN is not valid"),
    "may not write": (TOKEN, False, "HF_TOKEN may not write there"),
}


@pytest.mark.parametrize("given, may_write, told", REFUSED.values(), ids=REFUSED)
def test_a_token_is_told_that(recorded, tmp_path, hub, monkeypatch, capsys, given, may_write, told):
    run = recorded()
    hub.may_write = may_write
    monkeypatch.setenv("HF_TOKEN", given)

    assert export(run.id, "--to", tmp_path / "out", "--hub", "me/new") == 2
    assert told in capsys.readouterr().err
