"""One answer with all that is known of it; and hostile answers on every page that shows them."""

import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from pages import board, filled, page
from plausible_rows import (
    ASKING,
    BASE,
    DIGEST,
    JUDGING,
    TUNED,
    answer_id,
    completion,
    verdict,
)

from database import write
from database.schema import Contract, Problem, PublishedVerdict
from database.standings import contract_of

__all__ = ["board", "filled"]

KEY = answer_id(TUNED, 4, 1)


def completion_script():
    from leaderboard import completion_page

    completion_page.show()


def said(app):
    return " ".join(block.value for block in [*app.markdown, *app.caption])


def codes(app):
    return [block.value for block in app.code]


def test_an_answer_is_shown_with_its_verdict_its_program_and_what_was_asked(filled):
    app = page(completion_script, id=KEY)

    assert app.title[0].value == "humaneval\\/4, answer 2"
    assert "**Assertion failed**. 20 ms of CPU, 30 ms in all" in said(app)
    assert "9 tokens, a stop string ended it" in said(app)
    text = f"    return sorted(xs)[4:]  # {TUNED} 1 <b>not html</b>"
    shown = codes(app)
    assert "AssertionError: assert [] is False" in shown
    assert text in shown
    assert f"def has_close_elements(xs):\n{text}" in shown
    assert "assert has_close_elements([]) is False" in shown
    assert any("commit: 0123abc" in block for block in shown)
    contract = contract_of(ASKING.id, JUDGING.id)
    assert f"problem?benchmark=humaneval&contract={contract}&id=humaneval%2F4" in said(app)
    assert f"run?id={TUNED}" in said(app)


def test_the_answers_before_and_after_are_a_button_away(filled):
    app = page(completion_script, id=KEY)
    app.button(key="Next answer").click().run()
    assert app.title[0].value == "humaneval\\/5, answer 1"
    app.button(key="Previous answer").click().run()
    app.button(key="Previous answer").click().run()

    assert app.title[0].value == "humaneval\\/4, answer 1"
    assert page(completion_script, id=answer_id(TUNED, 0, 0)).button(key="Previous answer").disabled


def test_verdicts_under_other_contracts_stand_beside_it_and_can_be_opened(filled):
    other = Contract(id="judging00002", kind="judging",
                     content={"sha256": DIGEST, "extract": "chat"})  # fmt: skip
    write(filled, [other, verdict(KEY, "passed", other)])

    assert "Under other contracts" in [
        head.value for head in page(completion_script, id=KEY).header
    ]
    app = page(completion_script, id=KEY, judging=other.id)
    assert "**Passed every test**" in said(app)
    assert "extraction `chat`" in said(app)
    assert "Judge it again to see that" in said(app)
    rows = next(table.value for table in app.table if "Extraction" in table.value)
    assert list(rows["Outcome"]) == [":red-badge[✗ failed]", ":green-badge[✓ passed]"]


def test_a_failed_sandbox_is_not_called_a_failure_of_the_model(filled):
    write(filled, [verdict(KEY, "sandbox_error")])
    app = page(completion_script, id=KEY)

    assert "**Not judged: the sandbox failed, which says nothing of the model**" in said(
        app
    ).replace("\\", "")
    assert not any("✗" in block.value for block in app.markdown)


def test_what_its_publisher_says_is_shown(filled):
    write(filled, [PublishedVerdict(completion=KEY, passed=True, detail="all tests <i>ok</i>")])
    app = page(completion_script, id=KEY)

    assert "Its publisher says that it **passes**" in said(app)
    assert "all tests <i>ok</i>" in codes(app)


@pytest.mark.parametrize(
    ("query", "words"),
    [({}, "names no answer"), ({"id": "no<b>where"}, "holds no answer no\\<b\\>where")],
)
def test_an_answer_that_is_not_there_is_said(filled, query, words):
    assert words in page(completion_script, **query).warning[0].value


class Judges(BaseHTTPRequestHandler):
    """Answers as the model server does; what it says is set by the test."""

    status, told = 200, {}

    def do_POST(self):
        type(self).asked = self.path
        body = json.dumps(self.told).encode()
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def judges(monkeypatch):
    handler = type("Judge", (Judges,), {})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("CODELADDER_SERVE_URL", f"http://127.0.0.1:{server.server_port}")
    yield handler
    server.shutdown()
    server.server_close()
    thread.join()


