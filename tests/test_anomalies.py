"""What is odd about a score, counted on both databases; the counts are made by hand."""

import csv
import io
import json
from datetime import date

import pytest
from plausible_rows import (
    ASKING,
    BASE,
    DIGEST,
    JUDGING,
    NOON,
    TUNED,
    base_run,
    completion,
    looked_at,
    problems,
    score_row,
    tuned_run,
    verdict,
)

from database import write
from database.anomalies import anomalies, key_of, names_function
from database.answered import answered_row
from database.exchange import as_csv, as_json
from database.queries import scores, standings
from database.schema import Contract, Dataset, Problem, Touch
from database.scores import ProblemResult
from database.tallies import tally_rows

COUNT = 20
PREFILLED = {"prompt": {"name": "completion", "continues": True}}


def answered(run, texts, *, asking=ASKING, finish=lambda place: "stop", extracted=None, n=1):
    """The answers of a run, one text a problem or n of them, with their verdicts and score."""
    rows = []
    for place, text in enumerate(texts):
        for position in range(n):
            key = f"{run[:6]}{asking.id[-2:]}{place:06}{position:06}"
            answer = completion(key, run, "humaneval", place, position, asking)
            answer.text, answer.finish = text, finish(place)
            judged = verdict(key, "failed")
            judged.extracted = None if extracted is None else extracted(place)
            rows += [answer, judged]
    results = [
        ProblemResult(task_id=f"humaneval/{place}", completions=n, passed=0)
        for place in range(len(texts))
    ]
    key = {"run": run, "benchmark": "humaneval", "asking": asking.id, "judging": JUDGING.id}
    counts = [*tally_rows(results, **key), answered_row(looked_at(rows), **key)]
    return [*rows, *counts, score_row(run, results, asking=asking)]


def own(run):
    return [f"    return {place}  # {run}\n" for place in range(COUNT)]


def found(ledger, run=TUNED):
    """What is odd about a run: its kinds with their counts."""
    view = standings(ledger, benchmark="humaneval", metric="pass@1")
    listed = anomalies(ledger, view)
    odd = {key: value for key, value in listed.items() if key[0] == run}
    assert odd.keys() <= {key_of(standing) for standing in view}
    return {one.kind: (one.count, one.of) for several in odd.values() for one in several}


@pytest.fixture
def begun(ledger):
    write(ledger, [ASKING, JUDGING, base_run(), tuned_run(), *problems(COUNT)])
    return ledger


def test_nothing_is_odd_about_ordinary_answers(begun):
    write(begun, [*answered(BASE, own(BASE)), *answered(TUNED, own(TUNED))])

    assert found(begun) == {}
    assert found(begun, BASE) == {}


@pytest.mark.parametrize("missed, told", [(1, {}), (2, {"extraction": (2, 20)})])
def test_answers_without_a_program_are_told_above_a_twentieth(begun, missed, told):
    write(begun, answered(TUNED, own(TUNED), extracted=lambda place: place >= missed))

    assert found(begun) == told


def test_answers_that_are_taken_as_they_are_miss_no_program(begun):
    write(begun, answered(TUNED, own(TUNED), extracted=None))

    assert found(begun) == {}


@pytest.mark.parametrize("cut, told", [(1, {}), (2, {"length": (2, 20)})])
def test_answers_that_were_cut_off_are_told_above_a_twentieth(begun, cut, told):
    write(begun, answered(TUNED, own(TUNED), finish=lambda n: "length" if n < cut else "end"))

    assert found(begun) == told


@pytest.mark.parametrize("text", ["", " ", "\n\t\r\n  "])
def test_a_single_empty_answer_is_told(begun, text):
    write(begun, answered(TUNED, [text, *own(TUNED)[1:]]))

    assert found(begun) == {"empty": (1, 20)}


@pytest.mark.parametrize("same, told", [(20, {"identical": (20, 20)}), (19, {})])
def test_answers_that_are_those_of_the_base_are_told(begun, same, told):
    tuned = own(BASE)[:same] + own(TUNED)[same:]
    write(begun, [*answered(BASE, own(BASE), n=2), *answered(TUNED, tuned, n=2)])

    assert found(begun) == told
    assert found(begun, BASE) == {}


def test_the_words_ask_whether_the_adapter_was_loaded(begun):
    write(begun, [*answered(BASE, own(BASE)), *answered(TUNED, own(BASE))])

    ((only,),) = anomalies(begun, standings(begun)).values()

    assert only.words == (
        "20 of 20 first answers are those of its base to the letter: was the adapter loaded?"
    )
    assert only.share == 1.0


