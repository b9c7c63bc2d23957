"""What a driver tells of itself, and that nothing of it ends a run."""

import threading
import time
from datetime import UTC, datetime, timedelta

import pytest
from plausible_rows import TUNED, base_run, tuned_run
from sqlalchemy import event, update

from cluster.nodes import Machine
from cluster.session import Cluster
from database import work, write
from database.claims import STALE_SECONDS, holders
from database.live import Claimed
from jobs import telemetry
from jobs.holding import Claims
from jobs.telemetry import Telemetry, telling

CLUSTER = Cluster(
    address="10.0.0.1:6379", dashboard_url="http://10.0.0.1:8265", token_path=None, cpus=4, gpus=0
)


def machine(**more):
    given = {"id": "n1", "name": "node-1", "alive": True, "cpus": 4.0, "cpus_used": 0.0}
    given |= {"gpus": 0.0, "gpus_used": 0.0, "gpu_kind": "", "memory": 2**34}
    return Machine(**(given | more))


@pytest.fixture
def running(ledger):
    write(ledger, [base_run(), tuned_run(state="generating")])
    return ledger


@pytest.fixture
def said():
    return []


def test_a_driver_is_heard_of_while_it_works_and_says_when_it_ended(running, said, monkeypatch):
    monkeypatch.setattr(telemetry, "BEAT_SECONDS", 0.01)
    with telling(running, "mine", said.append):
        (first,) = work.drivers(running)
        deadline = time.monotonic() + 20
        while work.drivers(running)[0].at == first.at and time.monotonic() < deadline:
            time.sleep(0.01)
        (later,) = work.drivers(running)
    (ended,) = work.drivers(running)

    assert (first.experiment, first.ended_at) == ("mine", None)
    assert first.at < later.at and later.started_at == first.started_at
    assert ended.ended_at >= later.at
    assert said == []


@pytest.mark.parametrize("failure", [KeyboardInterrupt, RuntimeError])
def test_a_driver_that_fails_or_is_interrupted_says_that_it_ended(running, said, failure):
    with pytest.raises(failure), telling(running, "mine", said.append):
        raise failure

    assert work.drivers(running)[0].ended_at is not None


def test_the_address_of_the_dashboard_is_told_and_machines_while_the_cluster_is_there(
    running, said, monkeypatch
):
    seen = [[machine()], [machine(cpus_used=2.0)]]
    monkeypatch.setattr(telemetry, "machines", lambda: seen[0] if len(seen) == 1 else seen.pop(0))
    told = Telemetry(running, "mine", said.append)
    with told.on(CLUSTER):
        told.look()
        assert work.nodes(running, [CLUSTER.address])[0].cpus_used == 0
        told.look()
        told.look()
        assert work.nodes(running, [CLUSTER.address])[0].cpus_used == 2
    monkeypatch.setattr(telemetry, "machines", lambda: pytest.fail("the cluster is gone"))
    told.look()
    told.look()
    told.beat()

    (driver,) = work.drivers(running)
    assert (driver.cluster, driver.dashboard) == (CLUSTER.address, CLUSTER.dashboard_url)
    assert said == []


def writes(engine):
    """The tables that are written to from now on."""
    found = []

    @event.listens_for(engine, "before_cursor_execute")
    def note(connection, cursor, statement, parameters, context, executemany):
        if statement.startswith("INSERT"):
            found.append(statement.split()[2])

    return found


def test_machines_of_which_nothing_changes_are_recorded_seldom(running, said, monkeypatch):
    used = iter(range(1, 100))
    monkeypatch.setattr(telemetry, "machines", lambda: [machine(memory_used=next(used))])
    told, found = Telemetry(running, "mine", said.append), writes(running)
    with told.on(CLUSTER):
        for _ in range(2 * telemetry.NODES_AT_LEAST_EVERY):
            told.look()

    assert found.count("nodes") == 2


