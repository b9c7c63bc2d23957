"""Trainings in SQL: recorded while they run, read back thin or whole, on SQLite and PostgreSQL."""

import hashlib
import json
import math
import subprocess
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from migrating import alembic
from plausible_rows import BASE, NOON, TUNED, base_run, small_ledger, training, tuned_run
from rich.console import Console
from sqlalchemy import create_engine, inspect, text

from database import open_ledger, queries, write
from database.schema import Event
from database.session import ledger_url as normalised
from jobs.listen import Listener
from jobs.loading import load
from jobs.progress import Board
from jobs.record import Recorder, weights_digest
from jobs.training.steps import FACTS, STEPS, Facts, Progress, write_steps
from jobs.training.steps import Step as Told

SMOKE = Path(__file__).parents[1] / "experiments" / "smoke.yaml"
MEASURED = {"padding", "memory", "flops_share", "joules", "held_out_loss"}
GIB = 2**30
FACTS_TOLD = Facts(
    weights="adapter",
    engine="DistributedDataParallel",
    zero_stage=None,
    offload="none",
    ranks=2,
    attention="varlen",
    tokens=6144,
    seconds=1.2,
    gpu_hours=0.0,
    kilowatt_hours=None,
    memory_gib=1.5,
    rows=60,
    rows_held_out=6,
    rows_left_out=1,
    rows_cut=2,
    windows=0,
    trainable_parameters=4096,
    best_step=None,
    resumed=0,
    device="cpu",
    versions={"torch": "2.13.0"},
)


def told(step, **more):
    given = {"loss": 2.0 / step, "learning_rate": 1e-4, "gradient_norm": 0.5, "tokens": 2048}
    return Told(step=step, seconds=0.4, **(given | more))


def progress(step, of=60, **more):
    return Progress(run_id=TUNED, of=of, step=told(step, **more))


def recorder_of(ledger):
    return Recorder(ledger, load(SMOKE))


def tuned_cell():
    return next(run for run in load(SMOKE).runs() if run.training)


@pytest.fixture
def started(ledger):
    """A run whose training is about to tell its first step."""
    write(ledger, [base_run(), tuned_run(state="training", finished_at=None)])
    return ledger


def test_steps_are_recorded_with_what_they_cost(started):
    costs = {"padding": 0.02, "memory": 78 * GIB, "flops_share": 0.55, "joules": 310.5}
    recorder_of(started).steps([progress(1, **costs, held_out_loss=2.5)])

    (step,) = queries.steps(started, TUNED)
    assert {name: getattr(step, name) for name in costs} == costs
    assert (step.loss, step.held_out_loss, step.memory_gib) == (2.0, 2.5, 78)
    assert (step.tokens_per_second, step.watts) == (5120, 776.25)


def test_what_no_machine_measured_stays_unknown(started):
    recorder_of(started).steps([progress(1)])

    (step,) = queries.steps(started, TUNED)
    assert (step.memory, step.flops_share, step.joules, step.held_out_loss) == (None,) * 4
    assert (step.memory_gib, step.watts) == (None, None)


def test_numbers_that_are_not_finite_are_null(started):
    recorder_of(started).steps(
        [progress(1, loss=math.nan, gradient_norm=math.inf, held_out_loss=math.nan)]
    )

    (step,) = queries.steps(started, TUNED)
    assert (step.loss, step.gradient_norm, step.held_out_loss) == (None, None, None)


def test_steps_told_again_after_a_resume_overwrite_and_none_is_doubled(started):
    recorder = recorder_of(started)
    recorder.steps([progress(step) for step in range(1, 58)])
    recorder.steps([progress(step, loss=9.0) for step in range(51, 54)])

    steps = queries.steps(started, TUNED)
    assert [step.step for step in steps] == list(range(1, 58))
    assert [step.loss for step in steps[49:54]] == [2.0 / 50, 9.0, 9.0, 9.0, 2.0 / 54]
    (found,) = queries.trainings(started)
    assert (found.last_step, found.of, found.loss) == (53, 60, 9.0)


def test_progress_is_known_to_who_reads_the_ledger_only(started):
    recorder_of(started).steps([progress(step) for step in range(1, 16)])

    (found,) = queries.trainings(started)
    assert (found.run, found.state, found.last_step, found.of) == (TUNED, "training", 15, 60)
    assert found.step_seconds == 0.4
    assert found.tokens_per_second == pytest.approx(5120)
    assert found.seconds_left == pytest.approx(45 * 0.4)
    (run,) = queries.runs(started, active=True)
    assert (run.last_step, run.of) == (15, 60)


