"""The try-it page in a real browser: stop, sandbox, and a blind vote."""

import re

from browsing import app, models, tab
from streaming_server import MODELS

__all__ = ["app", "models", "tab"]
NAMES = re.compile("|".join(MODELS.values()))


def test_stop_before_and_in_mid_stream_then_the_sandbox_and_a_blind_vote(app, models, tab):
    tab.goto(f"{app}/try")
    main = tab.get_by_test_id("stMain")

    def press(label):
        main.get_by_role("button", name=re.compile(f"^{label}")).first.click()

    press("Ask")
    main.get_by_text("Queued").nth(1).wait_for()
    press("Stop")
    assert models.gone.wait(5)
    main.get_by_text("Stopped").nth(1).wait_for()

    models.gone.clear()
    models.first.set()
    models.last.clear()
    main.get_by_role("textbox", name="Instruction").press("Control+Enter")
    main.get_by_text("return n +").nth(1).wait_for()
    press("Stop")
    assert models.gone.wait(5)
    main.get_by_text("Stopped").nth(1).wait_for()
    assert main.get_by_text("return n +").count() == 2

    models.gone.clear()
    models.last.set()
    press("Ask")
    main.get_by_text("Done").nth(1).wait_for()
    press("Run in the sandbox")
    main.get_by_text("Your tests: passed").nth(1).wait_for()

    models.last.clear()
    main.get_by_text("Blind vote", exact=True).click()
    main.get_by_text("Which models").wait_for()
    press("Ask")
    cards = main.get_by_text(re.compile("^Model [AB]"))
    main.get_by_text("Answering").nth(1).wait_for()
    assert not NAMES.search(" ".join(cards.all_inner_texts()))
    press("B is better")
    main.get_by_text("Your vote: B is better").wait_for()
    cards.filter(has_text=NAMES).nth(1).wait_for()
    (vote,) = models.voted
    assert (vote["choice"], vote["blind"]) == ("b", True)
    models.last.set()
    main.get_by_text("Done").nth(1).wait_for()
    assert "blind=true" in tab.url
