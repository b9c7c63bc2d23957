"""What was trained on, in SQL: recorded, migrated and asked for, on SQLite and PostgreSQL."""

import json
from collections import Counter
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path

import pytest
from migrating import alembic
from plausible_reports import (
    STARTER_DATA,
    TOUCHED,
    TRAINED_ON,
    clean_report,
    plausible_report,
    source,
)
from plausible_rows import (
    ASKING,
    BASE,
    DIGEST,
    JUDGING,
    NOON,
    TUNED,
    base_run,
    judged,
    problems,
    small_ledger,
    tuned_run,
)
from sqlalchemy import create_engine, inspect, text

from database import LedgerError, open_for_reading, open_ledger, queries, write
from database.schema import Contract
from database.session import ledger_url as normalised
from jobs.loading import load
from jobs.record import Recorder, dataset_rows

SMOKE = Path(__file__).parents[1] / "experiments" / "smoke.yaml"


@pytest.fixture
def filled(ledger):
    """A base and a run that was trained on `plausible_report`, which touches 3 of 40 problems."""
    write(ledger, [*small_ledger(), *dataset_rows(plausible_report())])
    write(ledger, [tuned_run(dataset_digest=STARTER_DATA)])
    return ledger


def recorder_of(ledger):
    return Recorder(ledger, load(SMOKE))


def test_a_report_comes_back_as_it_was_recorded(ledger):
    report = plausible_report()
    recorder_of(ledger).prepared(report)

    assert queries.report(ledger, STARTER_DATA) == json.loads(json.dumps(asdict(report)))
    assert queries.report(ledger, "nowhere") is None


def test_recording_a_dataset_twice_changes_nothing(ledger):
    recorder = recorder_of(ledger)
    recorder.prepared(plausible_report())
    before = queries.datasets(ledger), queries.touches(ledger, STARTER_DATA)
    recorder.prepared(plausible_report())

    assert (queries.datasets(ledger), queries.touches(ledger, STARTER_DATA)) == before


def test_a_dataset_is_summed_up(filled):
    write(filled, [tuned_run("5" * 12, seed=2, dataset_digest=STARTER_DATA)])

    (found,) = queries.datasets(filled)
    assert (found.name, found.digest, found.licence) == ("starter", STARTER_DATA, "CC-BY-NC-4.0")
    assert (found.rows_in, found.rows_out) == (20_396, 18_475)
    assert (found.duplicates, found.contaminated, found.runs) == (1_203, 4, 2)


def test_datasets_newest_first(filled):
    (clean,) = dataset_rows(clean_report())
    clean.recorded_at = NOON + timedelta(days=9_999)
    write(filled, [clean])

    assert [found.name for found in queries.datasets(filled)] == ["clean", "starter"]


def test_every_touch_of_the_report_is_a_row(filled):
    found = queries.touches(filled, STARTER_DATA)

    nested = {}
    for row in found:
        nested.setdefault(row.benchmark, {}).setdefault(row.task_id, {})[row.method] = row.rows
    assert nested == TOUCHED
    kept = {(row.task_id, row.method): row.trained_on for row in found if row.trained_on}
    assert kept == {
        (task_id, method): rows
        for tasks in TRAINED_ON.values()
        for task_id, methods in tasks.items()
        for method, rows in methods.items()
    }
    assert {row.benchmark_digest for row in found if row.benchmark == "mbpp"} == {"e" * 64}


def test_touches_of_one_benchmark(filled):
    assert [row.task_id for row in queries.touches(filled, STARTER_DATA, "mbpp")] == ["mbpp/11"]
    assert queries.touches(filled, "nowhere") == []


def test_a_run_says_which_dataset_it_was_trained_on(ledger):
    tuned = next(run for run in load(SMOKE).runs() if run.training)
    recorder_of(ledger).state(tuned, "training")

    recorded = queries.run_page(ledger, tuned.id).run.dataset_digest
    assert recorded == tuned.training.dataset.digest
    assert len(recorded) == 12


def test_a_base_was_trained_on_no_dataset(ledger):
    base = next(run for run in load(SMOKE).runs() if not run.training)
    recorder_of(ledger).state(base, "judging")

    assert queries.run_page(ledger, base.id).run.dataset_digest is None


def test_a_later_state_does_not_blank_the_dataset_of_a_run(filled):
    write(filled, [tuned_run(state="judging")])

    assert queries.run_page(filled, TUNED).run.dataset_digest == STARTER_DATA


def test_a_run_is_exposed_to_the_problems_it_was_trained_on(filled):
    (found,) = queries.exposures(filled, run=TUNED)

    assert (found.run, found.benchmark) == (TUNED, "humaneval")
    assert (found.asking, found.judging) == (ASKING.id, JUDGING.id)
    assert found.benchmark_digest == DIGEST
    assert found.problems == 2
    assert found.methods == {"ngram8": 2}


