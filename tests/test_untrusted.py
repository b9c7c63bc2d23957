"""What strangers wrote reaches a page as text: all of it seen, none of it read."""

import unicodedata

import pytest
from streamlit.testing.v1 import AppTest

from leaderboard import untrusted

ESCAPE, OVERRIDE, SPACE = "\x1b", "\u202e", "\u200b"
READ_BY_SOMETHING = [
    "<img src=x onerror=alert(1)><script>alert(2)</script>",
    "[click](javascript:alert(1)) ![x](https://evil.example/x.png)\n# heading",
    "$\\href{https://evil.example}{x}$ and $$\\frac{1}{0}$$",
    ":material/delete: :red[warning] :rainbow[x] :streamlit: :small[y]",
    "</code></pre><iframe src='https://evil.example'></iframe>",
    "```\nout of the block\n```\n---",
    "emoji \U0001f600 stay, and so do \u00e9, \u4e2d\u6587 and \u0623",
]


@pytest.mark.parametrize("text", READ_BY_SOMETHING)
def test_what_can_be_seen_stays_to_the_letter(text):
    shown = untrusted.visible(text)

    assert (shown.text, shown.escaped) == (text, 0)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"{ESCAPE}[31mred{ESCAPE}[0m", r"\x1b[31mred\x1b[0m"),
        (f"access = 'user{OVERRIDE} # admin'", r"access = 'user\u202e # admin'"),
        (f"a{SPACE}b\ufeffc\u2066d\u00ade", r"a\u200bb\ufeffc\u2066d\xade"),
        ("nul \0 and \x85", r"nul \x00 and \x85"),
        ("lone \ud83d surrogate", r"lone \ud83d surrogate"),
        ("one\r\ntwo\rthree", "one\\r\ntwo\\rthree"),
        ("tag \U000e0041 and \u2028 line", r"tag \U000e0041 and \u2028 line"),
        ("blank \u3164 \u2800 \u00a0", r"blank \u3164 \u2800 \xa0"),
        ("\ttab and\nline stay", "\ttab and\nline stay"),
    ],
)
def test_what_would_not_be_seen_is_written_as_an_escape(text, shown):
    assert untrusted.visible(text).text == shown


def test_no_control_bidi_or_surrogate_character_of_all_unicode_gets_through():
    everything = "".join(map(chr, range(0x110000)))
    left = {
        letter
        for start in range(0, len(everything), 0x10000)
        for letter in untrusted.visible(everything[start : start + 0x10000]).text
        if unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Zl", "Zp")
        or unicodedata.bidirectional(letter) in ("LRE", "RLE", "PDF", "LRO", "RLO", "LRI", "RLI")
    }

    assert left == {"\n", "\t"}


def test_marks_that_would_cover_the_lines_around_are_not_stacked():
    tower = "a" + "\u0301" * 50
    shown = untrusted.visible(tower)

    assert shown.text.count("\u0301") == untrusted.STACKED
    assert shown.escaped == 50 - untrusted.STACKED


def test_the_number_of_escapes_and_of_what_could_not_be_stored_is_said():
    said = " ".join(untrusted.notes(untrusted.visible("\x1b\x1b\ufffd")))

    assert "2 characters that would not show are written as escapes" in said
    assert "1 character U+FFFD" in said


def test_the_pages_of_a_text_are_together_the_text():
    text = "".join(chr(97 + place % 26) for place in range(45_001))
    number = untrusted.pages(text)

    assert number == 3
    assert "".join(untrusted.page_of(text, page + 1) for page in range(number)) == text
    assert untrusted.page_of(text, 99) == untrusted.page_of(text, 3)
    assert untrusted.pages("") == 1


def test_a_name_is_one_line_that_markdown_shows_to_the_letter():
    assert untrusted.word("a\n# [b](c)\u202e") == r"a \# \[b\]\(c\)\\u202e"


def test_a_file_name_has_no_folder_and_nothing_odd_in_it():
    assert untrusted.file_name("../../etc/passwd\0 HumanEval/32") == "etc-passwd-HumanEval-32.txt"


def test_a_file_holds_even_what_utf_8_cannot_say():
    assert untrusted.as_file("\u4e2d\0\ud83d") == b"\xe4\xb8\xad\0\\ud83d"


def shown(script):
    app = AppTest.from_function(script, default_timeout=60).run()
    assert not app.exception, app.exception
    return app


def ten_megabytes():
    from leaderboard import untrusted

    untrusted.show("<b>x</b> " * 1_165_084, language="python", key="answer", name="a/b")


def test_of_ten_megabytes_one_page_is_sent_and_the_rest_can_be_seen():
    app = shown(ten_megabytes)

    assert len(app.code[0].value) == 20_000
    assert app.code[0].language == "plaintext"
    assert app.markdown[0].value == ":small[Characters 1 to 20,000 of 10,485,756.]"
    assert len(app.get("download_button")) == 1
    app.pagination(key="answer").set_value(525).run()
    assert app.code[0].value.endswith("<b>x</b> ")
    assert "Characters 10,480,001 to 10,485,756 of 10,485,756." in app.markdown[0].value


def odd_texts():
    from leaderboard import untrusted

    untrusted.show("\n\nfirst lines are empty", language="python", key="a", name="a")
    untrusted.show("", language="python", key="b", name="b")
    untrusted.show("\n" * 15_000, language="python", key="c", name="c")
    untrusted.glance("x" * 5_000 + "\ud83d", language="python", more="[All of it](completion)")


def test_odd_texts_are_shown_as_they_are():
    app = shown(odd_texts)

    assert app.code[0].value == "\n\nfirst lines are empty"
    assert app.code[1].value == ""
    assert app.code[2].proto.code_text.strip() == ""
    assert len(app.code[3].value) == 4_000
    assert app.markdown[-1].value == ":small[The first 4,000 characters. [All of it](completion)]"
