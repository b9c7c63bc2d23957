"""Any two runs side by side: the words, the queries on both databases, and the page."""

import pytest
from pages import board, page, table  # noqa: F401 (fixtures are used by name)
from plausible_rows import (
    ASKING,
    BASE,
    DIGEST,
    JUDGING,
    TUNED,
    base_run,
    judged,
    problems,
    small_ledger,
    tuned_run,
)
from scipy import stats

from database import paired, queries, write
from database.facts import RunFacts
from database.schema import Completion, Contract
from database.standings import contract_of
from leaderboard import compare_words

SECOND = "5ec05ec05ec0"


def compare_script():
    from leaderboard import compare_page

    compare_page.show()


def two_tuned():
    """The small ledger and another adapter, of one answer less on the first ten problems."""
    other = tuned_run(SECOND, seed=2, spec={"method": {"name": "lora", "rank": 16}, "seed": 2})
    passes = [2 if place % 4 else 1 for place in range(40)]
    return [*small_ledger(), other, *judged(SECOND, [0] * 10 + passes[10:])]


@pytest.fixture
def filled(board):  # noqa: F811
    write(board, two_tuned())
    return board


def of_runs(engine, *runs):
    found = {s.result.run: s for s in queries.standings(engine)}
    return [found[run] for run in runs]


def test_any_two_runs_are_compared_problem_by_problem(ledger):
    write(ledger, two_tuned())
    found = paired.paired(ledger, *of_runs(ledger, TUNED, SECOND))

    first_ten = [2 if place % 4 else 1 for place in range(10)]
    assert found.difference.value == pytest.approx(sum(first_ten) / 2 / 40)
    assert found.difference.verdict == "better"
    assert found.solved_by() == {"both": 30, "a": 10, "b": 0, "neither": 0}
    assert found.ahead() == (10, 0, 30)
    assert [pair.task_id for pair in found.pairs][:3] == [f"humaneval/{n}" for n in range(3)]


def test_single_answers_are_compared_by_the_exact_binomial_test(ledger):
    ours, theirs = [1] * 20 + [0] * 10, [1] * 12 + [0] * 10 + [1] * 3 + [0] * 5
    write(ledger, [ASKING, JUDGING, base_run("a" * 12), base_run("b" * 12), *problems(30)])
    write(ledger, [*judged("a" * 12, ours, n=1), *judged("b" * 12, theirs, n=1)])
    found = paired.paired(ledger, *of_runs(ledger, "a" * 12, "b" * 12))

    assert found.difference.p == pytest.approx(stats.binomtest(3, 11).pvalue)
    assert found.solved_by() == {"both": 12, "a": 8, "b": 3, "neither": 7}


def test_runs_under_two_contracts_are_refused_with_what_differs(ledger):
    other = Contract(
        id="judging00002", kind="judging", content={"sha256": DIGEST, "extract": "fenced"}
    )
    write(ledger, [*small_ledger(), other, tuned_run(SECOND, seed=2)])
    write(ledger, judged(SECOND, [1] * 40, judging=other))
    found = paired.paired(ledger, *of_runs(ledger, TUNED, SECOND))

    assert "judged with another extraction: none / fenced" in found.why
    assert (found.difference.value, found.pairs) == (None, ())


def test_runs_are_compared_under_a_contract_that_they_share(ledger):
    other = Contract(id="judging00002", kind="judging", content={})
    write(ledger, [*small_ledger(), other, tuned_run(SECOND, seed=2)])
    write(ledger, judged(SECOND, [1] * 40, judging=other))
    write(ledger, judged(TUNED, [1] * 40, judging=other)[-1:])
    found = queries.standings(ledger, benchmark="humaneval", metric="pass@1")
    first, second = (contract_of(ASKING.id, part.id) for part in (JUDGING, other))

    assert compare_words.shared_contract(found, [TUNED, SECOND], first) == second
    assert compare_words.shared_contract(found, [TUNED, BASE], second) == first
    assert compare_words.shared_contract(found, [TUNED, BASE, SECOND], second) == first
    assert compare_words.shared_contract(found, [BASE, SECOND], first) is None


def test_a_run_with_unjudged_problems_gets_a_reason_and_no_number(ledger):
    write(ledger, two_tuned())
    mine, other = of_runs(ledger, TUNED, SECOND)
    score = next(row for row in judged(SECOND, [1] * 40) if hasattr(row, "asked"))
    score.problems = 39
    write(ledger, [score])
    mine, other = of_runs(ledger, TUNED, SECOND)
    found = paired.paired(ledger, mine, other)

    assert found.why.startswith("39 of 40 problems of")
    assert found.difference.value is None