def test_a_training_that_told_no_step_yet_is_among_them(started):
    (found,) = queries.trainings(started)

    assert (found.last_step, found.of, found.loss, found.seconds_left) == (0, None, None, None)
    assert not found.stalled(found.at + timedelta(days=1))


@pytest.mark.parametrize(
    ("seconds", "silent", "stalled"),
    [(0.4, 59, False), (0.4, 61, True), (30.0, 299, False), (30.0, 301, True)],
)
def test_a_training_is_stalled_after_ten_steps_time_and_a_minute(started, seconds, silent, stalled):
    steps = training(TUNED, 5, of=60, seconds=seconds)
    write(started, steps)

    (found,) = queries.trainings(started)
    assert found.stalled(NOON + timedelta(seconds=silent)) is stalled


def test_only_what_trains_can_stall(started):
    write(started, [*training(TUNED, 5), tuned_run(state="stopped")])

    (found,) = queries.trainings(started)
    assert (found.state, found.stalled(NOON + timedelta(days=1))) == ("stopped", False)


def test_running_trainings_come_first_then_the_latest(started):
    later = NOON + timedelta(hours=1)
    write(started, [tuned_run("1" * 12), *training("1" * 12)])
    write(started, [tuned_run("2" * 12), *training("2" * 12, at=later), *training(TUNED, 5)])

    assert [found.run for found in queries.trainings(started)] == [TUNED, "2" * 12, "1" * 12]


def test_a_long_curve_is_thinned_by_the_database_and_keeps_its_ends_and_held_out_losses(started):
    write(started, training(TUNED, 1234))

    thin = [step.step for step in queries.steps(started, TUNED, at_most=100)]
    assert thin == sorted({1, 1234, *range(13, 1235, 13), *range(20, 1235, 20)})
    assert len(queries.steps(started, TUNED, at_most=5000)) == 1234


def test_only_what_was_not_read_yet_can_be_asked_for(started):
    write(started, training(TUNED, 60))

    assert [step.step for step in queries.steps(started, TUNED, after=58)] == [59, 60]


def test_the_cost_of_all_steps_is_summed(started):
    write(started, training(TUNED, 60, joules=100.0))

    found = queries.spent(started, TUNED)
    assert (found.steps, found.tokens, found.joules) == (60, 60 * 2048, 6000)
    assert found.seconds == pytest.approx(24)
    assert queries.spent(started, BASE).joules is None


def test_the_pulse_shows_a_step_that_was_told_again(started):
    recorder = recorder_of(started)
    recorder.steps([progress(1)])
    before = queries.pulse(started)
    recorder.steps([progress(1)])

    assert queries.pulse(started) != before


@pytest.fixture
def checkpoint(tmp_path):
    """A folder as a training leaves it: one file of weights, three steps, the facts."""
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    (folder / "adapter_model.safetensors").write_bytes(b"weights")
    write_steps([told(step) for step in (1, 2, 3)], folder / STEPS)
    (folder / FACTS).write_text(json.dumps(asdict(FACTS_TOLD)))
    return folder


def test_an_adapter_is_recorded_with_its_digest_its_facts_and_its_curve(ledger, checkpoint):
    recorder, run = recorder_of(ledger), tuned_cell()
    recorder.begin([run])
    recorder.trained(run, checkpoint)

    page = queries.run_page(ledger, run.id)
    assert (page.checkpoint.kind, page.checkpoint.steps) == ("adapter", 3)
    assert page.checkpoint.sha256 == hashlib.sha256(b"weights").hexdigest()
    assert page.checkpoint.facts == asdict(FACTS_TOLD)
    assert (page.run.last_step, page.run.of) == (3, 3)
    assert [step.loss for step in queries.steps(ledger, run.id)] == [2.0, 1.0, 2.0 / 3]


def test_a_full_model_stopped_early_is_recorded_with_its_best_step(ledger, checkpoint):
    facts = asdict(FACTS_TOLD) | {"weights": "full", "best_step": 2}
    (checkpoint / FACTS).write_text(json.dumps(facts))
    recorder, run = recorder_of(ledger), tuned_cell()
    recorder.begin([run])
    recorder.trained(run, checkpoint)

    found = queries.run_page(ledger, run.id).checkpoint
    assert (found.kind, found.steps, found.facts["best_step"]) == ("full", 2, 2)