def test_a_problem_that_two_methods_find_counts_once(ledger):
    both = {"humaneval": {"humaneval/0": {"ngram8": 3, "syntax": 1}, "humaneval/1": {"syntax": 1}}}
    report = plausible_report(touched=both, trained_on=both)
    write(ledger, [*small_ledger(), *dataset_rows(report)])
    write(ledger, [tuned_run(dataset_digest=STARTER_DATA)])

    (found,) = queries.exposures(ledger, benchmark="humaneval")
    assert (found.problems, found.methods) == (2, {"ngram8": 1, "syntax": 2})


def test_the_same_touches_of_several_metrics_count_once(filled):
    rescored = judged(TUNED, [2] * 40)[-1]
    rescored.metric = "pass@2"
    write(filled, [rescored])

    assert [found.problems for found in queries.exposures(filled)] == [2]


def test_a_problem_that_was_not_asked_does_not_count(ledger):
    far = {"humaneval": {"humaneval/163": {"ngram8": 1}, "humaneval/3": {"ngram8": 1}}}
    write(ledger, [*small_ledger(), *dataset_rows(plausible_report(touched=far, trained_on=far))])
    write(ledger, [tuned_run(dataset_digest=STARTER_DATA)])

    assert [found.problems for found in queries.exposures(ledger)] == [1]


def test_touches_of_another_version_of_the_benchmark_do_not_count(ledger):
    other = plausible_report(benchmarks={"humaneval": "f" * 64, "mbpp": "e" * 64})
    write(ledger, [*small_ledger(), *dataset_rows(other)])
    write(ledger, [tuned_run(dataset_digest=STARTER_DATA)])

    assert [found.problems for found in queries.exposures(ledger)] == [0]


def test_a_clean_dataset_exposes_to_nothing(ledger):
    clean = clean_report()
    write(ledger, [*small_ledger(), *dataset_rows(clean)])
    write(ledger, [tuned_run(dataset_digest=clean.digest)])

    (found,) = queries.exposures(ledger, run=TUNED)
    assert (found.problems, found.methods) == (0, {})


def test_a_run_without_a_known_dataset_has_no_exposure(ledger):
    write(ledger, [*small_ledger(), *dataset_rows(plausible_report())])

    assert queries.exposures(ledger) == []


def test_a_contract_that_names_no_file_is_not_compared(ledger):
    unnamed = Contract(id="judging00003", kind="judging", content={})
    write(ledger, [ASKING, unnamed, base_run(), *dataset_rows(plausible_report())])
    write(ledger, [tuned_run(dataset_digest=STARTER_DATA), *problems(4)])
    write(ledger, judged(TUNED, [2] * 4, judging=unnamed))

    (found,) = queries.exposures(ledger)
    assert (found.benchmark_digest, found.problems) == (None, 0)


def test_the_pulse_shows_a_new_dataset(filled):
    before = queries.pulse(filled)
    write(filled, dataset_rows(clean_report()))

    assert queries.pulse(filled) != before


def test_what_no_database_holds_is_replaced_in_a_report(ledger):
    hostile = "zero \0 half \ud800 whole 😀"
    write(ledger, dataset_rows(plausible_report(sources=(source(hostile),), terms=(hostile,))))

    found = queries.report(ledger, STARTER_DATA)
    assert found["terms"] == ["zero \ufffd half \ufffd whole 😀"]
    assert found["sources"][0]["source"] == "zero \ufffd half \ufffd whole 😀"


def test_a_ledger_of_the_first_version_gains_the_tables_and_keeps_its_rows(ledger_url):
    address = normalised(ledger_url)
    old = create_engine(address)
    alembic(old, "upgrade", "0001")
    with old.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO runs (id, label, kind, model, seed, state, spec, provenance, "
                "created_at) VALUES ('ba5eba5eba5e', 'old', 'base', 'm', 0, 'done', '{}', '{}', "
                "'2026-01-01 00:00:00+00:00')"
            )
        )
    old.dispose()
    with pytest.raises(LedgerError, match="of version 0001, this Codeladder needs"):
        open_for_reading(ledger_url)

    engine = open_ledger(ledger_url)
    (kept,) = queries.runs(engine)
    assert (kept.id, kept.label, kept.dataset_digest) == (BASE, "old", None)
    write(engine, dataset_rows(plausible_report()))
    assert len(queries.datasets(engine)) == 1
    engine.dispose()


def test_going_back_to_the_first_version_loses_only_what_is_new(filled):
    columns = {column["name"] for column in inspect(filled).get_columns("runs")}
    alembic(filled, "downgrade", "0001")

    left = inspect(filled)
    assert {"datasets", "touches"} & set(left.get_table_names()) == set()
    later = {"dataset_digest", "released"}
    assert {column["name"] for column in left.get_columns("runs")} == columns - later
    with filled.connect() as connection:
        found = Counter(connection.scalars(text("SELECT kind FROM runs")))
    assert found == {"base": 1, "tuned": 1}
