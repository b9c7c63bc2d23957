"""The ledger under real faults: writers killed, the database killed, restarted, out of reach."""

import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from conftest import postgres_tool
from migrating import alembic
from plausible_rows import BASE, base_run, small_ledger
from printed_figures import BENCHMARKS
from sqlalchemy import func, select, text
from sqlalchemy.exc import DBAPIError, OperationalError

from database import LedgerError, open_for_reading, open_ledger, write
from database.claims import beat, claim
from database.clock import moment
from database.patience import patience
from database.queries import runs
from database.schema import Completion, Event, Run
from database.upgrading import head
from jobs.__main__ import main

ROOT = Path(__file__).parents[1]


@pytest.fixture
def writers(monkeypatch):
    """The processes that the benchmark of the ledger starts."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import ledger_writers

    return ledger_writers


@pytest.fixture
def server(monkeypatch):
    """A PostgreSQL that keeps what was committed, of this test alone."""
    postgres_tool("initdb")
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from private_postgres import private_server

    with private_server() as found:
        yield found


@pytest.fixture
def filled(server):
    engine = open_ledger(server.url)
    write(engine, [base_run()])
    yield engine
    engine.dispose()


def wait_until(true):
    given_up = time.monotonic() + 30
    while not true():
        assert time.monotonic() < given_up
        time.sleep(0.05)


def event(number):
    return Event(run=BASE, kind=f"event {number}", message="")


def kinds(engine):
    with engine.connect() as connection:
        return set(connection.scalars(select(Event.kind)))


@pytest.mark.slow
def test_a_write_waits_for_a_database_that_was_killed_and_says_so(server, filled, caplog):
    server.kill()
    with ThreadPoolExecutor(1) as thread:
        written = thread.submit(write, filled, [event(1)])
        wait_until(lambda: "the database does not answer" in caplog.text)
        assert not written.done()
        server.start()
        written.result(timeout=60)

    assert "the database answers again" in caplog.text
    assert kinds(filled) == {"event 1"}


@pytest.mark.slow
def test_a_write_waits_for_a_database_that_is_restarted_as_administrators_do(server, filled):
    write(filled, [event(0)])
    server.stop()
    server.start()
    write(filled, [event(1)])

    assert kinds(filled) == {"event 0", "event 1"}


@pytest.mark.slow
def test_a_reader_reads_on_after_a_restart(server, filled):
    reader = open_for_reading(server.url)
    assert len(runs(reader)) == 1
    server.stop()
    server.start()

    assert len(runs(reader)) == 1
    reader.dispose()


@pytest.mark.slow
def test_a_driver_reads_on_once_the_database_is_back_and_a_page_does_not_wait(server, filled):
    reader = open_for_reading(server.url)
    server.kill()
    began = time.monotonic()
    with pytest.raises(OperationalError):
        runs(reader)
    assert time.monotonic() - began < patience() / 2
    with ThreadPoolExecutor(2) as threads:
        read = [threads.submit(runs, filled), threads.submit(moment, filled)]
        time.sleep(2)
        assert not any(one.done() for one in read)
        server.start()
        assert [run.id for run in read[0].result(timeout=60)] == [BASE]
        read[1].result(timeout=60)
    reader.dispose()


@pytest.mark.slow
def test_who_opens_a_ledger_to_write_waits_for_its_database_and_says_so(server, filled, caplog):
    server.kill()
    with ThreadPoolExecutor(1) as thread:
        opened = thread.submit(open_ledger, server.url)
        wait_until(lambda: "the database does not answer; waiting up to" in caplog.text)
        server.start()
        engine = opened.result(timeout=60)

    assert len(runs(engine)) == 1
    engine.dispose()


@pytest.mark.slow
def test_a_short_command_does_not_wait_for_a_database_that_is_away(
    server, filled, monkeypatch, capsys
):
    monkeypatch.setenv("CODELADDER_DATABASE_URL", server.url)
    server.kill()
    began = time.monotonic()
    for command in (["status"], ["logs", "x"], ["stop", "x"], ["retry", "x"], ["results"]):
        assert main(command) == 75
        assert "The database is away" in capsys.readouterr().err
    assert time.monotonic() - began < patience() / 2
    server.start()


@pytest.mark.slow
def test_a_driver_whose_database_stays_away_says_that_the_same_command_goes_on(
    server, filled, monkeypatch, capfd
):
    monkeypatch.setenv("CODELADDER_DATABASE_URL", server.url)
    monkeypatch.setenv("CODELADDER_DATABASE_PATIENCE", "2")
    server.kill()

    assert main(["run", str(ROOT / "experiments" / "smoke.yaml")]) == 75
    said = capfd.readouterr().err
    assert "The database is away, and the same command goes on later: no ledger at " in said
    server.start()


@pytest.mark.slow
def test_patience_ends(server, filled):
    server.kill()
    started = time.monotonic()
    with pytest.raises(OperationalError):
        write(filled, [event(1)], patience=1)

    assert 1 <= time.monotonic() - started < 15
    server.start()
    assert kinds(filled) == set()


@pytest.mark.slow
def test_a_beat_does_not_wait(server, filled):
    assert claim(filled, BASE, "a")
    server.kill()
    started = time.monotonic()
    with pytest.raises(DBAPIError):
        beat(filled, "a")

    assert time.monotonic() - started < 10
    server.start()
    assert beat(filled, "a") == {BASE}


@pytest.mark.slow
def test_what_the_database_refuses_is_not_tried_again(filled):
    started = time.monotonic()
    with pytest.raises(DBAPIError):
        write(filled, [Event(run="nowhere", kind="x", message="")])

    assert time.monotonic() - started < 2


@pytest.mark.slow
def test_a_statement_that_takes_too_long_is_ended(server, filled, monkeypatch):
    monkeypatch.setenv("CODELADDER_DATABASE_TIMEOUT", "0.3")
    engine = open_ledger(server.url)
    with pytest.raises(OperationalError, match="statement timeout"), engine.connect() as connection:
        connection.execute(text("SELECT pg_sleep(5)"))
    engine.dispose()


@pytest.mark.slow
def test_options_of_the_address_go_before_ours(server):
    engine = open_ledger(f"{server.url}&options=-c%20statement_timeout%3D1234")
    with engine.connect() as connection:
        assert connection.scalar(text("SHOW statement_timeout")) == "1234ms"
    engine.dispose()


@pytest.mark.slow
def test_a_transaction_of_a_frozen_driver_does_not_lock_its_run_for_good(server, filled):
    """What is ended here is what a stopped process leaves: a transaction that does nothing."""
    with filled.connect() as connection:
        assert connection.scalar(text("SHOW idle_in_transaction_session_timeout")) == "30s"


@pytest.mark.parametrize("variable", ["PATIENCE", "TIMEOUT"])
def test_a_number_that_is_none_is_told_at_once(variable, monkeypatch):
    monkeypatch.setenv(f"CODELADDER_DATABASE_{variable}", "soon")
    address = "postgresql://nobody@127.0.0.1:9/x"
    with pytest.raises(LedgerError, match=f"CODELADDER_DATABASE_{variable} is 'soon'"):
        open_ledger(address)


UPGRADER = """
import sys
from database import open_ledger
from database.patience import patience
from database.queries import runs

