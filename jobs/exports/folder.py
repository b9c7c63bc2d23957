"""A folder that is filled file by file: safe to repeat, and to go on with where it was cut off."""

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.declared import UserError
from jobs.home import written
from jobs.recipes import sha256_of

PROVENANCE = "provenance.json"
"""Beside the files: where they came from, and the digest of each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A file to be."""

    name: str
    made_of: str
    """Names what decides its content: where that is the same, the file is."""
    write: Callable[[Path], object]
    """Writes it to a path."""


def of_text(name: str, text: str) -> Part:
    """A file of text."""
    content = text.encode()
    made_of = hashlib.sha256(content).hexdigest()
    return Part(name=name, made_of=made_of, write=lambda path: path.write_bytes(content))


def of_file(source: Path) -> Part:
    """A copy of a file."""
    return Part(
        name=source.name,
        made_of=sha256_of(source),
        write=lambda path: shutil.copyfile(source, path),
    )


def fill(
    folder: Path, about: Mapping[str, Any], parts: Sequence[Part], say: Callable[[str], None]
) -> int:
    """Make a folder that holds these files and what is said about them, and nothing else of ours.

    The folder takes its name when it is whole. A file that is there with its digest is not made
    again; one that was changed by hand is.

    Args:
        folder: where; its parent is made.
        about: the start of `provenance.json`.
        parts: the files, in the order to make them.
        say: told of each file that is made.

    Returns:
        How many files were made now.

    Raises:
        UserError: the folder holds something else, such as another run, or another process is
            filling it.
    """
    _expect_ours(folder, about)
    work = folder if folder.exists() else folder.with_name(f".{folder.name}.part")
    work.mkdir(parents=True, exist_ok=True)
    with _alone(work):
        before = _files(work)
        for left in work.glob(".*"):  # drafts of a process that was killed
            shutil.rmtree(left) if left.is_dir() else left.unlink()
        made = 0
        files = dict(before)
        for part in parts:
            if not _is_there(work / part.name, before.get(part.name), part):
                say(part.name)
                files[part.name] = _make(work / part.name, part)
                made += 1
                _record(work, about, files)
        names = {part.name for part in parts}
        for name in set(before) - names:
            (work / name).unlink(missing_ok=True)
        _record(work, about, {name: files[name] for name in files if name in names})
        if work != folder:
            work.rename(folder)
    return made


def _expect_ours(folder: Path, about: Mapping[str, Any]) -> None:
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file; name a folder")
    if not folder.exists() or not any(folder.iterdir()):
        return
    if not (folder / PROVENANCE).is_file():
        raise UserError(f"{folder} holds other files; name an empty folder, or a new one")
    before = _provenance(folder)
    if before.get("run") != about.get("run"):
        named = before.get("label") or before.get("run") or "something else"
        raise UserError(f"{folder} holds {named}; name an empty folder, or a new one")


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    opened = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise UserError(f"{folder}: another export is writing here; wait for it") from None
    finally:
        os.close(opened)


def _files(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = _provenance(folder).get("files", {})
    return found


def _provenance(folder: Path) -> dict[str, Any]:
    """What is said about the folder; nothing where that is missing, or no JSON of ours."""
    try:
        found = json.loads((folder / PROVENANCE).read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _is_there(path: Path, entry: Mapping[str, Any] | None, part: Part) -> bool:
    if entry is None or entry["made_of"] != part.made_of or not path.is_file():
        return False
    return bool(sha256_of(path) == entry["sha256"])


def _make(path: Path, part: Part) -> dict[str, Any]:
    with written(path) as draft:
        part.write(draft)
    return {"made_of": part.made_of, "sha256": sha256_of(path), "bytes": path.stat().st_size}


def _record(folder: Path, about: Mapping[str, Any], files: Mapping[str, Any]) -> None:
    content = {**about, "files": dict(sorted(files.items()))}
    with written(folder / PROVENANCE) as draft:
        draft.write_text(json.dumps(content, indent=2) + "\n")
