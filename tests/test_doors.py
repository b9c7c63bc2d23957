"""Every door that speaks HTTP, asked with no token, a wrong one and the right one.

The servers are real ones: Ray's own, and what `make leaderboard` starts.
"""

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from free_ports import free_port

from cluster.session import connect
from database import open_ledger

ROOT = Path(__file__).parent.parent
SERVE_TOKEN, BOARD_TOKEN = "a-token-of-the-server", "a-token-of-the-board"
PATIENCE = 90.0


def status(url, token=None, method="GET", body=None, **headers):
    asked = urllib.request.Request(url, method=method, data=body, headers=headers)
    if token is not None:
        asked.add_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(asked, timeout=30) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


@pytest.fixture(scope="module")
def ray_cluster(tmp_path_factory):
    """The address of the dashboard, its token, and the port at which Ray tells its figures."""
    with connect(tmp_path_factory.mktemp("home")) as cluster:
        import ray

        (node,) = ray.nodes()
        yield cluster.dashboard_url, cluster.token_path.read_text(), node["MetricsExportPort"]


RAY = {
    "its version": ("GET", "/api/version", None),
    "the Ray jobs": ("GET", "/api/jobs/", None),
    "a new Ray job": ("POST", "/api/jobs/", json.dumps({"entrypoint": "true"}).encode()),
    "nodes": ("GET", "/nodes?view=summary", None),
    "actors": ("GET", "/logical/actors", None),
    "the cluster": ("GET", "/api/cluster_status", None),
    "state": ("GET", "/api/v0/tasks", None),
}


@pytest.mark.parametrize("door", RAY)
@pytest.mark.parametrize(("token", "expected"), [(None, 401), ("0" * 64, 403), ("right", 200)])
def test_rays_dashboard_answers_only_with_its_token(ray_cluster, door, token, expected):
    url, right, _ = ray_cluster
    method, path, body = RAY[door]
    shown = right if token == "right" else token

    deadline = time.monotonic() + PATIENCE
    told = 500
    while told >= 500 and time.monotonic() < deadline:  # Ray, on a busy machine
        told = status(url + path, shown, method, body, **{"Content-Type": "application/json"})

    assert told == expected


def test_rays_empty_page_is_open(ray_cluster):
    url, _, _ = ray_cluster

    assert status(f"{url}/") == 200


def test_a_cluster_that_ends_with_its_command_tells_its_figures_to_nobody(ray_cluster):
    _, _, figures = ray_cluster

    assert figures == -1


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The addresses of the board and of the server beside it, both with tokens."""
    board, beside = free_port(), free_port()
    home = tmp_path_factory.mktemp("site")
    open_ledger(f"sqlite:///{home}/ledger.db").dispose()
    tokens = {"CODELADDER_SERVE_TOKEN": SERVE_TOKEN, "CODELADDER_BOARD_TOKEN": BOARD_TOKEN}
    command = [sys.executable, "-m", "leaderboard", "--port", str(board)]
    with (home / "log").open("w") as log:
        process = subprocess.Popen(
            [*command, "--serve-port", str(beside)],
            cwd=ROOT,
            env=os.environ | tokens | {"CODELADDER_HOME": str(home)},
            stdout=log,
            stderr=log,
        )
    try:
        found = f"http://127.0.0.1:{board}", f"http://127.0.0.1:{beside}"
        for url in found:
            wait_for(f"{url}/health", home / "log")
        yield found
    finally:
        process.terminate()
        process.wait(30)


def wait_for(url, log):
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            if status(url) == 200:
                return
        except OSError:
            pass
        assert time.monotonic() < deadline, log.read_text()[-3000:]
        time.sleep(0.2)


SERVED = {
    "models": ("GET", "/v1/models", None),
    "a question": ("POST", "/v1/completions", b"{}"),
    "judging": ("POST", "/judge", b"{}"),
    "stopping": ("POST", "/runs/x/stop", b"{}"),
    "a log": ("GET", "/runs/x/log", None),
    "a vote": ("POST", "/votes", b"{}"),
    "what there is": ("GET", "/openapi.json", None),
}


@pytest.mark.parametrize("door", SERVED)
def test_the_model_server_answers_only_with_its_token(site, door):
    method, path, body = SERVED[door]
    url, headers = site[1] + path, {"Content-Type": "application/json"}

    assert status(url, None, method, body, **headers) == 401
    assert status(url, "wrong", method, body, **headers) == 403
    assert status(url, SERVE_TOKEN, method, body, **headers) not in (401, 403)


def test_the_model_server_lists_its_models_with_the_right_token_and_lives_for_everybody(site):
    assert status(f"{site[1]}/v1/models", SERVE_TOKEN) == 200
    assert status(f"{site[1]}/health") == 200


@pytest.mark.parametrize("path", ["/api/v1/runs", "/api/v1/scores"])
def test_the_boards_api_answers_only_with_its_token(site, path):
    url = site[0] + path

    assert (status(url), status(url, "wrong")) == (401, 403)
    assert status(url, BOARD_TOKEN) not in (401, 403)


@pytest.mark.parametrize("place", [0, 1])
def test_a_name_that_a_web_page_points_at_this_machine_is_refused(site, place):
    assert status(f"{site[place]}/v1/models", SERVE_TOKEN, Host="evil.example") == 403


def test_a_page_of_another_site_may_have_nothing_done(site):
    told = status(
        f"{site[1]}/runs/x/stop", SERVE_TOKEN, "POST", b"{}", Origin="https://evil.example"
    )

    assert told == 403
