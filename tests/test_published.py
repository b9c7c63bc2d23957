"""What publishers say of imported answers: read back, explained, and shown beside ours."""

import pytest
from pages import board, page, run_script
from plausible_rows import ASKING, DIGEST, TUNED, answer_id, base_run, judged, problems, tuned_run

from database import write
from database.causes import OTHER_TESTS, helpers_left_out, why_ours_fails, why_theirs_fails
from database.published import agreement, counted, published_scores
from database.schema import Contract, PublishedScore, PublishedVerdict

__all__ = ["board"]

STANDARD = Contract(
    id="judging00009", kind="judging", content={"sha256": DIGEST, "preamble": "standard"}
)
PASSES = [place % 2 for place in range(14)]
"""Of one answer to each of 14 problems."""


def somebody(flipped=(3, 12)):
    """An imported run; its publisher says otherwise of the answers to some problems."""
    claims = [
        PublishedVerdict(
            completion=answer_id(TUNED, place, 0),
            passed=bool(passed) ^ (place in flipped),
            detail=OTHER_TESTS if place == 3 else "base <b>pass</b>",
        )
        for place, passed in enumerate(PASSES)
    ]
    return [
        ASKING,
        STANDARD,
        base_run(),
        tuned_run(kind="imported", base=None),
        *problems(14),
        *judged(TUNED, PASSES, n=1, judging=STANDARD),
        *claims,
        PublishedScore(
            run=TUNED, benchmark="humaneval", metric="pass@1", value=0.25, source="*their* paper"
        ),
    ]


def test_verdicts_that_differ_are_found_in_the_order_of_the_benchmark(ledger):
    write(ledger, somebody())

    found = agreement(ledger, TUNED, "humaneval", ASKING.id, STANDARD.id)

    assert found.compared == 14
    assert [(one.task_id, one.place, one.outcome, one.claimed) for one in found.differing] == [
        ("humaneval/3", 3, "passed", False),
        ("humaneval/12", 12, "failed", True),
    ]
    assert [one.cause for one in found.differing] == [OTHER_TESTS, "our tests find it wrong"]


def test_under_a_contract_without_verdicts_nothing_is_compared(ledger):
    write(ledger, somebody())

    found = agreement(ledger, TUNED, "humaneval", ASKING.id, "judging00001")

    assert (found.compared, found.differing) == (0, [])


def test_published_scores_are_read_by_benchmark(ledger):
    write(ledger, somebody())

    (fact,) = published_scores(ledger, benchmark="humaneval")

    assert (fact.run, fact.metric, fact.value) == (TUNED, "pass@1", 0.25)
    assert published_scores(ledger, benchmark="mbpp") == []


def test_published_verdicts_make_pass_at_k_for_each_k_with_enough_of_them():
    claims = {"a": [True, False], "b": [False, False], "c": [True, True]}

    assert counted(claims, [1, 2, 10]) == pytest.approx({"pass@1": 0.5, "pass@2": 2 / 3})
    assert counted({}, [1]) == {}


def test_where_one_answer_has_no_verdict_no_score_is_counted_from_the_others():
    assert counted({"a": [True, True], "b": [None, None]}, [1]) == {}
    assert counted({"a": [True, None]}, [1]) == {}


OURS = {
    "our time limit": ("timed_out", "", ""),
    "List is not in scope here; a preamble may put it there": (
        "failed",
        "NameError: name 'List' is not defined (line 1)",
        "",
    ),
    "the sandbox has no package numpy": (
        "failed",
        "ModuleNotFoundError: No module named 'numpy' (line 1)",
        "",
    ),
    "it does not define total, which our tests call": (
        "failed",
        "NameError: the program defines no 'total'",
        "",
    ),
    "numbers that are nearly equal: a tolerance there": (
        "failed",
        "plus input 3 returned 0.30000001, expected 0.3",
        "base pass, plus pass",
    ),
    OTHER_TESTS: ("failed", "AssertionError", OTHER_TESTS),
    "our tests find it wrong": ("failed", "returned 5, expected 6", "base pass"),
}


@pytest.mark.parametrize("cause, given", OURS.items(), ids=OURS)
def test_an_answer_fails_here_alone_because(cause, given):
    assert why_ours_fails(*given) == cause


THEIRS = {
    OTHER_TESTS: (OTHER_TESTS, [], "none"),
    "a time limit there": ("base timeout, plus fail", [], "none"),
    "it leaves out the prompt's poly, which our judge has": ("", ["poly"], "none"),
    "our preamble (standard) may put a name in scope that was not there": ("", [], "standard"),
    "our tests find nothing wrong": ('on ["time"]', [], "none"),
}


@pytest.mark.parametrize("cause, given", THEIRS.items(), ids=THEIRS)
def test_an_answer_passes_here_alone_because(cause, given):
    assert why_theirs_fails(*given) == cause


def test_helpers_of_a_prompt_that_a_program_leaves_out_are_named():
    prompt = "def poly(xs, x):\n    return 0\n\n\ndef find_zero(xs):\n"

    assert helpers_left_out(prompt, "def find_zero(xs): return poly(xs, 0)") == ["poly"]
    assert helpers_left_out(prompt, "def poly(): ...\ndef find_zero(xs): ...") == []


def shown(board, rows):
    write(board, rows)
    return page(run_script, id=TUNED)


def test_the_run_page_shows_what_was_published_beside_ours(board):
    app = shown(board, somebody())

    assert "Published" in [header.value for header in app.header]
    beside = next(t.value for t in app.table if "By" in t.value.columns)
    assert beside["Published"].tolist() == ["**25.0\u00a0%**"]
    assert beside["Ours"].tolist() == ["**50.0\u00a0%**"]
    assert beside["By"].tolist() == [r"\*their\* paper"]
    assert any("2 of 14 verdicts differ" in text.value for text in app.markdown)


def test_a_differing_verdict_leads_to_the_page_with_its_answer(board):
    app = shown(board, somebody())

    table = next(t.value for t in app.table if "Cause, as far as it shows" in t.value.columns)
    assert table["Answer"].tolist() == [
        rf"[humaneval\/3, 1](run?id={TUNED}&page=1)",
        rf"[humaneval\/12, 1](run?id={TUNED}&page=2)",
    ]
    assert table["Published"].tolist()[1] == r"passed base \<b\>pass\<\/b\>"


def test_a_run_of_which_nothing_was_published_has_no_such_section(board):
    kept = [row for row in somebody() if not isinstance(row, PublishedVerdict | PublishedScore)]

    app = shown(board, kept)

    assert "Published" not in [header.value for header in app.header]
