"""A run is archived and restored with everything it rests on; a bad archive does nothing."""

import hashlib
import io
import json
import tarfile

import pytest
import zstandard
from plausible_rows import (
    ASKING,
    BASE,
    JUDGING,
    NOON,
    TUNED,
    base_run,
    judged,
    small_ledger,
    tuned_run,
)
from rich.console import Console
from sqlalchemy import func, select

from database import open_ledger, write
from database.claims import claim
from database.schema import Checkpoint, Completion, Dataset, Event, Experiment, Run, Score, Touch
from database.standings import scores
from jobs.archive import archive, restore
from jobs.declared import UserError
from jobs.storage.keeping import Storage

DATASET = "da7ada7ada7a"
QUIET = Console(file=io.StringIO())


def count(engine, table):
    with engine.connect() as connection:
        return connection.scalar(select(func.count()).select_from(table))


def rows(engine, table):
    with engine.connect() as connection:
        return sorted(map(repr, connection.execute(select(table.__table__))))


def files(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def fill(home):
    """A home in which a tuned run and its base are done, and a third run besides."""
    (home / TUNED / "checkpoint").mkdir(parents=True)
    (home / TUNED / "checkpoint" / "adapter.safetensors").write_bytes(b"weights" * 99)
    (home / TUNED / "completions").mkdir()
    (home / TUNED / "completions" / "humaneval-asking000001.jsonl").write_text('{"a": 1}\n')
    (home / TUNED / "log.txt").write_text("trained\n")
    (home / TUNED / ".checkpoint.draft").write_text("half")
    (home / "data" / DATASET / "rows").mkdir(parents=True)
    (home / "data" / DATASET / "rows" / "0.parquet").write_bytes(b"rows")
    (home / "data" / DATASET / "report.json").write_text("{}")
    engine = open_ledger()
    other = "0dd0dd0dd0dd"
    data = Dataset(
        digest=DATASET, name="starter", report={"a": [1]}, licence="MIT", rows_in=9, rows_out=8,
        duplicates=1, contaminated=0,
    )  # fmt: skip
    touch = Touch(
        dataset=DATASET, benchmark="humaneval", benchmark_digest="d" * 64, task_id="humaneval/1",
        method="ngram8", rows=1, trained_on=0,
    )  # fmt: skip
    checkpoint = Checkpoint(
        run=TUNED, kind="adapter", path=str(home / TUNED / "checkpoint"), sha256="c" * 64, steps=60,
    )  # fmt: skip
    write(
        engine,
        [
            *small_ledger(),
            checkpoint,
            data,
            touch,
            tuned_run(dataset_digest=DATASET),
            tuned_run(other, label="another"),
            *judged(other, [1] * 40),
            Event(run=TUNED, kind="odd", message="“quoted”\n", at=NOON.replace(microsecond=7)),
        ],
    )
    return engine


@pytest.fixture
def source(home):
    engine = fill(home)
    yield engine
    engine.dispose()


@pytest.fixture
def packed(source, tmp_path):
    """An archive of the tuned run."""
    archive(TUNED, tmp_path / "run.tar.zst", QUIET)
    return tmp_path / "run.tar.zst"


@pytest.fixture
def elsewhere(tmp_path, monkeypatch, ledger_url):
    """Another home, with an empty ledger on each database in turn."""
    monkeypatch.setenv("CODELADDER_HOME", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("CODELADDER_DATABASE_URL", ledger_url)
    return tmp_path / "elsewhere"


@pytest.fixture
def sqlite_elsewhere(tmp_path, monkeypatch):
    monkeypatch.setenv("CODELADDER_HOME", str(tmp_path / "elsewhere"))
    return tmp_path / "elsewhere"


def test_a_run_is_elsewhere_what_it_was_here(packed, source, home, elsewhere):
    restore(packed, QUIET)
    there = open_ledger()

    of_run = files(home / TUNED)
    del of_run[".checkpoint.draft"]
    data = {f"data/{name}": content for name, content in files(home / "data" / DATASET).items()}
    assert files(elsewhere / TUNED) == of_run | data
    assert count(there, Run) == 2
    assert count(there, Completion) == 160
    for table in (Experiment, Dataset, Touch, Event):
        assert rows(there, table) == rows(source, table)
    shown = [one for one in scores(source) if one.run in (BASE, TUNED)]
    assert [(s.run, s.value, s.low, s.high, s.delta) for s in scores(there)] == [
        (s.run, s.value, s.low, s.high, s.delta) for s in shown
    ]
    with there.connect() as connection:
        path = connection.scalar(select(Checkpoint.path))
    assert path == str(elsewhere / TUNED / "checkpoint")
    there.dispose()


def test_restoring_again_changes_nothing(packed, elsewhere):
    restore(packed, QUIET)
    there = open_ledger()
    before = (
        {table: rows(there, table) for table in (Run, Completion, Score, Event)},
        files(elsewhere),
    )
    (elsewhere / TUNED / "log.txt").write_text("more was done here\n")
    restore(packed, QUIET)

    assert before[0] == {table: rows(there, table) for table in (Run, Completion, Score, Event)}
    after = files(elsewhere)
    assert after[f"{TUNED}/log.txt"] == b"more was done here\n"
    changed = {name for name in after if after[name] != before[1].get(name)}
    assert {name for name in changed if not name.startswith("ledger")} == {f"{TUNED}/log.txt"}
    there.dispose()


def test_what_an_interrupted_restore_left_out_comes_with_the_next(packed, sqlite_elsewhere):
    restore(packed, QUIET)
    whole = files(sqlite_elsewhere / TUNED)
    (sqlite_elsewhere / TUNED / "completions" / "humaneval-asking000001.jsonl").unlink()
    (sqlite_elsewhere / TUNED / "checkpoint" / "adapter.safetensors").unlink()
    (sqlite_elsewhere / TUNED / "checkpoint").rmdir()
    restore(packed, QUIET)

    assert files(sqlite_elsewhere / TUNED) == whole


def test_a_base_is_archived_by_its_label(source, tmp_path, sqlite_elsewhere, home, monkeypatch):
    monkeypatch.setenv("CODELADDER_HOME", str(home))
    archive("falcon-tiny as it came", tmp_path / "base.tar.zst", QUIET)
    monkeypatch.setenv("CODELADDER_HOME", str(sqlite_elsewhere))
    restore(tmp_path / "base.tar.zst", QUIET)
    there = open_ledger()

    assert count(there, Run) == 1
    assert count(there, Score) == 1
    there.dispose()


def test_another_run_of_the_same_id_is_never_overwritten(packed, sqlite_elsewhere):
    there = open_ledger()
    other = judged(TUNED, [0] * 40)
    write(there, [ASKING, JUDGING, base_run(), tuned_run(), *other])
    before = rows(there, Score)

    with pytest.raises(UserError, match="is not the same run"):
        restore(packed, QUIET)
    assert rows(there, Score) == before
    assert not (sqlite_elsewhere / TUNED).exists()
    there.dispose()


def test_other_files_in_its_place_are_never_overwritten(packed, sqlite_elsewhere):
    mine = sqlite_elsewhere / TUNED / "checkpoint" / "adapter.safetensors"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"mine")

    with pytest.raises(UserError, match="is there already and is another one"):
        restore(packed, QUIET)
    assert files(sqlite_elsewhere / TUNED) == {"checkpoint/adapter.safetensors": b"mine"}


def test_a_base_that_answered_otherwise_here_stays_as_it_is(packed, sqlite_elsewhere):
    there = open_ledger()
    write(there, [ASKING, JUDGING, base_run(), *judged(BASE, [1] * 40)])
    with there.connect() as connection:
        wanted = select(Score.value).where(Score.run == BASE)
        before = connection.scalar(wanted)
    restore(packed, QUIET)

    with there.connect() as connection:
        assert connection.scalar(wanted) == before
    assert count(there, Score) == 2
    there.dispose()


def test_data_of_an_archive_is_not_taken_for_what_was_prepared_here(packed, sqlite_elsewhere):
    restore(packed, QUIET)

    assert (sqlite_elsewhere / TUNED / "data" / "rows" / "0.parquet").exists()
    assert not (sqlite_elsewhere / "data").exists()


def test_a_restored_run_can_be_archived_and_restored_again(packed, sqlite_elsewhere, tmp_path):
    restore(packed, QUIET)
    archive(TUNED, tmp_path / "second.tar.zst", QUIET)
    restore(tmp_path / "second.tar.zst", QUIET)


def test_a_run_whose_weights_are_elsewhere_is_not_archived(source, home, tmp_path):
    (home / TUNED / "checkpoint").rename(tmp_path / "another-host")

    with pytest.raises(UserError, match="archive it where it was trained"):
        archive(TUNED, tmp_path / "x", QUIET)
    assert not (tmp_path / "x").exists()


def test_a_run_whose_weights_were_pruned_is_archived_and_that_is_said(source, home, tmp_path):
    (home / TUNED / "checkpoint").rename(tmp_path / "gone")
    write(source, [Event(run=TUNED, kind="pruned weights", message="pruned", at=NOON)])
    heard = io.StringIO()
    archive(TUNED, tmp_path / "x", Console(file=heard, width=999))

    assert "weights were pruned" in heard.getvalue()


def test_weights_that_only_the_store_has_are_archived(source, home, tmp_path, monkeypatch):
    monkeypatch.setenv("CODELADDER_STORE", str(tmp_path / "kept"))
    Storage.from_environment(home).keep(home / TUNED / "checkpoint")
    (home / TUNED / "checkpoint").rename(tmp_path / "gone")
    archive(TUNED, tmp_path / "x", QUIET)

    names = [entry.name for entry, _ in entries_of(tmp_path / "x")]
    assert "run/checkpoint/adapter.safetensors" in names


def test_a_restored_run_is_nobodys(packed, sqlite_elsewhere):
    restore(packed, QUIET)
    restore(packed, QUIET)
    there = open_ledger()

    assert claim(there, TUNED, "d" * 32) is not None
    there.dispose()


def test_an_experiment_that_does_not_list_the_run_is_named(packed, sqlite_elsewhere):
    there = open_ledger()
    name = json.loads(rows_of(packed, "experiments")[0])[0]
    write(there, [Experiment(name=name, text="mine", runs=["0" * 12], recorded_at=NOON)])
    heard = io.StringIO()
    restore(packed, Console(file=heard, width=999))

    assert f"were here, and do not list it: {name}." in heard.getvalue()
    with there.connect() as connection:
        assert connection.scalar(select(Experiment.text)) == "mine"
    there.dispose()


@pytest.mark.parametrize("act", ["archive", "restore"])
def test_a_run_that_a_driver_works_on_is_left_alone(act, packed, source, home, tmp_path):
    claim(source, TUNED, "d" * 32)

    with pytest.raises(UserError, match="a driver on another host works on run"):
        if act == "archive":
            archive(TUNED, tmp_path / "second.tar.zst", QUIET)
        else:
            restore(packed, QUIET)
    assert not (tmp_path / "second.tar.zst").exists()


def test_an_unknown_run_is_told_with_the_nearest(source, tmp_path):
    with pytest.raises(UserError, match="falcon-tiny as it came"):
        archive("falcon-tiny as it comes", tmp_path / "x", QUIET)


def test_an_archive_is_not_written_over_another_file(packed):
    with pytest.raises(UserError, match="is there already"):
        archive(TUNED, packed, QUIET)


def test_a_link_in_the_folder_is_not_archived(source, home, tmp_path):
    (home / TUNED / "secret").symlink_to("/etc/passwd")

    with pytest.raises(UserError, match="is a link"):
        archive(TUNED, tmp_path / "x", QUIET)


def test_the_manifest_states_what_sha256sum_says(packed, home):
    with zstandard.open(packed) as stream, tarfile.open(fileobj=stream, mode="r|") as tar:
        found = {entry.name: tar.extractfile(entry).read() for entry in tar}
    told = json.loads(found.pop("manifest.json"))

    assert {name: one["sha256"] for name, one in told["files"].items()} == {
        name: hashlib.sha256(content).hexdigest() for name, content in found.items()
    }


# What a stranger may have made of an archive.


def entries_of(file):
    with zstandard.open(file) as stream, tarfile.open(fileobj=stream, mode="r|") as tar:
        return [(entry, tar.extractfile(entry).read()) for entry in tar]


def rows_of(file, table):
    """The lines of a table."""
    lines = {entry.name: content for entry, content in entries_of(file)}["rows.jsonl"]
    found, of = [], ""
    for line in lines.splitlines():
        if line.startswith(b"{"):
            of = json.loads(line)["table"]
        elif of == table:
            found.append(line)
    return found


def repacked(file, entries):
    with (
        zstandard.open(file, "wb") as stream,
        tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT) as tar,
    ):
        for entry, content in entries:
            if entry.isreg():
                entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))


