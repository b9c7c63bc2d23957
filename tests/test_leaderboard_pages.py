"""The pages, run by Streamlit's own tester on a real ledger."""

import re
from dataclasses import replace
from datetime import timedelta

import pytest
import streamlit as st
from pages import board, filled, page, run_script, table
from plausible_rows import (
    ASKING,
    BASE,
    JUDGING,
    NOON,
    TUNED,
    answer_id,
    base_run,
    completion,
    judged,
    training,
    tuned_run,
    verdict,
)
from sqlalchemy import event

from database import write
from database.facts import Exposure
from database.queries import run_page, runs
from database.schema import Contract, Event
from database.standings import contract_of
from leaderboard import reading, run_facts

CONTRACT = contract_of(ASKING.id, JUDGING.id)
__all__ = ["board", "filled"]


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

    said = app.error[0].value.replace("\\", "")  # each mark is escaped, and shown
    assert "127.0.0.1:9/ledger" in said
    assert "sesame" not in said


def test_the_ranked_table(filled):
    app = page(plain="true")
    rows = table(app)

    assert list(rows["Model"]) == [f"[falcon\\-tiny](run?id={run})" for run in (TUNED, BASE)]
    assert list(rows["Tuning"]) == ["lora on starter", ":gray-badge[base]"]
    assert [cell.split("]")[0] for cell in spaced(rows["pass@1"])] == ["[**87.5 %**", "[**17.5 %**"]
    assert "+70.0 points, better" in spaced(rows["vs base"])[0]
    assert "1 of 1 tuned model is better" in app.header[0].value


def test_the_grid_shows_the_same_rounded_and_as_plain_text(filled):
    (grid,) = page().dataframe

    assert list(grid.value["pass@1"]) == [87.5, 17.5]
    assert spaced(grid.value["vs base"])[0].startswith("▲ +70.0 points, better")
    assert list(grid.value["Open"]) == [f"run?id={run}" for run in (TUNED, BASE)]


def test_one_line_says_what_is_shown_and_leads_to_its_contract(filled):
    said = " ".join(block.value for block in page().markdown)

    assert "humaneval, 40 problems, 2 answers each" in said
    assert re.search(r"\[contract \w{12}\]\(methods\?contract=\w{12}#contract\)", said)
    assert "cannot be told apart" in said
    assert "among all 2 scores under this contract, whatever the filters show" in said


def test_a_link_opens_the_table_as_it_was_sorted(filled):
    write(filled, judged(BASE, [1, 0], benchmark="mbpp"))
    app = page(benchmark="mbpp", sort="Model", plain="true")

    assert (app.selectbox(key="benchmark").value, app.selectbox(key="sort").value) == (
        "mbpp",
        "Model",
    )
    assert len(table(app)) == 1


def test_scores_under_two_contracts_are_not_ranked_together(filled):
    other = Contract(id="judging00002", kind="judging", content={})
    again = [verdict(answer_id(BASE, place, 0), "failed", other) for place in range(40)]
    score = judged(BASE, [0] * 40, judging=other)[-1]
    write(filled, [other, *again, score])
    app = page(plain="true")

    assert len(app.selectbox(key="contract").options) == 2
    assert len(table(app)) == 2
    app.selectbox(key="contract").select_index(1).run()
    assert len(table(app)) == 1


def several_runs():
    """Beside the small ledger: a full tuning, another base and its adapter."""
    return [
        tuned_run("f" * 12, method="full", dataset="evol", label="full one"),
        *judged("f" * 12, [1] * 40),
        base_run("b" * 12, model="mistral-7b"),
        *judged("b" * 12, [1] * 20 + [0] * 20),
        tuned_run("c" * 12, model="mistral-7b", base="b" * 12),
        *judged("c" * 12, [1] * 30 + [0] * 10),
    ]


@pytest.fixture
def several(filled):
    write(filled, several_runs())
    return filled


def models(app):
    return [cell.split("id=")[1].rstrip(")")[:1] for cell in table(app)["Model"]]


@pytest.mark.parametrize(
    ("query", "left"),
    [
        ({"q": "LORA falcon"}, ["7"]),
        ({"q": "mistral"}, ["c", "b"]),
        ({"kind": "base"}, ["b", BASE[0]]),
        ({"method": "full"}, ["f"]),
        ({"dataset": "starter"}, ["7", "c"]),
        ({"size": "7B"}, ["c", "b"]),
        ({"model": "mistral-7b", "kind": "tuned"}, ["c"]),
    ],
)
def test_a_link_opens_the_board_as_it_was_narrowed(several, query, left):
    app = page(plain="true", **query)

    if "base" in query.values():
        assert sorted(models(app)) == ["b", "b"]
    else:
        assert models(app) == left
    assert any(f"{len(left)} of 5 scores shown, narrowed by" in c.value for c in app.caption)


