"""The real pipeline on the smoke experiment: real Ray, LoRA, sandboxes and SQL."""

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from huggingface_hub import ModelCard
from sqlalchemy import select

from database import open_ledger
from database.schema import Checkpoint, Completion, Dataset, Row, Run, Score, Step, Verdict

ROOT = Path(__file__).parent.parent
SMOKE = "experiments/smoke.yaml"
TIMES = {"seconds", "cpu_seconds", "wall_seconds", "created_at", "recorded_at", "finished_at", "at"}
COSTS = {"memory", "flops_share", "joules"}
LIVE = {"drivers", "nodes", "stages"}
"""Tables of what goes on right now."""
WHERE = {"path", "facts", "provenance", "message"}
"""Columns that say when, where and at what cost, and so differ between two runs of the same thing.
"""


ABOUT = ("run", "model", "base", "method", "dataset", "seed", "benchmark", "metric", "contract")
NUMBERS = ("value", "low", "high", "problems", "completions", "delta")
RESULT_FIELDS = frozenset((*ABOUT, *NUMBERS))
DELTA_FIELDS = frozenset(("value", "low", "high", "p", "verdict"))


def jobs(home, *arguments, **more):
    environment = os.environ | {"CODELADDER_HOME": str(home)}
    command = [sys.executable, "-m", "jobs", *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600, **more
    )


