"""What a hostile model streams into the try-it page stays text, and the page stays usable."""

import re

import pytest
from browsing import app, models, tab, wait_until_quiet

__all__ = ["app", "models", "tab"]
ACTS = "window.acted = true; fetch('http://evil.example/')"
HOSTILE = {
    "HTML": [f"<script>{ACTS}</script>", f'<img src=x onerror="{ACTS}">', "<h1>mark</h1>"],
    "links": [
        "[mark](javascript:alert(1)) ",
        "![x](http://evil.example/x.png) <http://evil.example>",
    ],
    "streamlit": [":red[mark] :material/link: $\\int$ :streamlit:", "\n# Heading\n| a |\n|---|\n"],
    "terminal": [
        "\x1b[31mred\x1b[0m \x1b]8;;http://evil.example\x07mark\x1b]8;;\x07",
        "\x00\x07\r",
    ],
    "unseen": ["a\u202eb\u2066c\u2069", "z\u200bw\u200dj\ufeff", "mark" + "\u0301" * 500],
    "endless fence": ["```python\n", "print(1)\n" * 40, "````\n~~~\n", "mark"],
    "one long line": ["mark", *["x" * 20_000] * 10],
}


def watched(tab):
    """What reached the tab, or left it, that should not."""
    told = {"dialogs": [], "foreign": [], "errors": [], "bytes": []}
    tab.on("dialog", lambda dialog: (told["dialogs"].append(dialog.message), dialog.dismiss()))
    tab.on("request", lambda r: told["foreign"].append(r.url) if "evil.example" in r.url else None)
    tab.on("pageerror", lambda error: told["errors"].append(str(error)))

    def heard(socket):
        socket.on("framereceived", lambda frame: told["bytes"].append(len(frame)))

    tab.on("websocket", heard)
    return told


def test_what_a_hostile_model_streams_is_shown_as_text_and_nothing_runs(app, models, tab):
    told = watched(tab)
    models.first.set()
    tab.goto(f"{app}/try")
    main = tab.get_by_test_id("stMain")
    for name, words in HOSTILE.items():
        models.words = words
        models.last.clear()
        asked = len(models.asked)
        main.get_by_role("textbox", name="Instruction").fill(f"{name}?")
        main.get_by_role("button", name=re.compile("^Ask")).first.click()
        main.get_by_text("Answering").nth(1).wait_for()
        harmless(tab, told, name)
        models.last.set()
        main.get_by_text("Done").nth(1).wait_for()
        assert len(models.asked) == asked + 2, name
        harmless(tab, told, name)
        main.locator("code").filter(has_text="mark").nth(1).wait_for()
        shown = "".join(main.locator("code").all_inner_texts())
        assert "mark" in shown, name
        assert not set("\x1b\x00\x07\u202e\u2066\u200b\u200d\ufeff") & set(shown), name
        width = tab.evaluate("document.documentElement.scrollWidth")
        assert width <= 1280, (name, width)

    main.get_by_text("Characters 1 to").first.wait_for()  # of the long line, a page at a time
    assert sum(told["bytes"]) < 3_000_000
    models.words = ["    return", " n", " + 1\n"]
    main.get_by_role("textbox", name="Instruction").press("Control+Enter")
    main.get_by_text("return n + 1").nth(1).wait_for()


def harmless(tab, told, name):
    main = tab.get_by_test_id("stMain")
    acted = main.locator("script, iframe, img[src='x'], [onerror], a[href*='javascript']")
    assert acted.count() == 0, name
    assert main.locator("a[href*='evil.example'], img[src*='evil']").count() == 0, name
    assert main.locator("h1, h2, h3, td").filter(has_text=re.compile("mark|Heading")).count() == 0
    assert not tab.evaluate("window.acted === true"), name
    assert (told["dialogs"], told["foreign"], told["errors"]) == ([], [], []), name


@pytest.mark.parametrize("blind", [False, True], ids=["named", "blind"])
def test_what_a_hostile_server_says_of_a_failure_is_text_too(app, models, tab, blind):
    told = watched(tab)
    models.error = f"<script>{ACTS}</script> [mark](javascript:alert(1)) ![x](http://evil.example)"
    tab.goto(f"{app}/try{'?blind=true' if blind else ''}")
    main = tab.get_by_test_id("stMain")
    wait_until_quiet(tab)
    main.get_by_role("button", name=re.compile("^Ask")).first.click()
    main.get_by_text("Failed", exact=True).nth(1).wait_for()
    wait_until_quiet(tab)

    harmless(tab, told, "failure")
    assert main.get_by_text("javascript:alert").count() == (0 if blind else 2)
