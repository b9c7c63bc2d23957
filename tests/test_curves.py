"""Curves copied to TensorBoard and MLflow, read back by readers that are not ours."""

import math
import struct
import sys
import threading
import time
import warnings
from datetime import timedelta
from pathlib import Path

import pytest
from plausible_rows import BASE, NOON, TUNED, base_run, training, training_step, tuned_run
from tensorboardX.proto.event_pb2 import Event

from database import open_ledger, write
from database.schema import Step, Training
from jobs.__main__ import main
from jobs.curves import copies
from jobs.curves.copies import Copies, Copy, without_password
from jobs.curves.mlflow_runs import open_mlflow
from jobs.curves.tensorboard import TensorBoard
from jobs.declared import UserError
from jobs.home import Home
from jobs.loading import load

ROOT = Path(__file__).parent.parent
SMOKE = ROOT / "experiments" / "smoke.yaml"
STEP_TAGS = {
    "loss",
    "learning_rate",
    "gradient_norm",
    "tokens_per_second",
    "padding",
    "memory_gib",
    "flops_share",
    "watts",
}


@pytest.fixture
def recorded(home):
    """A ledger with a run that trains."""
    engine = open_ledger()
    write(engine, [base_run(), tuned_run(state="training", finished_at=None)])
    yield engine
    engine.dispose()


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "tensorboard"


def copied(ledger, folder, runs=(BASE, TUNED)):
    """What another driver would add to the folder."""
    sink = TensorBoard(folder)
    Copy(ledger, sink, runs).catch_up()
    sink.close()


