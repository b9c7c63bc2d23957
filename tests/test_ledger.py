"""Opening, migrating and writing the ledger, on SQLite and PostgreSQL."""

import math
import shlex
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path

import pytest
from plausible_rows import ASKING, BASE, NOON, TUNED, base_run, small_ledger, tuned_run
from sqlalchemy import create_engine, func, select, text
from sqlalchemy.exc import DataError, IntegrityError, OperationalError

from database import LedgerError, NoLedgerError, open_for_reading, open_ledger, upgrading, write
from database.address import LedgerAwayError
from database.backup import snapshot
from database.filesystem import filesystem
from database.patience import patiently
from database.schema import Completion, Event, Row, Run, Score, Step
from database.session import engine_of, ledger_url
from database.upgrading import MIGRATIONS, alone, head

ROOT = Path(__file__).parents[1]


def count(engine, table):
    with engine.connect() as connection:
        return connection.scalar(select(func.count()).select_from(table))


def only(engine, table):
    with engine.connect() as connection:
        return connection.execute(select(table.__table__)).one()


def answer(key, text_of="    return 1\n"):
    return Completion(
        id=key, run=BASE, benchmark="humaneval", task_id=key, position=0, asking=ASKING.id,
        text=text_of, whole=False, tokens=3, finish="stop",
    )  # fmt: skip


def test_the_models_and_the_migrations_describe_the_same_tables(ledger):
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    with ledger.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Row.metadata) == []


def test_the_newest_file_is_alembics_head():
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    settings = Config()
    settings.set_main_option("script_location", str(MIGRATIONS))
    assert ScriptDirectory.from_config(settings).get_current_head() == head()


def test_the_default_ledger_lies_in_the_home(home):
    open_ledger().dispose()

    assert (home / "ledger.db").is_file()


def test_sqlite_survives_power_loss_and_readers(tmp_path):
    engine = open_ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
    with engine.connect() as connection:
        pragmas = ["journal_mode", "synchronous", "foreign_keys", "busy_timeout"]
        values = [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in pragmas]
    engine.dispose()

    assert values == ["wal", 2, 1, 60_000]


def test_opening_a_ledger_at_head_takes_no_time(ledger_url):
    open_ledger(ledger_url).dispose()
    took = []
    for _ in range(5):
        started = time.perf_counter()
        open_ledger(ledger_url).dispose()
        took.append(time.perf_counter() - started)

    assert min(took) < 0.3


def test_rows_come_back_as_written(ledger):
    write(ledger, reversed(small_ledger()))

    with ledger.connect() as connection:
        stored = connection.execute(select(Run.__table__).where(Run.id == TUNED)).one()
    given = tuned_run()
    assert {name: getattr(given, name) for name in stored._fields} == stored._asdict()
    assert count(ledger, Completion) == 160


def test_writing_twice_changes_nothing(ledger):
    write(ledger, small_ledger())
    write(ledger, small_ledger())

    assert count(ledger, Completion) == 160
    assert count(ledger, Step) == 60


def test_the_last_of_several_rows_with_one_key_counts(ledger):
    write(ledger, [base_run(label="first"), base_run(label="last")])

    assert only(ledger, Run).label == "last"


def test_all_rows_are_stored_or_none(ledger):
    orphan = answer("a")
    orphan.run = "nowhere"
    with pytest.raises(IntegrityError):
        write(ledger, [base_run(), ASKING, answer("b"), orphan])

    assert count(ledger, Run) == count(ledger, Completion) == 0


def test_a_later_row_keeps_the_first_moment(ledger):
    write(ledger, small_ledger())
    with ledger.connect() as connection:
        first = connection.scalars(select(Score.recorded_at).order_by(Score.run)).all()
    write(ledger, small_ledger())

    with ledger.connect() as connection:
        assert connection.scalars(select(Score.recorded_at).order_by(Score.run)).all() == first


def test_a_later_row_does_not_blank_where_a_run_came_from(ledger):
    write(ledger, [tuned_run(released=date(2025, 1, 2))])
    write(ledger, [tuned_run(provenance={}, finished_at=None, created_at=datetime.now(UTC))])

    run = only(ledger, Run)
    assert run.provenance == tuned_run().provenance
    assert run.released == date(2025, 1, 2)
    assert (run.created_at, run.finished_at) == (
        NOON + timedelta(minutes=1),
        tuned_run().finished_at,
    )


