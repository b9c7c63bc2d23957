"""Problems to try again, from the ledger to the form; on both databases."""

import json

from plausible_rows import ASKING, BASE, JUDGING, TUNED, base_run, problems, tuned_run

from database import write
from database.failed_problems import FailedProblem, ProblemText, failed_problems, problem_text
from database.schema import Contract, Tally
from leaderboard.own_cases import read_tests
from leaderboard.stored_problems import as_own


def tally(run, task_id, passed, judging=JUDGING.id):
    names = {"benchmark": "humaneval", "asking": ASKING.id, "judging": judging}
    return Tally(**names, run=run, task_id=task_id, completions=2, passed=passed)


def test_what_the_tuned_model_failed_is_listed_with_what_its_base_solved_first(ledger):
    other = Contract(id="judging00002", kind="judging", content={})
    rows = [ASKING, JUDGING, other, base_run(), tuned_run()]
    outcomes = {"0": (2, 0), "1": (0, 0), "2": (1, 0), "3": (2, 1), "4": (2, 2)}
    for task_id, (base, tuned) in outcomes.items():
        rows += [tally(BASE, task_id, base), tally(TUNED, task_id, tuned)]
    rows += [tally(BASE, "0", 1, other.id), tally(TUNED, "0", 0, other.id)]
    rows += [tally(TUNED, "9", 0)]
    write(ledger, rows)

    found = failed_problems(ledger, TUNED, BASE)

    assert [(one.task_id, one.base_passed) for one in found] == [("0", 2), ("2", 1), ("1", 0)]
    assert found[0] == FailedProblem(
        benchmark="humaneval",
        judging=JUDGING.id,
        task_id="0",
        completions=2,
        base_passed=2,
        base_completions=2,
    )
    assert failed_problems(ledger, BASE, TUNED) == [
        FailedProblem(
            benchmark="humaneval",
            judging=JUDGING.id,
            task_id="1",
            completions=2,
            base_passed=0,
            base_completions=2,
        )
    ]


def test_a_problem_is_read_by_name(ledger):
    write(ledger, problems(2))

    assert problem_text(ledger, "humaneval", "humaneval/1").prompt.startswith("def separate_paren")
    assert problem_text(ledger, "humaneval", "humaneval/2") is None


def test_of_two_versions_the_problem_is_that_of_the_contract_it_failed_under(ledger):
    of_digest = {digest: f"judging-{digest[0]}" for digest in ("a" * 64, "b" * 64)}
    versions = []
    for digest, judging in of_digest.items():
        (problem,) = problems(1)
        problem.digest, problem.instruction = digest, judging
        content = {"sha256": digest}
        versions += [problem, Contract(id=judging, kind="judging", content=content)]
    write(ledger, versions)

    for judging in of_digest.values():
        assert problem_text(ledger, "humaneval", "humaneval/0", judging).instruction == judging


def stored(*tests, prompt="def f(x):\n", **more):
    told = {"task_id": "1", "instruction": "Do.", "prompt": prompt, "reference": ""} | more
    return as_own(ProblemText(tests="\n".join(map(json.dumps, tests)), **told))


def test_stored_tests_are_written_as_people_type_them():
    calls = [{"args": [1], "kwargs": {}, "expected": 2}]
    script = {"source": "def check(c):\n    assert c(1) == 2\ncheck(f)"}

    assert read_tests(stored(*calls).typed).tests == tuple(calls)
    assert read_tests(stored(*calls).typed).entry_point == "f"
    assert read_tests(stored(script).typed).tests == (script["source"],)
    assert stored({"source": "assert f(1) == 2"}).typed == "f(1) == 2"
    reference = stored(*calls, prompt="", reference="import re\ndef g(x): pass\n")
    assert reference.entry_point == "g"


def test_tests_that_cannot_be_said_in_full_are_left_out():
    call = {"args": [1], "kwargs": {}, "expected": 2}

    assert stored({"name": "plus", "inputs": [[1]], "rule": "equal"}).tests == ()
    assert stored(call, prompt="").tests == ()
    cut = ProblemText(
        task_id="1",
        instruction="Do.",
        prompt="def f(x):\n",
        tests=json.dumps(call) + "\n... 3 more tests are not shown",
        reference="",
    )
    assert as_own(cut).tests == ()