def test_ranks_and_verdicts_do_not_change_with_the_filters(several):
    whole = table(page(plain="true"))
    narrow = table(page(plain="true", q="full"))

    (before,) = [row for _, row in whole.iterrows() if "f" * 12 in row["Model"]]
    assert (before["Rank"], before["vs base"]) == (narrow["Rank"][0], narrow["vs base"][0])


def test_a_filter_that_leaves_nothing_is_named_and_cleared_by_a_button(several):
    app = page(q="nowhere", method="full", plain="true")

    assert app.info[0].value == "No score is left. Clear search to see scores again."
    assert [b.label for b in app.button if b.label.startswith("Clear")] == [
        "Clear search",
        "Clear all filters",
    ]
    next(b for b in app.button if b.label == "Clear search").click().run()
    assert models(app) == ["f"]
    assert app.text_input(key="q").value == ""


def test_adapters_stand_below_their_base_when_grouped(several):
    rows = table(page(plain="true", group="true"))

    assert [cell.startswith("↳") for cell in rows["Model"]] == [False, True, True, False, True]


def test_columns_can_be_left_out_and_added(several):
    app = page(plain="true")
    assert {"95 % interval", "Seed"} <= set(table(app).columns)

    app.multiselect(key="columns").set_value(["pass@1", "Run"]).run()
    assert list(table(app).columns) == ["Rank", "Model", "pass@1", "Run"]


def test_chosen_runs_are_held_by_id_and_lead_to_their_comparison(several):
    app = page(compare=[TUNED, "f" * 12])
    assert app.multiselect(key="choice-compare").value == [TUNED, "f" * 12]
    (opened,) = [b for b in app.get("link_button") if "Compare 2" in b.proto.label]
    assert f"a={TUNED}&b={'f' * 12}&benchmark=humaneval" in opened.proto.url

    app.text_input(key="q").set_value("mistral").run()
    assert app.multiselect(key="choice-compare").value == [TUNED, "f" * 12]


def test_charts_are_said_in_words(several):
    charts = page().get("vega_lite_chart")

    assert any("falcon-tiny, full on evol" in chart.proto.alt for chart in charts)


def test_running_runs_are_shown_with_their_progress(filled):
    write(filled, [tuned_run("a" * 12, state="training", label="running_now"),
                   tuned_run("b" * 12, state="waiting")])  # fmt: skip
    app = page()

    said = " ".join(element.proto.text for element in app.get("progress"))
    assert "running\\_now" in said and "training" in said
    assert any("1 more run waiting" in block.value for block in app.markdown)


def test_new_scores_appear_at_the_next_look(filled):
    app = page(plain="true")
    write(filled, [tuned_run("a" * 12, seed=2), *judged("a" * 12, [2] * 40)])
    app.run()

    assert len(table(app)) == 3


def test_a_training_step_has_only_the_progress_read_again(filled):
    write(filled, [tuned_run("a" * 12, state="training", label="busy"), *training("a" * 12, 1)])
    app, asked = page(), []
    event.listen(reading.ledger(), "before_cursor_execute", lambda *told: asked.append(told[2]))
    write(filled, training("a" * 12, 2, of=60, at=NOON + timedelta(hours=1)))
    app.run()

    assert any("step 2 of 60" in bar.proto.text for bar in app.get("progress"))
    assert any("trainings.last_step" in said for said in asked)
    assert not any("scores.low" in said or "tallies" in said for said in asked)


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
    assert shown[-1].startswith("✓ [humaneval\\/39](problem?")
    assert "[answer 2](completion?id=" in shown[-1]


def test_what_a_model_wrote_is_never_markdown(filled):
    app = page(run_script, id=TUNED)

    assert any("<b>not html</b>" in block.value for block in app.code)
    assert not any("<b>" in block.value for block in app.markdown)


def test_an_unknown_run_is_said(filled):
    assert "no run" in page(run_script, id="nowhere").warning[0].value


