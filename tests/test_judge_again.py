"""A stored answer judged once more, by the route that does it and in the real sandbox."""

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import select

from database import schema
from database.session import open_ledger
from database.writing import write
from eval_sandbox.extraction import assemble
from eval_sandbox.problem import Completion
from eval_sandbox.verdict import Outcome, Verdict
from jobs import judge_again
from jobs.answers import Answer
from jobs.cases import read_cases
from jobs.experiment import Asking, Benchmark, short_hash
from jobs.judge_desk import JudgeDesk
from jobs.prompt_contracts import read_prompt
from jobs.recipes import BENCH, BenchmarkRecipe, find_file, read_recipe
from jobs.record import completion_id, contract_row, judged_rows, problem_rows
from jobs.serving.refusals import add_refusals
from jobs.serving.service import Service

RUN = "ba5eba5eba5e"


@pytest.fixture(scope="module")
def benchmark():
    recipe = read_recipe(BenchmarkRecipe, BENCH, "starter")
    problems = read_cases(recipe.benchmark, find_file(recipe.source, BENCH), recipe.split)
    return Benchmark(
        name="starter",
        recipe=recipe,
        asking=Asking(completions=1, temperature=0.0, report=(1,)),
        problems=problems[:2],
        prompt=read_prompt(recipe.prompt, []),
    )


@pytest.fixture
def ledger(ledger_url, benchmark):
    """An answer that is right and one that is wrong, both recorded as failed."""
    engine = open_ledger(ledger_url)
    right, wrong = benchmark.problems
    texts = [right.reference, "def nothing():\n    return None\n"]
    answers = [
        Answer(task_id=p.task_id, position=0, text=t, whole=True, tokens=9, finish="end")
        for p, t in zip((right, wrong), texts, strict=True)
    ]
    failed = Verdict(outcome=Outcome.FAILED, cpu_seconds=0.1, wall_seconds=0.2, detail="recorded")
    asking = short_hash(benchmark.asking_content)
    write(
        engine,
        [
            schema.Run(id=RUN, label="llama base", kind="base", model="llama"),
            contract_row("asking", benchmark.asking_content),
            contract_row("judging", benchmark.judging_content),
            *problem_rows(benchmark),
            *judged_rows(RUN, benchmark, asking, answers, [failed, failed]),
        ],
    )
    yield engine
    engine.dispose()


@pytest.fixture
def client(ledger, tmp_path):
    """The route with a real sandbox behind it."""
    judges = JudgeDesk()
    app = FastAPI()
    app.include_router(
        judge_again.router(Service(home=tmp_path, ledger=ledger, desk=None, judges=judges))
    )
    add_refusals(app)
    with TestClient(app) as client:
        yield client
    judges.close()


def key(benchmark, place):
    asking = short_hash(benchmark.asking_content)
    return completion_id(RUN, "starter", benchmark.problems[place].task_id, 0, asking)


def everything(ledger):
    with ledger.connect() as connection:
        return {
            table.name: sorted(map(str, connection.execute(select(table)).all()))
            for table in schema.Row.metadata.sorted_tables
        }


def test_an_answer_is_judged_again_and_the_ledger_stays_as_it_is(client, ledger, benchmark):
    before = everything(ledger)
    right = client.post(f"/completions/{key(benchmark, 0)}/judge").json()
    judging = short_hash(benchmark.judging_content)
    wrong = client.post(f"/completions/{key(benchmark, 1)}/judge", params={"judging": judging})

    assert right["outcome"] == "passed"
    assert right["judging"] == judging
    assert right["cpu_seconds"] > 0
    assert wrong.json()["outcome"] == "failed"
    assert wrong.json()["detail"] not in ("", "recorded")
    assert everything(ledger) == before


def test_the_program_that_was_judged_comes_along(client, benchmark):
    problem = benchmark.problems[0]
    said = client.post(f"/completions/{key(benchmark, 0)}/judge").json()
    answer = Completion(task_id=problem.task_id, text=problem.reference, whole=True)

    assert said["program"] == assemble(problem, answer, benchmark.judging.extract)
    assert said["characters"] == len(said["program"])


def refused(client, completion, **query):
    response = client.post(f"/completions/{completion}/judge", params=query)
    return response.status_code, response.json()["detail"]


def test_what_the_ledger_does_not_have_is_said(client, benchmark):
    status, said = refused(client, "nowhere")
    assert (status, said) == (404, "the ledger holds no completion 'nowhere'")
    status, said = refused(client, key(benchmark, 0), judging="judging00009")
    assert status == 404
    assert "no verdict under the contract 'judging00009'" in said


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"sha256": "f" * 64}, "another file of starter: sha256 ffffffffffff"),
        ({"interpreter": "3.4"}, "judged with another Python"),
        ({"judge_version": 1}, "judged with another version of the judge"),
        ({"isolation": "none"}, "without isolation"),
        ({"extract": "crystal-ball"}, "crystal-ball"),
        ({"limits": {"patience": 3}}, "does not know its contract"),
        ({"split": "other"}, "judged with another split"),
    ],
)
def test_another_contract_is_refused_with_what_differs(client, ledger, benchmark, change, said):
    content = benchmark.judging_content | change
    other = schema.Contract(id="judging00002", kind="judging", content=content)
    again = schema.Verdict(completion=key(benchmark, 0), judging=other.id, outcome="failed",
                           cpu_seconds=0.1, wall_seconds=0.2, detail="")  # fmt: skip
    write(ledger, [other, again])

    status, why = refused(client, key(benchmark, 0), judging=other.id)

    assert status == 409
    assert said in why


def test_a_benchmark_that_is_not_here_is_said(client, ledger, benchmark):
    row = schema.Completion(id="elsewhere", run=RUN, benchmark="startr", task_id="x", position=0,
                            asking=short_hash(benchmark.asking_content), text="", whole=True,
                            tokens=0, finish="end")  # fmt: skip
    judged = schema.Verdict(completion="elsewhere", judging=short_hash(benchmark.judging_content),
                            outcome="failed", cpu_seconds=0.1, wall_seconds=0.2,
                            detail="")  # fmt: skip
    write(ledger, [row, judged])

    status, said = refused(client, "elsewhere")

    assert status == 409
    assert "'startr' has no datasets/bench/startr.yaml" in said
    assert "starter" in said
