"""Where signing in leads back to, with plain redirects in place of Streamlit's routes."""

import pytest
from starlette.applications import Starlette
from starlette.responses import RedirectResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from leaderboard.sign_in import CALLBACK, LOGIN, PAGE_COOKIE, USER_COOKIE, SignIn

HERE, PROVIDER = "http://board.example", "http://provider.example/authorize"


async def to_the_provider(request):
    return RedirectResponse(PROVIDER, 302)


async def back(request):
    answer = RedirectResponse("/", 302)
    answer.set_cookie(USER_COOKIE.removesuffix("="), "ada")
    return answer


@pytest.fixture
def browser():
    app = Starlette(routes=[Route(LOGIN, to_the_provider), Route(CALLBACK, back)])
    return TestClient(SignIn(app), base_url=HERE, follow_redirects=False)


def led(browser, page):
    """Where somebody is led who signs in on a page."""
    asked = browser.get(LOGIN, headers={"referer": page})
    assert asked.headers["location"] == PROVIDER
    return browser.get(CALLBACK, params={"code": "right"}).headers["location"]


@pytest.mark.parametrize(
    "page", ["/", "/run?id=70ded70ded70", "/problem?id=a%2F0&run=%C3%A9", "/compare?a=1&b=2"]
)
def test_one_is_led_back_to_the_page_that_one_came_from_and_only_once(browser, page):
    assert led(browser, HERE + page) == page
    assert browser.get(CALLBACK, params={"code": "right"}).headers["location"] == "/"


def test_a_failure_in_between_does_not_forget_the_page(browser):
    browser.get(LOGIN, headers={"referer": f"{HERE}/jobs"})
    failed = browser.get(CALLBACK, params={"error": "access_denied"}).headers["location"]

    assert failed == "/?sign-in=refused"
    assert led(browser, HERE + failed) == "/jobs"


@pytest.mark.parametrize(
    "page", ["http://evil.example/run", "http://board.example//evil.example", ""]
)
def test_nobody_is_led_to_another_site_by_the_page_one_came_from(browser, page):
    assert led(browser, page) == "/"


@pytest.mark.parametrize(
    "address", ["%2F%2Fevil.example", "%2F%5Cevil.example", "http%3A%2F%2Fevil.example", "%0D%0A"]
)
def test_nobody_is_led_to_another_site_by_a_cookie(browser, address):
    browser.cookies.set(PAGE_COOKIE, address)

    assert browser.get(CALLBACK, params={"code": "right"}).headers["location"] == "/"
