"""`python -m jobs archive` and `restore`: a run moves, with everything it rests on.

The file is zstandard over tar: first `manifest.json`, which has the sha256 of every other file,
then `rows.jsonl` (`database.archive`), `run/` (its folder: checkpoint, completions, verdicts, log)
and `data/` (what it was trained on, with report and card). `jobs.unpacking` reads it and believes
none of it.
"""

import hashlib
import io
import json
import secrets
import tarfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import zstandard
from rich.console import Console
from sqlalchemy import Engine
from sqlalchemy.exc import DataError, IntegrityError

from database.amounts import amount
from database.archive import Rows, RowsError, Stored, refuse_foreign, rows_of_run, store
from database.claims import Claim, LostClaimError, claim, holders, release
from database.facts import RunFacts
from database.portable import line_of
from database.queries import runs
from database.session import open_for_reading, open_ledger
from database.upgrading import head
from jobs.declared import UserError
from jobs.home import Home, written
from jobs.named_runs import named_run
from jobs.progress import Board
from jobs.storage.keeping import Storage
from jobs.storage.store import StoreError
from jobs.unpacking import (
    CHUNK,
    DATA,
    FORMAT,
    KIND,
    LARGEST_ROWS,
    MANIFEST,
    ROWS,
    RUN,
    Unpacked,
    unpack,
)

MB = 10**6


@dataclass(frozen=True, slots=True)
class _Part:
    """A file that goes into an archive."""

    name: str
    """In the archive."""
    path: Path
    sha256: str
    size: int


def archive(run: str, to: Path, console: Console) -> None:
    """Write a run, with everything it rests on, into one file.

    Args:
        run: its id, or its label.
        to: the file; appears when it is whole.
        console: hears of progress.

    Raises:
        UserError: there is no such run, a driver works on it, its weights are neither here nor in
            the store, or the file is there already.
        LedgerError: there is no ledger.
    """
    if to.exists():
        raise UserError(f"{to} is there already; an archive is not written over another file")
    home = Home.from_environment()
    with _open(open_for_reading) as ledger:
        known = runs(ledger)
        found = named_run(run, known, known)
        _refuse_held(ledger, found.id)
        of_run = rows_of_run(ledger, found.id)
    _fetch(found, home)
    weights = _weights_told(of_run, found.id, home)
    rows = _as_lines(of_run)
    if len(rows) > LARGEST_ROWS:
        raise UserError(
            f"{found.id} has {amount(len(rows))} of rows; an archive has {amount(LARGEST_ROWS)} "
            "at most: `python -m database backup` has no limit"
        )
    with Board(console) as board:
        parts = list(_parts(found, home, board))
        manifest = _manifest(found, rows, parts)
        with written(to) as draft, zstandard.open(draft, "wb") as packed:
            _pack(packed, manifest, rows, parts, board)
    total, size = sum(part.size for part in parts), to.stat().st_size
    console.print(
        f"{to}: {found.label} ({found.id}), {len(parts)} files of {amount(total)} and "
        f"{amount(len(rows))} of rows, {amount(size)} packed.{weights}",
        markup=False,
        highlight=False,
    )


def restore(file: Path, console: Console) -> None:
    """Put a run of an archive here: everything of it is verified before anything is written.

    Safe to repeat: what is here already, and is the same, stays.

    Raises:
        UserError: the archive is damaged, hostile or of another version, or another run, or other
            files, are in its place; nothing was restored.
        LedgerError: the ledger cannot be opened.
    """
    home = Home.from_environment()
    with (
        Board(console) as board,
        unpack(file, home.folder, board) as unpacked,
        _open(open_ledger) as ledger,
    ):
        _refuse_other_files(unpacked, home)
        try:
            _refuse_foreign(unpacked)
            stored = _move(unpacked, home, ledger)
        except (RowsError, LostClaimError) as error:
            raise UserError(f"{file}: {error}") from None
        except (IntegrityError, DataError, OverflowError) as error:
            cause = str(getattr(error, "orig", error)).splitlines()[0]
            raise UserError(f"{file}: the ledger takes none of its rows: {cause}") from None
    console.print(_told(unpacked, stored), markup=False, highlight=False)