def checksum(data):
    """CRC-32C, bit by bit, masked as in TensorFlow's records."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def records(path):
    """The events of a file, every checksum looked at."""
    data, place = path.read_bytes(), 0
    while place < len(data):
        length, check = struct.unpack_from("<QI", data, place)
        assert check == checksum(data[place : place + 8])
        body = data[place + 12 : place + 12 + length]
        assert struct.unpack_from("<I", data, place + 12 + length)[0] == checksum(body)
        yield Event.FromString(body)
        place += length + 16


def files(folder):
    return sorted(folder.glob("*/*tfevents*"))


def curve(folder, tag):
    """(step, value) of one curve, in the order of the files."""
    return [
        (event.step, value.simple_value)
        for path in files(folder)
        for event in records(path)
        for value in event.summary.value
        if value.tag == tag
    ]


def test_every_number_of_a_step_becomes_a_point_of_its_curve(recorded, folder):
    write(recorded, training(TUNED, 3, joules=100.0))
    copied(recorded, folder)

    first, *_ = [event for event in records(files(folder)[0]) if event.step == 1]
    values = {value.tag: value.simple_value for value in first.summary.value}
    assert set(values) == STEP_TAGS
    assert values["tokens_per_second"] == pytest.approx(5120)
    assert values["watts"] == pytest.approx(250)
    assert (values["memory_gib"], values["flops_share"]) == (3, 0.5)
    assert curve(folder, "loss") == [
        (step, pytest.approx(training_step(TUNED, step).loss)) for step in (1, 2, 3)
    ]


def test_the_held_out_loss_has_points_where_it_was_measured(recorded, folder):
    write(recorded, training(TUNED, 45))
    copied(recorded, folder)

    assert [step for step, _ in curve(folder, "held_out_loss")] == [20, 40]


def test_what_is_not_finite_or_was_not_measured_is_left_out(recorded, folder):
    write(recorded, training(TUNED, 2, loss=math.nan, gradient_norm=math.inf, memory=None))
    copied(recorded, folder)

    (event,) = [event for event in records(files(folder)[0]) if event.step == 1]
    left = {value.tag for value in event.summary.value}
    assert left == STEP_TAGS - {"loss", "gradient_norm", "memory_gib", "watts"}


def test_points_lie_in_time_as_far_apart_as_their_steps_took(recorded, folder):
    write(recorded, training(TUNED, 3, seconds=30.0))
    copied(recorded, folder)

    times = [event.wall_time - NOON.timestamp() for event in records(files(folder)[0])]
    assert times[1:] == pytest.approx([-60, -30, 0])


def test_tensorboards_own_reader_reads_every_point_once(recorded, folder):
    reader = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator",
        reason="the extra tensorboard is not installed",
    )
    write(recorded, training(TUNED, 60))
    copied(recorded, folder)
    found = reader.EventAccumulator(str(files(folder)[0].parent))
    found.Reload()

    assert set(found.Tags()["scalars"]) == (STEP_TAGS | {"held_out_loss"}) - {"watts"}
    assert [event.step for event in found.Scalars("loss")] == list(range(1, 61))
    assert [event.step for event in found.Scalars("held_out_loss")] == [20, 40, 60]


def test_a_resumed_training_doubles_no_point(recorded, folder):
    write(recorded, training(TUNED, 57))
    copied(recorded, folder)
    again = [training_step(TUNED, step, loss=9.0) for step in range(51, 54)]
    write(recorded, [*again, Training(run=TUNED, of=60, last_step=53)])
    copied(recorded, folder)
    write(recorded, training(TUNED, 60, at=NOON + timedelta(hours=1)))
    copied(recorded, folder)

    assert [step for step, _ in curve(folder, "loss")] == list(range(1, 61))


def test_a_record_that_a_killed_driver_left_half_written_is_written_again(recorded, folder):
    write(recorded, training(TUNED, 5))
    copied(recorded, folder)
    (torn,) = files(folder)
    torn.write_bytes(torn.read_bytes()[:-9])
    copied(recorded, folder)

    *_, whole = files(folder)
    assert [event.step for event in records(whole) if event.step] == [5]


def test_runs_of_one_label_have_folders_of_their_own(recorded, folder):
    write(recorded, [tuned_run("1" * 12), *training("1" * 12, 3), *training(TUNED, 3)])
    copied(recorded, folder, (TUNED, "1" * 12))

    assert sorted(path.name for path in folder.iterdir()) == [
        "falcon-tiny-starter-lora-seed-1-111111111111",
        "falcon-tiny-starter-lora-seed-1-70ded70ded70",
    ]


def test_a_label_leads_to_no_folder_outside(recorded, folder):
    write(recorded, [tuned_run(label="../../etc/passwd " + "long " * 50), *training(TUNED, 3)])
    copied(recorded, folder)

    (path,) = folder.iterdir()
    assert path.name.startswith("etc-passwd-long-") and len(path.name) < 200


def test_runs_of_others_and_bases_are_not_copied(recorded, folder):
    write(recorded, [tuned_run("1" * 12), *training("1" * 12, 3)])
    copied(recorded, folder)

    assert not folder.exists()


def cells():
    """An experiment, and its run that is trained."""
    experiment = load(SMOKE)
    return experiment, next(run.id for run in experiment.runs() if run.training)


def wait_for(seen, seconds=20):
    until = time.monotonic() + seconds
    while not seen() and time.monotonic() < until:
        time.sleep(0.02)
    assert seen()


def test_steps_are_seen_while_the_training_goes_on(recorded, home, monkeypatch):
    monkeypatch.setattr(copies, "LOOK_SECONDS", 0.02)
    experiment, run = cells()
    write(recorded, [tuned_run(run, state="training"), *training(run, 2, of=9)])
    folder, said = home / "tensorboard", []
    with Copies(tensorboard=True).kept(experiment, recorded, Home(home), said.append):
        wait_for(lambda: len(curve(folder, "loss")) == 2)
        write(recorded, training(run, 3, of=9, at=NOON + timedelta(seconds=1)))
        wait_for(lambda: len(curve(folder, "loss")) == 3)
        write(recorded, [tuned_run(run), *training(run, 9, at=NOON + timedelta(seconds=2))])

    assert [step for step, _ in curve(folder, "loss")] == list(range(1, 10))
    assert said == [f"Curves go to TensorBoard: tensorboard --logdir {folder}"]


def test_curves_of_finished_runs_can_be_copied_afterwards(recorded, home, monkeypatch):
    experiment, run = cells()
    write(recorded, [tuned_run(run), *training(run, 7)])
    with Copies(tensorboard=True).kept(experiment, recorded, Home(home), print):
        pass

    assert len(curve(home / "tensorboard", "loss")) == 7


def test_a_copy_that_cannot_be_written_is_told_of_once_and_stops_nothing(
    recorded, home, monkeypatch
):
    monkeypatch.setattr(copies, "LOOK_SECONDS", 0.02)
    experiment, run = cells()
    write(recorded, [tuned_run(run, state="training"), *training(run, 2)])
    (home / "tensorboard").write_text("no folder")
    told, said = threading.Event(), []

    def tell(line):
        said.append(line)
        if "given up" in line:
            told.set()

    with Copies(tensorboard=True).kept(experiment, recorded, Home(home), tell):
        assert told.wait(20)
        write(recorded, training(run, 3, at=NOON + timedelta(seconds=1)))
        time.sleep(0.1)

    assert len(said) == 2 and "The ledger has the curves" in said[1]


def test_without_an_option_nothing_is_written_and_nothing_imported(recorded, home):
    experiment, _ = cells()
    before = set(home.iterdir())
    with Copies().kept(experiment, recorded, Home(home), print):
        pass

    assert set(home.iterdir()) == before


def test_mlflow_that_is_not_installed_is_asked_for_before_any_work(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "mlflow", None)

    assert main(["run", str(SMOKE), "--mlflow", "curves"]) == 2
    assert "the extra `mlflow` of pyproject.toml" in capsys.readouterr().err


@pytest.fixture
def mlflow():
    with warnings.catch_warnings(action="ignore"):
        return pytest.importorskip("mlflow", reason="the extra mlflow is not installed")


def copied_to_mlflow(ledger, folder):
    sink = open_mlflow(str(folder), "smoke")
    Copy(ledger, sink, [TUNED]).catch_up()
    sink.close()


def runs_of(mlflow, folder):
    """The runs of the only experiment, by MLflow's own client."""
    client = mlflow.MlflowClient(f"sqlite:///{folder}/mlflow.db")
    experiment = client.get_experiment_by_name("smoke")
    return client, client.search_runs([experiment.experiment_id])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # MLflow's own
