"""The JSON API and the health check, over real ledgers."""

import pytest
from plausible_rows import BASE, TUNED, small_ledger
from starlette.applications import Starlette
from starlette.routing import Route
from starlette.testclient import TestClient

from database import open_for_reading, write
from database.exchange import as_json
from database.queries import scores
from leaderboard.api import health, make_api


@pytest.fixture
def filled(ledger):
    write(ledger, small_ledger())
    return ledger


@pytest.fixture
def client(filled):
    return TestClient(make_api(lambda: filled))


def test_scores_are_those_of_the_command_line(client, filled):
    answer = client.get("/scores", params={"benchmark": "humaneval"})

    assert answer.headers["content-type"] == "application/json"
    assert answer.text == as_json(scores(filled))


def test_scores_are_narrowed_by_run_metric_and_experiment(client):
    assert [one["run"] for one in client.get("/scores", params={"run": BASE}).json()] == [BASE]
    assert client.get("/scores", params={"metric": "pass@10"}).json() == []
    assert len(client.get("/scores", params={"experiment": "starter"}).json()) == 2


def test_runs_come_newest_first_a_page_at_a_time(client):
    assert [run["id"] for run in client.get("/runs").json()] == [TUNED, BASE]
    page = client.get("/runs", params={"limit": 1, "offset": 1}).json()
    assert [run["id"] for run in page] == [BASE]
    assert client.get("/runs", params={"state": "failed"}).json() == []


def test_a_run_tells_its_checkpoint_and_what_happened(client):
    run = client.get(f"/runs/{TUNED}").json()

    assert run["checkpoint"]["sha256"] == "c" * 64
    assert [event["kind"] for event in run["events"]] == ["judged humaneval", "trained"]


def test_verdicts_come_with_texts_on_request_only(client):
    asked = {"run": TUNED, "benchmark": "humaneval", "outcome": "passed", "limit": 3}
    bare = client.get("/verdicts", params=asked).json()
    whole = client.get("/verdicts", params=asked | {"text": True}).json()

    assert [one["outcome"] for one in bare] == ["passed"] * 3
    assert not {"text", "prompt", "tests", "instruction"} & bare[0].keys()
    assert whole[0]["text"].startswith("    return sorted(xs)")


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("/runs/nope", 404, "the ledger holds no run 'nope'"),
        ("/scores?experiment=startr", 404, "the ledger holds no experiment 'startr'"),
    ],
)
def test_what_is_not_there_is_said(client, path, status, said):
    answer = client.get(path)

    assert answer.status_code == status
    assert said in answer.json()["detail"]


def test_more_rows_than_one_answer_takes_are_refused(client):
    assert client.get("/runs", params={"limit": 5000}).status_code == 422
    assert client.get("/verdicts", params={"run": TUNED, "offset": 2**64}).status_code == 422


def test_nothing_can_be_written(client):
    described = client.get("/openapi.json").json()["paths"]

    assert {method for path in described.values() for method in path} == {"get"}
    assert client.post("/runs").status_code == 405


def test_every_route_is_described_in_words(client):
    described = client.get("/openapi.json").json()["paths"]

    assert set(described) == {"/benchmarks", "/scores", "/runs", "/runs/{run}", "/verdicts"}
    assert all(path["get"]["description"] for path in described.values())


def test_without_a_ledger_the_api_says_so_and_the_site_is_well(tmp_path):
    def none_yet():
        return open_for_reading(f"sqlite:///{tmp_path / 'none.db'}")

    api = TestClient(make_api(none_yet))
    site = TestClient(Starlette(routes=[Route("/health", health(none_yet))]))

    assert api.get("/runs").status_code == 404
    assert "make train-all" in api.get("/runs").json()["detail"]
    assert site.get("/health").json() == {"status": "ok", "ledger": "none yet"}


def test_a_database_that_is_gone_is_said_to_all_and_why_to_the_log(caplog):
    def gone():
        return open_for_reading("postgresql://me:sesame@127.0.0.1:9/ledger")

    site = TestClient(Starlette(routes=[Route("/health", health(gone))]))
    answer = site.get("/health")

    assert answer.status_code == 503
    assert answer.json()["status"] == "failing"
    assert not [word for word in ("sesame", "127.0.0.1", "me") if word in answer.json()["ledger"]]
    assert "127.0.0.1" in caplog.text
    assert "sesame" not in caplog.text
