"""Who gets into the site: settings, the door, and what members may do."""

import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from leaderboard.__main__ import _environment, _parser
from leaderboard.access import Access, AccessError, from_environment, settled
from leaderboard.door import Door

ROOT = Path(__file__).parents[1]
PROXY = "10.0.0.7"
PROXIED = Access(
    local=False, sign_in="header", user_header="X-Forwarded-Email", proxies=(PROXY,), token="sesame"
)


async def greet(request):
    return PlainTextResponse("inside")


async def talk(websocket):
    await websocket.accept()
    await websocket.send_text("inside")
    await websocket.close()


def site(access, *, address="127.0.0.1", host="127.0.0.1:8501"):
    routes = [Route("/{path:path}", greet), WebSocketRoute("/_stcore/stream", talk)]
    app = Door(Starlette(routes=routes), access)
    return TestClient(app, base_url=f"http://{host}", client=(address, 5000))


def test_pages_that_others_could_reach_want_a_way_to_sign_in(tmp_path):
    with pytest.raises(AccessError, match=r"0\.0\.0\.0 can be reached.*CODELADDER_USER_HEADER"):
        settled("0.0.0.0", environment={}, folder=tmp_path)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_on_loopback_nobody_signs_in_and_everybody_may_act(host, tmp_path):
    access = settled(host, environment={}, folder=tmp_path)

    assert (access.local, access.sign_in) == (True, "none")
    assert access.may_act("")


def test_a_proxys_header_is_a_way_to_sign_in(tmp_path):
    told = {"CODELADDER_USER_HEADER": "X-Forwarded-Email", "CODELADDER_PROXIES": f" {PROXY} ,"}
    access = settled("0.0.0.0", environment=told, folder=tmp_path)

    assert (access.local, access.sign_in, access.user_header) == (
        False,
        "header",
        "X-Forwarded-Email",
    )
    assert access.proxies == (PROXY,)


def test_two_ways_to_sign_in_are_one_too_many(tmp_path):
    (tmp_path / ".streamlit").mkdir()
    (tmp_path / ".streamlit" / "secrets.toml").write_text('[auth]\nclient_id = "x"\n')

    with pytest.raises(AccessError, match="one way to sign in is enough"):
        settled("::", environment={"CODELADDER_USER_HEADER": "X-User"}, folder=tmp_path)


def test_secrets_that_are_no_toml_are_named(tmp_path):
    (tmp_path / ".streamlit").mkdir()
    (tmp_path / ".streamlit" / "secrets.toml").write_text("[auth\n")

    with pytest.raises(AccessError, match=r"secrets\.toml cannot be read"):
        settled("127.0.0.1", environment={}, folder=tmp_path)


def test_what_is_settled_is_what_the_pages_read(tmp_path):
    told = {"CODELADDER_USER_HEADER": "X-User", "CODELADDER_MEMBERS": "Ada@Example.org,*@lab.org"}
    access = settled("0.0.0.0", environment=told, folder=tmp_path)

    assert from_environment(told | access.as_environment()) == access


@pytest.mark.parametrize(
    ("who", "may"),
    [
        ("ada@example.org", True),
        ("ADA@example.org ", True),
        ("bob@lab.org", True),
        ("bob@evil-lab.org", False),
        ("bob@lab.org.evil.org", False),
        ("eve@example.org", False),
        ("", False),
    ],
)
def test_members_act_and_viewers_look(who, may):
    access = Access(sign_in="oidc", members=("ada@example.org", "*@lab.org"))

    assert access.may_act(who) is may


def test_nobody_is_a_member_until_members_are_named():
    assert not Access(sign_in="oidc").may_act("ada@example.org")
    assert Access(sign_in="oidc", members=("*",)).may_act("ada@example.org")


def test_a_name_that_a_web_page_invented_is_refused_on_loopback():
    assert site(Access()).get("/").text == "inside"
    refused = site(Access(), host="rebound.example").get("/")

    assert refused.status_code == 403
    assert "rebound.example" in refused.json()["detail"]


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.0.0.2:8501", "[::1]:8501"])
def test_every_loopback_address_is_a_name_of_this_machine(host):
    assert site(Access(), host=host).get("/").text == "inside"


@pytest.mark.parametrize(
    ("address", "status"), [("::1", 200), ("::ffff:127.0.0.1", 200), ("192.0.2.7", 403)]
)
def test_a_local_site_is_asked_from_this_machine_alone(address, status):
    assert site(Access(), address=address, host="localhost").get("/").status_code == status


