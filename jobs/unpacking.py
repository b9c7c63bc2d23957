"""Reading an archive that anybody may have written: nothing of it is believed, or written where it
says, until all of it is verified.

Only regular files are taken, only those that the manifest names, each once, of the size and the
sha256 that it states, under a name that stays within its folder. They are staged in a hidden folder
that goes away however this ends. No code of an archive is run, and nothing of it is unpickled.
"""

import hashlib
import json
import re
import secrets
import shutil
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import zstandard

from database.amounts import amount
from database.archive import Rows, RowsError, parsed
from database.upgrading import head
from jobs.card_text import one_line
from jobs.declared import UserError
from jobs.progress import Board

KIND = "codeladder archive"
FORMAT = 1
MANIFEST, ROWS, RUN, DATA = "manifest.json", "rows.jsonl", "run", "data"
CHUNK = 2**20
LARGEST_MANIFEST = 2**23
LARGEST_ROWS = 2**29
"""Bytes of all rows, which are parsed as a whole."""
LONGEST_ROW = 2**24
OF_HEADERS = 2**16
"""Bytes that may lie before the content of a file: headers of tar are read as a whole."""
SPARE = 2**28
"""Bytes that stay free on the disk."""
DEEPEST = 8
"""Folders that a file may lie in."""
ID = re.compile(r"[0-9a-f]{12}")
"""Of a run or a dataset; so no folder of the home but a run's own."""
SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Unpacked:
    """An archive that is verified and staged."""

    run: str
    label: str
    dataset: str | None
    """Digest of what it was trained on."""
    folder: Path
    """Holds `run/` and `data/`."""
    rows: Rows


@dataclass(frozen=True, slots=True)
class _File:
    sha256: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Manifest:
    run: str
    label: str
    dataset: str | None
    files: dict[str, _File]


@contextmanager
def unpack(file: Path, beside: Path, board: Board) -> Iterator[Unpacked]:
    """Verify an archive, staged in a hidden folder until the block ends.

    Args:
        file: the archive.
        beside: a folder on the disk that the files will be moved to.
        board: hears of progress.

    Raises:
        UserError: it is damaged, hostile, or of another version.
    """
    if not file.is_file():
        raise UserError(f"there is no file {file}")
    staged = beside / f".restore-{secrets.token_hex(4)}"
    staged.mkdir(parents=True)
    try:
        with zstandard.open(file, "rb") as packed:
            manifest = _unpack(file, _Limited(file, packed), staged, board)
        yield Unpacked(
            run=manifest.run,
            label=manifest.label,
            dataset=manifest.dataset,
            folder=staged,
            rows=_rows(file, staged / ROWS),
        )
    except (zstandard.ZstdError, tarfile.TarError, EOFError, RecursionError) as error:
        raise UserError(f"{file} is damaged, or no archive of a run: {error}") from None
    except OSError as error:
        raise UserError(f"{file}: {error.filename or staged}: {error.strerror}") from None
    finally:
        shutil.rmtree(staged, ignore_errors=True)


class _Limited:
    """Reads no more than a file that is expected and its headers, whatever these say."""

    def __init__(self, file: Path, packed: Any) -> None:
        self._file, self._packed = file, packed
        self._left = OF_HEADERS

    def allow(self, size: int) -> None:
        """From here on: the content of a file, and the headers of the next."""
        self._left = size + OF_HEADERS

    def read(self, size: int) -> bytes:
        self._left -= size
        if self._left < 0:
            raise UserError(f"{self._file} unpacks to more than its manifest states")
        return bytes(self._packed.read(size))


