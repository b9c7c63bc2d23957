"""The app as it is started, in a real browser."""

import re
from datetime import UTC, datetime, timedelta

from browsing import app, models, record, tab
from plausible_rows import TUNED, training, tuned_run

__all__ = ["app", "models", "tab"]


def test_from_the_ranked_table_to_the_answers_of_a_run(app, tab):
    tab.goto(f"{app}/?plain=true")
    rows = tab.get_by_role("table").first.get_by_role("row")
    rows.nth(2).wait_for()

    assert re.search(r"1\s+falcon-tiny\s+87.5.%\s+lora on starter", rows.nth(1).inner_text())
    assert "better" in rows.nth(1).inner_text()
    assert "base" in rows.nth(2).inner_text()
    with tab.context.expect_page() as opened:
        rows.nth(1).get_by_role("link", name="falcon-tiny").click()
    run = opened.value
    run.get_by_role("heading", name="Answers").wait_for()

    assert run.url == f"{app}/run?id={TUNED}"
    assert "falcon-tiny, starter, lora, seed 1" in run.get_by_role("heading", level=1).inner_text()
    run.get_by_text("def has_close_elements(xs):").first.wait_for()
    assert run.locator("code b").count() == 0


def test_a_training_is_watched_live_and_is_all_there_after_a_reload(app, tab):
    run, now = "a" * 12, datetime.now(UTC)
    record([tuned_run(run, state="training", label="mine"), *training(run, 20, of=60, at=now)])
    tab.goto(app)
    tab.get_by_role("link", name="Training").click()
    main = tab.get_by_test_id("stMain")

    def drawn(words):
        return main.locator(f'[role="graphics-document"][aria-label*="{words}"]')

    main.get_by_text("step 20 of 60").first.wait_for()
    drawn("Loss over the steps of 1 training").wait_for()

    record(training(run, 40, of=60, at=now + timedelta(seconds=8)))
    main.get_by_text("step 40 of 60").first.wait_for()
    drawn("at step 40").wait_for()
    tab.reload()
    main.get_by_text("step 40 of 60").first.wait_for()
    main.get_by_role("combobox", name="Runs").fill("falcon")
    tab.get_by_role("option", name="falcon-tiny, starter, lora, seed 1").click()
    drawn("Loss over the steps of 2 trainings").wait_for()
    assert TUNED in tab.url