assert len(runs(open_ledger(sys.argv[1]))) == 2
"""


@pytest.mark.slow
def test_eight_processes_upgrade_an_old_ledger_once(ledger, ledger_url, tmp_path, home):
    write(ledger, small_ledger())
    alembic(ledger, "downgrade", "0003")
    ledger.dispose()
    command = [sys.executable, "-c", UPGRADER, ledger_url]
    environment = {"PYTHONPATH": str(ROOT), "CODELADDER_HOME": str(home), "PATH": "/usr/bin"}
    started = [
        subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)
        for _ in range(8)
    ]
    said = [process.communicate(timeout=120)[1] for process in started]

    assert [process.returncode for process in started] == [0] * 8
    assert sum(f"brought to version {head()}" in one for one in said) == 1
    copies = [*tmp_path.glob("ledger.db.before-*"), *home.glob("backups/*")]
    assert len(copies) == 1


@pytest.mark.parametrize("revision", ["0005", "0006"])
def test_the_last_migrations_go_both_ways_and_lose_nothing(ledger, ledger_url, home, revision):
    write(ledger, small_ledger())
    claim(ledger, BASE, "a")
    alembic(ledger, "downgrade", revision)
    alembic(ledger, "upgrade", head())

    with ledger.connect() as connection:
        assert connection.scalar(select(func.count()).select_from(Run)) == 2
        assert connection.scalar(select(func.count()).select_from(Completion)) == 160
        assert connection.scalar(text("SELECT count(*) FROM claims")) == int(revision > "0005")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_of_sixteen_writers_killed_a_hundred_times_every_acknowledged_row_is_there_once(
    kind, writers, tmp_path, request
):
    if kind == "postgresql":
        url = request.getfixturevalue("server").url
    else:
        url = f"sqlite:///{tmp_path / 'ledger.db'}"
    writers.prepare(url)
    names = [f"w{number:02}" for number in range(16)]
    load = writers.Load(batches=600, size=10)
    found = writers.killed(url, names, load, kills=100)

    assert found.kills == 100
    assert (found.lost, found.half) == (0, 0)
    assert found.acknowledged == found.rows == 16 * load.batches * load.size


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["killed 5 times", "stopped 5 times", "frozen for 60 s"])
def test_nothing_is_lost_while_the_database_is_away(fault, server, writers, tmp_path):
    writers.prepare(server.url)
    names = [f"w{number:02}" for number in range(4)]
    load = writers.Load(batches=1500, size=10)
    started = [
        writers.start(server.url, "ours", name, load, tmp_path / "acks" / name)
        for name in names
        if (tmp_path / "acks").mkdir(exist_ok=True) is None
    ]
    harm = threading.Thread(target=harmed, args=(fault, server))
    try:
        assert [process.stdout.readline() for process in started] == ["ready\n"] * 4
        writers._go(started)
        harm.start()
        assert [process.wait(400) for process in started] == [0] * 4
    finally:
        harm.join(180)
        writers.end(started)
    found = writers._counted(server.url, tmp_path / "acks", load, 0)

    assert (found.lost, found.half) == (0, 0)
    assert found.acknowledged == found.rows == 4 * load.batches * load.size


def harmed(fault, server):
    time.sleep(3)
    if fault == "frozen for 60 s":
        server.freeze()
        time.sleep(60)
        server.thaw()
        return
    for _ in range(5):
        server.kill() if fault.startswith("killed") else server.stop()
        time.sleep(1)
        server.start()
        time.sleep(2)