def test_without_an_id_all_runs_are_listed(filled):
    write(filled, [tuned_run("f" * 12, state="failed", label="broken")])
    app = page(run_script)
    rows = table(app)

    assert len(rows) == 3
    assert ":red-badge[failed]" in list(rows["State"])
    app.text_input(key="q").set_value("FAILED brok").run()
    assert [cell.split("]")[0] for cell in table(app)["Run"]] == ["[broken"]


def test_a_link_to_what_is_not_scored_is_said(filled):
    said = [w.value for w in page(benchmark="no_where", contract="f" * 12, plain="true").warning]

    assert ["no\\_where" in said[0], "f" * 12 in said[1]] == [True, True]


def test_seeds_are_of_runs_that_are_done_and_problems_count_once_for_two_contracts(filled):
    spec = run_page(filled, TUNED).run.spec
    states = {2: "done", 3: "failed", 4: "waiting"}
    write(filled, [tuned_run(f"{seed}" * 12, seed=seed, state=state, spec=spec | {"seed": seed})
                   for seed, state in states.items()])  # fmt: skip
    touched = {"run": TUNED, "benchmark": "humaneval", "asking": "a", "benchmark_digest": "d",
               "problems": 3, "methods": {}}  # fmt: skip
    found = [Exposure(judging=judging, **touched) for judging in "jk"]

    assert run_facts.seeds(run_page(filled, TUNED).run, runs(filled)) == 2
    assert run_facts.contamination(found) == "trained on 3 problems of benchmarks"


def test_answers_without_a_verdict_can_be_reached(filled):
    write(filled, [completion("f" * 20, TUNED, "humaneval", 0, 2, ASKING)])
    app = page(run_script, id=TUNED)

    assert any(c.value.endswith(", 1 not judged") for c in app.caption)
    assert any("answer 3" in block.value and "not judged" in block.value for block in app.markdown)


def test_a_failed_run_shows_why(filled):
    failed = Event(run="f" * 12, kind="failed", message="out of memory at step 3")
    write(filled, [tuned_run("f" * 12, state="failed", finished_at=None), failed])
    app = page(run_script, id="f" * 12)
    rows = next(found.value for found in app.table if "Details" in found.value)

    assert list(rows["Details"]) == ["out of memory at step 3"]


def test_a_run_leads_to_its_problems_its_base_and_the_try_it_box(filled):
    app = page(run_script, id=TUNED)
    said = " ".join(block.value for block in app.markdown)

    assert f"problems?benchmark=humaneval&contract={CONTRACT}&run={TUNED}" in table(app)["Score"][0]
    assert f"compare?a={TUNED}&b={BASE}&benchmark=humaneval&contract={CONTRACT}" in said
    assert f"try?m={TUNED}&m={BASE}" in said
    assert ":gray-badge[1 seed]" in said


def test_what_it_takes_to_make_a_run_again_can_be_copied(filled):
    provenance = {"commit": "0123abc", "dirty": True, "experiment": "starter",
                  "command": "-m jobs run experiments/starter.yaml"}  # fmt: skip
    write(filled, [tuned_run(provenance=provenance, finished_at=None, id="e" * 12)])
    app = page(run_script, id="e" * 12)

    (origin,) = [block.value for block in app.code if block.value.startswith("run: ")]
    assert "commit: 0123abc (with changes that were not committed)" in origin
    assert "command: python -m jobs run experiments/starter.yaml" in origin
    assert "revision not recorded" in origin


def test_the_card_of_a_run_says_what_is_known_and_what_is_not(filled):
    found = run_page(filled, TUNED)
    card = run_facts.card(found, [])
    unclear = replace(found.standings[0].result, verdict="no clear difference")
    others = replace(found, standings=[replace(found.standings[0], result=unclear)])

    assert "against its base +70.0 points, no clear difference" in run_facts.card(others, [])
    assert card.startswith("# falcon-tiny, starter, lora, seed 1\n")
    assert "humaneval pass@1: 87.5 % (" in card
    assert "against its base +70.0 points, better" in card
    assert "## Not known here" in card
    assert f"weights: runs/70ded70ded70/checkpoint, sha256 {'c' * 64}" in card


def test_nothing_in_a_name_closes_a_fence_of_the_card_or_acts_in_it(filled):
    write(filled, [tuned_run("e" * 12, label="a ``` b\n# [c](d)", spec={"x": "````"})])
    card = run_facts.card(run_page(filled, "e" * 12), [])

    assert card.startswith("# a \\`\\`\\` b \\# \\[c\\](d)\n")
    assert "\n`````\n{" in card
