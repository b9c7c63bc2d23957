"""The routes that stop a run and show its log, and what such a log may hold."""

from datetime import UTC, datetime

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from plausible_rows import BASE, TUNED, base_run, tuned_run

from database import open_ledger, work, write
from jobs import control_desk, run_logs
from jobs.home import Home
from jobs.run_logs import RunLogs, tail, without_secrets
from jobs.serving.service import Service


@pytest.fixture
def ledger(home):
    engine = open_ledger()
    write(engine, [base_run(), tuned_run(state="training", label="mine", finished_at=None)])
    yield engine
    engine.dispose()


@pytest.fixture
def desk(home, ledger):
    app = FastAPI()
    service = Service(home=home, ledger=ledger, desk=None, judges=None)
    app.include_router(control_desk.router(service))
    return TestClient(app)


def test_a_run_that_goes_on_is_asked_to_stop_in_the_name_of_who_did(desk, ledger):
    before = datetime.now(UTC)
    answer = desk.post(f"/runs/{TUNED}/stop", json={"who": "ada"})

    assert answer.status_code == 200
    assert answer.json()["driver"] is False
    assert "no driver is working on it" in answer.json()["message"]
    stop = work.stops(ledger)[TUNED]
    assert stop.asked_by == "ada" and stop.at >= before


@pytest.mark.parametrize(
    "run, status, said",
    [(BASE, 409, "there is nothing to stop"), ("70ded70ded7x", 404, TUNED)],
)
def test_what_cannot_be_stopped_is_refused_with_the_reason(desk, ledger, run, status, said):
    answer = desk.post(f"/runs/{run}/stop", json={})

    assert answer.status_code == status
    assert said in answer.json()["detail"]
    assert work.stops(ledger) == {}


def test_a_body_with_other_fields_is_refused(desk):
    assert desk.post(f"/runs/{TUNED}/stop", json={"force": True}).status_code == 422


def test_the_log_of_a_run_is_its_last_lines_as_text(desk, home):
    logs = RunLogs(Home(home))
    for number in range(1, 301):
        logs.say(TUNED, f"step {number} of 300")
    answer = desk.get(f"/runs/{TUNED}/log", params={"lines": 3})

    assert answer.headers["content-type"].startswith("text/plain")
    assert [line[20:] for line in answer.text.splitlines()] == [
        "step 298 of 300",
        "step 299 of 300",
        "step 300 of 300",
    ]
    assert len(desk.get(f"/runs/{TUNED}/log").text.splitlines()) == 200


@pytest.mark.parametrize("run", ["..", "%2e%2e", "..%2f..%2fetc", f"{TUNED}%2f..%2f..", "nobody"])
def test_no_other_path_can_be_read_as_a_log(desk, home, run):
    home.mkdir(exist_ok=True)
    (home / "log.txt").write_text("secret")
    (home.parent / "log.txt").write_text("secret")
    answer = desk.get(f"/runs/{run}/log")

    assert answer.status_code == 404
    assert "secret" not in answer.text


def test_a_run_without_a_log_says_why(desk):
    answer = desk.get(f"/runs/{TUNED}/log")

    assert answer.status_code == 404
    assert "made elsewhere" in answer.json()["detail"]


@pytest.mark.parametrize("lines", ["0", "-1", "5001", "many"])
def test_a_number_of_lines_that_is_none_is_refused(desk, lines):
    assert desk.get(f"/runs/{TUNED}/log", params={"lines": lines}).status_code == 422


def test_a_log_does_not_grow_without_end_and_keeps_what_is_last(home, monkeypatch):
    monkeypatch.setattr(run_logs, "BYTES_AT_MOST", 4000)
    logs = RunLogs(Home(home))
    for number in range(500):
        logs.say(TUNED, f"line {number}")
    path = home / TUNED / "log.txt"

    assert path.stat().st_size <= 4000
    assert path.read_text().splitlines()[0] == "... what is older is not kept"
    assert tail(path, 1).endswith("line 499\n")


def test_no_secret_of_the_environment_gets_into_a_log(home, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_abcdefghijk")
    monkeypatch.setenv("MY_SERVER_KEY", "sk-1234567890")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", "/somewhere/token")
    monkeypatch.setenv("SHORT_KEY", "1")
    logs = RunLogs(Home(home))
    logs.say(TUNED, "Bearer hf_abcdefghijk, sk-1234567890 and 1; see /somewhere/token")
    logs.say(TUNED, "postgresql://me:sesame@db/ledger does not answer")

    said = (home / TUNED / "log.txt").read_text()
    assert "Bearer ***, *** and 1; see /somewhere/token" in said
    assert "postgresql://***@db/ledger" in said


def test_secrets_of_any_spelling_are_hidden():
    known = {"apiToken": "abcdefgh", "DB_PASSWORD": "longenough", "HOME": "/home/abcd"}

    assert without_secrets("abcdefgh longenough /home/abcd", known) == "*** *** /home/abcd"
    known = {"A_TOKEN": "sesame-1", "B_AUTH": "sesame-1234", "DB_PWD": "opensesame"}
    known |= {"PWD": "/home/abcd", "OLDPWD": "/home/abc1"}
    said = "sesame-1 sesame-1234 opensesame /home/abcd /home/abc1"
    assert without_secrets(said, known) == "*** *** *** /home/abcd /home/abc1"


def test_logins_in_addresses_are_hidden_with_and_without_a_password():
    said = "https://hf_abc@hub.example/m, postgresql://me:s@same@db/l, https://hub.example/@me"
    hidden = "https://***@hub.example/m, postgresql://***@db/l, https://hub.example/@me"

    assert without_secrets(said, {}) == hidden


def test_a_disk_that_takes_no_log_ends_nothing(home):
    home.mkdir(exist_ok=True)
    (home / TUNED).write_text("a file where the folder should be")

    RunLogs(Home(home)).say(TUNED, "step 1")
