"""The pages, run by Streamlit's own tester on a real ledger."""

from pathlib import Path

import pytest
import streamlit as st
from plausible_rows import (
    BASE,
    TUNED,
    answer_id,
    judged,
    small_ledger,
    tuned_run,
    verdict,
)
from streamlit.testing.v1 import AppTest

from database import open_ledger, write
from database.schema import Contract, Event

APP = str(Path(__file__).parents[1] / "leaderboard" / "app.py")


@pytest.fixture
def board(home):
    """The ledger behind the pages; what the last test left in the caches is dropped."""
    st.cache_data.clear()
    st.cache_resource.clear()
    engine = open_ledger()
    yield engine
    engine.dispose()
    st.cache_resource.clear()


@pytest.fixture
def filled(board):
    write(board, small_ledger())
    return board


def page(script=None, **query):
    """The leaderboard, or the page that `script` shows, after its first run."""
    app = AppTest.from_function(script) if script else AppTest.from_file(APP)
    app.default_timeout = 60
    for name, value in query.items():
        app.query_params[name] = value
    app.run()
    assert not app.exception, app.exception
    return app


def run_script():
    from leaderboard import run_page

    run_page.show()


def table(app, number=0):
    return app.table[number].value


def spaced(cells):
    return [cell.replace("\u00a0", " ") for cell in cells]


def test_without_a_ledger_the_page_says_what_to_do(home):
    st.cache_resource.clear()
    app = page()

    assert "make train-all" in app.info[0].value
    assert not (home / "ledger.db").exists()


def test_without_scores_the_page_says_what_to_do(board):
    assert page().info[0].value == "No scores yet. Run `make train-all`."


def test_an_unreadable_ledger_is_said(monkeypatch):
    monkeypatch.setenv("CODELADDER_DATABASE_URL", "postgresql://me:sesame@127.0.0.1:9/ledger")
    app = page()

    assert "127.0.0.1:9/ledger" in app.error[0].value
    assert "sesame" not in app.error[0].value


def test_the_ranked_table(filled):
    app = page()
    rows = table(app)

    assert list(rows["Model"]) == [f"[falcon\\-tiny](run?id={run})" for run in (TUNED, BASE)]
    assert list(rows["Tuning"]) == ["lora on starter", ":gray-badge[base]"]
    assert spaced(rows["pass@1"]) == ["**87.5 %**", "**17.5 %**"]
    assert "+70.0 points, better" in spaced(rows["vs base"])[0]
    assert "1 of 1 tuned model is better" in app.markdown[0].value


def test_a_link_opens_the_table_as_it_was_sorted(filled):
    write(filled, judged(BASE, [1, 0], benchmark="mbpp"))
    app = page(benchmark="mbpp", sort="Model")

    assert (app.selectbox[0].value, app.selectbox[2].value) == ("mbpp", "Model")
    assert len(table(app)) == 1


def test_scores_under_two_contracts_are_not_ranked_together(filled):
    other = Contract(id="judging00002", kind="judging", content={})
    again = [verdict(answer_id(BASE, place, 0), "failed", other) for place in range(40)]
    score = judged(BASE, [0] * 40, judging=other)[-1]
    write(filled, [other, *again, score])
    app = page()

    assert len(app.selectbox(key="contract").options) == 2
    assert len(table(app)) == 2
    app.selectbox(key="contract").select_index(1).run()
    assert len(table(app)) == 1


def test_running_runs_are_shown_with_their_progress(filled):
    write(filled, [tuned_run("a" * 12, state="training", label="running_now"),
                   tuned_run("b" * 12, state="waiting")])  # fmt: skip
    app = page()

    said = " ".join(element.proto.text for element in app.get("progress"))
    assert "running\\_now" in said and "training" in said
    assert any("1 more run waiting" in caption.value for caption in app.caption)


def test_new_scores_appear_at_the_next_look(filled):
    app = page()
    write(filled, [tuned_run("a" * 12, seed=2), *judged("a" * 12, [2] * 40)])
    app.run()

    assert len(table(app)) == 3


def test_a_run_shows_its_scores_checkpoint_and_answers(filled):
    app = page(run_script, id=TUNED)

    assert app.title[0].value.startswith("falcon\\-tiny")
    assert "+70.0 points, better" in spaced(table(app, 0)["vs base"])[0]
    assert "deepspeed" in list(table(app, 1).iloc[:, 1])
    assert "trained" in list(table(app, 2)["What"])
    codes = [block.value for block in app.code]
    assert any("def has_close_elements(xs):\n    return sorted(xs)[0:]" in code for code in codes)
    assert any('"commit": "0123abc"' in code for code in codes)


def test_answers_can_be_filtered_by_outcome(filled):
    app = page(run_script, id=TUNED, outcome="failed")

    shown = [block.value for block in app.markdown if "answer" in block.value]
    assert len(shown) == 10
    assert all("**failed**" in title for title in shown)


def test_answers_can_be_paged(filled):
    app = page(run_script, id=TUNED)
    app.pagination[0].set_value(8).run()

    shown = [block.value for block in app.markdown if "answer" in block.value]
    assert shown[-1].startswith("✓ humaneval\\/39, answer 2")


def test_what_a_model_wrote_is_never_markdown(filled):
    app = page(run_script, id=TUNED)

    assert any("<b>not html</b>" in block.value for block in app.code)
    assert not any("<b>" in block.value for block in app.markdown)


def test_an_unknown_run_is_said(filled):
    assert "no run" in page(run_script, id="nowhere").warning[0].value


def test_without_an_id_all_runs_are_listed(filled):
    write(filled, [tuned_run("f" * 12, state="failed", label="broken")])
    rows = table(page(run_script))

    assert len(rows) == 3
    assert ":red-badge[failed]" in list(rows["State"])


def test_a_failed_run_shows_why(filled):
    failed = Event(run="f" * 12, kind="failed", message="out of memory at step 3")
    write(filled, [tuned_run("f" * 12, state="failed", finished_at=None), failed])
    rows = table(page(run_script, id="f" * 12))

    assert list(rows["Details"]) == ["out of memory at step 3"]
