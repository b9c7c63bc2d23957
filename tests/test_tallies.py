"""Tallies of verdicts: written with scores, filled in old ledgers, read in the file's order."""

from hashlib import sha256
from pathlib import Path

import pytest
from migrating import alembic
from plausible_rows import (
    ASKING,
    BASE,
    JUDGING,
    TUNED,
    answer_id,
    base_run,
    completion,
    judged,
    problems,
    small_ledger,
    verdict,
)
from sqlalchemy import create_engine, select, text

from database import open_ledger, write
from database.schema import Answered, Contract
from database.session import ledger_url as normalised
from database.tallies import count_verdicts, tallies
from eval_sandbox.verdict import Outcome, Verdict
from jobs.answers import Answer
from jobs.experiment import short_hash
from jobs.loading import load
from jobs.record import Recorder

SMOKE = Path(__file__).parents[1] / "experiments" / "smoke.yaml"
HUMANEVAL = {"benchmark": "humaneval", "asking": ASKING.id, "judging": JUDGING.id}
OTHER = Contract(id="judging00002", kind="judging", content={})


@pytest.fixture
def filled(ledger):
    write(ledger, small_ledger())
    return ledger


def counts(results):
    return [(r.task_id, r.completions, r.passed) for r in results]


def test_a_sandbox_error_is_not_a_failure_of_the_model(filled):
    broken = [verdict(answer_id(TUNED, 0, 1), "sandbox_error")]
    broken += [verdict(answer_id(TUNED, 1, position), "sandbox_error") for position in range(2)]
    write(filled, broken)

    found = count_verdicts(filled, run=TUNED, **HUMANEVAL)
    assert counts(found)[:2] == [("humaneval/0", 1, 1), ("humaneval/2", 2, 2)]
    assert len(found) == 39


def test_problems_come_in_the_order_of_the_file_with_their_families(filled):
    rows = problems(40)
    for problem in rows:
        problem.position, problem.family = 39 - problem.position, f"family {problem.task_id[-1]}"
    write(filled, rows)

    found = tallies(filled, **HUMANEVAL)
    assert found.keys() == {BASE, TUNED}
    for results in found.values():
        assert [r.task_id for r in results] == [f"humaneval/{place}" for place in range(39, -1, -1)]
        assert [r.family for r in results[:2]] == ["family 9", "family 8"]


def test_only_the_runs_and_the_contract_asked_for_are_read(filled):
    write(filled, [OTHER, *judged(BASE, [1, 2], judging=OTHER)])

    assert tallies(filled, **HUMANEVAL, runs=[TUNED]).keys() == {TUNED}
    (other,) = tallies(filled, **HUMANEVAL | {"judging": OTHER.id}).values()
    assert counts(other) == [("humaneval/0", 2, 1), ("humaneval/1", 2, 2)]
    assert tallies(filled, **HUMANEVAL | {"benchmark": "mbpp"}) == {}
    assert tallies(filled, **HUMANEVAL, runs=[]) == {}


def test_a_judged_run_leaves_the_tallies_of_its_verdicts(ledger):
    smoke = load(SMOKE)
    run, *_ = smoke.runs()
    (benchmark,) = smoke.benchmarks
    recorder = Recorder(ledger, smoke)
    recorder.begin([run])
    first, second, *others = benchmark.problems
    outcomes = [Outcome.PASSED, Outcome.TIMED_OUT, *[Outcome.FAILED] * 2 * (1 + len(others))]
    answers = [
        Answer(task_id=p.task_id, position=place, text="", whole=False, tokens=1, finish="end")
        for p in benchmark.problems
        for place in range(2)
    ]
    recorder.judged(run, benchmark, answers, [spent(outcome) for outcome in outcomes])

    contract = {
        "benchmark": benchmark.name,
        "asking": short_hash(benchmark.asked_of(run)),
        "judging": short_hash(benchmark.judging_content),
    }
    (found,) = tallies(ledger, **contract).values()
    assert counts(found)[:2] == [(first.task_id, 2, 1), (second.task_id, 2, 0)]
    assert found == count_verdicts(ledger, run=run.id, **contract)


def spent(outcome):
    return Verdict(outcome=outcome, cpu_seconds=0.1, wall_seconds=0.1)


