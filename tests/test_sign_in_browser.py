"""Signing in by OpenID Connect, with a real provider on this machine, in a real browser."""

import json
import re
import subprocess
import sys
from contextlib import contextmanager

import httpx
import pytest
from browsing import answering, record, started, tab, wait_until_quiet, wait_until_there
from free_ports import free_port
from plausible_rows import TUNED, answer_id, small_ledger

from leaderboard.access import Access

__all__ = ["tab"]
ADA, EVE, MAL = "ada@example.org", "eve@example.org", "mal@example.org"
METADATA = "/.well-known/openid-configuration"
ANSWER = f"completion?id={answer_id(TUNED, 0, 0)}"


@pytest.fixture
def provider(tmp_path):
    """The address of a provider that asks for registered clients and their secrets."""
    port = free_port()
    command = [sys.executable, "-m", "oidc_provider_mock", "-p", str(port), "-r"]
    for who in (ADA, EVE, MAL):
        claims = {"sub": named(who), "email": who, "email_verified": who != MAL}
        command += ["--user-claims", json.dumps(claims)]
    address = f"http://127.0.0.1:{port}"
    with (tmp_path / "provider.log").open("w") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        wait_until_there(f"{address}{METADATA}", server)
        yield address
    finally:
        server.terminate()
        server.wait(30)


def named(who):
    return who.split("@")[0]


@contextmanager
def site(provider, folder, *, secret=None, metadata=None):
    """The site of one member, Ada, registered with the provider."""
    folder.mkdir()
    port = free_port()
    back = f"http://localhost:{port}/oauth2callback"
    asked = {"redirect_uris": [back], "token_endpoint_auth_method": "client_secret_basic"}
    client = httpx.post(f"{provider}/oauth2/clients", json=asked, trust_env=False).json()
    known = {
        "redirect_uri": back,
        "cookie_secret": "of this test",
        "client_id": client["client_id"],
        "client_secret": secret or client["client_secret"],
        "server_metadata_url": metadata or f"{provider}{METADATA}",
    }
    secrets = folder / "secrets.toml"
    secrets.write_text("[auth]\n" + "".join(f'{key} = "{said}"\n' for key, said in known.items()))
    told = Access(local=False, sign_in="oidc").as_environment() | {"CODELADDER_MEMBERS": ADA}
    options = "--secrets.files", str(secrets)
    with answering() as models:
        told["CODELADDER_SERVE_URL"] = f"http://127.0.0.1:{models.server_port}"
        with started("leaderboard/asgi.py", folder, *options, port=port, **told):
            yield f"http://localhost:{port}"


@pytest.fixture
def visitor(home, tab):
    record(small_ledger())
    tab.route("https://**", lambda route: route.abort())  # the provider's page wants a style sheet
    return tab


def sign_in(tab, who):
    tab.get_by_role("button", name="Sign in").click()
    tab.get_by_role("button", name=named(who), exact=True).click()


def test_from_signed_out_to_the_provider_and_back_as_a_member_and_as_a_viewer(
    provider, visitor, tmp_path
):
    with site(provider, tmp_path / "site") as url:
        for who, role in ((ADA, "a member"), (EVE, "a viewer")):
            visitor.goto(f"{url}/{ANSWER}")
            visitor.get_by_text("Sign in to see the leaderboard").wait_for()
            assert visitor.get_by_text("has_close_elements").count() == 0
            sign_in(visitor, who)
            name, domain = who.split("@")
            told = visitor.get_by_text(re.compile(f"Signed in as {name}.*{domain}, {role}"))
            told.wait_for()
            wait_until_quiet(visitor)
            assert visitor.url == f"{url}/{ANSWER}", "one is back on the page that one came from"
            allowed = visitor.get_by_role("button", name="Judge again").count()
            assert allowed == (1 if who == ADA else 0)

            visitor.get_by_role("button", name="Sign out").click()
            visitor.get_by_role("button", name="End session").click()
            visitor.get_by_text("Sign in to see the leaderboard").wait_for()
            assert visitor.get_by_role("alert").count() == 0
            visitor.goto(f"{url}/{ANSWER}")
            visitor.get_by_text("Sign in to see the leaderboard").wait_for()

        sign_in(visitor, MAL)
        visitor.get_by_text("has not verified your e-mail address").wait_for()


def test_why_signing_in_failed_is_told_on_the_page_and_in_the_log(provider, visitor, tmp_path):
    with site(provider, tmp_path / "wrong", secret="a wrong one") as url:
        visitor.goto(url)
        sign_in(visitor, ADA)
        visitor.get_by_text("did not accept this site").wait_for()
        visitor.get_by_text("client_secret", exact=False).first.wait_for()
        assert "invalid_client" in (tmp_path / "wrong" / "app.log").read_text()

        visitor.get_by_role("button", name="Sign in").click()
        visitor.get_by_role("button", name="Deny").click()
        visitor.get_by_text("did not let you in").wait_for()


def test_a_provider_that_cannot_be_asked_is_told(provider, visitor, tmp_path):
    nobody = f"http://localhost:{free_port()}{METADATA}"
    with site(provider, tmp_path / "lost", metadata=nobody) as url:
        visitor.goto(url)
        visitor.get_by_role("button", name="Sign in").click()
        visitor.get_by_text("The provider could not be asked").wait_for()