def test_answers_under_another_way_of_asking_are_not_compared(begun):
    other = Contract(id="asking000002", kind="asking", content={"prompt": "alpaca"})
    write(
        begun,
        [
            other,
            *answered(BASE, own(BASE), asking=other),
            *answered(TUNED, own(BASE)),
        ],
    )

    assert found(begun) == {}


@pytest.mark.parametrize(
    "base, tuned, told",
    [
        ({"prompt": {"name": "alpaca"}}, PREFILLED, True),
        (PREFILLED, {"prompt": {"name": "alpaca"}}, True),
        ({"prompt": "alpaca"}, {"prompt": "alpaca-signature"}, True),
        (PREFILLED, {"prompt": {"name": "alpaca-signature", "continues": True}}, False),
        ({"prompt": "chat"}, {"prompt": "alpaca"}, False),
        ({}, PREFILLED, False),
    ],
)
def test_a_function_that_is_named_for_one_side_only_is_told(begun, base, tuned, told):
    of_base = Contract(id="asking000002", kind="asking", content=base)
    of_tuned = Contract(id="asking000003", kind="asking", content=tuned)
    write(
        begun,
        [
            of_base,
            of_tuned,
            *answered(BASE, own(BASE), asking=of_base),
            *answered(TUNED, own(TUNED), asking=of_tuned),
        ],
    )

    assert found(begun) == ({"prefilled": (20, 20)} if told else {})


def test_a_run_that_was_asked_in_both_ways_compares_in_one_of_them(begun):
    other = Contract(id="asking000002", kind="asking", content=PREFILLED)
    plain = Contract(id="asking000003", kind="asking", content={"prompt": {"name": "alpaca"}})
    write(
        begun,
        [
            other,
            plain,
            *answered(BASE, own(BASE), asking=other),
            *answered(BASE, own(BASE), asking=plain),
            *answered(TUNED, own(TUNED), asking=other),
        ],
    )

    assert found(begun) == {}


def test_only_asked_problems_that_are_not_newer_than_the_model_are_told(begun):
    days = {0: date(2024, 1, 1), 1: date(2024, 5, 1), 2: date(2024, 5, 2)}
    dated = problems(COUNT + 1)
    for place, day in days.items():
        dated[place].released = day
    dated[COUNT].released = date(2020, 1, 1)  # never asked
    modern = tuned_run(released=date(2024, 5, 1))
    write(begun, [modern, *dated, *answered(TUNED, own(TUNED), n=2)])

    assert found(begun) == {"older": (2, 20)}


def test_problems_of_another_version_of_the_file_are_not_counted(begun):
    elsewhere = Problem(
        benchmark="humaneval",
        digest="e" * 64,
        task_id="humaneval/0",
        position=0,
        family="",
        instruction="",
        prompt="",
        tests="",
        released=date(2020, 1, 1),
    )
    modern = tuned_run(released=date(2024, 5, 1))
    write(begun, [modern, elsewhere, *answered(TUNED, own(TUNED))])

    assert found(begun) == {}


def test_problems_that_it_was_trained_on_are_told_of_all_that_were_asked(begun):
    dataset = Dataset(
        digest="d" * 12,
        name="starter",
        report={},
        licence="MIT",
        rows_in=1,
        rows_out=1,
        duplicates=0,
        contaminated=0,
        recorded_at=NOON,
    )
    touch = Touch(
        dataset="d" * 12,
        benchmark="humaneval",
        benchmark_digest=DIGEST,
        task_id="humaneval/3",
        method="ngram10",
        rows=1,
        trained_on=1,
    )
    trained = tuned_run(dataset_digest="d" * 12)
    write(begun, [dataset, touch, trained, *answered(TUNED, own(TUNED))])

    assert found(begun) == {"overlap": (1, 20)}


def test_nothing_in_view_has_nothing_odd(ledger):
    assert anomalies(ledger, []) == {}


def test_whether_a_contract_names_the_function_is_not_guessed():
    assert names_function({"form": "alpaca"}) is None


def test_the_results_that_other_tools_read_name_the_kinds(begun):
    write(begun, [*answered(BASE, own(BASE)), *answered(TUNED, ["", *own(BASE)[1:]])])

    of_run = {result.run: result for result in scores(begun)}

    assert of_run[TUNED].flags == ("empty",)
    assert of_run[BASE].flags == ()
    assert json.loads(as_json([of_run[TUNED]]))[0]["flags"] == ["empty"]
    assert next(csv.DictReader(io.StringIO(as_csv([of_run[TUNED]]))))["flags"] == "empty"