def test_a_host_header_is_no_way_around_the_path():
    client = site(Access(local=False, sign_in="oidc", token="sesame"), host="board.example")

    refused = client.get("/api/v1/runs", headers={"Host": "board.example/health?"})
    assert refused.status_code == 401


@pytest.mark.parametrize(("proxy", "status"), [("127.0.0.1", 200), ("203.0.113.9", 403)])
@pytest.mark.parametrize("before", [None, "*"])
def test_the_proxy_is_who_is_at_the_socket_whatever_a_header_says(
    proxy, status, before, monkeypatch
):
    if before:
        monkeypatch.setenv("FORWARDED_ALLOW_IPS", before)
    access = Access(local=False, sign_in="header", user_header="X-Email", proxies=(proxy,))
    told = _environment(_parser().parse_args([]), access)
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", told["FORWARDED_ALLOW_IPS"])
    app = Door(Starlette(routes=[Route("/", greet)]), access)
    server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        headers = {"X-Forwarded-For": "203.0.113.9", "X-Email": "ada@example.org"}
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/"
        try:
            while thread.is_alive() and not server.started:
                time.sleep(0.05)
            assert httpx.get(url, headers=headers, trust_env=False).status_code == status
        finally:
            server.should_exit = True
            thread.join(20)


def test_where_people_sign_in_the_model_server_has_a_token_that_no_other_account_knows(monkeypatch):
    monkeypatch.delenv("CODELADDER_SERVE_TOKEN", raising=False)
    asked = _parser().parse_args([])
    made = _environment(asked, PROXIED)["CODELADDER_SERVE_TOKEN"]

    assert len(made) > 32 and made != _environment(asked, PROXIED)["CODELADDER_SERVE_TOKEN"]
    assert "CODELADDER_SERVE_TOKEN" not in _environment(asked, Access())
    monkeypatch.setenv("CODELADDER_SERVE_TOKEN", "mine")
    assert _environment(asked, PROXIED)["CODELADDER_SERVE_TOKEN"] == "mine"


def test_only_the_proxy_may_say_who_signed_in():
    header = {"X-Forwarded-Email": "ada@example.org"}

    assert site(PROXIED, address=PROXY).get("/", headers=header).status_code == 200
    assert site(PROXIED, address=PROXY).get("/").status_code == 401
    assert site(PROXIED, address="10.0.0.8").get("/", headers=header).status_code == 403


def test_the_door_is_before_the_pages_own_socket_too():
    header = {"X-Forwarded-Email": "ada@example.org"}
    inside = site(PROXIED, address=PROXY)
    with inside.websocket_connect("/_stcore/stream", headers=header) as socket:
        assert socket.receive_text() == "inside"

    outside = site(PROXIED, address="10.0.0.8")
    with pytest.raises(WebSocketDisconnect) as refused:
        outside.websocket_connect("/_stcore/stream", headers=header).__enter__()
    assert refused.value.code == 1008


@pytest.mark.parametrize(
    ("shown", "status"), [(None, 401), ("Bearer wrong", 403), ("Bearer sesame", 200)]
)
def test_where_people_sign_in_programs_show_a_token(shown, status):
    client = site(Access(local=False, sign_in="oidc", token="sesame"), host="board.example")
    headers = {"Authorization": shown} if shown else {}

    assert client.get("/api/v1/runs", headers=headers).status_code == status
    assert client.get("/run", headers=headers).status_code == 200  # the page asks people itself
    assert client.get("/health").status_code == 200


def test_without_a_token_the_api_is_closed_where_people_sign_in():
    client = site(Access(local=False, sign_in="oidc"), host="board.example")
    refused = client.get("/api/v1/runs", headers={"Authorization": "Bearer "})

    assert refused.status_code == 401
    assert "CODELADDER_BOARD_TOKEN is not set" in refused.json()["detail"]


def test_a_program_passes_the_door_of_a_proxied_site_with_the_token_only():
    client = site(PROXIED, address="10.0.0.8")

    assert client.get("/api/v1/runs").status_code == 403
    shown = {"Authorization": "Bearer sesame"}
    assert client.get("/api/v1/runs", headers=shown).status_code == 200


def test_the_command_refuses_an_open_address_without_a_traceback(home):
    command = [sys.executable, "-m", "leaderboard", "--host", "0.0.0.0", "--port", "8599"]
    ended = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )

    assert ended.returncode == 2
    assert "nobody has to sign in" in ended.stderr
    assert "Traceback" not in ended.stderr
