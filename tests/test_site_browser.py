"""The site as it is started: whoever a proxy signed in, and pages that everybody can use."""

import re
from dataclasses import dataclass, field

import pytest
from browsing import answering, opened_tab, record, started, tab, wait_until_quiet
from plausible_rows import BASE, TUNED, answer_id, small_ledger

from leaderboard.access import Access

__all__ = ["tab"]
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
    "run",
    f"run?id={TUNED}",
    "problem?benchmark=humaneval&id=humaneval/0",
    f"completion?id={answer_id(TUNED, 0, 0)}",
)
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]
TOOL = re.compile("^(Copy link|Download)")
NOT_OURS = (".token", '[data-testid="stMultiSelect"] span[title]')
"""Streamlit has one blue for keywords in both themes, and white words on names that are chosen."""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The address of the site behind a proxy that signs people in, with a small ledger."""
    folder = tmp_path_factory.mktemp("site")
    signed_in = Access(local=False, sign_in="header").as_environment()
    options = "--server.trustedUserHeaders", '{"X-Forwarded-Email": "email"}'
    with pytest.MonkeyPatch.context() as patched, answering() as models:
        patched.setenv("CODELADDER_HOME", str(folder / "home"))
        patched.delenv("CODELADDER_DATABASE_URL", raising=False)
        record(small_ledger())
        told = {
            **signed_in,
            "CODELADDER_USER_HEADER": "X-Forwarded-Email",
            "CODELADDER_MEMBERS": ADA,
            "CODELADDER_SERVE_URL": f"http://127.0.0.1:{models.server_port}",
        }
        with started("leaderboard/asgi.py", folder, *options, **told) as url:
            yield url


@dataclass
class Visit:
    """What was noted of one page."""

    phone: int
    """Pixels that it is wide where a phone has 390."""
    tools: list[str]
    """Names of the buttons in its last row."""
    faults: dict[str, list[str]] = field(default_factory=dict)
    """By theme."""


@pytest.fixture(scope="module")
def visits(site):
    """Every page, once: as a phone loads it, then on a wide screen in both themes."""
    found = {}
    with opened_tab() as tab:
        tab.set_extra_http_headers({"X-Forwarded-Email": ADA})
        for page in PAGES:
            tab.set_viewport_size({"width": 390, "height": 844})
            tab.goto(f"{site}/{page}")
            wait_until_quiet(tab)
            tools = tab.get_by_role("button", name=TOOL).all_inner_texts()
            width = tab.evaluate("document.documentElement.scrollWidth")
            found[page] = Visit(phone=width, tools=tools)
            tab.set_viewport_size({"width": 1280, "height": 900})
            for theme in ("light", "dark"):
                tab.emulate_media(color_scheme=theme)
                tab.wait_for_timeout(300)
                found[page].faults[theme] = faults(tab)
    return found


def faults(tab):
    """What axe-core calls serious or critical, of this page as it is shown."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="no axe-core here")
    context = {"exclude": [[selector] for selector in NOT_OURS]}
    options = {"runOnly": RULES, "resultTypes": ["violations"]}  # what passes is not written up
    found = axe.Axe().run(tab, context=context, options=options).response
    return [
        f"{fault['id']}: {node['html'][:200]}"
        for fault in found["violations"]
        if fault["impact"] in ("serious", "critical")
        for node in fault["nodes"]
    ]


def test_no_page_has_a_serious_fault_of_accessibility_in_either_theme(visits):
    assert all(set(visit.faults) == {"light", "dark"} for visit in visits.values())
    found = {page: visit.faults for page, visit in visits.items() if any(visit.faults.values())}
    assert not found


def test_no_page_is_wider_than_a_phone(visits):
    assert len(visits) == len(PAGES)
    assert {page: visit.phone for page, visit in visits.items() if visit.phone > 390} == {}


def test_every_page_has_a_link_to_copy_and_its_rows_as_files(visits):
    wanted = {"Copy link", "Download CSV", "Download JSON"}
    names = {page: " ".join(visit.tools) for page, visit in visits.items()}
    missing = {page: {one for one in wanted if one not in said} for page, said in names.items()}

    without_rows = {"try", "jobs", "datasets"}  # no vote, no driver and no dataset is in the ledger
    assert {page for page, said in missing.items() if said} <= without_rows
    assert not any("Copy link" in said for said in missing.values())
    assert "Download LaTeX" in names[""]


def test_members_may_stop_vote_and_judge_and_viewers_may_look(site, tab):
    for who, role in ((ADA, "a member"), (EVE, "a viewer")):
        tab.set_extra_http_headers({"X-Forwarded-Email": who})
        tab.goto(f"{site}/completion?id={answer_id(TUNED, 0, 0)}")
        name, domain = who.split("@")  # between them stands what keeps it from being a link
        tab.get_by_text(re.compile(f"Signed in as {name}.*{domain}, {role}")).wait_for()
        wait_until_quiet(tab)
        allowed = tab.get_by_role("button", name="Judge again").count()
        assert allowed == (1 if who == ADA else 0)