def test_mlflow_has_every_point_once_and_the_state_of_the_run(mlflow, recorded, tmp_path):
    folder = tmp_path / "mlflow"
    write(recorded, training(TUNED, 250))
    copied_to_mlflow(recorded, folder)
    _, (run,) = runs_of(mlflow, folder)
    assert (run.info.status, run.info.run_name) == ("KILLED", "falcon-tiny, starter, lora, seed 1")
    write(recorded, [tuned_run(), *training(TUNED, 300, at=NOON + timedelta(hours=1))])
    copied_to_mlflow(recorded, folder)

    client, (run,) = runs_of(mlflow, folder)
    history = client.get_metric_history(run.info.run_id, "loss")
    assert sorted(metric.step for metric in history) == list(range(1, 301))
    held_out = client.get_metric_history(run.info.run_id, "held_out_loss")
    assert sorted(metric.step for metric in held_out) == list(range(20, 301, 20))
    assert (run.info.status, run.data.tags["codeladder.run"]) == ("FINISHED", TUNED)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_an_mlflow_server_that_does_not_answer_is_said(mlflow):
    with pytest.raises(UserError, match=r"127\.0\.0\.1:9: MLflow does not answer there"):
        open_mlflow("http://127.0.0.1:9", "smoke")


ADDRESSES = {
    "http://ann:s3cret@tracking:5000": "http://***@tracking:5000",
    "postgresql://ann:s3@cret@db/mlflow": "postgresql://***@db/mlflow",
    "no route to https://ann:s3cret@tracking/api/2.0": "no route to https://***@tracking/api/2.0",
    "http://tracking:5000/@team": "http://tracking:5000/@team",
    "sqlite:////folder/mlflow.db": "sqlite:////folder/mlflow.db",
}


@pytest.mark.parametrize("text, shown", ADDRESSES.items(), ids=ADDRESSES)
def test_an_address_is_shown_without_its_password(text, shown):
    assert without_password(text) == shown


def test_the_names_of_the_curves_are_columns_of_a_step():
    measured = {column.name for column in Step.__table__.columns}

    assert set(copies.TAGS) - {"tokens_per_second", "memory_gib", "watts"} <= measured
