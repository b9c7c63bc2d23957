"""The page of jobs and the view of one run: their words, and both on a real ledger."""

import socket
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import uvicorn
from fastapi import FastAPI
from pages import board, filled, page
from plausible_rows import BASE, TUNED, training, tuned_run

from database import queries, work, write
from database.claims import ClaimFacts, claim
from database.live import Driver, Node, Stage, Stop
from database.schema import Event, Experiment
from database.work import DriverFacts, StageFacts
from jobs import control_desk
from jobs.home import Home
from jobs.run_logs import RunLogs
from jobs.serving.service import Service
from leaderboard import work_words

__all__ = ["board", "filled"]

NOW = datetime(2026, 11, 29, 7, 41, tzinfo=UTC)
STAGE = StageFacts(
    run=TUNED,
    name="generating humaneval",
    done=300,
    of=1200,
    workers=2,
    started_at=NOW - timedelta(seconds=60),
    at=NOW,
)


@pytest.fixture
def server(filled, home, monkeypatch):
    """The routes that act on runs, over real HTTP."""
    app = FastAPI()
    service = Service(home=home, ledger=filled, desk=None, judges=None)
    app.include_router(control_desk.router(service))
    app.add_api_route("/health", lambda: {"status": "ok", "pending": 3, "most": 17})
    app.add_api_route(
        "/v1/models",
        lambda: {"data": [{"id": "a", "state": "waiting"}, {"id": "b", "state": "loaded"}]},
    )
    listening = socket.create_server(("127.0.0.1", 0))
    running = uvicorn.Server(uvicorn.Config(app, log_level="error"))
    thread = threading.Thread(target=running.run, kwargs={"sockets": [listening]})
    thread.start()
    while not running.started:
        time.sleep(0.01)
    monkeypatch.setenv("CODELADDER_SERVE_URL", f"http://127.0.0.1:{listening.getsockname()[1]}")
    yield app
    running.should_exit = True
    thread.join()
    listening.close()


def jobs_script():
    from leaderboard import jobs_page

    jobs_page.show()


def training_script():
    from leaderboard import training_page

    training_page.show()


def said(app):
    """All that stands on a page, as text."""
    kinds = (app.markdown, app.caption, app.info, app.warning, app.error, app.header)
    bars = [bar.proto.text for bar in app.get("progress")]
    return "\n".join([*(block.value for kind in kinds for block in kind), *bars])


def driver(experiment="starter", **more):
    now = datetime.now(UTC)
    given = {
        "id": "d" * 32,
        "host": "node-7",
        "process": 41,
        "cluster": "c:1",
        "dashboard": "http://127.0.0.1:8265",
        "started_at": now - timedelta(minutes=5),
        "at": now,
    }
    return Driver(experiment=experiment, **(given | more))


def at_work(count=3):
    """An experiment with a run that trains, one that answers and some that wait."""
    now = datetime.now(UTC)
    waiting = [f"{place:012}" for place in range(count)]
    return [
        driver(),
        tuned_run("a" * 12, state="training", label="trains_now", finished_at=None),
        *training("a" * 12, 15, of=60, at=now),
        tuned_run("b" * 12, state="generating", label="answers", finished_at=None),
        Stage(
            run="b" * 12,
            name="generating humaneval",
            done=300,
            of=1200,
            workers=2,
            started_at=now - timedelta(seconds=60),
            at=now,
        ),
        *(tuned_run(run, state="waiting", label=f"waits {run[-1]}") for run in waiting),
        Experiment(name="starter", text="", runs=[BASE, "b" * 12, "a" * 12, TUNED, *waiting]),
        Node(
            cluster="c:1",
            id="n",
            name="node-7",
            alive=True,
            cpus=8.0,
            cpus_used=6.0,
            gpus=4.0,
            gpus_used=1.0,
            gpu_kind="H200",
            memory=64 * 2**30,
            memory_used=16 * 2**30,
        ),
    ]


