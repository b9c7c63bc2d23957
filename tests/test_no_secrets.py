"""Secrets stay in the environment of our processes: a real run is searched for them afterwards."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
from sqlalchemy import MetaData, create_engine, select

from cluster import session
from jobs.run_logs import without_secrets

ROOT = Path(__file__).parent.parent
SECRETS = {
    "HF_TOKEN": "hf_planted" + "Qx7" * 8,
    "OPENAI_API_KEY": "sk-planted" + "Zt9" * 12,
    "AWS_SECRET_ACCESS_KEY": "planted/" + "kW4" * 11,
    "CODELADDER_SERVE_TOKEN": "planted-serve-" + "Rv2" * 8,
    "SMTP_PASS": "planted-mail-" + "Dc8" * 6,
    "AZURE_STORAGE_CONNECTION_STRING": "DefaultEndpointsProtocol=https;AccountKey=" + "Hy1" * 9,
    "PGPASSWORD": "planted-pg-" + "Ml5" * 6,
}
IN_URL = "planted-url-" + "Bn6" * 6
"""A password in the address of the database."""
FILE = """
models: {{m: {{path: {base}}}}}
datasets: [smoke]
methods:
  lora: {{kind: lora, rank: 4, alpha: 8, learning_rate: 4.0e-3, steps: 4, batch_size: 4,
         max_length: 192, precision: fp32, checkpoint_every: 2}}
benchmarks:
  starter: {{problems: 4, completions: 1, max_new_tokens: 24, report: [1]}}
"""


class Watch:
    """What stands on the command lines of a process and of all below it, as anybody may read it."""

    def __init__(self, process):
        self.lines = set()
        self._root = psutil.Process(process.pid)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()

    def end(self):
        self._over.set()
        self._thread.join()
        return self.lines

    def _look(self):
        while not self._over.wait(0.05):
            try:
                for process in [self._root, *self._root.children(recursive=True)]:
                    self.lines.add(" ".join(process.cmdline()))
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue


def found_in(text, secrets):
    return sorted(name for name, value in secrets.items() if value in text)


def files_with(folder, secrets):
    found = {}
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink() and path.name != "cluster.token":
            content = path.read_bytes()
            told = [name for name, value in secrets.items() if value.encode() in content]
            if told:
                found[str(path.relative_to(folder))] = told
    return found


def all_rows(url):
    engine = create_engine(url.replace("postgresql", "postgresql+psycopg", 1))
    tables = MetaData()
    tables.reflect(engine)
    with engine.connect() as connection:
        rows = [connection.execute(select(table)).all() for table in tables.sorted_tables]
    engine.dispose()
    return repr(rows)


@pytest.mark.slow
def test_a_real_run_writes_no_secret_anywhere(postgres_url, home, tmp_path):
    file = tmp_path / "planted.yaml"
    file.write_text(FILE.format(base=ROOT / "models" / "starter" / "falcon"))
    address = postgres_url.replace("ledger@", f"ledger:{IN_URL}@")
    began = time.time()
    environment = os.environ | SECRETS | {"CODELADDER_DATABASE_URL": address}
    command = [sys.executable, "-m", "jobs", "run", str(file)]
    with (tmp_path / "said").open("w") as said:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=said, stderr=subprocess.STDOUT
        )
        watch = Watch(process)
        try:
            status = process.wait(400)
        finally:
            process.kill()
            lines = watch.end()
    ray_token = (home / "cluster.token").read_text()
    secrets = SECRETS | {"in the URL": IN_URL, "Ray's token": ray_token}

    assert status == 0, (tmp_path / "said").read_text()[-3000:]
    assert len(lines) > 10
    assert found_in("\n".join(lines), secrets) == []
    assert found_in((tmp_path / "said").read_text(), secrets) == []
    assert files_with(home, secrets) == {}
    assert found_in(all_rows(postgres_url), secrets) == []
    sessions = Path("/tmp") / f"codeladder-{os.getuid()}" / "own"
    mine = [one for one in sessions.glob(f"session_*_{process.pid}") if not one.is_symlink()]
    assert [one for one in mine if one.stat().st_mtime > began - 1]
    assert {name: told for one in mine for name, told in files_with(one, secrets).items()} == {}


def test_a_log_has_stars_for_secrets_and_for_passwords_in_addresses():
    address = f"postgresql://me:{IN_URL}@db/x and postgresql://db/x?user=me&password={IN_URL}"
    text = " ".join([*SECRETS.values(), f"'host=db password={IN_URL}'", address])

    said = without_secrets(text, SECRETS | {"PASSED_TESTS": "user=me&"})

    assert found_in(said, SECRETS | {"in the URL": IN_URL}) == []
    assert "user=me&password=***" in said and "host=db password=***'" in said


def test_an_answer_sees_nothing_of_our_environment(tmp_path):
    problems, answers, out = (tmp_path / name for name in ("p.jsonl", "a.jsonl", "v.jsonl"))
    problems.write_text(
        '{"task_id": "a", "instruction": "x", "signature": "def f():", "entry_point": "f", '
        '"tests": ["assert f() == 1"]}\n'
    )
    body = "import os\\ndef f():\\n    raise ValueError(repr(dict(os.environ)))\\n"
    answers.write_text(f'{{"task_id": "a", "solution": "{body}"}}\n')
    subprocess.run(
        [
            *(sys.executable, "-m", "eval_sandbox", "judge", "--benchmark", "custom"),
            *("--problems", problems, "--completions", answers, "--out", out),
        ],
        cwd=ROOT,
        env=os.environ | SECRETS,
        check=True,
        capture_output=True,
    )

    told = out.read_text()
    assert "ValueError" in told
    assert found_in(told, SECRETS) == []
    assert "planted" not in told and "TOKEN" not in told


def test_what_a_joined_cluster_is_told_of_our_environment_is_no_secret(monkeypatch):
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)

    told = session._joining("10.0.0.1:6379")["runtime_env"]

    assert found_in(repr(told), SECRETS) == []
    assert set(told["env_vars"]) <= {"OMP_NUM_THREADS"}
