"""From a score down to an answer by keyboard alone, and hostile answers, in a real browser."""

import pytest
from browsing import app, models, record, tab
from plausible_rows import TUNED, answer_id
from test_completion_page import hostile_rows

__all__ = ["app", "models", "tab"]
HOSTILE_PAGES = {
    "completion": f"completion?id={answer_id(TUNED, 0, 0)}",
    "problem": "problem?benchmark=humaneval&id=humaneval/0",
    "run": f"run?id={TUNED}",
}


def follow(tab, link):
    """Open a link by keyboard, as Streamlit's pages do: in a new tab."""
    link.wait_for()
    link.focus()
    with tab.context.expect_page() as opened:
        tab.keyboard.press("Enter")
    page = opened.value
    page.set_default_timeout(60_000)
    return page


def test_from_a_score_to_an_answer_by_keyboard_alone(app, tab):
    tab.goto(f"{app}/run?id={TUNED}")
    scores = tab.get_by_role("table").first
    problems = follow(tab, scores.get_by_role("link", name="87.5"))
    problems.get_by_role("heading", name="Problems", level=1).wait_for()
    assert f"run={TUNED}" in problems.url
    problems.locator('[aria-label*="40 problems by 1 run"]').first.wait_for()

    problem = follow(problems, problems.get_by_role("link", name="humaneval/4", exact=True))
    problem.get_by_role("heading", name="humaneval/4", level=1).wait_for()
    answer = follow(problem, problem.get_by_role("link", name="Answer 2", exact=True))
    answer.get_by_role("heading", name="humaneval/4, answer 2").wait_for()
    answer.get_by_text("Assertion failed").wait_for()

    answer.get_by_role("button", name="Next answer").wait_for()
    answer.keyboard.press("Alt+ArrowDown")
    answer.get_by_role("heading", name="humaneval/5, answer 1").wait_for()
    assert f"id={answer_id(TUNED, 5, 0)}" in answer.url


@pytest.mark.parametrize("name", HOSTILE_PAGES)
def test_a_hostile_answer_acts_on_nothing_in_a_browser(app, tab, name):
    record(hostile_rows())
    told, foreign, received = [], [], []
    tab.on("dialog", lambda dialog: (told.append(dialog.message), dialog.dismiss()))
    tab.on("request", lambda asked: foreign.append(asked.url) if "evil.example" in asked.url else 0)

    def heard(socket):
        socket.on("framereceived", lambda frame: received.append(len(frame)))

    tab.on("websocket", heard)
    tab.goto(f"{app}/{HOSTILE_PAGES[name]}")
    tab.get_by_text("hostile-mark").first.wait_for()
    tab.get_by_role("button", name="Copy link").wait_for()

    main = tab.get_by_test_id("stMain")
    assert main.locator("script, iframe, img[src='x'], img[src*='evil']").count() == 0
    assert main.locator("a[href*='javascript'], a[href*='evil.example']").count() == 0
    assert main.locator("h1, h2, h3").filter(has_text="hostile-mark").count() == 0
    assert (told, foreign) == ([], [])
    assert 0 < sum(received) < 1_000_000
