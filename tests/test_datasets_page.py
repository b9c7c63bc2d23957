"""The pages about what runs were trained on, run by Streamlit's own tester on a real ledger."""

from dataclasses import asdict

import pytest
import streamlit as st
from pages import board, page, run_script
from plausible_reports import STARTER_DATA, clean_report, plausible_report, source, touch
from plausible_rows import ASKING, BASE, JUDGING, TUNED, small_ledger, tuned_run

from database import write
from database.standings import contract_of
from jobs.data.report import Drop, DuplicatePair, Execution
from jobs.record import dataset_rows
from leaderboard import charts
from leaderboard.words import plain

__all__ = ["board"]

CONTRACT = contract_of(ASKING.id, JUDGING.id)
OTHER_VERSIONS = {"humaneval": "f" * 64, "mbpp": "e" * 64}
HOSTILE = "a` | <img src=x onerror=alert(1)> [b](javascript:1) **c**\n# d"


@pytest.fixture
def filled(board):
    """A run that was trained on a dataset that touches two of the problems it was asked."""
    write(board, [*small_ledger(), *dataset_rows(plausible_report())])
    write(board, [tuned_run(dataset_digest=STARTER_DATA)])
    return board


def datasets_script():
    from leaderboard import datasets_page

    datasets_page.show()


def section(app, title):
    """The texts between one header and the next."""
    blocks = [(block.type, getattr(block, "value", "")) for block in app.main]
    start = next(place for place, block in enumerate(blocks) if block == ("header", title))
    rest = blocks[start + 1 :]
    end = next((place for place, block in enumerate(rest) if block[0] == "header"), len(rest))
    return " ".join(str(value) for kind, value in rest[:end] if kind == "markdown")


def table(app, column):
    """The one table that has this column."""
    (found,) = [element.value for element in app.table if column in element.value]
    return found


def test_without_a_dataset_the_page_says_what_to_do(board):
    assert "make train-all" in page(datasets_script).info[0].value


def test_without_a_ledger_the_page_says_what_to_do(home):
    st.cache_resource.clear()

    assert "make train-all" in page(datasets_script).info[0].value


def test_all_datasets_are_listed_with_the_runs_that_used_them(filled):
    write(filled, dataset_rows(clean_report()))
    rows = table(page(datasets_script), "Runs").set_index("Dataset")

    starter = rows.loc[f"[starter](datasets?dataset={STARTER_DATA})"]
    assert list(starter[["Rows in", "Rows out", "Duplicates"]]) == ["20,396", "18,475", "1,203"]
    assert list(starter[["Contaminated, dropped", "Runs"]]) == ["4", "1"]
    assert starter["Licence"] == plain("CC-BY-NC-4.0")
    assert rows.loc["[clean](datasets?dataset=c1ea4c1ea4c1)", "Runs"] == "0"


def test_an_unknown_dataset_is_said(filled):
    assert "no dataset" in page(datasets_script, dataset="nowhere").warning[0].value


def test_rows_in_and_out_of_every_source(filled):
    rows = table(page(datasets_script, dataset=STARTER_DATA), "With repeats")

    assert list(rows["Source"]) == [plain("code-alpaca"), "mbpp"]
    assert list(rows["Rows in"]) == ["20,022", "374"]
    assert list(rows["Rows out"]) == ["18,101", "374"]
    assert list(rows["With repeats"]) == ["18,101", "748"]


def test_drops_are_shown_by_step_and_reason_with_examples_as_text(filled):
    app = page(datasets_script, dataset=STARTER_DATA)
    rows = table(app, "Step")

    assert list(rows["Reason"]) == ["substring", "near", "longest line"]
    assert list(rows["Rows"]) == ["4", "1,203", "714"]
    shown = "\n".join(block.value for block in app.code)
    assert "rows.jsonl:3: 4,012 characters <script>alert(1)</script> ``` `" in shown
    assert "rows.jsonl:19: like rows.jsonl:4" in shown


