"""A user's own test cases, put to answers by a real server in a real sandbox."""

import json
import threading

import httpx
import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest
from test_serve import PATIENCE, Scripted, ledger, served

from eval_sandbox.contract import Judging
from eval_sandbox.judge import Worker
from eval_sandbox.problem import Completion
from jobs.cases import read_cases
from jobs.data.crew import Alone
from jobs.data.recipe import DatasetRecipe
from jobs.data.row import stream
from jobs.experiment import Dataset
from jobs.home import Home
from jobs.judge_desk import MOST_BYTES, WAITING, JudgeDesk
from jobs.prepare import prepare
from jobs.recipes import sha256_of
from leaderboard.own_cases import CasesError, problems_in, read_tests

__all__ = ["ledger"]

ADD = "def add(a, b):\n    return a + b\n"
CASES = [
    {"args": [1, 2], "kwargs": {}, "expected": 3},
    "assert add('a', 'b') == 'ab'",
]
SPIN = "def add(a, b):\n    while True: pass\n"


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


def test_one_file_of_cases_is_a_benchmark_a_filter_and_is_judged_here(judge, tmp_path):
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
    wrong = ADD.replace("+", "*")

    (problem,) = read_cases("custom", path)
    with Worker() as worker:
        as_benchmark = [
            worker.judge(problem, answer, Judging()).outcome.value
            for answer in map(whole, (ADD, wrong))
        ]
    (line,) = map(json.loads, path.read_text().splitlines())
    body = {key: line[key] for key in ("signature", "entry_point", "tests")}
    tried = [judge(program=p, **body).json()["outcome"] for p in (ADD, wrong)]

    assert as_benchmark == tried == ["passed", "failed"]
    assert trained_on(tmp_path, path, ADD, wrong) == [ADD]


def whole(program):
    return Completion(task_id="mine/1", text=program, whole=True)


def trained_on(folder, cases, *programs):
    """The programs that are left of a dataset which a file of test cases filters."""
    rows = folder / "rows.jsonl"
    records = [{"instruction": "Add two things.", "response": program} for program in programs]
    rows.write_text("".join(json.dumps(record) + "\n" for record in records))
    pins = [{"file": str(path), "sha256": sha256_of(path)} for path in (rows, cases)]
    recipe = DatasetRecipe(
        description="d",
        sources={"mine": {**pins[0], "licence": "MIT"}},
        execution={"cases": pins[1]},
    )
    dataset = Dataset(name="d", recipe=recipe)
    prepared = prepare(dataset, Home(folder / "home"), Alone(), lambda *_: None)
    return [row.response for row in stream(prepared.shards())]