def test_a_stage_is_told_with_speed_workers_and_time_left():
    assert work_words.stage_words(STAGE, NOW) == (
        "300 of 1,200 completions, 5 a second, 2 workers, about 3 min left"
    )
    late = NOW + timedelta(minutes=2)
    assert ":orange-badge[stalled] last got on 2 min ago" in work_words.stage_words(STAGE, late)
    begun = replace(STAGE, done=0, workers=0)
    assert work_words.stage_words(begun, NOW) == "0 of 1,200 completions"


@pytest.mark.parametrize(
    "state, message, meaning, reason",
    [
        ("failed", "SandboxFailedError: the sandbox failed on 3 of 9 answers", "nothing of the m",
         "the sandbox failed on 3 of 9 answers"),
        ("failed", "GangError: x: worker 0 failed: killed", "from the last checkpoint",
         "x: worker 0 failed: killed"),
        ("failed", "OSError: no space left", "Something of ours failed", "no space left"),
        ("failed", "told by an old version", "Something of ours failed", "told by an old version"),
        ("stopped", "stopped by ada at 07:41:00 UTC", "It did not fail. The same command",
         "stopped by ada at 07:41:00 UTC"),
        ("stopped", "stopped at step 15 of 100: its held-out loss", "others did better",
         "stopped at step 15 of 100: its held-out loss"),
    ],
)  # fmt: skip
def test_why_a_run_ended_is_said_with_what_it_means(state, message, meaning, reason):
    told = work_words.ending(state, message)

    assert meaning in told.meaning
    assert told.reason == reason


def facts(provenance):
    return type("Facts", (), {"provenance": provenance})


@pytest.mark.parametrize(
    "provenance, command",
    [
        ({"command": "-m jobs run my/grid.yaml --tensorboard"},
         "python -m jobs run my/grid.yaml --tensorboard"),
        ({"command": "-m pytest", "experiment": "starter"},
         "python -m jobs run experiments/starter.yaml"),
        ({}, None),
    ],
)  # fmt: skip
def test_the_command_that_goes_on_is_the_one_that_was_given(provenance, command):
    assert work_words.command(facts(provenance)) == command


def test_amounts_are_told_as_used_of_all_and_free():
    assert work_words.node_words(1.0, 4.0, "GPU") == "1 of 4 GPUs promised to work, 3 free"
    assert work_words.node_words(0.5, 1.0, "GPU") == "0.5 of 1 GPU promised to work, 0.5 free"
    assert work_words.node_words(0.0, 0.0, "GPU") == "no GPUs"


def test_what_the_sandbox_failed_on_is_not_among_what_models_did():
    row = work_words.outcome_row("x", {"passed": 7, "failed": 2, "sandbox_error": 1})

    assert row["Judged"] == "9"
    assert row["the sandbox failed"] == ":orange-badge[1]"
    assert row["time limit"] == "\u2013"


def test_a_driver_that_fell_silent_is_told_with_when_it_was_last_heard_of():
    silent = DriverFacts(
        id="x", experiment="e", host="h", process=1, cluster="", dashboard="",
        started_at=NOW - timedelta(hours=1), at=NOW, ended_at=None,
    )  # fmt: skip
    later = NOW + timedelta(minutes=9)

    assert "not heard of since 07:41 UTC" in work_words.driver_words(silent, later)
    assert "works since 1.0 h" in work_words.driver_words(silent, NOW)
    assert (
        work_words.driver_words(replace(silent, ended_at=NOW), later)
        == "ended 9 min ago after 1.0 h"
    )


def test_lines_of_a_log_are_found_whatever_their_case():
    log = "step 1: LOSS 2\ntraining begins\nstep 2: loss 1"

    assert work_words.log_lines(log, " loss ") == "step 1: LOSS 2\nstep 2: loss 1"
    assert work_words.log_lines(log, "") == log


def test_before_anything_ran_the_page_says_what_to_do(filled):
    assert "Run `make train-all`" in said(page(jobs_script))


def test_when_no_experiment_runs_the_last_one_is_told_and_all_else_is_there(filled):
    ended = datetime.now(UTC) - timedelta(minutes=3)
    write(filled, [driver(at=ended, ended_at=ended)])
    app = page(jobs_script)

    assert "No experiment runs now; the last one, starter, ended 3 min ago." in said(app)
    rows = app.table[-1].value
    assert set(rows["passed"]) == {"14", "70"}
    assert set(rows["the sandbox failed"]) == {"\u2013"}
    assert "No server: no model server answers" in said(app).replace("\\", "")