OLD_ROWS = (
    *(
        "INSERT INTO runs (id, label, kind, model, seed, state, spec, provenance, created_at) "
        f"VALUES ('{run}', 'old', 'base', 'm', 0, 'done', '{{}}', '{{}}', "
        "'2026-01-01 00:00:00+00:00')"
        for run in (BASE, TUNED)
    ),
    *(
        f"INSERT INTO contracts (id, kind, content) VALUES ('{name}', '{kind}', '{{}}')"
        for name, kind in (("asking000001", "asking"), ("j1", "judging"), ("j2", "judging"))
    ),
)
OLD_VERDICTS = {
    # completion: run, problem, position, text, finish, outcomes under j1 and j2; None: not judged
    "c1": (BASE, "p/1", 0, " \t", "end", "passed", "passed"),
    "c2": (BASE, "p/1", 1, "no program", "end", "failed", "passed"),
    "c3": (BASE, "p/2", 1, "x", "length", "sandbox_error", "timed_out"),
    "c4": (BASE, "p/2", 2, "y", "stop", "crashed", None),
    "c5": (TUNED, "p/1", 0, "größer", "end", "sandbox_error", None),
    "c6": (TUNED, "p/2", 1, "z", "end", "passed", None),
}
BY_HAND = {
    ("j1", BASE, "p/1", 2, 1),
    ("j1", BASE, "p/2", 1, 0),
    ("j1", TUNED, "p/2", 1, 1),
    ("j2", BASE, "p/1", 2, 2),
    ("j2", BASE, "p/2", 1, 0),
}


def old_answers():
    for key, (run, problem, place, said, finish, *outcomes) in OLD_VERDICTS.items():
        yield (
            "INSERT INTO completions (id, run, benchmark, task_id, position, asking, text, whole, "
            f"tokens, finish) VALUES ('{key}', '{run}', 'b', '{problem}', {place}, "
            f"'asking000001', '{said}', false, 1, '{finish}')"
        )
        for judging, outcome in zip(("j1", "j2"), outcomes, strict=True):
            extracted = "false" if (said, judging) == ("no program", "j1") else "null"
            if outcome is not None:
                yield (
                    "INSERT INTO verdicts (completion, judging, outcome, cpu_seconds, "
                    "wall_seconds, detail, extracted) VALUES "
                    f"('{key}', '{judging}', '{outcome}', 0, 0, '', {extracted})"
                )


def test_an_old_ledger_gains_the_tallies_of_its_verdicts(ledger_url):
    old = create_engine(normalised(ledger_url))
    alembic(old, "upgrade", "0004")
    with old.begin() as connection:
        for statement in (*OLD_ROWS, *old_answers()):
            connection.execute(text(statement))
    old.dispose()

    engine = open_ledger(ledger_url)
    with engine.connect() as connection:
        found = connection.execute(
            text(
                "SELECT judging, run, task_id, completions, passed, benchmark, asking FROM tallies"
            )
        ).all()
    assert {tuple(row)[:5] for row in found} == BY_HAND
    assert len(found) == len(BY_HAND)
    assert {tuple(row)[5:] for row in found} == {("b", "asking000001")}
    with engine.connect() as connection:
        counted = connection.execute(select(Answered.__table__)).all()
    assert {
        (r.judging, r.run): (r.answers, r.blank, r.cut, r.without_program) for r in counted
    } == {("j1", BASE): (4, 1, 1, 1), ("j2", BASE): (3, 1, 1, 0), ("j1", TUNED): (2, 0, 0, 0)}
    assert {r.run: r.first for r in counted} == {
        BASE: {"p/1": sha256(b" \t").hexdigest()[:8]},
        TUNED: {"p/1": sha256("größer".encode()).hexdigest()[:8]},
    }
    engine.dispose()


def test_without_a_stored_problem_results_are_in_the_order_of_their_ids(ledger):
    write(ledger, [ASKING, JUDGING, base_run(), *judged(BASE, [1] * 11)])

    (found,) = tallies(ledger, **HUMANEVAL).values()
    names = [f"humaneval/{place}" for place in range(11)]
    assert [r.task_id for r in found] == sorted(names)
    extra = completion("x" * 20, BASE, "humaneval", 99, 0, ASKING)
    write(ledger, [*problems(11), extra, verdict("x" * 20, "passed")])
    recounted = count_verdicts(ledger, run=BASE, **HUMANEVAL)
    assert [r.task_id for r in recounted] == ["humaneval/99", *names]
