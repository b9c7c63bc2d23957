"""Problems by runs: the heat map, the lists, and the page of one problem."""

import shutil

import pytest
import streamlit as st
from pages import page
from plausible_rows import (
    ASKING,
    BASE,
    DIGEST,
    JUDGING,
    TUNED,
    answer_id,
    base_run,
    judged,
    small_ledger,
    tuned_run,
    verdict,
)

from database import open_ledger, write
from database.problems import ProblemName, ScoredRun
from database.schema import Contract, Dataset, Touch
from database.scores import ProblemResult
from database.standings import contract_of
from leaderboard import problem_matrix, verdict_words

CONTRACT = contract_of(ASKING.id, JUDGING.id)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """The file of a ledger that tests copy."""
    path = tmp_path_factory.mktemp("small") / "ledger.db"
    engine = open_ledger(f"sqlite:///{path}")
    write(engine, small_ledger())
    engine.dispose()
    return path


@pytest.fixture
def filled(home, small):
    st.cache_data.clear()
    st.cache_resource.clear()
    home.mkdir()
    shutil.copy(small, home / "ledger.db")
    engine = open_ledger()
    yield engine
    engine.dispose()
    st.cache_resource.clear()


def problems_script():
    from leaderboard import problems_page

    problems_page.show()


def problem_script():
    from leaderboard import problem_page

    problem_page.show()


def rows_of(passes, n=2):
    """A matrix: what each run made of each problem."""
    names = [ProblemName(task_id=f"p/{place}", position=place, family="", released=None)
             for place in range(len(next(iter(passes.values()))))]  # fmt: skip
    results = {
        run: [
            ProblemResult(task_id=f"p/{place}", completions=n, passed=passed)
            for place, passed in enumerate(of_run)
        ]
        for run, of_run in passes.items()
    }
    return problem_matrix.rows_of(names, results)


SMALL = {"a": [2, 0, 1, 2], "b": [0, 0, 0, 2], "c": [0, 0, 2, 1]}


@pytest.mark.parametrize(
    ("order", "problems"),
    [
        ("Difficulty", ["p/1", "p/0", "p/2", "p/3"]),
        ("Disagreement", ["p/0", "p/2", "p/3", "p/1"]),
        ("File order", ["p/0", "p/1", "p/2", "p/3"]),
        ("Name", ["p/0", "p/1", "p/2", "p/3"]),
    ],
)
def test_problems_are_sorted(order, problems):
    rows = problem_matrix.ordered(rows_of(SMALL), order)

    assert [row.problem.task_id for row in rows] == problems


def test_the_lists_of_what_is_solved_by_none_one_and_all():
    assert problem_matrix.counts(rows_of(SMALL)) == {
        "All": 4,
        "Solved by none": 1,
        "Solved by one": 1,
        "Solved by all": 1,
        "Suspect": 0,
    }


def test_a_problem_that_better_runs_fail_is_suspect_with_eight_runs():
    passes = {f"r{run}": [1 * (place > run) for place in range(12)] + [1 * (run >= 5)]
              for run in range(9)}  # fmt: skip

    assert [row.problem.task_id for row in rows_of(passes, n=1) if row.suspect] == ["p/12"]
    few = dict(list(passes.items())[:7])
    assert not any(row.suspicion for row in rows_of(few, n=1))


def test_a_run_that_is_not_judged_on_all_problems_is_left_out_of_suspicion_only():
    rows = rows_of(SMALL)
    partial = problem_matrix.rows_of(
        [row.problem for row in rows],
        {"a": [row.results["a"] for row in rows], "b": [rows[0].results["b"]]},
    )

    assert [len(row.results) for row in partial] == [2, 1, 1, 1]
    assert problem_matrix.whole_runs(partial) == 1


def scored(run, value, base=None):
    return ScoredRun(id=run, label=run, kind="tuned", base_run=base, metric="pass@1", value=value)


def test_of_many_runs_the_best_are_shown_with_their_bases():
    runs = [scored(f"t{place}", 1 - place / 100, base="base") for place in range(30)]
    chosen = problem_matrix.usual_runs([*runs, scored("base", 0.1)])

    assert len(chosen) == problem_matrix.RUNS_AT_MOST
    assert chosen[-1] == "base"
    assert problem_matrix.usual_runs(runs[:5]) == [run.id for run in runs[:5]]


def test_the_heat_map_has_a_cell_for_each_verdict_and_its_words_count_them():
    rows = problem_matrix.ordered(rows_of(SMALL), "Difficulty")
    names = {"a": "model a", "b": "model b"}
    drawn = problem_matrix.heat_map(rows, names).to_dict()

    cells = drawn["data"]["values"]
    assert len(cells) == 8
    assert {"problem": "p/2", "run": "model a", "share": 0.5, "passed": "1 of 2"} in cells
    assert drawn["encoding"]["x"]["sort"][0] == "p/1"
    words = problem_matrix.heat_words(rows, names)
    assert "4 problems by 2 runs" in words
    assert "model a solves 3, model b solves 1" in words


