"""What pages of evidence read of problems and answers, on both databases."""

from datetime import UTC, date, datetime

import pytest
import scipy.stats
from plausible_rows import (
    ASKING,
    BASE,
    DIGEST,
    JUDGING,
    TUNED,
    answer_id,
    completion,
    judged,
    small_ledger,
    tuned_run,
    verdict,
)
from sqlalchemy import event, text

from database import write
from database.completions import (
    Answers,
    Neighbours,
    answers_number,
    answers_page,
    completion_page,
    neighbours,
)
from database.problems import (
    Solved,
    answers_to,
    contracts,
    digest_of,
    mentioning,
    problem,
    problem_names,
    scored_runs,
    solved_by,
    touched_by,
)
from database.schema import Contract, Dataset, Problem, PublishedVerdict, Touch
from database.suspects import suspicions

CONTRACT = (ASKING.id, JUDGING.id)
OF_TUNED = Answers(run=TUNED, benchmark="humaneval", asking=ASKING.id, judging=JUDGING.id)


@pytest.fixture
def filled(ledger):
    write(ledger, small_ledger())
    return ledger


def test_the_contract_that_most_runs_were_scored_under_is_first(filled):
    other = Contract(id="judging00002", kind="judging", content={})
    again = [verdict(answer_id(BASE, place, 0), "failed", other) for place in range(40)]
    write(filled, [other, *again, judged(BASE, [0] * 40, judging=other)[-1]])

    found = contracts(filled, "humaneval")

    assert [(one.judging, one.runs) for one in found] == [("judging00001", 2), ("judging00002", 1)]
    assert contracts(filled, "nothing") == []


def test_scored_runs_come_with_their_score_the_best_first(filled):
    found = scored_runs(filled, "humaneval", *CONTRACT)

    assert [(one.id, one.base_run, one.metric) for one in found] == [
        (TUNED, BASE, "pass@1"),
        (BASE, None, "pass@1"),
    ]
    assert found[0].value == pytest.approx(0.875)


def test_problems_come_in_the_order_of_their_file(filled):
    names = problem_names(filled, "humaneval", digest_of(filled, JUDGING.id))

    assert [one.task_id for one in names] == [f"humaneval/{place}" for place in range(40)]
    assert digest_of(filled, "nowhere") == ""


def test_a_search_looks_in_names_and_instructions_and_takes_no_wildcards(filled):
    def found(words):
        return mentioning(filled, "humaneval", DIGEST, words)

    assert found("AL/3") == {"humaneval/3", *(f"humaneval/{place}" for place in range(30, 40))}
    assert len(found("BELOW_zero")) == 10
    assert found("%") == set()


def test_a_problem_knows_its_neighbours_in_the_file(filled):
    first, last = (problem(filled, "humaneval", DIGEST, f"humaneval/{n}") for n in (0, 39))

    assert (first.previous, first.following) == (None, "humaneval/1")
    assert (last.previous, last.following) == ("humaneval/38", None)
    assert first.instruction == "Write has_close_elements."
    assert problem(filled, "humaneval", DIGEST, "humaneval/40") is None


def test_how_often_each_run_solved_a_problem(filled):
    assert solved_by(filled, [TUNED, BASE], "humaneval", *CONTRACT, "humaneval/3") == {
        TUNED: Solved(completions=2, passed=2),
        BASE: Solved(completions=2, passed=1),
    }


def test_the_answers_of_a_run_to_a_problem(filled):
    found = answers_to(filled, TUNED, "humaneval", "humaneval/4", *CONTRACT)

    assert [(one.position, one.outcome) for one in found] == [(0, "passed"), (1, "failed")]


def test_datasets_that_touch_a_problem(filled):
    counts = {"rows_in": 9, "rows_out": 9, "duplicates": 0, "contaminated": 0}
    data = Dataset(digest="e" * 12, name="mine", report={}, licence="MIT", **counts)
    touch = Touch(dataset="e" * 12, benchmark="humaneval", benchmark_digest=DIGEST,
                  task_id="humaneval/3", method="substring", rows=2, trained_on=1)  # fmt: skip
    write(filled, [data, touch])

    (found,) = touched_by(filled, "humaneval", DIGEST, "humaneval/3")

    assert (found.name, found.method, found.rows, found.trained_on) == ("mine", "substring", 2, 1)
    assert touched_by(filled, "humaneval", DIGEST, "humaneval/4") == []


def test_an_answer_comes_with_its_verdicts_and_what_its_publisher_says(filled):
    other = Contract(id="judging00002", kind="judging", content={"seconds": 1})
    key = answer_id(TUNED, 4, 1)
    write(filled, [other, verdict(key, "passed", other),
                   PublishedVerdict(completion=key, passed=True, detail="ok")])  # fmt: skip

    page = completion_page(filled, key)

    assert (page.facts.run, page.facts.task_id, page.facts.position) == (TUNED, "humaneval/4", 1)
    assert page.asking == {"form": "alpaca", "n": 2}
    assert [(v.judging, v.outcome) for v in page.verdicts] == [
        ("judging00001", "failed"),  # it is scored
        ("judging00002", "passed"),
    ]
    assert page.verdicts[1].content == {"seconds": 1}
    assert page.claim.passed and page.claim.detail == "ok"
    assert completion_page(filled, "nowhere") is None