def test_a_later_row_updates_what_moves(ledger):
    write(ledger, [tuned_run(state="training", provenance={"commit": "old"}, finished_at=None)])
    write(ledger, [tuned_run(state="done", provenance={"commit": "new"})])

    run = only(ledger, Run)
    assert (run.state, run.provenance) == ("done", {"commit": "new"})
    assert run.finished_at == tuned_run().finished_at


def test_moments_are_utc_whatever_zone_they_were_in(ledger):
    tokyo = timezone(timedelta(hours=9))
    write(ledger, [base_run(created_at=NOON.astimezone(tokyo))])

    created = only(ledger, Run).created_at
    assert (created, created.tzinfo) == (NOON, UTC)


def test_what_a_model_may_write_is_stored(ledger):
    write(ledger, [base_run(), ASKING, answer("a", "zero \0 half \ud800 whole 😀 ' \\ \r\n")])

    assert only(ledger, Completion).text == "zero \ufffd half \ufffd whole 😀 ' \\ \r\n"


def test_a_loss_that_is_not_finite_is_null(ledger):
    step = Step(
        run=BASE, step=1, loss=math.nan, learning_rate=0.1, gradient_norm=math.inf, tokens=9,
        seconds=0.1,
    )  # fmt: skip
    write(ledger, [base_run(provenance={"loss": [math.nan, 1.5]}), step])

    assert (only(ledger, Step).loss, only(ledger, Step).gradient_norm) == (None, None)
    assert only(ledger, Run).provenance == {"loss": [None, 1.5]}


def test_more_rows_than_a_batch(ledger):
    write(ledger, [base_run(), ASKING, *(answer(str(number)) for number in range(2_500))])

    assert count(ledger, Completion) == 2_500


WRITER = """
import sys
from database import open_ledger, write
from database.schema import Event, Run

url, writer = sys.argv[1:]
engine = open_ledger(url)
for batch in range(10):
    rows = [Event(run="shared", kind=f"{writer} {batch} {n}", message="") for n in range(10)]
    write(engine, [*rows, Run(id="shared", label="", kind="base", model="")])
"""


@pytest.mark.slow
def test_eight_processes_open_and_write_at_once(ledger_url):
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, ledger_url, str(writer)], cwd=ROOT)
        for writer in range(8)
    ]

    assert [writer.wait(120) for writer in writers] == [0] * 8
    engine = open_ledger(ledger_url)
    assert count(engine, Event) == 800
    engine.dispose()


def test_reading_before_anything_was_recorded(ledger_url):
    with pytest.raises(NoLedgerError, match="make train-all"):
        open_for_reading(ledger_url)


def test_a_reader_cannot_write(ledger, ledger_url):
    reader = open_for_reading(ledger_url)
    with pytest.raises(Exception, match=r"readonly|read-only"):
        write(reader, [base_run()])
    reader.dispose()


def test_a_reader_sees_rows_while_a_writer_writes(ledger, ledger_url):
    write(ledger, [base_run()])
    reader = open_for_reading(ledger_url)
    with ledger.connect().execution_options(writes=True) as connection, connection.begin():
        connection.execute(Run.__table__.delete())
        assert count(reader, Run) == 1
    reader.dispose()


def test_a_ledger_from_the_future_is_left_alone(ledger, ledger_url):
    with ledger.connect().execution_options(writes=True) as connection, connection.begin():
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))

    for opened in (open_ledger, open_for_reading):
        with pytest.raises(LedgerError, match="newer Codeladder"):
            opened(ledger_url)


def test_a_file_that_is_no_database_is_named(tmp_path):
    (tmp_path / "ledger.db").write_text("not a database, but long enough to look like one" * 9)
    with pytest.raises(LedgerError, match=r"ledger\.db: file is not a database"):
        open_ledger(f"sqlite:///{tmp_path / 'ledger.db'}")


ADDRESSES = {
    "no URL": ("ledger", "not a URL"),
    "another database": ("mysql://root:sesame@db/ledger", "not mysql://db/ledger"),
    "SQLite in memory": ("sqlite://", "SQLite file or a PostgreSQL database"),
    "no PostgreSQL there": ("postgresql://me:sesame@127.0.0.1:9/ledger", "127.0.0.1:9/ledger"),
    "no folder allowed": ("sqlite:////proc/nowhere/ledger.db", "/proc/nowhere"),
}