def test_scores_of_two_benchmarks_are_never_paired(ledger):
    write(ledger, [*small_ledger(), *problems(4, "mbpp"), *judged(BASE, [1] * 4, benchmark="mbpp")])
    first, *_ = queries.standings(ledger, benchmark="mbpp")

    with pytest.raises(ValueError, match="mbpp"):
        paired.paired(ledger, *of_runs(ledger, TUNED), first)


def test_verdicts_of_three_runs_know_of_both_comparisons(ledger):
    weak = [1, 1, 1, 1, 1, 1] + [0] * 24
    write(ledger, [ASKING, JUDGING, *problems(30)])
    for run, passes in (("a" * 12, weak), ("b" * 12, [0] * 30), ("c" * 12, weak[::-1])):
        write(ledger, [base_run(run), *judged(run, passes, n=1)])
    a, b, c = of_runs(ledger, "a" * 12, "b" * 12, "c" * 12)
    alone = [paired.paired(ledger, a, b), paired.paired(ledger, a, c)]

    assert alone[0].difference.p == pytest.approx(2 * 0.5**6)
    assert alone[0].difference.verdict == "better"
    assert paired.together(alone)[0].difference.verdict == "no clear difference"


def test_failures_are_counted_by_run_and_problem(ledger):
    write(ledger, two_tuned())
    (mine,) = of_runs(ledger, TUNED)
    found = paired.failures(ledger, mine, [BASE, SECOND], ["humaneval/1", "humaneval/2"])

    assert found == {
        (BASE, "humaneval/1"): {"timed_out": 2},
        (BASE, "humaneval/2"): {"failed": 2},
        (SECOND, "humaneval/1"): {"timed_out": 2},
        (SECOND, "humaneval/2"): {"failed": 2},
    }


def test_ways_to_fail_are_told_once_a_problem(ledger):
    write(ledger, two_tuned())
    (mine,) = of_runs(ledger, TUNED)
    found = paired.failed(ledger, mine, [BASE, SECOND])

    of_first = {one.outcome for one in found if one.task_id == "humaneval/1"}
    assert of_first == {"timed_out"}
    assert len({(one.task_id, one.outcome) for one in found}) == len(found)
    assert all(one.detail.startswith("AssertionError") for one in found if one.outcome == "failed")


def test_answers_to_a_problem_come_with_their_verdicts(ledger):
    write(ledger, small_ledger())
    (mine,) = of_runs(ledger, TUNED)
    found = paired.written(ledger, mine, [TUNED, BASE], "humaneval/0")

    assert [answer.outcome for answer in found[TUNED]] == ["passed", "failed"]
    assert [answer.position for answer in found[BASE]] == [0, 1]
    assert paired.question(ledger, mine, "humaneval/0").tests.startswith("assert has_close")
    assert paired.question(ledger, mine, "nowhere") is None


def test_a_short_hash_leads_back_to_both_parts_of_a_contract(ledger):
    write(ledger, small_ledger())
    (mine,) = of_runs(ledger, TUNED)

    assert paired.contract_parts(ledger, mine.result.contract) == (ASKING.id, JUDGING.id)
    assert paired.contract_parts(ledger, "0" * 12) is None


def answer(text, outcome="failed", position=0, whole=True):
    return paired.Written(
        id="x", run="r", position=position, text=text, whole=whole, finish="stop",
        outcome=outcome, detail="",
    )  # fmt: skip


def test_the_answer_that_tells_most_is_shown_first():
    answers = [answer("a", "failed"), answer("b", "passed"), answer("c", "timed_out")]

    assert compare_words.telling(answers, True) == 1
    assert compare_words.telling(answers, False) == 0
    assert compare_words.telling(answers[:1], True) == 0
    assert compare_words.telling(answers, None) == 0


def test_an_error_of_ours_is_not_said_to_be_the_models():
    assert compare_words.outcome_words(answer("a", "timed_out")) == "✗ timed out"
    assert compare_words.outcome_words(answer("a", "sandbox_error")).startswith("not judged")
    assert "our fault" in compare_words.failure_words({"sandbox_error": 2})


def test_the_diff_turns_one_program_into_the_other():
    lines = compare_words.unified("def f():\n    return 1\n", "def f():\n    return 2\n")

    assert "-    return 1" in lines and "+    return 2" in lines
    assert compare_words.unified("same\n", "same\n") == ""


def facts(run, spec, **more):
    given = {"label": "x", "kind": "tuned", "model": "m", "method": "lora", "dataset": "d",
             "dataset_digest": None, "seed": 1, "base_run": None, "state": "done",
             "provenance": {}, "created_at": None, "finished_at": None, "last_step": None,
             "of": None}  # fmt: skip
    return RunFacts(id=run, spec=spec, **(given | more))


