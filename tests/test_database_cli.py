"""`python -m database`: backups that either database is filled from, vacuum, and prune."""

import json
from datetime import timedelta
from pathlib import Path

import pytest
import zstandard
from migrating import alembic
from plausible_rows import BASE, TUNED, base_run, small_ledger, tuned_run
from sqlalchemy import MetaData, func, select, text

from database import open_ledger, retention, write
from database.__main__ import main
from database.amounts import amount
from database.backup import back_up, fill, verify
from database.claims import claim
from database.clock import moment
from database.rejudging import asked
from database.retention import Keep, prunable, prune
from database.schema import Completion, Event, Run, Score, Verdict
from database.session import engine_of, ledger_url
from database.upgrading import head


def everything(engine):
    """All rows of all tables, as the database itself has them; the order does not count."""
    with engine.connect() as connection:
        found = MetaData()
        found.reflect(connection)
        return {
            table.name: sorted(repr(row) for row in connection.execute(select(table)))
            for table in found.tables.values()
        }


def emptied(engine):
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        found = MetaData()
        found.reflect(connection)
        found.drop_all(connection)


def told(engine, table, *columns):
    with engine.connect() as connection:
        return list(connection.execute(select(*columns).select_from(table)))


@pytest.fixture
def filled(home, monkeypatch):
    """A ledger at the default place that has rows."""
    engine = open_ledger()
    write(engine, small_ledger())
    yield engine
    engine.dispose()


def odd_rows():
    """What is easily lost on the way: moments to the microsecond, dates, empty and odd texts."""
    at = moment_of(microsecond=7)
    odd = "null \ufffd, two\nlines, “quotes”, 😀, and \\ a backslash"
    return [
        tuned_run("0dd0dd0dd0dd", label=odd, created_at=at, released=at.date(), finished_at=None),
        Event(run="0dd0dd0dd0dd", kind="odd", message="", seconds=0.1 + 0.2, at=at),
    ]


def moment_of(**changes):
    from plausible_rows import NOON

    return NOON.replace(**changes)


@pytest.mark.parametrize("there", ["sqlite", "postgresql"])
def test_a_backup_of_either_database_fills_either_database(ledger, there, tmp_path, request):
    write(ledger, [*small_ledger(), *odd_rows()])
    facts = back_up(ledger, tmp_path / "backup.zst")
    before = everything(ledger)
    if there == "postgresql":
        url = request.getfixturevalue("postgres_url")
        if ledger.dialect.name == "postgresql":  # it is the same one
            emptied(ledger)
    else:
        url = f"sqlite:///{tmp_path / 'other.db'}"
    address = ledger_url(url)
    other = engine_of(address)
    fill(other, address, tmp_path / "backup.zst")
    again = back_up(other, tmp_path / "again.zst")

    assert again.rows == facts.rows
    assert sum(facts.rows.values()) == 515
    assert lines_of(tmp_path / "again.zst") == lines_of(tmp_path / "backup.zst")
    if other.dialect.name == ledger.dialect.name:
        assert everything(other) == before
    other.dispose()
    opened = open_ledger(url)
    assert told(opened, Run, func.count()) == [(3,)]
    opened.dispose()


def lines_of(file):
    """The lines of a backup but the first and the last, which have the moment it was taken."""
    with zstandard.open(file, "rt", encoding="utf-8") as stream:
        return sorted(stream.read().splitlines()[1:-1])


def damaged(file, how):
    if how == "cut off":
        file.write_bytes(file.read_bytes()[:-200])
        return
    if how == "no backup":
        file.write_text("something else\n")
        return
    with zstandard.open(file, "rt", encoding="utf-8") as stream:
        lines = stream.read().splitlines(keepends=True)
    if how == "a row changed":
        lines = [line.replace("has_close_elements", "has_clone_elements") for line in lines]
    if how == "a row missing":
        lines = [line for line in lines if "ba5ea5e1hu000000" not in line]
    with zstandard.open(file, "wt", encoding="utf-8") as stream:
        stream.writelines(lines)


