"""The heat map in a real browser: a cell that is clicked opens its answers, and is held by id."""

import re
from urllib.parse import parse_qs, urlsplit

from browsing import app, models, tab
from plausible_rows import BASE, TUNED

__all__ = ["app", "models", "tab"]


def asked(tab):
    return {name: said[0] for name, said in parse_qs(urlsplit(tab.url).query).items()}


def test_a_cell_that_is_clicked_opens_its_answers_and_is_held_by_id(app, tab):
    tab.goto(f"{app}/problems?benchmark=humaneval")
    main = tab.get_by_test_id("stMain")
    main.locator('svg path[aria-label*="humaneval/4;"]').last.click()
    tab.wait_for_function("['problem=', 'by='].every(name => location.search.includes(name))")
    cell = asked(tab)

    assert cell["problem"] == "humaneval/4"
    assert cell["by"] in (TUNED, BASE)
    told = main.get_by_text(re.compile(r"\d of 2 answers pass"))
    told.wait_for()
    problem = told.get_by_role("link", name=cell["problem"])
    assert f"run={cell['by']}" in problem.get_attribute("href")
    said = told.inner_text()

    again = (
        tab.context.browser.new_page()
    )  # the link, sent to somebody else, with other problems first
    again.set_default_timeout(60_000)
    again.goto(f"{tab.url}&order=Name")
    again.get_by_test_id("stMain").get_by_text(said).wait_for()
    with again.context.expect_page() as opened:
        again.get_by_role("link", name="Answer 2", exact=True).click()
    opened.value.get_by_role("heading", name=f"{cell['problem']}, answer 2").wait_for()