def test_the_digest_of_shards_is_what_sha256sum_says(tmp_path):
    noise = np.random.default_rng(7)
    for number in (2, 1, 3):
        shard = tmp_path / f"model-{number:05}-of-00003.safetensors"
        shard.write_bytes(noise.bytes(1000))
    said = subprocess.run(
        "sha256sum *.safetensors | sha256sum", shell=True, cwd=tmp_path, capture_output=True
    )

    assert weights_digest(tmp_path) == said.stdout.decode().split()[0]


def test_a_folder_without_weights_is_no_checkpoint(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no weights"):
        weights_digest(tmp_path)


def test_held_out_losses_stay_in_sight_while_a_training_goes_on(started, tmp_path):
    with (tmp_path / "log").open("w") as log, Board(Console(file=log)) as board:
        listener = Listener(recorder_of(started), board, {TUNED: "mine"})
        listener.receive([progress(1), progress(2, held_out_loss=1.25), progress(3)])
        written = {"run_id": TUNED, "benchmark": "starter", "part": "a", "done": 3, "of": 9}
        listener.receive([written])
        notes = {label: stage.note for label, stage in board._stages.items()}

    assert notes == {
        "mine: training": "loss 0.667, held-out 1.250 at 2",
        "mine: generating starter": "",
    }
    assert len(queries.steps(started, TUNED)) == 3


OLD_ROWS = (
    "INSERT INTO runs (id, label, kind, model, seed, state, spec, provenance, created_at, "
    "finished_at) VALUES ('70ded70ded70', 'old', 'tuned', 'm', 0, 'done', '{}', '{}', "
    "'2026-01-01 00:00:00+00:00', '2026-01-01 00:09:00+00:00')",
    "INSERT INTO steps (run, step, loss, learning_rate, gradient_norm, tokens, seconds) VALUES "
    "('70ded70ded70', 1, 2.5, 0.1, 0.5, 100, 0.2), ('70ded70ded70', 2, 1.5, 0.1, 0.5, 100, 0.2)",
    "INSERT INTO checkpoints (run, kind, path, sha256, steps, facts) VALUES "
    "('70ded70ded70', 'adapter', 'p', 's', 2, '{}')",
    "INSERT INTO events (run, kind, message, seconds, at) VALUES "
    "('70ded70ded70', 'training', 'done', 1.0, '2026-01-01 00:08:00+00:00')",
)


def test_a_ledger_of_the_former_version_gains_the_columns_and_keeps_its_rows(ledger_url):
    old = create_engine(normalised(ledger_url))
    alembic(old, "upgrade", "0002")
    with old.begin() as connection:
        for statement in OLD_ROWS:
            connection.execute(text(statement))
    old.dispose()

    engine = open_ledger(ledger_url)
    assert [(s.step, s.loss, s.memory) for s in queries.steps(engine, TUNED)] == [
        (1, 2.5, None),
        (2, 1.5, None),
    ]
    (found,) = queries.trainings(engine)
    assert (found.last_step, found.of, found.loss) == (2, 2, 1.5)
    assert found.at.isoformat() == "2026-01-01T00:09:00+00:00"
    assert [event.message for event in queries.events(engine, TUNED)] == ["done"]
    write(engine, training(TUNED, 3))
    assert queries.steps(engine, TUNED)[-1].memory == 3 * GIB
    engine.dispose()


def test_going_back_to_the_former_version_loses_only_what_is_new(ledger):
    long = Event(run=TUNED, kind="generating " + "b" * 100, message="new")
    write(ledger, [*small_ledger(), long])
    columns = {column["name"] for column in inspect(ledger).get_columns("steps")}
    alembic(ledger, "downgrade", "0002")

    left = inspect(ledger)
    assert "trainings" not in left.get_table_names()
    assert {column["name"] for column in left.get_columns("steps")} == columns - MEASURED
    with ledger.connect() as connection:
        assert connection.scalar(text("SELECT COUNT(*) FROM steps")) == 60
    assert {event.kind for event in queries.events(ledger)} == {"trained", "judged humaneval"}


def test_the_name_of_a_benchmark_may_be_long(ledger):
    long = "generating " + "b" * 100
    write(ledger, [base_run(), Event(run=BASE, kind=long, message="done")])

    assert queries.events(ledger, BASE)[0].kind == long