def _unpack(file: Path, packed: _Limited, staged: Path, board: Board) -> _Manifest:
    stream: Any = packed  # all that a stream of tar asks for is `read`
    with tarfile.open(fileobj=stream, mode="r|") as tar:
        manifest = _manifest(file, tar, packed)
        _refuse_too_large(file, manifest, staged)
        total = sum(one.size for one in manifest.files.values())
        left, done = dict(manifest.files), 0
        for entry in iter(tar.next, None):
            expected = left.pop(entry.name, None)
            if expected is None or not entry.isreg() or entry.issparse():
                raise UserError(f"{file} has {_named(entry)} in it, which its manifest does not")
            packed.allow(expected.size)
            _take(file, tar, entry, expected, staged / entry.name)
            done += expected.size
            board.update("verifying", "MB", done // 10**6, total // 10**6)
    if left:
        raise UserError(
            f"{file} is cut off: {len(left)} files are missing, {sorted(left)[0]} first"
        )
    return manifest


def _named(entry: tarfile.TarInfo) -> str:
    kind = "a link" if entry.issym() or entry.islnk() else "a device" if entry.isdev() else ""
    kind = kind or ("a file" if entry.isfile() else "a folder" if entry.isdir() else "something")
    return f"{kind} {entry.name[:80]!r}"


def _manifest(file: Path, tar: tarfile.TarFile, packed: _Limited) -> _Manifest:
    entry = tar.next()
    if entry is None or entry.name != MANIFEST or not entry.isreg():
        raise UserError(f"{file} is no archive of a run: it does not begin with a manifest")
    if entry.size > LARGEST_MANIFEST:
        raise UserError(f"{file}: its manifest is of {amount(entry.size)}")
    packed.allow(entry.size)
    content = tar.extractfile(entry)
    assert content is not None
    try:
        told = json.loads(content.read())
    except ValueError:
        raise UserError(f"{file}: its manifest is no JSON") from None
    if not isinstance(told, dict) or told.get(KIND) != FORMAT:
        raise UserError(f"{file} is no archive of a run, or of a newer Codeladder")
    if told.get("version") != head():
        raise UserError(
            f"{file} is of version {str(told.get('version'))[:12]!r} of the ledger, and this "
            f"Codeladder knows {head()}: use the one that wrote it, or archive the run anew"
        )
    try:
        return _checked(told)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{file}: its manifest is wrong: {error}") from None


def _checked(told: dict[str, Any]) -> _Manifest:
    """Raises ValueError and its like where anything is not as `jobs.archive` writes it."""
    run, dataset = told["run"], told["dataset"]
    for name in (run, dataset):
        if name is not None and not ID.fullmatch(name):
            raise ValueError(f"{name[:40]!r} is no id")
    if run is None:
        raise ValueError("it names no run")
    files = {name: _File(one["sha256"], one["bytes"]) for name, one in told["files"].items()}
    for name, one in files.items():
        _refuse_name(name)
        if not SHA256.fullmatch(one.sha256) or type(one.size) is not int or one.size < 0:
            raise ValueError(f"it says nothing of {name!r}")
    if ROWS not in files:
        raise ValueError("it names no rows")
    return _Manifest(
        run=run, label=one_line(str(told["label"]))[:300], dataset=dataset, files=files
    )


def _refuse_name(name: str) -> None:
    """Raises ValueError unless a file of this name lies within the folder."""
    parts = name.split("/")
    within = parts[0] in (RUN, DATA) and 2 <= len(parts) <= DEEPEST
    plain = all(
        part and not part.startswith(".") and "\\" not in part and part.isprintable()
        for part in parts
    )
    if name != ROWS and not (within and plain):
        raise ValueError(f"{name[:80]!r} is no name of a file in an archive")


def _refuse_too_large(file: Path, manifest: _Manifest, staged: Path) -> None:
    size, of_rows = sum(one.size for one in manifest.files.values()), manifest.files[ROWS].size
    if of_rows > LARGEST_ROWS:
        raise UserError(f"{file} has {amount(of_rows)} of rows, {amount(LARGEST_ROWS)} at most")
    free = shutil.disk_usage(staged).free
    if size + SPARE > free:
        raise UserError(
            f"{file} unpacks to {amount(size)}, and {staged.parent} has {amount(free)} left"
        )


def _take(
    file: Path, tar: tarfile.TarFile, entry: tarfile.TarInfo, expected: _File, path: Path
) -> None:
    if entry.size != expected.size:
        raise UserError(f"{file}: {entry.name} is of {entry.size} bytes, not {expected.size}")
    content = tar.extractfile(entry)
    assert content is not None
    path.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with path.open("xb") as out:
        while part := content.read(CHUNK):
            digest.update(part)
            out.write(part)
    if digest.hexdigest() != expected.sha256:
        raise UserError(f"{file} is damaged: {entry.name} does not hash to what its manifest says")


def _rows(file: Path, path: Path) -> Rows:
    try:
        with path.open("rb") as lines:
            return parsed(map(_row, iter(lambda: lines.readline(LONGEST_ROW), b"")))
    except (ValueError, RowsError) as error:
        raise UserError(f"{file}: its rows are wrong: {error}") from None


def _row(line: bytes) -> Any:
    if len(line) == LONGEST_ROW:
        raise RowsError(f"one is of more than {amount(LONGEST_ROW)}")
    return json.loads(line)