def test_the_contamination_table_says_what_was_dropped_and_what_was_trained_on(filled):
    rows = table(page(datasets_script, dataset=STARTER_DATA), "Method").to_dict("records")

    assert rows[0] == {
        "Benchmark": "humaneval",
        "Problem": f"[{plain('humaneval/0')}](problem?benchmark=humaneval&contract={CONTRACT}"
        "&id=humaneval%2F0)",
        "Method": "ngram8",
        "Rows": "3",
        "Dropped": "1",
        "Trained on": "**2**",
    }
    assert [row["Trained on"] for row in rows] == ["**2**", "0", "**1**", "0", "0"]
    assert rows[-1]["Problem"] == plain("mbpp/11"), "no run was asked this benchmark"


def test_a_problem_of_another_version_than_runs_were_asked_is_named_without_a_link(board):
    write(board, [*small_ledger(), *dataset_rows(plausible_report(benchmarks=OTHER_VERSIONS))])
    rows = table(page(datasets_script, dataset=STARTER_DATA), "Method").to_dict("records")

    assert rows[0]["Problem"] == plain("humaneval/0")


def test_every_benchmark_compared_has_its_sentence(filled):
    said = section(page(datasets_script, dataset=STARTER_DATA), "Benchmarks")

    assert "**humaneval**: 3 problems are touched, 2 of them by rows that are trained on." in said
    assert "**mbpp**: 1 problem is touched, all dropped." in said


def test_a_clean_dataset_says_so(board):
    write(board, dataset_rows(clean_report()))
    app = page(datasets_script, dataset="c1ea4c1ea4c1")

    assert "**humaneval**: no problem is touched." in section(app, "Benchmarks")
    assert "Nothing." in section(app, "What was left out")
    assert "No run was trained on it yet." in section(app, "Runs")


def test_a_dataset_compared_with_nothing_claims_nothing(board):
    write(
        board, dataset_rows(plausible_report(touches=(), touched={}, trained_on={}, benchmarks={}))
    )

    said = section(page(datasets_script, dataset=STARTER_DATA), "Benchmarks")
    assert "nothing is known" in said


def test_what_rows_and_problems_have_in_common_is_shown_as_text(filled):
    app = page(datasets_script, dataset=STARTER_DATA)

    shown = [block.value for block in app.code if "elem in enumerate" in block.value]
    assert len(shown) == 1
    assert "humaneval humaneval/0, ngram8: code-alpaca/rows.jsonl:17, trained on" in shown[0]
    assert "humaneval humaneval/9, execution: code-alpaca/rows.jsonl:17, dropped" in shown[0]


def test_duplicates_can_be_paged(filled):
    app = page(datasets_script, dataset=STARTER_DATA)
    assert "1,203 rows left out" in section(app, "Duplicates")
    assert "the first 30 are shown" in section(app, "Duplicates")

    first = list(table(app, "Stands for it")["Left out"])
    app.pagination[0].set_value(2).run()
    second = list(table(app, "Stands for it")["Left out"])
    assert (len(first), len(second)) == (25, 5)
    assert second[-1] == plain("code-alpaca/rows.jsonl:31")


def test_a_link_opens_the_page_of_duplicates_it_names(filled):
    app = page(datasets_script, dataset=STARTER_DATA, pair="2")

    assert len(table(app, "Stands for it")) == 5


def test_lengths_are_drawn_and_told(filled):
    app = page(datasets_script, dataset=STARTER_DATA)

    assert len(app.get("vega_lite_chart")) == 1
    assert any(plain("1,911 tokens") in caption.value for caption in app.caption)


def test_every_bin_of_the_lengths_is_drawn_under_its_tokens():
    (lengths,) = (asdict(lengths) for lengths in plausible_report().lengths)

    assert charts.lengths_chart(lengths).to_dict()["data"]["values"] == [
        {"tokens": "0 to 63", "rows": 9_000},
        {"tokens": "64 to 127", "rows": 6_000},
        {"tokens": "128 to 255", "rows": 3_000},
        {"tokens": "256 or more", "rows": 475},
    ]
    assert "64 to 127: 6,000" in charts.lengths_words(lengths)


def test_what_was_executed_is_counted(filled):
    said = section(page(datasets_script, dataset=STARTER_DATA), "Execution")

    assert "371 of 374 rows with tests pass them." in said
    assert "4,200 tried, 800 not tried, 2 solved." in said
    assert "1 run without a verdict" in said