@pytest.mark.parametrize("how", ["cut off", "no backup", "a row changed", "a row missing"])
def test_a_damaged_backup_is_refused_before_anything_is_stored(
    filled, how, tmp_path, monkeypatch, capsys
):
    file = tmp_path / "backup.zst"
    assert main(["backup", str(file)]) == 0
    damaged(file, how)
    other = tmp_path / "other.db"
    monkeypatch.setenv("CODELADDER_DATABASE_URL", f"sqlite:///{other}")

    assert main(["restore", str(file)]) == 2
    assert str(file) in capsys.readouterr().err
    assert not other.exists() or other.stat().st_size == 0


def test_a_database_with_rows_is_not_overwritten(filled, tmp_path, capsys):
    assert main(["backup", str(tmp_path / "b.zst")]) == 0
    before = everything(filled)

    assert main(["restore", str(tmp_path / "b.zst")]) == 2
    assert "into an empty database only" in capsys.readouterr().err
    assert everything(filled) == before


def test_a_backup_is_not_written_over_another_file(filled, tmp_path, capsys):
    (tmp_path / "b.zst").write_text("mine")

    assert main(["backup", str(tmp_path / "b.zst")]) == 2
    assert (tmp_path / "b.zst").read_text() == "mine"


def test_a_backup_of_an_older_version_is_brought_to_this_one(ledger, ledger_url, tmp_path):
    write(ledger, small_ledger())
    alembic(ledger, "downgrade", "0004")
    assert back_up(ledger, tmp_path / "old.zst").revision == "0004"
    target = f"sqlite:///{tmp_path / 'new.db'}"
    address = ledger_url_of(target)
    new = engine_of(address)
    fill(new, address, tmp_path / "old.zst")

    with new.connect() as connection:
        assert connection.scalar(text("SELECT version_num FROM alembic_version")) == head()
    assert told(new, Verdict, func.count()) == [(160,)]
    new.dispose()


def ledger_url_of(url):
    return ledger_url(url)


def test_a_backup_of_a_newer_version_is_refused(filled, tmp_path, monkeypatch, capsys):
    with filled.connect().execution_options(writes=True) as connection, connection.begin():
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    assert main(["backup", str(tmp_path / "b.zst")]) == 0
    monkeypatch.setenv("CODELADDER_DATABASE_URL", f"sqlite:///{tmp_path / 'other.db'}")

    assert main(["restore", str(tmp_path / "b.zst")]) == 2
    assert "newer Codeladder" in capsys.readouterr().err


def test_the_digest_of_a_backup_is_what_sha256sum_says_of_its_lines(filled, tmp_path):
    import hashlib

    back_up(filled, tmp_path / "b.zst")
    with zstandard.open(tmp_path / "b.zst", "rb") as stream:
        lines = stream.read().splitlines(keepends=True)

    stated = json.loads(lines[-1])["sha256"]
    assert stated == hashlib.sha256(b"".join(lines[:-1])).hexdigest()
    assert verify(tmp_path / "b.zst").sha256 == stated


@pytest.mark.parametrize("command", [["backup"], ["vacuum"], ["prune", "--keep-completions=1"]])
def test_without_a_ledger_nothing_is_made(command, home, capsys):
    assert main(command) == 2
    assert "there is no ledger" in capsys.readouterr().err
    assert not (home / "ledger.db").exists()


def test_vacuum_gives_back_the_room_of_what_was_deleted(ledger, ledger_url, monkeypatch, capsys):
    monkeypatch.setenv("CODELADDER_DATABASE_URL", ledger_url)
    rows = [Event(run=BASE, kind=str(n), message="x" * 10_000) for n in range(300)]
    write(ledger, [base_run(), *rows])
    with ledger.connect().execution_options(writes=True) as connection, connection.begin():
        connection.execute(Event.__table__.delete())

    assert main(["vacuum"]) == 0
    sizes = capsys.readouterr().out.split(": ")[-1].split(", ")
    assert sizes[0].endswith("MB before")
    if ledger.dialect.name == "sqlite":  # of PostgreSQL 3 MB are few beside its catalogue
        assert sizes[1].endswith("kB now\n")