@contextmanager
def _open(how: Callable[[], Engine]) -> Iterator[Engine]:
    ledger = how()
    try:
        yield ledger
    finally:
        ledger.dispose()


def _told(unpacked: Unpacked, stored: Stored) -> str:
    base = " Its base answered otherwise here, so the base's rows stay as they are here."
    names = ", ".join(stored.not_listed)
    unlisted = f" Experiments of these names were here, and do not list it: {names}."
    return (
        f"{unpacked.label} ({unpacked.run}) is here: {stored.new} rows are new."
        f"{base if stored.base_kept else ''}{unlisted if stored.not_listed else ''}"
    )


def _refuse_held(ledger: Engine, run_id: str) -> None:
    holder = holders(ledger, [run_id]).get(run_id)
    if holder and holder.alive:
        raise UserError(_works_on(run_id, holder.host))


def _works_on(run_id: str, host: str) -> str:
    return f"a driver on {host or 'another host'} works on run {run_id}; wait for it, or stop it"


def _fetch(run: RunFacts, home: Home) -> None:
    """What only the store has; it may lie on another host's disk, or nowhere."""
    storage = Storage.from_environment(home.folder)
    wanted = [home.run(run.id) / "checkpoint"]
    if run.dataset_digest:
        wanted.append(home.data(run.dataset_digest).path)
    try:
        for path in wanted:
            if not path.exists():
                storage.there(path)
    except StoreError as error:
        raise UserError(str(error)) from None


def _weights_told(of_run: Rows, run_id: str, home: Home) -> str:
    """What to say of weights that are not there.

    Raises:
        UserError: they were not pruned, so they are somewhere else.
    """
    recorded = any(row["run"] == run_id for row in of_run["checkpoints"])
    if not recorded or (home.run(run_id) / "checkpoint").exists():
        return ""
    events = [row["kind"] for row in of_run["events"] if row["run"] == run_id]
    if "pruned weights" not in events:
        raise UserError(
            f"the weights of run {run_id} are not in {home.run(run_id)}: archive it where it was "
            "trained, or with CODELADDER_STORE as it was there"
        )
    return " Its weights were pruned, so it has none."


def _as_lines(rows: Mapping[str, list[dict[str, Any]]]) -> bytes:
    out = io.BytesIO()
    for table, of in rows.items():
        if of:
            out.write(line_of({"table": table, "columns": list(of[0])}))
            out.writelines(line_of(list(row.values())) for row in of)
    return out.getvalue()


def _parts(run: RunFacts, home: Home, board: Board) -> Iterator[_Part]:
    """Every file that a run rests on, hashed."""
    folders = [(RUN, home.run(run.id))]
    if run.dataset_digest:
        folders.append((DATA, home.data(run.dataset_digest).path))
    paths = [(top, folder, path) for top, folder in folders for path in _files(folder)]
    for number, (top, folder, path) in enumerate(paths, 1):
        board.part("hashing", number, len(paths))
        digest, size = _hashed(path)
        yield _Part(f"{top}/{path.relative_to(folder).as_posix()}", path, digest, size)


def _files(folder: Path) -> list[Path]:
    """The files below a folder, but for drafts of what was being written."""
    found = []
    for path in sorted(folder.rglob("*")):
        if any(part.startswith(".") for part in path.relative_to(folder).parts):
            continue
        if path.is_symlink():
            raise UserError(f"{path} is a link; an archive has files only")
        if path.is_file():
            found.append(path)
    return found


def _hashed(path: Path) -> tuple[str, int]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return digest, path.stat().st_size


def _manifest(run: RunFacts, rows: bytes, parts: list[_Part]) -> bytes:
    files = {ROWS: {"sha256": hashlib.sha256(rows).hexdigest(), "bytes": len(rows)}}
    files |= {part.name: {"sha256": part.sha256, "bytes": part.size} for part in parts}
    told = {KIND: FORMAT, "version": head(), "run": run.id, "label": run.label}
    told["dataset"] = run.dataset_digest
    return (json.dumps(told | {"files": files}, indent=1, ensure_ascii=False) + "\n").encode()


