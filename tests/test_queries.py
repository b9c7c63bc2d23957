"""What is read back, on SQLite and PostgreSQL."""

import dataclasses
from datetime import timedelta

import pytest
from plausible_rows import (
    ASKING,
    BASE,
    DIGEST,
    JUDGING,
    NOON,
    TUNED,
    answer_id,
    base_run,
    completion,
    judged,
    problems,
    score_row,
    small_ledger,
    tuned_run,
    verdict,
)

from database import LedgerError, queries, write
from database.comparisons import NOT_COMPARABLE, difference_of, pairs_of
from database.schema import Contract, Event, Experiment
from database.scores import ProblemResult

FIELDS = (
    "run model base method dataset seed benchmark metric value low high problems completions "
    "contract delta coverage interval_method why rank_low rank_high p_holm comparisons "
    "verdict flags"
)
OTHER = Contract(id="judging00002", kind="judging", content={"sha256": DIGEST})
PASSES_OF_BASE = [place % 3 == 0 for place in range(40)]


@pytest.fixture
def filled(ledger):
    write(ledger, small_ledger())
    return ledger


def passes(counts, n=2):
    return [
        ProblemResult(task_id=f"humaneval/{place}", completions=n, passed=int(count))
        for place, count in enumerate(counts)
    ]


def test_only_finished_runs_are_recorded(filled):
    write(filled, [tuned_run("f" * 12, state="failed"), tuned_run("e" * 12, state="training")])

    assert queries.recorded_runs(filled) == {BASE, TUNED}


def test_a_result_has_the_agreed_fields(filled):
    best, _ = queries.scores(filled)

    assert list(dataclasses.asdict(best)) == FIELDS.split()
    assert (best.run, best.base, best.method, best.seed) == (TUNED, BASE, "lora", 1)
    assert (best.problems, best.completions, len(best.contract)) == (40, 2, 12)


def test_the_difference_comes_from_the_verdicts(filled):
    best, base = queries.scores(filled)
    tuned = passes([2 if place % 4 else 1 for place in range(40)])

    assert best.delta == difference_of(pairs_of(tuned, passes(PASSES_OF_BASE), 1))
    assert best.delta.verdict == "better"
    assert base.delta is None


def test_scores_of_one_experiment(filled):
    write(filled, [Experiment(name="bases", text="", runs=[BASE])])

    assert [result.run for result in queries.scores(filled, "bases")] == [BASE]
    with pytest.raises(LedgerError, match="it has bases, starter"):
        queries.scores(filled, "stater")


def test_a_base_judged_otherwise_is_not_comparable(ledger):
    write(ledger, [ASKING, JUDGING, OTHER, base_run(), tuned_run()])
    write(ledger, judged(BASE, PASSES_OF_BASE, judging=OTHER) + judged(TUNED, [2] * 40))

    best, _ = queries.scores(ledger)
    assert best.delta == NOT_COMPARABLE
    assert best.why == "judged with another seconds: 10 / none"


def test_a_base_asked_otherwise_is_not_comparable_and_says_in_what(ledger):
    spoken = Contract(id="asking000002", kind="asking", content={"form": "chat", "n": 2})
    write(ledger, [ASKING, spoken, JUDGING, base_run(), tuned_run()])
    write(ledger, judged(BASE, PASSES_OF_BASE, asking=spoken) + judged(TUNED, [2] * 40))

    best, _ = queries.scores(ledger)
    assert best.why == "asked with another form: alpaca / chat"


def test_families_come_from_the_problems_of_the_file_that_was_judged(ledger):
    rows = problems(40)
    for problem in rows:
        problem.family = f"family {problem.position % 8}"
    write(ledger, small_ledger())
    write(ledger, rows)

    best, _ = queries.standings(ledger)
    assert best.result.delta.method.endswith("over 8 families")
    assert len(set(best.per_problem.units)) == 8


def test_incomplete_coverage_is_not_comparable(filled):
    lost = score_row(TUNED, passes([2] * 39), asked=40)
    write(filled, [lost])

    best, base = queries.scores(filled)
    assert best.delta == NOT_COMPARABLE
    assert best.why == "39 of 40 problems of this run judged"
    assert (best.coverage, best.rank_low, base.rank_low) == (39 / 40, None, 1)


def test_a_base_without_a_score_gives_no_difference(ledger):
    write(ledger, [ASKING, JUDGING, base_run(), tuned_run(), *judged(TUNED, [2] * 40)])

    (only,) = queries.scores(ledger)
    assert only.delta is None


def test_rescoring_adds_results_and_keeps_the_old(filled):
    rescored = [verdict(answer_id(TUNED, place, 0), "failed", OTHER) for place in range(40)]
    write(filled, [OTHER, *rescored, score_row(TUNED, passes([0] * 40, 1), judging=OTHER)])

    found = queries.scores(filled)
    assert [result.value for result in found] == [0.875, 0.175, 0.0]
    assert len({result.contract for result in found}) == 2


def test_results_are_ranked_within_benchmark_and_metric(filled):
    more = [
        score_row(run, passes(counts), benchmark=benchmark, k=k)
        for run, counts in ((BASE, [1] * 9), (TUNED, [2] * 9))
        for benchmark, k in (("humaneval", 2), ("bench", 1))
    ]
    write(filled, more)

    order = [(r.benchmark, r.metric, r.run) for r in queries.scores(filled)]
    assert order == [
        ("bench", "pass@1", TUNED),
        ("bench", "pass@1", BASE),
        ("humaneval", "pass@1", TUNED),
        ("humaneval", "pass@1", BASE),
        ("humaneval", "pass@2", TUNED),
        ("humaneval", "pass@2", BASE),
    ]