def with_manifest(entries, change, files=None):
    """The entries with a manifest that was changed, and that states the files as they are."""
    told = json.loads(entries[0][1])
    for entry, content in entries[1:]:
        if entry.isreg():
            sha256 = hashlib.sha256(content).hexdigest()
            told["files"][entry.name] = {"sha256": sha256, "bytes": len(content)}
    told["files"] |= files or {}
    change(told)
    return [(entries[0][0], json.dumps(told).encode()), *entries[1:]]


def entry(name, kind=tarfile.REGTYPE, link=""):
    made = tarfile.TarInfo(name)
    made.type, made.linkname = kind, link
    return made


def added(name, content=b"x", **more):
    def damage(entries):
        entries = [*entries, (entry(name, **more), content)]
        return with_manifest(entries, lambda told: None, {name: stated(content)})

    return damage


def stated(content):
    return {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}


def changed(**changes):
    return lambda entries: with_manifest(entries, lambda told: told.update(changes))


def row_changed(old, new):
    def damage(entries):
        entries = [(e, c.replace(old, new) if e.name == "rows.jsonl" else c) for e, c in entries]
        return with_manifest(entries, lambda told: None)

    return damage


def one_byte(entries):
    return [(e, c.replace(b"weights", b"Weights", 1)) for e, c in entries]