def test_a_driver_that_was_killed_is_said_and_so_are_the_runs_it_left(filled):
    heard = datetime.now(UTC) - timedelta(minutes=3)
    write(filled, [driver(at=heard), tuned_run("a" * 12, state="training", label="left")])
    text = said(page(jobs_script))

    assert f"starter was not heard of since {heard:%H:%M} UTC" in text
    assert "1 run did not come to an end, and no driver is working on them: [left]" in text


def test_a_driver_that_is_a_ray_job_links_to_its_page_on_rays_dashboard(filled):
    write(filled, [*at_work(), driver(submission="starter-1 /../x", attempt=3)])
    app = page(jobs_script)
    links = [link.proto.url for link in app.get("link_button")]

    assert "http://127.0.0.1:8265/#/jobs/starter-1%20%2F..%2Fx" in links
    assert "start 3 of its supervisor" in "\n".join(app.table[1].value["State"])


def test_the_view_of_a_run_says_who_holds_it_and_leads_to_its_ray_job(filled):
    write(filled, [*at_work(), driver(submission="starter-1")])
    claim(filled, "a" * 12, "d" * 32)
    app = page(training_script, run="a" * 12)

    assert "node\\-7 works on it since" in said(app)
    assert "](http://127.0.0.1:8265/#/jobs/starter-1)" in said(app)


def test_a_claim_that_was_not_renewed_may_be_taken_over_and_the_page_says_so():
    held = ClaimFacts(
        run=TUNED, driver="d" * 32, attempt=2, host="node-7", experiment="starter",
        since=NOW - timedelta(minutes=5), at=NOW - timedelta(minutes=2), alive=False,
    )  # fmt: skip
    told = work_words.holder_words(held, NOW)

    assert told.startswith("node\\-7 works on it since 5 min ago; it is driver 2 that does")
    assert "another driver may take it over" in told


def test_the_queue_shows_who_works_how_far_and_who_waits_behind_whom(filled):
    write(filled, at_work())
    app = page(jobs_script)
    text = said(app)

    assert "**Running: starter.**" in text
    assert "7 runs: 2 done, 1 generating, 1 training, 3 waiting" in text
    assert "answers](run?id=bbbbbbbbbbbb): generating, humaneval, 300 of 1,200 compl" in text
    assert "trains\\_now](run?id=aaaaaaaaaaaa): training, step 15 of 60" in text
    queue = app.table[0].value
    assert list(queue["Place"]) == ["1", "2", "3"]
    assert list(queue["State"]) == [
        "comes next",
        "waits, 1 run before it",
        "waits, 2 runs before it",
    ]
    assert "1 of 4 GPUs promised to work, 3 free" in text
    assert "6 of 8 processors promised to work, 2 free" in text
    assert "16.0 of 64.0 GiB of memory used" in text


def test_rays_dashboard_is_linked_and_its_token_is_not_shown(filled, home):
    home.mkdir(exist_ok=True)
    (home / "cluster.token").write_text("f" * 64)
    write(filled, at_work())
    app = page(jobs_script)

    (link,) = app.get("link_button")
    assert link.proto.url == "http://127.0.0.1:8265"
    assert "`make dashboard` on node\\-7 prints it" in said(app)
    assert "f" * 64 not in str(app)


def test_a_stage_that_does_not_get_on_is_marked(filled):
    write(filled, at_work())
    old = datetime.now(UTC) - timedelta(minutes=9)
    stage = Stage(
        run="b" * 12, name="generating humaneval", done=300, of=1200, started_at=old, at=old
    )
    write(filled, [stage])

    assert "1 run did not get on for longer than usual: [answers]" in said(page(jobs_script))


def test_the_model_server_is_told_with_what_it_has_loaded(server):
    app = page(jobs_script)

    assert "3 answers being written or waiting; 17 may." in said(app)
    models = app.table[-1].value
    assert list(models["Model"]) == ["b", "a"]