def test_standings_can_be_narrowed(filled):
    assert queries.standings(filled, benchmark="mbpp") == []
    assert len(queries.standings(filled, benchmark="humaneval", metric="pass@1")) == 2
    (base,) = queries.standings(filled, run=BASE)
    assert (base.label, base.kind, base.asked) == ("falcon-tiny as it came", "base", 40)


def test_benchmarks_and_their_metrics(filled):
    more = [score_row(TUNED, passes([9] * 9, 10), k=k) for k in (10, 5)]
    write(filled, more)

    (benchmark,) = queries.benchmarks(filled)
    assert (benchmark.name, benchmark.problems) == ("humaneval", 40)
    assert benchmark.metrics == ["pass@1", "pass@5", "pass@10"]


def test_the_page_of_a_run(filled):
    page = queries.run_page(filled, TUNED)

    assert (page.run.state, page.run.last_step) == ("done", 60)
    assert page.run.provenance["commit"] == "0123abc"
    assert page.checkpoint.facts["zero_stage"] == 2
    assert [standing.result.run for standing in page.standings] == [TUNED]
    assert queries.run_page(filled, BASE).checkpoint is None
    assert queries.run_page(filled, "nowhere") is None


def test_steps_in_order(filled):
    steps = queries.steps(filled, TUNED)

    assert [step.step for step in steps] == list(range(1, 61))
    assert steps[-1].loss < steps[0].loss


def test_pages_of_answers_are_whole_and_disjoint(filled):
    pages = [
        queries.completions(filled, TUNED, "humaneval", limit=33, offset=offset)
        for offset in (0, 33, 66)
    ]
    found = [(answer.task_id, answer.position) for page in pages for answer in page]

    assert found == [(f"humaneval/{place}", position) for place in range(40) for position in (0, 1)]


def test_an_answer_comes_with_its_verdict_and_problem(filled):
    answer, *_ = queries.completions(filled, BASE, "humaneval", outcome="timed_out")

    assert (answer.task_id, answer.outcome) == ("humaneval/1", "timed_out")
    assert answer.detail.startswith("AssertionError")
    assert answer.prompt == "def separate_paren_groups(xs):\n"
    assert answer.instruction == "Write separate_paren_groups."


def test_an_answer_without_a_verdict_is_shown(ledger):
    write(ledger, [ASKING, base_run(), completion("a", BASE, "humaneval", 0, 0, ASKING)])

    (answer,) = queries.completions(ledger, BASE, "humaneval")
    assert (answer.outcome, answer.judging, answer.prompt) == (None, None, None)


def test_an_answer_judged_twice_can_be_asked_for_once(filled):
    twice = verdict(answer_id(TUNED, 0, 0), "failed", OTHER)
    write(filled, [OTHER, twice])

    assert len(queries.completions(filled, TUNED, "humaneval", limit=99)) == 81
    once = queries.completions(filled, TUNED, "humaneval", judging=JUDGING.id, limit=99)
    assert len(once) == 80


def test_outcomes_are_counted(filled):
    found = queries.outcomes(filled, TUNED, "humaneval", judging=JUDGING.id)

    assert found == {"passed": 70, "failed": 10}
    assert queries.outcomes(filled, TUNED, "mbpp") == {}


def test_answers_to_another_asking_are_left_out(filled):
    other = {"asking": "another-one!", "judging": JUDGING.id}

    assert queries.outcomes(filled, TUNED, "humaneval", **other) == {}
    assert queries.completions(filled, TUNED, "humaneval", **other) == []


def test_events_newest_first(filled):
    kinds = [event.kind for event in queries.events(filled, TUNED)]

    assert kinds == ["judged humaneval", "trained"]
    assert queries.events(filled, BASE) == []
    assert len(queries.events(filled, limit=1)) == 1


def test_active_runs_newest_first(filled):
    write(
        filled,
        [
            tuned_run("1" * 12, state="training", created_at=NOON),
            tuned_run("2" * 12, state="waiting", created_at=NOON + timedelta(hours=1)),
        ],
    )

    assert [run.id[0] for run in queries.runs(filled, active=True)] == ["2", "1"]
    assert len(queries.runs(filled)) == 4


CHANGES = {
    "a run": base_run("f" * 12, state="waiting"),
    "a state": base_run(state="judging"),
    "an event": Event(run=BASE, kind="failed", message="out of memory"),
    "a score": score_row(BASE, passes([1] * 9), k=2),
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_pulse_shows(change, filled):
    before = queries.pulse(filled)
    assert queries.pulse(filled) == before

    row = CHANGES[change]
    write(filled, [type(row)(**{c.name: getattr(row, c.name) for c in row.__table__.columns})])
    assert queries.pulse(filled) != before


def test_contracts_can_be_read(filled):
    assert queries.contract(filled, ASKING.id) == ASKING.content
    assert queries.contract(filled, "nowhere") is None


def test_experiments_newest_first(filled):
    later = Experiment(name="later", text="", runs=[], recorded_at=NOON + timedelta(days=9999))
    write(filled, [later])

    assert queries.experiments(filled) == ["later", "starter"]


def test_an_empty_ledger_answers(ledger):
    assert queries.scores(ledger) == queries.runs(ledger) == queries.benchmarks(ledger) == []
    assert queries.pulse(ledger).changed_at is None
