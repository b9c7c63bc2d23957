"""A user's own test cases, put to answers by a real server in a real sandbox."""

import json
import threading

import httpx
import pytest
from test_serve import PATIENCE, Scripted, served

from database.session import open_ledger
from jobs.cases import read_cases
from jobs.judge_desk import MOST_BYTES, WAITING, JudgeDesk

ADD = "def add(a, b):\n    return a + b\n"
CASES = [
    {"args": [1, 2], "kwargs": {}, "expected": 3},
    "assert add('a', 'b') == 'ab'",
]
SPIN = "def add(a, b):\n    while True: pass\n"


@pytest.fixture
def ledger(tmp_path):
    engine = open_ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
    yield engine
    engine.dispose()


@pytest.fixture
def judge(tmp_path, ledger):
    """Post a body to /judge of a running server."""
    with (
        served(tmp_path, ledger, Scripted()) as address,
        httpx.Client(base_url=address, timeout=60, trust_env=False) as client,
    ):
        yield lambda **body: client.post("/judge", json=body)


VERDICTS = {
    "a whole program": ({"program": ADD, "entry_point": "add"}, "passed"),
    "a body that continues the signature": (
        {"completion": "\n    return a + b", "signature": "def add(a, b):"},
        "passed",
    ),
    "a chat answer": (
        {"completion": f"Sure!\n```python\n{ADD}```\nDone.", "entry_point": "add"},
        "passed",
    ),
    "a wrong program": ({"program": ADD.replace("+", "-"), "entry_point": "add"}, "failed"),
    "a program that leaves": ({"program": "raise SystemExit(0)", "entry_point": "add"}, "failed"),
    "no program": ({"program": "", "entry_point": "add"}, "failed"),
}


@pytest.mark.parametrize("body, outcome", VERDICTS.values(), ids=VERDICTS)
def test_the_verdict_on(judge, body, outcome):
    verdict = judge(**body, tests=CASES).json()

    assert set(verdict) == {"outcome", "detail", "cpu_seconds", "wall_seconds"}
    assert verdict["outcome"] == outcome, verdict
    assert 0 <= verdict["cpu_seconds"] <= verdict["wall_seconds"] < PATIENCE


def test_a_wrong_result_is_told_beside_the_expected_one(judge):
    verdict = judge(program=ADD.replace("+", "-"), entry_point="add", tests=CASES).json()

    assert "returned -1, expected 3" in verdict["detail"]


def test_a_program_that_reads_and_prints_is_judged_by_its_output(judge):
    tests = [{"stdin": "2 3\n", "stdout": "5\n"}]
    program = "print(sum(map(int, input().split())))"

    assert judge(program=program, tests=tests).json()["outcome"] == "passed"


WRONG = {
    "no tests": ({"program": ADD, "tests": []}, 400, "tests: "),
    "a test that is no Python": ({"program": ADD, "tests": ["assert add("]}, 400, "not Python"),
    "a call without a function": (
        {"program": ADD, "tests": [CASES[0]]},
        400,
        "tests with 'args' call a function",
    ),
    "a misspelt field of a test": (
        {"program": ADD, "entry_point": "add", "tests": [{"arg": [1], "expected": 1}]},
        400,
        "did you mean 'args'",
    ),
    "a misspelt key": ({"programme": ADD, "tests": CASES}, 400, "programme"),
    "neither program nor completion": ({"tests": CASES}, 400, "either completion or program"),
    "a test that no compiler takes": (
        {"program": ADD, "tests": ["assert " + "-" * 90_000 + "1"]},
        400,
        "nested too deeply",
    ),
    "a body of megabytes": ({"program": ADD, "tests": ["#" * MOST_BYTES]}, 413, "KiB"),
}


@pytest.mark.parametrize("body, status, told", WRONG.values(), ids=WRONG)
def test_a_wrong_question_is_refused_with_the_reason(judge, body, status, told):
    reply = judge(**body)

    assert reply.status_code == status
    assert told in reply.json()["error"]["message"]


def test_answers_wait_for_one_sandbox_and_too_many_are_told_to_come_back(tmp_path, ledger):
    replies = []

    def ask(address):
        body = {"program": SPIN, "tests": ["assert add(1, 2) == 3"]}
        replies.append(httpx.post(f"{address}/judge", json=body, timeout=60, trust_env=False))

    with served(tmp_path, ledger, Scripted(), judge_desk=JudgeDesk(waiting=1)) as address:
        askers = [threading.Thread(target=ask, args=(address,)) for _ in range(4)]
        for asker in askers:
            asker.start()
        for asker in askers:
            asker.join()

    assert sorted(reply.status_code for reply in replies) == [200, 200, 429, 429]
    judged = [reply.json()["outcome"] for reply in replies if reply.status_code == 200]
    assert judged == ["timed_out", "timed_out"]
    busy = next(reply for reply in replies if reply.status_code == 429)
    assert int(busy.headers["retry-after"]) > 0
    assert WAITING > 0


def test_judging_needs_the_token_and_a_name_of_this_machine(tmp_path, ledger):
    body = {"program": ADD, "entry_point": "add", "tests": CASES}
    with served(tmp_path, ledger, Scripted(), token="secret") as address:
        ask = {"url": f"{address}/judge", "json": body, "timeout": PATIENCE, "trust_env": False}
        bearer = {"Authorization": "Bearer secret"}

        assert httpx.post(**ask).status_code == 401
        assert httpx.post(**ask, headers=bearer | {"Host": "evil.example"}).status_code == 403
        assert httpx.post(**ask, headers=bearer).json()["outcome"] == "passed"


def test_one_file_of_cases_is_a_benchmark_and_is_judged_here(judge, tmp_path):
    record = {
        "task_id": "mine/1",
        "instruction": "Add two things.",
        "signature": "def add(a, b):",
        "entry_point": "add",
        "tests": CASES,
        "reference": ADD,
    }
    path = tmp_path / "mine.jsonl"
    path.write_text(json.dumps(record) + "\n")

    (problem,) = read_cases("custom", path)
    (line,) = map(json.loads, path.read_text().splitlines())
    body = {key: line[key] for key in ("signature", "entry_point", "tests")}

    assert judge(program=problem.reference, **body).json()["outcome"] == "passed"
    assert judge(program=ADD.replace("+", "*"), **body).json()["outcome"] == "failed"