def test_a_driver_is_heard_of_and_keeps_its_claims_while_ray_does_not_answer(
    running, said, monkeypatch
):
    monkeypatch.setattr(telemetry, "BEAT_SECONDS", 0.01)
    answers, asked = threading.Event(), threading.Event()
    monkeypatch.setattr(telemetry, "machines", lambda: asked.set() or answers.wait(20) or [])
    monkeypatch.setattr(telemetry, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(telemetry, "END_SECONDS", 0.1)
    with telling(running, "mine", said.append) as told:
        with told.on(CLUSTER):
            told.claims.take(TUNED)
            assert asked.wait(20)
            (first,) = holders(running, [TUNED]).values()
            deadline = time.monotonic() + 20
            while holders(running, [TUNED])[TUNED].at == first.at:
                assert time.monotonic() < deadline, "the claim was not renewed"
                time.sleep(0.05)
        answers.set()

    assert work.drivers(running)[0].at > first.at


def test_a_stage_of_a_run_that_another_driver_has_by_now_is_not_told(running, said):
    told = Telemetry(running, "mine", said.append)
    told.claims.take(TUNED)
    told.stage(TUNED, "generating starter", 5, 32)
    with running.begin() as connection:  # as if it had been frozen for so long
        silent = datetime.now(UTC) - timedelta(seconds=STALE_SECONDS + 1)
        connection.execute(update(Claimed).values(at=silent))
    assert Claims(running, "e" * 32).take(TUNED) is None
    told.look()
    told.beat()
    told.claims.give_back(TUNED)
    told.stage(TUNED, "generating starter", 9, 32)
    told.look()

    assert work.stages(running, [TUNED]) == []
    assert said == []


def test_how_far_a_stage_is_is_recorded_once_it_changed(running, said):
    told, found = Telemetry(running, "mine", said.append), writes(running)
    told.stage(TUNED, "generating starter", 0, 32, 2)
    told.look()
    told.look()
    began = work.stages(running, [TUNED])[0].started_at
    told.stage(TUNED, "generating starter", 16, 32)
    told.end()

    (stage,) = work.stages(running, [TUNED])
    assert (stage.done, stage.of, stage.workers, stage.started_at) == (16, 32, 2, began)
    assert found.count("stages") == 2


def test_what_an_earlier_driver_made_is_no_part_of_the_speed(running, said):
    told = Telemetry(running, "mine", said.append)
    told.stage(TUNED, "generating starter", 0, 32, 2)
    told.stage(TUNED, "generating starter", 20, 32, found=20)
    told.look()
    assert work.stages(running, [TUNED])[0].per_second is None
    told.stage(TUNED, "generating starter", 22, 32)
    told.stage(TUNED, "judging starter", 12, 32)
    told.end()

    asked, judged = sorted(work.stages(running, [TUNED]), key=lambda one: one.name)
    seconds = (asked.at - asked.started_at).total_seconds()
    assert asked.per_second == pytest.approx(2 / seconds)
    assert (judged.found, judged.per_second) == (12, None)


def test_what_could_not_be_recorded_of_a_stage_is_recorded_later(running, said, monkeypatch):
    told = Telemetry(running, "mine", said.append)
    told.stage(TUNED, "generating starter", 16, 32, 2)
    with monkeypatch.context() as broken:
        broken.setattr(telemetry, "write", lambda *_, **__: 1 / 0)
        told.look()
    assert work.stages(running, [TUNED]) == []
    told.look()

    assert work.stages(running, [TUNED])[0].done == 16


def test_a_ledger_that_hangs_does_not_hold_the_end_of_a_driver(running, said, monkeypatch):
    monkeypatch.setattr(telemetry, "END_SECONDS", 0.1)
    answers = threading.Event()
    began = time.monotonic()
    try:
        with telling(running, "mine", said.append):
            monkeypatch.setattr(telemetry, "write", lambda *_, **__: answers.wait(60))
        assert time.monotonic() - began < 20
    finally:
        answers.set()


def test_a_ledger_that_does_not_answer_is_said_once_and_ends_nothing(running, said):
    told = Telemetry(running, "mine", said.append)
    told.stage("no such run", "generating starter", 1, 2)
    for _ in range(3):
        told.stage("no such run", "generating starter", 1, 2)
        told.look()
    told.end()

    (line,) = said
    assert line.startswith("  what goes on is not fully recorded: ")
    assert work.drivers(running)[0].ended_at is not None


def test_a_driver_looks_for_wishes_to_stop_with_every_look(running, said):
    from database.live import Stop

    told = Telemetry(running, "mine", said.append)
    told.look()
    assert told.stops.of(TUNED) is None
    write(running, [Stop(run=TUNED, at=datetime.now(UTC) + timedelta(seconds=1))])
    told.look()
    assert told.stops.of(TUNED) is not None
