"""The board and the comparison in a real browser: what only a browser can show."""

import csv
import json
from pathlib import Path

from browsing import app, models, record, tab, wait_until_quiet
from plausible_rows import BASE, TUNED, base_run, judged, tuned_run

__all__ = ["app", "models", "tab"]
OTHER = "0ther0000001"


def downloaded(tab, form):
    with tab.expect_download() as waiting:
        tab.get_by_role("button", name=f"Download {form}").click()
    return Path(waiting.value.path()).read_text()


def test_a_board_is_narrowed_shared_compared_and_taken_home(app, tab):
    record([base_run(OTHER, model="mistral-7b"), *judged(OTHER, [1] * 20 + [0] * 20)])
    record([tuned_run("c" * 12, model="mistral-7b", base=OTHER), *judged("c" * 12, [2] * 40)])
    tab.goto(app)
    main = tab.get_by_test_id("stMain")
    grid = main.get_by_test_id("stDataFrame")
    grid.locator("td", has_text="mistral-7b").first.wait_for(state="attached")

    main.get_by_role("searchbox", name="Search").fill("falcon")
    main.get_by_text("2 of 4 scores shown, narrowed by search").wait_for()
    assert "q=falcon" in tab.url

    grid.locator("td", has_text="mistral-7b").first.wait_for(state="detached")
    grid.locator("canvas").first.click(position={"x": 18, "y": 54}, force=True)
    chosen = main.get_by_label("falcon-tiny, lora on starter, seed 1", exact=True)
    chosen.first.wait_for()
    main.get_by_role("searchbox", name="Search").fill("mistral")
    main.get_by_text("narrowed by search").wait_for()
    grid.locator("td", has_text="mistral-7b").first.wait_for(state="attached")
    drawn = main.locator('[role="graphics-document"][aria-label*="mistral-7b"]')
    drawn.and_(main.locator(':not([aria-label*="falcon-tiny"])')).first.wait_for()
    wait_until_quiet(tab)  # the files, which come last, are of these rows too
    assert chosen.count() == 1, "what was selected must stay that run when other rows come"
    tab.wait_for_function(f"location.search.includes('compare={TUNED}')")

    rows = list(csv.DictReader(downloaded(main.page, "CSV").splitlines()))
    assert [row["run"] for row in rows] == ["c" * 12, OTHER]
    results = json.loads(downloaded(main.page, "JSON"))
    assert [result["value"] for result in results] == [1.0, 0.25]
    assert "mistral-7b & lora on starter & 1 & 100.0 &" in downloaded(main.page, "LaTeX")

    main.get_by_role("button", name="Copy link").click()
    link = tab.get_by_test_id("stPopoverBody").get_by_text(app).inner_text()
    again = tab.context.browser.new_page()  # of somebody else, who was sent the link
    again.context.set_default_timeout(60_000)
    again.goto(link)
    again.get_by_text("2 of 4 scores shown, narrowed by search").wait_for()
    again.locator('input[type="search"][value="mistral"]').wait_for()
    again.get_by_role("combobox", name="Compare").fill("mistral")
    again.get_by_role("option", name="mistral-7b, lora on starter, seed 1").click()
    again.keyboard.press("Escape")  # closes the list, which hides the page from screen readers
    with again.context.expect_page() as opened:
        again.get_by_role("link", name="Compare 2 selected").click()
    compared = opened.value
    compared.get_by_text("A against B").wait_for()

    assert f"a={TUNED}" in compared.url and f"b={'c' * 12}" in compared.url
    compared.get_by_text("Only B").first.wait_for()
    compared.get_by_text(f"# {TUNED} 1 <b>not html</b>").first.wait_for()
    assert BASE not in compared.url
