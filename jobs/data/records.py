"""Records of JSON, JSONL, CSV and Parquet files, each also as .gz and .zst, one at a time.

A record that cannot be read is a `Fault` and the next one is read; a file that cannot be read is a
`UserError` that says how far it got. Memory is bounded by the longest record that is let in.
"""

import codecs
import csv
import io
import json
import re
from collections.abc import Container, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.declared import UserError, nearest

LONGEST = 16 << 20
"""Bytes of a record that is still parsed; longer ones are passed over."""
_CHUNK = 1 << 18
_MAGIC = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
_BETWEEN = re.compile(r"[\s,]*")
_KINDS = (".jsonl", ".ndjson", ".json", ".csv", ".parquet")


@dataclass(frozen=True, slots=True)
class Record:
    """One record, counted from 1, with its values by column."""

    number: int
    values: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Fault:
    """A record that could not be read."""

    number: int
    reason: str
    """`not_json`, `not_an_object`, `encoding`, `not_text`, `too_large` or `columns`."""
    found: str


Found = Iterator[Record | Fault]


def stream(path: Path, columns: Iterable[str]) -> Found:
    """The records of a file in its order.

    Args:
        columns: what a Parquet file is read for, names or `a.b` for field b of the objects in a;
            other columns of it are never decoded.

    Raises:
        UserError: the file is cut off or damaged, or of a kind that nobody reads.
    """
    kind = _kind(path)
    if kind == ".parquet":
        yield from _parquet(path, tuple(columns))
        return
    with _opened(path) as file:
        if kind == ".csv":
            yield from _csv(file, path)
        elif kind == ".json" and _first_character(file) == b"[":
            yield from _listed(file, path)
        else:
            yield from _lines(file)


def columns_of(path: Path) -> tuple[str, ...]:
    """The columns that a file declares before its records (Parquet); none for other files."""
    return tuple(_parquet_file(path).schema_arrow.names) if _kind(path) == ".parquet" else ()


def damage(path: Path) -> str:
    """What is wrong with a file as a container, in words; "" where it can be read to its end."""
    try:
        if _kind(path) == ".parquet":
            _parquet_file(path)
        else:
            with _opened(path) as file:
                while file.read(_CHUNK):
                    pass
    except UserError as error:
        return str(error)
    return ""


def _kind(path: Path) -> str:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in (".gz", ".zst", ".zstd"):
        suffixes.pop()
    if suffixes and suffixes[-1] in _KINDS:
        return suffixes[-1]
    raise UserError(f"{path}: what is in it does not follow from its name; known: {_known()}")


def _known() -> str:
    return ", ".join(_KINDS) + ", each but .parquet also with .gz or .zst after it"


@contextmanager
def _opened(path: Path) -> Iterator[io.BufferedReader]:
    """The bytes of a file, unpacked.

    Raises:
        UserError: the packed file ends too early or is damaged; with the bytes that came out.
    """
    with path.open("rb") as plain:
        head = plain.read(4)
    packed = next((name for magic, name in _MAGIC.items() if head.startswith(magic)), None)
    file = io.BufferedReader(cast(Any, pa.input_stream(str(path), compression=packed)), _CHUNK)
    try:
        yield file
    except OSError as error:
        if packed is None:
            raise UserError(f"{path}: {error}") from None
        cut = "Truncated" in str(error)
        what = "is cut off" if cut else f"is damaged ({error})"
        raise UserError(
            f"{path} {what}: {_unpacked(file):,} bytes of text came out of "
            f"{path.stat().st_size:,} bytes of {packed}; download it again"
        ) from None
    finally:
        file.close()


def _unpacked(file: io.BufferedReader) -> int:
    try:
        return int(cast(Any, file.raw).tell())
    except (OSError, ValueError):
        return 0


def _first_character(file: io.BufferedReader) -> bytes:
    return file.peek(64).removeprefix(codecs.BOM_UTF8).lstrip()[:1]


def _lines(file: io.BufferedReader) -> Found:
    number = 0
    while line := file.readline(LONGEST + 1):
        number += 1
        if len(line) > LONGEST and not line.endswith(b"\n"):
            yield Fault(number, "too_large", f"a line of {len(line) + _skip_line(file):,} bytes")
        elif text := line.removeprefix(codecs.BOM_UTF8).strip():
            yield _parsed(number, text)


def _skip_line(file: io.BufferedReader) -> int:
    skipped = 0
    while part := file.readline(_CHUNK):
        skipped += len(part)
        if part.endswith(b"\n"):
            break
    return skipped


def _parsed(number: int, line: bytes) -> Record | Fault:
    try:
        return _object(number, json.loads(line.decode()))
    except UnicodeDecodeError as error:
        around = line[max(0, error.start - 20) : error.start + 20]
        return Fault(number, "encoding", f"byte {error.start + 1}: {around!r}")
    except (ValueError, RecursionError) as error:
        return Fault(number, "not_json", f"{error}: {line[:80].decode(errors='replace')}")