def test_only_settings_that_differ_are_listed():
    ours = facts("a", {"method": {"name": "lora", "rank": 8, "learning_rate": 2e-4}, "seed": 1})
    theirs = facts("b", {}, kind="base", method=None, dataset=None)
    rows = {row["Field"].replace("\\", ""): row for row in compare_words.settings([ours, theirs])}

    assert rows["settings: method.learning_rate"]["A"].replace("\\", "") == "0.0002"
    assert rows["settings: method.learning_rate"]["B"] == "\u2013"
    assert "model" not in rows
    assert compare_words.settings([ours, ours]) == []


def said(app):
    return " ".join(
        block.value for kind in (app.header, app.markdown, app.caption) for block in kind
    ).replace("\u00a0", " ")


def test_the_page_compares_the_runs_of_its_address(filled):
    app = page(compare_script, a=TUNED, b=SECOND)

    assert "+21.2 points, better" in said(app)
    assert [metric.value for metric in app.metric] == ["30", "10", "0", "0"]
    assert "A is ahead of B on 10, behind on 0 and level on 30" in said(app)
    assert app.selectbox(key="choice-a").value == TUNED


def test_without_an_address_the_best_model_is_compared_with_its_base(filled):
    app = page(compare_script)

    assert app.selectbox(key="choice-a").value == TUNED
    assert app.selectbox(key="choice-b").value == BASE


def test_runs_can_be_swapped_and_a_third_added(filled):
    app = page(compare_script, a=TUNED, b=SECOND)
    swap = next(button for button in app.button if button.label.startswith("Swap"))
    swap.click().run()
    assert "-21.2 points, worse" in said(app)

    app.selectbox(key="choice-c").set_value(BASE).run()
    assert "A against C" in said(app)
    assert "over 2 comparisons (Holm)" in said(app)
    assert app.query_params["c"] == BASE


def test_problems_are_narrowed_and_one_is_read(filled):
    app = page(compare_script, a=TUNED, b=SECOND, plain="true", show="Only A")
    rows = next(t.value for t in app.table if "Problem" in t.value.columns)

    assert len(rows) == 10
    assert rows["A"][0] == "2 of 2" and rows["B"][0] == "0 of 2"
    codes = [block.value for block in app.code]
    assert any("# 70ded70ded70 0" in code for code in codes)
    assert any("# 5ec05ec05ec0 0" in code for code in codes)
    assert any(code.startswith("--- A\n+++ B") for code in codes)


def test_nothing_left_says_how_to_see_all(filled):
    app = page(compare_script, a=TUNED, b=SECOND, show="Both fail")

    assert any("Choose it again" in info.value for info in app.info)


@pytest.mark.parametrize(
    ("failure", "left"), [("Timed out", 5), ("Wrong answer", 5), ("Exception", 0)]
)
def test_problems_are_narrowed_by_how_an_answer_failed(filled, failure, left):
    app = page(compare_script, a=TUNED, b=SECOND, plain="true", show="Only A", failure=failure)
    listed = [t.value for t in app.table if "Problem" in t.value.columns]

    if left:
        assert len(listed[0]) == left
        odd = [
            int(task_id.split("/")[1]) % 2 for task_id in listed[0]["Problem"].str.replace("\\", "")
        ]
        assert set(odd) == {1 if failure == "Timed out" else 0}
    else:
        assert "failed by “Exception”" in app.info[0].value
    assert app.query_params["failure"] in (failure, [failure])


def test_an_unknown_run_in_the_address_is_said(filled):
    app = page(compare_script, a="nowhere", b=TUNED)

    assert "Run nowhere has no score here; another is shown." in app.warning[0].value


def test_the_page_says_why_two_runs_do_not_compare(filled):
    other = Contract(id="judging00002", kind="judging", content={"sha256": DIGEST, "preamble": "x"})
    write(filled, [other, base_run("d" * 12, model="other")])
    write(filled, judged("d" * 12, [1] * 40, judging=other))
    app = page(compare_script, a=TUNED, b="d" * 12)

    assert "Not comparable" in said(app)
    assert "another preamble" in said(app).replace("\\", "")


def test_hostile_answers_are_shown_as_text(filled):
    first = next(row for row in judged(TUNED, [1] * 40) if isinstance(row, Completion))
    first.text = "<script>alert(1)</script> [x](javascript:alert(1)) \u202e\x1b[31m\n"
    write(filled, [first])
    app = page(compare_script, a=TUNED, b=SECOND, problem="humaneval/0")

    assert any("<script>alert(1)</script>" in block.value for block in app.code)
    assert not any("<script>" in block.value for block in app.markdown)
    assert not any("\u202e" in block.value or "\x1b" in block.value for block in app.code)


def test_one_run_is_not_compared_with_itself(filled):
    app = page(compare_script, a=TUNED, b=TUNED)

    assert "chosen twice" in app.info[0].value


def test_with_one_score_the_page_says_what_is_missing(board):  # noqa: F811
    write(board, [ASKING, JUDGING, base_run(), *problems(4), *judged(BASE, [1] * 4)])

    assert "two runs" in page(compare_script).info[0].value