def test_judging_again_shows_the_fresh_verdict_beside_the_recorded_one(filled, judges):
    judges.told = {"outcome": "passed", "detail": "", "cpu_seconds": 0.01, "wall_seconds": 0.04,
                   "judging": JUDGING.id, "program": "found = 1", "characters": 9}  # fmt: skip
    app = page(completion_script, id=KEY)
    next(button for button in app.button if button.label == "Judge again").click().run()

    assert judges.asked == f"/completions/{KEY}/judge?judging={JUDGING.id}"
    assert "Again: **passed**, 40 ms; recorded: **failed**, 30 ms: **not the same**." in said(app)
    assert "found = 1" in codes(app)
    app.query_params["id"] = answer_id(TUNED, 5, 0)
    app.run()
    assert "found = 1" not in codes(app)
    app.query_params["id"] = KEY
    app.run()
    app.button(key="Next answer").click().run()
    assert "Again:" not in said(app)


def test_why_it_was_not_judged_again_is_said(filled, judges):
    judges.status, judges.told = 409, {"detail": "it was judged by another file of humaneval"}
    app = page(completion_script, id=KEY)
    next(button for button in app.button if button.label == "Judge again").click().run()

    assert "another file of humaneval" in app.warning[0].value


HOSTILE = (
    "<img src=x onerror=alert(1)><script>alert('hostile-mark')</script>\n"
    "[click](javascript:alert('hostile-mark')) ![x](https://evil.example/hostile-mark.png)\n"
    "# hostile-mark :red[hostile-mark] :material/delete: $\\href{https://evil.example}{x}$\n"
    "\x1b[31mhostile-mark\x1b[0m \u202eevil\u202c \u200b nul:\0 lone:\ud83d end\r\n"
    "```\n</code></pre><iframe src='https://evil.example/hostile-mark'></iframe>\n"
)
HUGE = HOSTILE * 25_000


def hostile_rows():
    """A problem, an answer and a verdict that a stranger wrote, in the place of the first ones."""
    key = answer_id(TUNED, 0, 0)
    answer = completion(key, TUNED, "humaneval", 0, 0, ASKING)
    answer.text = HUGE
    judged = verdict(key, "failed")
    judged.detail = HOSTILE
    problem = Problem(benchmark="humaneval", digest=DIGEST, task_id="humaneval/0", position=0,
                      family="", instruction=HOSTILE, prompt=HOSTILE, tests=HOSTILE,
                      reference=HOSTILE)  # fmt: skip
    claim = PublishedVerdict(completion=key, passed=True, detail=HOSTILE)
    return [answer, judged, problem, claim]


def problem_script():
    from leaderboard import problem_page

    problem_page.show()


def run_script():
    from leaderboard import run_page

    run_page.show()


def compare_script():
    from leaderboard import compare_page

    compare_page.show()


PAGES = {
    "completion": (completion_script, {"id": answer_id(TUNED, 0, 0)}),
    "problem": (problem_script, {"benchmark": "humaneval", "id": "humaneval/0"}),
    "run": (run_script, {"id": TUNED}),
    "compare": (compare_script, {"a": TUNED, "b": BASE, "problem": "humaneval/0"}),
}


@pytest.mark.parametrize("name", PAGES)
def test_what_strangers_wrote_is_text_on_every_page_that_shows_answers(filled, name):
    write(filled, hostile_rows())
    script, query = PAGES[name]
    app = page(script, **query)

    assert any("hostile-mark" in block.value for block in app.code)
    for block in app.code:
        assert not set("\x1b\u202e\u200b\0\r") & set(block.value)
    for shown in outside_of_code(app):
        read = UNESCAPED.sub("", shown)
        assert not set("<$`#") & set(read) or "hostile-mark" not in shown
        assert "](javascript:" not in read
        assert not set("\x1b\u202e\u200b\0\r") & set(shown)
    assert not [element for element in app.main if element.type in ("html", "iframe")]
    assert sum(len(block.value) for block in app.code) < 200_000


UNESCAPED = re.compile(r"\\.")
"""An escaped letter, which Markdown shows and does not read."""


def outside_of_code(app):
    """All text of a page that Streamlit reads as Markdown."""
    for kind in (app.markdown, app.caption, app.title, app.header, app.warning, app.info):
        yield from (block.value for block in kind)
    for table in app.table:
        yield from (str(cell) for row in table.value.values.tolist() for cell in row)
    for element in app.get("expander"):
        yield element.label
