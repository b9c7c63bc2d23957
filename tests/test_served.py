"""A model behind a server in an experiment: what may be said of it, what it is, what is planned."""

from dataclasses import replace

import pytest
import yaml
from rich.console import Console
from sqlalchemy import select

from database import schema
from jobs.answers import Cost
from jobs.declared import UserError
from jobs.experiment import HTTP, Asking, short_hash
from jobs.loading import load
from jobs.plan import show_plan
from jobs.provenance import provenance
from jobs.record import Recorder

SERVED = {"server": {"url": "http://127.0.0.1:8000/v1", "model": "coder", "revision": "2"}}
EXPERIMENT = {
    "models": {"falcon": {"path": "models/starter/falcon"}, "far": SERVED},
    "benchmarks": {"starter": {"problems": 4}},
}
TUNED = {"datasets": ["starter"], "methods": {"small": {"kind": "lora", "steps": 20}}}


@pytest.fixture
def edited(tmp_path):
    """Write the experiment with some keys changed; returns its path."""

    def edit(server=None, **changes):
        models = EXPERIMENT["models"]
        if server is not None:
            models = models | {"far": {"server": SERVED["server"] | server}}
        path = tmp_path / "mine.yaml"
        path.write_text(yaml.safe_dump(EXPERIMENT | {"models": models} | changes))
        return path

    return edit


def mistake(path):
    with pytest.raises(UserError) as caught:
        load(path)
    return str(caught.value)


def served_run(path):
    return next(run for run in load(path).runs() if run.model_name == "far")


def test_a_served_model_is_asked_beside_others(edited):
    assert [run.label for run in load(edited()).runs()] == ["falcon base", "far base"]


def test_a_served_model_is_not_trained_and_the_mistake_says_how_to_leave_it_out(edited):
    assert "exclude: [{model: far}]" in mistake(edited(**TUNED))

    runs = load(edited(**TUNED, exclude=[{"model": "far"}])).runs()

    assert [run.label for run in runs] == ["falcon base", "far base", "falcon starter small seed 0"]


def test_what_is_asked_is_the_name_and_the_revision_never_the_address_nor_the_key(edited):
    same = served_run(edited(server={"url": "https://other/v1", "key": "A_KEY"})).id

    assert same == served_run(edited()).id
    assert same != served_run(edited(server={"revision": "3"})).id
    assert same != served_run(edited(server={"model": "coder-2"})).id


def test_the_contract_of_a_served_model_names_its_engine_and_claims_no_precision(edited):
    experiment = load(edited())
    (benchmark,) = experiment.benchmarks
    own, far = (benchmark.asked_of(run) for run in experiment.runs())

    assert far["engine"] == HTTP != own["engine"]
    assert "precision" in own
    assert "precision" not in far
    assert short_hash(own) != short_hash(far)


def test_a_contract_of_a_served_model_follows_how_it_is_asked(edited):
    experiment = load(edited())
    (benchmark,) = experiment.benchmarks
    far = experiment.runs()[1]
    warmer = replace(benchmark, asking=Asking(temperature=0.5))

    assert warmer.asked_of(far) != benchmark.asked_of(far)


@pytest.mark.parametrize(
    ("server", "said"),
    [
        ({"url": "127.0.0.1:8000"}, "no address of a server"),
        ({"url": "http://me:sk-secret@host/v1"}, "a key has no place in an address"),
        ({"url": "http://host/v1?key=sk-secret"}, "a key has no place in an address"),
        ({"key": "sk-secret"}, "key is no name of an environment variable"),
        ({"concurrency": 0}, "concurrency"),
        ({"perminute": 3}, "Did you mean 'per_minute'?"),
    ],
)
def test_a_mistake_in_a_server_is_told_and_a_key_never_repeated(edited, server, said):
    told = mistake(edited(server=server))

    assert said in told
    assert "sk-secret" not in told


def test_a_model_is_one_thing(edited):
    models = {"far": SERVED | {"path": "models/starter/falcon"}}

    assert "a hub repository, or a server: one" in mistake(edited(models=models))


def test_a_chat_that_begins_the_answer_is_refused_for_a_server(edited):
    asked = {"starter": {"prompt": "chat-signature"}}

    told = mistake(edited(benchmarks=asked, models={"far": SERVED}))

    assert "chat-signature begins the answer" in told
    assert "(far)" in told


def test_a_plan_shows_a_served_model_without_memory_or_download(edited, capsys):
    show_plan(edited(models={"far": SERVED}), Console(width=200))

    shown = capsys.readouterr().out
    assert "asked over HTTP" in shown
    assert "0.0 GiB to download" in shown
    assert "not known" not in shown


def test_what_asking_cost_is_recorded_once_under_the_contract_of_the_run(edited, ledger):
    experiment = load(edited())
    (benchmark,) = experiment.benchmarks
    runs = experiment.runs()
    far = runs[1]
    recorder = Recorder(ledger, experiment)
    recorder.begin(runs)

    for seconds in (1.0, 2.5):
        cost = Cost(device="x" * 300, seconds=seconds, prompt_tokens=3_000_000_000, tokens=5)
        recorder.generated(far, benchmark, cost)

    with ledger.connect() as connection:
        (row,) = connection.execute(select(schema.Generation.__table__)).all()
        contracts = connection.execute(select(schema.Contract.__table__)).all()
    assert (row.run, row.benchmark) == (far.id, "starter")
    assert (row.seconds, row.prompt_tokens, row.tokens) == (2.5, 3_000_000_000, 5)
    assert row.device == "x" * 100
    engines = {c.id: c.content["engine"] for c in contracts if c.kind == "asking"}
    assert engines[row.asking] == HTTP
    assert sorted(engines.values()) == [HTTP, "transformers"]


def test_what_a_server_says_of_itself_is_recorded_with_the_run(edited):
    run = served_run(edited())

    told = provenance(
        run, "mine", {"far": {"url": "http://127.0.0.1:8000/v1", "root": "org/coder"}}
    )

    assert told["model"]["location"] == "coder"
    assert told["server"] == {
        "url": "http://127.0.0.1:8000/v1",
        "revision": "2",
        "root": "org/coder",
    }
