"""The page of methods shows docs/methods.md, and contracts in words."""

import re

from pages import board, page  # noqa: F401 (a fixture is used by name)
from plausible_rows import ASKING, DIGEST, JUDGING, judged, small_ledger, tuned_run

from database import queries, write
from database.comparability import Contents
from database.schema import Contract
from leaderboard import contract_words, methods_page

PROMPT = {"name": "alpaca", "version": 2, "text": "### Instruction:\n{instruction}"}


def methods_script():
    from leaderboard import methods_page

    methods_page.show()


def test_every_section_of_the_text_is_on_the_page_under_its_anchor(home):
    text = methods_page.TEXT.read_text()
    app = page(methods_script)
    titles = re.findall(r"^## (.+)$", text, flags=re.MULTILINE)

    anchors = {header.value: header.proto.anchor for header in app.header}
    assert [title for title in titles if title not in anchors] == []
    assert anchors["The difference from the base"] == "the-difference-from-the-base"
    listed = next(block.value for block in app.markdown if "(#ranks)" in block.value)
    assert [title for title in titles if f"[{title}](#{anchors[title]})" not in listed] == []


def test_no_link_of_the_text_leads_to_a_file_that_is_no_page(home):
    shown = " ".join(block.value for block in page(methods_script).markdown)

    assert ".md)" not in shown
    assert "`docs/log.md`" in shown


def test_headings_get_the_anchors_that_links_in_the_file_have():
    assert methods_page.anchor_of("The 95 % interval of a score") == "the-95--interval-of-a-score"


def test_a_contract_is_shown_in_words(board):  # noqa: F811
    asking = Contract(
        id="asking000009", kind="asking",
        content={"prompt": PROMPT, "completions": 5, "temperature": 0.2, "stop": ["\nclass"]},
    )  # fmt: skip
    judging = Contract(
        id="judging00009", kind="judging",
        content={"sha256": DIGEST, "extract": "fenced", "limits": {"memory_mib": 2048}},
    )  # fmt: skip
    write(board, [*small_ledger(), asking, judging, tuned_run("e" * 12)])
    write(board, judged("e" * 12, [1] * 40, asking=asking, judging=judging))
    contract = queries.standings(board, run="e" * 12)[0].result.contract
    app = page(methods_script, contract=contract)
    rows = {row[0]: row[1] for table in app.table for row in table.value.to_numpy()}

    assert f"Contract `{contract}`" in [header.value for header in app.header]
    assert rows["Prompt"] == "alpaca version 2"
    assert rows["Memory\\, MiB"] == "2048"
    assert "nclass" in rows["An answer ends before"]
    assert any("### Instruction" in block.value for block in app.code)


def test_a_contract_that_nothing_was_scored_under_is_said(board):  # noqa: F811
    write(board, small_ledger())

    assert "`deadbeef0000`" in page(methods_script, contract="deadbeef0000").warning[0].value


def test_sampling_is_said_as_far_as_the_contract_tells_it():
    said = contract_words.sampling
    greedy = {"completions": 1, "temperature": 0.0, "prompt": PROMPT}

    assert said(greedy) == "1 answer each, greedy (temperature 0), prompt alpaca version 2"
    assert said({"completions": 5, "temperature": 0.25}) == "5 answers each, temperature 0.25"
    assert said({"made": "elsewhere", "completions": 1}) == "1 answer each, made elsewhere"
    assert said(ASKING.content) == ""
    assert contract_words.judged({"judge_version": 3, "interpreter": "3.11"}) == (
        "judge version 3, Python 3.11"
    )


def test_a_long_value_is_cut_and_what_is_none_is_said():
    contents = Contents(asking={"stop": [], "note": "x" * 999}, judging=JUDGING.content)
    rows = {row["What"]: row["Value"] for row in contract_words.asking_rows(contents)}

    assert rows["An answer ends before"] == "none"
    assert len(rows["note"]) < 320