def test_the_page_lists_problems_with_links_and_draws_as_much_as_can_be_sent(filled, monkeypatch):
    app = page(problems_script, benchmark="humaneval")
    rows = app.table[0].value

    assert app.caption[1].value == (
        "40 all, 0 solved by none, 26 solved by one, 14 solved by all, 0 suspect"
    )
    assert rows["Problem"][0] == (
        f"[humaneval\\/4](problem?benchmark=humaneval&contract={CONTRACT}&id=humaneval%2F4)"
    )
    assert f"(run?id={TUNED}) alone" in rows["Solved by"][0]
    assert "40 problems by 2 runs" in app.get("vega_lite_chart")[0].proto.alt

    monkeypatch.setattr("leaderboard.problems_page.CELLS_AT_MOST", 20)
    app.run()
    assert "**10 problems, the first 10 of 40**" in app.markdown[0].value
    assert "10 problems by 2 runs" in app.get("vega_lite_chart")[0].proto.alt


def test_numbers_of_each_run_search_and_a_list_are_in_the_url(filled):
    app = page(problems_script, benchmark="humaneval", search="AL/3", numbers="true",
               show="Solved by all", order="File order")  # fmt: skip
    rows = app.table[0].value

    assert list(rows["Problem"].str.extract(r"\[humaneval..(\d+)\]")[0]) == [
        "3", "30", "33", "36", "39",
    ]  # fmt: skip
    assert list(rows["falcon\\-tiny\\, starter\\, lora\\, seed 1"]) == [
        "2/2",
        "2/2",
        "2/2",
        "1/2",
        "2/2",
    ]
    assert list(rows["falcon\\-tiny as it came"]) == ["1/2"] * 5


def test_the_runs_chosen_are_in_the_url_by_id(filled):
    app = page(problems_script, benchmark="humaneval", run=TUNED)

    assert "1 of 2 runs are shown" in app.caption[1].value
    assert "40 problems by 1 run;" in app.get("vega_lite_chart")[0].proto.alt


def test_of_one_run_alone_problems_open_its_answers(filled):
    rows = page(problems_script, benchmark="humaneval", run=BASE).table[0].value

    assert all(f"&run={BASE})" in problem for problem in rows["Problem"])


def test_a_cell_of_the_map_is_chosen_by_keyboard_and_held_by_id(filled):
    app = page(problems_script, benchmark="humaneval")
    app.selectbox(key="choice-problem").set_value("humaneval/4").run()
    app.selectbox(key="choice-by").set_value(BASE).run()

    said = " ".join(block.value for block in app.markdown)
    assert f"&id=humaneval%2F4&run={BASE})" in said
    assert "0 of 2 answers pass." in said
    assert f"(completion?id={answer_id(BASE, 4, 1)}&judging={JUDGING.id}): assertion" in said
    asked = {name: app.query_params[name] for name in ("problem", "by")}
    assert asked in ({"problem": "humaneval/4", "by": BASE},
                     {"problem": ["humaneval/4"], "by": [BASE]})  # fmt: skip


def test_too_few_runs_to_suspect_a_problem_are_said(filled):
    app = page(problems_script, benchmark="humaneval", show="Suspect", search="AL/3")

    assert "It takes 8 runs" in app.info[0].value
    assert "2 runs here have that" in app.info[0].value
    assert "No problem is left" in app.info[1].value


def test_without_scores_the_page_says_what_to_do(home):
    st.cache_resource.clear()
    open_ledger().dispose()

    assert "make train-all" in page(problems_script).info[0].value


def on(task_id, **more):
    return {"benchmark": "humaneval", "contract": CONTRACT, "id": task_id} | more


def test_a_problem_shows_its_texts_what_each_run_made_of_it_and_the_answers(filled):
    app = page(problem_script, **on("humaneval/4"))

    assert app.title[0].value == "humaneval\\/4"
    assert [block.value for block in app.code[:3]] == [
        "Write has_close_elements.",
        "def has_close_elements(xs):",
        "assert has_close_elements([]) is False",
    ]
    assert list(app.table[0].value["Answers that pass"]) == ["✓ 1 of 2", "✗ 0 of 2"]
    answers = app.table[1].value
    assert answers["Answer"][1] == (
        f"[Answer 2](completion?id={answer_id(TUNED, 4, 1)}&judging={JUDGING.id})"
    )
    assert list(answers["Outcome"]) == [":green-badge[✓ passed]", ":red-badge[✗ failed]"]
    assert answers["What happened"][1] == "assertion failed"


def test_the_run_that_answered_is_in_the_url_and_the_way_back_takes_it_back(filled):
    label = "falcon-tiny, starter, lora, seed 1"
    write(filled, [base_run(label=label), tuned_run(label=label)])
    app = page(problem_script, **on("humaneval/4", run=BASE))
    assert answer_id(BASE, 4, 0) in app.table[1].value["Answer"][0]

    app.selectbox(key="choice-run").set_value(TUNED).run()
    assert answer_id(TUNED, 4, 0) in app.table[1].value["Answer"][0]
    app.query_params["run"] = BASE
    app.run()

    assert answer_id(BASE, 4, 0) in app.table[1].value["Answer"][0]