def test_the_neighbours_of_an_answer_go_from_problem_to_problem(filled):
    def beside(place, position):
        page = completion_page(filled, answer_id(TUNED, place, position))
        return neighbours(filled, page.facts, DIGEST)

    assert beside(0, 0) == Neighbours(previous=None, following=answer_id(TUNED, 0, 1))
    assert beside(3, 1) == Neighbours(
        previous=answer_id(TUNED, 3, 0), following=answer_id(TUNED, 4, 0)
    )
    assert beside(4, 0).previous == answer_id(TUNED, 3, 1)
    assert beside(39, 1).following is None


def test_neighbours_pass_over_problems_that_a_run_was_not_asked(ledger):
    write(ledger, small_ledger()[:4])
    unanswered = Problem(benchmark="humaneval", digest=DIGEST, task_id="humaneval/x", position=1,
                         family="", instruction="", prompt="", tests="")  # fmt: skip
    asked = [Problem(benchmark="humaneval", digest=DIGEST, task_id=f"humaneval/{place}",
                     position=place, family="", instruction="", prompt="", tests="",
                     released=date(2024, 1, 1)) for place in (0, 2)]  # fmt: skip
    keys = {place: answer_id(BASE, place, 0) for place in (0, 2)}
    answers = [completion(key, BASE, "humaneval", place, 0, ASKING) for place, key in keys.items()]
    write(ledger, [unanswered, *asked, *answers])

    page = completion_page(ledger, keys[0])

    assert neighbours(ledger, page.facts, DIGEST).following == keys[2]


def test_a_page_of_answers_is_in_the_order_of_the_file_and_cuts_long_texts(filled):
    second = answers_page(filled, OF_TUNED, limit=3, offset=3, characters=10)

    assert [(a.task_id, a.position) for a in second] == [
        ("humaneval/1", 1),
        ("humaneval/2", 0),
        ("humaneval/2", 1),
    ]
    assert second[0].text == "    return"
    assert second[0].prompt == "def separa"


def test_a_page_of_answers_with_one_outcome(filled):
    failed = answers_page(filled, OF_TUNED, outcome="failed", limit=50, characters=10)

    assert len(failed) == 10
    assert {a.outcome for a in failed} == {"failed"}


SHARES = [[place > run for place in range(12)] + [run < 4] for run in range(9)]


def test_a_suspect_correlates_with_skill_as_scipy_says():
    found = suspicions(SHARES)

    for place, suspicion in enumerate(found):
        mine = [row[place] for row in SHARES]
        if len(set(mine)) == 1:
            assert suspicion is None
            continue
        others = [sum(row) - row[place] for row in SHARES]
        said = scipy.stats.pointbiserialr(mine, others)
        below = scipy.stats.pearsonr(mine, others, alternative="less").pvalue
        assert suspicion.correlation == pytest.approx(said.statistic)
        assert suspicion.p == pytest.approx(below)


def test_only_what_better_runs_fail_is_suspect():
    against = [[*row[:12], not row[12]] for row in SHARES]

    assert not any(s.suspect for s in suspicions(SHARES) if s)
    assert suspicions(against)[12].suspect
    assert [s.suspect for s in suspicions(against) if s].count(True) == 1


def test_a_handful_of_runs_suspects_nothing():
    assert suspicions(SHARES[:7]) == [None] * 13
    assert suspicions([]) == []


MANY = 12
ASKED = {
    "solved by": lambda ledger: solved_by(
        ledger, [TUNED, BASE], "humaneval", *CONTRACT, "humaneval/3"
    ),
    "answers to": lambda ledger: answers_to(ledger, TUNED, "humaneval", "humaneval/3", *CONTRACT),
    "completion": lambda ledger: completion_page(ledger, answer_id(TUNED, 3, 0)),
    "neighbours": lambda ledger: neighbours(
        ledger, completion_page(ledger, answer_id(TUNED, 3, 1)).facts, DIGEST
    ),
    "answers": lambda ledger: answers_number(ledger, OF_TUNED),
}


def test_no_query_of_a_page_scans_completions_verdicts_or_tallies(filled):
    ids = [f"{number:012x}" for number in range(MANY)]
    now = datetime(2026, 11, 1, tzinfo=UTC)
    rows = [tuned_run(run, seed=number, created_at=now) for number, run in enumerate(ids)]
    rows += [row for run in ids for row in _renamed(judged(run, [1] * 40), run)]
    write(filled, rows)
    said = []

    def note(connection, cursor, statement, parameters, context, executemany):
        if statement.startswith("SELECT"):
            said.append((statement, parameters))

    event.listen(filled, "before_cursor_execute", note)
    for asked in ASKED.values():
        asked(filled)
    event.remove(filled, "before_cursor_execute", note)

    assert len(said) >= len(ASKED)
    with filled.connect().execution_options(writes=True) as connection, connection.begin():
        connection.execute(text("ANALYZE"))
        form = "EXPLAIN QUERY PLAN"
        if filled.dialect.name == "postgresql":  # scans where nothing else can be done
            connection.execute(text("SET LOCAL enable_seqscan = off"))
            form = "EXPLAIN"
        for statement, parameters in said:
            plan = connection.exec_driver_sql(f"{form} {statement}", parameters).all()
            lines = [" ".join(map(str, row)) for row in plan]
            for table in ("completions", "verdicts", "tallies"):
                scans = f"Seq Scan on {table}", f"SCAN {table}"
                assert not any(scan in line for line in lines for scan in scans), lines


def _renamed(rows, run):
    """Answers of runs whose ids share the letters that `answer_id` takes."""
    place = int(run, 16)
    for row in rows:
        for name in ("id", "completion"):
            value = getattr(row, name, None)
            if value is not None and row.__tablename__ in ("completions", "verdicts"):
                setattr(row, name, f"{place:03}{value[3:]}")
        yield row