CHOSEN = f"trains_now ({'a' * 12})"


def test_a_run_is_stopped_after_a_second_look_at_what_that_does(filled, server):
    write(filled, at_work())
    app = page(training_script, run=CHOSEN)
    app.button(key="stop").click().run()
    assert "goes on from its last checkpoint later" in said(app)
    assert work.stops(filled) == {}

    app.button(key="stop-yes").click().run()
    assert "Its end was asked for" in said(app)
    assert set(work.stops(filled)) == {"a" * 12}
    assert not [button for button in app.button if button.key == "stop"]


def test_who_thinks_again_stops_nothing(filled, server):
    write(filled, at_work())
    app = page(training_script, run=CHOSEN)
    app.button(key="stop").click().run()
    app.button(key="stop-no").click().run()

    assert work.stops(filled) == {}
    assert app.button(key="stop")


def test_without_a_server_a_stop_is_refused_with_the_reason(filled):
    write(filled, at_work())
    app = page(training_script, run=CHOSEN)
    app.button(key="stop").click().run()
    app.button(key="stop-yes").click().run()

    assert "It was not stopped: no model server answers" in said(app)


def test_who_may_not_act_is_offered_no_stop(filled, monkeypatch):
    monkeypatch.setattr("leaderboard.people.may_act", lambda: False)
    write(filled, at_work())
    app = page(training_script, run=CHOSEN)

    assert "Members may stop a run" in said(app)
    assert not [button for button in app.button if button.key == "stop"]


def test_where_no_driver_works_on_a_run_that_is_said_instead(filled):
    write(filled, [tuned_run("a" * 12, state="training", label="trains_now")])
    app = page(training_script, run=CHOSEN)

    assert "No driver is working on it" in said(app)
    assert not [button for button in app.button if button.key == "stop"]


def test_a_wish_that_an_earlier_driver_had_is_no_wish_any_more(filled):
    write(filled, at_work())
    write(filled, [Stop(run="a" * 12, at=datetime.now(UTC) - timedelta(hours=1))])

    assert page(training_script, run=CHOSEN).button(key="stop")


def test_why_a_run_failed_is_shown_with_the_command_that_tries_again(filled):
    failed = tuned_run(
        "a" * 12, state="failed", label="broke",
        provenance={"command": "-m jobs run experiments/mine.yaml"},
    )  # fmt: skip
    reason = Event(run="a" * 12, kind="failed", message="GangError: [x](http://evil) was killed")
    write(filled, [failed, reason])
    app = page(training_script, run=f"broke ({'a' * 12})")

    assert "**Failed.** Workers were lost" in said(app)
    codes = [block.value for block in app.code]
    assert "[x](http://evil) was killed" in codes
    assert "python -m jobs run experiments/mine.yaml" in codes
    assert "evil" not in said(app)


def test_the_log_of_a_run_is_shown_and_filtered_without_a_reload(filled, server, home):
    write(filled, at_work())
    logs = RunLogs(Home(home))
    for number in range(3):
        logs.say("a" * 12, f"step {number} of 60: loss 1.0 \x1b[31mred")
    app = page(training_script, run=CHOSEN)
    (shown,) = [block.value for block in app.code if "step 0 of 60" in block.value]
    assert "\\x1b[31mred" in shown and "\x1b" not in shown

    app.text_input(key="log").set_value("step 2").run()
    (kept,) = [block.value for block in app.code if "of 60" in block.value]
    assert kept.count("\n") == 0 and "step 2 of 60" in kept


def test_what_runs_now_has_its_losses_drawn_small_beside_its_bar(filled):
    write(filled, at_work())
    app = page(training_script)

    (metric,) = app.metric
    assert metric.label == "Loss"
    assert float(metric.value) == pytest.approx(queries.steps(filled, "a" * 12)[-1].loss, abs=1e-3)
    assert "Last step" in said(app)


def test_the_files_of_the_page_hold_what_it_shows(filled):
    write(filled, at_work())
    assert len(page(jobs_script).get("download_button")) == 2
