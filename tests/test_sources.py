import csv
import dataclasses
import datetime
import decimal
import gzip
import hashlib
import json
import os
import pickle
import re
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from jobs.data import records
from jobs.data.checkout import Commit, tree_digest
from jobs.data.hub import explained
from jobs.data.row import Refused, Row, read_rows, write_rows
from jobs.data.sources import FieldMap, Part, Source, parts, read_part, read_source
from jobs.declared import UserError
from jobs.recipes import MissingFileError

COMMIT = "0123456789abcdef0123456789abcdef01234567"
ASKED = FieldMap(instruction="question", response="answer")
ROWS = [
    {"question": "Name the ünit.", "answer": 'metre,\n"m"'},
    {"question": "Add 1 and 2.", "answer": "3"},
    {"question": "Stop.", "answer": "…"},
]


def pinned(path, **options):
    """A source that is one file of a folder."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Source(file=path.name, sha256=digest, licence="MIT", **{"fields": ASKED, **options})


def read(path, **options):
    return list(read_source("s", pinned(path, **options), path.parent))


def rows_in(found):
    return [(row.instruction, row.response) for row in found if isinstance(row, Row)]


def refusals(found):
    return [(row.reason, row.place) for row in found if isinstance(row, Refused)]


def lines(rows):
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def as_csv(rows, path):
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return path.read_bytes()


def packed(path, suffix):
    """The file packed by another library than the one that reads it."""
    content = path.read_bytes()
    if suffix == ".gz":
        content = gzip.compress(content)
    elif suffix == ".zst":
        content = zstandard.compress(content)
    target = path.with_name(path.name + suffix)
    target.write_bytes(content)
    return target


def written(folder, kind):
    path = folder / f"rows{kind}"
    if kind == ".parquet":
        pq.write_table(pa.Table.from_pylist(ROWS), path, row_group_size=2)
    elif kind == ".csv":
        as_csv(ROWS, path)
    elif kind == ".json":
        path.write_text(json.dumps(ROWS, ensure_ascii=False, indent=2), encoding="utf-8")
    else:
        path.write_bytes(lines(ROWS))
    return path


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
@pytest.mark.parametrize("kind", [".jsonl", ".json", ".csv"])
def test_same_rows_whatever_holds_them(kind, suffix, tmp_path):
    path = packed(written(tmp_path, kind), suffix)

    found = read(path)

    assert rows_in(found) == [(row["question"], row["answer"]) for row in ROWS]
    assert [row.place for row in found] == [f"{path.name}:{number}" for number in (1, 2, 3)]


def test_same_rows_out_of_parquet(tmp_path):
    found = read(written(tmp_path, ".parquet"))

    assert rows_in(found) == [(row["question"], row["answer"]) for row in ROWS]
    assert [row.place for row in found] == [f"rows.parquet:{number}" for number in (1, 2, 3)]


def test_json_lines_in_a_file_named_json_are_read_as_lines(tmp_path):
    path = tmp_path / "data.json"
    path.write_bytes(b"\xef\xbb\xbf" + lines(ROWS))

    assert len(rows_in(read(path))) == 3


@settings(max_examples=40)
@given(
    st.lists(
        st.dictionaries(st.text(), st.recursive(st.text() | st.integers(), st.lists)), max_size=6
    ),
    st.integers(0, 3),
    st.integers(1, 9),
)
def test_a_json_list_is_streamed_as_json_reads_it(tmp_path_factory, values, indent, chunk):
    path = tmp_path_factory.getbasetemp() / "streamed.json"
    path.write_text(json.dumps(values, indent=indent or None, ensure_ascii=indent % 2 == 0))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(records, "_CHUNK", chunk)
        found = list(records.stream(path, ()))

    assert [record.values for record in found] == values


# What is wrong with one record leaves the others.

BAD_LINES = {
    "is cut short": (b'{"question": "a", "ans\n', "not_json"),
    "is a list": (b'["question", "answer"]\n', "not_an_object"),
    "is not UTF-8": (b'{"question": "a\xff", "answer": "b"}\n', "encoding"),
    "escapes half a character": (b'{"question": "a\\ud800", "answer": "b"}\n', "encoding"),
    "has an empty answer": (b'{"question": "a", "answer": " \\n"}\n', "empty"),
    "has an empty question": (b'{"question": "", "answer": "b"}\n', "empty"),
    "lacks the answer": (b'{"question": "a"}\n', "missing_field"),
    "has null for an answer": (b'{"question": "a", "answer": null}\n', "missing_field"),
    "has a number for an answer": (b'{"question": "a", "answer": 3}\n', "not_text"),
    "nests too deep": (b'{"question": ' + b"[" * 100_000 + b"\n", "not_json"),
    "is over the limit": (lines([{"question": "a", "answer": "b" * 2**20}]), "too_large"),
}


@pytest.mark.parametrize("line, reason", BAD_LINES.values(), ids=BAD_LINES)
def test_a_line_is_refused_and_counted_that(line, reason, tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(lines(ROWS[:1]) + line + lines(ROWS[1:2]))

    found = read(path)

    assert refusals(found) == [(reason, "rows.jsonl:2")]
    assert len(rows_in(found)) == 2
    assert all(len(row.found) <= 200 for row in found if isinstance(row, Refused))


def test_what_is_not_utf8_in_a_json_list_is_one_record(tmp_path):
    path = tmp_path / "rows.json"
    path.write_bytes(
        b'[{"question": "a", "answer": "b"}, {"question": "\xff\xfe", "answer": "b"},\n'
        b' {"question": "c", "answer": "d"}]'
    )

    found = read(path)

    assert rows_in(found) == [("a", "b"), ("c", "d")]
    assert refusals(found) == [("encoding", "rows.json:2")]


def test_what_is_not_utf8_in_csv_is_one_record(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_bytes(b"question,answer\na,b\nc\xff,d\ne,f\n")

    found = read(path)

    assert rows_in(found) == [("a", "b"), ("e", "f")]
    assert refusals(found) == [("encoding", "rows.csv:2")]


def test_what_is_not_utf8_in_parquet_is_one_record(tmp_path):
    answers = pa.array([b"b", b"\xff\xfe", b"f"], pa.binary()).view(pa.string())
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"question": ["a", "c", "e"], "answer": answers}), path)

    found = read(path)

    assert rows_in(found) == [("a", "b"), ("e", "f")]
    assert refusals(found) == [("encoding", "rows.parquet:2")]


def test_a_csv_record_with_a_value_too_many_is_refused(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("question,answer\na,b,c\nd,e\n")

    assert refusals(read(path)) == [("columns", "rows.csv:1")]


def test_a_row_of_fifty_megabytes_is_refused_and_never_in_memory(tmp_path):
    path = tmp_path / "rows.jsonl"
    with path.open("wb") as file:
        for _ in range(3):
            file.write(b'{"question": "a", "answer": "' + b"x" * 50_000_000 + b'"}\n')
        file.write(lines(ROWS))
    source = pinned(path)
    tracemalloc.start()
    try:
        found = list(read_source("s", source, tmp_path))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert refusals(found) == [("too_large", f"rows.jsonl:{number}") for number in (1, 2, 3)]
    assert "50,000,032 bytes" in next(r.found for r in found if isinstance(r, Refused))
    assert len(rows_in(found)) == 3
    assert peak < 4 * records.LONGEST


def test_large_rows_of_parquet_are_refused_one_by_one(tmp_path):
    path = tmp_path / "rows.parquet"
    long = [{"question": "a", "answer": "x" * 20_000_000}] * 2
    pq.write_table(pa.Table.from_pylist([*ROWS, *long]), path, compression="zstd")

    found = read(path)

    assert refusals(found) == [("too_large", "rows.parquet:4"), ("too_large", "rows.parquet:5")]
    assert len(rows_in(found)) == 3


# What is wrong with a file stops, and says what to do.


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_a_download_that_was_cut_off_is_named_with_how_far_it_got(suffix, tmp_path):
    path = tmp_path / "rows.jsonl"
    content = b"".join(
        b'{"question": "%s", "answer": "b"}\n' % os.urandom(9).hex().encode() for _ in range(20_000)
    )
    path.write_bytes(content)
    whole = packed(path, suffix)
    source = pinned(whole)
    whole.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])

    with pytest.raises(UserError, match=rf"rows\.jsonl{suffix} is cut off: .*download it again"):
        parts("s", source, tmp_path)
    got = []
    with pytest.raises(UserError, match="is cut off"):
        for row in read_part(Part(name="s", source=source, path=str(whole))):
            got.append(row)  # what came before the error counts
    assert 5_000 < len(got) < 15_000


def test_a_json_list_that_was_cut_off_is_no_end_of_the_list(tmp_path):
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(ROWS)[:-1])

    with pytest.raises(UserError, match=r"rows\.json.*past record 3.*cut off; download it again"):
        read(path)


def test_a_parquet_file_without_its_end_is_named(tmp_path):
    path = written(tmp_path, ".parquet")
    path.write_bytes(path.read_bytes()[:-20])

    with pytest.raises(
        UserError, match=r"rows\.parquet is no whole Parquet file.*download it again"
    ):
        read(path)


def test_a_damaged_row_group_is_named_after_the_rows_before_it(tmp_path):
    path = tmp_path / "rows.parquet"
    many = [{"question": f"{n} {os.urandom(9).hex()}", "answer": "b"} for n in range(200)]
    pq.write_table(
        pa.Table.from_pylist(many),
        path,
        row_group_size=100,
        write_page_checksum=True,
        compression="none",
        use_dictionary=False,
    )
    column = pq.ParquetFile(path).metadata.row_group(1).column(0)
    content = bytearray(path.read_bytes())
    content[column.data_page_offset + column.total_compressed_size // 2] ^= 0xFF
    path.write_bytes(content)

    got = []
    with pytest.raises(UserError, match=r"row group 2 of 2, after record 100.*download it again"):
        for row in read_source("s", pinned(path), tmp_path):
            got.append(row)
    assert len(got) == 100


@pytest.mark.parametrize("kind", [".jsonl", ".csv", ".parquet", ".json"])
def test_a_schema_that_changed_is_told_with_the_nearest_column(kind, tmp_path):
    changed = FieldMap(instruction="qestion", response="answer")

    with pytest.raises(UserError, match=r"has a field 'qestion'\. Did you mean 'question'\?"):
        read(written(tmp_path, kind), fields=changed)


@pytest.mark.parametrize("record", [{"a.b": "1"}, {"a": {"b": "1"}}], ids=["name", "path"])
@pytest.mark.parametrize("kind", [".jsonl", ".parquet"])
def test_a_dot_is_in_the_name_of_a_column_or_leads_into_it(kind, record, tmp_path):
    path = tmp_path / f"rows{kind}"
    if kind == ".parquet":
        pq.write_table(pa.Table.from_pylist([record]), path)
    else:
        path.write_bytes(lines([record]))

    found = read(path, fields=FieldMap(response="a.b"), where={"a.b": ("1",)})

    assert rows_in(found) == [("", "1")]


def test_a_file_of_another_kind_is_refused_by_its_name(tmp_path):
    path = tmp_path / "rows.xlsx"
    path.write_bytes(b"PK")

    with pytest.raises(UserError, match=r"rows\.xlsx.*known: \.jsonl"):
        read(path)


def test_another_file_than_the_pinned_one_is_refused(tmp_path):
    path = written(tmp_path, ".jsonl")
    source = pinned(path)
    path.write_bytes(lines(ROWS[:2]))

    with pytest.raises(UserError, match=r"rows\.jsonl is not what the recipe pins"):
        parts("s", source, tmp_path)


def test_a_file_is_found_anywhere_below_the_data_folder(tmp_path, monkeypatch):
    deep = tmp_path / "data" / "a" / "b"
    deep.mkdir(parents=True)
    source = pinned(written(deep, ".jsonl"))
    monkeypatch.setenv("CODELADDER_DATA", str(tmp_path / "data"))

    assert len(rows_in(read_source("s", source, tmp_path / "recipes"))) == 3


def test_a_file_that_is_nowhere_says_where_it_is_published(tmp_path, monkeypatch):
    monkeypatch.delenv("CODELADDER_DATA", raising=False)
    source = Source(file="a.json", sha256="0" * 64, licence="MIT", url="https://example.org/a")

    with pytest.raises(MissingFileError, match=r"a\.json was not found.*https://example\.org/a"):
        parts("s", source, tmp_path)


UNPINNED = {
    "hub": (
        Source(hub="bigcode/x", licence="MIT"),
        "put the commit shown at https://huggingface.co/datasets/bigcode/x/commits into revision",
    ),
    "file": (Source(file="a.json", licence="MIT"), "sha256sum a.json"),
    "one of several files": (
        Source(files={"a.json": "0" * 64, "b.json": ""}, licence="MIT"),
        "sha256sum b.json",
    ),
    "checkout": (
        Source(checkout="repo", licence="MIT", format="functions"),
        "git -C repo rev-parse HEAD",
    ),
}


@pytest.mark.parametrize("source, cure", UNPINNED.values(), ids=UNPINNED)
def test_a_source_without_a_pin_is_refused_when_it_is_used(source, cure, tmp_path):
    with pytest.raises(UserError) as raised:
        parts("s", source, tmp_path)

    assert "source 's' is not pinned" in str(raised.value)
    assert cure in str(raised.value)


MISTAKES = {
    "nothing": ({}, "name one of file, files, hub, checkout or tree; none is given"),
    "two at once": ({"file": "a", "hub": "b"}, "file and hub are given"),
    "a branch": ({"hub": "a/b", "revision": "main"}, "revision 'main' is no commit"),
    "a short digest": ({"file": "a", "sha256": "abc"}, "is no sha256"),
    "a licence in words": ({"file": "a", "licence": "MIT License"}, "no SPDX expression"),
    "a pin of another kind": ({"file": "a", "revision": COMMIT}, "it belongs to hub and checkout"),
    "an option of another format": ({"file": "a", "rating": (1, 2)}, "belongs to code-contests"),
    "a checkout as columns": ({"checkout": "a"}, "format fields cannot be read from checkout"),
    "an upside-down rating": (
        {"file": "a", "format": "code-contests", "rating": (2, 1)},
        "the lower bound comes first",
    ),
    "no weight": ({"file": "a", "weight": 0}, "greater than 0"),
    "an endless weight": ({"file": "a", "weight": float("inf")}, "finite"),
    "a huge weight": ({"file": "a", "weight": 1e19}, "less than or equal to 100"),
    "an unknown key": ({"file": "a", "rows": 3}, "rows"),
    "an answer without a column": (
        {"file": "a", "fields": {"instruction": "a"}},
        "of the response",
    ),
}


@pytest.mark.parametrize("keys, told", MISTAKES.values(), ids=MISTAKES)
def test_a_source_is_refused_with(keys, told):
    with pytest.raises(ValidationError) as raised:
        Source.model_validate({"licence": "MIT", **keys})

    assert told in str(raised.value)


BASE = Source(file="a.jsonl", sha256="0" * 64, licence="MIT", fields=ASKED)
SAME = {
    "name of the file": {"file": "b.jsonl"},
    "address": {"url": "https://example.org"},
    "attribution": {"attribution": "somebody"},
    "terms": {"terms": "none"},
}
OTHER = {
    "content": {"sha256": "1" * 64},
    "kind of file": {"file": "a.csv"},
    "columns": {"fields": FieldMap(instruction="q", response="answer")},
    "licence": {"licence": "ISC"},
    "limit of a row": {"largest": 10},
    "records taken": {"where": {"lang": ("python",)}},
}
MIXED = {"weight": {"weight": 2.0}, "most rows": {"most": 5}}


@pytest.mark.parametrize("change", SAME.values(), ids=SAME)
def test_content_is_the_same_with_another(change):
    assert BASE.model_copy(update=change).content() == BASE.content()


@pytest.mark.parametrize("change", OTHER.values(), ids=OTHER)
def test_reading_and_content_change_with_the(change):
    changed = BASE.model_copy(update=change)

    assert changed.reading() != BASE.reading()
    assert changed.content() != BASE.content()


@pytest.mark.parametrize("change", MIXED.values(), ids=MIXED)
def test_only_the_mixture_changes_with(change):
    changed = BASE.model_copy(update=change)

    assert changed.reading() == BASE.reading()
    assert changed.content() != BASE.content()


def test_content_is_json():
    assert json.loads(json.dumps(BASE.content())) == json.loads(json.dumps(BASE.content()))


def test_parts_travel_and_make_up_the_source_in_order(tmp_path):
    names = ("b.jsonl", "a.jsonl", "c.jsonl")
    for name, row in zip(names, ROWS, strict=True):
        (tmp_path / name).write_bytes(lines([row]))
    digests = {name: hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() for name in names}
    source = Source(files=digests, licence="MIT", fields=ASKED)

    sent = pickle.loads(pickle.dumps(parts("s", source, tmp_path)))
    found = [row for part in sent for row in read_part(part)]

    assert found == list(read_source("s", source, tmp_path))
    assert [row.place for row in found] == ["a.jsonl:1", "b.jsonl:1", "c.jsonl:1"]


def test_records_with_another_value_than_asked_for_are_left_out(tmp_path):
    path = tmp_path / "rows.jsonl"
    languages = ("Python", "python", "go", None)
    path.write_bytes(lines([{**ROWS[0], "lang": language} for language in languages]))

    found = read(path, where={"lang": ("python",)})

    assert len(rows_in(found)) == 2
    assert refusals(found) == [("where", "rows.jsonl:3"), ("where", "rows.jsonl:4")]


MAPPED = {**ASKED.mapped(), "tests": "tests", "entry_point": "name"}
CONTEST = {
    "description": "Double.",
    "public_tests": {"input": [], "output": []},
    "private_tests": {"input": [], "output": []},
    "generated_tests": {"input": [], "output": []},
    "solutions": {"language": [3], "solution": ["print(1)"]},
    "cf_rating": 1200,
}
ODD = {
    "tests that nest too deep": ({"tests": "[" * 100_000}, "fields", "tests"),
    "half a character in a name": ({"name": "\ud800"}, "fields", "encoding"),
    "a rating in words": ({"cf_rating": "1200"}, "code-contests", "not_a_number"),
    "a solution that is null": (
        {"solutions": {"language": [3], "solution": [None]}},
        "code-contests",
        "not_text",
    ),
    "a test that is null": (
        {"public_tests": {"input": [None], "output": ["1"]}},
        "code-contests",
        "not_text",
    ),
    "half a character in a test": (
        {"public_tests": {"input": ["\ud800"], "output": ["1"]}},
        "code-contests",
        "encoding",
    ),
    "licences that are a number": ({"licenses": 3}, "stack", "licence"),
    "a notebook that is a text": ({"notebooks": {"a": "b"}}, "interactive-coding", "missing_field"),
    "a cell that is null": (
        {"notebooks": {"a": {"cells": [None]}}},
        "interactive-coding",
        "not_text",
    ),
}


@pytest.mark.parametrize("odd, form, reason", ODD.values(), ids=ODD)
def test_a_record_is_refused_and_counted_for(odd, form, reason, tmp_path):
    whole = {
        "fields": {**ROWS[0], "tests": [], "name": "f"},
        "code-contests": CONTEST,
        "stack": {"content": "x = 1", "licenses": ["MIT"]},
        "interactive-coding": {"dir": "a", "test": "", "notebooks": {}},
    }[form]
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({**whole, **odd}) + "\n")
    mapping = FieldMap(**MAPPED) if form == "fields" else None
    options = {"rating": (800, 1800)} if form == "code-contests" else {}
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    chosen = {"fields": mapping} if mapping else {}
    source = Source(file=path.name, sha256=digest, licence="MIT", format=form, **chosen, **options)

    assert refusals(read_source("s", source, tmp_path)) == [(reason, "rows.jsonl:1")]


NO_JSON = {
    "dates": datetime.date(2020, 1, 2),
    "bytes": b"a",
    "decimals": decimal.Decimal("1.5"),
}


@pytest.mark.parametrize("value", NO_JSON.values(), ids=NO_JSON)
def test_tests_of_parquet_are_refused_that_hold(value, tmp_path):
    path = tmp_path / "rows.parquet"
    rows = [{**ROWS[0], "tests": [{"args": [value], "expected": 1}], "name": "f"}]
    pq.write_table(pa.Table.from_pylist(rows), path)

    assert refusals(read(path, fields=FieldMap(**MAPPED))) == [("tests", "rows.parquet:1")]


def test_tests_of_parquet_lose_the_nulls_that_only_fill_their_columns(tmp_path):
    path = tmp_path / "rows.parquet"
    tests = [{"args": [1], "expected": None}, {"stdin": "1", "stdout": "2"}]
    rows = [{**ROWS[0], "tests": tests, "name": "f"}]
    pq.write_table(pa.Table.from_pylist(rows, schema=PADDED), path)

    (row,) = read(path, fields=FieldMap(**MAPPED))

    assert row.listed_tests == tests


_TEST = {"args": pa.list_(pa.int64()), "expected": pa.int64()}
_TEST |= {"stdin": pa.string(), "stdout": pa.string()}
PADDED = pa.schema(
    {
        "question": pa.string(),
        "answer": pa.string(),
        "tests": pa.list_(pa.struct(_TEST)),
        "name": pa.string(),
    }
)


# Repositories and folders.

LICENSES = {
    "MIT": "Permission is hereby granted, free of charge, to any person obtaining a copy of this "
    "software, to deal in the Software without restriction ... this permission notice shall "
    "be included in all copies",
    "GPL-3.0-only": "GNU GENERAL PUBLIC LICENSE\n  Version 3, 29 June 2007",
}
TOLD = '"""A module."""\n\n\ndef {name}(x):\n    """Say what x is."""\n    return x\n'


def commit(folder):
    git = ["git", "-C", str(folder), "-c", "user.name=t", "-c", "user.email=t@example.org"]
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "Begin"]):
        subprocess.run([*git, *command], check=True)
    done = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path):
    """A repository with files under four licences, none but one of them MIT."""
    root = tmp_path / "repo"
    texts = {
        "LICENSE": LICENSES["MIT"],
        "pkg/own name.py": TOLD.format(name="own"),
        "pkg/tagged.py": "# SPDX-License-Identifier: ISC\n" + TOLD.format(name="tagged"),
        "vendor/COPYING": LICENSES["GPL-3.0-only"],
        "vendor/deep/copied.py": TOLD.format(name="copied"),
        "odd/LICENSE.txt": "All rights reserved, ask me.",
        "odd/kept.py": TOLD.format(name="kept"),
        "pkg/broken.py": "def f(:\n",
        "notes.txt": "nothing",
    }
    for name, text in texts.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    (root / "pkg" / "latin.py").write_bytes("# \xe9\n".encode("latin-1"))
    (root / "link.py").symlink_to("pkg/tagged.py")
    return root


EXPECTED = [
    ("licence", "odd/kept.py:1"),
    ("syntax", "pkg/broken.py:1"),
    ("encoding", "pkg/latin.py:1"),
    ("licence", "pkg/tagged.py:1"),
    ("licence", "vendor/deep/copied.py:1"),
]


def test_a_checkout_gives_the_files_of_its_commit_that_are_let_in(repository, tmp_path):
    revision = commit(repository)
    source = Source(checkout="repo", revision=revision, licence="MIT", format="functions")
    (repository / "pkg" / "own name.py").write_text("changed since")
    (repository / "pkg" / "new.py").write_text(TOLD.format(name="new"))

    found = list(read_source("s", source, tmp_path))

    assert [(row.place, row.licence) for row in found if isinstance(row, Row)] == [
        ("pkg/own name.py:4", "MIT")
    ]
    assert refusals(found) == EXPECTED


def test_a_checkout_may_let_in_more_licences(repository, tmp_path):
    source = Source(
        checkout="repo", revision=commit(repository), licence="MIT AND ISC", format="functions"
    )

    found = [row for row in read_source("s", source, tmp_path) if isinstance(row, Row)]

    assert [(row.place, row.licence) for row in found] == [
        ("pkg/own name.py:4", "MIT"),
        ("pkg/tagged.py:5", "ISC"),
    ]


def test_a_folder_without_git_is_pinned_by_its_files(repository, tmp_path):
    digest = tree_digest(repository)
    source = Source(tree="repo", sha256=digest, licence="MIT", format="functions")

    found = list(read_source("s", source, tmp_path))
    assert len([row for row in found if isinstance(row, Row)]) == 1
    assert refusals(found) == EXPECTED

    (repository / "notes.txt").write_text("something")
    with pytest.raises(UserError, match="repo is not what the recipe pins"):
        parts("s", source, tmp_path)


def test_many_files_are_read_in_several_parts_in_the_same_order(tmp_path):
    root = tmp_path / "repo"
    root.mkdir()
    (root / "LICENSE").write_text(LICENSES["MIT"])
    for number in range(600):
        (root / f"f{number:03d}.py").write_text(TOLD.format(name=f"f{number}"))
    source = Source(checkout="repo", revision=commit(root), licence="MIT", format="functions")

    sent = parts("s", source, tmp_path)
    places = [row.place for part in sent for row in read_part(part)]

    assert len(sent) == 3
    assert places == [f"f{number:03d}.py:4" for number in range(600)]


def test_only_paths_that_match_are_read(repository, tmp_path):
    source = Source(
        checkout="repo",
        revision=commit(repository),
        licence="MIT",
        format="functions",
        paths=("pkg/**/own*.py",),
    )

    assert [row.place for row in read_source("s", source, tmp_path)] == ["pkg/own name.py:4"]


def test_files_become_plain_rows_where_a_recipe_asks(repository, tmp_path):
    source = Source(
        checkout="repo", revision=commit(repository), licence="MIT", format="functions", unit="file"
    )

    rows = [row for row in read_source("s", source, tmp_path) if isinstance(row, Row)]

    assert [(row.instruction, row.place) for row in rows] == [
        ("", "pkg/broken.py:1"),
        ("", "pkg/own name.py:1"),
    ]
    assert rows[1].response == TOLD.format(name="own")


def test_names_of_files_that_are_not_utf8_are_written_escaped(tmp_path):
    root = tmp_path / "repo"
    root.mkdir()
    (root / "LICENSE").write_text(LICENSES["MIT"])
    for name in (b"caf\xe9.py", b"two\nlines.py"):
        (root / os.fsdecode(name)).write_text(TOLD.format(name="f"))
    source = Source(
        checkout="repo",
        revision=commit(root),
        licence="MIT",
        format="functions",
        attribution="The cooks",
    )

    found = list(read_source("s", source, tmp_path))
    write_rows(found, tmp_path / "rows.parquet")

    assert read_rows(tmp_path / "rows.parquet") == found
    assert [(row.place, row.attribution) for row in found] == [
        ("caf\\xe9.py:4", "The cooks: caf\\xe9.py")
    ]


def test_a_folder_without_a_pin_is_told_its_digest(repository, tmp_path):
    unpinned = Source(tree="repo", licence="MIT", format="functions")
    with pytest.raises(UserError, match="is not pinned") as raised:
        parts("s", unpinned, tmp_path)
    (digest,) = re.findall(r"[0-9a-f]{64}", str(raised.value))

    assert parts("s", unpinned.model_copy(update={"sha256": digest}), tmp_path)


def test_a_folder_is_listed_once_however_many_parts_it_has(tmp_path, monkeypatch):
    root = tmp_path / "repo"
    root.mkdir()
    (root / "LICENSE").write_text(LICENSES["MIT"])
    for number in range(600):
        (root / f"f{number:03d}.py").write_text(TOLD.format(name=f"f{number}"))
    source = Source(checkout="repo", revision=commit(root), licence="MIT", format="functions")
    sent = pickle.loads(pickle.dumps(parts("s", source, tmp_path)))
    monkeypatch.setattr(Commit, "paths", None)  # whoever lists again fails

    assert [len([*read_part(part)]) for part in sent] == [256, 256, 88]


def test_a_commit_that_is_not_there_says_how_to_get_it(repository, tmp_path):
    commit(repository)
    source = Source(checkout="repo", revision=COMMIT, licence="MIT", format="functions")

    with pytest.raises(UserError, match=f"commit {COMMIT} cannot be read.*fetch --all"):
        parts("s", source, tmp_path)


# The hub.


def hub_source(folder, **options):
    return Source(hub=str(folder), revision=COMMIT, licence="MIT", **{"fields": ASKED, **options})


def test_a_hub_dataset_is_read_shard_by_shard(tmp_path):
    (tmp_path / "data").mkdir()
    for number, row in enumerate(ROWS):
        pq.write_table(pa.Table.from_pylist([row]), tmp_path / f"data/train-{number}.parquet")
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "data/test-0.parquet")
    source = hub_source(tmp_path)

    sent = parts("s", source, tmp_path)
    found = [row for part in sent for row in read_part(part)]

    assert len(sent) == 3
    assert rows_in(found) == [(row["question"], row["answer"]) for row in ROWS]
    assert [row.place for row in found] == [f"train-0000{shard}:1" for shard in range(3)]


def test_a_local_folder_in_the_form_of_the_hub_is_pinned_by_its_files(tmp_path):
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "train.parquet")
    before = hub_source(tmp_path).reading()
    assert hub_source(tmp_path).reading() == before

    pq.write_table(pa.Table.from_pylist(ROWS[:1]), tmp_path / "train.parquet")

    assert hub_source(tmp_path).reading() != before


def test_a_hub_dataset_without_the_column_is_told_with_the_nearest(tmp_path):
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "train.parquet")
    source = hub_source(tmp_path, fields=FieldMap(instruction="qestion", response="answer"))

    with pytest.raises(UserError, match="Did you mean 'question'"):
        list(read_source("s", source, tmp_path))


def test_a_split_that_is_not_there_is_told(tmp_path):
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "train.parquet")

    with pytest.raises(UserError, match="it has no split 'valid'"):
        parts("s", hub_source(tmp_path, split="valid"), tmp_path)


def test_without_network_the_hub_says_so_and_does_not_hang(tmp_path):
    program = (
        "from pathlib import Path\n"
        "from jobs.data.sources import Source, parts\n"
        "from jobs.declared import UserError\n"
        f"source = Source(hub='nobody/nothing', revision='{COMMIT}', licence='MIT')\n"
        "try:\n    parts('s', source, Path('.'))\n"
        "except UserError as error:\n    print(error)\n"
    )
    offline = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env=offline,
        timeout=120,
        cwd=Path(__file__).parent.parent,
        check=True,
    )

    assert "HF_HUB_OFFLINE is set and it is not in the cache" in done.stdout


def test_a_gated_dataset_says_where_to_consent():
    from datasets.exceptions import DatasetNotFoundError

    # the words of datasets 5.2.0, load.py, for a dataset whose terms were not accepted
    error = DatasetNotFoundError(
        "Dataset 'bigcode/x' is a gated dataset on the Hub. Visit the dataset page to ask "
        "for access."
    )
    told = str(explained(error, "s", Source(hub="bigcode/x", licence="MIT")))

    assert (
        "accept their terms at https://huggingface.co/datasets/bigcode/x, then set HF_TOKEN" in told
    )


def test_a_part_is_small_enough_to_send():
    part = Part(name="s", source=BASE, path="/a")

    assert len(pickle.dumps(part)) < 4_096
    assert dataclasses.replace(part, index=1) != part