def test_nothing_executed_is_not_mentioned(board):
    nothing = Execution(
        rows_with_tests=0, rows_passed=0, pairs_nominated=0, pairs_tried=0, pairs_solved=0,
        sandbox_errors=0,
    )  # fmt: skip
    write(board, dataset_rows(plausible_report(execution=nothing)))
    app = page(datasets_script, dataset=STARTER_DATA)

    assert "Execution" not in [header.value for header in app.header]


def test_licences_attribution_and_terms(filled):
    said = section(page(datasets_script, dataset=STARTER_DATA), "Licences")

    assert f"The strictest term is **{plain('CC-BY-NC-4.0')}**" in said
    assert "Code Alpaca by Sahil Chaudhary" in said
    assert plain("not for models that compete with OpenAI's.") in said


def test_the_runs_that_used_a_dataset_are_linked(filled):
    said = section(page(datasets_script, dataset=STARTER_DATA), "Runs")

    assert f"(run?id={TUNED}): done" in said
    assert BASE not in said


def test_nothing_in_a_report_is_ever_markdown(board):
    report = plausible_report(
        dataset=HOSTILE,
        licence=HOSTILE,
        sources=(source(HOSTILE, licence=HOSTILE),),
        drops=(Drop(source=HOSTILE, step="filters", reason=HOSTILE, rows=1, examples=(HOSTILE,)),),
        duplicates=(DuplicatePair(left_out=HOSTILE, kept=HOSTILE, kind="near", similarity=0.9),),
        touches=(touch(HOSTILE),),
        touched={"humaneval": {HOSTILE: {"ngram8": 1}}},
        trained_on={},
        attributions=(HOSTILE,),
        terms=(HOSTILE,),
    )
    write(board, dataset_rows(report))

    for app in (page(datasets_script), page(datasets_script, dataset=STARTER_DATA)):
        cells = [str(cell) for element in app.table for cell in element.value.to_numpy().flat]
        shown = [*cells, *(element.value for element in [*app.markdown, *app.title, *app.caption])]
        assert any(plain(HOSTILE) in text for text in shown)
        assert not [text for text in shown if "<img" in text.replace("\\<img", "")]
        assert not [text for text in shown if "[b](" in text.replace("\\[b\\]\\(", "")]


def test_a_dataset_can_be_downloaded(filled):
    app = page(datasets_script, dataset=STARTER_DATA)

    labels = [button.proto.label for button in app.get("download_button")]
    assert labels == ["Download JSON", "Download CSV"]


def test_the_page_of_a_run_links_its_dataset_and_counts_the_problems_it_touches(filled):
    app = page(run_script, id=TUNED)
    said = " ".join(block.value for block in app.markdown)

    assert f"Trained on [starter](datasets?dataset={STARTER_DATA})" in said
    assert (
        "**humaneval**: 2 of 40 problems are touched by rows it was trained on (ngram8 2)" in said
    )


def test_the_page_of_a_clean_run_says_that_nothing_is_touched(filled):
    clean = clean_report()
    write(filled, [*dataset_rows(clean), tuned_run(dataset_digest=clean.digest)])
    said = " ".join(block.value for block in page(run_script, id=TUNED).markdown)

    assert "**humaneval**: none of 40 problems is touched by rows it was trained on." in said


def test_training_data_compared_with_another_version_of_the_problems_claims_nothing(filled):
    other = plausible_report(digest="0" * 12, benchmarks=OTHER_VERSIONS)
    write(filled, [*dataset_rows(other), tuned_run(dataset_digest=other.digest)])
    said = " ".join(block.value for block in page(run_script, id=TUNED).markdown)

    assert "**humaneval**: not known" in said


def test_a_run_whose_dataset_is_not_known_names_it_without_a_link(board):
    write(board, small_ledger())
    said = " ".join(block.value for block in page(run_script, id=TUNED).markdown)

    assert "Trained on starter" in said
    assert "datasets?dataset" not in said


def test_the_board_flags_a_score_whose_problems_were_trained_on(filled):
    rows = table(page(plain="true"), "Flags")

    assert list(rows["Flags"]) == [":orange-badge[overlap: 2 problems]", "\u2013"]


def test_a_board_without_overlap_has_no_flags(board):
    write(board, small_ledger())

    assert "Flags" not in page(plain="true").table[0].value