def test_a_host_that_cannot_isolate_says_so_and_judges_nothing(judge, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    reply = judge(program=ADD, entry_point="add", tests=CASES)

    assert reply.status_code == 503
    assert "bwrap is not installed" in reply.json()["error"]["message"]


@pytest.fixture
def page(tmp_path, ledger, monkeypatch):
    """The page beside a real server, whose models answer the question of the form."""
    answer = Scripted(words=("\n    return ", "sum(n * n for n in numbers if n % 2 == 0)"))
    with served(tmp_path, ledger, answer) as address:
        monkeypatch.setenv("CODELADDER_SERVE_URL", address)
        st.cache_resource.clear()
        yield AppTest.from_function(try_script, default_timeout=60).run()
        st.cache_resource.clear()


def try_script():
    from leaderboard import try_page

    try_page.show()


def press(page, label):
    next(button for button in page.button if button.label == label).click().run()
    assert not page.exception, page.exception


def verdicts(page):
    return [block.value for block in page.markdown if "of CPU" in block.value]


def test_my_cases_run_on_every_answer(page):
    assert next(b for b in page.button if b.label == "Run in the sandbox").disabled
    press(page, "Ask")
    press(page, "Run in the sandbox")

    assert ["passed" in told for told in verdicts(page)] == [True, True]


def test_a_failing_case_is_told_as_text(page):
    press(page, "Ask")
    page.text_area(key="cases").set_value("sum_even_squares([2]) == '**<b>5</b>**'").run()
    press(page, "Run in the sandbox")

    assert all("failed" in told for told in verdicts(page))
    details = [block.value for block in page.code if "AssertionError" in block.value]
    assert len(details) == 2
    assert not any("<b>" in block.value for block in page.markdown)


def test_a_line_that_is_no_test_is_named_before_anything_runs(page):
    press(page, "Ask")
    page.text_area(key="cases").set_value("sum_even_squares([2]) == 4\n3, 4").run()
    press(page, "Run in the sandbox")

    assert [error.value.replace("\\", "") for error in page.error] == [
        "line 2: 3, 4 is always true; write f(1, 2) == 3"
    ]
    assert not verdicts(page)


def test_verdicts_go_with_the_next_question(page):
    press(page, "Ask")
    press(page, "Run in the sandbox")
    press(page, "Ask")

    assert not verdicts(page)


def test_a_problem_of_my_file_fills_the_form_and_is_judged(page):
    record = {
        "task_id": "mine/1",
        "instruction": "Sum the squares.",
        "signature": "def total(numbers):",
        "entry_point": "total",
        "tests": [{"args": [[1, 2, 4]], "kwargs": {}, "expected": 20}],
    }
    content = json.dumps(record | {"task_id": "mine/0"}) + "\n" + json.dumps(record)
    page.file_uploader(key="file").set_value(("mine.jsonl", content.encode(), "")).run()
    page.selectbox(key="file_problem").set_value(1).run()
    press(page, "Use it")

    assert page.text_area(key="ask").value == "Sum the squares."
    assert page.text_area(key="signature").value == "def total(numbers):"
    press(page, "Ask")
    press(page, "Run in the sandbox")
    assert ["passed" in told for told in verdicts(page)] == [True, True]


TYPED = {
    "lines": ("f(1) == 2\n\n# why\nassert f(2) > 3 ", ("assert f(1) == 2", "assert f(2) > 3")),
    "one test as JSON": ('{"args": [1], "expected": 2}', ({"args": [1], "expected": 2},)),
    "a list as JSON": (' [{"stdin": "", "stdout": "1"}]', ({"stdin": "", "stdout": "1"},)),
    "a problem as JSON": ('{"entry_point": "f", "tests": ["assert f()"]}', ("assert f()",)),
}


@pytest.mark.parametrize("typed, tests", TYPED.values(), ids=TYPED)
def test_test_cases_are_read_from(typed, tests):
    assert read_tests(typed).tests == tests


@pytest.mark.parametrize("typed, _", TYPED.values(), ids=TYPED)
def test_what_was_read_reads_the_same_when_it_is_typed_again(typed, _):
    read = read_tests(typed)

    assert read_tests(read.typed).tests == read.tests


UNREADABLE = {
    "nothing": ("# only a remark", "no test cases yet"),
    "an assignment": ("f(1) = 2", "line 1: f(1) = 2 is no test"),
    "no call": ("1 + 1 == 2", "calls nothing"),
    "a message that is always true": ("f(1), 'message'", "is always true"),
    "broken JSON": ("[1, ", "this is not JSON"),
    "no list": ('{"tests": {}}', "'tests' has to be a list"),
}


@pytest.mark.parametrize("typed, told", UNREADABLE.values(), ids=UNREADABLE)
def test_a_mistake_in_test_cases_is_told(typed, told):
    with pytest.raises(CasesError) as raised:
        read_tests(typed)
    assert told in str(raised.value)


FILES = {
    "an empty file": (b"", "there is nothing in the file"),
    "no text": (b"\xff\xfe", "not UTF-8"),
    "a line that is no JSON": (b'{"tests": []}\n{', "line 2: this is not JSON"),
    "a line that is no problem": (b'{"tests": []}\n{"test": 1}', "line 2: a problem is an object"),
}


@pytest.mark.parametrize("content, told", FILES.values(), ids=FILES)
def test_a_mistake_in_a_file_is_told(content, told):
    with pytest.raises(CasesError) as raised:
        problems_in(content)
    assert told in str(raised.value)