def test_only_where_nobody_works_are_tables_locked_to_give_room_back(
    postgres_url, monkeypatch, capsys
):
    monkeypatch.setenv("CODELADDER_DATABASE_URL", postgres_url)
    engine = open_ledger()
    write(engine, [base_run()])
    assert main(["vacuum", "--full"]) == 0
    claim(engine, BASE, "d" * 32)

    assert main(["vacuum"]) == 0
    assert main(["vacuum", "--full"]) == 2
    assert f"a driver works on run {BASE}" in capsys.readouterr().err
    engine.dispose()


@pytest.mark.parametrize("command", [["backup"], ["vacuum"], ["prune", "--keep-completions=1"]])
def test_a_database_that_is_away_is_told_in_one_sentence(command, monkeypatch, capsys):
    monkeypatch.setenv("CODELADDER_DATABASE_URL", "postgresql://nobody@127.0.0.1:9/x")

    assert main(command) == 75
    assert "Connection refused" in capsys.readouterr().err


def test_a_backup_that_cannot_be_written_is_not_the_ledgers_fault(filled, tmp_path, capsys):
    (tmp_path / "file").write_text("")

    assert main(["backup", str(tmp_path / "file" / "b.zst")]) == 2
    assert "ledger" not in capsys.readouterr().err


def test_a_table_of_somebody_else_outlives_a_restore(ledger, ledger_url, tmp_path, monkeypatch):
    back_up(ledger, tmp_path / "b.zst")
    with ledger.connect().execution_options(writes=True) as connection, connection.begin():
        connection.execute(text("CREATE TABLE mine (x INTEGER)"))
    monkeypatch.setenv("CODELADDER_DATABASE_URL", ledger_url)

    assert main(["restore", str(tmp_path / "b.zst")]) == 0
    assert "mine" in everything(ledger)


def work_of(home, run_id):
    """What a run leaves on a disk."""
    folder = home / run_id
    for name, size in (("checkpoint/adapter", 5_000), ("completions/humaneval", 800), ("log", 9)):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x" * size)
    return folder


OLD = ["--keep-completions", "1", "--keep-checkpoints", "1"]


def test_a_dry_run_says_what_would_go_and_takes_nothing(filled, home, capsys):
    folder = work_of(home, TUNED)
    before = everything(filled)

    assert main(["prune", "--dry-run", *OLD]) == 0
    said = capsys.readouterr().out
    assert "would lose the texts of 80 answers" in said
    assert str(folder / "checkpoint") in said
    assert "5.8 kB on disk" in said
    assert "Nothing was taken away" in said
    assert everything(filled) == before
    assert (folder / "checkpoint" / "adapter").exists()


def test_pruning_takes_texts_and_weights_and_leaves_every_number(
    ledger, ledger_url, home, monkeypatch
):
    monkeypatch.setenv("CODELADDER_DATABASE_URL", ledger_url)
    write(ledger, small_ledger())
    folder = work_of(home, TUNED)
    scores = told(ledger, Score, *Score.__table__.c)
    verdicts = told(ledger, Verdict, *Verdict.__table__.c)

    assert main(["prune", *OLD]) == 0
    assert sorted(path.name for path in folder.iterdir()) == ["log"]
    assert told(ledger, Score, *Score.__table__.c) == scores
    assert told(ledger, Verdict, *Verdict.__table__.c) == verdicts
    texts = {row.text for row in told(ledger, Completion, Completion.text)}
    assert len(texts) == 1 and "was pruned on" in texts.pop()
    assert all(row.pruned_at for row in told(ledger, Completion, Completion.pruned_at))
    kinds = {row.kind for row in told(ledger, Event, Event.kind)}
    assert {"pruned answers", "pruned weights"} <= kinds


def test_pruning_goes_some_answers_at_a_time(ledger, home, monkeypatch):
    monkeypatch.setattr(retention, "BATCH", 7)
    write(ledger, small_ledger())
    for one in prunable(ledger, home, Keep(completions=1, checkpoints=1)):
        assert prune(ledger, one)

    assert all(row.pruned_at for row in told(ledger, Completion, Completion.pruned_at))