def start(home):
    environment = os.environ | {"CODELADDER_HOME": str(home)}
    return subprocess.Popen(
        [sys.executable, "-m", "jobs", "run", SMOKE],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def ledger_of(home):
    return open_ledger(f"sqlite:///{home}/ledger.db")


def contents(home):
    """Every row of every table but for when and where, as comparable text."""
    found = {}
    with ledger_of(home).connect() as connection:
        for table in Row.metadata.sorted_tables:
            if table.name in LIVE:
                continue
            kept = [column for column in table.columns if column.name not in TIMES | COSTS | WHERE]
            rows = connection.execute(select(*kept)).all()
            found[table.name] = sorted(json.dumps(list(row), default=str) for row in rows)
    return found


def all_of(home, table):
    with ledger_of(home).connect() as connection:
        return connection.execute(select(table.__table__)).all()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """A home in which the smoke experiment ran once from beginning to end."""
    home = tmp_path_factory.mktemp("undisturbed")
    done = jobs(home, "run", SMOKE)
    assert done.returncode == 0, done.stdout + done.stderr
    return home, done.stdout


def test_a_run_records_every_completion_with_one_verdict(undisturbed):
    home, _ = undisturbed

    completions = {row.id for row in all_of(home, Completion)}
    judged = [row.completion for row in all_of(home, Verdict)]

    assert len(completions) == 2 * 16 * 2  # base and tuned, 16 problems, 2 completions
    assert sorted(judged) == sorted(completions)


def test_a_run_records_its_whole_curve_and_its_weights(undisturbed):
    home, _ = undisturbed

    assert [row.step for row in all_of(home, Step)] == list(range(1, 21))
    (checkpoint,) = all_of(home, Checkpoint)
    assert (Path(checkpoint.path) / "adapter_model.safetensors").is_file()
    assert checkpoint.steps == 20


def test_a_run_records_where_it_came_from(undisturbed):
    home, _ = undisturbed

    tuned = next(row for row in all_of(home, Run) if row.kind == "tuned")

    assert tuned.state == "done"
    assert len(tuned.provenance["commit"]) == 40
    assert tuned.provenance["libraries"]["torch"].startswith("2.13.0")
    assert len(tuned.provenance["data"]["sources"]["starter"]["sha256"]) == 64
    assert tuned.provenance["seed"] == 0
    assert tuned.base_run in {row.id for row in all_of(home, Run)}


def test_a_run_names_the_dataset_it_was_trained_on_and_its_card_tells_the_licence(undisturbed):
    home, _ = undisturbed
    tuned = next(row for row in all_of(home, Run) if row.kind == "tuned")

    (dataset,) = all_of(home, Dataset)
    card = ModelCard.load(home / tuned.id / "checkpoint" / "README.md")

    assert tuned.dataset_digest == dataset.digest
    assert (dataset.rows_in, dataset.rows_out) == (5200, 400)
    assert sorted(lengths["tokenizer"] for lengths in dataset.report["lengths"]) == [tuned.model]
    assert card.data.license == "apache-2.0"
    assert card.data.library_name == "peft"


def test_the_end_of_a_run_shows_scores_and_where_the_time_went(undisturbed):
    _, said = undisturbed

    assert "against its base" in said
    assert "Where the time went" in said
    assert "Ray dashboard: http://127.0.0.1:" in said


def test_the_second_time_there_is_nothing_to_do_and_it_says_so_within_15_seconds(undisturbed):
    home, _ = undisturbed
    before = contents(home)
    took = []
    while len(took) < 3 and min(took, default=15) >= 15:  # a busy machine is no reason for more
        started = time.monotonic()
        again = jobs(home, "run", SMOKE)
        took.append(time.monotonic() - started)

        assert again.returncode == 0
        assert "Nothing to do: all 2 runs of smoke are recorded." in again.stdout
        assert contents(home) == before
    assert min(took) < 15


def test_results_as_json_begin_with_the_fields_of_the_contract(undisturbed):
    home, _ = undisturbed

    rows = json.loads(jobs(home, "results", "--json").stdout)

    assert {frozenset(list(row)[: len(RESULT_FIELDS)]) for row in rows} == {RESULT_FIELDS}
    assert len(rows) == 2 * 2  # two runs, pass@1 and pass@2
    assert all(0 <= row["low"] <= row["value"] <= row["high"] <= 1 for row in rows)
    deltas = [row["delta"] for row in rows if row["base"]]
    assert {frozenset(list(delta)[: len(DELTA_FIELDS)]) for delta in deltas} == {DELTA_FIELDS}


def test_results_as_csv_say_the_same_as_json(undisturbed):
    home, _ = undisturbed

    table = list(csv.DictReader(io.StringIO(jobs(home, "results", "--csv").stdout)))
    rows = json.loads(jobs(home, "results", "--json").stdout)

    assert [row["value"] for row in table] == [str(row["value"]) for row in rows]
    assert "delta_verdict" in table[0]


def test_pass_at_1_is_the_share_of_completions_that_passed(undisturbed):
    home, _ = undisturbed
    passed = {row.completion for row in all_of(home, Verdict) if row.outcome == "passed"}
    completions = all_of(home, Completion)

    for score in all_of(home, Score):
        own = [row.id for row in completions if row.run == score.run]
        if score.metric == "pass@1":
            assert score.value == pytest.approx(sum(i in passed for i in own) / len(own))


@pytest.mark.slow
def test_killed_while_training_the_same_command_finishes_with_the_same_rows(undisturbed, tmp_path):
    home = tmp_path / "killed"
    process = start(home)
    wait_for(lambda: home.is_dir() and list(home.glob("*/attempts/step-*")), process)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()

    again = jobs(home, "run", SMOKE)

    assert again.returncode == 0, again.stdout + again.stderr
    assert contents(home) == contents(undisturbed[0])


BOUNDARIES = {
    "the rows are prepared": "data/*/report.json",
    "the first answers are there": "*/completions/*.jsonl",
    "the first verdicts are there": "*/verdicts/*.jsonl",
    "the adapter is there": "*/checkpoint",
}


@pytest.mark.slow
@pytest.mark.parametrize("pattern", BOUNDARIES.values(), ids=BOUNDARIES)
def test_killed_as_soon_as(pattern, undisturbed, tmp_path):
    home = tmp_path / "killed"
    process = start(home)
    wait_for(lambda: list(home.glob(pattern)), process)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()

    assert jobs(home, "run", SMOKE).returncode == 0
    assert contents(home) == contents(undisturbed[0])


@pytest.mark.slow
def test_killed_at_ten_random_moments_the_rows_are_those_of_an_undisturbed_run(
    undisturbed, tmp_path
):
    import random

    moments = random.Random(20)
    for attempt in range(10):
        home = tmp_path / f"killed{attempt}"
        process = start(home)
        time.sleep(moments.uniform(2, 30))
        os.kill(process.pid, signal.SIGKILL)
        process.wait()

        assert jobs(home, "run", SMOKE).returncode == 0
        assert contents(home) == contents(undisturbed[0]), f"attempt {attempt}"


@pytest.mark.slow
@pytest.mark.parametrize(
    "number, there",
    [
        pytest.param(signal.SIGINT, "cluster.json", id="Ctrl-C as Ray is up"),
        pytest.param(signal.SIGINT, "*/owner", id="Ctrl-C as a gang begins"),
        pytest.param(signal.SIGINT, "*/attempts/step-*", id="Ctrl-C while it trains"),
        pytest.param(signal.SIGINT, "*/completions", id="Ctrl-C while it asks"),
        pytest.param(signal.SIGTERM, "*/attempts/step-*", id="SIGTERM while it trains"),
    ],
)
def test_a_driver_that_is_to_end_says_how_to_go_on_and_leaves_no_ray_process_behind(
    tmp_path, number, there
):
    home = tmp_path / "interrupted"
    environment = os.environ | {"CODELADDER_HOME": str(home)}
    process = subprocess.Popen(
        [sys.executable, "-m", "jobs", "run", SMOKE],
        cwd=ROOT,
        env=environment,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    wait_for(lambda: list(home.glob(there)), process)
    process.send_signal(number)

    _, said = process.communicate(timeout=25)  # stages that do not hear it are waited for longer

    assert process.returncode == 128 + number
    assert "The same command goes on from here." in said
    assert "Traceback" not in said
    assert not ray_processes_of(home)


def ray_processes_of(home):
    """Processes that carry this home in their environment and still live."""
    alive = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            environment = (folder / "environ").read_bytes()
        except OSError:
            continue
        if f"CODELADDER_HOME={home}\0".encode() in environment:
            alive.append(folder.name)
    return alive


def wait_for(condition, process, seconds=240):
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, "it ended before"
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)