def without_last(entries):
    return entries[:-1]


def twice(entries):
    return [*entries, entries[-1]]


def unnamed(entries):
    return [*entries, (entry("run/extra"), b"x")]


def no_manifest(entries):
    return entries[1:]


def huge_file(entries):
    return with_manifest(
        entries, lambda told: None, {"run/huge": {"sha256": "0" * 64, "bytes": 2**60}}
    )


def bomb(entries):
    return [entries[0], (entry(entries[1][0].name), b"\0" * 2**27), *entries[2:]]


HUGE = {"run/huge": {"sha256": "0" * 64, "bytes": 2**28}}
HOSTILE = {
    "one byte changed": (one_byte, "does not hash to what its manifest says"),
    "a file missing": (without_last, "is cut off"),
    "a file twice": (twice, "which its manifest does not"),
    "a file that is not named": (unnamed, "which its manifest does not"),
    "no manifest": (no_manifest, "does not begin with a manifest"),
    "a path that leaves": (added("run/../../evil"), "is no name of a file"),
    "a path from the root": (added("/tmp/evil"), "is no name of a file"),
    "a path to a hidden file": (added("run/.evil"), "is no name of a file"),
    "a path beside": (added("elsewhere/evil"), "is no name of a file"),
    "a backslash": (added("run/..\\evil"), "is no name of a file"),
    "a name with a newline": (added("run/a\nb"), "is no name of a file"),
    "a file below a file": (added("run/log.txt/evil"), "log.txt"),
    "a link": (added("run/l", b"", kind=tarfile.SYMTYPE, link="/etc/passwd"), "a link"),
    "a hard link": (added("run/l", b"", kind=tarfile.LNKTYPE, link="run/log.txt"), "a link"),
    "a device": (added("run/d", b"", kind=tarfile.CHRTYPE), "a device"),
    "a pipe": (added("run/d", b"", kind=tarfile.FIFOTYPE), "a device"),
    "a folder": (added("run/d", b"", kind=tarfile.DIRTYPE), "a folder"),
    "a run that is a path": (changed(run="../../x"), "is no id"),
    "a dataset that is a path": (changed(dataset=".."), "is no id"),
    "a run that is no text": (changed(run=["x"]), "manifest is wrong"),
    "a run that is a folder of the home": (changed(run="data"), "is no id"),
    "another dataset than the run's": (changed(dataset="0" * 12), "was trained on"),
    "no dataset": (changed(dataset=None), "was trained on"),
    "no run": (changed(run=None), "names no run"),
    "another version": (changed(version="0001"), "of version '0001'"),
    "a newer version": (changed(version="9999"), "use the one that wrote it"),
    "another format": (changed(**{"codeladder archive": 2}), "of a newer Codeladder"),
    "files that are a list": (changed(files=[]), "manifest is wrong"),
    "more than the disk holds": (huge_file, "unpacks to"),
    "rows of another size": (bomb, "bytes, not"),
    "rows of another run": (row_changed(TUNED.encode(), b"0dd0dd0dd0dd"), "no row of run"),
    "a table that none has": (
        row_changed(b'"table": "steps"', b'"table": "votes"'),
        "table 'votes'",
    ),
    "a column that none has": (row_changed(b'"finish"', b'"finis_"'), "other columns"),
    "a number that is text": (row_changed(b', 9, "stop"', b', "9", "stop"'), "its rows are wrong"),
    "a row without an end": (
        row_changed(b'{"table": "steps"', b" " * 2**24 + b'{"table": "steps"'),
        "one is of more than",
    ),
    "rows that are no JSON": (row_changed(b'"table"', b"'table'"), "its rows are wrong"),
}