@pytest.mark.parametrize(("url", "message"), ADDRESSES.values(), ids=ADDRESSES)
def test_a_wrong_address_is_said_in_one_line_without_its_password(url, message, monkeypatch):
    monkeypatch.setenv("CODELADDER_DATABASE_URL", url)
    monkeypatch.setenv("CODELADDER_DATABASE_PATIENCE", "0")
    with pytest.raises(LedgerError, match=message) as refused:
        open_ledger()

    assert "sesame" not in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg2"])
def test_postgresql_goes_through_psycopg_3(scheme):
    assert ledger_url(f"{scheme}://db/ledger").drivername == "postgresql+psycopg"


MOUNT_LINES = """/dev/vda / ext4 rw 0 0
server:/home /home nfs4 rw 0 0
/dev/vdb /home/me/local\\040disk xfs rw 0 0
"""


@pytest.mark.parametrize(
    ("folder", "kind"),
    [("/srv", "ext4"), ("/home/me", "nfs4"), ("/homes", "ext4"), ("/home/me/local disk/a", "xfs")],
)
def test_the_filesystem_of(folder, kind):
    assert filesystem(Path(folder), MOUNT_LINES) == kind


SHARED = {
    "NFS": "server:/x {} nfs4 rw 0 0",
    "a folder bound to another on NFS": "server:/x/deep {} nfs rw,addr=10.0.0.1 0 0",
    "a FUSE program that nobody knows": "thing {} fuse.anything rw 0 0",
    "FUSE without a name": "thing {} fuse rw 0 0",
    "the host of a virtual machine": "tag {} virtiofs rw 0 0",
    "the host, as 9p": "host {} 9p rw,trans=virtio 0 0",
}
OWN = {
    "ext4": "/dev/vdb {} ext4 rw 0 0",
    "a disk of Windows": "/dev/sdb1 {} fuseblk rw 0 0",
    "layers of a local disk": "x {} fuse.fuse-overlayfs rw 0 0",
    "a sandbox's own disk": "none {} 9p rw,trans=fd,rfdno=4 0 0",
    "memory": "tmpfs {} tmpfs rw 0 0",
}


@pytest.fixture
def mounted(tmp_path, monkeypatch):
    """Let the folder be a mount of some type, as the kernel would list it."""

    def mount(line):
        mounts = tmp_path / "mounts"
        folder = tmp_path / "the folder"
        folder.mkdir(exist_ok=True)
        listed = line.format(str(folder).replace(" ", "\\040"))
        mounts.write_text(f"/dev/vda / ext4 rw 0 0\n{listed}\n")
        monkeypatch.setattr("database.filesystem.MOUNTS", mounts)
        return folder

    return mount


@pytest.mark.parametrize("line", SHARED.values(), ids=SHARED)
def test_sqlite_is_refused_where_other_hosts_may_write_too(line, mounted, tmp_path):
    folder = mounted(line)
    link = tmp_path / "link"
    link.symlink_to(folder)
    for place in (folder, link):
        with pytest.raises(LedgerError, match="where SQLite loses rows"):
            open_ledger(f"sqlite:///{place / 'ledger.db'}")
    assert list(folder.iterdir()) == []


def test_a_reader_of_sqlite_on_a_network_filesystem_is_refused_too(mounted):
    open_ledger(f"sqlite:///{mounted(OWN['ext4']) / 'ledger.db'}").dispose()
    folder = mounted(SHARED["NFS"])

    with pytest.raises(LedgerError, match="where SQLite loses rows"):
        open_for_reading(f"sqlite:///{folder / 'ledger.db'}")


@pytest.mark.parametrize("line", OWN.values(), ids=OWN)
def test_sqlite_is_opened_on_a_disk_of_this_host(line, mounted):
    open_ledger(f"sqlite:///{mounted(line) / 'ledger.db'}").dispose()