def _pack(packed: BinaryIO, manifest: bytes, rows: bytes, parts: list[_Part], board: Board) -> None:
    total, done = sum(part.size for part in parts), 0
    with tarfile.open(fileobj=packed, mode="w|", format=tarfile.PAX_FORMAT) as tar:
        for name, content in ((MANIFEST, manifest), (ROWS, rows)):
            tar.addfile(_entry(name, len(content)), io.BytesIO(content))
        for part in parts:
            with part.path.open("rb") as file:
                reader = _Hashing(file)
                try:
                    tar.addfile(_entry(part.name, part.size), reader)
                except OSError:
                    raise UserError(f"{part.path} became shorter while it was read") from None
            if reader.digest.hexdigest() != part.sha256:
                raise UserError(f"{part.path} was written while it was read; try again")
            done += part.size
            board.update("packing", "MB", done // MB, total // MB)


class _Hashing:
    """Reads a file and hashes what it read."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.digest = hashlib.sha256()

    def read(self, size: int = CHUNK) -> bytes:
        part = self._file.read(size)
        self.digest.update(part)
        return part


def _entry(name: str, size: int) -> tarfile.TarInfo:
    """A regular file without an owner or a time: the same run gives the same entries."""
    entry = tarfile.TarInfo(name)
    entry.size = size
    return entry


def _refuse_foreign(unpacked: Unpacked) -> None:
    """Raises RowsError where rows or data are not this run's."""
    refuse_foreign(unpacked.rows, unpacked.run)
    own = next(row for row in unpacked.rows["runs"] if row["id"] == unpacked.run)
    if unpacked.dataset != own["dataset_digest"]:
        raise RowsError(f"its dataset {unpacked.dataset} is not what the run was trained on")


def _places(unpacked: Unpacked, home: Home) -> Iterator[tuple[Path, Path]]:
    """Each folder of an archive and its place: data goes beside the weights that it made, where no
    driver takes it for what it prepared itself."""
    own = home.run(unpacked.run)
    for source, target in ((unpacked.folder / RUN, own), (unpacked.folder / DATA, own / DATA)):
        if source.is_dir():
            yield source, target


def _refuse_other_files(unpacked: Unpacked, home: Home) -> None:
    for source, target in _places(unpacked, home):
        if target.is_symlink():
            raise UserError(f"{target} is a link; nothing was restored")
        _refuse_others(source, target)


def _refuse_others(source: Path, target: Path) -> None:
    for path in _files(source):
        name = path.relative_to(source)
        here = target / name
        if name.as_posix() == "log.txt" or not (here.exists() or here.is_symlink()):
            continue
        if here.is_symlink() or not here.is_file() or _hashed(here) != _hashed(path):
            raise UserError(
                f"{here} is there already and is another one than in the archive: nothing was "
                "restored. Restore into another CODELADDER_HOME, or move the folder away"
            )


def _move(unpacked: Unpacked, home: Home, ledger: Engine) -> Stored:
    """Rows first, which may contradict what is here; then files, each stage as a whole."""
    run, driver = unpacked.run, secrets.token_hex(16)
    for row in unpacked.rows.get("checkpoints", []):
        if row["run"] == run:
            row["path"] = str(home.run(run) / "checkpoint")
    known = any(one.id == run for one in runs(ledger))
    held = _claimed(ledger, run, driver) if known else None
    try:
        stored = store(ledger, unpacked.rows, run, held)
        held = _claimed(ledger, run, driver)  # of a new run now; of another the same, renewed
        for source, target in _places(unpacked, home):
            _place(source, target)
    finally:
        if held is not None:
            release(ledger, held)
    return stored


def _claimed(ledger: Engine, run_id: str, driver: str) -> Claim:
    held = claim(ledger, run_id, driver)
    if held is None:
        holder = holders(ledger, [run_id]).get(run_id)
        raise UserError(_works_on(run_id, holder.host if holder else ""))
    return held


def _place(source: Path, target: Path) -> None:
    """Rename a folder to its place; where one is there already, what is missing in it."""
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        source.rename(target)
        return
    for path in sorted(source.iterdir()):
        here = target / path.name
        if not here.exists():
            path.rename(here)
        elif path.is_dir():
            _place(path, here)