SHOWN = (
    "one byte changed",
    "a path that leaves",
    "a link",
    "a run that is a path",
    "rows of another size",
    "rows of another run",
)
"""Of those, what every `make test` tries; the others are as slow as these."""


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        pytest.param(*one, id=name, marks=() if name in SHOWN else pytest.mark.slow)
        for name, one in HOSTILE.items()
    ],
)
def test_a_bad_archive_does_nothing_and_says_why(damage, said, packed, sqlite_elsewhere, tmp_path):
    repacked(packed, damage(entries_of(packed)))

    with pytest.raises(UserError, match=said) as refused:
        restore(packed, QUIET)
    assert str(packed) in str(refused.value)
    assert not (sqlite_elsewhere / TUNED).exists()
    assert not list(sqlite_elsewhere.glob(".restore*"))
    assert not (tmp_path / "evil").exists()
    if (sqlite_elsewhere / "ledger.db").exists():
        there = open_ledger()
        assert count(there, Run) == 0
        there.dispose()


def test_text_that_no_database_holds_is_kept_as_a_writer_would(packed, elsewhere):
    entries = row_changed(b"quoted", b"\\ud800")(entries_of(packed))
    repacked(packed, row_changed(b", 0.5,", b", NaN,")(entries))
    restore(packed, QUIET)
    there = open_ledger()

    with there.connect() as connection:
        assert "\ufffd" in connection.scalar(select(Event.message).where(Event.kind == "odd"))
    there.dispose()


