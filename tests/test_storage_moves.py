"""A driver with an empty folder and an empty ledger goes on from a store, and repeats no stage."""

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from stores import Bucket, s3_server

ROOT = Path(__file__).parent.parent
FILE = f"""
models: {{m: {{path: {ROOT}/models/starter/falcon}}}}
datasets: [smoke]
methods:
  lora: {{kind: lora, rank: 4, alpha: 8, learning_rate: 4.0e-3, steps: 4, batch_size: 4,
         max_length: 192, precision: fp32}}
benchmarks:
  starter: {{problems: 4, completions: 1, max_new_tokens: 24, report: [1]}}
"""
SAME = {
    "runs": "id, label, state",
    "checkpoints": "run, sha256, steps",
    "steps": "run, step, loss",
    "completions": "id, text",
    "verdicts": "completion, outcome",
    "scores": "run, benchmark, metric, value, low, high",
}


def run(home, environment, file):
    done = subprocess.run(
        [sys.executable, "-m", "jobs", "run", str(file)],
        cwd=ROOT,
        env=os.environ | environment | {"CODELADDER_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


def rows(home):
    with sqlite3.connect(home / "ledger.db") as ledger:
        return {
            table: sorted(ledger.execute(f"select {columns} from {table}").fetchall())
            for table, columns in SAME.items()
        }


def begun(home):
    lines = [line for log in home.glob("*/log.txt") for line in log.read_text().splitlines()]
    return [line for line in lines if line.endswith(" begins")]


@pytest.mark.slow
def test_another_driver_finds_everything_done_and_records_the_same(tmp_path):
    file = tmp_path / "moved.yaml"
    file.write_text(FILE)
    with s3_server() as endpoint:
        bucket = Bucket(endpoint, "moves")
        run(tmp_path / "first", bucket.environment, file)
        run(tmp_path / "second", bucket.environment, file)
        names = bucket.listed()

    assert len(begun(tmp_path / "first")) == 6
    assert begun(tmp_path / "second") == []
    assert rows(tmp_path / "second") == rows(tmp_path / "first")
    assert [name for name in names if "/attempts/" in name] == []
