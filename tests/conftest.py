"""Shared fixtures: a home of its own for every test, and both databases."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is there: two on a busy core wait

import hypothesis
import pytest
from sqlalchemy import create_engine, text

from database import open_ledger

hypothesis.settings.register_profile("unhurried", deadline=None)  # a busy machine pauses anywhere
hypothesis.settings.load_profile("unhurried")

ROOT = Path(__file__).parent.parent
POSTGRES = sorted(Path("/usr/lib/postgresql").glob("*/bin"))


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """Keep every test out of the user's runs and databases."""
    monkeypatch.setenv("CODELADDER_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("CODELADDER_DATABASE_URL", raising=False)
    monkeypatch.setenv("CODELADDER_SERVE_URL", "http://127.0.0.1:9")  # where nobody serves
    monkeypatch.delenv("CODELADDER_SERVE_TOKEN", raising=False)
    return tmp_path / "home"


def postgres_tool(name):
    found = shutil.which(name) or (POSTGRES and POSTGRES[-1] / name)
    if not found or not Path(found).exists():
        pytest.skip(f"PostgreSQL is not installed: no {name}")
    return str(found)


def unprivileged(command, folder):
    """PostgreSQL refuses to run as root; it then runs as `postgres` or `nobody`."""
    if os.geteuid() == 0:
        command = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", *command]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=120)


@pytest.fixture(scope="session")
def postgres_server():
    """A private PostgreSQL on a socket in a folder of its own; the address up to the name."""
    initdb, pg_ctl = postgres_tool("initdb"), postgres_tool("pg_ctl")
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))  # a socket path must stay short
    data = folder / "data"
    try:
        if os.geteuid() == 0:
            shutil.chown(folder, "postgres", "postgres")
        unprivileged([initdb, "-D", str(data), "-U", "ledger", "-A", "trust", "-N"], folder)
        options = f"-k {folder} -c listen_addresses='' -c fsync=off -c timezone=Asia/Tokyo"
        log = str(folder / "log")
        unprivileged([pg_ctl, "-D", str(data), "-l", log, "-o", options, "-w", "start"], folder)
        yield f"postgresql://ledger@/%s?host={folder}"
        unprivileged([pg_ctl, "-D", str(data), "-m", "immediate", "stop"], folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def postgres_url(postgres_server):
    """The address of an empty PostgreSQL database; emptying is quicker than creating another."""
    url = postgres_server % "postgres"
    engine = create_engine(url.replace("postgresql", "postgresql+psycopg", 1))
    with engine.begin() as connection:
        others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'ledger'"
        connection.execute(text(f"{others} AND pid <> pg_backend_pid()"))
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))
    engine.dispose()
    return url


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger_url(request, tmp_path):
    """The address of a ledger that is not there yet, on each database in turn."""
    if request.param == "postgresql":
        return request.getfixturevalue("postgres_url")
    return f"sqlite:///{tmp_path / 'ledger.db'}"


@pytest.fixture
def ledger(ledger_url):
    """An empty ledger, on each database in turn."""
    engine = open_ledger(ledger_url)
    yield engine
    engine.dispose()


@pytest.fixture
def published():
    """The folder of real benchmark files, or a skip with the reason."""
    folder = Path(os.environ.get("CODELADDER_DATA") or ROOT.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no published benchmark files: {folder} is not there (CODELADDER_DATA)")
    return folder