@pytest.mark.parametrize(
    "content", [b"", b"no archive at all", None], ids=["empty", "text", "half"]
)
def test_a_file_that_is_no_archive_is_refused(content, packed, sqlite_elsewhere):
    packed.write_bytes(packed.read_bytes()[:900] if content is None else content)

    with pytest.raises(UserError, match=r"run\.tar\.zst"):
        restore(packed, QUIET)
    assert not list(sqlite_elsewhere.glob(".restore*"))


@pytest.mark.parametrize("before", ["the manifest", "a file"])
def test_a_header_that_unpacks_without_end_is_refused(before, packed, sqlite_elsewhere):
    """The extended header of an entry is read as a whole by whoever asks for the entry."""
    header = tarfile.TarInfo("x")
    header.type, header.size = tarfile.XHDTYPE, 2**40
    first = entries_of(packed)[0]
    large = with_manifest([first], lambda told: told["files"].update(HUGE))[0]
    with zstandard.open(packed, "wb") as stream:
        if before == "a file":
            with tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT) as tar:
                large[0].size = len(large[1])
                tar.addfile(large[0], io.BytesIO(large[1]))
                tar.fileobj.write(header.tobuf(tarfile.GNU_FORMAT) + b"\0" * 2**20)
        else:
            stream.write(header.tobuf(tarfile.GNU_FORMAT) + b"\0" * 2**20)

    with pytest.raises(UserError, match="unpacks to more than"):
        restore(packed, QUIET)