def test_a_run_that_began_again_since_it_was_looked_at_loses_nothing(filled, home):
    folder = work_of(home, TUNED)
    found = {one.run: one for one in prunable(filled, home, Keep(completions=1, checkpoints=1))}
    write(filled, [tuned_run(state="training")])

    assert not prune(filled, found[TUNED])
    assert (folder / "checkpoint" / "adapter").exists()
    assert claim(filled, TUNED, "d" * 32)


def test_what_a_killed_pruning_left_is_taken_by_the_next(filled, home):
    folder = work_of(home, TUNED)
    (folder / "checkpoint").rename(folder / ".checkpoint.pruned-0a")
    main(["prune", *OLD])

    assert sorted(path.name for path in folder.iterdir()) == ["log"]


def test_pruning_again_finds_nothing(filled, home, capsys):
    work_of(home, TUNED)
    main(["prune", *OLD])
    capsys.readouterr()

    assert main(["prune", *OLD]) == 0
    assert "Nothing is old enough" in capsys.readouterr().out


def test_what_has_no_text_is_not_offered_to_be_judged_again(filled):
    assert len(asked(filled, "humaneval")) == 2
    main(["prune", *OLD])

    assert asked(filled, "humaneval") == []


def test_a_run_that_a_driver_works_on_loses_nothing(filled, home, capsys):
    folder = work_of(home, TUNED)
    assert claim(filled, TUNED, "d" * 32)

    assert main(["prune", *OLD]) == 0
    assert (folder / "checkpoint" / "adapter").exists()
    assert "is left alone" in capsys.readouterr().out
    texts = {row.text for row in told(filled, Completion, Completion.text)}
    assert len(texts) == 81  # 80 of that run, and one for all of its base


@pytest.mark.parametrize("state", ["training", "failed", "stopped"])
def test_a_run_that_is_not_done_loses_nothing(filled, home, state):
    folder = work_of(home, TUNED)
    write(filled, [tuned_run(state=state)])
    main(["prune", *OLD])

    assert (folder / "checkpoint" / "adapter").exists()


def test_what_is_young_is_kept(filled, home):
    folder = work_of(home, TUNED)
    write(filled, [tuned_run(finished_at=moment(filled) - timedelta(hours=23))])
    main(["prune", *OLD])

    assert (folder / "checkpoint" / "adapter").exists()


def test_a_link_out_of_the_home_is_not_followed(filled, home, tmp_path):
    elsewhere = work_of(tmp_path, "elsewhere")
    (home / TUNED).mkdir()
    (home / TUNED / "checkpoint").symlink_to(elsewhere / "checkpoint")
    main(["prune", *OLD])

    assert (elsewhere / "checkpoint" / "adapter").exists()


def test_nothing_is_taken_unless_it_is_said_for_how_long_it_is_kept(filled, capsys):
    assert main(["prune"]) == 2
    assert "--keep-completions DAYS" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("size", "said"),
    [(0, "0 bytes"), (999, "999 bytes"), (1500, "1.5 kB"), (2 * 10**13, "20.0 TB")],
)
def test_sizes_are_told_as_people_read_them(size, said):
    assert amount(size) == said


def test_an_older_sqlite_ledger_is_copied_before_it_is_upgraded(tmp_path):
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    engine = open_ledger(url)
    write(engine, small_ledger())
    alembic(engine, "downgrade", "0005")
    before = everything(engine)
    engine.dispose()
    open_ledger(url).dispose()

    copy = engine_of(ledger_url(f"sqlite:///{tmp_path / f'ledger.db.before-{head()}'}"))
    assert everything(copy) == before
    copy.dispose()


def test_an_older_postgresql_ledger_is_backed_up_before_it_is_upgraded(postgres_url, home):
    engine = open_ledger(postgres_url)
    write(engine, small_ledger())
    alembic(engine, "downgrade", "0005")
    engine.dispose()
    open_ledger(postgres_url).dispose()

    facts = verify(home / "backups" / f"before-{head()}.jsonl.zst")
    assert (facts.revision, facts.rows["verdicts"]) == ("0005", 160)


def test_a_new_ledger_leaves_no_copy(filled, home):
    assert {path.name for path in Path(home).iterdir()} <= {
        "ledger.db", "ledger.db.lock", "ledger.db-wal", "ledger.db-shm",
    }  # fmt: skip
