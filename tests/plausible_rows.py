"""Plausible rows for tests of the ledger and of the pages."""

from datetime import UTC, datetime, timedelta

from database.answered import JudgedAnswer, answered_row
from database.schema import (
    Checkpoint,
    Completion,
    Contract,
    Event,
    Experiment,
    Problem,
    Run,
    Score,
    Step,
    Training,
    Verdict,
)
from database.scores import ProblemResult, score
from database.tallies import tally_rows

DIGEST = "d" * 64
ASKING = Contract(id="asking000001", kind="asking", content={"form": "alpaca", "n": 2})
JUDGING = Contract(id="judging00001", kind="judging", content={"sha256": DIGEST, "seconds": 10})
NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
BASE, TUNED = "ba5eba5eba5e", "70ded70ded70"
NAMES = ["has_close_elements", "separate_paren_groups", "truncate_number", "below_zero"]


def base_run(run_id=BASE, model="falcon-tiny", **more):
    given = {
        "id": run_id,
        "label": f"{model} as it came",
        "kind": "base",
        "model": model,
        "state": "done",
        "created_at": NOON,
    }
    return Run(**(given | more))


def tuned_run(run_id=TUNED, model="falcon-tiny", base=BASE, **more):
    given = {
        "id": run_id,
        "label": f"{model}, starter, lora, seed 1",
        "kind": "tuned",
        "model": model,
        "method": "lora",
        "dataset": "starter",
        "seed": 1,
        "base_run": base,
        "state": "done",
        "created_at": NOON + timedelta(minutes=1),
        "finished_at": NOON + timedelta(minutes=9),
        "spec": {"method": {"name": "lora", "rank": 8}, "seed": 1},
        "provenance": {"commit": "0123abc", "dirty": False, "host": "node-1"},
    }
    return Run(**(given | more))


def problems(count, benchmark="humaneval"):
    return [
        Problem(
            benchmark=benchmark,
            digest=DIGEST,
            task_id=f"{benchmark}/{place}",
            position=place,
            family="",
            instruction=f"Write {NAMES[place % 4]}.",
            prompt=f"def {NAMES[place % 4]}(xs):\n",
            tests=f"assert {NAMES[place % 4]}([]) is False",
        )
        for place in range(count)
    ]


def judged(run, passes, *, n=2, benchmark="humaneval", asking=ASKING, judging=JUDGING):
    """The completions of a run, their verdicts and score; `passes` says how many of n passed."""
    rows = []
    for place, passed in enumerate(passes):
        for position in range(n):
            key = answer_id(run, place, position, benchmark=benchmark, asking=asking)
            rows.append(completion(key, run, benchmark, place, position, asking))
            outcome = "passed" if position < passed else ("failed", "timed_out")[place % 2]
            rows.append(verdict(key, outcome, judging))
    results = [
        ProblemResult(task_id=f"{benchmark}/{place}", completions=n, passed=passed)
        for place, passed in enumerate(passes)
    ]
    contract = {"benchmark": benchmark, "asking": asking.id, "judging": judging.id}
    rows += tally_rows(results, run=run, **contract)
    rows.append(answered_row(looked_at(rows), run=run, **contract))
    return [*rows, score_row(run, results, benchmark, asking, judging)]


def looked_at(rows):
    """What is counted of completions and their verdicts."""
    extracted = {row.completion: row.extracted for row in rows if isinstance(row, Verdict)}
    return [
        JudgedAnswer(
            task_id=row.task_id,
            position=row.position,
            text=row.text,
            finish=row.finish,
            extracted=extracted[row.id],
        )
        for row in rows
        if isinstance(row, Completion)
    ]


def answer_id(run, place, position, *, benchmark="humaneval", asking=ASKING):
    return f"{run[:4]}{run[-3:]}{asking.id[-1]}{benchmark[:2]}{place:04}{position:02}"


def completion(key, run, benchmark, place, position, asking):
    return Completion(
        id=key,
        run=run,
        benchmark=benchmark,
        task_id=f"{benchmark}/{place}",
        position=position,
        asking=asking.id,
        text=f"    return sorted(xs)[{place}:]  # {run} {position} <b>not html</b>\n",
        whole=False,
        tokens=9,
        finish="stop",
    )


def verdict(key, outcome, judging=JUDGING):
    detail = "" if outcome == "passed" else "AssertionError: assert [] is False"
    return Verdict(
        completion=key,
        judging=judging.id,
        outcome=outcome,
        cpu_seconds=0.02,
        wall_seconds=0.03,
        detail=detail,
    )


def score_row(run, results, benchmark="humaneval", asking=ASKING, judging=JUDGING, k=1, **more):
    interval = score(results, k)
    given = {
        "run": run,
        "benchmark": benchmark,
        "metric": f"pass@{k}",
        "asking": asking.id,
        "judging": judging.id,
        "value": interval.value,
        "low": interval.low,
        "high": interval.high,
        "problems": len(results),
        "asked": len(results),
        "completions": results[0].completions,
    }
    return Score(**(given | more))


def training(run, count=60, of=None, at=NOON, **more):
    """A training and its steps; a held-out loss every 20."""
    return [
        *(training_step(run, step, of or count, **more) for step in range(1, count + 1)),
        Training(run=run, of=of or count, last_step=count, at=at),
    ]


def training_step(run, step, of=60, **more):
    given = {
        "loss": 0.6 + 2.2 / (1 + step / 8) + (step * 37 % 11) / 60,
        "learning_rate": 2e-4 * (1 - step / (of + 1)),
        "gradient_norm": 0.8,
        "tokens": 2048,
        "seconds": 0.4,
        "padding": 0.03,
        "memory": 3 * 2**30,
        "flops_share": 0.5,
        "held_out_loss": None if step % 20 else 1.1 + 2.2 / (1 + step / 8),
    }
    return Step(run=run, step=step, **(given | more))


def small_ledger():
    """A base and its adapter, 40 problems, two answers each: the adapter is better."""
    return [
        ASKING,
        JUDGING,
        base_run(),
        tuned_run(),
        Experiment(name="starter", text="models: [falcon-tiny]\n", runs=[BASE, TUNED]),
        *problems(40),
        *judged(BASE, [place % 3 == 0 for place in range(40)]),
        *judged(TUNED, [2 if place % 4 else 1 for place in range(40)]),
        *training(TUNED),
        Checkpoint(
            run=TUNED,
            kind="adapter",
            path="runs/70ded70ded70/checkpoint",
            sha256="c" * 64,
            steps=60,
            facts={"engine": "deepspeed", "zero_stage": 2, "ranks": 2, "tokens": 122_880},
        ),
        Event(run=TUNED, kind="trained", message="60 steps", seconds=24.0, at=NOON),
        Event(
            run=TUNED,
            kind="judged humaneval",
            message="80 answers",
            seconds=9.5,
            at=NOON + timedelta(minutes=8),
        ),
    ]