def _object(number: int, value: Any) -> Record | Fault:
    if isinstance(value, dict):
        return Record(number, value)
    return Fault(number, "not_an_object", json.dumps(value)[:80])


def _listed(file: io.BufferedReader, path: Path) -> Found:
    """One JSON list, decoded object by object.

    What is not UTF-8 becomes lone surrogates, which no row may have, so that the record with them
    is refused and those after it are not lost.
    """
    decoder = codecs.getincrementaldecoder("utf-8-sig")("surrogateescape")
    parser = json.JSONDecoder()
    text, at, number = decoder.decode(file.read(_CHUNK)).lstrip()[1:], 0, 0
    while True:
        at += len(_BETWEEN.match(text, at)[0])  # type: ignore[index]  # it matches everywhere
        if text.startswith("]", at):
            return
        try:
            value, at = parser.raw_decode(text, at)
        except (ValueError, RecursionError) as error:
            text, at = text[at:], 0
            more = file.read(max(_CHUNK, len(text)))
            if not more or len(text) > LONGEST:
                raise UserError(_broken_list(path, number, text, error)) from None
            text += decoder.decode(more)
            continue
        number += 1
        yield _object(number, value)


def _broken_list(path: Path, number: int, text: str, error: Exception) -> str:
    after = f"{path}: the list cannot be read past record {number:,}"
    if len(text) > LONGEST:
        return f"{after}: the next one is over {LONGEST:,} bytes; as JSON lines it can be left out"
    if not text.strip():
        return f"{after}: it ends without a bracket, as if cut off; download it again"
    return f"{after} ({error}): {text[:80]!r}; where it is cut off, download it again"


def _csv(file: BinaryIO, path: Path) -> Found:
    csv.field_size_limit(LONGEST)
    text = io.TextIOWrapper(file, "utf-8-sig", errors="surrogateescape", newline="")
    reader = csv.reader(text, strict=True)
    try:
        header = next(reader, [])
        for number, values in enumerate(reader, 1):
            if len(values) == len(header):
                yield Record(number, dict(zip(header, values, strict=True)))
            elif values:
                found = f"{len(values)} values for {len(header)} columns"
                yield Fault(number, "columns", found)
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.line_num}: not readable as CSV: {error}") from None
    finally:
        text.detach()


def _parquet_file(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path, page_checksum_verification=True)
    except (pa.ArrowException, OSError) as error:
        raise UserError(
            f"{path} is no whole Parquet file ({_short(error)}); download it again"
        ) from None


def _parquet(path: Path, columns: tuple[str, ...]) -> Found:
    with _parquet_file(path) as file:
        known = file.schema_arrow.names
        heads = {path.split(".")[0] for path in columns}
        wanted = [name for name in known if name in columns or name in heads]
        number = 0
        for group in range(file.num_row_groups):
            try:
                for batch in _batches(file, group, wanted):
                    yield from _rows(batch, number)
                    number += batch.num_rows
            except (pa.ArrowException, OSError) as error:
                raise UserError(
                    f"{path} is damaged in row group {group + 1} of {file.num_row_groups}, after "
                    f"record {number:,} ({_short(error)}); download it again"
                ) from None


def _batches(file: pq.ParquetFile, group: int, columns: list[str]) -> Iterator[pa.RecordBatch]:
    """Batches of a row group, small where its rows are large."""
    about = file.metadata.row_group(group)
    size = max(1, min(1024, LONGEST * about.num_rows // max(1, about.total_byte_size)))
    yield from file.iter_batches(
        batch_size=size, row_groups=[group], columns=columns, use_threads=False
    )


def _rows(batch: pa.RecordBatch, before: int) -> Found:
    try:
        for place, values in enumerate(batch.to_pylist(), before + 1):
            yield Record(place, values)
    except (ValueError, OverflowError):  # a text that is not UTF-8, a date that Python has not
        for place in range(batch.num_rows):
            yield _row(batch.slice(place, 1), before + place + 1)


def _row(row: pa.RecordBatch, number: int) -> Record | Fault:
    try:
        return Record(number, row.to_pylist()[0])
    except UnicodeDecodeError as error:
        return Fault(number, "encoding", f"byte {error.start + 1} of a value: {error.reason}")
    except (ValueError, OverflowError) as error:
        return Fault(number, "not_text", _short(error))


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:120]


def has(columns: Container[str], path: str) -> bool:
    """Whether there is a column of this name, or one whose objects may have it: a, of `a.b`."""
    return path in columns or path.split(".")[0] in columns


def require(path: str, seen: Iterable[str], wanted: Iterable[str]) -> None:
    """Refuse a file that has no such column at all: its schema is another one.

    Raises:
        UserError: with the nearest column that is there.
    """
    there = sorted(seen)
    for name in wanted:
        if not has(there, name):
            raise UserError(f"{path}: no record has a field {name!r}.{nearest(name, there)}")
