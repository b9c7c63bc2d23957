"""Which trainings of a sweep are stopped early, and what is left of them."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from cluster.ending import UnwantedError
from cluster.gang import Gang, HopelessError, run_gang
from cluster.session import connect
from database import open_ledger, queries
from jobs.asha import DECISIONS, Rule, Rungs, Stopped, Trained, contests, keep, recall, stopped
from jobs.home import Home
from jobs.loading import load
from jobs.run import outstanding, record_stopped
from jobs.search import HALT, Failed, train_swept
from jobs.training.order import TrainOrder
from jobs.training.settings import ALONE
from jobs.training.steps import STEPS, Progress, Step, write_steps

HERE = Path(__file__).parent
RULE = Rule(grace=2, reduction=2)
OF = 12


def progress(run_id, step, held_out_loss, of=OF):
    done = Step(
        step=step,
        loss=1.0,
        learning_rate=0.0,
        gradient_norm=0.0,
        tokens=1,
        seconds=0.1,
        held_out_loss=held_out_loss,
    )
    return Progress(run_id=run_id, of=of, step=done)


def order_of(folder, run_id):
    """An order whose settings nobody reads: what trains it here is below."""
    return TrainOrder(
        run_id=run_id,
        location="",
        revision=None,
        rows=folder,
        settings=None,
        spread=ALONE,
        seed=0,
        folder=folder / run_id,
    )


@pytest.fixture(scope="module")
def schedulers(tmp_path_factory):
    """Those of Ray Tune. Ray reads its environment once, when it is imported, and clusters of later
    tests need the one that `connect` gives it."""
    with connect(tmp_path_factory.mktemp("home")):
        from ray.tune import schedulers
    return schedulers


@settings(max_examples=60)
@given(data=st.data())
def test_the_rule_decides_as_asha_of_ray_tune_does(schedulers, data):
    grace, reduction = data.draw(st.integers(1, 5)), data.draw(st.integers(2, 4))
    of = data.draw(st.integers(grace + 2, 200))
    rungs = Rule(grace=grace, reduction=reduction).rungs(of)
    assume(rungs[-1] * reduction - of > 1 and of - 1 - rungs[-1] > 1)  # its logarithm rounds
    oracle = schedulers.ASHAScheduler(
        time_attr="step",
        metric="loss",
        mode="min",
        max_t=of - 1,
        grace_period=grace,
        reduction_factor=reduction,
        stop_last_trials=False,
    )
    ours = Rungs(Rule(grace=grace, reduction=reduction))
    trials = {name: SimpleNamespace(trial_id=name) for name in "abcdefgh"}
    for trial in trials.values():
        oracle.on_trial_add(None, trial)
    at = dict.fromkeys(trials, 0)
    for _ in range(60):
        name = data.draw(st.sampled_from(sorted(at)))
        at[name] += data.draw(st.integers(1, 20))
        if at[name] >= of:
            continue
        loss = data.draw(st.floats(0.1, 9.0))
        theirs = oracle.on_trial_result(
            None, trials[name], {"step": at[name], "loss": loss, "training_iteration": 1}
        )
        decision = ours.tell(name, at[name], of, loss)
        assert (theirs == schedulers.TrialScheduler.STOP) == (decision is not None)
        if decision:
            at[name] = of


def test_rungs_are_steps_or_shares_of_them():
    assert Rule(grace=10, reduction=3).rungs(100) == [10, 30, 90]
    assert Rule(grace=0.25, reduction=2).rungs(7) == [0.25, 0.5]


def test_a_share_compares_trainings_of_different_length_at_the_same_part_of_the_way():
    rungs = Rungs(Rule(grace=0.5, reduction=2))

    assert rungs.tell("short", 9, 20, 1.0) is None
    assert rungs.tell("short", 10, 20, 1.0) is None
    assert rungs.tell("long", 10, 100, 9.0) is None
    assert rungs.tell("long", 50, 100, 9.0).threshold == 1.0


def test_what_stopped_a_training_is_said_in_words():
    rungs = Rungs(Rule(grace=10, reduction=2))
    rungs.tell("a", 10, 100, 1.0)
    rungs.tell("b", 10, 100, 2.0)

    assert str(rungs.tell("c", 15, 100, 1.75)) == (
        "stopped at step 15 of 100: its held-out loss 1.7500 is above 1.5000, the threshold at the "
        "rung of step 10 after 2 other trainings"
    )


def test_the_last_step_decides_nothing():
    rungs = Rungs(Rule(grace=2, reduction=2))
    rungs.tell("a", 9, 9, 1.0)

    assert rungs.tell("b", 9, 9, 2.0) is None
    assert rungs.tell("c", 8, 9, 2.0) is not None


def test_a_loss_that_is_no_number_is_stopped():
    rungs = Rungs(RULE)
    rungs.tell("a", 2, OF, 1.0)

    assert rungs.tell("b", 2, OF, float("nan")) is not None


def test_a_decision_is_kept_and_holds_for_its_rule_only(tmp_path):
    rungs = Rungs(RULE)
    rungs.tell("a", 2, OF, 1.0)
    decision = rungs.tell("b", 2, OF, 2.0)
    keep(tmp_path / "b", rungs, "b", decision)

    assert stopped(tmp_path / "b", RULE) == decision
    assert stopped(tmp_path / "b", replace(RULE, grace=4)) is None
    assert stopped(tmp_path / "a", RULE) is None
    assert sorted(path.name for path in (tmp_path / "b").iterdir()) == [DECISIONS]


def test_another_driver_compares_with_what_ran_under_the_last(tmp_path):
    orders = [order_of(tmp_path, name) for name in ("done", "going", "stopped", "new")]
    orders[0].checkpoint.mkdir(parents=True)
    curve = [progress("done", step, 1.0 if step % 2 == 0 else None).step for step in range(1, 13)]
    write_steps(curve, orders[0].checkpoint / STEPS)
    before = Rungs(RULE)
    for name, loss in (("going", 2.0), ("stopped", 3.0)):
        keep(tmp_path / name, before, name, before.tell(name, 2, OF, loss))

    rungs = recall(orders, RULE)
    decision = rungs.tell("new", 2, OF, 2.5)

    assert (decision.threshold, decision.others) == (2.0, 3)
    assert rungs.tell("going", 2, OF, 9.0) is None


@pytest.fixture
def experiment(tmp_path):
    """Two models, two seeds, and a sweep that stops early beside one that does not."""
    sweep = {"method": "lora", "grid": {"rank": [8, 16]}}
    early = {"early_stop": {"asha": {"grace": 60}}}
    content = {
        "models": {name: {"path": f"models/starter/{name}"} for name in ("falcon", "llama")},
        "datasets": ["starter"],
        "methods": {"lora": {"kind": "lora", "steps": 100, "held_out": 0.1}},
        "sweeps": {"a": sweep | early, "b": {"method": "lora", "grid": {"clip": [2.0]}}},
        "benchmarks": {"starter": {"problems": 4}},
        "seeds": [0, 1],
    }
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(content))
    return load(path)


def test_runs_that_differ_in_more_than_the_point_do_not_compete(experiment):
    found = contests(experiment.runs(), experiment.file)
    assert [[run.label for run in contest.runs] for contest in found] == [
        [f"{model} starter a rank={rank} seed {seed}" for rank in (8, 16)]
        for model in ("falcon", "llama")
        for seed in (0, 1)
    ]
    assert {contest.rule for contest in found} == {Rule(grace=60, reduction=3)}


def test_a_stop_that_no_driver_lived_to_record_is_recorded_and_nothing_is_left_to_do(
    experiment, home
):
    contest = contests(experiment.runs(), experiment.file)[0]
    lost, other = contest.runs
    rungs = Rungs(contest.rule)
    rungs.tell(other.id, 60, 100, 1.0)
    keep(home / lost.id, rungs, lost.id, rungs.tell(lost.id, 60, 100, 2.0))
    ledger = open_ledger()

    record_stopped(experiment, ledger, Home(home))

    (recorded,) = queries.runs(ledger)
    assert (recorded.id, recorded.state) == (lost.id, "stopped")
    assert "held-out loss 2.0000 is above 1.0000" in queries.events(ledger, lost.id)[0].message
    left = {work.run.id for work in outstanding(experiment, ledger, Home(home))}
    assert {run.id for run in experiment.runs()} - left == {lost.id}
    ledger.dispose()


LOSSES = {"middle": 1.0, "best": 0.5, "worst": 2.0, "good": 0.4}


def work(task):
    """What a worker of the gang does here: the loss of a run is its own from the first step on."""
    order, mailbox = task
    with (order.folder / "attempts.txt").open("a") as file:
        file.write(f"{os.getpid()}\n")
    if order.run_id == "broken":
        raise HopelessError("the rows are gone")
    curve = []
    for step in range(1, OF + 1):
        time.sleep(0.5 if order.run_id in ("good", "worst") else 0.1)
        (order.folder / "step").write_text(str(step))
        told = progress(order.run_id, step, LOSSES[order.run_id] if step % 2 == 0 else None)
        mailbox.put(told)
        curve.append(told.step)
    order.checkpoint.mkdir()
    write_steps(curve, order.checkpoint / STEPS)


def train_here(order, mailbox):
    order.folder.mkdir(parents=True, exist_ok=True)
    run_gang(
        work,
        (order, mailbox),
        Gang(workers=1, gpus=False),
        storage=order.folder / "ray",
        name=order.run_id,
        unwanted=(order.folder / HALT).exists,
    )


def sweep(folder, names, unwanted=lambda run_id: False):
    """Train on a cluster of our own; returns what became of each, and all that was heard."""
    from cluster.mailbox import Mailbox

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(HERE))  # workers import this file
        with connect(folder / "home") as cluster:
            mailbox = Mailbox.create()
            orders = [order_of(folder, name) for name in names]
            stops = []
            outcomes = train_swept(
                orders,
                RULE,
                mailbox,
                gpus=False,
                at_once=1,
                told=stops.append,
                unwanted=unwanted,
                training=train_here,
            )
            assert all_free(cluster), "a training that ended still holds a processor"
            return outcomes, stops, mailbox.drain()


def all_free(cluster):
    import ray

    deadline = time.monotonic() + 60
    while ray.available_resources().get("CPU") != cluster.cpus and time.monotonic() < deadline:
        time.sleep(0.2)
    return ray.available_resources().get("CPU") == cluster.cpus


def attempts(folder, name):
    return (folder / name / "attempts.txt").read_text().split()


def test_a_sweep_that_is_over_starts_nothing(tmp_path):
    done, lost = order_of(tmp_path, "done"), order_of(tmp_path, "lost")
    done.checkpoint.mkdir(parents=True)
    rungs = Rungs(RULE)
    rungs.tell("done", 2, OF, 1.0)
    decision = rungs.tell("lost", 2, OF, 2.0)
    keep(lost.folder, rungs, "lost", decision)

    stops = []

    outcomes = train_swept([done, lost], RULE, None, gpus=False, at_once=1, told=stops.append)

    assert outcomes == {"done": Trained(run_id="done"), "lost": decision}
    assert stops == [decision]


@pytest.mark.slow
def test_a_training_that_lags_behind_is_stopped_with_its_gang_and_the_others_end(tmp_path):
    outcomes, stops, told = sweep(tmp_path, [*LOSSES, "broken"])

    assert {name: type(outcome) for name, outcome in outcomes.items()} == {
        "middle": Trained,
        "best": Trained,
        "worst": Stopped,
        "good": Trained,
        "broken": Failed,
    }
    assert "the rows are gone" in str(outcomes["broken"].error)
    worst = outcomes["worst"]
    assert stops == [worst]
    assert (worst.rung, worst.loss, worst.threshold, worst.others) == (2, 2.0, 0.75, 2)
    assert int((tmp_path / "worst" / "step").read_text()) < OF
    assert not Path(f"/proc/{attempts(tmp_path, 'worst')[0]}").exists()
    assert json.loads((tmp_path / "worst" / DECISIONS).read_text())["stopped"]["loss"] == 2.0
    assert {message.run_id for message in told} == set(LOSSES)
    assert not list(tmp_path.glob("*/tune"))


@pytest.mark.slow
def test_a_training_of_a_sweep_that_is_stopped_by_hand_ends_and_the_others_go_on(tmp_path):
    def unwanted(run_id):
        return run_id == "worst" and (tmp_path / "worst" / "step").exists()

    outcomes, stops, _ = sweep(tmp_path, ["worst", "best"], unwanted)

    assert isinstance(outcomes["worst"].error, UnwantedError)
    assert isinstance(outcomes["best"], Trained)
    assert stops == []
    assert int((tmp_path / "worst" / "step").read_text()) < OF
    assert not Path(f"/proc/{attempts(tmp_path, 'worst')[0]}").exists()
    assert not list(tmp_path.glob(f"*/{HALT}"))
    again, _, _ = sweep(tmp_path, ["worst", "best"])
    assert not isinstance(again["worst"], Failed)
    assert len(attempts(tmp_path, "worst")) == 2


@pytest.mark.slow
def test_a_sweep_whose_driver_fails_ends_its_trainings_and_frees_what_they_took(tmp_path):
    def unwanted(run_id):
        if (tmp_path / "worst" / "step").exists():
            raise OSError("the ledger is gone")
        return False

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(HERE))
        with connect(tmp_path / "home") as cluster:
            from cluster.mailbox import Mailbox

            with pytest.raises(OSError, match="the ledger is gone"):
                train_swept(
                    [order_of(tmp_path, "worst")],
                    RULE,
                    Mailbox.create(),
                    gpus=False,
                    at_once=1,
                    unwanted=unwanted,
                    training=train_here,
                )
            assert not Path(f"/proc/{attempts(tmp_path, 'worst')[0]}").exists()
            assert all_free(cluster)
    assert int((tmp_path / "worst" / "step").read_text()) < OF


@pytest.mark.slow
def test_after_a_kill_of_the_driver_no_stopped_training_starts_again(tmp_path):
    names = ["best", "worst", "good", "middle"]
    code = f"import test_asha, pathlib; test_asha.sweep(pathlib.Path({str(tmp_path)!r}), {names})"
    driver = subprocess.Popen(
        [sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": f"{HERE}:{HERE.parent}"}
    )
    try:
        deadline = time.monotonic() + 240
        while not (tmp_path / "good" / "step").exists() and time.monotonic() < deadline:
            assert driver.poll() is None, "the driver ended before it was killed"
            time.sleep(0.05)
    finally:
        driver.send_signal(signal.SIGKILL)
        driver.wait()

    outcomes, stops, _ = sweep(tmp_path, names)

    assert [type(outcomes[name]) for name in names] == [Trained, Stopped, Trained, Stopped]
    assert {stop.run_id for stop in stops} == {"worst", "middle"}
    assert len(attempts(tmp_path, "worst")) == len(attempts(tmp_path, "best")) == 1
    assert len(attempts(tmp_path, "good")) == 2
