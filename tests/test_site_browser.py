"""The site as it is started: whoever a proxy signed in, and pages that everybody can use."""

import re

import pytest
from browsing import models, record, started, tab
from plausible_rows import BASE, TUNED, answer_id, small_ledger

from leaderboard.access import Access

__all__ = ["models", "tab"]
ADA, EVE = "ada@example.org", "eve@example.org"
PAGES = (
    "",
    f"compare?a={TUNED}&b={BASE}",
    "problems",
    "training",
    "datasets",
    "try",
    "jobs",
    "methods",
    f"run?id={TUNED}",
    "problem?benchmark=humaneval&id=humaneval/0",
    f"completion?id={answer_id(TUNED, 0, 0)}",
)
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]
NOT_OURS = (".token", '[data-testid="stMultiSelect"] span[title]')
"""Streamlit has one blue for keywords in both themes, and white words on names that are chosen."""


@pytest.fixture
def site(home, models, tmp_path):
    """The address of the site behind a proxy that signs people in, with a small ledger."""
    record(small_ledger())
    signed_in = Access(local=False, sign_in="header").as_environment()
    told = {"CODELADDER_USER_HEADER": "X-Forwarded-Email", "CODELADDER_MEMBERS": ADA}
    named = '{"X-Forwarded-Email": "email"}'
    options = "--server.trustedUserHeaders", named
    with started("leaderboard/asgi.py", tmp_path, *options, **signed_in, **told) as url:
        yield url


def wait_until_quiet(tab):
    tab.get_by_test_id("stMain").get_by_role("heading", level=1).first.wait_for()
    tab.get_by_test_id("stStatusWidget").wait_for(state="detached")
    tab.wait_for_timeout(500)


def faults(tab):
    """What axe-core calls serious or critical, of this page as it is shown."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="no axe-core here")
    context = {"exclude": [[selector] for selector in NOT_OURS]}
    found = axe.Axe().run(tab, context=context, options={"runOnly": RULES}).response
    return [
        f"{fault['id']}: {node['html'][:200]}"
        for fault in found["violations"]
        if fault["impact"] in ("serious", "critical")
        for node in fault["nodes"]
    ]


def test_no_page_has_a_serious_fault_of_accessibility_in_either_theme(site, tab):
    tab.set_extra_http_headers({"X-Forwarded-Email": ADA})
    found = {}
    for page in PAGES:
        tab.goto(f"{site}/{page}")
        wait_until_quiet(tab)
        for theme in ("light", "dark"):
            tab.emulate_media(color_scheme=theme)
            tab.wait_for_timeout(300)
            found[page, theme] = faults(tab)

    assert not any(found.values()), found


def test_no_page_is_wider_than_a_phone(site, tab):
    tab.set_extra_http_headers({"X-Forwarded-Email": ADA})
    tab.set_viewport_size({"width": 390, "height": 844})
    wide = {}
    for page in PAGES:
        tab.goto(f"{site}/{page}")
        wait_until_quiet(tab)
        wide[page] = tab.evaluate("document.documentElement.scrollWidth")

    assert all(width <= 390 for width in wide.values()), wide


def test_members_may_stop_vote_and_judge_and_viewers_may_look(site, tab):
    for who, role in ((ADA, "a member"), (EVE, "a viewer")):
        tab.set_extra_http_headers({"X-Forwarded-Email": who})
        tab.goto(f"{site}/completion?id={answer_id(TUNED, 0, 0)}")
        name, domain = who.split("@")  # between them stands what keeps it from being a link
        tab.get_by_text(re.compile(f"Signed in as {name}.*{domain}, {role}")).wait_for()
        allowed = tab.get_by_role("button", name="Judge again").count()
        assert allowed == (1 if who == ADA else 0)
