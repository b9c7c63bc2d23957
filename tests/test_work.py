"""What is read of work that goes on, on both databases."""

from dataclasses import asdict
from datetime import UTC, datetime, timedelta

import pytest
from plausible_rows import BASE, TUNED, base_run, small_ledger, tuned_run

from database import work, write
from database.live import Driver, Node, Stage, Stop
from database.schema import Experiment
from database.work import DriverFacts, StageFacts

NOW = datetime(2026, 11, 29, 7, 41, tzinfo=UTC)


def ago(seconds):
    return NOW - timedelta(seconds=seconds)


def driver(name, started, at=0, **more):
    given = {"host": "node-1", "process": 7, "cluster": "c:1", "experiment": "mine"}
    return Driver(id=name, started_at=ago(started), at=ago(at), **(given | more))


def test_drivers_that_did_not_end_come_first_and_then_the_latest(ledger):
    write(
        ledger,
        [
            driver("old", 500, ended_at=ago(400)),
            driver("new", 100, ended_at=ago(50)),
            driver("silent", 900, at=31),
            driver("working", 800, at=29),
        ],
    )
    found = work.drivers(ledger)

    assert [one.id for one in found] == ["working", "silent", "new", "old"]
    assert [one.works(NOW) for one in found] == [True, False, False, False]
    assert [one.silent(NOW) for one in found] == [False, True, False, False]
    assert [one.id for one in work.drivers(ledger, limit=1)] == ["working"]


def test_the_driver_of_a_run_is_the_one_that_works_on_its_experiment(ledger):
    write(ledger, [base_run(), tuned_run()])
    write(ledger, [Experiment(name="mine", text="", runs=[TUNED])])
    write(ledger, [Experiment(name="other", text="", runs=[BASE])])
    write(ledger, [driver("a", 9), driver("b", 9, at=99, experiment="other")])

    assert work.driver_of(ledger, TUNED, NOW).id == "a"
    assert work.driver_of(ledger, BASE, NOW) is None
    assert work.grid(ledger, "mine") == [TUNED]
    assert work.grid(ledger, "unknown") == []


def test_drivers_that_were_killed_do_not_hide_the_one_that_works(ledger):
    write(ledger, [base_run(), tuned_run()])
    write(ledger, [Experiment(name="mine", text="", runs=[TUNED])])
    write(ledger, [driver(f"killed {n}", 50 + n, at=40) for n in range(25)])
    write(ledger, [driver("works", 9000, at=2)])

    assert work.driver_of(ledger, TUNED, NOW).id == "works"


def test_machines_are_those_of_the_clusters_asked_for(ledger):
    counted = {"alive": True, "cpus": 4.0, "cpus_used": 1.0, "gpus": 0.0, "gpus_used": 0.0}
    for cluster, name in (("c:1", "b"), ("c:1", "a"), ("c:2", "c")):
        write(ledger, [Node(cluster=cluster, id=name, name=name, memory=2**40, **counted)])

    assert [node.name for node in work.nodes(ledger, ["c:1"])] == ["a", "b"]
    assert work.nodes(ledger, ["c:1"])[0].memory == 2**40
    assert work.nodes(ledger, []) == []


def stage(done, of=100, took=50.0, silent=0.0, **more):
    return StageFacts(
        run=TUNED,
        name="generating humaneval",
        done=done,
        of=of,
        workers=2,
        started_at=ago(silent + took),
        at=ago(silent),
        **more,
    )


def test_speed_and_time_left_of_a_stage_follow_from_what_is_done():
    assert (stage(25).per_second, stage(25).seconds_left) == (0.5, 150.0)
    assert (stage(0).per_second, stage(0).seconds_left) == (None, None)
    assert stage(100).seconds_left == 0
    assert (stage(75, found=50).per_second, stage(75, found=50).seconds_left) == (0.5, 50.0)
    assert stage(75, found=75).seconds_left is None


@pytest.mark.parametrize(
    "facts, stalled",
    [
        (stage(25, silent=59), False),
        (stage(25, silent=61), True),
        (stage(5, silent=61), False),  # one takes 10 s
        (stage(5, silent=101), True),
        (stage(100, silent=500), False),  # it is done
        (stage(0, silent=61), True),
    ],
)
def test_a_stage_is_stalled_after_a_minute_and_ten_times_what_one_takes(facts, stalled):
    assert facts.stalled(NOW) is stalled


def test_stages_come_back_as_they_were_written_the_last_to_get_on_first(ledger):
    write(ledger, [base_run(), tuned_run()])
    known = [stage(3, silent=9), StageFacts(**asdict(stage(4)) | {"name": "judging humaneval"})]
    write(ledger, [Stage(**asdict(one)) for one in known])

    assert work.stages(ledger, [TUNED]) == known[::-1]
    assert work.stages(ledger, [BASE]) == []


def test_wishes_are_read_by_run_and_by_age(ledger):
    write(ledger, [base_run(), tuned_run()])
    write(ledger, [Stop(run=BASE, at=ago(10)), Stop(run=TUNED, asked_by="ada", at=ago(5))])

    assert set(work.stops(ledger)) == {BASE, TUNED}
    assert set(work.stops(ledger, since=ago(7))) == {TUNED}
    assert work.stops(ledger, runs=[TUNED])[TUNED].asked_by == "ada"


def test_runs_are_counted_by_state_and_verdicts_by_outcome(ledger):
    write(ledger, small_ledger())
    write(ledger, [tuned_run("a" * 12, state="failed")])

    assert work.states(ledger, [BASE, TUNED, "a" * 12]) == {"done": 2, "failed": 1}
    outcomes = work.outcomes_of(ledger, TUNED)
    assert sum(outcomes.values()) == 80
    assert outcomes["passed"] == 30 * 2 + 10
    assert set(work.judged_last(ledger, [BASE, TUNED], limit=5)) == {BASE, TUNED}
    assert len(work.judged_last(ledger, [BASE, TUNED], limit=1)) == 1


def test_a_driver_that_ended_is_neither_silent_nor_at_work():
    over = DriverFacts(
        id="x", experiment="mine", host="h", process=1, cluster="", dashboard="",
        started_at=ago(99), at=ago(90), ended_at=ago(90),
    )  # fmt: skip

    assert not over.silent(NOW) and not over.works(NOW)