def test_a_folder_that_is_bound_to_another_is_what_it_leads_to(tmp_path):
    """The kernel's own list, of a real mount."""
    for name in ("disk", "bound"):
        (tmp_path / name).mkdir()
    code = (
        "from pathlib import Path; from database.filesystem import MOUNTS, filesystem;"
        f"print(filesystem(Path({str(tmp_path / 'bound')!r}), MOUNTS.read_text()))"
    )
    mounts = f"mount -t tmpfs x {tmp_path}/disk && mount --bind {tmp_path}/disk {tmp_path}/bound"
    command = f"{mounts} && {sys.executable} -c {shlex.quote(code)}"
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", command], cwd=ROOT, capture_output=True, text=True
    )
    if done.returncode:
        pytest.skip(f"nothing may be mounted here: {done.stderr.strip()}")

    assert done.stdout == "tmpfs\n"


def test_a_worker_of_a_cluster_opens_no_sqlite_ledger(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["/venv/ray/_private/workers/default_worker.py", "--x"])

    with pytest.raises(LedgerError, match="return rows to the driver"):
        open_ledger(f"sqlite:///{tmp_path / 'ledger.db'}")


def test_a_text_that_is_too_long_is_refused_and_never_cut(postgres_url):
    engine = open_ledger(postgres_url)
    with pytest.raises(DataError):
        write(engine, [base_run(label="x" * 301)])

    assert count(engine, Run) == 0
    engine.dispose()


def test_numbers_are_stored_as_such_in_whatever_form_they_come(ledger):
    steps = [
        Step(run=BASE, step=step, loss=loss, learning_rate=rate, gradient_norm=None, tokens=tokens,
             seconds=1)
        for step, loss, rate, tokens in ((1, 1, 0.5, 9), (2, 0.5, 1, True), (3, None, 0, 0))
    ]  # fmt: skip
    write(ledger, [base_run(), *steps])

    with ledger.connect() as connection:
        wanted = select(Step.loss, Step.learning_rate, Step.tokens).order_by(Step.step)
        assert list(map(tuple, connection.execute(wanted))) == [
            (1.0, 0.5, 9), (0.5, 1.0, 1), (None, 0.0, 0),
        ]  # fmt: skip


def test_more_threads_than_connections_wait_for_each_other(ledger, ledger_url):
    address = engine_of(ledger_url_of(ledger_url)).url
    narrow = create_engine(address, pool_size=1, max_overflow=0, pool_timeout=0.1)

    def act(connection):
        time.sleep(0.05)
        return connection.scalar(text("SELECT 1"))

    with ThreadPoolExecutor(6) as threads:
        assert list(threads.map(lambda _: patiently(narrow, act), range(6))) == [1] * 6
    narrow.dispose()


def ledger_url_of(url):
    return ledger_url(url)


def test_a_database_that_nobody_serves_is_told_with_what_the_network_said(monkeypatch):
    monkeypatch.setenv("CODELADDER_DATABASE_PATIENCE", "0")
    with pytest.raises(LedgerAwayError, match="Connection refused"):
        open_ledger("postgresql://nobody@127.0.0.1:9/x")


def test_who_is_not_let_in_does_not_knock_again(postgres_url):
    engine = engine_of(ledger_url(postgres_url.replace("ledger@", "stranger@")))
    began = time.monotonic()
    with pytest.raises(OperationalError, match="stranger"):
        patiently(engine, lambda connection: None, seconds=20)
    assert time.monotonic() - began < 10
    engine.dispose()


def test_waiting_for_another_migration_is_told_and_ends(ledger, ledger_url, monkeypatch, capsys):
    monkeypatch.setattr(upgrading, "LONGEST_WAIT", 0.5)
    address = ledger_url_of(ledger_url)
    with alone(ledger, address):
        with pytest.raises(LedgerError, match="another process migrates"), alone(ledger, address):
            pass
        assert capsys.readouterr().err.count("waiting up to") == 1
    with alone(ledger, address):
        pass


def test_a_snapshot_is_of_one_moment_and_may_take_any_time(ledger, ledger_url):
    with snapshot(ledger) as connection:
        wanted = select(func.count()).select_from(Run)
        assert connection.scalar(wanted) == 0
        other = engine_of(ledger_url_of(ledger_url))
        write(other, [base_run()])
        other.dispose()
        assert connection.scalar(wanted) == 0
        if ledger.dialect.name == "postgresql":
            assert connection.scalar(text("SHOW statement_timeout")) == "0"
    assert count(ledger, Run) == 1