def test_the_next_problem_is_a_button_away_and_in_the_url(filled):
    app = page(problem_script, **on("humaneval/38"))
    app.button(key="Next problem").click().run()

    assert app.title[0].value == "humaneval\\/39"
    assert app.query_params["id"] in ("humaneval/39", ["humaneval/39"])
    assert app.button(key="Next problem").disabled
    app.button(key="Previous problem").click().run()
    assert app.title[0].value == "humaneval\\/38"


def test_what_training_data_touches_a_problem_is_said(filled):
    counts = {"rows_in": 9, "rows_out": 9, "duplicates": 0, "contaminated": 0}
    data = Dataset(digest="e" * 12, name="mine", report={}, licence="MIT", **counts)
    touch = Touch(dataset="e" * 12, benchmark="humaneval", benchmark_digest=DIGEST,
                  task_id="humaneval/4", method="ngram10", rows=3, trained_on=2)  # fmt: skip
    write(filled, [data, touch])
    rows = page(problem_script, **on("humaneval/4")).table[0].value

    assert rows["Dataset"][0] == f"[mine](datasets?dataset={'e' * 12})"
    assert rows["Trained on"][0] == "**2**"


def test_a_problem_that_is_not_there_is_said(filled):
    for query, said in (
        ({}, "names no problem"),
        (on("humaneval/99"), "holds no problem humaneval\\/99"),
        (on("humaneval/1", contract="f" * 12), "no score of humaneval under this contract"),
        (on("x", benchmark="<b>"), "no score of \\<b\\> under"),
    ):
        assert said in page(problem_script, **query).warning[0].value


def test_without_a_contract_it_is_the_one_that_most_runs_were_scored_under(filled):
    other = Contract(id="judging00002", kind="judging", content={})
    again = [verdict(answer_id(BASE, place, 0), "failed", other) for place in range(40)]
    write(filled, [other, *again, judged(BASE, [0] * 40, judging=other)[-1]])

    app = page(problem_script, benchmark="humaneval", id="humaneval/4")

    assert f"Contract `{CONTRACT}`" in app.markdown[0].value


@pytest.mark.parametrize(
    ("outcome", "detail", "extracted", "said"),
    [
        ("passed", "", True, "passed every test"),
        ("failed", "AssertionError: x", None, "assertion failed"),
        ("failed", "NameError: name 'x' is not defined", True, "raised an exception (NameError)"),
        ("failed", "IndentationError: unexpected", True, "no valid Python (IndentationError)"),
        ("failed", "SyntaxError: invalid", False, "no program found in the answer"),
        ("failed", "call 3 returned 5", True, "wrong answer"),
        ("failed", "", True, "failed a test"),
        ("timed_out", "", True, "ran out of time"),
        ("out_of_memory", "", True, "ran out of memory"),
        ("crashed", "killed by SIGSEGV", True, "crashed: the interpreter was ended by a signal"),
        ("output_limit", "", True, "printed or returned more than the output limit"),
        (None, None, None, "not judged yet"),
    ],
)
def test_failures_in_words(outcome, detail, extracted, said):
    assert verdict_words.failure(outcome, detail, extracted) == said


@pytest.mark.parametrize(
    ("outcome", "detail", "extracted", "kind"),
    [
        ("failed", "AssertionError: x", None, "Wrong answer"),
        ("failed", "call 3 returned 5", True, "Wrong answer"),
        ("failed", "", True, "Wrong answer"),
        ("failed", "NameError: name 'x' is not defined", True, "Exception"),
        ("failed", "IndentationError: unexpected", True, "No valid Python"),
        ("failed", "SyntaxError: invalid", False, "No program found"),
        ("timed_out", "", True, "Timed out"),
        ("sandbox_error", "", None, "Not judged (our fault)"),
    ],
)
def test_each_failure_is_of_one_class(outcome, detail, extracted, kind):
    assert verdict_words.kind(outcome, detail, extracted) == kind
    assert kind in verdict_words.FAILURES


def test_a_failure_of_the_sandbox_is_none_of_the_model():
    said = verdict_words.failure("sandbox_error", "killed", None)

    assert said == "not judged: the sandbox failed, which says nothing of the model"
    assert verdict_words.badge("sandbox_error").startswith(":gray-badge[?")
    assert "✗" not in verdict_words.badge("sandbox_error")


def test_more_runs_than_a_screen_takes_are_a_choice_that_is_said(filled):
    runs = [f"{number:012x}" for number in range(1, 22)]
    write(filled, [tuned_run(run, seed=number) for number, run in enumerate(runs)])
    write(filled, [row for run in runs for row in judged(run, [1] * 40)
                   if row.__tablename__ in ("tallies", "scores")])  # fmt: skip
    app = page(problems_script, benchmark="humaneval")

    assert app.caption[1].value == "20 of 23 runs are shown and counted here."
